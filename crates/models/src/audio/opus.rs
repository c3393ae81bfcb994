//! Decoding of Opus packets.

use ruopus::MultistreamDecoder;

use crate::{Error, Result};

/// The output rate of the Opus decoder, whatever was recorded.
pub(super) const RATE: u32 = 48_000;

/// The decoder of a stream of Opus packets.
pub(super) struct Opus {
    decoder: MultistreamDecoder,
    gain: f32,
}

impl Opus {
    /// Returns a decoder for the stream that this identification header describes; without a header, of `channels`
    /// channels.
    ///
    /// # Errors
    /// [`Error::Audio`] when the header is not one of RFC 7845, or its mapping of channels is reserved.
    pub(super) fn new(header: Option<&[u8]>, channels: usize) -> Result<Self> {
        let head = header.map_or_else(|| Ok(Head::plain(channels)), Head::read)?;
        Ok(Self {
            decoder: MultistreamDecoder::with_rate(RATE, head.streams, head.coupled, &head.mapping),
            gain: head.gain,
        })
    }

    /// Returns the number of channels.
    pub(super) fn channels(&self) -> usize {
        self.decoder.channels()
    }

    /// Decodes a packet to interleaved samples; `None` when it is damaged.
    pub(super) fn decode(&mut self, packet: &[u8]) -> Option<Vec<f32>> {
        let mut pcm = self.decoder.decode_packet(packet).ok()?;
        if self.gain != 1.0 {
            pcm.iter_mut().for_each(|sample| *sample *= self.gain);
        }
        Some(pcm)
    }
}

/// Returns the number of samples that are skipped at the start of a stream with this header.
pub(super) fn pre_skip(header: &[u8]) -> usize {
    match header.get(8..12) {
        Some(&[version, _, a, b]) if header.starts_with(b"OpusHead") => {
            usize::from(number(version, [a, b]))
        }
        _ => 0,
    }
}

/// Reads a field, whose first byte is the lowest in Ogg (version 1) and the highest in MP4 (version 0).
fn number(version: u8, field: [u8; 2]) -> u16 {
    match version {
        0 => u16::from_be_bytes(field),
        _ => u16::from_le_bytes(field),
    }
}

/// The fields of an identification header that decoding needs.
#[derive(Debug, PartialEq)]
struct Head {
    gain: f32,
    streams: usize,
    coupled: usize,
    mapping: Vec<u8>,
}

impl Head {
    fn plain(channels: usize) -> Self {
        let channels = channels.clamp(1, 2);
        Self {
            gain: 1.0,
            streams: 1,
            coupled: channels - 1,
            mapping: (0..channels as u8).collect(),
        }
    }

    fn read(header: &[u8]) -> Result<Self> {
        let damaged =
            || Error::Audio("opus: wanted an identification header, got a damaged one".into());
        if !header.starts_with(b"OpusHead") || header.len() < 19 {
            return Err(damaged());
        }
        let channels = usize::from(header[9]);
        // In 256ths of a decibel.
        let gain = f32::from(number(header[8], [header[16], header[17]]) as i16) / 256.0;
        let gain = 10_f32.powf(gain / 20.0);
        let head = match (header[18], channels) {
            (0, _) => Self {
                gain,
                ..Self::plain(channels)
            },
            (1 | 255, _) => Self {
                gain,
                streams: usize::from(*header.get(19).ok_or_else(damaged)?),
                coupled: usize::from(*header.get(20).ok_or_else(damaged)?),
                mapping: header.get(21..21 + channels).ok_or_else(damaged)?.to_vec(),
            },
            (family, _) => {
                return Err(Error::Audio(format!(
                    "opus: wanted channels of mapping family 0, 1 or 255, got family {family}"
                )));
            }
        };
        let sources = head.streams + head.coupled;
        let is_source = |&source: &u8| source == 255 || usize::from(source) < sources;
        let fits = head.mapping.len() == channels
            && channels > 0
            && (1..=255).contains(&head.streams)
            && head.coupled <= head.streams
            && sources <= 255
            && head.mapping.iter().all(is_source);
        if fits { Ok(head) } else { Err(damaged()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(channels: u8, gain: i16, rest: &[u8]) -> Vec<u8> {
        let gain = gain.to_le_bytes();
        [
            &b"OpusHead\x01"[..],
            &[channels, 0x38, 1, 0x80, 0xbb, 0, 0, gain[0], gain[1]],
            rest,
        ]
        .concat()
    }

    #[test]
    fn reads_the_identification_header() {
        let stereo = header(2, -6 * 256, &[0]);
        assert_eq!(pre_skip(&stereo), 312);
        // The layout of MP4.
        assert_eq!(pre_skip(b"OpusHead\0\x02\x01\x38"), 312);
        let head = Head::read(&stereo).unwrap();
        assert_eq!(
            (head.streams, head.coupled, head.mapping),
            (1, 1, vec![0, 1])
        );
        // -6 dB.
        assert!((head.gain - 0.501_187).abs() < 1e-5);
        let surround = Head::read(&header(6, 0, &[1, 4, 2, 0, 4, 1, 2, 3, 5])).unwrap();
        assert_eq!((surround.streams, surround.coupled), (4, 2));
        assert_eq!(surround.mapping, [0, 4, 1, 2, 3, 5]);
    }

    #[rstest::rstest]
    #[case::short(b"OpusHead\x01\x02".to_vec())]
    #[case::other(vec![0; 30])]
    #[case::no_mapping(header(6, 0, &[1, 4, 2, 0]))]
    #[case::reserved(header(4, 0, &[2, 4, 0, 0, 1, 2, 3]))]
    #[case::no_channels(header(0, 0, &[0]))]
    #[case::channels_of_streams_that_are_not_there(header(2, 0, &[1, 1, 0, 0, 1]))]
    fn refuses_a_damaged_header(#[case] header: Vec<u8>) {
        assert!(Opus::new(Some(&header), 2).is_err());
    }
}

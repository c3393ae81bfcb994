//! Decoding of audio files: from bytes to samples.

use std::io::Cursor;
use std::ops::Range;

use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as CodecError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::well_known::{FORMAT_ID_MP1, FORMAT_ID_MP2, FORMAT_ID_MP3};
use symphonia::core::formats::{FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, ReadOnlySource};
use symphonia::core::packet::Packet;

use super::load::Truncated;
use super::mpeg::{self, Lengths};
use super::opus::{self, Opus};
use super::repair::with_actual_sizes;
use super::wav::{self, Coding, DataLength};
use crate::{Error, Result};

/// Fewer missing samples than this are ignored: lengths count encoder padding, and last packets are padded.
const SLACK: u64 = 2400;

/// The same for MPEG frames, of which some writers count one more.
const MPEG_SLACK: u64 = 1152;

/// A run of samples of one rate, before resampling.
#[derive(Debug, Default)]
pub(super) struct Section {
    pub(super) mono: Vec<f32>,
    pub(super) rate: u32,
    pub(super) channels: usize,
}

/// The contents of a file.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    /// None is empty.
    pub(super) sections: Vec<Section>,
    pub(super) truncated: Option<Truncated>,
}

/// Returns whether there is a decoder for this file.
pub(super) fn probes(head: &[u8]) -> bool {
    std::panic::catch_unwind(|| probe(Cursor::new(head)).is_ok()).unwrap_or(false)
}

impl Decoded {
    /// Decodes a file, and the files that are appended to it.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let mut decoded = Self::default();
        if wav::is_wav(bytes) {
            decoded.wav(bytes)?;
        } else if bytes[mpeg::skip_id3(bytes, 0).min(bytes.len())..].starts_with(b"fLaC") {
            for part in flac_parts(bytes) {
                let read = probe(Cursor::new(&bytes[part])).and_then(|part| decoded.tracks(part));
                decoded.joined(read)?;
            }
        } else if let Some((file, short)) = with_actual_sizes(bytes) {
            decoded.container(&file)?;
            decoded.lacks(short);
        } else {
            decoded.container(bytes)?;
        }
        decoded.sections.retain(|section| !section.mono.is_empty());
        Ok(decoded)
    }

    /// Decodes any file but wav and flac.
    fn container(&mut self, bytes: &[u8]) -> Result<()> {
        let read = probe(Cursor::new(bytes)).and_then(|format| {
            let id = format.format_info().format;
            if [FORMAT_ID_MP1, FORMAT_ID_MP2, FORMAT_ID_MP3].contains(&id) {
                self.mpeg(bytes)
            } else {
                self.tracks(format)
            }
        });
        let is_empty = self.sections.iter().all(|section| section.mono.is_empty());
        let read = match read {
            Ok(()) if !is_empty => Ok(()),
            // Some readers read the end of a file first and refuse a truncated one, unless the source cannot seek.
            failed => probe(ReadOnlySource::new(bytes))
                .and_then(|format| self.tracks(format))
                .or(failed),
        };
        if is_live_webm(bytes) && self.truncated == Some(Truncated::Broken) {
            self.truncated = None;
        }
        read
    }

    /// Decodes wav files, one after the other.
    fn wav(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while wav::is_wav(rest) {
            let read = self.one_wav(rest);
            let end = read.as_ref().map_or(rest.len(), |&end| end);
            self.joined(read.map(|_| ()))?;
            rest = &rest[end.min(rest.len())..];
        }
        Ok(())
    }

    /// Returns where the file ends.
    fn one_wav(&mut self, bytes: &[u8]) -> Result<usize> {
        let wav = wav::parse(bytes)?;
        let data = &bytes[wav.data];
        match wav.coding {
            Coding::Mpeg => self.mpeg(data)?,
            Coding::Wave(_) if data.is_empty() => {}
            Coding::Wave(format) => {
                self.tracks(probe(Cursor::new(wav::plain(&format, data)))?)?;
            }
        }
        self.lacks(wav.short);
        Ok(wav.end)
    }

    /// Records missing bytes.
    fn lacks(&mut self, length: Option<DataLength>) {
        if let Some(DataLength { wanted, got }) = length {
            self.truncated = Some(Truncated::Short {
                wanted,
                got,
                unit: "bytes",
            });
        }
    }

    /// Decodes streams of MPEG frames, one after the other.
    fn mpeg(&mut self, bytes: &[u8]) -> Result<()> {
        for part in mpeg::parts(bytes) {
            let read = self.one_mpeg(&bytes[part]);
            self.joined(read)?;
        }
        Ok(())
    }

    fn one_mpeg(&mut self, bytes: &[u8]) -> Result<()> {
        // Where the reader could seek, it would guess the length by the first frame's rate, and end there.
        let mut format = probe(ReadOnlySource::new(bytes))?;
        let track = audio_track(format.as_ref())?;
        let lengths = track.num_frames.map(|frames| Lengths {
            delay: track.delay.unwrap_or(0) as usize,
            frames: frames as usize,
            padding: track.padding.unwrap_or(0) as usize,
        });
        let first = self.sections.len();
        // The length is that of the first of the appended files: what it would cut off is kept.
        let options = AudioDecoderOptions::default().gapless(false);
        self.track(format.as_mut(), &track, options)?;
        let Some(lengths) = lengths else {
            return Ok(());
        };
        let got: usize = self.sections[first..].iter().map(|s| s.mono.len()).sum();
        let wanted = lengths.frames as u64;
        let got = (got as u64).saturating_sub(lengths.delay as u64);
        self.compare(wanted, got, MPEG_SLACK);
        if let Some(section) = self.sections.get_mut(first) {
            lengths.trim(&mut section.mono);
        }
        Ok(())
    }

    /// Keeps the samples so far when an appended file cannot be read.
    fn joined(&mut self, read: Result<()>) -> Result<()> {
        match read {
            Err(error) if self.sections.iter().all(|section| section.mono.is_empty()) => Err(error),
            Err(_) => {
                self.truncated.get_or_insert(Truncated::Broken);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Decodes the first audio track, and those that follow it in a chained stream.
    fn tracks(&mut self, mut format: Box<dyn FormatReader + '_>) -> Result<()> {
        loop {
            let track = audio_track(format.as_ref())?;
            let first = self.sections.len();
            let goes_on = self.track(format.as_mut(), &track, AudioDecoderOptions::default())?;
            let sections = &self.sections[first..];
            let got: usize = sections.iter().map(|section| section.mono.len()).sum();
            // Units other than samples are too coarse.
            let unit = track
                .time_base
                .map(|base| (base.numer.get(), base.denom.get()));
            let in_samples = sections
                .first()
                .is_some_and(|section| unit.is_none_or(|unit| unit == (1, section.rate)));
            if let Some(wanted) = track.num_frames.filter(|_| in_samples && !goes_on) {
                self.compare(wanted, got as u64, SLACK);
            }
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// Records missing samples.
    fn compare(&mut self, wanted: u64, got: u64, slack: u64) {
        if got + slack < wanted {
            self.truncated = Some(Truncated::Short {
                wanted,
                got,
                unit: "frames",
            });
        }
    }

    /// Decodes a track to its end; returns whether another stream follows in the same file.
    fn track(
        &mut self,
        format: &mut dyn FormatReader,
        track: &Track,
        options: AudioDecoderOptions,
    ) -> Result<bool> {
        let mut decoder = Decoder::new(track, options)?;
        let first = self.sections.len();
        loop {
            let packet = match format.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => return Ok(false),
                Err(CodecError::ResetRequired) => return Ok(true),
                // The samples before the damage are kept.
                Err(_) => {
                    self.truncated.get_or_insert(Truncated::Broken);
                    return Ok(false);
                }
            };
            if packet.track_id != track.id {
                continue;
            }
            match decoder.decode(&packet)? {
                Some(samples) => self.append(&samples, first),
                None => {
                    self.truncated.get_or_insert(Truncated::Broken);
                }
            }
        }
    }

    /// Appends samples to the last section, or begins one: the track's `first`, or when the rate or the channels
    /// change.
    fn append(&mut self, samples: &Samples<'_>, first: usize) {
        let &Samples {
            interleaved,
            rate,
            channels,
        } = samples;
        if interleaved.is_empty() {
            return;
        }
        let same = |section: &Section| (section.rate, section.channels) == (rate, channels);
        if self.sections.len() == first || !self.sections.last().is_some_and(same) {
            self.sections.push(Section {
                mono: Vec::new(),
                rate,
                channels,
            });
        }
        let Some(section) = self.sections.last_mut() else {
            return;
        };
        let scale = 1.0 / channels.max(1) as f32;
        let mean = |frame: &[f32]| {
            let mean = frame.iter().sum::<f32>() * scale;
            // A float file can hold NaN or infinity, which would poison everything after it.
            if mean.is_finite() { mean } else { 0.0 }
        };
        let frames = interleaved.chunks_exact(channels.max(1));
        section.mono.extend(frames.map(mean));
    }
}

/// The samples of one packet.
struct Samples<'a> {
    interleaved: &'a [f32],
    rate: u32,
    channels: usize,
}

/// A decoder of the packets of one track.
struct Decoder {
    codec: Codec,
    params: AudioCodecParameters,
    options: AudioDecoderOptions,
    interleaved: Vec<f32>,
}

enum Codec {
    /// A decoder of symphonia.
    Known(Box<dyn AudioDecoder>),
    /// Opus, and how many samples at the start are still to be skipped.
    Opus(Box<Opus>, usize),
}

impl Decoder {
    fn new(track: &Track, options: AudioDecoderOptions) -> Result<Self> {
        let params = track
            .codec_params
            .as_ref()
            .and_then(|params| params.audio())
            .ok_or_else(|| Error::Audio("wanted an audio codec, got none".into()))?
            .clone();
        let codec = if params.codec == CODEC_ID_OPUS {
            let header = params.extra_data.as_deref();
            let channels = params
                .channels
                .as_ref()
                .map_or(2, |channels| channels.count());
            let skip = header.map_or(0, opus::pre_skip);
            Codec::Opus(Box::new(Opus::new(header, channels)?), skip)
        } else {
            Codec::Known(known(&params, options)?)
        };
        Ok(Self {
            codec,
            params,
            options,
            interleaved: Vec::new(),
        })
    }

    /// Decodes a packet; `None` when it is damaged.
    fn decode(&mut self, packet: &Packet) -> Result<Option<Samples<'_>>> {
        match &mut self.codec {
            Codec::Opus(opus, skip) => Ok(decode_opus(opus, skip, packet, &mut self.interleaved)),
            Codec::Known(decoder) => {
                let mut read = decoder.decode(packet).map(drop);
                if matches!(
                    read,
                    Err(CodecError::DecodeError(_) | CodecError::ResetRequired)
                ) {
                    // An appended file may have another rate, which a decoder refuses once it has started.
                    let mut fresh = known(&self.params, self.options)?;
                    if fresh.decode(packet).is_ok() {
                        (*decoder, read) = (fresh, Ok(()));
                    }
                }
                if read.is_err() {
                    return Ok(None);
                }
                let buffer = decoder.last_decoded();
                buffer.copy_to_vec_interleaved(&mut self.interleaved);
                Ok(Some(Samples {
                    interleaved: &self.interleaved,
                    rate: buffer.spec().rate(),
                    channels: buffer.num_planes(),
                }))
            }
        }
    }
}

/// Decodes a packet into `pcm`, without what is to be skipped; `None` when it is damaged.
fn decode_opus<'a>(
    opus: &mut Opus,
    skip: &mut usize,
    packet: &Packet,
    pcm: &'a mut Vec<f32>,
) -> Option<Samples<'a>> {
    *pcm = opus.decode(&packet.data)?;
    let channels = opus.channels();
    let frames = pcm.len() / channels;
    let start = (*skip).min(frames);
    *skip -= start;
    let end = frames.saturating_sub(packet.trim_end.get() as usize);
    Some(Samples {
        interleaved: &pcm[start * channels..end.max(start) * channels],
        rate: opus::RATE,
        channels,
    })
}

/// Returns a decoder of symphonia.
fn known(
    params: &AudioCodecParameters,
    options: AudioDecoderOptions,
) -> Result<Box<dyn AudioDecoder>> {
    symphonia::default::get_codecs()
        .make_audio_decoder(params, &options)
        .map_err(|error| match error {
            CodecError::Unsupported(_) => Error::Audio(format!(
                "codec: wanted PCM, ADPCM, FLAC, ALAC, MP1 to MP3, AAC, Vorbis or Opus, got another (symphonia's number {})",
                params.codec
            )),
            error => not_audio(&error),
        })
}

fn audio_track(format: &dyn FormatReader) -> Result<Track> {
    format
        .default_track(TrackType::Audio)
        .cloned()
        .ok_or_else(|| Error::Audio("wanted an audio track, got none".into()))
}

/// Returns whether a webm file has a segment of unknown size, as browsers record: its end is then not reported missing.
fn is_live_webm(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(4096)];
    let segment = head.windows(4).position(|id| id == b"\x18\x53\x80\x67");
    let size = segment.and_then(|at| head.get(at + 4..at + 12));
    head.starts_with(b"\x1a\x45\xdf\xa3")
        && size.is_some_and(|size| size == b"\x01\xff\xff\xff\xff\xff\xff\xff" || size[0] == 0xff)
}

/// Returns the ranges of a FLAC file's parts, when other files were appended to it.
fn flac_parts(bytes: &[u8]) -> Vec<Range<usize>> {
    // The marker and the header of the block that must come first.
    let is_start = |window: &[u8]| {
        window.starts_with(b"fLaC") && window[4] & 0x7f == 0 && window[5..] == [0, 0, 34]
    };
    let found = bytes.windows(8).enumerate().filter(|(_, w)| is_start(w));
    let joined: Vec<usize> = found.skip(1).map(|(at, _)| at).collect();
    let ends = joined.iter().copied().chain([bytes.len()]);
    let starts = [0].into_iter().chain(joined.iter().copied());
    starts.zip(ends).map(|(start, end)| start..end).collect()
}

fn probe<'a>(source: impl MediaSource + 'a) -> Result<Box<dyn FormatReader + 'a>> {
    let stream = MediaSourceStream::new(Box::new(source), Default::default());
    symphonia::default::get_probe()
        .probe(&Hint::new(), stream, Default::default(), Default::default())
        .map_err(|error| not_audio(&error))
}

fn not_audio(error: &CodecError) -> Error {
    Error::Audio(format!(
        "wanted a whole recording, got a damaged one ({error})"
    ))
}

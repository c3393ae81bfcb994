//! How are wav, flac and mp3 files decoded?

use std::io::{Cursor, Read};
use std::path::Path;

use symphonia::core::codecs::audio::AudioDecoder;
use symphonia::core::errors::Error as CodecError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;

use super::{SAMPLE_RATE, resample, wav};
use crate::{Error, Result};

/// Is a recording as mono samples at [`SAMPLE_RATE`], in -1 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Audio {
    /// The samples.
    pub samples: Vec<f32>,
    /// The rate of the file, in Hz.
    pub source_rate: u32,
    /// The channels of the file, which are averaged.
    pub source_channels: usize,
    /// Set when the file holds less than its header promises; `samples` has what is there.
    pub truncated: Option<Truncated>,
}

/// Says how much of a file is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Truncated {
    /// The header promises more than the file holds, in this unit of the file.
    Short {
        /// What the header says.
        wanted: u64,
        /// What is there.
        got: u64,
        /// `"bytes"` or `"frames"`.
        unit: &'static str,
    },
    /// The stream ends or breaks in the middle of a packet; the header gives no length.
    Broken,
}

impl std::fmt::Display for Truncated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Short { wanted, got, unit } => {
                write!(f, "truncated: wanted {wanted} {unit}, got {got}")
            }
            Self::Broken => f.write_str("truncated: the last packet is incomplete"),
        }
    }
}

impl Audio {
    /// Loads a wav, flac or mp3 file.
    ///
    /// A file cut short gives the samples that are there and sets [`Audio::truncated`].
    /// # Errors
    /// [`Error::Io`] when the file cannot be read; [`Error::Audio`] when it is not audio of a
    /// known kind, or holds no samples at all.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let named = |error| match error {
            Error::Audio(text) => Error::Audio(format!("{}: {text}", path.display())),
            other => other,
        };
        Self::from_bytes(bytes).map_err(named)
    }

    /// Loads a recording from a reader, to its end.
    ///
    /// # Errors
    /// As for [`Audio::load`].
    pub fn from_reader(mut reader: impl Read) -> Result<Self> {
        let mut bytes = Vec::new();
        reader
            .read_to_end(&mut bytes)
            .map_err(Error::io(Path::new("reader")))?;
        Self::from_bytes(bytes)
    }

    /// Loads a recording from the bytes of a file.
    ///
    /// # Errors
    /// As for [`Audio::load`].
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self> {
        let mut bytes = bytes.into();
        if bytes.is_empty() {
            return Err(Error::Audio(
                "wanted a wav, flac or mp3 file, got an empty one".into(),
            ));
        }
        if let Some(channels) = wav::absurd_channels(&bytes) {
            return Err(Error::Audio(format!(
                "channels: wanted at most 64, got {channels}"
            )));
        }
        let short = wav::mend_length(&mut bytes);
        // The decoders are written for sound files; a damaged one must not end the program.
        let mut decoded =
            std::panic::catch_unwind(|| Decoded::read(bytes)).unwrap_or_else(|_| {
                Err(Error::Audio(
                    "wanted a sound file, got a damaged one".into(),
                ))
            })?;
        if let Some(length) = short {
            decoded.truncated = Some(Truncated::Short {
                wanted: length.wanted,
                got: length.got,
                unit: "bytes",
            });
        }
        if decoded.mono.is_empty() {
            let why = decoded
                .truncated
                .map_or_else(String::new, |truncated| format!(" ({truncated})"));
            return Err(Error::Audio(format!(
                "wanted samples, got a file without any{why}"
            )));
        }
        let mut audio = Self::from_samples(&decoded.mono, decoded.rate)?;
        audio.source_channels = decoded.channels;
        audio.truncated = decoded.truncated;
        Ok(audio)
    }

    /// Makes a recording of mono samples at `rate` Hz.
    ///
    /// # Errors
    /// [`Error::Audio`] when `rate` is outside 1 kHz to 768 kHz.
    pub fn from_samples(samples: &[f32], rate: u32) -> Result<Self> {
        let samples = resample(samples, rate)?;
        Ok(Self {
            samples,
            source_rate: rate,
            source_channels: 1,
            truncated: None,
        })
    }

    /// Returns the length in seconds.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(SAMPLE_RATE)
    }
}

/// A file's samples before they are resampled.
struct Decoded {
    mono: Vec<f32>,
    rate: u32,
    channels: usize,
    truncated: Option<Truncated>,
}

impl Decoded {
    fn read(bytes: Vec<u8>) -> Result<Self> {
        let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), Default::default());
        let mut format = symphonia::default::get_probe()
            .probe(&Hint::new(), stream, Default::default(), Default::default())
            .map_err(|error| not_audio(&error))?;
        let track = format
            .default_track(TrackType::Audio)
            .ok_or_else(|| Error::Audio("wanted an audio track, got none".into()))?;
        let (track_id, promised) = (track.id, track.num_frames);
        let params = track
            .codec_params
            .as_ref()
            .and_then(|params| params.audio())
            .ok_or_else(|| Error::Audio("wanted an audio codec, got none".into()))?;
        let mut decoder = symphonia::default::get_codecs()
            .make_audio_decoder(params, &Default::default())
            .map_err(|error| not_audio(&error))?;
        let mut decoded = Self {
            mono: Vec::new(),
            rate: 0,
            channels: 0,
            truncated: None,
        };
        let broken = decoded.drain(format.as_mut(), decoder.as_mut(), track_id)?;
        let got = decoded.mono.len() as u64;
        decoded.truncated = match promised {
            // mp3 headers count the encoder's delay, which the decoder trims: only a lack of
            // more than one packet is a lack.
            Some(wanted) if got + 2400 < wanted => Some(Truncated::Short {
                wanted,
                got,
                unit: "frames",
            }),
            _ if broken => Some(Truncated::Broken),
            _ => None,
        };
        Ok(decoded)
    }

    /// Decodes packets to the end; returns whether the stream ended in a broken one.
    fn drain(
        &mut self,
        format: &mut dyn FormatReader,
        decoder: &mut dyn AudioDecoder,
        track: u32,
    ) -> Result<bool> {
        let mut broken = false;
        let mut interleaved: Vec<f32> = Vec::new();
        loop {
            let packet = match format.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => return Ok(broken),
                // What came before the damage is worth more than an error.
                Err(_) => return Ok(true),
            };
            if packet.track_id != track {
                continue;
            }
            match decoder.decode(&packet) {
                Ok(buffer) => {
                    let (rate, channels) = (buffer.spec().rate(), buffer.num_planes());
                    if self.rate != 0 && (self.rate, self.channels) != (rate, channels) {
                        return Err(Error::Audio(format!(
                            "wanted one format throughout, got {} Hz x {} and then {rate} Hz x {channels}",
                            self.rate, self.channels
                        )));
                    }
                    (self.rate, self.channels) = (rate, channels);
                    buffer.copy_to_vec_interleaved(&mut interleaved);
                    self.downmix(&interleaved);
                }
                Err(CodecError::DecodeError(_)) => broken = true,
                Err(_) => return Ok(true),
            }
        }
    }

    /// Appends the mean of the channels.
    fn downmix(&mut self, interleaved: &[f32]) {
        match self.channels {
            0 | 1 => self.mono.extend_from_slice(interleaved),
            channels => {
                let scale = 1.0 / channels as f32;
                self.mono.extend(
                    interleaved
                        .chunks_exact(channels)
                        .map(|frame| frame.iter().sum::<f32>() * scale),
                );
            }
        }
        // A float file can hold NaN or infinity, which would poison everything after it.
        let start = self.mono.len() - interleaved.len() / self.channels.max(1);
        for sample in &mut self.mono[start..] {
            if !sample.is_finite() {
                *sample = 0.0;
            }
        }
    }
}

fn not_audio(error: &CodecError) -> Error {
    Error::Audio(format!(
        "wanted a wav, flac or mp3 file, got something else ({error})"
    ))
}

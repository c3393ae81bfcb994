//! Loading of a recording from a file, a pipe or memory.

use std::io::Read;
use std::path::Path;

use super::decode::Decoded;
use super::{SAMPLE_RATE, kind, resample};
use crate::{Error, Result};

/// Max bytes that are read from a stream without a length, which may never end: 2 GiB.
const MOST: u64 = 2 << 30;

/// A recording as mono samples at [`SAMPLE_RATE`], in -1 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Audio {
    /// The samples.
    pub samples: Vec<f32>,
    /// The rate of the file, in Hz.
    pub source_rate: u32,
    /// The channels of the file, which are averaged.
    pub source_channels: usize,
    /// Set when the file holds less than its header states; `samples` has what it holds.
    pub truncated: Option<Truncated>,
}

/// How much of a file is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Truncated {
    /// The header states more than the file holds, in this unit of the file.
    Short {
        /// What the header states.
        wanted: u64,
        /// What the file holds.
        got: u64,
        /// `"bytes"` or `"frames"`.
        unit: &'static str,
    },
    /// The stream ends or breaks in the middle of a packet.
    Broken,
}

impl std::fmt::Display for Truncated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Short { wanted, got, unit } => {
                write!(f, "truncated: wanted {wanted} {unit}, got {got}")
            }
            Self::Broken => f.write_str("truncated: a packet is incomplete or damaged"),
        }
    }
}

impl Audio {
    /// Loads a recording: wav (RF64 and Wave64 too), flac, mp3, ogg, opus, m4a, webm, aiff or caf.
    ///
    /// The first audio track is decoded. Files that were appended to each other give all of their samples. A truncated
    /// file gives the samples that it holds and sets [`Audio::truncated`].
    /// # Errors
    /// [`Error::Io`] when the file cannot be read; [`Error::Audio`] when it is not audio of a
    /// known format, or holds no samples at all.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let read = || {
            let mut file = std::fs::File::open(path)?;
            let mut bytes = Vec::new();
            // A device or a pipe has no length, and may have no end.
            if !file.metadata()?.is_file() {
                return Ok(Err(file));
            }
            file.read_to_end(&mut bytes)?;
            Ok(Ok(bytes))
        };
        let audio = match read().map_err(Error::io(path))? {
            Ok(bytes) => Self::from_bytes(bytes),
            Err(device) => Self::from_stream(device, path),
        };
        audio.map_err(|error| match error {
            Error::Audio(text) => Error::Audio(format!("{}: {text}", path.display())),
            other => other,
        })
    }

    /// Loads a recording from a reader, to its end, but no more than 2 GiB.
    ///
    /// Data that does not begin as a recording is refused once its first MiB is read.
    /// # Errors
    /// As for [`Audio::load`].
    pub fn from_reader(reader: impl Read) -> Result<Self> {
        Self::from_stream(reader, Path::new("reader"))
    }

    fn from_stream(mut reader: impl Read, name: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        let mut read = |bytes: &mut Vec<u8>, most: u64| {
            let part = reader.by_ref().take(most).read_to_end(bytes);
            part.map_err(Error::io(name))
        };
        read(&mut bytes, kind::HEAD as u64)?;
        kind::check(&bytes)?;
        read(&mut bytes, MOST - kind::HEAD as u64)?;
        if bytes.len() as u64 == MOST && read(&mut bytes, 1)? > 0 {
            return Err(Error::Audio(format!(
                "wanted at most {MOST} bytes from a pipe or device, got more"
            )));
        }
        Self::from_bytes(bytes)
    }

    /// Loads a recording from the bytes of a file.
    ///
    /// # Errors
    /// As for [`Audio::load`].
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self> {
        let bytes = bytes.into();
        kind::check(&bytes[..bytes.len().min(kind::HEAD)])?;
        // The decoders may panic on a damaged file, which must not end the program.
        let decoded = std::panic::catch_unwind(|| Decoded::read(&bytes)).unwrap_or_else(|_| {
            Err(Error::Audio(
                "wanted a sound file, got a damaged one".into(),
            ))
        })?;
        let Some(first) = decoded.sections.first() else {
            let why = decoded
                .truncated
                .map_or_else(String::new, |truncated| format!(" ({truncated})"));
            return Err(Error::Audio(format!(
                "wanted samples, got a file without any{why}"
            )));
        };
        let (source_rate, source_channels) = (first.rate, first.channels);
        let mut samples = Vec::new();
        for section in decoded.sections {
            let part = resample(&section.mono, section.rate)?;
            if samples.is_empty() {
                samples = part;
            } else {
                samples.extend(part);
            }
        }
        Ok(Self {
            samples,
            source_rate,
            source_channels,
            truncated: decoded.truncated,
        })
    }

    /// Returns a recording of mono samples at `rate` Hz.
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

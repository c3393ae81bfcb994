//! Audio files as 16 kHz mono samples.
//!
//! ```
//! use mlx_models::audio::{Audio, SAMPLE_RATE};
//!
//! let silence = Audio::from_samples(&[0.0; 8000], 8000)?;
//! assert_eq!(silence.samples.len(), SAMPLE_RATE as usize);
//! # Ok::<(), mlx_models::Error>(())
//! ```

mod decode;
mod kind;
mod load;
mod mpeg;
mod opus;
mod repair;
mod resample;
mod wav;

pub use load::{Audio, Truncated};
pub use resample::resample;

/// The sample rate of Whisper's input.
pub const SAMPLE_RATE: u32 = 16_000;

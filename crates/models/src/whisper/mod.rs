//! How does Whisper turn speech into text?
//!


mod fast_math;
mod filterbank;
mod mel;


pub use filterbank::Filterbank;
pub use mel::{FRAMES_PER_SECOND, HOP, LogMel, Mel, N_FFT, WINDOW_FRAMES, WINDOW_SAMPLES};

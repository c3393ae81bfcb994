//! Test data: recordings, weights and a small data set for tests, benchmarks, notebooks and the demo.
//!
//! [`assets`] has a function for each file, which fetches it on first use; [`digits`] reads scikit-learn's handwritten
//! digits; [`if_available`] and [`needs`] let a test skip where a file or a feature of the device cannot
//! be had, and [`slack`](slack()) widens tolerances on other devices.
#![forbid(unsafe_code)]

pub mod assets;
mod available;
pub mod digits;
mod error;
mod fetch;
mod needs;
mod slack;

pub use available::if_available;
pub use error::{Error, Result};
pub use fetch::{Pin, fetch_npm, fetch_pypi};
pub use slack::slack;

//! Resampling to 16 kHz.

use rubato::audioadapter_buffers::direct::SequentialSliceOfVecs;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

use super::SAMPLE_RATE;
use crate::{Error, Result};

/// Rates outside this range are a sign of a damaged header, and would need huge tables.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;

/// Input frames per transform: long enough for a steep filter, short enough for the cache.
const BLOCK: usize = 1024;

/// Resamples mono `samples` from `rate` to 16 kHz.
///
/// The result has `ceil(samples.len() * 16000 / rate)` samples and no delay.
/// # Errors
/// [`Error::Audio`] when `rate` is outside 1 kHz to 768 kHz.
pub fn resample(samples: &[f32], rate: u32) -> Result<Vec<f32>> {
    if !RATES.contains(&rate) {
        return Err(Error::Audio(format!(
            "sample rate: wanted {} to {} Hz, got {rate}",
            RATES.start(),
            RATES.end()
        )));
    }
    if rate == SAMPLE_RATE || samples.is_empty() {
        return Ok(samples.to_vec());
    }
    let failed =
        |error: &dyn std::fmt::Display| Error::Audio(format!("resampling from {rate} Hz: {error}"));
    let mut resampler = Fft::<f32>::new_custom(
        rate as usize,
        SAMPLE_RATE as usize,
        block(rate),
        1,
        1,
        WindowFunction::BlackmanHarris2,
        FixedSync::Both,
    )
    .map_err(|error| failed(&error))?;
    let channels = [samples.to_vec()];
    let input =
        SequentialSliceOfVecs::new(&channels, 1, samples.len()).map_err(|error| failed(&error))?;
    let output = resampler
        .process_all(&input, samples.len(), None)
        .map_err(|error| failed(&error))?;
    Ok(output.take_data())
}

/// Input frames per transform, near [`BLOCK`].
///
/// Both sides must be even: the filter's delay is half a block, and half a sample of it would stay
/// in the result.
fn block(rate: u32) -> usize {
    let smallest = (rate / greatest_common_divisor(rate, SAMPLE_RATE)) as usize;
    smallest * BLOCK.div_ceil(smallest).next_multiple_of(2)
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

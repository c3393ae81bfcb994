//! Which ranges are exact when a step is added again and again.

use super::Op;
use crate::Dtype;
use crate::dtype::DtypeKind;

impl Op {
    /// Whether this is an `arange` that rounds: some partial sum of start and steps is no number of its dtype.
    pub(crate) fn is_rounded_range(&self) -> bool {
        match self {
            Self::Arange {
                start,
                stop,
                step,
                dtype,
            } => !is_exact(*start, *stop, *step, *dtype),
            _ => false,
        }
    }
}

/// Whether every partial sum is a number of the dtype.
fn is_exact(start: f64, stop: f64, step: f64, dtype: Dtype) -> bool {
    let is_whole = start.fract() == 0.0 && step.fract() == 0.0;
    let most = start.abs().max(stop.abs()) + step.abs();
    let digits = match dtype {
        Dtype::Float16 => 11,
        Dtype::Bfloat16 => 8,
        Dtype::Float32 => 24,
        Dtype::Float64 => 53,
        // Integers are cut, as NumPy does; whole ones beyond 2^53 are not told apart by MLX.
        _ if dtype.kind() == DtypeKind::Complex => 24,
        _ => return !is_whole || most < 2_f64.powi(53),
    };
    is_whole && most <= 2_f64.powi(digits)
}

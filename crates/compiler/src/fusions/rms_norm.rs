//! RMS normalization: `x * rsqrt(mean(x^2) + eps) * weight` becomes one kernel.
//!
//! Recognized: the mean of a square or of a power 2, or a sum divided by the length; a root and a division or an
//! inverse root; statistics in `float32` of an input of another dtype, cast back before or behind the weight; weights
//! such as `weight + 1`. Refused: statistics in half precision, which overflow where the kernel's do not; another axis
//! than the last; `eps` outside of the root.

use mlx::fast;

use super::affine::{Core, check_dtype, follow};
use super::look::Look;
use super::{Found, Match, Refusal, RefusalKind};
use crate::graph::Value;

/// Finds the formula by its normalized values, and goes on over cast and weight.
pub(super) fn find(look: &Look<'_>, value: Value) -> Found {
    let core = match core(look, value)? {
        Ok(core) => core,
        Err(refusal) => return Some(Err(refusal)),
    };
    if let Err(refusal) = check_dtype(look, &core) {
        return Some(Err(refusal));
    }
    let affine = follow(look, &core, false);
    let (eps, dtype) = (core.eps, affine.dtype);
    let mut inputs = vec![affine.x];
    inputs.extend(affine.weight);
    Some(Ok(Match::new(inputs, affine.output, move |inputs| {
        let weight = inputs
            .get(1)
            .map(|weight| weight.reshape([-1]).astype(dtype));
        fast::rms_norm(&inputs[0], weight.as_ref(), eps)
    })))
}

/// `x * rsqrt(mean(x^2) + eps)`.
fn core(look: &Look<'_>, value: Value) -> Option<Result<Core, Refusal>> {
    for (x, under_root) in look.over_root(value) {
        let (mean, eps) = look.plus_number(under_root).unwrap_or((under_root, 0.0));
        let Some(mean) = look.mean_of(mean) else {
            continue;
        };
        let Some(squared) = look.square_of(mean.of) else {
            continue;
        };
        if squared != x {
            continue;
        }
        // A vector that is subtracted first makes it a layer norm, which is looked for elsewhere.
        if look.is_centred(x) {
            return None;
        }
        if !mean.over_last_axis {
            let reason = "the mean is not over the last axis alone";
            return Some(Err(Refusal::new(RefusalKind::Axis, reason)));
        }
        #[allow(clippy::cast_possible_truncation)]
        let eps = eps as f32;
        if eps < 0.0 {
            let reason = format!("eps is negative, {eps:?}");
            return Some(Err(Refusal::new(RefusalKind::Eps, reason)));
        }
        return Some(Ok(Core {
            x,
            normalized: value,
            eps,
        }));
    }
    eps_outside(look, value)
}

/// `x / (sqrt(mean(x^2)) + eps)` is another function.
fn eps_outside(look: &Look<'_>, value: Value) -> Option<Result<Core, Refusal>> {
    let [x, below] = look.binary(value, &mlx::Op::Divide)?;
    let (root, _) = look.plus_number(below)?;
    let mean = look.mean_of(look.sqrt_of(root)?)?;
    (look.square_of(mean.of) == Some(x)).then(|| {
        let reason = "eps is added to the root, not under it";
        Err(Refusal::new(RefusalKind::Eps, reason))
    })
}

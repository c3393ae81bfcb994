//! RMS normalization: `x * rsqrt(mean(x^2) + eps) * weight` becomes one kernel.
//!
//! Recognized: the mean of a square or of a power 2, or a sum divided by the length; a root and a division or an
//! inverse root; statistics in `float32` of an input of another dtype, cast back before or behind the weight; weights
//! such as `weight + 1`, also on the root or on the input, as in Flax. Refused: statistics in half precision, which overflow where the kernel's do not, or a root
//! that is rounded before it is used; another axis than the last; `eps` outside of the root. Silent where the mean
//! stands beside a column, as without `keepdims` it may.

use mlx::fast;

use super::matcher::Look;
use super::matcher::affine::{Core, check_dtype, check_eps, follow};
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
    let (eps, dtype, widens) = (core.eps, affine.dtype, affine.widens);
    let mut inputs = vec![affine.x];
    inputs.extend(affine.weight);
    Some(Ok(Match::new(inputs, affine.output, move |inputs| {
        let weight = inputs
            .get(1)
            .map(|weight| weight.reshape([-1]).astype(dtype));
        let x = match widens {
            true => inputs[0].astype(dtype),
            false => inputs[0].clone(),
        };
        fast::rms_norm(&x, weight.as_ref(), eps)
    })))
}

/// `x * rsqrt(mean(x^2) + eps)`.
fn core(look: &Look<'_>, value: Value) -> Option<Result<Core, Refusal>> {
    for found in look.over_root(value) {
        let (under, eps) = look.plus_number(found.under).unwrap_or((found.under, 0.0));
        let Some(mean) = look.mean_of(under) else {
            continue;
        };
        let Some(x) = look.square_of(mean.of) else {
            continue;
        };
        let wide = look.dtype(value) == look.dtype(x);
        let same = x == found.above || wide && look.widens_to(found.above, x);
        if (!same || found.is_cast) && look.uncast(x) == look.uncast(found.above) {
            let reason = "the values, their squares and the root are rounded differently";
            return Some(Err(Refusal::new(RefusalKind::Dtype, reason)));
        }
        if !same {
            continue;
        }
        // A vector that is subtracted first makes it a layer norm, which is looked for elsewhere.
        if look.is_centred(x) {
            return None;
        }
        if !look.is_last_axis(x, &mean.axes) {
            let reason = "the mean is not over the last axis alone";
            return Some(Err(Refusal::new(RefusalKind::Axis, reason)));
        }
        if !look.is_kept(found.root, x, &mean.axes) {
            continue;
        }
        return Some(check_eps(eps).map(|eps| Core {
            x,
            normalized: value,
            eps,
            weight: found.weight,
            is_mixed: x != found.above,
        }));
    }
    eps_outside(look, value)
}

/// `x / (sqrt(mean(x^2)) + eps)` is another function.
fn eps_outside(look: &Look<'_>, value: Value) -> Option<Result<Core, Refusal>> {
    look.quotients(value).into_iter().find_map(|(x, below)| {
        let (root, _) = look.plus_number(below)?;
        let mean = look.mean_of(look.sqrt_of(root)?)?;
        (look.square_of(mean.of) == Some(x)).then(|| {
            let reason = "eps is added to the root, not under it";
            Err(Refusal::new(RefusalKind::Eps, reason))
        })
    })
}

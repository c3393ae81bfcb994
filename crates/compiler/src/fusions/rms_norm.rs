//! RMS normalization: `x * rsqrt(mean(x^2) + eps) * weight` becomes one kernel.
//!
//! Recognized: the mean of a square or of a power 2, or a sum divided by the length; a root and a division or an
//! inverse root; statistics in `float32` of an input of another dtype, cast back before or after the weight; weights
//! such as `weight + 1`, also on the root or on the input, as in Flax. Refused: statistics in half precision, which
//! overflow where the kernel's do not, or a root that is rounded before it is used; another axis than the last; `eps`
//! outside of the root. Not reported where the mean
//! is broadcast along another axis, as may happen without `keepdims`.

use mlx::fast;

use super::matcher::Matcher;
use super::matcher::affine::{NormalizedCore, check_dtype, check_eps, match_affine};
use super::{Match, MatchResult, Refusal, RefusalKind};
use crate::graph::Value;

/// Matches the formula by its normalized values, and what follows them: a cast, a weight.
pub(super) fn match_at(matcher: &Matcher<'_>, value: Value) -> MatchResult {
    let core = match core(matcher, value)? {
        Ok(core) => core,
        Err(refusal) => return Some(Err(refusal)),
    };
    if let Err(refusal) = check_dtype(matcher, &core) {
        return Some(Err(refusal));
    }
    let affine = match_affine(matcher, &core, false);
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
fn core(matcher: &Matcher<'_>, value: Value) -> Option<Result<NormalizedCore, Refusal>> {
    for found in matcher.div_by_sqrt(value) {
        let (radicand, eps) = matcher
            .plus_number(found.radicand)
            .unwrap_or((found.radicand, 0.0));
        let Some(mean) = matcher.mean_of(radicand) else {
            continue;
        };
        let Some(x) = matcher.square_of(mean.of) else {
            continue;
        };
        let is_upcast = matcher.dtype(value) == matcher.dtype(x);
        let same = x == found.numerator || is_upcast && matcher.upcasts_to(found.numerator, x);
        if (!same || found.is_cast)
            && matcher.strip_casts(x) == matcher.strip_casts(found.numerator)
        {
            let reason = "the values, their squares and the root are rounded differently";
            return Some(Err(Refusal::new(RefusalKind::Dtype, reason)));
        }
        if !same {
            continue;
        }
        // A vector that is subtracted first makes it a layer norm, which is looked for elsewhere.
        if matcher.is_centered(x) {
            return None;
        }
        if !matcher.is_last_axis(x, &mean.axes) {
            let reason = "the mean is not over the last axis alone";
            return Some(Err(Refusal::new(RefusalKind::Axis, reason)));
        }
        if !matcher.is_keepdims_aligned(found.root, x, &mean.axes) {
            continue;
        }
        return Some(check_eps(eps).map(|eps| NormalizedCore {
            x,
            normalized: value,
            eps,
            weight: found.weight,
            is_mixed: x != found.numerator,
        }));
    }
    eps_outside(matcher, value)
}

/// `x / (sqrt(mean(x^2)) + eps)` is another function.
fn eps_outside(matcher: &Matcher<'_>, value: Value) -> Option<Result<NormalizedCore, Refusal>> {
    matcher
        .quotients(value)
        .into_iter()
        .find_map(|(x, denominator)| {
            let (root, _) = matcher.plus_number(denominator)?;
            let mean = matcher.mean_of(matcher.sqrt_of(root)?)?;
            (matcher.square_of(mean.of) == Some(x)).then(|| {
                let reason = "eps is added to the root, not under it";
                Err(Refusal::new(RefusalKind::Eps, reason))
            })
        })
}

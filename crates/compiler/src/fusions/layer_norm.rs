//! Layer normalization: `(x - mean(x)) * rsqrt(var(x) + eps) * weight + bias` becomes one kernel.
//!
//! Recognized: the variance as the mean of the squared differences, or by `var`; the same spellings of root, casts and
//! weights as for RMS normalization. Refused: a variance as `mean(x^2) - mean(x)^2`, which loses digits that the
//! kernel keeps, so that the results differ by more than rounding; statistics in half precision; another axis; a
//! variance with `n - 1`.

use mlx::{Op, fast};

use super::affine::{Core, check_dtype, follow};
use super::look::Look;
use super::{Found, Match, Refusal, RefusalKind};
use crate::graph::Value;

/// Finds the formula by its normalized values, and goes on over cast, weight and bias.
pub(super) fn find(look: &Look<'_>, value: Value) -> Found {
    let core = match core(look, value)? {
        Ok(core) => core,
        Err(refusal) => return Some(Err(refusal)),
    };
    if let Err(refusal) = check_dtype(look, &core) {
        return Some(Err(refusal));
    }
    let affine = follow(look, &core, true);
    let (eps, dtype) = (core.eps, affine.dtype);
    let (has_weight, has_bias) = (affine.weight.is_some(), affine.bias.is_some());
    let mut inputs = vec![affine.x];
    inputs.extend(affine.weight);
    inputs.extend(affine.bias);
    Some(Ok(Match::new(inputs, affine.output, move |inputs| {
        let vector = |place: usize| inputs[place].reshape([-1]).astype(dtype);
        let weight = has_weight.then(|| vector(1));
        let bias = has_bias.then(|| vector(1 + usize::from(has_weight)));
        fast::layer_norm(&inputs[0], weight.as_ref(), bias.as_ref(), eps)
    })))
}

/// `(x - mean(x)) * rsqrt(var(x) + eps)`.
fn core(look: &Look<'_>, value: Value) -> Option<Result<Core, Refusal>> {
    for (centred, under_root) in look.over_root(value) {
        let Some((x, mean_axis)) = look.centred(centred) else {
            continue;
        };
        let (variance, eps) = look.plus_number(under_root).unwrap_or((under_root, 0.0));
        let Some(last_axis) = variance_of(look, variance, x, centred) else {
            continue;
        };
        let last_axis = match last_axis {
            Ok(last_axis) => last_axis,
            Err(refusal) => return Some(Err(refusal)),
        };
        if !(last_axis && mean_axis) {
            let reason = "mean or variance is not over the last axis alone";
            return Some(Err(Refusal::new(RefusalKind::Axis, reason)));
        }
        #[allow(clippy::cast_possible_truncation)]
        let eps = eps as f32;
        return Some(Ok(Core {
            x,
            normalized: value,
            eps,
        }));
    }
    None
}

/// Whether a value is the variance of `x`, and then whether over the last axis alone.
fn variance_of(
    look: &Look<'_>,
    value: Value,
    x: Value,
    centred: Value,
) -> Option<Result<bool, Refusal>> {
    if let Some(mean) = look.mean_of(value)
        && let Some(squared) = look.square_of(mean.of)
    {
        let same = squared == centred || look.centred(squared).is_some_and(|(of, _)| of == x);
        return same.then_some(Ok(mean.over_last_axis));
    }
    let kept = look.keeps_axis(value);
    if let Some((Op::Var { axes, ddof, .. }, node)) = look.node(kept)
        && node.inputs[0] == x
    {
        if *ddof != 0 {
            let reason = format!("the variance divides by n - {ddof}, the kernel by n");
            return Some(Err(Refusal::new(RefusalKind::Formula, reason)));
        }
        let last = i32::try_from(look.ndim(x)).unwrap_or(i32::MAX) - 1;
        return Some(Ok(axes == &[last] || axes == &[-1]));
    }
    one_pass(look, value, x)
}

/// `mean(x^2) - mean(x)^2`.
fn one_pass(look: &Look<'_>, value: Value, x: Value) -> Option<Result<bool, Refusal>> {
    let [of_squares, square] = look.binary(value, &Op::Subtract)?;
    let of_squares = look.mean_of(of_squares)?;
    let mean = look.mean_of(look.square_of(square)?)?;
    (look.square_of(of_squares.of) == Some(x) && mean.of == x).then(|| {
        let reason = "the variance is mean(x^2) - mean(x)^2, which loses digits that the kernel keeps: \
                      results would differ by more than rounding";
        Err(Refusal::new(RefusalKind::Formula, reason))
    })
}

impl Look<'_> {
    /// `x` when a value is `x - mean(x)`, and whether the mean is over the last axis alone.
    pub(super) fn centred(&self, value: Value) -> Option<(Value, bool)> {
        let [x, mean] = self.binary(value, &Op::Subtract)?;
        let mean = self.mean_of(mean)?;
        (mean.of == x).then_some((x, mean.over_last_axis))
    }

    /// Whether a value is something less its own mean.
    pub(super) fn is_centred(&self, value: Value) -> bool {
        self.centred(value).is_some()
    }
}

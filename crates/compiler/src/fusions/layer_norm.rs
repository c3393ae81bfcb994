//! Layer normalization: `(x - mean(x)) * rsqrt(var(x) + eps) * weight + bias` becomes one kernel.
//!
//! Recognized: the variance as the mean of the squared differences, or by `var` or `std`; the same spellings of root,
//! casts and weights as for RMS normalization. Refused: a variance as `mean(x^2) - mean(x)^2`, which loses digits that
//! the kernel keeps, so that the results differ by more than rounding; statistics in half precision; another axis; a
//! variance with `n - 1`; no eps, since a constant row is then NaN or not by rounding alone.

use mlx::{Op, fast};

use super::matcher::Matcher;
use super::matcher::affine::{NormalizedCore, check_dtype, check_eps, check_root, match_affine};
use super::{Match, MatchResult, Refusal, RefusalKind};
use crate::graph::Value;

/// Matches the formula by its normalized values, and what follows them: a cast, a weight, a bias.
pub(super) fn match_at(matcher: &Matcher<'_>, value: Value) -> MatchResult {
    let core = match core(matcher, value)? {
        Ok(core) => core,
        Err(refusal) => return Some(Err(refusal)),
    };
    if let Err(refusal) = check_dtype(matcher, &core) {
        return Some(Err(refusal));
    }
    if core.eps == 0.0 {
        let reason = "without eps a constant row is 0 / 0, of which the kernel's rounding makes another number";
        return Some(Err(Refusal::new(RefusalKind::Eps, reason)));
    }
    let affine = match_affine(matcher, &core, true);
    let (eps, dtype, widens) = (core.eps, affine.dtype, affine.widens);
    let (has_weight, has_bias) = (affine.weight.is_some(), affine.bias.is_some());
    let mut inputs = vec![affine.x];
    inputs.extend(affine.weight);
    inputs.extend(affine.bias);
    Some(Ok(Match::new(inputs, affine.output, move |inputs| {
        let vector = |place: usize| inputs[place].reshape([-1]).astype(dtype);
        let weight = has_weight.then(|| vector(1));
        let bias = has_bias.then(|| vector(1 + usize::from(has_weight)));
        let x = match widens {
            true => inputs[0].astype(dtype),
            false => inputs[0].clone(),
        };
        fast::layer_norm(&x, weight.as_ref(), bias.as_ref(), eps)
    })))
}

/// `(x - mean(x)) * rsqrt(var(x) + eps)`.
fn core(matcher: &Matcher<'_>, value: Value) -> Option<Result<NormalizedCore, Refusal>> {
    for found in matcher.div_by_sqrt(value) {
        let (variance, eps) = matcher
            .plus_number(found.radicand)
            .unwrap_or((found.radicand, 0.0));
        let Some(centered) = matcher.centered(found.numerator) else {
            continue;
        };
        let axes = match variance_of(matcher, variance, &centered, found.numerator) {
            Some(Ok(axes)) => axes,
            Some(Err(refusal)) => return Some(Err(refusal)),
            None => continue,
        };
        match check_axes(matcher, &centered, &axes, found.root) {
            Some(Ok(())) => {}
            Some(Err(refusal)) => return Some(Err(refusal)),
            None => continue,
        }
        let checked = check_root(&found).and_then(|()| check_eps(eps));
        return Some(checked.map(|eps| NormalizedCore {
            x: centered.x,
            normalized: value,
            eps,
            weight: found.weight,
            is_mixed: centered.is_mixed,
        }));
    }
    div_by_deviation(matcher, value)
}

/// Whether mean and variance are over the last axis and broadcast along it.
fn check_axes(
    matcher: &Matcher<'_>,
    centered: &Centered,
    axes: &[i32],
    root: Value,
) -> Option<Result<(), Refusal>> {
    let last =
        matcher.is_last_axis(centered.x, axes) && matcher.is_last_axis(centered.x, &centered.axes);
    if !last {
        let reason = "mean or variance is not over the last axis alone";
        return Some(Err(Refusal::new(RefusalKind::Axis, reason)));
    }
    matcher
        .is_keepdims_aligned(root, centered.x, axes)
        .then_some(Ok(()))
}

/// The axes of the variance of `x` that a value is.
fn variance_of(
    matcher: &Matcher<'_>,
    value: Value,
    centered: &Centered,
    differences: Value,
) -> Option<Result<Vec<i32>, Refusal>> {
    if let Some(mean) = matcher.mean_of(value)
        && let Some(squared) = matcher.square_of(mean.of)
    {
        if squared == differences {
            return Some(Ok(mean.axes));
        }
        let other = matcher
            .centered(squared)
            .filter(|other| other.x == centered.x)?;
        if other.axes != centered.axes {
            let reason = "the mean is over other axes than that in the variance";
            return Some(Err(Refusal::new(RefusalKind::Axis, reason)));
        }
        return Some(Ok(mean.axes));
    }
    let kept = matcher.strip_keepdims(value);
    if let Some((Op::Var { axes, ddof, .. }, node)) = matcher.node(kept)
        && (node.inputs[0] == centered.x || node.inputs[0] == differences)
    {
        return Some(check_ddof(*ddof).map(|()| axes.clone()));
    }
    one_pass_variance(matcher, value, centered.x)
}

fn check_ddof(ddof: i32) -> Result<(), Refusal> {
    if ddof == 0 {
        return Ok(());
    }
    let reason = format!("the variance divides by n - {ddof}, the kernel by n");
    Err(Refusal::new(RefusalKind::Formula, reason))
}

/// `(x - mean(x)) / std(x)`; with something added to the deviation, it is another function.
fn div_by_deviation(
    matcher: &Matcher<'_>,
    value: Value,
) -> Option<Result<NormalizedCore, Refusal>> {
    for (numerator, denominator) in matcher.quotients(value) {
        let deviation = matcher
            .plus_number(denominator)
            .map_or(denominator, |(root, _)| root);
        if deviation != denominator {
            let of = matcher.product(numerator).factors;
            let is_centered = |x: Value| {
                let mut centered = of.iter().filter_map(|factor| matcher.centered(*factor));
                centered.any(|centered| centered.x == x)
            };
            if deviation_of(matcher, deviation).is_some_and(is_centered) {
                let reason = "eps is added to the root, not under it";
                return Some(Err(Refusal::new(RefusalKind::Eps, reason)));
            }
            continue;
        }
        let (Some(centered), Some((Op::Std { axes, ddof, .. }, node))) = (
            matcher.centered(numerator),
            matcher.node(matcher.strip_keepdims(denominator)),
        ) else {
            continue;
        };
        if node.inputs[0] != centered.x && node.inputs[0] != numerator {
            continue;
        }
        if let Err(refusal) = check_ddof(*ddof) {
            return Some(Err(refusal));
        }
        return check_axes(matcher, &centered, axes, denominator).map(|checked| {
            checked.map(|()| NormalizedCore {
                x: centered.x,
                normalized: value,
                eps: 0.0,
                weight: None,
                is_mixed: centered.is_mixed,
            })
        });
    }
    None
}

/// What a value is the standard deviation of.
fn deviation_of(matcher: &Matcher<'_>, value: Value) -> Option<Value> {
    if let (Op::Std { .. }, node) = matcher.node(matcher.strip_keepdims(value))? {
        return Some(node.inputs[0]);
    }
    let variance = matcher.strip_keepdims(matcher.sqrt_of(value)?);
    if let (Op::Var { .. }, node) = matcher.node(variance)? {
        return Some(node.inputs[0]);
    }
    let squared = matcher.square_of(matcher.mean_of(variance)?.of)?;
    Some(matcher.centered(squared)?.x)
}

/// `mean(x^2) - mean(x)^2`.
fn one_pass_variance(
    matcher: &Matcher<'_>,
    value: Value,
    x: Value,
) -> Option<Result<Vec<i32>, Refusal>> {
    // Flax keeps it from becoming negative.
    let clipped = matcher
        .both_orders(value, &Op::Maximum)
        .into_iter()
        .find_map(|[inner, zero]| (matcher.number(zero) == Some(0.0)).then_some(inner));
    let [of_squares, square] = matcher.binary(clipped.unwrap_or(value), &Op::Subtract)?;
    let of_squares = matcher.mean_of(of_squares)?;
    let mean = matcher.mean_of(matcher.square_of(square)?)?;
    (matcher.square_of(of_squares.of) == Some(x) && mean.of == x).then(|| {
        let reason = "the variance is mean(x^2) - mean(x)^2, which loses digits that the kernel keeps: \
                      results would differ by more than rounding";
        Err(Refusal::new(RefusalKind::Formula, reason))
    })
}

/// Something less its own mean.
pub(super) struct Centered {
    pub(super) x: Value,
    axes: Vec<i32>,
    /// Whether the mean is of a cast to a wider dtype of what it is subtracted from.
    is_mixed: bool,
}

impl Matcher<'_> {
    /// Sees a value as `x - mean(x)`.
    fn centered(&self, value: Value) -> Option<Centered> {
        let [x, subtracted] = self.binary(value, &Op::Subtract)?;
        let mean = self.mean_of(subtracted)?;
        let is_upcast = self.dtype(value) == self.dtype(mean.of);
        let same = mean.of == x || is_upcast && self.upcasts_to(x, mean.of);
        (same && self.is_keepdims_aligned(subtracted, x, &mean.axes)).then_some(Centered {
            x: mean.of,
            axes: mean.axes,
            is_mixed: mean.of != x,
        })
    }

    /// Whether a value is something less its own mean.
    pub(super) fn is_centered(&self, value: Value) -> bool {
        self.centered(value).is_some()
    }
}

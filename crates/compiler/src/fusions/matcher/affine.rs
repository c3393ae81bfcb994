//! What follows a normalization: a cast back, a weight, a bias, in their usual orders.

use mlx::{Dtype, Op};

use super::Matcher;
use super::statistics::DivBySqrt;
use crate::fusions::refusal::{Refusal, RefusalKind};
use crate::graph::Value;

/// Normalized values, and what they are computed from.
pub(crate) struct NormalizedCore {
    /// What is normalized, in the dtype of the statistics.
    pub(crate) x: Value,
    /// The normalized values.
    pub(crate) normalized: Value,
    pub(crate) eps: f32,
    /// The weight that is in the normalized values already.
    pub(crate) weight: Option<Value>,
    /// Whether the numerator is what is normalized before it was cast to the dtype of the statistics.
    pub(crate) is_mixed: bool,
}

/// A normalization with what follows it.
pub(crate) struct Affine {
    /// What is normalized, before a cast to the dtype of the statistics.
    pub(crate) x: Value,
    /// Whether the kernel has to make that cast first.
    pub(crate) widens: bool,
    pub(crate) weight: Option<Value>,
    pub(crate) bias: Option<Value>,
    /// The dtype in which weight and bias are applied.
    pub(crate) dtype: Dtype,
    pub(crate) output: Value,
}

/// Checks the dtype of the statistics.
pub(crate) fn check_dtype(matcher: &Matcher<'_>, core: &NormalizedCore) -> Result<(), Refusal> {
    match matcher.dtype(core.x) {
        Dtype::Float32 => Ok(()),
        dtype => Err(Refusal::new(
            RefusalKind::Dtype,
            format!("the statistics are computed in {dtype}, the kernel computes them in float32"),
        )),
    }
}

/// Checks that a root is used as it is.
pub(crate) fn check_root(found: &DivBySqrt) -> Result<(), Refusal> {
    if !found.is_cast {
        return Ok(());
    }
    let reason = "the root is rounded before it is used";
    Err(Refusal::new(RefusalKind::Dtype, reason))
}

/// Checks the epsilon under the root.
pub(crate) fn check_eps(eps: f64) -> Result<f32, Refusal> {
    #[allow(clippy::cast_possible_truncation)]
    let eps = eps as f32;
    if eps >= 0.0 {
        return Ok(eps);
    }
    let reason = format!("eps is {eps:?}, which is not a positive number");
    Err(Refusal::new(RefusalKind::Eps, reason))
}

/// Matches what follows normalized values: casts, a weight and, if `bias`, a bias.
///
/// The kernel casts the normalized values to the dtype of its result before the weight, so a cast of an input from
/// half precision is part of the fusion only when the values are cast back there, or when a `float32` weight follows.
pub(crate) fn match_affine(matcher: &Matcher<'_>, core: &NormalizedCore, bias: bool) -> Affine {
    let narrow = match matcher.node(core.x) {
        Some((Op::Astype { .. }, node)) if matcher.dtype(node.inputs[0]).is_floating() => {
            Some(node.inputs[0])
        }
        _ => None,
    };
    let mut affine = Affine {
        x: core.x,
        widens: false,
        weight: core.weight,
        bias: None,
        dtype: Dtype::Float32,
        output: core.normalized,
    };
    if let Some(narrow) = narrow
        && core.weight.is_none()
        && let Some((output, dtype)) = matcher.cast_after(core.normalized)
        && dtype == matcher.dtype(narrow)
    {
        (affine.x, affine.dtype, affine.output) = (narrow, dtype, output);
    }
    if affine.weight.is_none()
        && let Some((weight, output)) = operand_after(matcher, affine.output, &Op::Multiply)
        && matcher.dtype(output) == affine.dtype
    {
        (affine.weight, affine.output) = (Some(weight), output);
    }
    if bias
        && let Some((bias, output)) = operand_after(matcher, affine.output, &Op::Add)
        && matcher.dtype(output) == affine.dtype
    {
        (affine.bias, affine.output) = (Some(bias), output);
    }
    // The values stay in float32 to the end: a cast of the input can be part of the fusion if there is a float32
    // weight, which makes the kernel's result float32.
    if affine.x == core.x
        && let (Some(narrow), Some(weight)) = (narrow, affine.weight)
        && matcher.dtype(weight) == Dtype::Float32
    {
        affine.x = narrow;
    }
    if let Some((output, _)) = matcher.cast_after(affine.output)
        && (affine.output != core.normalized || core.weight.is_some())
    {
        affine.output = output;
    }
    if core.is_mixed
        && affine.x == core.x
        && let Some(narrow) = narrow
    {
        (affine.x, affine.widens) = (narrow, true);
    }
    affine
}

/// The vector that the only user of a value multiplies it with or adds to it, and the result.
fn operand_after(matcher: &Matcher<'_>, value: Value, op: &Op) -> Option<(Value, Value)> {
    let user = matcher.sole_consumer(value)?;
    if user.operation.op()? != op {
        return None;
    }
    let output = user.outputs[0];
    let other = matcher.strip_broadcast(*user.inputs.iter().find(|input| **input != value)?);
    let fits = matcher.is_vector_for(other, value)
        && matcher.shape(output) == matcher.shape(value)
        && matcher.dtype(other).is_floating()
        && !matcher.depends(other, value);
    fits.then_some((other, output))
}

//! A matrix product with a bias: `x @ weight + bias` becomes one operation.
//!
//! Recognized: a bias over the last axis, broadcast or not; a bias over all axes of the reshaped columns, as in a
//! projection into heads. Refused: a bias that varies over rows; mixed dtypes, which the kernel would round elsewhere.

use mlx::{Op, addmm};

use super::matcher::Matcher;
use super::matcher::statistics::without_leading_ones;
use super::{Match, MatchResult, Refusal, RefusalKind};
use crate::graph::{Value, element_count};

/// Matches the formula.
pub(super) fn match_at(matcher: &Matcher<'_>, value: Value) -> MatchResult {
    for [product, bias] in matcher.both_orders(value, &Op::Add) {
        let bias = match matcher.strip_broadcast(bias) {
            vector if matcher.is_vector_for(vector, product) => vector,
            _ => bias,
        };
        let Some((matmul, columns)) = product_of(matcher, product) else {
            continue;
        };
        let Some([x, weight]) = matcher.binary(matmul, &Op::Matmul) else {
            continue;
        };
        let dtype = matcher.dtype(value);
        if matcher.ndim(x) < 2 || matcher.ndim(weight) != 2 || !dtype.is_floating() {
            return None;
        }
        let is_bias = match columns {
            [_] => matcher.is_vector_for(bias, product),
            _ => without_leading_ones(matcher.shape(bias)) == without_leading_ones(columns),
        };
        if !is_bias {
            // One number is no bias; another array of the same shape is a residual.
            let is_other = element_count(matcher.shape(bias)) == 1
                || matcher.shape(bias) == matcher.shape(product);
            let reason = format!(
                "the bias is {}, not one number for each column",
                matcher.array_type(bias)
            );
            return (!is_other).then(|| Err(Refusal::new(RefusalKind::Shape, reason)));
        }
        if [x, weight, bias].iter().any(|v| matcher.dtype(*v) != dtype) {
            let reason = format!(
                "x is {}, the weight {} and the bias {}, the kernel takes one dtype",
                matcher.dtype(x),
                matcher.dtype(weight),
                matcher.dtype(bias)
            );
            return Some(Err(Refusal::new(RefusalKind::Dtype, reason)));
        }
        let shape = (columns.len() > 1).then(|| matcher.shape(value).to_vec());
        let inputs = vec![x, weight, bias];
        return Some(Ok(Match::new(inputs, value, move |inputs| {
            let result = addmm(&inputs[2].reshape([-1]), &inputs[0], &inputs[1]);
            match &shape {
                Some(shape) => result.reshape(shape.clone()),
                None => result,
            }
        })));
    }
    None
}

/// A matrix product, and the axes of its columns: several if it is reshaped and only the reshape uses it.
fn product_of<'g>(matcher: &Matcher<'g>, value: Value) -> Option<(Value, &'g [i32])> {
    let shape = matcher.shape(value);
    match matcher.node(value)? {
        (Op::Matmul, _) => Some((value, &shape[shape.len().checked_sub(1)?..])),
        (Op::Reshape { .. }, node) if !matcher.shapeless => {
            let matmul = node.inputs[0];
            matcher.binary(matmul, &Op::Matmul)?;
            matcher.sole_consumer(matmul)?;
            let (_, rows) = matcher.shape(matmul).split_last()?;
            let columns = shape.strip_prefix(rows)?;
            (columns.len() > 1).then_some((matmul, columns))
        }
        _ => None,
    }
}

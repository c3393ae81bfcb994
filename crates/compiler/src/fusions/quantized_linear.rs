//! A product with packed weights: `x @ dequantize(weight).T` becomes one operation on the packed ones.
//!
//! Recognized: with or without the transpose. Refused: weights of another dtype than the other side, or rounded on
//! their way.

use mlx::{Op, QuantizationMode, bind};

use super::matcher::Matcher;
use super::{Match, MatchResult, Refusal, RefusalKind};
use crate::graph::Value;

/// Matches the formula.
pub(super) fn match_at(matcher: &Matcher<'_>, value: Value) -> MatchResult {
    let [x, weight] = matcher.binary(value, &Op::Matmul)?;
    let (dense, transpose) = match matcher.node(weight)? {
        (Op::Transpose { axes }, node) if swaps_last(axes) => (node.inputs[0], true),
        _ => (weight, false),
    };
    let unpacked = matcher.strip_casts(dense);
    let (
        Op::Dequantize {
            group_size,
            bits,
            mode,
            ..
        },
        node,
    ) = matcher.node(unpacked)?
    else {
        return None;
    };
    if matcher.ndim(dense) != 2 || matcher.ndim(x) < 2 {
        let reason = format!(
            "x is {}, the weights are {}, not matrices and one matrix",
            matcher.array_type(x),
            matcher.array_type(dense)
        );
        return Some(Err(Refusal::new(RefusalKind::Shape, reason)));
    }
    let (dtype, scales) = (matcher.dtype(x), matcher.dtype(node.inputs[1]));
    if *mode == QuantizationMode::Affine && scales != dtype {
        let reason = format!("scales are {scales} and x is {dtype}, the kernel takes one dtype");
        return Some(Err(Refusal::new(RefusalKind::Dtype, reason)));
    }
    if matcher.dtype(dense) != dtype || matcher.strip_upcasts(dense) != unpacked {
        let reason = format!("x is {dtype}, the weights are rounded on their way to it");
        return Some(Err(Refusal::new(RefusalKind::Dtype, reason)));
    }
    let op = Op::QuantizedMatmul {
        transpose,
        group_size: *group_size,
        bits: *bits,
        mode: *mode,
    };
    let mut inputs = vec![x];
    inputs.extend(&node.inputs);
    Some(Ok(Match::new(inputs, value, move |inputs| {
        bind(op.clone(), &inputs.iter().collect::<Vec<_>>())
    })))
}

/// Whether an order of axes only exchanges the last two.
fn swaps_last(axes: &[i32]) -> bool {
    let mut order: Vec<i32> = (0..).take(axes.len()).collect();
    let n = order.len();
    if n < 2 {
        return false;
    }
    order.swap(n - 2, n - 1);
    order == axes
}

//! A product with packed weights: `x @ dequantize(weight).T` becomes one operation on the packed ones.
//!
//! Recognized: with or without the transpose. Refused: weights of another dtype than the other side, or rounded on
//! their way.

use mlx::{Op, QuantizationMode, bind};

use super::matcher::Look;
use super::{Found, Match, Refusal, RefusalKind};
use crate::graph::Value;

/// Finds the formula.
pub(super) fn find(look: &Look<'_>, value: Value) -> Found {
    let [x, weight] = look.binary(value, &Op::Matmul)?;
    let (dense, transpose) = match look.node(weight)? {
        (Op::Transpose { axes }, node) if swaps_last(axes) => (node.inputs[0], true),
        _ => (weight, false),
    };
    let unpacked = look.uncast(dense);
    let (
        Op::Dequantize {
            group_size,
            bits,
            mode,
            ..
        },
        node,
    ) = look.node(unpacked)?
    else {
        return None;
    };
    if look.ndim(dense) != 2 || look.ndim(x) < 2 {
        let reason = format!(
            "x is {}, the weights are {}, not matrices and one matrix",
            look.array_type(x),
            look.array_type(dense)
        );
        return Some(Err(Refusal::new(RefusalKind::Shape, reason)));
    }
    let (dtype, scales) = (look.dtype(x), look.dtype(node.inputs[1]));
    if *mode == QuantizationMode::Affine && scales != dtype {
        let reason = format!("scales are {scales} and x is {dtype}, the kernel takes one dtype");
        return Some(Err(Refusal::new(RefusalKind::Dtype, reason)));
    }
    if look.dtype(dense) != dtype || look.unwidened(dense) != unpacked {
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

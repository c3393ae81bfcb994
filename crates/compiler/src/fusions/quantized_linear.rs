//! A product with packed weights: `x @ dequantize(weight).T` becomes one operation on the packed ones.
//!
//! Recognized: with or without the transpose. Refused: weights of another dtype than the other side.

use mlx::{Op, QuantizationMode, bind};

use super::look::Look;
use super::{Found, Match, Refusal, RefusalKind};
use crate::graph::Value;

/// Finds the formula.
pub(super) fn find(look: &Look<'_>, value: Value) -> Found {
    let [x, weight] = look.binary(value, &Op::Matmul)?;
    let (dense, transpose) = match look.node(weight)? {
        (Op::Transpose { axes }, node) if axes == &[1, 0] => (node.inputs[0], true),
        _ => (weight, false),
    };
    let dense_dtype = look.dtype(dense);
    let dense = look.uncast(dense);
    let (
        Op::Dequantize {
            group_size,
            bits,
            mode,
            ..
        },
        node,
    ) = look.node(dense)?
    else {
        return None;
    };
    if look.ndim(dense) != 2 {
        let reason = format!("the weights are {}, not one matrix", look.array_type(dense));
        return Some(Err(Refusal::new(RefusalKind::Shape, reason)));
    }
    let scales = look.dtype(node.inputs[1]);
    if *mode == QuantizationMode::Affine && (scales != look.dtype(x) || dense_dtype != scales) {
        let reason = format!(
            "scales are {scales} and x is {}, the kernel takes one dtype",
            look.dtype(x)
        );
        return Some(Err(Refusal::new(RefusalKind::Dtype, reason)));
    }
    if look.dtype(x) != dense_dtype || look.ndim(x) < 2 {
        let reason = format!("x is {}, the weights are {dense_dtype}", look.array_type(x));
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

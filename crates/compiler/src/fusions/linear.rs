//! A matrix product with a bias: `x @ weight + bias` becomes one operation.
//!
//! Recognized: a bias over the last axis, broadcast or not; a bias over all axes that columns become, as of a projection
//! into heads. Refused: a bias that varies over rows; mixed dtypes, which the kernel would round elsewhere.

use mlx::{Op, addmm};

use super::matcher::Look;
use super::matcher::statistics::without_leading_ones;
use super::{Found, Match, Refusal, RefusalKind};
use crate::graph::{Value, element_count};

/// Finds the formula.
pub(super) fn find(look: &Look<'_>, value: Value) -> Found {
    for [product, bias] in look.orders(value, &Op::Add) {
        let bias = match look.unbroadcast(bias) {
            vector if look.is_vector_for(vector, product) => vector,
            _ => bias,
        };
        let Some((matmul, columns)) = product_of(look, product) else {
            continue;
        };
        let Some([x, weight]) = look.binary(matmul, &Op::Matmul) else {
            continue;
        };
        let dtype = look.dtype(value);
        if look.ndim(x) < 2 || look.ndim(weight) != 2 || !dtype.is_floating() {
            return None;
        }
        let is_bias = match columns {
            [_] => look.is_vector_for(bias, product),
            _ => without_leading_ones(look.shape(bias)) == without_leading_ones(columns),
        };
        if !is_bias {
            // One number is no bias; another array of the same shape is a residual.
            let is_other =
                element_count(look.shape(bias)) == 1 || look.shape(bias) == look.shape(product);
            let reason = format!(
                "the bias is {}, not one number for each column",
                look.array_type(bias)
            );
            return (!is_other).then(|| Err(Refusal::new(RefusalKind::Shape, reason)));
        }
        if [x, weight, bias].iter().any(|v| look.dtype(*v) != dtype) {
            let reason = format!(
                "x is {}, the weight {} and the bias {}, the kernel takes one dtype",
                look.dtype(x),
                look.dtype(weight),
                look.dtype(bias)
            );
            return Some(Err(Refusal::new(RefusalKind::Dtype, reason)));
        }
        let shape = (columns.len() > 1).then(|| look.shape(value).to_vec());
        let inputs = vec![x, weight, bias];
        return Some(Ok(Match::new(inputs, value, move |inputs| {
            let result = addmm(&inputs[2].reshape([-1]), &inputs[0], &inputs[1], 1.0, 1.0);
            match &shape {
                Some(shape) => result.reshape(shape.clone()),
                None => result,
            }
        })));
    }
    None
}

/// A matrix product, and the axes that its columns are: several behind a reshape that nothing else needs.
fn product_of<'g>(look: &Look<'g>, value: Value) -> Option<(Value, &'g [i32])> {
    let shape = look.shape(value);
    match look.node(value)? {
        (Op::Matmul, _) => Some((value, &shape[shape.len().checked_sub(1)?..])),
        (Op::Reshape { .. }, node) if !look.open_sizes => {
            let matmul = node.inputs[0];
            look.binary(matmul, &Op::Matmul)?;
            look.only_user(matmul)?;
            let (_, rows) = look.shape(matmul).split_last()?;
            let columns = shape.strip_prefix(rows)?;
            (columns.len() > 1).then_some((matmul, columns))
        }
        _ => None,
    }
}

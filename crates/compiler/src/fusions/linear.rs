//! A matrix product with a bias: `x @ weight + bias` becomes one operation.
//!
//! Recognized: a bias over the last axis, broadcast or not. Refused: a bias that varies over rows; mixed dtypes, which the kernel would
//! round elsewhere.

use mlx::{Op, addmm};

use super::look::{Look, size};
use super::{Found, Match, Refusal, RefusalKind};
use crate::graph::Value;

/// Finds the formula.
pub(super) fn find(look: &Look<'_>, value: Value) -> Found {
    for [product, bias] in look.orders(value, &Op::Add) {
        let bias = match look.unbroadcast(bias) {
            vector if look.is_vector_for(vector, product) => vector,
            _ => bias,
        };
        let Some([x, weight]) = look.binary(product, &Op::Matmul) else {
            continue;
        };
        let dtype = look.dtype(value);
        if look.ndim(x) < 2 || look.ndim(weight) != 2 || !dtype.is_floating() {
            return None;
        }
        if !look.is_vector_for(bias, product) {
            // One number is no bias; another array of the same shape is a residual.
            let is_other = size(look.shape(bias)) == 1 || look.shape(bias) == look.shape(product);
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
        return Some(Ok(Match::new(vec![x, weight, bias], value, |inputs| {
            addmm(&inputs[2].reshape([-1]), &inputs[0], &inputs[1], 1.0, 1.0)
        })));
    }
    None
}

//! A matrix product with a bias: `x @ weight + bias` becomes one operation.
//!
//! Recognized: a bias over the last axis. Refused: a bias that varies over rows.

use mlx::{Op, addmm};

use super::look::Look;
use super::{Found, Match, Refusal, RefusalKind};
use crate::graph::Value;

/// Finds the formula.
pub(super) fn find(look: &Look<'_>, value: Value) -> Found {
    for [product, bias] in look.orders(value, &Op::Add) {
        let Some([x, weight]) = look.binary(product, &Op::Matmul) else {
            continue;
        };
        let floating = [x, weight, bias]
            .iter()
            .all(|v| look.dtype(*v) == look.dtype(value));
        if look.ndim(x) < 2
            || look.ndim(weight) != 2
            || !floating
            || !look.dtype(value).is_floating()
        {
            return None;
        }
        if !look.is_vector_for(bias, product) {
            if look.ndim(bias) == 0 || look.shape(bias).last() == Some(&1) {
                return None;
            }
            let reason = format!(
                "the bias is {}, not one number for each column",
                look.array_type(bias)
            );
            // Another array of the same shape is a residual, no bias.
            let is_residual = look.shape(bias) == look.shape(product);
            return (!is_residual).then(|| Err(Refusal::new(RefusalKind::Shape, reason)));
        }
        return Some(Ok(Match::new(vec![x, weight, bias], value, |inputs| {
            addmm(&inputs[2].reshape([-1]), &inputs[0], &inputs[1], 1.0, 1.0)
        })));
    }
    None
}

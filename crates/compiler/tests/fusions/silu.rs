//! SiLU and the gate of SwiGLU, as in Llama, `mlx-lm` and written out.

use mlx::Array;
use mlx::Dtype::{Bfloat16, Float16, Float32};
use mlx_compiler::Fusion;

use crate::check::Type;

const X: &[Type] = &[(&[2, 8], Float32)];
const GATED: &[Type] = &[(&[2, 8], Float32), (&[2, 8], Float32)];

pub mod plain {
    use super::*;

    spellings! { Fusion::Silu, "fused.silu x0";
        times_sigmoid(X),
        sigmoid_first(X),
        divided(X),
        sigmoid_written(X),
        in_half(&[(&[2, 8], Float16)]),
        in_bfloat16(&[(&[2, 8], Bfloat16)]),
        divided_in_half(&[(&[2, 8], Float16)]),
        divided_in_bfloat16(&[(&[2, 8], Bfloat16)]),
        written_in_half(&[(&[2, 8], Float16)]),
        written_in_bfloat16(&[(&[2, 8], Bfloat16)]),
    }

    refusals! { Fusion::Silu;
        sigmoid_is_returned(Output, X),
        sigmoid_is_reused(Reused, X),
        exp_is_returned(Output, X),
        exp_is_reused(Reused, X),
        sum_is_reused(Reused, X),
    }

    others! { Fusion::Silu;
        sigmoid_of_another(GATED),
        swish_with_beta(X),
        exp_of_positive(X),
        two_plus_exp(X),
        twice(X),
        broadcast(&[(&[1, 8], Float32), (&[2, 1], Float32)]),
    }

    fn times_sigmoid(a: &[Array]) -> Array {
        &a[0] * a[0].sigmoid()
    }

    fn sigmoid_first(a: &[Array]) -> Array {
        a[0].sigmoid() * &a[0]
    }

    fn divided(a: &[Array]) -> Array {
        &a[0] / (1.0 + (-&a[0]).exp())
    }

    fn sigmoid_written(a: &[Array]) -> Array {
        &a[0] * (1.0 / (1.0 + (-&a[0]).exp()))
    }

    fn in_half(a: &[Array]) -> Array {
        times_sigmoid(a)
    }

    fn in_bfloat16(a: &[Array]) -> Array {
        times_sigmoid(a)
    }

    fn divided_in_half(a: &[Array]) -> Array {
        divided(a)
    }

    fn divided_in_bfloat16(a: &[Array]) -> Array {
        divided(a)
    }

    fn written_in_half(a: &[Array]) -> Array {
        sigmoid_written(a)
    }

    fn written_in_bfloat16(a: &[Array]) -> Array {
        sigmoid_written(a)
    }

    fn sigmoid_is_returned(a: &[Array]) -> Vec<Array> {
        let sigmoid = a[0].sigmoid();
        vec![&a[0] * &sigmoid, sigmoid]
    }

    fn sigmoid_is_reused(a: &[Array]) -> Vec<Array> {
        let sigmoid = a[0].sigmoid();
        vec![&a[0] * &sigmoid + sigmoid]
    }

    fn exp_is_returned(a: &[Array]) -> Vec<Array> {
        let exp = (-&a[0]).exp();
        vec![&a[0] / (1.0 + &exp), exp]
    }

    fn exp_is_reused(a: &[Array]) -> Vec<Array> {
        let exp = (-&a[0]).exp();
        vec![&a[0] / (1.0 + &exp) + exp]
    }

    fn sum_is_reused(a: &[Array]) -> Vec<Array> {
        let sum = 1.0 + (-&a[0]).exp();
        vec![&a[0] / &sum + sum]
    }

    fn sigmoid_of_another(a: &[Array]) -> Vec<Array> {
        vec![&a[0] * a[1].sigmoid()]
    }

    fn swish_with_beta(a: &[Array]) -> Vec<Array> {
        vec![&a[0] * (1.5 * &a[0]).sigmoid()]
    }

    fn exp_of_positive(a: &[Array]) -> Vec<Array> {
        vec![&a[0] / (1.0 + a[0].exp())]
    }

    fn two_plus_exp(a: &[Array]) -> Vec<Array> {
        vec![&a[0] / (2.0 + (-&a[0]).exp())]
    }

    fn twice(a: &[Array]) -> Vec<Array> {
        vec![2.0 * &a[0] * a[0].sigmoid()]
    }

    fn broadcast(a: &[Array]) -> Vec<Array> {
        vec![&a[0] * a[1].sigmoid()]
    }
}

pub mod gated {
    use super::*;

    spellings! { Fusion::SwiGlu, "fused.swiglu x0, x1";
        llama(GATED),
        up_first(GATED),
        sigmoid_between(GATED),
        written(GATED),
        sigmoid_with_up(GATED),
        llama_in_half(&[(&[2, 8], Float16), (&[2, 8], Float16)]),
        llama_in_bfloat16(&[(&[2, 8], Bfloat16), (&[2, 8], Bfloat16)]),
    }

    refusals! { Fusion::SwiGlu;
        sigmoid_is_returned(Output, GATED),
        sigmoid_is_reused(Reused, GATED),
        exp_is_returned(Output, GATED),
        exp_is_reused(Reused, GATED),
        sum_is_reused(Reused, GATED),
    }

    others! { Fusion::SwiGlu;
        silu_is_returned(GATED),
        glu(GATED),
        up_is_gate(X),
        up_is_a_vector(&[(&[2, 8], Float32), (&[8], Float32)]),
        four_factors(&[(&[2, 8], Float32), (&[2, 8], Float32), (&[2, 8], Float32)]),
        scaled(GATED),
        mixed_dtypes(&[(&[2, 8], Float16), (&[2, 8], Float32)]),
    }

    fn llama(a: &[Array]) -> Array {
        &a[0] * a[0].sigmoid() * &a[1]
    }

    fn llama_in_half(a: &[Array]) -> Array {
        llama(a)
    }

    fn llama_in_bfloat16(a: &[Array]) -> Array {
        llama(a)
    }

    fn up_first(a: &[Array]) -> Array {
        &a[1] * (&a[0] * a[0].sigmoid())
    }

    fn sigmoid_between(a: &[Array]) -> Array {
        &a[0] * (a[0].sigmoid() * &a[1])
    }

    fn written(a: &[Array]) -> Array {
        &a[0] / (1.0 + (-&a[0]).exp()) * &a[1]
    }

    fn sigmoid_with_up(a: &[Array]) -> Array {
        (&a[0] * &a[1]) * a[0].sigmoid()
    }

    fn sigmoid_is_returned(a: &[Array]) -> Vec<Array> {
        let sigmoid = a[0].sigmoid();
        vec![&a[0] * &sigmoid * &a[1], sigmoid]
    }

    fn sigmoid_is_reused(a: &[Array]) -> Vec<Array> {
        let sigmoid = a[0].sigmoid();
        vec![&a[0] * &sigmoid * &a[1] + sigmoid]
    }

    fn exp_is_returned(a: &[Array]) -> Vec<Array> {
        let exp = (-&a[0]).exp();
        vec![&a[0] / (1.0 + &exp) * &a[1], exp]
    }

    fn exp_is_reused(a: &[Array]) -> Vec<Array> {
        let exp = (-&a[0]).exp();
        vec![&a[0] / (1.0 + &exp) * &a[1] + exp]
    }

    fn sum_is_reused(a: &[Array]) -> Vec<Array> {
        let sum = 1.0 + (-&a[0]).exp();
        vec![&a[0] / &sum * &a[1] + sum]
    }

    fn silu_is_returned(a: &[Array]) -> Vec<Array> {
        let silu = &a[0] * a[0].sigmoid();
        vec![&silu * &a[1], silu]
    }

    fn glu(a: &[Array]) -> Vec<Array> {
        vec![&a[1] * a[0].sigmoid()]
    }

    fn up_is_gate(a: &[Array]) -> Vec<Array> {
        vec![&a[0] * a[0].sigmoid() * &a[0]]
    }

    fn up_is_a_vector(a: &[Array]) -> Vec<Array> {
        vec![&a[0] * a[0].sigmoid() * &a[1]]
    }

    fn four_factors(a: &[Array]) -> Vec<Array> {
        vec![&a[0] * a[0].sigmoid() * (&a[1] * &a[2])]
    }

    fn scaled(a: &[Array]) -> Vec<Array> {
        vec![&a[0] * 2.0 * (a[0].sigmoid() * &a[1])]
    }

    fn mixed_dtypes(a: &[Array]) -> Vec<Array> {
        vec![&a[0] * a[0].sigmoid() * &a[1]]
    }
}

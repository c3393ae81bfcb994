//! GELU, exact and with `tanh`, as in BERT, GPT-2, nanoGPT and `mlx.nn`.

use std::f32::consts::{FRAC_1_SQRT_2, PI, SQRT_2};

use mlx::Array;
use mlx::Dtype::{Bfloat16, Float16, Float32};
use mlx_compiler::Fusion;

use crate::check::Type;

const X: &[Type] = &[(&[2, 8], Float32)];
const HALF: &[Type] = &[(&[2, 8], Float16)];
const BRAIN: &[Type] = &[(&[2, 8], Bfloat16)];

pub mod exact {
    use super::*;

    spellings! { Fusion::Gelu, "fused.gelu ";
        mlx_nn(X),
        half_first(X),
        half_last(X),
        times_inverse_root(X),
        divided_by_root_of_two(X),
        phi(X),
        mlx_nn_in_half(HALF),
        mlx_nn_in_bfloat16(BRAIN),
        half_first_in_half(HALF),
        half_first_in_bfloat16(BRAIN),
        half_last_in_half(HALF),
        half_last_in_bfloat16(BRAIN),
        times_inverse_root_in_half(HALF),
        times_inverse_root_in_bfloat16(BRAIN),
        phi_in_half(HALF),
        phi_in_bfloat16(BRAIN),
        expanded(X),
        expanded_in_half(HALF),
        expanded_in_bfloat16(BRAIN),
        two_halves(X),
        two_halves_in_half(HALF),
        two_halves_in_bfloat16(BRAIN),
        upcast(HALF),
        upcast_of_bfloat16(BRAIN),
    }

    refusals! { Fusion::Gelu;
        erf_is_returned(Output, X),
        erf_is_reused(Reused, X),
        sum_is_reused(Reused, X),
        inner_is_returned(Output, X),
    }

    others! { Fusion::Gelu;
        twice(X),
        phi_is_reused(X),
        without_root(X),
        of_another(&[(&[2, 8], Float32), (&[2, 8], Float32)]),
        without_half(X),
        minus(X),
        quick(X),
        broadcast(&[(&[2, 8], Float32), (&[8], Float32)]),
    }

    fn mlx_nn(a: &[Array]) -> Array {
        &a[0] * (1.0 + (&a[0] / SQRT_2).erf()) / 2.0
    }

    fn half_first(a: &[Array]) -> Array {
        0.5 * &a[0] * (1.0 + (&a[0] / SQRT_2).erf())
    }

    fn half_last(a: &[Array]) -> Array {
        &a[0] * ((1.0 + (&a[0] / SQRT_2).erf()) * 0.5)
    }

    fn times_inverse_root(a: &[Array]) -> Array {
        &a[0] * 0.5 * ((&a[0] * FRAC_1_SQRT_2).erf() + 1.0)
    }

    fn divided_by_root_of_two(a: &[Array]) -> Array {
        &a[0] * 0.5 * (1.0 + (&a[0] / Array::scalar(2.0_f32).sqrt()).erf())
    }

    fn phi(a: &[Array]) -> Array {
        let phi = 0.5 * (1.0 + (&a[0] / SQRT_2).erf());
        phi * &a[0]
    }

    fn mlx_nn_in_half(a: &[Array]) -> Array {
        mlx_nn(a)
    }

    fn mlx_nn_in_bfloat16(a: &[Array]) -> Array {
        mlx_nn(a)
    }

    fn half_first_in_half(a: &[Array]) -> Array {
        half_first(a)
    }

    fn half_first_in_bfloat16(a: &[Array]) -> Array {
        half_first(a)
    }

    fn half_last_in_half(a: &[Array]) -> Array {
        half_last(a)
    }

    fn half_last_in_bfloat16(a: &[Array]) -> Array {
        half_last(a)
    }

    fn times_inverse_root_in_half(a: &[Array]) -> Array {
        times_inverse_root(a)
    }

    fn times_inverse_root_in_bfloat16(a: &[Array]) -> Array {
        times_inverse_root(a)
    }

    fn phi_in_half(a: &[Array]) -> Array {
        phi(a)
    }

    fn phi_in_bfloat16(a: &[Array]) -> Array {
        phi(a)
    }

    fn expanded(a: &[Array]) -> Array {
        0.5 * (&a[0] + &a[0] * (&a[0] / SQRT_2).erf())
    }

    fn expanded_in_half(a: &[Array]) -> Array {
        expanded(a)
    }

    fn expanded_in_bfloat16(a: &[Array]) -> Array {
        expanded(a)
    }

    fn two_halves(a: &[Array]) -> Array {
        let half = 0.5 * &a[0];
        &half * (&a[0] * FRAC_1_SQRT_2).erf() + half
    }

    fn two_halves_in_half(a: &[Array]) -> Array {
        two_halves(a)
    }

    fn two_halves_in_bfloat16(a: &[Array]) -> Array {
        two_halves(a)
    }

    fn upcast(a: &[Array]) -> Array {
        mlx_nn(&[a[0].astype(Float32)]).astype(a[0].dtype().unwrap())
    }

    fn upcast_of_bfloat16(a: &[Array]) -> Array {
        upcast(a)
    }

    fn erf_is_returned(a: &[Array]) -> Vec<Array> {
        let erf = (&a[0] / SQRT_2).erf();
        vec![&a[0] * (1.0 + &erf) / 2.0, erf]
    }

    fn erf_is_reused(a: &[Array]) -> Vec<Array> {
        let erf = (&a[0] / SQRT_2).erf();
        vec![&a[0] * (1.0 + &erf) / 2.0 + erf]
    }

    fn sum_is_reused(a: &[Array]) -> Vec<Array> {
        let sum = 1.0 + (&a[0] / SQRT_2).erf();
        vec![&a[0] * &sum / 2.0 + sum]
    }

    fn inner_is_returned(a: &[Array]) -> Vec<Array> {
        let inner = &a[0] / SQRT_2;
        vec![&a[0] * (1.0 + inner.erf()) / 2.0, inner]
    }

    fn phi_is_reused(a: &[Array]) -> Vec<Array> {
        let phi = 0.5 * (1.0 + (&a[0] / SQRT_2).erf());
        vec![&phi * &a[0] - phi.square()]
    }

    fn twice(a: &[Array]) -> Vec<Array> {
        vec![&a[0] * (1.0 + (&a[0] / SQRT_2).erf())]
    }

    fn without_root(a: &[Array]) -> Vec<Array> {
        vec![&a[0] * (1.0 + a[0].erf()) / 2.0]
    }

    fn of_another(a: &[Array]) -> Vec<Array> {
        vec![&a[0] * (1.0 + (&a[1] / SQRT_2).erf()) / 2.0]
    }

    fn without_half(a: &[Array]) -> Vec<Array> {
        vec![&a[0] * (1.0 + (&a[0] / SQRT_2).erf()) / 3.0]
    }

    fn minus(a: &[Array]) -> Vec<Array> {
        vec![&a[0] * (1.0 - (&a[0] / SQRT_2).erf()) / 2.0]
    }

    fn quick(a: &[Array]) -> Vec<Array> {
        vec![&a[0] * (1.702 * &a[0]).sigmoid()]
    }

    fn broadcast(a: &[Array]) -> Vec<Array> {
        vec![&a[0] * (1.0 + (&a[1] / SQRT_2).erf()) / 2.0]
    }
}

pub mod approx {
    use super::*;

    spellings! { Fusion::GeluApprox, "fused.gelu_approx x0";
        mlx_nn(X),
        nano_gpt(X),
        product_of_three(X),
        factored(X),
        square_times(X),
        short_constant(X),
        mlx_nn_in_half(HALF),
        mlx_nn_in_bfloat16(BRAIN),
        nano_gpt_in_half(HALF),
        nano_gpt_in_bfloat16(BRAIN),
        product_of_three_in_half(HALF),
        product_of_three_in_bfloat16(BRAIN),
        factored_in_half(HALF),
        factored_in_bfloat16(BRAIN),
        square_times_in_half(HALF),
        square_times_in_bfloat16(BRAIN),
        expanded(X),
        expanded_in_half(HALF),
        expanded_in_bfloat16(BRAIN),
        root_in_both_terms(X),
        root_in_both_terms_in_half(HALF),
        root_in_both_terms_in_bfloat16(BRAIN),
        root_in_the_factor(X),
        root_in_the_factor_in_half(HALF),
        root_in_the_factor_in_bfloat16(BRAIN),
    }

    refusals! { Fusion::GeluApprox;
        tanh_is_returned(Output, X),
        tanh_is_reused(Reused, X),
        cube_is_reused(Reused, X),
        inner_is_returned(Output, X),
        inner_is_reused(Reused, X),
        quick(Formula, X),
        quick_in_half(Formula, HALF),
        quick_in_bfloat16(Formula, BRAIN),
        another_constant_in_half(Formula, HALF),
    }

    others! { Fusion::GeluApprox;
        another_constant(X),
        another_root(X),
        square_instead_of_cube(X),
        without_half(X),
        cube_of_another(&[(&[2, 8], Float32), (&[2, 8], Float32)]),
        minus(X),
    }

    fn mlx_nn(a: &[Array]) -> Array {
        let x = &a[0];
        0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044_715 * x.power(3))).tanh())
    }

    fn nano_gpt(a: &[Array]) -> Array {
        let x = &a[0];
        0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044_715 * x.power(3.0))).tanh())
    }

    fn product_of_three(a: &[Array]) -> Array {
        let x = &a[0];
        0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh())
    }

    fn factored(a: &[Array]) -> Array {
        let x = &a[0];
        x * 0.5 * (1.0 + (x * 0.797_884_6 * (1.0 + 0.044_715 * x * x)).tanh())
    }

    fn square_times(a: &[Array]) -> Array {
        let x = &a[0];
        x * 0.5 * (1.0 + (0.797_884_6 * (x + 0.044_715 * (x.square() * x))).tanh())
    }

    /// As many digits as Hugging Face's `gelu_python` has.
    fn short_constant(a: &[Array]) -> Array {
        let x = &a[0];
        x * 0.5 * (1.0 + (x * 0.797_884_5 * (1.0 + 0.044_715 * x * x)).tanh())
    }

    fn mlx_nn_in_half(a: &[Array]) -> Array {
        mlx_nn(a)
    }

    fn mlx_nn_in_bfloat16(a: &[Array]) -> Array {
        mlx_nn(a)
    }

    fn nano_gpt_in_half(a: &[Array]) -> Array {
        nano_gpt(a)
    }

    fn nano_gpt_in_bfloat16(a: &[Array]) -> Array {
        nano_gpt(a)
    }

    fn product_of_three_in_half(a: &[Array]) -> Array {
        product_of_three(a)
    }

    fn product_of_three_in_bfloat16(a: &[Array]) -> Array {
        product_of_three(a)
    }

    fn factored_in_half(a: &[Array]) -> Array {
        factored(a)
    }

    fn factored_in_bfloat16(a: &[Array]) -> Array {
        factored(a)
    }

    fn square_times_in_half(a: &[Array]) -> Array {
        square_times(a)
    }

    fn square_times_in_bfloat16(a: &[Array]) -> Array {
        square_times(a)
    }

    fn expanded(a: &[Array]) -> Array {
        0.5 * (&a[0] + &a[0] * tanh_of(&a[0]))
    }

    fn expanded_in_half(a: &[Array]) -> Array {
        expanded(a)
    }

    fn expanded_in_bfloat16(a: &[Array]) -> Array {
        expanded(a)
    }

    fn root_in_both_terms(a: &[Array]) -> Array {
        let x = &a[0];
        0.5 * x * (1.0 + (0.797_884_6 * x + 0.035_677_41 * x.power(3)).tanh())
    }

    fn root_in_both_terms_in_half(a: &[Array]) -> Array {
        root_in_both_terms(a)
    }

    fn root_in_both_terms_in_bfloat16(a: &[Array]) -> Array {
        root_in_both_terms(a)
    }

    fn root_in_the_factor(a: &[Array]) -> Array {
        let x = &a[0];
        0.5 * x * (1.0 + (x * (0.797_884_6 + 0.035_677_41 * x.square())).tanh())
    }

    fn root_in_the_factor_in_half(a: &[Array]) -> Array {
        root_in_the_factor(a)
    }

    fn root_in_the_factor_in_bfloat16(a: &[Array]) -> Array {
        root_in_the_factor(a)
    }

    fn tanh_of(x: &Array) -> Array {
        ((2.0 / PI).sqrt() * (x + 0.044_715 * x.power(3.0))).tanh()
    }

    fn tanh_is_returned(a: &[Array]) -> Vec<Array> {
        let tanh = tanh_of(&a[0]);
        vec![0.5 * &a[0] * (1.0 + &tanh), tanh]
    }

    fn tanh_is_reused(a: &[Array]) -> Vec<Array> {
        let tanh = tanh_of(&a[0]);
        vec![0.5 * &a[0] * (1.0 + &tanh) - tanh]
    }

    fn cube_is_reused(a: &[Array]) -> Vec<Array> {
        let x = &a[0];
        let cube = x.power(3.0);
        let tanh = ((2.0 / PI).sqrt() * (x + 0.044_715 * &cube)).tanh();
        vec![0.5 * x * (1.0 + tanh) + cube]
    }

    fn inner_is_returned(a: &[Array]) -> Vec<Array> {
        let inner = (2.0 / PI).sqrt() * (&a[0] + 0.044_715 * a[0].power(3.0));
        vec![0.5 * &a[0] * (1.0 + inner.tanh()), inner]
    }

    fn inner_is_reused(a: &[Array]) -> Vec<Array> {
        let inner = (2.0 / PI).sqrt() * (&a[0] + 0.044_715 * a[0].power(3.0));
        vec![0.5 * &a[0] * (1.0 + inner.tanh()) + inner]
    }

    fn quick(a: &[Array]) -> Vec<Array> {
        vec![&a[0] * (1.702 * &a[0]).sigmoid()]
    }

    fn quick_in_half(a: &[Array]) -> Vec<Array> {
        quick(a)
    }

    fn quick_in_bfloat16(a: &[Array]) -> Vec<Array> {
        quick(a)
    }

    fn another_constant_in_half(a: &[Array]) -> Vec<Array> {
        another_constant(a)
    }

    fn another_constant(a: &[Array]) -> Vec<Array> {
        let x = &a[0];
        vec![0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.05 * x.power(3.0))).tanh())]
    }

    fn another_root(a: &[Array]) -> Vec<Array> {
        let x = &a[0];
        vec![0.5 * x * (1.0 + (0.8 * (x + 0.044_715 * x.power(3.0))).tanh())]
    }

    fn square_instead_of_cube(a: &[Array]) -> Vec<Array> {
        let x = &a[0];
        vec![0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044_715 * x.square())).tanh())]
    }

    fn without_half(a: &[Array]) -> Vec<Array> {
        vec![&a[0] * (1.0 + tanh_of(&a[0]))]
    }

    fn cube_of_another(a: &[Array]) -> Vec<Array> {
        let x = &a[0];
        vec![0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044_715 * a[1].power(3.0))).tanh())]
    }

    fn minus(a: &[Array]) -> Vec<Array> {
        vec![0.5 * &a[0] * (1.0 - tanh_of(&a[0]))]
    }
}

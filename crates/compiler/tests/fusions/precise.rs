//! Whether what was fused in half precision is right by the same formula in `float32`, and not only as eager is.

use mlx::{Array, Dtype};
use mlx_compiler::Fallback;
use rstest::rstest;

use crate::check::{self, Spelling};
use crate::{
    attention, attention_masks, attention_sinks, gelu, layer_norm, linear, rms_norm, rope, silu,
    softmax, subscripts,
};

/// Spellings in half precision give what they give of the same inputs in `float32`, where rounding is small.
#[rstest]
#[case::attention(attention::SPELLINGS)]
#[case::attention_masks(attention_masks::in_half::SPELLINGS)]
#[case::attention_sinks(attention_sinks::SPELLINGS)]
#[case::gelu(gelu::exact::SPELLINGS)]
#[case::gelu_approx(gelu::approx::SPELLINGS)]
#[case::layer_norm(layer_norm::SPELLINGS)]
#[case::linear(linear::SPELLINGS)]
#[case::rms_norm(rms_norm::SPELLINGS)]
#[case::rope(rope::SPELLINGS)]
#[case::silu(silu::plain::SPELLINGS)]
#[case::swiglu(silu::gated::SPELLINGS)]
#[case::softmax(softmax::SPELLINGS)]
#[case::attention_by_subscripts(subscripts::attention::SPELLINGS)]
#[case::linear_by_subscripts(subscripts::linear::SPELLINGS)]
fn half_is_right(#[case] spellings: &[Spelling]) {
    let is_half = |dtype: Dtype| matches!(dtype, Dtype::Float16 | Dtype::Bfloat16);
    let mut tried = 0;
    for spelling in spellings {
        if !spelling.types.iter().any(|(_, dtype)| is_half(*dtype)) {
            continue;
        }
        tried += 1;
        let inputs = check::inputs(spelling.types);
        let formula = |inputs: &[Array]| vec![(spelling.formula)(inputs)];
        let single = |array: &Array| match array.dtype() {
            Ok(dtype) if is_half(dtype) => array.astype(Dtype::Float32),
            _ => array.clone(),
        };
        let wide: Vec<Array> = inputs.iter().map(single).collect();
        let got = check::compiled(&formula, &inputs, Fallback::Never);
        let dtype = got[0].dtype().unwrap();
        let wanted = [formula(&wide)[0].astype(dtype)];
        if let Err(message) = check::same_within(&wanted, &got, 2.0) {
            panic!("{}: {message}", spelling.name);
        }
    }
    assert!(tried > 0);
}

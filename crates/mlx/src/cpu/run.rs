//! Which kernel computes which operation.

use mlx_kernels::{Combine, FoldKind};

use super::attention::AttentionConfig;
use super::{
    attention, conv, data, elementwise, fourier, linalg, matmul, norm, order, product, reduce,
    rope, scan, softmax,
};
use crate::Dtype;
use crate::ffi::host::{HostInput, HostOutput};
use crate::op::Op;

/// Computes an operation that [`supports`](super::supports()) takes. An error is that of the evaluation.
pub(crate) fn run(
    op: &Op,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    match op {
        Op::Sort { .. } | Op::Argsort { .. } | Op::Partition { .. } | Op::Argpartition { .. } => {
            order::run(op, inputs, outputs)
        }
        Op::RandomBits { .. } => order::random_bits(inputs, outputs),
        Op::Fftn { .. } | Op::Ifftn { .. } | Op::Rfftn { .. } | Op::Irfftn { .. } => {
            fourier::run(op, inputs, outputs)
        }
        Op::Abs if inputs.iter().any(|x| x.dtype() == Dtype::Complex64) => {
            fourier::abs(inputs, outputs)
        }
        Op::Astype {
            dtype: Dtype::Complex64,
        } => fourier::from_real(inputs, outputs),
        Op::Astype {
            dtype: Dtype::Float32,
        } if inputs.iter().any(|x| x.dtype() == Dtype::Complex64) => {
            fourier::to_real(inputs, outputs)
        }
        Op::Softmax { .. } => softmax::softmax(inputs, outputs),
        Op::Logsumexp { .. } => softmax::logsumexp(inputs, outputs),
        Op::CrossEntropy => softmax::cross_entropy(inputs, outputs),
        Op::Sum { axes, .. } => reduce::run(FoldKind::Sum, axes, inputs, outputs),
        Op::Prod { axes, .. } => reduce::run(FoldKind::Product, axes, inputs, outputs),
        Op::Max { axes, .. } => reduce::run(FoldKind::Max, axes, inputs, outputs),
        Op::Min { axes, .. } => reduce::run(FoldKind::Min, axes, inputs, outputs),
        Op::Any { axes, .. } => reduce::run(FoldKind::Any, axes, inputs, outputs),
        Op::All { axes, .. } => reduce::run(FoldKind::All, axes, inputs, outputs),
        Op::Argmax { axis, .. } => reduce::arg_reduce(true, *axis, inputs, outputs),
        Op::Argmin { axis, .. } => reduce::arg_reduce(false, *axis, inputs, outputs),
        Op::Cumsum { .. }
        | Op::Cumprod { .. }
        | Op::Cummax { .. }
        | Op::Cummin { .. }
        | Op::Logcumsumexp { .. } => scan::run(op, inputs, outputs),
        Op::Contiguous { .. }
        | Op::Concatenate { .. }
        | Op::Pad { .. }
        | Op::Gather { .. }
        | Op::TakeAlongAxis { .. }
        | Op::SliceUpdate { .. }
        | Op::SliceUpdateAdd { .. }
        | Op::SliceUpdateProd { .. }
        | Op::SliceUpdateMax { .. }
        | Op::SliceUpdateMin { .. } => move_elements(op, inputs, outputs),
        Op::Scatter { .. }
        | Op::ScatterAdd { .. }
        | Op::ScatterProd { .. }
        | Op::ScatterMax { .. }
        | Op::ScatterMin { .. }
        | Op::PutAlongAxis { .. }
        | Op::ScatterAddAxis { .. } => scatter(op, inputs, outputs),
        Op::Matmul => matmul::matmul(inputs, outputs),
        Op::Addmm { alpha, beta } => matmul::addmm([*alpha, *beta], inputs, outputs),
        Op::Linear => product::linear(inputs, outputs),
        Op::QuantizedMatmul {
            group_size, bits, ..
        } => product::quantized(*group_size, *bits, inputs, outputs),
        Op::Conv { .. } => conv::run(op, inputs, outputs),
        Op::Inv | Op::TriInv { .. } | Op::LuFactor | Op::Qr => linalg::run(op, inputs, outputs),
        Op::RmsNorm { eps } => norm::rms_norm(*eps, inputs, outputs),
        Op::LayerNorm { weight, bias, eps } => {
            norm::layer_norm([*weight, *bias], *eps, inputs, outputs)
        }
        Op::Rope { .. } => rope::run(op, inputs, outputs),
        Op::ScaledDotProductAttention {
            scale, mask, sinks, ..
        } => {
            let config = AttentionConfig {
                mask: *mask,
                has_sinks: *sinks,
                scale: *scale,
            };
            attention::run(config, inputs, outputs)
        }
        _ => elementwise::run(op, inputs, outputs),
    }
}

/// Copies, gathers and updates.
fn move_elements(
    op: &Op,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    match op {
        Op::Concatenate { axis } => data::concatenate(*axis, inputs, outputs),
        Op::Pad { axes, low, .. } => data::pad(axes, low, inputs, outputs),
        Op::Gather { axes, slice_sizes } => data::gather(axes, slice_sizes, inputs, outputs),
        Op::TakeAlongAxis { axis } => data::take_along_axis(*axis, inputs, outputs),
        Op::SliceUpdate { start, strides, .. } => {
            data::slice_update(Combine::Set, start, strides, inputs, outputs)
        }
        Op::SliceUpdateAdd { start, strides, .. } => {
            data::slice_update(Combine::Add, start, strides, inputs, outputs)
        }
        Op::SliceUpdateProd { start, strides, .. } => {
            data::slice_update(Combine::Multiply, start, strides, inputs, outputs)
        }
        Op::SliceUpdateMax { start, strides, .. } => {
            data::slice_update(Combine::Max, start, strides, inputs, outputs)
        }
        Op::SliceUpdateMin { start, strides, .. } => {
            data::slice_update(Combine::Min, start, strides, inputs, outputs)
        }
        _ => data::copy(inputs, outputs),
    }
}

/// Updates at indices. Of NaN, MLX's maximum and minimum keep that of the updates alone.
fn scatter(
    op: &Op,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    match op {
        Op::Scatter { axes } => data::scatter(Combine::Set, axes, inputs, outputs),
        Op::ScatterAdd { axes } => data::scatter(Combine::Add, axes, inputs, outputs),
        Op::ScatterProd { axes } => data::scatter(Combine::Multiply, axes, inputs, outputs),
        Op::ScatterMax { axes } => data::scatter(Combine::Greater, axes, inputs, outputs),
        Op::ScatterMin { axes } => data::scatter(Combine::Lesser, axes, inputs, outputs),
        Op::ScatterAddAxis { axis } => data::scatter_axis(Combine::Add, *axis, inputs, outputs),
        Op::PutAlongAxis { axis } => data::scatter_axis(Combine::Set, *axis, inputs, outputs),
        _ => Err("no scatter".to_owned()),
    }
}

/// Computes the gradient of an operation: inputs are its own, then the gradient of its result.
pub(crate) fn run_gradient(
    op: &Op,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    match op {
        Op::RmsNorm { eps } => norm::rms_norm_gradient(*eps, inputs, outputs),
        Op::LayerNorm { weight, bias, eps } => {
            norm::layer_norm_gradient([*weight, *bias], *eps, inputs, outputs)
        }
        Op::ScaledDotProductAttention {
            scale, mask, sinks, ..
        } => {
            let config = AttentionConfig {
                mask: *mask,
                has_sinks: *sinks,
                scale: *scale,
            };
            attention::gradient(config, inputs, outputs)
        }
        Op::CrossEntropy => softmax::cross_entropy_gradient(inputs, outputs),
        Op::Gelu | Op::GeluApprox | Op::Silu => {
            elementwise::activation_gradient(op, inputs, outputs)
        }
        Op::SwiGlu => elementwise::swiglu_gradient(inputs, outputs),
        _ => Err("the gradient has no kernel".to_owned()),
    }
}

/// Returns the error of an operation, which a kernel may know by the last part of its name.
pub(super) fn error_of(name: &str, text: &str) -> String {
    let is_of = |op: &str| name.split(['.', ' ']).any(|part| part == op) || op == name;
    match text.split_once(": ") {
        Some((op, rest)) if is_of(op) => format!("{name}: {rest}"),
        _ => format!("{name}: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Cpu;
    use crate::ffi::cpu::Backend;
    use rstest::rstest;

    #[rstest]
    #[case("add", "no kernel reads bool", "add: no kernel reads bool")]
    #[case(
        "fast.rope",
        "rope: x must be even, got odd",
        "fast.rope: x must be even, got odd"
    )]
    #[case(
        "fast.rms_norm gradient",
        "wanted 3: got 2",
        "fast.rms_norm gradient: wanted 3: got 2"
    )]
    fn an_error_names_its_operation_once(
        #[case] name: &str,
        #[case] text: &str,
        #[case] want: &str,
    ) {
        assert_eq!(error_of(name, text), want);
    }

    #[test]
    fn kernels_name_their_operation_in_errors() {
        let reduced = (vec![-1], true);
        let ops = [
            Op::Exp,
            Op::Square,
            Op::Add,
            Op::SwiGlu,
            Op::Gelu,
            Op::Matmul,
            Op::Linear,
            Op::CrossEntropy,
            Op::RmsNorm { eps: 0.0 },
            Op::LayerNorm {
                weight: true,
                bias: true,
                eps: 0.0,
            },
            Op::Sum {
                axes: reduced.0,
                keepdims: reduced.1,
            },
            Op::Rope {
                dims: 2,
                traditional: true,
                base: Some(1.0),
                scale: 1.0,
                freqs: false,
            },
        ];
        for op in ops {
            for is_gradient in [false, true] {
                let text = Cpu::run(&op, is_gradient, &[], &mut []).unwrap_err();
                let gradient = if is_gradient { " gradient" } else { "" };
                assert!(
                    text.starts_with(&format!("{}{gradient}: ", op.name())),
                    "{text}"
                );
            }
        }
    }
}

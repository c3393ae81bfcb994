//! Which kernel computes which operation.

use mlx_kernels::Reduction;

use super::attention::AttentionConfig;
use super::{attention, conv, elementwise, matmul, norm, product, reduce, rope, softmax};
use crate::ffi::host::{HostInput, HostOutput};
use crate::op::Op;

/// Computes an operation that [`supports`](super::supports()) takes. An error is that of the evaluation.
pub(crate) fn run(
    op: &Op,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    match op {
        Op::SwiGlu => elementwise::swiglu(inputs, outputs),
        Op::Softmax { .. } => softmax::softmax(inputs, outputs),
        Op::Logsumexp { .. } => softmax::logsumexp(inputs, outputs),
        Op::CrossEntropy => softmax::cross_entropy(inputs, outputs),
        Op::Sum { axes, .. } => reduce::run(Reduction::Sum, axes, inputs, outputs),
        Op::Max { axes, .. } => reduce::run(Reduction::Max, axes, inputs, outputs),
        Op::Min { axes, .. } => reduce::run(Reduction::Min, axes, inputs, outputs),
        Op::Matmul => matmul::matmul(inputs, outputs),
        Op::Addmm { alpha, beta } => matmul::addmm([*alpha, *beta], inputs, outputs),
        Op::Linear => product::linear(inputs, outputs),
        Op::QuantizedMatmul {
            group_size, bits, ..
        } => product::quantized(*group_size, *bits, inputs, outputs),
        Op::Conv { .. } => conv::run(op, inputs, outputs),
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

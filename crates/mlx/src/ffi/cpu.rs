//! How the native library reaches the kernels for the CPU, and the attributes of an operation on their way here.

use std::ffi::{CStr, c_int};

use mlx_sys as sys;
use mlx_sys::Api;

use super::call::{Fault, api, check, loaded};
use super::host::{HostInput, HostOutput, Layout, run_over, slice};
use crate::cpu::{self as backend, Asked, Kernel};
use mlx_kernels::{Binary, Reduction, Simple, Unary};

/// Installs the kernels and returns how many of MLX's own operations they take over; the first in the process counts.
pub(super) fn install(api: &Api) -> Result<i32, Fault> {
    let mut replaced = 0;
    // SAFETY: both functions may be called from any thread for the life of the process; `replaced` is ours.
    let status = unsafe { api.mlx_native_cpu_install(&mut replaced, Some(accepts), Some(run)) };
    check(api, status)?;
    Ok(replaced)
}

/// Makes MLX's own operations on the CPU keep sums in a wider type, and compute functions of doubles in double.
///
/// Returns for how many operations that was done. It comes before [`install`], whose kernels then fall back on it.
pub(super) fn widen(api: &Api) -> Result<i32, Fault> {
    let mut replaced = 0;
    // SAFETY: `replaced` is ours.
    let status = unsafe { api.mlx_native_cpu_widen(&mut replaced) };
    check(api, status)?;
    Ok(replaced)
}

/// Puts the right rules of differentiation in the place of those that MLX has wrong, and returns how many.
pub(super) fn replace_gradients(api: &Api) -> Result<i32, Fault> {
    let mut replaced = 0;
    // SAFETY: `replaced` is ours.
    let status = unsafe { api.mlx_native_replace_gradients(&mut replaced) };
    check(api, status)?;
    Ok(replaced)
}

/// Returns how many times each kernel has run in this process; those that never ran are left out.
pub(crate) fn runs() -> Vec<(&'static str, u64)> {
    let Ok(api) = api() else {
        return Vec::new();
    };
    let count = |number| {
        // SAFETY: reads a counter.
        let runs = unsafe { api.mlx_native_cpu_runs(number) };
        (runs > 0).then(|| (kernel_name(number), runs))
    };
    (0..KERNELS).filter_map(count).collect()
}

/// How many kernels there are.
#[allow(clippy::cast_possible_wrap)]
const KERNELS: c_int = sys::mlx_native_cpu_kernel__MLX_NATIVE_CPU_KERNELS as c_int;

/// Reads a call; `None` for one that no kernel is for.
#[allow(clippy::cast_possible_truncation)]
fn read(call: &sys::mlx_native_cpu_call) -> Option<Kernel> {
    let [first, second, third, ..] = call.integers;
    let [number, factor, ..] = call.numbers.map(|number| number as f32);
    let asked = Asked {
        mask: first,
        has_sinks: second != 0,
        scale: number,
    };
    let unary = |function| Some(Kernel::Unary(function));
    let simple = |function| Some(Kernel::Simple(function));
    let binary = |function| Some(Kernel::Binary(function));
    match u32::try_from(call.kernel).ok()? {
        sys::mlx_native_cpu_kernel__MLX_NATIVE_EXP => unary(Unary::Exp),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_LOG => unary(Unary::Log),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_SIN => unary(Unary::Sin),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_COS => unary(Unary::Cos),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_TANH => unary(Unary::Tanh),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_SIGMOID => unary(Unary::Sigmoid),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_ERF => unary(Unary::Erf),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_SQUARE => simple(Simple::Square),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_SQRT => simple(Simple::Sqrt),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_RSQRT => simple(Simple::Rsqrt),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_NEGATIVE => simple(Simple::Negate),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_ABS => simple(Simple::Abs),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_GELU => unary(Unary::Gelu),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_GELU_APPROX => unary(Unary::GeluTanh),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_SILU => unary(Unary::Silu),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_ADD => binary(Binary::Add),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_SUBTRACT => binary(Binary::Subtract),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_MULTIPLY => binary(Binary::Multiply),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_DIVIDE => binary(Binary::Divide),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_MAXIMUM => binary(Binary::Maximum),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_MINIMUM => binary(Binary::Minimum),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_SWIGLU => Some(Kernel::SwiGlu),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_SOFTMAX => Some(Kernel::Softmax),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_LOGSUMEXP => Some(Kernel::LogSumExp),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_REDUCE => {
            let kind = match first {
                0 => Reduction::Sum,
                1 => Reduction::Max,
                _ => Reduction::Min,
            };
            let axes = call.integers.iter().skip(2);
            let axes = axes.take(usize::try_from(second).ok()?);
            let axes: Option<Vec<usize>> = axes.map(|axis| usize::try_from(*axis).ok()).collect();
            Some(Kernel::Reduce { kind, axes: axes? })
        }
        sys::mlx_native_cpu_kernel__MLX_NATIVE_MATMUL => Some(Kernel::Matmul),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_ADDMM => Some(Kernel::Addmm {
            alpha: number,
            beta: factor,
        }),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_CONV1D => {
            let mut sizes = [0; 4];
            for (size, given) in sizes.iter_mut().zip(call.integers) {
                *size = usize::try_from(given).ok()?;
            }
            Some(Kernel::Conv1d(sizes))
        }
        sys::mlx_native_cpu_kernel__MLX_NATIVE_LINEAR => Some(Kernel::Linear),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_QUANTIZED_MATMUL => Some(Kernel::QuantizedMatmul {
            group_size: usize::try_from(first).ok()?,
            bits: usize::try_from(second).ok()?,
            is_transposed: third != 0,
        }),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_RMS_NORM => Some(Kernel::RmsNorm { eps: number }),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_RMS_NORM_GRADIENT => {
            Some(Kernel::RmsNormGradient { eps: number })
        }
        sys::mlx_native_cpu_kernel__MLX_NATIVE_LAYER_NORM => Some(Kernel::LayerNorm {
            has_weight: first != 0,
            has_bias: second != 0,
            eps: number,
        }),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_LAYER_NORM_GRADIENT => {
            Some(Kernel::LayerNormGradient {
                has_weight: first != 0,
                has_bias: second != 0,
                eps: number,
            })
        }
        sys::mlx_native_cpu_kernel__MLX_NATIVE_ROPE => Some(Kernel::Rope {
            dims: usize::try_from(first).ok()?,
            is_traditional: second != 0,
            has_frequencies: third != 0,
            base: number,
            scale: factor,
        }),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_ATTENTION => Some(Kernel::Attention(asked)),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_ATTENTION_GRADIENT => {
            Some(Kernel::AttentionGradient(asked))
        }
        sys::mlx_native_cpu_kernel__MLX_NATIVE_CROSS_ENTROPY => Some(Kernel::CrossEntropy),
        sys::mlx_native_cpu_kernel__MLX_NATIVE_CROSS_ENTROPY_GRADIENT => {
            Some(Kernel::CrossEntropyGradient)
        }
        _ => None,
    }
}

unsafe extern "C" fn accepts(
    call: *const sys::mlx_native_cpu_call,
    inputs: *const sys::mlx_native_buffer,
    n_inputs: usize,
    outputs: *const sys::mlx_native_buffer,
    n_outputs: usize,
) -> bool {
    // SAFETY: the native library passes a call and this many descriptions, alive for the call.
    let (call, inputs, outputs) =
        unsafe { (&*call, slice(inputs, n_inputs), slice(outputs, n_outputs)) };
    let answer = std::panic::catch_unwind(|| {
        let Some(kernel) = read(call) else {
            return false;
        };
        let inputs: Vec<Layout<'_>> = inputs.iter().map(Layout::of).collect();
        let outputs: Vec<Layout<'_>> = outputs.iter().map(Layout::of).collect();
        backend::accepts(&kernel, &inputs, &outputs)
    });
    answer.unwrap_or(false)
}

unsafe extern "C" fn run(
    call: *const sys::mlx_native_cpu_call,
    inputs: *const sys::mlx_native_buffer,
    n_inputs: usize,
    outputs: *const sys::mlx_native_buffer,
    n_outputs: usize,
) -> c_int {
    // SAFETY: the native library passes a call and this many descriptions, alive for the call.
    let (call, inputs, outputs) =
        unsafe { (&*call, slice(inputs, n_inputs), slice(outputs, n_outputs)) };
    run_over(inputs, outputs, false, |inputs, outputs| {
        compute(call, inputs, outputs)
    })
}

/// Runs the kernel of a call. An error begins with the operation's name.
fn compute(
    call: &sys::mlx_native_cpu_call,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let kernel = read(call).ok_or_else(|| format!("cpu: no kernel has number {}", call.kernel))?;
    backend::run(&kernel, inputs, outputs).map_err(|text| said_by(kernel_name(call.kernel), &text))
}

/// Returns the error of an operation, which a kernel may know by the last part of its name.
fn said_by(name: &str, text: &str) -> String {
    let is_of = |op: &str| name.split(['.', ' ']).any(|part| part == op) || op == name;
    match text.split_once(": ") {
        Some((op, said)) if is_of(op) => format!("{name}: {said}"),
        _ => format!("{name}: {text}"),
    }
}

/// Returns the name of a kernel: that of its operation.
fn kernel_name(number: c_int) -> &'static str {
    // SAFETY: takes a number and returns a text that lives as long as the library.
    let name = unsafe { loaded().mlx_native_cpu_kernel_name(number) };
    // SAFETY: the text is never null, and ends with a zero.
    unsafe { CStr::from_ptr(name) }.to_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn an_error_is_said_once_by_its_operation(
        #[case] name: &str,
        #[case] text: &str,
        #[case] want: &str,
    ) {
        assert_eq!(said_by(name, text), want);
    }

    /// A class that MLX has renamed would silently keep its evaluation or its rules.
    #[cfg(target_os = "linux")]
    #[test]
    fn every_class_is_found() {
        let api = api().unwrap();
        assert_eq!(widen(api).unwrap(), 15);
        assert_eq!(replace_gradients(api).unwrap(), 17);
    }

    #[test]
    fn kernels_name_their_operation_in_errors() {
        let _ = api().unwrap();
        for kernel in 0..KERNELS {
            let call = sys::mlx_native_cpu_call {
                kernel,
                integers: [1; _],
                numbers: [1.0; _],
            };
            let text = compute(&call, &[], &mut []).unwrap_err();
            assert!(
                text.starts_with(&format!("{}: ", kernel_name(kernel))),
                "{text}"
            );
        }
    }
}

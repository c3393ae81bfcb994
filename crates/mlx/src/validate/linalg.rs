//! Matrices that LAPACK must not see or whose factors do not exist: errors from `eval`.
//!
//! The reference LAPACK ends the process on some NaN, pivots of NaN may point anywhere, and a failed Cholesky
//! factorization leaves a half-finished matrix without an error.

use std::sync::Arc;

use half::{bf16, f16};

use crate::dtype::Complex64;
use crate::ffi::closure::Closure;
use crate::ffi::host::{self, HostCall, HostInput, HostOutput, Kernel};
use crate::ffi::{Handle, NativeError, stream};
use crate::op::{Op, OpFlags};
use crate::{Dtype, Element};

/// Returns the inputs with matrices that are known to be finite or to become an error; nothing for other operations.
pub(super) fn check(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Option<Vec<Handle>>, NativeError> {
    let is_matrix: fn(usize) -> bool = match op {
        Op::RandomMultivariateNormal { .. } => |position| position == 1,
        _ if op.flags().contains(OpFlags::CPU_ONLY) => |_| true,
        // What is left on a GPU has no factorization.
        _ if stream::is_gpu(stream) => return Ok(None),
        Op::Norm { ord, axes, .. } if axes.len() == 2 && ord.abs() == 2.0 => |_| true,
        Op::NormMatrix { .. } => |_| true,
        _ => return Ok(None),
    };
    let name = op.name().to_owned();
    let checked = |(position, input): (usize, &&Handle)| -> Result<Handle, NativeError> {
        let dtype = input.dtype();
        if !is_matrix(position) || !dtype.is_inexact() || input.size() == 0 {
            return input.duplicate();
        }
        check_extent(input.shape())?;
        let name = name.clone();
        let kernel: Arc<Kernel> = Arc::new(move |inputs, outputs| finite(&name, inputs, outputs));
        passed(c"check_finite", kernel, input, stream)
    };
    inputs
        .iter()
        .enumerate()
        .map(checked)
        .collect::<Result<_, _>>()
        .map(Some)
}

/// Returns a Cholesky factor that is known to exist or to become an error.
pub(crate) fn factor(factor: &Handle, stream: mlx_sys::mlx_stream) -> Result<Handle, NativeError> {
    if factor.size() == 0 {
        return factor.duplicate();
    }
    passed(
        c"check_positive_definite",
        Arc::new(positive_diagonal),
        factor,
        stream,
    )
}

/// LAPACK counts the elements of a matrix in 32 bits.
fn check_extent(shape: &[i32]) -> Result<(), NativeError> {
    match shape {
        [.., rows, columns] if rows.checked_mul(*columns).is_none() => Err(NativeError(format!(
            "a matrix must have less than 2^31 elements, got {rows} x {columns}"
        ))),
        _ => Ok(()),
    }
}

/// Builds a host kernel that passes an array on, or says why not.
fn passed(
    name: &std::ffi::CStr,
    kernel: Arc<Kernel>,
    input: &Handle,
    stream: mlx_sys::mlx_stream,
) -> Result<Handle, NativeError> {
    let composed = Closure::new(Box::new(|inputs: Vec<Handle>| Ok(inputs)))?;
    let call = HostCall {
        name,
        outputs: &[(input.shape().to_vec(), input.dtype())],
        kernel,
        defines_outputs: true,
        takes_strides: false,
        composed: Some(composed),
        origins: &[],
        captured: &[],
        identity: 0,
    };
    host::apply(call, &[input.raw()], stream)?
        .pop()
        .ok_or_else(|| NativeError::from("the check gave nothing"))
}

/// Whether all elements are so, in runs without a branch for each.
pub(crate) fn all<T: Copy>(elements: &[T], is_so: impl Fn(T) -> bool) -> bool {
    const RUN: usize = 512;
    elements
        .chunks(RUN)
        .all(|run| run.iter().fold(true, |so, &element| so & is_so(element)))
}

fn finite(
    name: &str,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    fn copy<T: Element>(
        input: &HostInput<'_>,
        output: &mut HostOutput<'_>,
        is_finite: impl Fn(T) -> bool,
    ) -> Result<bool, String> {
        let (from, to) = (input.as_slice::<T>()?, output.as_mut_slice::<T>()?);
        let all_finite = all(from, is_finite);
        if all_finite {
            to.copy_from_slice(from);
        } else {
            // What was queued behind this kernel still runs: it gets a matrix that LAPACK can take.
            to.fill(T::default());
        }
        Ok(all_finite)
    }
    let ([input], [output]) = (inputs, outputs) else {
        return Err(String::from("wanted one input and one output"));
    };
    let all_finite = match input.dtype() {
        Dtype::Float16 => copy::<f16>(input, output, f16::is_finite),
        Dtype::Bfloat16 => copy::<bf16>(input, output, bf16::is_finite),
        Dtype::Float32 => copy::<f32>(input, output, f32::is_finite),
        Dtype::Float64 => copy::<f64>(input, output, f64::is_finite),
        _ => copy::<Complex64>(input, output, |z| z.re.is_finite() && z.im.is_finite()),
    }?;
    if all_finite {
        return Ok(());
    }
    Err(format!(
        "{name}: every element must be finite, got NaN or infinity"
    ))
}

fn positive_diagonal(
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    fn copy<T: Element + PartialOrd>(
        input: &HostInput<'_>,
        output: &mut HostOutput<'_>,
    ) -> Result<bool, String> {
        let n = input
            .shape()
            .last()
            .map_or(0, |&n| n.unsigned_abs() as usize);
        let (from, to) = (input.as_slice::<T>()?, output.as_mut_slice::<T>()?);
        to.copy_from_slice(from);
        // LAPACK stops at the first pivot that is not positive and leaves it where it is.
        Ok(from.chunks_exact((n * n).max(1)).all(|matrix| {
            let mut pivots = matrix.iter().step_by(n + 1);
            pivots.all(|pivot| *pivot > T::default())
        }))
    }
    let ([input], [output]) = (inputs, outputs) else {
        return Err(String::from("wanted one input and one output"));
    };
    let exists = match input.dtype() {
        Dtype::Float64 => copy::<f64>(input, output),
        _ => copy::<f32>(input, output),
    }?;
    if exists {
        return Ok(());
    }
    Err(String::from(
        "linalg.cholesky: the matrix is not positive definite",
    ))
}

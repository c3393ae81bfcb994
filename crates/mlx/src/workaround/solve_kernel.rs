//! Systems of equations of general matrices as one kernel: MLX multiplies with the inverses of both triangular factors, which
//! costs twice as much and loses more digits.

use std::sync::Arc;

use mlx_kernels::Error;

use super::draw::are_kernels_enabled;
use crate::Dtype;
use crate::ffi::host::{self, HostCall, HostInput, HostOutput};
use crate::ffi::table::Outputs;
use crate::ffi::{Handle, NativeError, inspect};
use crate::op::Op;
use crate::validate;

/// Returns the solution by the kernel; nothing where there is none for these sides, or a transform works on them.
pub(super) fn call(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Option<Outputs>, NativeError> {
    let (Op::Solve, &[a, b]) = (op, inputs) else {
        return Ok(None);
    };
    // Apple's LAPACK has instructions that nothing else may use.
    let has_kernel = cfg!(not(target_os = "macos")) && are_kernels_enabled();
    let Some(shape) = shape_of(a, b).filter(|_| has_kernel) else {
        return Ok(None);
    };
    if inspect::is_tracer(a)? || inspect::is_tracer(b)? {
        return Ok(None);
    }
    let call = HostCall {
        name: c"linalg.solve",
        outputs: &[(shape, Dtype::Float32)],
        kernel: Arc::new(run),
        defines_outputs: false,
        takes_strides: false,
        composed: None,
        origins: &[],
        captured: &[],
        identity: 0,
    };
    let solution = host::apply(call, &[a.raw(), b.raw()], stream)?.pop();
    let solution = solution.ok_or_else(|| NativeError::from("the kernel gave nothing"))?;
    Ok(Some(Outputs::One(solution)))
}

/// The shape of the solution of square `float32` matrices and as many leading axes, or a vector; nothing is empty.
fn shape_of(a: &Handle, b: &Handle) -> Option<Vec<i32>> {
    let &[.., n, columns] = a.shape() else {
        return None;
    };
    let is_single = [a.dtype(), b.dtype()] == [Dtype::Float32; 2];
    let extent = n.checked_mul(n)?;
    if !is_single || n != columns || extent == 0 || b.size() == 0 || a.size() == 0 {
        return None;
    }
    if b.shape().len() == 1 {
        return (a.shape() == [n, n] && b.shape() == [n]).then(|| vec![n]);
    }
    let (&[height, width], lead) = b
        .shape()
        .split_last_chunk()
        .map(|(lead, side)| (side, lead))?;
    let a_lead = &a.shape()[..a.shape().len() - 2];
    if height != n || a_lead.len() != lead.len() {
        return None;
    }
    let mut shape = Vec::with_capacity(lead.len() + 2);
    for (&one, &other) in a_lead.iter().zip(lead) {
        if one != other && one != 1 && other != 1 {
            return None;
        }
        shape.push(one.max(other));
    }
    shape.extend([n, width]);
    Some(shape)
}

fn run(inputs: &[HostInput<'_>], outputs: &mut [HostOutput<'_>]) -> Result<(), String> {
    let ([a, b], [out]) = (inputs, outputs) else {
        return Err(String::from("wanted two inputs and one output"));
    };
    let (a_values, b_values) = (a.as_slice::<f32>()?, b.as_slice::<f32>()?);
    if ![a_values, b_values]
        .iter()
        .all(|x| validate::all(x, f32::is_finite))
    {
        return Err(String::from(
            "linalg.solve: every element must be finite, got NaN or infinity",
        ));
    }
    let size = |n: i32| n.unsigned_abs() as usize;
    let n = a.shape().last().map_or(0, |&n| size(n));
    let is_vector = b.shape().len() == 1;
    let columns = if is_vector {
        1
    } else {
        b.shape().last().map_or(0, |&n| size(n))
    };
    let lead = |shape: &[i32]| -> Vec<usize> {
        let lead = shape.len().saturating_sub(2);
        shape[..lead].iter().map(|&n| size(n)).collect()
    };
    let (a_lead, b_lead, out_lead) = (lead(a.shape()), lead(b.shape()), lead(out.shape()));
    let batch: usize = out_lead.iter().product();
    let systems: Vec<(&[f32], &[f32])> = (0..batch)
        .map(|index| {
            let a_at = broadcast_index(&out_lead, &a_lead, index);
            let b_at = broadcast_index(&out_lead, &b_lead, index);
            (
                &a_values[a_at * n * n..][..n * n],
                &b_values[b_at * n * columns..][..n * columns],
            )
        })
        .collect();
    mlx_kernels::solve(n, columns, &systems, out.as_mut_slice()?).map_err(|error| match error {
        Error::Singular { .. } => String::from("linalg.solve: the matrix is singular"),
        error => error.to_string(),
    })
}

/// The index of the matrix that is broadcast to index `index` of the leading axes `to`.
fn broadcast_index(to: &[usize], from: &[usize], mut index: usize) -> usize {
    let (mut at, mut stride) = (0, 1);
    for (&to, &from) in to.iter().zip(from).rev() {
        if from > 1 {
            at += index % to * stride;
        }
        index /= to;
        stride *= from;
    }
    at
}

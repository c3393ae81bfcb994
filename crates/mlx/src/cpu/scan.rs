//! Running sums, products and extremes.

use mlx_kernels::{ReduceShape, ScanKind, ScanOrder};

use super::by_type::element_type;
use super::layout::{error_text, input, output, size};
use crate::ffi::host::{HostInput, HostOutput};
use crate::op::Op;
use crate::shape::axis_index;

pub(super) fn run(
    op: &Op,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let (Op::Cumsum {
        axis,
        reverse,
        inclusive,
    }
    | Op::Cumprod {
        axis,
        reverse,
        inclusive,
    }
    | Op::Cummax {
        axis,
        reverse,
        inclusive,
    }
    | Op::Cummin {
        axis,
        reverse,
        inclusive,
    }
    | Op::Logcumsumexp {
        axis,
        reverse,
        inclusive,
    }) = op
    else {
        return Err("no scan".to_owned());
    };
    let x = input(inputs, 0)?;
    let axis = axis_index(*axis, x.shape().len()).ok_or("wanted an axis of the array")?;
    let product = |sizes: &[i32]| sizes.iter().map(|&n| size(n)).product();
    let shape = ReduceShape {
        outer: product(&x.shape()[..axis]),
        reduced: size(x.shape()[axis]),
        inner: product(&x.shape()[axis + 1..]),
    };
    let order = ScanOrder {
        is_reverse: *reverse,
        is_inclusive: *inclusive,
    };
    let kind = match op {
        Op::Cumsum { .. } => ScanKind::Sum,
        Op::Cumprod { .. } => ScanKind::Product,
        Op::Cummax { .. } => ScanKind::Max,
        Op::Cummin { .. } => ScanKind::Min,
        _ => ScanKind::LogAddExp,
    };
    let of = element_type(x.dtype());
    let x = x.contiguous_bytes()?;
    let out = output(outputs, 0)?.as_mut_bytes();
    mlx_kernels::scan_values(kind, of, order, shape, &x, out).map_err(error_text)
}

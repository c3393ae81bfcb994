//! Orders with NaN in them: NaN comes last, as in NumPy.
//!
//! MLX compares complex numbers by their parts, so that one NaN leaves a sort without an order, and a binary search goes
//! astray among NaN at the end.

use super::calculate::Calculator;
use crate::Dtype;
use crate::ffi::table::{self, Outputs};
use crate::ffi::{Handle, NativeError};
use crate::op::{Op, SearchSide};
use crate::shape::axis_index;

/// Orders complex numbers, and searches where NaN may be; nothing when `op` is not of these.
pub(super) fn call(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Option<Outputs>, NativeError> {
    let calculate = Calculator::on(stream);
    if let Op::Searchsorted { side } = op {
        return search(op, *side, inputs, calculate).map(|found| found.map(Outputs::One));
    }
    let (Op::Sort { axis }
    | Op::Argsort { axis }
    | Op::Partition { axis, .. }
    | Op::Argpartition { axis, .. }
    | Op::Topk { axis, .. }
    | Op::Argmax { axis, .. }
    | Op::Argmin { axis, .. }) = op
    else {
        return Ok(None);
    };
    let x = inputs[0];
    if x.dtype() != Dtype::Complex64 || x.size() == 0 || x.ndim() == 0 {
        return Ok(None);
    }
    // It is evaluated for positions without NaN only; for others it says what is wrong with the attributes.
    let plain = match op {
        Op::Argpartition { .. } => None,
        _ => Some(table::call(op, &[x.raw()], stream)?.into_vec().remove(0)),
    };
    let Some(along) = axis_index(*axis, x.ndim()) else {
        return Ok(None);
    };
    let result = match (op, plain) {
        (Op::Argmax { keepdims, .. } | Op::Argmin { keepdims, .. }, Some(plain)) => {
            first_nan_or(&plain, x, *axis, *keepdims, calculate)?
        }
        (Op::Argsort { .. } | Op::Argpartition { .. }, _) => order(x, *axis, calculate)?,
        // All of them come as they are.
        (Op::Topk { k, .. }, Some(plain)) if *k == x.shape()[along] => plain,
        (Op::Topk { k, .. }, _) => last(&sorted(x, *axis, calculate)?, along, *k, calculate)?,
        _ => sorted(x, *axis, calculate)?,
    };
    Ok(Some(Outputs::One(result)))
}

fn sorted(x: &Handle, axis: i32, calculate: Calculator) -> Result<Handle, NativeError> {
    let order = order(x, axis, calculate)?;
    calculate.binary(Op::TakeAlongAxis { axis }, x, &order)
}

/// The positions in order: by the real part and then the imaginary one; after these the numbers that have NaN in the
/// imaginary part, in the real one, and in both. Sorts by the least significant of these keys first, as sorts of positions are stable.
fn order(x: &Handle, axis: i32, calculate: Calculator) -> Result<Handle, NativeError> {
    let (re, im) = (calculate.unary(Op::Real, x)?, calculate.unary(Op::Imag, x)?);
    let is_nan = |part: &Handle| -> Result<Handle, NativeError> {
        calculate.astype(&calculate.unary(Op::Isnan, part)?, Dtype::Int32)
    };
    let two = calculate.number(2, Dtype::Int32)?;
    let class = calculate.add(&calculate.multiply(&is_nan(&re)?, &two)?, &is_nan(&im)?)?;
    let take = |from: &Handle, at: &Handle| calculate.binary(Op::TakeAlongAxis { axis }, from, at);
    let mut order = calculate.unary(Op::Argsort { axis }, &im)?;
    for key in [re, class] {
        let next = calculate.unary(Op::Argsort { axis }, &take(&key, &order)?)?;
        order = take(&order, &next)?;
    }
    Ok(order)
}

/// The position of the first NaN, where there is one.
fn first_nan_or(
    plain: &Handle,
    x: &Handle,
    axis: i32,
    keepdims: bool,
    calculate: Calculator,
) -> Result<Handle, NativeError> {
    let is_nan = calculate.unary(Op::Isnan, x)?;
    let any = Op::Any {
        axes: vec![axis],
        keepdims,
    };
    let any = calculate.unary(any, &is_nan)?;
    let is_nan = calculate.astype(&is_nan, Dtype::Int32)?;
    let first = calculate.unary(Op::Argmax { axis, keepdims }, &is_nan)?;
    calculate.choose(&any, &first, plain)
}

fn last(x: &Handle, axis: usize, k: i32, calculate: Calculator) -> Result<Handle, NativeError> {
    let mut start = vec![0; x.ndim()];
    let stop = x.shape().to_vec();
    start[axis] = stop[axis] - k.clamp(0, stop[axis]);
    let strides = vec![1; x.ndim()];
    calculate.unary(
        Op::Slice {
            start,
            stop,
            strides,
        },
        x,
    )
}

/// Searches a sorted array of numbers with NaN at its end, seen as infinite: no number belongs behind the first of them.
fn search(
    op: &Op,
    side: SearchSide,
    inputs: &[&Handle],
    calculate: Calculator,
) -> Result<Option<Handle>, NativeError> {
    let (edges, values) = (inputs[0], inputs[1]);
    let is_inexact = |x: &Handle| x.dtype().is_inexact();
    if edges.ndim() != 1 || !(is_inexact(edges) || is_inexact(values)) {
        return Ok(None);
    }
    let nans = calculate.unary(Op::Isnan, edges)?;
    let infinity = calculate.number(f32::INFINITY, edges.dtype())?;
    let finite = match edges.dtype().is_inexact() {
        true => calculate.choose(&nans, &infinity, edges)?,
        false => edges.duplicate()?,
    };
    let raws = [finite.raw(), values.raw()];
    let plain = match table::call(op, &raws, calculate.raw())? {
        Outputs::One(plain) => plain,
        Outputs::Many(_) => return Ok(None),
    };
    let all = Op::CountNonzero {
        axes: vec![0],
        keepdims: false,
    };
    let numbers = calculate.unary(Op::LogicalNot, &nans)?;
    let numbers = calculate.astype(&calculate.unary(all, &numbers)?, plain.dtype())?;
    let found = calculate.binary(Op::Minimum, &plain, &numbers)?;
    let behind = match side {
        SearchSide::Left => numbers,
        SearchSide::Right => calculate.number(edges.shape()[0], plain.dtype())?,
    };
    let is_nan = calculate.unary(Op::Isnan, values)?;
    calculate.choose(&is_nan, &behind, &found).map(Some)
}

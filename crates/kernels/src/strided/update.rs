//! Writing an array into a slice of another, or combining it with what is there.
//!
//! Formula: `out[start + i * steps] = combine(x[start + i * steps], update[i])`, and the elements of `x` elsewhere.
//! Blocking: a task has about 128 KiB of the result; elements of `x` are copied to it, unless they are there already, and
//! combined while they are in the cache. Limit: memory bandwidth. Error: one rounding of the combination.

use pulp::bytemuck::{Pod, cast_slice, cast_slice_mut};
use pulp::{Simd, WithSimd};

use super::block::{Axis, Block};
use super::copy::row_major;
use super::pad::outer_axes;
use super::view::{Rows, StridedView};
use crate::error::{Error, Result, length, product};
use crate::parallel::parallel_for;
use crate::simd;

const OP: &str = "slice_update";
/// Bytes of a task, about.
const TASK: usize = 128 * 1024;

/// What becomes of an element that is in the slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Combine {
    /// The element of the update takes its place.
    Set,
    /// The sum; integers wrap around.
    Add,
    /// The product; integers wrap around.
    Multiply,
    /// The greater one; NaN if one is.
    Max,
    /// The lesser one; NaN if one is.
    Min,
}

/// Which elements an update is for.
#[derive(Clone, Copy, Debug)]
pub struct SliceTarget<'a> {
    /// The shape of the whole array.
    pub shape: &'a [usize],
    /// The first element of the slice.
    pub start: &'a [usize],
    /// How far apart elements of the slice are, along each axis.
    pub steps: &'a [isize],
}

/// Numbers that can be combined.
pub trait Combinable: Pod + Send + Sync {
    /// Combines an element with that of the update.
    fn combine(how: Combine, a: Self, b: Self) -> Self;
}

macro_rules! integers {
    ($($t:ty),*) => {$(impl Combinable for $t {
        #[inline(always)]
        fn combine(how: Combine, a: Self, b: Self) -> Self {
            match how {
                Combine::Set => b,
                Combine::Add => a.wrapping_add(b),
                Combine::Multiply => a.wrapping_mul(b),
                Combine::Max => a.max(b),
                Combine::Min => a.min(b),
            }
        }
    })*};
}
integers!(i8, i16, i32, i64, u8, u16, u32, u64);

macro_rules! floats {
    ($($t:ty),*) => {$(impl Combinable for $t {
        #[inline(always)]
        fn combine(how: Combine, a: Self, b: Self) -> Self {
            match how {
                Combine::Set => b,
                Combine::Add => a + b,
                Combine::Multiply => a * b,
                Combine::Max => if a.is_nan() | (a > b) { a } else { b },
                Combine::Min => if a.is_nan() | (a < b) { a } else { b },
            }
        }
    })*};
}
floats!(f32, f64);

/// Writes `x`, of the target's shape, with the update in the slice to `out`; without `x`, `out` holds its elements already.
///
/// # Errors
/// When shapes do not match, or the slice ends beyond the array; nothing was written then.
pub fn update_slice<T: Combinable>(
    how: Combine,
    x: Option<&StridedView<'_, T>>,
    update: &StridedView<'_, T>,
    target: SliceTarget<'_>,
    out: &mut [T],
) -> Result<()> {
    let SliceTarget {
        shape,
        start,
        steps,
    } = target;
    length(OP, "start", shape.len(), start.len())?;
    length(OP, "steps", shape.len(), steps.len())?;
    length(OP, "the update's axes", shape.len(), update.shape.len())?;
    length(OP, "out", product(OP, shape)?, out.len())?;
    for axis in 0..shape.len() {
        let last = update.shape[axis].saturating_sub(1) as isize;
        let end = last
            .checked_mul(steps[axis])
            .and_then(|reach| start[axis].checked_add_signed(reach));
        let is_inside = start[axis] < shape[axis] && end.is_some_and(|end| end < shape[axis]);
        let same = x.is_none_or(|x| x.shape == shape);
        if (update.size() > 0 && !is_inside) || !same {
            return Err(Error::Parameter {
                op: OP,
                what: "start",
                wanted: "room for the update",
                got: start[axis],
            });
        }
    }
    if out.is_empty() {
        return Ok(());
    }
    match size_of::<T>() {
        1 => update_elements::<T, 1>(how, x, update, target, out),
        2 => update_elements::<T, 2>(how, x, update, target, out),
        4 => update_elements::<T, 4>(how, x, update, target, out),
        _ => update_elements::<T, 8>(how, x, update, target, out),
    }
    Ok(())
}

fn update_elements<T: Combinable, const N: usize>(
    how: Combine,
    x: Option<&StridedView<'_, T>>,
    update: &StridedView<'_, T>,
    target: SliceTarget<'_>,
    out: &mut [T],
) {
    let SliceTarget {
        shape,
        start,
        steps,
    } = target;
    let split = outer_axes::<N>(shape);
    let row: usize = shape[split..].iter().product();
    let to = row_major(&shape[split..]);
    let copied = x.map(|x| {
        let rows = Rows::new(&x.shape, &x.strides, split, &to);
        let from: &[[u8; N]] = cast_slice::<T, u8>(x.elements).as_chunks().0;
        (rows, from, x.start)
    });
    let inner_steps: Vec<isize> = to
        .iter()
        .zip(&steps[split..])
        .map(|(to, step)| to * step)
        .collect();
    let block = Block::new(
        &update.shape[split..],
        &update.strides[split..],
        &inner_steps,
    );
    let at: usize = start[split..]
        .iter()
        .zip(&to)
        .map(|(start, to)| start * *to as usize)
        .sum();
    let per_task = (TASK / (row * N)).max(1);
    let bytes = N * if x.is_some() {
        out.len()
    } else {
        update.size()
    };
    let is_empty = update.size() == 0;
    parallel_for(
        out.chunks_mut(per_task * row).enumerate(),
        0.06 * bytes as f64,
        || (),
        |(), (task, out)| {
            let first = task * per_task;
            if let Some((rows, from, start)) = &copied {
                let out: &mut [[u8; N]] = cast_slice_mut::<T, u8>(out).as_chunks_mut().0;
                let count = out.len() / row;
                rows.copy((*from, *start), (first, count), out, 0, row);
            }
            if is_empty {
                return;
            }
            for (index, out) in out.chunks_mut(row).enumerate() {
                let Some(start) = row_start(update, target, split, first + index) else {
                    continue;
                };
                if how == Combine::Set {
                    let from: &[[u8; N]] = cast_slice::<T, u8>(update.elements).as_chunks().0;
                    let out: &mut [[u8; N]] = cast_slice_mut::<T, u8>(out).as_chunks_mut().0;
                    block.copy(from, start, out, at);
                } else {
                    combine_axes(how, &block.axes, update.elements, start, out, at);
                }
            }
        },
    );
}

/// Where the update's elements for this row of the result begin, if there are any.
fn row_start<T>(
    update: &StridedView<'_, T>,
    target: SliceTarget<'_>,
    split: usize,
    row: usize,
) -> Option<usize> {
    let (mut from, mut rest) = (update.start, row);
    for axis in (0..split).rev() {
        let distance = (rest % target.shape[axis]) as isize - target.start[axis] as isize;
        rest /= target.shape[axis];
        let step = target.steps[axis];
        if update.shape[axis] == 1 {
            if distance != 0 {
                return None;
            }
            continue;
        }
        if step == 0 || distance % step != 0 {
            return None;
        }
        let index = usize::try_from(distance / step).ok()?;
        if index >= update.shape[axis] {
            return None;
        }
        from = from.wrapping_add(index.wrapping_mul(update.strides[axis] as usize));
    }
    Some(from)
}

fn combine_axes<T: Combinable>(
    how: Combine,
    axes: &[Axis],
    from: &[T],
    start: usize,
    out: &mut [T],
    at: usize,
) {
    match axes {
        [] => out[at] = T::combine(how, out[at], from[start]),
        [row] if row.to == 1 && (row.from == 1 || row.from == 0) => {
            let from = &from[start..][..if row.from == 0 { 1 } else { row.size }];
            let out = &mut out[at..][..row.size];
            simd::dispatch(CombineRow { how, from, out });
        }
        [row] => {
            let (mut start, mut at) = (start, at);
            for _ in 0..row.size {
                out[at] = T::combine(how, out[at], from[start]);
                start = start.wrapping_add(row.from);
                at = at.wrapping_add(row.to);
            }
        }
        [first, rest @ ..] => {
            let (mut start, mut at) = (start, at);
            for _ in 0..first.size {
                combine_axes(how, rest, from, start, out, at);
                start = start.wrapping_add(first.from);
                at = at.wrapping_add(first.to);
            }
        }
    }
}

/// Combines a row with another, or with one number.
struct CombineRow<'a, T> {
    how: Combine,
    from: &'a [T],
    out: &'a mut [T],
}

impl<T: Combinable> WithSimd for CombineRow<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { how, from, out } = self;
        match how {
            Combine::Set => row(out, from, |_, b| b),
            Combine::Add => row(out, from, |a, b| T::combine(Combine::Add, a, b)),
            Combine::Multiply => row(out, from, |a, b| T::combine(Combine::Multiply, a, b)),
            Combine::Max => row(out, from, |a, b| T::combine(Combine::Max, a, b)),
            Combine::Min => row(out, from, |a, b| T::combine(Combine::Min, a, b)),
        }
    }
}

/// Plain loops, which the compiler vectorizes.
#[inline(always)]
fn row<T: Combinable>(out: &mut [T], from: &[T], combine: impl Fn(T, T) -> T) {
    if let ([value], true) = (from, out.len() > 1) {
        for out in out {
            *out = combine(*out, *value);
        }
        return;
    }
    for (out, from) in out.iter_mut().zip(from) {
        *out = combine(*out, *from);
    }
}

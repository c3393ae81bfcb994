//! Writing an array into a slice of another, or combining it with what is there.
//!
//! Formula: `out[start + i * steps] = combine(x[start + i * steps], update[i])`, and the elements of `x` elsewhere.
//! Blocking: a task has about 128 KiB of the result; elements of `x` are copied to it, unless they are there already, and
//! combined while they are in the cache. Limit: memory bandwidth. Error: one rounding of the combination.

use half::{bf16, f16};
use pulp::bytemuck::{Pod, cast_slice, cast_slice_mut};
use pulp::{Simd, WithSimd};

use super::block::{Axis, Block};
use super::copy::row_major;
use super::pad::outer_axes;
use super::view::{Rows, StridedView};
use crate::error::{Error, Result, length, product};
use crate::parallel::parallel_for;
use crate::simd;
use crate::simd::f16_to_f32::f16_to_f32_by_shifts;
use crate::simd::f32_to_f16::{nearest_bf16, nearest_f16};

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
    /// The element if it is greater than that of the update, which is taken otherwise: NaN is kept of the update alone.
    Greater,
    /// The element if it is less than that of the update, which is taken otherwise.
    Lesser,
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
                Combine::Max | Combine::Greater => a.max(b),
                Combine::Min | Combine::Lesser => a.min(b),
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
                Combine::Greater => if a > b { a } else { b },
                Combine::Lesser => if a < b { a } else { b },
            }
        }
    })*};
}
floats!(f32, f64);

macro_rules! halves {
    ($($t:ty, $nearest:path);*) => {$(
        impl Combinable for $t {
            // Combined in `f32` and rounded, of which only sums and products need it.
            #[inline(always)]
            fn combine(how: Combine, a: Self, b: Self) -> Self {
                $nearest(f32::combine(how, a.term(), b.term()))
            }
        }
    )*};
}
halves!(f16, nearest_f16; bf16, nearest_bf16);

/// A number that is combined with one of another type.
pub trait Term<A>: Copy + Send + Sync {
    /// The number in that type, exactly.
    fn term(self) -> A;
}

impl<T: Combinable> Term<T> for T {
    #[inline(always)]
    fn term(self) -> T {
        self
    }
}

impl Term<f32> for f16 {
    #[inline(always)]
    fn term(self) -> f32 {
        f16_to_f32_by_shifts(self)
    }
}

impl Term<f32> for bf16 {
    #[inline(always)]
    fn term(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

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
                    combine_block(how, &block, (update.elements, start), out, at);
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

/// Combines a block of elements with what is there, from `at` on.
pub(crate) fn combine_block<A: Combinable, T: Term<A>>(
    how: Combine,
    block: &Block,
    (from, start): (&[T], usize),
    out: &mut [A],
    at: usize,
) {
    combine_axes(how, &block.axes, from, start, out, at);
}

fn combine_axes<A: Combinable, T: Term<A>>(
    how: Combine,
    axes: &[Axis],
    from: &[T],
    start: usize,
    out: &mut [A],
    at: usize,
) {
    match axes {
        [] => out[at] = A::combine(how, out[at], from[start].term()),
        [row] if row.to == 1 && (row.from == 1 || row.from == 0) => {
            let from = &from[start..][..if row.from == 0 { 1 } else { row.size }];
            let out = &mut out[at..][..row.size];
            simd::dispatch(CombineRow { how, from, out });
        }
        [row] => {
            let (mut start, mut at) = (start, at);
            for _ in 0..row.size {
                out[at] = A::combine(how, out[at], from[start].term());
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
struct CombineRow<'a, T, A> {
    how: Combine,
    from: &'a [T],
    out: &'a mut [A],
}

impl<A: Combinable, T: Term<A>> WithSimd for CombineRow<'_, T, A> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { how, from, out } = self;
        match how {
            Combine::Set => row(out, from, |_, b| b),
            Combine::Add => row(out, from, |a, b| A::combine(Combine::Add, a, b)),
            Combine::Multiply => row(out, from, |a, b| A::combine(Combine::Multiply, a, b)),
            Combine::Max => row(out, from, |a, b| A::combine(Combine::Max, a, b)),
            Combine::Min => row(out, from, |a, b| A::combine(Combine::Min, a, b)),
            Combine::Greater => row(out, from, |a, b| A::combine(Combine::Greater, a, b)),
            Combine::Lesser => row(out, from, |a, b| A::combine(Combine::Lesser, a, b)),
        }
    }
}

/// Plain loops, which the compiler vectorizes.
#[inline(always)]
fn row<A: Combinable, T: Term<A>>(out: &mut [A], from: &[T], combine: impl Fn(A, A) -> A) {
    if let ([value], true) = (from, out.len() > 1) {
        let value = value.term();
        for out in out {
            *out = combine(*out, value);
        }
        return;
    }
    for (out, from) in out.iter_mut().zip(from) {
        *out = combine(*out, from.term());
    }
}

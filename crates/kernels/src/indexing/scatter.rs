//! Slices of an array that are replaced by updates or combined with them, found by the indices of their first elements.
//!
//! Formula: `out = x`, and then for one row `i` of indices after the other
//! `out[indices[i] + (..)] = combine(out[indices[i] + (..)], updates[i, ..])`.
//! Blocking: the result is cut along its first axis, in tasks of about 128 KiB. A task copies its part of `x` and combines
//! the updates that fall into it, in the order of their indices: duplicates give the same result on any number of threads.
//! Limit: memory bandwidth, and the latency of memory for short slices.
//! Error: one rounding of each combination; sums and products of half precision are `f32` and rounded once.

use pulp::bytemuck::{cast_slice, cast_slice_mut};

use super::gather::Gather;
use crate::element::Element;
use crate::error::{Error, Result, length, product};
use crate::parallel::parallel_for;
use crate::strided::{
    Block, Combinable, Combine, RowOffsets, Rows, StridedView, Term, combine_block, row_major,
};

const OP: &str = "scatter";
/// Elements of a task.
const TASK: usize = 32 * 1024;
/// What an update of one element costs, in nanoseconds.
const NANOSECONDS: f64 = 1.0;

/// Writes `x`, of this shape, with the updates in the slices to `out`; without `x`, `out` holds its elements already.
///
/// `updates` is `[indices.., sizes of a slice..]`, and `slices` have been moved by the indices along axes of `shape` in
/// row-major order.
///
/// # Errors
/// When shapes or lengths do not match; nothing was written then.
pub fn scatter<T: Combinable>(
    how: Combine,
    x: Option<&StridedView<'_, T>>,
    slices: &Gather,
    updates: &StridedView<'_, T>,
    (shape, out): (&[usize], &mut [T]),
) -> Result<()> {
    let updates = Updates::new(how, slices, updates, shape)?;
    run(&updates, x, out, &|updates, list, first, out| {
        updates.combine(list, first, out);
    })
}

/// The same of half precision, whose sums and products are kept in `f32` and rounded once.
///
/// # Errors
/// As [`scatter`].
pub fn scatter_half<T: Combinable + Element + Term<f32>>(
    how: Combine,
    x: Option<&StridedView<'_, T>>,
    slices: &Gather,
    updates: &StridedView<'_, T>,
    (shape, out): (&[usize], &mut [T]),
) -> Result<()> {
    let updates = Updates::new(how, slices, updates, shape)?;
    run(&updates, x, out, &|updates, list, first, out| {
        in_f32(out, |wide| updates.combine(list, first, wide));
    })
}

/// Lets `combine` change elements of half precision as `f32`, which are rounded after.
fn in_f32<T: Element>(out: &mut [T], combine: impl FnOnce(&mut [f32])) {
    let mut wide = vec![0.0; out.len()];
    T::read(out, &mut wide);
    combine(&mut wide);
    T::store(&wide, out);
}

/// One slice: where it starts in the array, and where its update does.
#[derive(Clone, Copy, Default)]
struct Slice {
    to: usize,
    from: usize,
}

/// Updates of the slices of an array that is cut along an axis.
struct Updates<'a, T> {
    how: Combine,
    elements: &'a [T],
    slices: Vec<Slice>,
    /// The sizes of a slice, from the axis along which the array is cut on.
    sizes: Vec<usize>,
    /// How far apart elements of an update are.
    steps: Vec<isize>,
    /// The same where they are written.
    to: Vec<isize>,
    /// The axis along which the array is cut: the first one that is longer than 1.
    axis: usize,
    /// The size of that axis.
    rows: usize,
    /// The elements of a row.
    row: usize,
}

impl<'a, T: Combinable> Updates<'a, T> {
    fn new(
        how: Combine,
        slices: &Gather,
        updates: &StridedView<'a, T>,
        shape: &[usize],
    ) -> Result<Self> {
        let (starts, sizes) = slices.parts();
        length(OP, "slice sizes", shape.len(), sizes.len())?;
        let n_outer = updates.shape.len().wrapping_sub(shape.len());
        let fits = updates.shape.get(n_outer..) == Some(sizes)
            && shape.iter().zip(sizes).all(|(n, size)| size <= n);
        let count = updates
            .shape
            .get(..n_outer)
            .map_or(0, |outer| outer.iter().product());
        if !fits || shape.is_empty() || starts.len() != count {
            return Err(Error::Parameter {
                op: OP,
                what: "the axes of the updates",
                wanted: "those of the indices and of a slice",
                got: updates.shape.len(),
            });
        }
        let axis = shape.iter().position(|&n| n != 1).unwrap_or(0);
        let outer: Vec<usize> = updates.strides[..n_outer]
            .iter()
            .map(|&s| s as usize)
            .collect();
        let mut places = RowOffsets::from_row(&updates.shape[..n_outer], &outer, 0);
        let place = |&to: &usize| {
            let from = updates.start.wrapping_add(places.current());
            places.advance(1);
            Slice { to, from }
        };
        let slices = match updates.size() {
            0 => Vec::new(),
            _ => starts.iter().map(place).collect(),
        };
        Ok(Self {
            how,
            elements: updates.elements,
            slices,
            sizes: sizes[axis..].to_vec(),
            steps: updates.strides[n_outer + axis..].to_vec(),
            to: row_major(&shape[axis..]),
            axis,
            rows: shape[axis],
            row: shape[axis + 1..].iter().product(),
        })
    }

    /// The slices of each part of this many rows, in order, and where each part's begin; all slices for every part if a
    /// slice may be in two.
    fn by_part(&self, per_part: usize) -> (Vec<Slice>, Vec<usize>) {
        let parts = self.rows.div_ceil(per_part);
        if self.sizes[0] != 1 || parts == 1 {
            return (self.slices.clone(), Vec::new());
        }
        let part_of = |slice: &Slice| slice.to / self.row / per_part;
        let mut bounds = vec![0; parts + 1];
        for slice in &self.slices {
            bounds[part_of(slice) + 1] += 1;
        }
        for part in 0..parts {
            bounds[part + 1] += bounds[part];
        }
        let mut next = bounds.clone();
        let mut sorted = vec![Slice::default(); self.slices.len()];
        for slice in &self.slices {
            let at = &mut next[part_of(slice)];
            sorted[*at] = *slice;
            *at += 1;
        }
        (sorted, bounds)
    }

    /// Combines what of these slices is in the rows from `first` on.
    fn combine<A: Combinable>(&self, slices: &[Slice], first: usize, out: &mut [A])
    where
        T: Term<A>,
    {
        let end = first + out.len() / self.row;
        let mut sizes = self.sizes.clone();
        let mut block = Block::new(&sizes, &self.steps, &self.to);
        for slice in slices {
            let row = slice.to / self.row;
            let (begin, end) = (row.max(first), (row + self.sizes[0]).min(end));
            if begin >= end {
                continue;
            }
            if sizes[0] != end - begin {
                sizes[0] = end - begin;
                block = Block::new(&sizes, &self.steps, &self.to);
            }
            let skipped = (begin - row).wrapping_mul(self.steps[0] as usize);
            let from = slice.from.wrapping_add(skipped);
            let at = (begin - first) * self.row + slice.to % self.row;
            combine_block(self.how, &block, (self.elements, from), out, at);
        }
    }
}

/// How slices are combined with the rows from one on.
type CombineFn<'f, T> = &'f (dyn Fn(&Updates<'_, T>, &[Slice], usize, &mut [T]) + Sync);

fn run<T: Combinable>(
    updates: &Updates<'_, T>,
    x: Option<&StridedView<'_, T>>,
    out: &mut [T],
    combine: CombineFn<'_, T>,
) -> Result<()> {
    let shape = x.map(|x| x.shape.as_slice());
    length(
        OP,
        "out",
        product(OP, &[updates.rows, updates.row])?,
        out.len(),
    )?;
    length(
        OP,
        "x",
        out.len(),
        shape.map_or(Ok(out.len()), |shape| product(OP, shape))?,
    )?;
    if out.is_empty() {
        return Ok(());
    }
    let row = updates.row;
    let copied = x.map(|x| CopiedRows::new(x, updates.axis + 1));
    let per_task = (TASK / row).max(1);
    let (slices, bounds) = updates.by_part(per_task);
    let bytes = if x.is_some() { size_of_val(out) } else { 0 };
    let combined = updates.slices.len() * updates.sizes.iter().product::<usize>();
    parallel_for(
        out.chunks_mut(per_task * row).enumerate(),
        0.06 * bytes as f64 + NANOSECONDS * combined as f64,
        || (),
        |(), (task, out)| {
            let first = task * per_task;
            if let Some(copied) = &copied {
                copied.copy(first, row, out);
            }
            let list = match (bounds.get(task), bounds.get(task + 1)) {
                (Some(&from), Some(&to)) => &slices[from..to],
                _ => slices.as_slice(),
            };
            if !list.is_empty() {
                combine(updates, list, first, out);
            }
        },
    );
    Ok(())
}

/// The rows of an array, over its first axes.
struct CopiedRows<'a, T> {
    rows: Rows,
    elements: &'a [T],
    start: usize,
}

impl<'a, T: Combinable> CopiedRows<'a, T> {
    fn new(x: &StridedView<'a, T>, n_outer: usize) -> Self {
        let to = row_major(&x.shape[n_outer..]);
        Self {
            rows: Rows::new(&x.shape, &x.strides, n_outer, &to),
            elements: x.elements,
            start: x.start,
        }
    }

    /// Writes the rows from one on.
    fn copy(&self, first: usize, row: usize, out: &mut [T]) {
        match size_of::<T>() {
            1 => self.copy_elements::<1>(first, row, out),
            2 => self.copy_elements::<2>(first, row, out),
            4 => self.copy_elements::<4>(first, row, out),
            _ => self.copy_elements::<8>(first, row, out),
        }
    }

    fn copy_elements<const N: usize>(&self, first: usize, row: usize, out: &mut [T]) {
        let from: &[[u8; N]] = cast_slice::<T, u8>(self.elements).as_chunks().0;
        let count = out.len() / row;
        let out: &mut [[u8; N]] = cast_slice_mut::<T, u8>(out).as_chunks_mut().0;
        self.rows
            .copy((from, self.start), (first, count), out, 0, row);
    }
}

/// Writes `x`, of this shape, with each update combined with the element that its index along an axis names.
///
/// `indices` are in range, one for each update, and `updates` have the shape of `x` but along `axis`; both are in row-major
/// order. Without `x`, `out` holds its elements already.
///
/// # Errors
/// When shapes or lengths do not match, or an index is out of range; `out` is unspecified in the last case.
pub fn scatter_along<T: Combinable>(
    how: Combine,
    x: Option<&StridedView<'_, T>>,
    axis: usize,
    (indices, updates): (&[usize], &[T]),
    (shape, out): (&[usize], &mut [T]),
) -> Result<()> {
    along(
        x,
        axis,
        (indices, updates.len()),
        (shape, out),
        &|part, out| {
            part.combine(how, indices, updates, out);
        },
    )
}

/// The same of half precision, whose sums are kept in `f32` and rounded once.
///
/// # Errors
/// As [`scatter_along`].
pub fn scatter_along_half<T: Combinable + Element + Term<f32>>(
    how: Combine,
    x: Option<&StridedView<'_, T>>,
    axis: usize,
    (indices, updates): (&[usize], &[T]),
    (shape, out): (&[usize], &mut [T]),
) -> Result<()> {
    along(
        x,
        axis,
        (indices, updates.len()),
        (shape, out),
        &|part, out| {
            in_f32(out, |wide| part.combine(how, indices, updates, wide));
        },
    )
}

/// Part of an array `[outer, size, inner]`: some of the outer indices, or rows of one.
struct AlongPart {
    /// The first outer index.
    outer: usize,
    /// The first row, and how many there are of each outer index.
    first: usize,
    rows: usize,
    inner: usize,
    /// Indices along the axis, for each outer and inner index.
    count: usize,
}

impl AlongPart {
    /// Combines the updates of this part, in the order of their indices.
    fn combine<A: Combinable, T: Term<A>>(
        &self,
        how: Combine,
        indices: &[usize],
        updates: &[T],
        out: &mut [A],
    ) {
        let &Self {
            outer,
            first,
            rows,
            inner,
            count,
        } = self;
        let each = count * inner;
        for (number, out) in out.chunks_mut(rows * inner).enumerate() {
            let from = (outer + number) * each;
            let indices = indices[from..from + each].chunks(inner);
            let updates = updates[from..from + each].chunks(inner);
            for (indices, updates) in indices.zip(updates) {
                for (column, (index, update)) in indices.iter().zip(updates).enumerate() {
                    let row = index.wrapping_sub(first);
                    if row < rows {
                        let out = &mut out[row * inner + column];
                        *out = A::combine(how, *out, update.term());
                    }
                }
            }
        }
    }
}

fn along<T: Combinable>(
    x: Option<&StridedView<'_, T>>,
    axis: usize,
    (indices, updates): (&[usize], usize),
    (shape, out): (&[usize], &mut [T]),
    combine: &(dyn Fn(&AlongPart, &mut [T]) + Sync),
) -> Result<()> {
    const OP: &str = "scatter_axis";
    length(OP, "out", product(OP, shape)?, out.len())?;
    length(OP, "updates", indices.len(), updates)?;
    let Some(&size) = shape
        .get(axis)
        .filter(|_| x.is_none_or(|x| x.shape == shape))
    else {
        return Err(Error::Parameter {
            op: OP,
            what: "axis",
            wanted: "less than the number of axes",
            got: axis,
        });
    };
    if out.is_empty() {
        return Ok(());
    }
    let outer: usize = shape[..axis].iter().product();
    let inner: usize = shape[axis + 1..].iter().product();
    let count = indices.len() / (outer * inner);
    length(OP, "indices", outer * count * inner, indices.len())?;
    if indices.iter().any(|&index| index >= size) {
        return Err(super::index::out_of_range(OP, size));
    }
    let threads = crate::parallel::threads();
    // Of few outer indices, each is cut into ranges along the axis, in all of which its indices are looked at.
    let rows = if outer < 2 * threads {
        size.div_ceil(threads)
    } else {
        size
    };
    let per_task = if rows < size {
        rows
    } else {
        (TASK / (size * inner)).max(1) * size
    };
    let copied = x.map(|x| CopiedRows::new(x, axis + 1));
    let bytes = if x.is_some() { size_of_val(out) } else { 0 };
    let whole = if rows < size { size * inner } else { out.len() };
    let tasks: Vec<(AlongPart, &mut [T])> = out
        .chunks_mut(whole)
        .enumerate()
        .flat_map(|(outer, out)| {
            let parts = out.chunks_mut(per_task * inner).enumerate();
            parts.map(move |(number, out)| {
                let row = number * per_task;
                let part = AlongPart {
                    outer: outer + row / size,
                    first: row % size,
                    rows: rows.min(size - row % size),
                    inner,
                    count,
                };
                (part, out)
            })
        })
        .collect();
    parallel_for(
        tasks.into_iter(),
        0.06 * bytes as f64 + NANOSECONDS * indices.len() as f64,
        || (),
        |(), (part, out)| {
            if let Some(copied) = &copied {
                copied.copy(part.outer * size + part.first, inner, out);
            }
            combine(&part, out);
        },
    );
    Ok(())
}

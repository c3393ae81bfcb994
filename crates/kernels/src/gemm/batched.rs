//! Products of matrices with any strides, one or many: `out[b] = left[b] * right[b]`, and `alpha * left * right + beta * c`.
//!
//! How they are computed, and how exactly, is written in `blocked.rs`, and for `bf16` in `matrix_tiles.rs`.

use half::bf16;

use super::blocked::{Position, Product, Sizes, multiply};
use super::factors::Strided;
use super::gevm::{MAX_ROWS, gevm};
use super::matrix_tiles::{self, PairProduct};
use crate::element::Element;
use crate::error::{Error, Result, length, product};

const OP: &str = "batched_matmul";
/// Matrices of fewer elements are packed, also for few rows.
const MIN_GEVM: usize = 1 << 14;

/// The sizes of products of matrices: `[batch.., rows, depth]` times `[batch.., depth, columns]`.
#[derive(Clone, Copy, Debug)]
pub struct MatmulShape<'a> {
    /// The axes in front of the matrices.
    pub batch: &'a [usize],
    /// Rows of the left matrices and of the results.
    pub rows: usize,
    /// Columns of the left matrices and rows of the right ones.
    pub depth: usize,
    /// Columns of the right matrices and of the results.
    pub columns: usize,
}

/// Matrices anywhere in an array: transposed, broadcast, backwards.
#[derive(Clone, Copy, Debug)]
pub struct StridedMatrices<'a, T> {
    /// All elements.
    pub data: &'a [T],
    /// The index of the first element of the first matrix.
    pub start: usize,
    /// The distance between neighbours along each axis of the batch.
    pub batch_strides: &'a [isize],
    /// The distance between rows.
    pub row_stride: isize,
    /// The distance between columns.
    pub column_stride: isize,
}

/// What is added to scaled products: `alpha * product + beta * c`.
#[derive(Clone, Copy, Debug)]
pub struct Addend<'a, T> {
    /// The factor of the product; its sums are left out if it is 0.
    pub alpha: f32,
    /// The factor of `c`, which is left out if it is 0.
    pub beta: f32,
    /// As large as the results.
    pub c: StridedMatrices<'a, T>,
}

impl<'a, T: Element> StridedMatrices<'a, T> {
    /// The same, if the elements are `bf16`.
    fn as_bf16(&self) -> Option<StridedMatrices<'a, bf16>> {
        Some(StridedMatrices {
            data: T::as_bf16(self.data)?,
            start: self.start,
            batch_strides: self.batch_strides,
            row_stride: self.row_stride,
            column_stride: self.column_stride,
        })
    }
}

impl<'a, T> StridedMatrices<'a, T> {
    /// Refuses strides that reach outside of the data.
    fn check(
        &self,
        what: &'static str,
        batch: &[usize],
        rows: usize,
        columns: usize,
    ) -> Result<()> {
        length(OP, "batch_strides", batch.len(), self.batch_strides.len())?;
        let (mut min, mut max) = (Some(self.start), Some(self.start));
        let inner = [(rows, self.row_stride), (columns, self.column_stride)];
        let outer = batch
            .iter()
            .copied()
            .zip(self.batch_strides.iter().copied());
        for (size, stride) in outer.chain(inner) {
            let reach = stride.unsigned_abs().checked_mul(size - 1);
            let side = if stride < 0 { &mut min } else { &mut max };
            *side = side.zip(reach).and_then(|(side, reach)| {
                if stride < 0 {
                    side.checked_sub(reach)
                } else {
                    side.checked_add(reach)
                }
            });
        }
        match (min, max) {
            (Some(_), Some(max)) if max < self.data.len() => Ok(()),
            (_, max) => Err(Error::Reach {
                op: OP,
                what,
                wanted: max.map_or(usize::MAX, |max| max.saturating_add(1)),
                got: self.data.len(),
            }),
        }
    }

    /// The matrix at an index of the batch.
    #[inline(always)]
    fn at(&self, batch: &[usize], mut index: usize, columns: usize) -> Strided<'a, T> {
        let mut start = self.start;
        for (&size, &stride) in batch.iter().zip(self.batch_strides).rev() {
            start = start.wrapping_add((index % size).wrapping_mul(stride.cast_unsigned()));
            index /= size;
        }
        Strided {
            data: self.data,
            start,
            row_stride: self.row_stride.cast_unsigned(),
            column_stride: self.column_stride.cast_unsigned(),
            columns,
        }
    }

    /// The stride of all rows of the batch, if they are equally far apart.
    fn stride_of_all_rows(&self, batch: &[usize], rows: usize) -> Option<isize> {
        let mut axes = batch.iter().zip(self.batch_strides).rev();
        let (mut count, mut stride) = (rows, (rows > 1).then_some(self.row_stride));
        axes.all(|(&size, &axis)| {
            if size == 1 {
                return true;
            }
            let first = *stride.get_or_insert(axis);
            let fits =
                isize::try_from(count).is_ok_and(|count| count.checked_mul(first) == Some(axis));
            count *= size;
            fits
        })
        .then(|| stride.unwrap_or(self.row_stride))
    }
}

/// Writes the products of matrices to `out`, `[batch.., rows, columns]`, after `addend` if there is one.
///
/// ```
/// use mlx_kernels::{MatmulShape, StridedMatrices, batched_matmul};
///
/// let shape = MatmulShape { batch: &[], rows: 1, depth: 2, columns: 2 };
/// let matrix = |row_stride, column_stride| StridedMatrices {
///     data: &[1.0_f32, 2.0, 3.0, 4.0], start: 0, batch_strides: &[], row_stride, column_stride,
/// };
/// let mut out = [0.0; 2];
/// // [1, 2] times the transpose of [[1, 2], [3, 4]].
/// batched_matmul(shape, matrix(2, 1), matrix(1, 2), None, &mut out)?;
/// assert_eq!(out, [5.0, 11.0]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// When strides do not match the batch or reach outside of the data, or `out` does not match the shape.
pub fn batched_matmul<T: Element>(
    shape: MatmulShape<'_>,
    left: StridedMatrices<'_, T>,
    right: StridedMatrices<'_, T>,
    addend: Option<Addend<'_, T>>,
    out: &mut [T],
) -> Result<()> {
    (T::kernels().batched_matmul)(shape, left, right, addend, out)
}

/// [`batched_matmul`], compiled in this crate.
pub(crate) fn batched_matmul_instance<T: Element>(
    shape: MatmulShape<'_>,
    left: StridedMatrices<'_, T>,
    right: StridedMatrices<'_, T>,
    addend: Option<Addend<'_, T>>,
    out: &mut [T],
) -> Result<()> {
    let MatmulShape {
        batch,
        rows,
        depth,
        columns,
    } = shape;
    let count = product(OP, batch)?;
    length(OP, "out", product(OP, &[count, rows, columns])?, out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    if let Some(addend) = &addend {
        addend.c.check("c", batch, rows, columns)?;
    }
    if depth > 0 {
        left.check("left", batch, rows, depth)?;
        right.check("right", batch, depth, columns)?;
    }
    let mut sizes = Sizes {
        batch: count,
        rows,
        groups: 1,
        depth,
        columns,
    };
    let mut product = Matrices {
        shape,
        left,
        right,
        addend,
    };
    let is_shared = batch.iter().zip(right.batch_strides);
    let is_shared = is_shared
        .into_iter()
        .all(|(&size, &stride)| size == 1 || stride == 0);
    let all_rows = left.stride_of_all_rows(batch, rows);
    if let (true, true, Some(stride)) = (is_shared, addend.is_none() && count > 1, all_rows) {
        // One right matrix for all: the left ones are one with more rows.
        product.shape.batch = &[];
        product.left.batch_strides = &[];
        product.right.batch_strides = &[];
        product.left.row_stride = stride;
        (sizes.batch, sizes.rows) = (1, rows * count);
    }
    if sizes.rows <= MAX_ROWS && product.right.column_stride == 1 && depth * columns >= MIN_GEVM {
        product.few_rows(sizes.rows, out);
    } else if !by_tiles(sizes, &product, out) {
        multiply(sizes, &product, out);
    }
    Ok(())
}

/// Multiplies with matrix tiles where that is possible.
fn by_tiles<T: Element>(sizes: Sizes, product: &Matrices<'_, T>, out: &mut [T]) -> bool {
    let (Some(product), Some(out)) = (product.as_bf16(), T::as_bf16_mut(out)) else {
        return false;
    };
    sizes.depth > 0 && matrix_tiles::multiply(sizes, &product, out)
}

struct Matrices<'a, T> {
    shape: MatmulShape<'a>,
    left: StridedMatrices<'a, T>,
    right: StridedMatrices<'a, T>,
    addend: Option<Addend<'a, T>>,
}

impl<'a, T: Element> Matrices<'a, T> {
    /// The same, if the elements are `bf16`.
    fn as_bf16(&self) -> Option<Matrices<'a, bf16>> {
        let addend = match &self.addend {
            Some(addend) => Some(Addend {
                alpha: addend.alpha,
                beta: addend.beta,
                c: addend.c.as_bf16()?,
            }),
            None => None,
        };
        Some(Matrices {
            shape: self.shape,
            left: self.left.as_bf16()?,
            right: self.right.as_bf16()?,
            addend,
        })
    }

    /// Products of few rows with matrices whose rows are contiguous.
    fn few_rows(&self, rows: usize, out: &mut [T]) {
        let MatmulShape { depth, columns, .. } = self.shape;
        let mut sums = vec![0.0; rows * columns];
        for (batch, out) in out.chunks_exact_mut(rows * columns).enumerate() {
            let (left, right) = (self.left(batch, 0), self.right(batch, 0));
            gevm(rows, depth, left, right, &mut sums);
            let outs = out.chunks_exact_mut(columns);
            for (row, (sums, out)) in sums.chunks_exact_mut(columns).zip(outs).enumerate() {
                let position = Position {
                    batch,
                    row,
                    column: 0,
                };
                self.store(position, sums, out);
            }
        }
    }
}

impl<'a, T: Element> Product for Matrices<'a, T> {
    type Left = Strided<'a, T>;
    type Right = Strided<'a, T>;
    type Output = T;

    #[inline(always)]
    fn left(&self, batch: usize, _: usize) -> Strided<'a, T> {
        self.left.at(self.shape.batch, batch, self.shape.depth)
    }

    #[inline(always)]
    fn right(&self, batch: usize, _: usize) -> Strided<'a, T> {
        self.right.at(self.shape.batch, batch, self.shape.columns)
    }

    fn stores_sums(&self) -> bool {
        self.addend.is_none()
    }

    #[inline(always)]
    fn store(&self, position: Position, sums: &mut [f32], out: &mut [T]) {
        if let Some(addend) = &self.addend {
            let c = addend
                .c
                .at(self.shape.batch, position.batch, self.shape.columns);
            // As in a BLAS, a factor of 0 leaves its part out, whatever is in it.
            let scaled = |factor: f32, value: f32| if factor == 0.0 { 0.0 } else { factor * value };
            for (i, sum) in sums.iter_mut().enumerate() {
                let c = c.number(position.row, position.column + i);
                *sum = scaled(addend.alpha, *sum) + scaled(addend.beta, c);
            }
        }
        T::store(sums, out);
    }
}

impl<'a> PairProduct for Matrices<'a, bf16> {
    type Left = Strided<'a, bf16>;
    type Right = Strided<'a, bf16>;
    type Output = bf16;

    fn left(&self, batch: usize, group: usize) -> Strided<'a, bf16> {
        Product::left(self, batch, group)
    }

    fn right(&self, batch: usize, group: usize) -> Strided<'a, bf16> {
        Product::right(self, batch, group)
    }

    #[inline(always)]
    fn store(&self, position: Position, sums: &mut [f32], out: &mut [bf16]) {
        Product::store(self, position, sums, out);
    }
}

//! Products of matrices: which kernel multiplies them.

use mlx_kernels::{Addend, MatmulShape, StridedMatrices};

use super::layout::{error_text, input, output, size};
use super::product::{Transposed, into_f32, multiply, product, transposed, widened};
use super::{Stored, by_dtype};
use crate::Dtype;
use crate::ffi::host::{HostInput, HostOutput, Layout};

/// Up to this many vectors a transposed matrix is read row by row; more are worth packing it.
const MAX_VECTORS_BY_ROWS: usize = 64;
/// The same for `bfloat16` where matrix tiles multiply it.
const MAX_VECTORS_BESIDE_TILES: usize = 4;

/// The sizes of a product that is computed row by row of a transposed matrix.
fn by_rows(a: Layout<'_>, b: Layout<'_>) -> Option<Transposed> {
    let most = if a.dtype() == Dtype::Bfloat16 && mlx_kernels::has_matrix_tiles() {
        MAX_VECTORS_BESIDE_TILES
    } else {
        MAX_VECTORS_BY_ROWS
    };
    transposed(a, b).filter(|sizes| sizes.vectors <= most)
}

pub(super) fn matmul(
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let (a, b) = (input(inputs, 0)?, input(inputs, 1)?);
    let out = output(outputs, 0)?;
    if let Some(sizes) = by_rows(a.layout(), b.layout()) {
        return multiply(&sizes, a, b, out);
    }
    by_dtype!(a.dtype(), blocked([a, b], None, out))
}

/// `alpha * a @ b + beta * c` of `c`, `a` and `b`, where `c` has been broadcast to the result.
pub(super) fn addmm(
    factors: [f32; 2],
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let (c, a, b) = (input(inputs, 0)?, input(inputs, 1)?, input(inputs, 2)?);
    let out = output(outputs, 0)?;
    let Some(sizes) = by_rows(a.layout(), b.layout()) else {
        return by_dtype!(a.dtype(), blocked([a, b], Some((factors, c)), out));
    };
    let [alpha, beta] = factors;
    let (x, c) = (widened(a)?, widened(c)?);
    into_f32(out, |out| {
        product(&sizes, &x, b, out)?;
        if c.len() != out.len() {
            let wanted = out.len();
            return Err(format!("c must have {wanted} elements, got {}", c.len()));
        }
        // As in a BLAS, a factor of 0 leaves its part out, whatever is in it.
        let scaled = |factor: f32, value: f32| if factor == 0.0 { 0.0 } else { factor * value };
        for (out, c) in out.iter_mut().zip(c.iter()) {
            *out = scaled(alpha, *out) + scaled(beta, *c);
        }
        Ok(())
    })
}

/// Products of any number of matrices, with any strides.
fn blocked<T: Stored>(
    [a, b]: [&HostInput<'_>; 2],
    added: Option<([f32; 2], &HostInput<'_>)>,
    out: &mut HostOutput<'_>,
) -> Result<(), String> {
    let shape = out.shape().to_vec();
    let (Some((batch, &[rows, columns])), Some(&depth)) =
        (shape.split_last_chunk(), a.shape().last())
    else {
        return Err(format!("wanted matrices, got a result of {shape:?}"));
    };
    let batch: Vec<usize> = batch.iter().map(|&axis| size(axis)).collect();
    let shape = MatmulShape {
        batch: &batch,
        rows: size(rows),
        depth: size(depth),
        columns: size(columns),
    };
    let rank = batch.len();
    let (mut a, mut b) = (Matrices::<T>::of(a, rank)?, Matrices::of(b, rank)?);
    let mut c = added.map(|(_, c)| Matrices::of(c, rank)).transpose()?;
    // Where all are multiplied by one matrix, they are one of more rows: which is faster, and may be worth tiles.
    let is_shared = b.strides[..rank].iter().all(|&stride| stride == 0);
    let are_rows = |x: &Matrices<'_, T>| x.are_rows_of_one(&shape);
    let shape = if rank > 0 && is_shared && are_rows(&a) && c.as_ref().is_none_or(are_rows) {
        for matrices in [Some(&mut a), Some(&mut b), c.as_mut()]
            .into_iter()
            .flatten()
        {
            matrices.strides.drain(..rank);
        }
        MatmulShape {
            batch: &[],
            rows: shape.rows * batch.iter().product::<usize>(),
            ..shape
        }
    } else {
        shape
    };
    let addend = added.zip(c.as_ref()).map(|(([alpha, beta], _), c)| Addend {
        alpha,
        beta,
        c: c.view(),
    });
    mlx_kernels::batched_matmul(shape, a.view(), b.view(), addend, out.as_mut_slice()?)
        .map_err(error_text)
}

/// An input as matrices.
struct Matrices<'a, T> {
    data: &'a [T],
    start: usize,
    strides: Vec<isize>,
}

impl<'a, T: Stored> Matrices<'a, T> {
    /// Broadcast over `rank` leading axes: MLX has done so before its own primitive, not before an instruction of a
    /// program.
    fn of(input: &HostInput<'a>, rank: usize) -> Result<Self, String> {
        let (data, start) = input.as_strided_from_lowest()?;
        let layout = input.layout();
        let ndim = layout.shape().len();
        let Some(missing) = (rank + 2).checked_sub(ndim).filter(|_| ndim >= 2) else {
            return Err(format!("wanted matrices, got {:?}", input.shape()));
        };
        let mut strides = vec![0; missing];
        for (axis, (&size, &stride)) in layout.shape().iter().zip(layout.strides()).enumerate() {
            let is_repeated = size == 1 && axis + 2 < ndim;
            let stride = isize::try_from(stride).map_err(|_| "elements are too far apart")?;
            strides.push(if is_repeated { 0 } else { stride });
        }
        Ok(Self {
            data,
            start,
            strides,
        })
    }

    /// Whether the rows of all matrices of a product of this shape lie at one distance from each other.
    fn are_rows_of_one(&self, shape: &MatmulShape<'_>) -> bool {
        let rank = shape.batch.len();
        let row = self.strides[rank];
        let mut step = row.wrapping_mul(isize::try_from(shape.rows).unwrap_or(isize::MAX));
        for (&size, &stride) in shape.batch.iter().zip(&self.strides).rev() {
            if size != 1 && stride != step {
                return false;
            }
            step = step.wrapping_mul(isize::try_from(size).unwrap_or(isize::MAX));
        }
        true
    }

    fn view(&self) -> StridedMatrices<'_, T> {
        let (batch_strides, inner) = self.strides.split_at(self.strides.len() - 2);
        StridedMatrices {
            data: self.data,
            start: self.start,
            batch_strides,
            row_stride: inner[0],
            column_stride: inner[1],
        }
    }
}

//! Products of matrices and sums of products.

use mlx::Op;
use mlx_compiler::Result;

use crate::call::Call;
use crate::number::{Number, promote};
use crate::tensor::{Tensor, axes, axis, broadcast_shape, coordinates, count, flat_index};

/// Returns the result of an operation of this family; nothing for others.
pub(crate) fn apply(op: &Op, call: &Call<'_>) -> Option<Result<Vec<Tensor>>> {
    Some(match op {
        Op::Matmul => inputs(call).and_then(|(a, b)| call.tensor(&matmul(&a, &b)?)),
        Op::Addmm { alpha, beta } => addmm(call, f64::from(*alpha), f64::from(*beta)),
        Op::Inner => inputs(call).and_then(|(a, b)| {
            if a.ndim() == 0 || b.ndim() == 0 {
                return scaled(call, &a, &b);
            }
            call.tensor(&contract(&a, &b, &[a.ndim() - 1], &[b.ndim() - 1])?)
        }),
        Op::Outer => inputs(call).and_then(|(a, b)| {
            call.one(
                a.numbers()
                    .iter()
                    .flat_map(|&x| b.numbers().iter().map(move |&y| x.multiply(y)))
                    .collect(),
            )
        }),
        Op::Kron => kron(call),
        Op::Tensordot { axes_a, axes_b } => inputs(call).and_then(|(a, b)| {
            let (over_a, over_b) = (axes(axes_a, a.ndim())?, axes(axes_b, b.ndim())?);
            call.tensor(&contract(&a, &b, &over_a, &over_b)?)
        }),
        Op::Vecdot { axis: along } => vecdot(call, *along),
        Op::Einsum { subscripts } => crate::einsum::einsum(call, &subscripts.to_string()),
        Op::HadamardTransform { scale } => hadamard(call, *scale),
        Op::GatherMm { lhs, rhs, .. } => gather_mm(call, *lhs, *rhs),
        Op::SegmentedMm => segmented_mm(call),
        Op::BlockMaskedMm {
            block_size,
            mask_out,
            mask_lhs,
            mask_rhs,
        } => block_masked_mm(call, *block_size, [*mask_out, *mask_lhs, *mask_rhs]),
        Op::Conv { .. } => crate::conv::conv(op, call),
        _ => return None,
    })
}

/// Both operands in their common dtype.
fn inputs(call: &Call<'_>) -> Result<(Tensor, Tensor)> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    let dtype = promote(promote(a.dtype(), b.dtype()), call.dtype()?);
    Ok((
        a.astype(dtype, call.rounding),
        b.astype(dtype, call.rounding),
    ))
}

fn scaled(call: &Call<'_>, a: &Tensor, b: &Tensor) -> Result<Vec<Tensor>> {
    let shape = call.shape()?;
    let (a, b) = (a.broadcast_to(&shape)?, b.broadcast_to(&shape)?);
    call.one(
        a.numbers()
            .iter()
            .zip(b.numbers())
            .map(|(&a, &b)| a.multiply(b))
            .collect(),
    )
}

/// Returns the product of matrices, with leading axes broadcast and vectors as rows or columns.
pub(crate) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (row, column) = (a.ndim() == 1, b.ndim() == 1);
    let a = if row {
        a.reshaped(&[1, a.size()])?
    } else {
        a.clone()
    };
    let b = if column {
        b.reshaped(&[b.size(), 1])?
    } else {
        b.clone()
    };
    let unfit = || {
        mlx_compiler::Error::Unsupported(format!(
            "matmul: wanted matrices that fit, got {:?} and {:?}",
            a.shape(),
            b.shape()
        ))
    };
    let ([lead_a @ .., m, inner], [lead_b @ .., other, n]) = (a.shape(), b.shape()) else {
        return Err(unfit());
    };
    if inner != other {
        return Err(unfit());
    }
    let lead = broadcast_shape([lead_a, lead_b].into_iter())?;
    let batches = count(&lead)?;
    let indices_a = crate::tensor::broadcast_indices(lead_a, &lead)?;
    let indices_b = crate::tensor::broadcast_indices(lead_b, &lead)?;
    let mut numbers = Vec::with_capacity(count(&[batches, *m, *n])?);
    for (&batch_a, &batch_b) in indices_a.iter().zip(&indices_b) {
        for i in 0..*m {
            for j in 0..*n {
                let terms = (0..*inner).map(|k| {
                    a.at((batch_a * m + i) * inner + k)
                        .multiply(b.at((batch_b * inner + k) * n + j))
                });
                numbers.push(terms.reduce(Number::add).unwrap_or(Number::zero(a.dtype())));
            }
        }
    }
    let mut shape = lead;
    if !row {
        shape.push(*m);
    }
    if !column {
        shape.push(*n);
    }
    Tensor::rounded(&shape, a.dtype(), numbers, crate::Rounding::Exact)
}

fn addmm(call: &Call<'_>, alpha: f64, beta: f64) -> Result<Vec<Tensor>> {
    let dtype = call.dtype()?;
    let cast = |k: usize| call.input(k).map(|x| x.astype(dtype, call.rounding));
    let product = matmul(&cast(1)?, &cast(2)?)?;
    let c = cast(0)?.broadcast_to(&call.shape()?)?;
    let product = product.broadcast_to(&call.shape()?)?;
    let scale =
        |x: Number, by: f64| x.multiply(Number::Float(by).cast(dtype, crate::Rounding::Exact));
    call.one(
        product
            .numbers()
            .iter()
            .zip(c.numbers())
            .map(|(&product, &c)| scale(product, alpha).add(scale(c, beta)))
            .collect(),
    )
}

/// Sums products over pairs of axes; the others of `a` come first.
fn contract(a: &Tensor, b: &Tensor, over_a: &[usize], over_b: &[usize]) -> Result<Tensor> {
    let rest = |x: &Tensor, over: &[usize]| -> Vec<usize> {
        (0..x.ndim()).filter(|k| !over.contains(k)).collect()
    };
    let (rest_a, rest_b) = (rest(a, over_a), rest(b, over_b));
    let sizes =
        |x: &Tensor, axes: &[usize]| -> Vec<usize> { axes.iter().map(|&k| x.shape()[k]).collect() };
    let product = |x: &Tensor, axes: &[usize]| -> usize { sizes(x, axes).iter().product() };
    let order_a: Vec<usize> = rest_a.iter().chain(over_a).copied().collect();
    let order_b: Vec<usize> = over_b.iter().chain(&rest_b).copied().collect();
    let inner = product(a, over_a);
    let left = a
        .transposed(&order_a)?
        .reshaped(&[product(a, &rest_a), inner])?;
    let right = b
        .transposed(&order_b)?
        .reshaped(&[inner, product(b, &rest_b)])?;
    let shape: Vec<usize> = [sizes(a, &rest_a), sizes(b, &rest_b)].concat();
    matmul(&left, &right)?.reshaped(&shape)
}

fn kron(call: &Call<'_>) -> Result<Vec<Tensor>> {
    let (a, b) = inputs(call)?;
    let shape = call.shape()?;
    let widened = |x: &Tensor| {
        let mut wide = vec![1; shape.len().saturating_sub(x.ndim())];
        wide.extend(x.shape());
        x.reshaped(&wide)
    };
    let (a, b) = (widened(&a)?, widened(&b)?);
    let of = |k: usize| {
        let at = coordinates(k, &shape);
        let split = at
            .iter()
            .zip(b.shape())
            .map(|(&k, &n)| (k / n.max(1), k % n.max(1)));
        let (high, low): (Vec<usize>, Vec<usize>) = split.unzip();
        a.at(flat_index(&high, a.shape()))
            .multiply(b.at(flat_index(&low, b.shape())))
    };
    call.one((0..count(&shape)?).map(of).collect())
}

fn vecdot(call: &Call<'_>, along: i32) -> Result<Vec<Tensor>> {
    let (a, b) = inputs(call)?;
    let shape = broadcast_shape([a.shape(), b.shape()].into_iter())?;
    let (a, b) = (a.broadcast_to(&shape)?, b.broadcast_to(&shape)?);
    let along = axis(along, shape.len())?;
    let conjugate = |x: Number| match x {
        Number::Complex(re, im) => Number::Complex(re, -im),
        x => x,
    };
    let dot = |flat_indices: Vec<usize>| {
        let terms = flat_indices
            .iter()
            .map(|&k| conjugate(a.at(k)).multiply(b.at(k)));
        terms.reduce(Number::add).unwrap_or(Number::Int(0))
    };
    call.one(
        crate::tensor::lines(&shape, along)
            .into_iter()
            .map(dot)
            .collect(),
    )
}

/// Sizes `m * 2^k`: the transform of Sylvester for a power of two; MLX's other bases are not known here.
#[allow(clippy::cast_precision_loss)]
fn hadamard(call: &Call<'_>, scale: Option<f32>) -> Result<Vec<Tensor>> {
    let n = call.input(0)?.shape().last().copied().unwrap_or(1);
    if !n.is_power_of_two() {
        return Err(call.error(format!(
            "interpret: wanted a size that is a power of two, got {n}"
        )));
    }
    let scale = scale.map_or(1.0 / (n as f64).sqrt(), f64::from);
    crate::order::along(call, -1, |line| {
        let row = |i: usize| {
            let term = |(k, x): (usize, &Number)| {
                if (i & k).count_ones().is_multiple_of(2) {
                    x.to_f64()
                } else {
                    -x.to_f64()
                }
            };
            Number::Float(scale * line.iter().enumerate().map(term).sum::<f64>())
        };
        (0..line.len()).map(row).collect()
    })
}

/// Returns a matrix of a batch.
pub(crate) fn matrix(x: &Tensor, batch: usize) -> Result<Tensor> {
    let [.., rows, columns] = x.shape() else {
        return Err(mlx_compiler::Error::Unsupported(format!(
            "interpret: wanted matrices, got {:?}",
            x.shape()
        )));
    };
    let flat_indices: Vec<usize> = (0..rows * columns)
        .map(|k| batch * rows * columns + k)
        .collect();
    x.pick(&[*rows, *columns], &flat_indices)
}

/// Which matrix of an operand each product takes: those given by indices, else all in order.
pub(crate) fn batch_indices(
    call: &Call<'_>,
    x: &Tensor,
    indices: Option<&Tensor>,
    lead: &[usize],
) -> Result<Vec<usize>> {
    let lead_of = x
        .shape()
        .get(..x.ndim().saturating_sub(2))
        .unwrap_or_default();
    let total: usize = lead_of.iter().product();
    let Some(indices) = indices else {
        return crate::tensor::broadcast_indices(lead_of, lead);
    };
    let of = |k: &Number| {
        usize::try_from(k.to_i64())
            .ok()
            .filter(|&k| k < total)
            .ok_or_else(|| {
                call.error(format!(
                    "index {} is out of range, wanted 0 to {}",
                    k.to_i64(),
                    total.saturating_sub(1)
                ))
            })
    };
    indices
        .broadcast_to(lead)?
        .numbers()
        .iter()
        .map(of)
        .collect()
}

fn gather_mm(call: &Call<'_>, lhs: bool, rhs: bool) -> Result<Vec<Tensor>> {
    let (a, b) = inputs(call)?;
    let shape = call.shape()?;
    let lead = shape
        .get(..shape.len().saturating_sub(2))
        .unwrap_or_default();
    let lhs_indices = if lhs { Some(call.input(2)?) } else { None };
    let rhs_indices = if rhs {
        Some(call.input(2 + usize::from(lhs))?)
    } else {
        None
    };
    let (lead_a, lead_b) = (
        batch_indices(call, &a, lhs_indices, lead)?,
        batch_indices(call, &b, rhs_indices, lead)?,
    );
    let mut numbers = Vec::new();
    for (i, j) in lead_a.into_iter().zip(lead_b) {
        numbers.extend_from_slice(matmul(&matrix(&a, i)?, &matrix(&b, j)?)?.numbers());
    }
    call.one(numbers)
}

/// Each segment is a range of the contracted axis; one that ends before it begins is empty.
fn segmented_mm(call: &Call<'_>) -> Result<Vec<Tensor>> {
    let (a, b) = inputs(call)?;
    let segments = call.input(2)?;
    let ([m, inner], [_, n]) = (a.shape(), b.shape()) else {
        return Err(call.error("wanted two matrices"));
    };
    let mut numbers = Vec::new();
    for pair in segments.numbers().chunks(2) {
        let [start, end] = pair else { continue };
        let bounds = [start, end].map(|k| usize::try_from(k.to_i64()).ok().filter(|k| k <= inner));
        let [Some(start), Some(end)] = bounds else {
            return Err(call.error(format!("wanted segments within {inner}, got {pair:?}")));
        };
        for i in 0..*m {
            for j in 0..*n {
                let terms = (start..end).map(|k| a.at(i * inner + k).multiply(b.at(k * n + j)));
                numbers.push(terms.reduce(Number::add).unwrap_or(Number::zero(a.dtype())));
            }
        }
    }
    call.one(numbers)
}

/// Masks tell, for each block of a matrix, whether it counts, or what it is multiplied by.
fn block_masked_mm(call: &Call<'_>, block: i32, masks: [bool; 3]) -> Result<Vec<Tensor>> {
    let (a, b) = inputs(call)?;
    let block = usize::try_from(block).unwrap_or(1).max(1);
    let mut next = 2;
    let mut found = Vec::new();
    for present in masks {
        found.push(if present {
            Some(call.input(next)?)
        } else {
            None
        });
        next += usize::from(present);
    }
    let apply = |x: &Tensor, mask: Option<&&Tensor>| -> Result<Tensor> {
        let Some(mask) = mask else {
            return Ok(x.clone());
        };
        let of = |k: usize| {
            let mut at = coordinates(k, x.shape());
            for slot in at.iter_mut().rev().take(2) {
                *slot /= block;
            }
            let lead = at.len().saturating_sub(mask.ndim());
            let at: Vec<usize> = at
                .iter()
                .skip(lead)
                .zip(mask.shape())
                .map(|(&k, &n)| if n == 1 { 0 } else { k })
                .collect();
            let factor = mask.at(flat_index(&at, mask.shape()));
            match factor {
                Number::Bool(true) => x.at(k),
                Number::Bool(false) => Number::zero(x.dtype()),
                factor => x.at(k).multiply(factor.cast(x.dtype(), call.rounding)),
            }
        };
        Tensor::rounded(
            x.shape(),
            x.dtype(),
            (0..x.size()).map(of).collect(),
            call.rounding,
        )
    };
    let mask = |k: usize| found.get(k).and_then(Option::as_ref);
    let product = matmul(&apply(&a, mask(1))?, &apply(&b, mask(2))?)?;
    call.tensor(&apply(&product, mask(0))?)
}

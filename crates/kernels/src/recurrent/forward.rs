//! A recurrent layer over whole sequences.
//!
//! Formula: at each step `s = projected + h * transpose(weight)`, of which [`RecurrentCell`](super::RecurrentCell) makes the next
//! states.
//! Blocking: sequences do not depend on each other. A task has some of them and all of their steps, so that threads never
//! wait for each other; the weights are packed once, and each thread reads them in each step from its L2 cache.
//! Limit: multiplications. Error of a step: `2^-24 * (4 + min(size, 256) + size / 256)` of `sum(|weight * h|)`.

use pulp::{Simd, WithSimd};

use super::gates::Step;
use super::product::{Packed, Rows};
use super::shape::{RecurrentInputs, RecurrentOutputs, RecurrentShape};
use crate::element::{Element, to_f32_vec};
use crate::error::{Result, length};
use crate::gemm::factors::Strided;
use crate::parallel::{parallel_for, threads};
use crate::simd;

const OP: &str = "recurrent";
/// Nanoseconds of a multiplication with its addition on one thread.
pub(super) const NANOSECONDS: f64 = 0.01;

/// Writes the states of a recurrent layer after each step.
///
/// ```
/// use mlx_kernels::{RecurrentCell, RecurrentInputs, RecurrentOutputs, RecurrentShape, recurrent};
///
/// let shape = RecurrentShape { cell: RecurrentCell::Relu, batch: 1, steps: 3, size: 1 };
/// let inputs = RecurrentInputs { projected: &[1.0, 1.0, -9.0], weight: &[2.0], bias: None, hidden: None, cell: None };
/// let mut hidden = [0.0; 3];
/// recurrent(shape, inputs, RecurrentOutputs { hidden: &mut hidden, cells: &mut [], saved: &mut [] })?;
/// assert_eq!(hidden, [1.0, 3.0, 0.0]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// When a length does not match the shape, or an input is given that the cell does not have.
pub fn recurrent<T: Element>(
    shape: RecurrentShape,
    inputs: RecurrentInputs<'_, T>,
    outputs: RecurrentOutputs<'_, T>,
) -> Result<()> {
    (T::kernels().recurrent)(shape, inputs, outputs)
}

/// [`recurrent`], compiled in this crate.
pub(crate) fn recurrent_instance<T: Element>(
    shape: RecurrentShape,
    inputs: RecurrentInputs<'_, T>,
    outputs: RecurrentOutputs<'_, T>,
) -> Result<()> {
    shape.check(OP, &inputs)?;
    length(
        OP,
        "hidden states",
        shape.outputs(OP)?,
        outputs.hidden.len(),
    )?;
    length(OP, "cells", shape.cells(OP)?, outputs.cells.len())?;
    let saved = shape.saved(OP)?;
    if !outputs.saved.is_empty() {
        length(OP, "saved", saved, outputs.saved.len())?;
    }
    if outputs.hidden.is_empty() {
        return Ok(());
    }
    let RecurrentOutputs {
        hidden,
        cells,
        saved,
    } = outputs;
    if let (Some((_, hidden)), Some((_, cells))) =
        (T::as_f32(&[], &mut *hidden), T::as_f32(&[], &mut *cells))
    {
        run(shape, inputs.as_f32(), [hidden, cells, saved]);
        return Ok(());
    }
    let wide = Wide::of(&inputs);
    let (mut wide_hidden, mut wide_cells) = (vec![0.0; hidden.len()], vec![0.0; cells.len()]);
    run(
        shape,
        wide.inputs(),
        [&mut wide_hidden, &mut wide_cells, saved],
    );
    T::store(&wide_hidden, hidden);
    T::store(&wide_cells, cells);
    Ok(())
}

/// Inputs of half precision, converted.
pub(super) struct Wide {
    projected: Vec<f32>,
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
    hidden: Option<Vec<f32>>,
    cell: Option<Vec<f32>>,
}

impl Wide {
    pub(super) fn of<T: Element>(inputs: &RecurrentInputs<'_, T>) -> Self {
        Self {
            projected: to_f32_vec(inputs.projected),
            weight: to_f32_vec(inputs.weight),
            bias: inputs.bias.map(to_f32_vec),
            hidden: inputs.hidden.map(to_f32_vec),
            cell: inputs.cell.map(to_f32_vec),
        }
    }

    pub(super) fn inputs(&self) -> RecurrentInputs<'_, f32> {
        RecurrentInputs {
            projected: &self.projected,
            weight: &self.weight,
            bias: self.bias.as_deref(),
            hidden: self.hidden.as_deref(),
            cell: self.cell.as_deref(),
        }
    }
}

/// Returns how many sequences a task has: an even share, in whole tiles of rows.
pub(super) fn rows_of_task(batch: usize) -> usize {
    batch.div_ceil(threads()).next_multiple_of(4).min(64)
}

/// Computes hidden states, cells, and what the gradient needs. Nothing is empty, and lengths fit.
fn run(
    shape: RecurrentShape,
    inputs: RecurrentInputs<'_, f32>,
    [hidden, cells, saved]: [&mut [f32]; 3],
) {
    let (size, columns) = (shape.size, shape.columns());
    let weight = Strided {
        data: inputs.weight,
        start: 0,
        row_stride: 1,
        column_stride: size,
        columns,
    };
    let packed = Packed::new(weight, size, columns);
    let rows = rows_of_task(shape.batch);
    let outputs = rows * shape.steps * size;
    let mut cells = cells.chunks_mut(outputs);
    let mut saved = saved.chunks_mut(outputs * shape.cell.saved().max(1));
    let tasks: Vec<Task<'_>> = hidden
        .chunks_mut(outputs)
        .enumerate()
        .map(|(number, hidden)| Task {
            shape,
            inputs,
            packed: &packed,
            first: number * rows,
            hidden,
            cells: cells.next().unwrap_or_default(),
            saved: saved.next().unwrap_or_default(),
        })
        .collect();
    let sums = (shape.batch * shape.steps) as f64 * columns as f64;
    parallel_for(
        tasks.into_iter(),
        sums * (1.0 + NANOSECONDS * size as f64),
        || (),
        |(), task| simd::dispatch(task),
    );
}

/// Some sequences.
struct Task<'a> {
    shape: RecurrentShape,
    inputs: RecurrentInputs<'a, f32>,
    packed: &'a Packed,
    /// The first sequence.
    first: usize,
    /// Outputs of these sequences.
    hidden: &'a mut [f32],
    cells: &'a mut [f32],
    saved: &'a mut [f32],
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            shape,
            inputs,
            packed,
            first,
            hidden,
            cells,
            saved,
        } = self;
        let (size, columns, steps) = (shape.size, shape.columns(), shape.steps);
        let n_rows = hidden.len() / (steps * size);
        let part = first * size..(first + n_rows) * size;
        let mut state = Rows::new(n_rows, size);
        let mut cell = Rows::new(if shape.is_lstm() { n_rows } else { 0 }, size);
        let mut products = Rows::new(n_rows, columns);
        if let Some(hidden) = inputs.hidden {
            state.set(&hidden[part.clone()], size);
        }
        if let Some(before) = inputs.cell {
            cell.set(&before[part], size);
        }
        for step in 0..steps {
            if step > 0 || inputs.hidden.is_some() {
                packed.multiply(simd, &state, n_rows, &mut products, false);
            }
            for row in 0..n_rows {
                let at = row * steps + step;
                let n_saved = if saved.is_empty() {
                    0
                } else {
                    shape.cell.saved() * size
                };
                let mut one = Step {
                    size,
                    projected: &inputs.projected[(first * steps + at) * columns..][..columns],
                    products: products.row(row),
                    bias: inputs.bias,
                    hidden: state.row_mut(row),
                    cell: if shape.is_lstm() {
                        cell.row_mut(row)
                    } else {
                        &mut []
                    },
                    is_new: step == 0 && inputs.cell.is_none(),
                    saved: &mut saved[at * n_saved..][..n_saved],
                };
                one.run(simd, shape.cell);
                hidden[at * size..][..size].copy_from_slice(&state.row(row)[..size]);
                if shape.is_lstm() {
                    cells[at * size..][..size].copy_from_slice(&cell.row(row)[..size]);
                }
            }
        }
    }
}

//! The gradient of a recurrent layer over whole sequences: backpropagation through time.
//!
//! Formula: from the last step to the first, the gradients by the sums of the gates are made of the cotangents of the states;
//! their product with the weights is what the step before gets of them. The gradient by the weights is
//! `sum over steps of transpose(gradient of the sums) * (h before the step)`.
//! Blocking: as in `forward.rs`, a task has some sequences and all of their steps. The gradient by the weights is one
//! blocked product over all steps (`gemm/blocked.rs`).
//! Limit: multiplications. Error of a step: `2^-24 * (4 + min(columns, 256) + columns / 256)` of `sum(|weight * gradient|)`.

use pulp::{Simd, WithSimd};

use super::forward::{NANOSECONDS, Wide, rows_of_task};
use super::gates_gradient::StepGradient;
use super::product::{Packed, Rows};
use super::shape::{
    RecurrentCell, RecurrentGradient, RecurrentInputs, RecurrentShape, RecurrentStates,
};
use crate::element::{Element, to_f32_vec};
use crate::error::{Result, length};
use crate::gemm::blocked::{Product, Sizes, multiply};
use crate::gemm::factors::{RightColumns, Strided, copy_in_registers};
use crate::gemm::scratch::Scratch;
use crate::parallel::parallel_for;
use crate::simd;

const OP: &str = "recurrent_gradient";

/// Writes the gradients of [`recurrent`](crate::recurrent) by its inputs, of which `cotangents` are those by its outputs.
///
/// `outputs` and `saved` are what [`recurrent`](crate::recurrent) has written.
///
/// # Errors
/// When a length does not match the shape, or an input is given that the cell does not have.
pub fn recurrent_gradient<T: Element>(
    shape: RecurrentShape,
    inputs: RecurrentInputs<'_, T>,
    outputs: RecurrentStates<'_, T>,
    saved: &[f32],
    cotangents: RecurrentStates<'_, T>,
    gradient: RecurrentGradient<'_, T>,
) -> Result<()> {
    (T::kernels().recurrent_gradient)(shape, inputs, outputs, saved, cotangents, gradient)
}

/// [`recurrent_gradient`], compiled in this crate.
pub(crate) fn recurrent_gradient_instance<T: Element>(
    shape: RecurrentShape,
    inputs: RecurrentInputs<'_, T>,
    outputs: RecurrentStates<'_, T>,
    saved: &[f32],
    cotangents: RecurrentStates<'_, T>,
    gradient: RecurrentGradient<'_, T>,
) -> Result<()> {
    check(
        shape,
        &inputs,
        [outputs, cotangents],
        saved.len(),
        &gradient,
    )?;
    let RecurrentGradient {
        projected,
        weight,
        bias,
        hidden,
        cell,
    } = gradient;
    let mut all = [projected, weight, bias, hidden, cell];
    if outputs.hidden.is_empty() {
        // Without steps, or without elements of a state, outputs are empty, whatever the inputs.
        for out in all {
            out.fill(T::default());
        }
        return Ok(());
    }
    let (wide_inputs, wide_states);
    let (inputs, [outputs, cotangents]) = if T::IS_F32 {
        (inputs.as_f32(), [outputs.as_f32(), cotangents.as_f32()])
    } else {
        wide_inputs = Wide::of(&inputs);
        wide_states = [outputs, cotangents]
            .map(|states| [to_f32_vec(states.hidden), to_f32_vec(states.cells)]);
        let states = [&wide_states[0], &wide_states[1]];
        let states = states.map(|[hidden, cells]| RecurrentStates { hidden, cells });
        (wide_inputs.inputs(), states)
    };
    let whole = Whole {
        shape,
        inputs,
        outputs,
        saved,
        cotangents,
    };
    let mut wide: [Vec<f32>; 5] = Default::default();
    let mut f32s: Vec<&mut [f32]> = Vec::new();
    for (out, wide) in all.iter_mut().zip(&mut wide) {
        if !T::IS_F32 {
            wide.resize(out.len(), 0.0);
            f32s.push(wide);
        } else if let Some((_, out)) = T::as_f32(&[], out) {
            f32s.push(out);
        }
    }
    if let Ok(f32s) = f32s.try_into() {
        whole.run(f32s);
    }
    if !T::IS_F32 {
        for (out, wide) in all.into_iter().zip(&wide) {
            T::store(wide, out);
        }
    }
    Ok(())
}

fn check<T>(
    shape: RecurrentShape,
    inputs: &RecurrentInputs<'_, T>,
    states: [RecurrentStates<'_, T>; 2],
    saved: usize,
    gradient: &RecurrentGradient<'_, T>,
) -> Result<()> {
    shape.check(OP, inputs)?;
    let names = [
        ["hidden states", "cells"],
        ["cotangents", "cotangents of cells"],
    ];
    for (states, [hidden, cells]) in states.into_iter().zip(names) {
        length(OP, hidden, shape.outputs(OP)?, states.hidden.len())?;
        length(OP, cells, shape.cells(OP)?, states.cells.len())?;
    }
    length(OP, "saved", shape.saved(OP)?, saved)?;
    let len = |input: Option<&[T]>| input.map_or(0, <[T]>::len);
    let lengths = [
        (
            "gradient by projected",
            inputs.projected.len(),
            gradient.projected.len(),
        ),
        (
            "gradient by weight",
            inputs.weight.len(),
            gradient.weight.len(),
        ),
        ("gradient by bias", len(inputs.bias), gradient.bias.len()),
        (
            "gradient by hidden",
            len(inputs.hidden),
            gradient.hidden.len(),
        ),
        ("gradient by cell", len(inputs.cell), gradient.cell.len()),
    ];
    lengths
        .into_iter()
        .try_for_each(|(what, wanted, got)| length(OP, what, wanted, got))
}

/// What the gradient is made of.
#[derive(Clone, Copy)]
struct Whole<'a> {
    shape: RecurrentShape,
    inputs: RecurrentInputs<'a, f32>,
    outputs: RecurrentStates<'a, f32>,
    saved: &'a [f32],
    cotangents: RecurrentStates<'a, f32>,
}

impl Whole<'_> {
    /// Writes the gradients by all inputs. Nothing is empty but what is not there, and lengths fit.
    fn run(&self, [projected, weight, bias, hidden, cell]: [&mut [f32]; 5]) {
        let shape = self.shape;
        let (size, columns) = (shape.size, shape.columns());
        let transposed = Strided {
            data: self.inputs.weight,
            start: 0,
            row_stride: size,
            column_stride: 1,
            columns: size,
        };
        let packed = Packed::new(transposed, columns, size);
        let rows = rows_of_task(shape.batch);
        let is_gru = shape.cell == RecurrentCell::Gru;
        let mut candidates = Scratch::new(if is_gru { self.outputs.hidden.len() } else { 0 });
        let mut biases = vec![
            0.0;
            if is_gru {
                shape.batch.div_ceil(rows) * size
            } else {
                0
            }
        ];
        let mut parts_of_candidates = candidates
            .as_mut_slice()
            .chunks_mut(rows * shape.steps * size);
        let mut parts_of_biases = biases.chunks_mut(size);
        let mut hidden = hidden.chunks_mut(rows * size);
        let mut cell = cell.chunks_mut(rows * size);
        let tasks: Vec<Task<'_>> = projected
            .chunks_mut(rows * shape.steps * columns)
            .enumerate()
            .map(|(number, projected)| Task {
                whole: *self,
                packed: &packed,
                first: number * rows,
                projected,
                candidates: parts_of_candidates.next().unwrap_or_default(),
                bias: parts_of_biases.next().unwrap_or_default(),
                hidden: hidden.next().unwrap_or_default(),
                cell: cell.next().unwrap_or_default(),
            })
            .collect();
        let sums = (shape.batch * shape.steps) as f64 * columns as f64;
        parallel_for(
            tasks.into_iter(),
            sums * (1.0 + NANOSECONDS * size as f64),
            || (),
            |(), task| simd::dispatch(task),
        );
        bias.fill(0.0);
        for part in biases.chunks_exact(size) {
            bias.iter_mut()
                .zip(part)
                .for_each(|(bias, part)| *bias += part);
        }
        if is_gru {
            let (first, last) = weight.split_at_mut(2 * size * size);
            self.by_weight(projected, (columns, 2 * size), first);
            self.by_weight(candidates.as_slice(), (size, size), last);
        } else {
            self.by_weight(projected, (columns, columns), weight);
        }
    }

    /// Writes the gradient by some rows of the weights, of which `gradients` by their products have this stride and number.
    fn by_weight(&self, gradients: &[f32], (stride, rows): (usize, usize), out: &mut [f32]) {
        let shape = self.shape;
        let depth = shape.batch * shape.steps;
        let sizes = Sizes {
            batch: 1,
            rows,
            groups: 1,
            depth,
            columns: shape.size,
        };
        let product = ByWeight {
            left: Strided {
                data: gradients,
                start: 0,
                row_stride: 1,
                column_stride: stride,
                columns: depth,
            },
            states: StatesBefore {
                hidden: self.outputs.hidden,
                first: self.inputs.hidden,
                steps: shape.steps,
                size: shape.size,
            },
        };
        multiply(sizes, &product, out);
    }
}

/// The gradient by the weights as a product.
struct ByWeight<'a> {
    left: Strided<'a, f32>,
    states: StatesBefore<'a>,
}

impl<'a> Product for ByWeight<'a> {
    type Left = Strided<'a, f32>;
    type Right = StatesBefore<'a>;
    type Output = f32;

    fn left(&self, _: usize, _: usize) -> Strided<'a, f32> {
        self.left
    }

    fn right(&self, _: usize, _: usize) -> StatesBefore<'a> {
        self.states
    }

    fn stores_sums(&self) -> bool {
        true
    }
}

/// The hidden states before each step of all sequences: a row for each.
#[derive(Clone, Copy)]
struct StatesBefore<'a> {
    hidden: &'a [f32],
    /// Those before the first step.
    first: Option<&'a [f32]>,
    steps: usize,
    size: usize,
}

impl<'a> StatesBefore<'a> {
    /// The state before a step of a sequence; empty where it is 0.
    #[inline(always)]
    fn row(&self, sequence: usize, step: usize) -> &'a [f32] {
        let (rows, row) = match (step, self.first) {
            (0, None) => return &[],
            (0, Some(first)) => (first, sequence),
            _ => (self.hidden, sequence * self.steps + step - 1),
        };
        &rows[row * self.size..][..self.size]
    }
}

impl RightColumns for StatesBefore<'_> {
    #[inline(always)]
    fn pack<S: Simd>(
        &self,
        _: S,
        (first, rows): (usize, usize),
        (column, columns): (usize, usize),
        tile: usize,
        out: &mut [f32],
    ) {
        for (row, out) in (first..first + rows).zip(out.chunks_exact_mut(tile)) {
            let state = self.row(row / self.steps, row % self.steps);
            let (out, rest) = out.split_at_mut(columns);
            rest.fill(0.0);
            if state.is_empty() {
                out.fill(0.0);
                continue;
            }
            copy_in_registers::<S>(&state[column..][..columns], out);
        }
    }
}

/// Some sequences.
struct Task<'a> {
    whole: Whole<'a>,
    packed: &'a Packed,
    /// The first sequence.
    first: usize,
    projected: &'a mut [f32],
    /// The gradients by the products of `n`, and their sum.
    candidates: &'a mut [f32],
    bias: &'a mut [f32],
    hidden: &'a mut [f32],
    cell: &'a mut [f32],
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let shape = self.whole.shape;
        let (size, columns, steps) = (shape.size, shape.columns(), shape.steps);
        let n_rows = self.projected.len() / (steps * columns);
        let mut by_hidden = Rows::new(n_rows, size);
        let mut by_cell = Rows::new(if shape.is_lstm() { n_rows } else { 0 }, size);
        let mut by_products = Rows::new(n_rows, columns);
        for step in (0..steps).rev() {
            for row in 0..n_rows {
                let carried = [
                    by_hidden.row_mut(row),
                    if shape.is_lstm() {
                        by_cell.row_mut(row)
                    } else {
                        &mut []
                    },
                ];
                self.step(row, step, carried, by_products.row_mut(row))
                    .run(simd, shape.cell);
            }
            if step > 0 || !self.hidden.is_empty() {
                let packed = self.packed;
                packed.multiply(simd, &by_products, n_rows, &mut by_hidden, true);
            }
        }
        for (row, out) in self.hidden.chunks_exact_mut(size).enumerate() {
            out.copy_from_slice(&by_hidden.row(row)[..size]);
        }
        for (row, out) in self.cell.chunks_exact_mut(size).enumerate() {
            out.copy_from_slice(&by_cell.row(row)[..size]);
        }
    }
}

impl Task<'_> {
    /// A step of a sequence.
    #[inline(always)]
    fn step<'a>(
        &'a mut self,
        row: usize,
        step: usize,
        carried: [&'a mut [f32]; 2],
        products: &'a mut [f32],
    ) -> StepGradient<'a> {
        let Whole {
            shape,
            inputs,
            outputs,
            saved,
            cotangents,
        } = self.whole;
        let (size, columns, n_saved) = (shape.size, shape.columns(), shape.cell.saved());
        let sequence = self.first + row;
        let (at, here) = (sequence * shape.steps + step, row * shape.steps + step);
        let of = |numbers: &'a [f32]| match numbers {
            [] => numbers,
            all => &all[at * size..][..size],
        };
        let before = |hidden, first| {
            let states = StatesBefore {
                hidden,
                first,
                steps: shape.steps,
                size,
            };
            states.row(sequence, step)
        };
        let cell_before = match outputs.cells {
            [] => &[][..],
            cells => before(cells, inputs.cell),
        };
        let candidate = match &mut *self.candidates {
            [] => &mut [],
            all => &mut all[here * size..][..size],
        };
        StepGradient {
            size,
            saved: &saved[at * n_saved * size..][..n_saved * size],
            after: [of(outputs.hidden), of(outputs.cells)],
            before: [before(outputs.hidden, inputs.hidden), cell_before],
            cotangents: [of(cotangents.hidden), of(cotangents.cells)],
            carried,
            projected: &mut self.projected[here * columns..][..columns],
            products,
            candidate,
            bias: self.bias,
        }
    }
}

//! Recurrent layers as one kernel over whole sequences, and their gradients as another.
//!
//! The gradient's kernel reads values of the gates, which the forward kernel writes only where a gradient may be taken.

use mlx::compiler_api::type_of;
use mlx::cpu::deferred;
use mlx::fast::{HostInput, HostKernel, HostOutput, host_kernel};
use mlx::{Array, ArrayType, Dtype, Result, custom_vjp, vjp};
use mlx_kernels::{
    RecurrentCell, RecurrentGradient, RecurrentInputs, RecurrentOutputs, RecurrentShape,
    RecurrentStates,
};

use super::{input, is_on_cpu, is_stored, is_traced, is_transformed, sizes};

type Outcome<T> = std::result::Result<T, String>;

/// What a recurrent layer makes states of.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    /// The products of all steps' inputs, with their bias: `[.., length, gates * hidden_size]`.
    pub(crate) projected: Array,
    /// `[gates * hidden_size, hidden_size]`.
    pub(crate) weight: Array,
    /// What a `GRU` adds to the product of `n`, `[hidden_size]`.
    pub(crate) bias: Option<Array>,
    /// States before the first step, `[.., hidden_size]`.
    pub(crate) hidden: Option<Array>,
    pub(crate) cell: Option<Array>,
}

/// The states after each step in MLX's operations: hidden states, and the cells of an `LSTM`.
pub(crate) type Composed = fn(&Sequence) -> Result<Vec<Array>>;

/// Returns the states after each step by a kernel; `None` where there is none, or something does not fit.
#[track_caller]
pub(crate) fn recurrent(
    cell: RecurrentCell,
    sequence: &Sequence,
    composed: Composed,
) -> Option<Vec<Array>> {
    let inputs = sequence.arrays();
    let layer = Layer {
        cell,
        given: [&sequence.bias, &sequence.hidden, &sequence.cell].map(Option::is_some),
        composed,
    };
    if !layer.may_run(&inputs) {
        return None;
    }
    if !is_traced(&inputs) {
        return layer.by_kernel(&inputs).ok();
    }
    let states = deferred(cell_name(cell), &inputs, move |inputs| {
        let inputs = refs(inputs);
        match layer.may_run(&inputs) {
            true => layer.by_kernel(&inputs),
            false => layer.states(&inputs),
        }
    });
    states.ok()
}

/// What a layer is called in the graph of a traced function.
fn cell_name(cell: RecurrentCell) -> &'static str {
    match cell {
        RecurrentCell::Gru => "gru",
        RecurrentCell::Lstm => "lstm",
        _ => "rnn",
    }
}

fn refs(arrays: &[Array]) -> Vec<&Array> {
    arrays.iter().collect()
}

impl Sequence {
    /// The arrays that are given.
    fn arrays(&self) -> Vec<&Array> {
        let optional = [&self.bias, &self.hidden, &self.cell];
        let optional = optional.into_iter().flatten();
        [&self.projected, &self.weight]
            .into_iter()
            .chain(optional)
            .collect()
    }
}

/// A layer: what a step computes, and which inputs there are.
#[derive(Clone, Copy)]
struct Layer {
    cell: RecurrentCell,
    /// Whether a bias, a hidden state and a cell are given.
    given: [bool; 3],
    composed: Composed,
}

/// Inputs by what they are: projected, weight, and the optional ones.
struct Named<'a, T> {
    projected: &'a T,
    weight: &'a T,
    bias: Option<&'a T>,
    hidden: Option<&'a T>,
    cell: Option<&'a T>,
}

impl Layer {
    /// Whether kernels may run, and take inputs of these types and sizes.
    fn may_run(&self, inputs: &[&Array]) -> bool {
        let types: Option<Vec<ArrayType>> =
            inputs.iter().map(|input| type_of(input).ok()).collect();
        let Some(types) = types.filter(|_| is_on_cpu()) else {
            return false;
        };
        let dtype = types[0].dtype;
        is_stored(dtype)
            && types.iter().all(|one| one.dtype == dtype)
            && self.fits(&types).is_some()
    }

    /// Returns the states by a kernel; where gradients may be taken, it keeps what their kernel reads.
    #[track_caller]
    fn by_kernel(self, inputs: &[&Array]) -> Result<Vec<Array>> {
        if !is_transformed(inputs) {
            return self.forward(false)?.apply(inputs);
        }
        let inputs: Vec<Array> = inputs.iter().copied().cloned().collect();
        let function = custom_vjp(
            move |inputs: &Vec<Array>| self.forward(true)?.apply(&refs(inputs)),
            move |inputs: &Vec<Array>, cotangents: &Vec<Array>, outputs: &Vec<Array>| {
                // What is saved has no cotangent.
                let cotangents = &cotangents[..self.n_states()];
                let all: Vec<&Array> = inputs.iter().chain(outputs).chain(cotangents).collect();
                self.gradient(inputs.len())?.apply(&all)
            },
        );
        let mut states = function.call(&inputs)?;
        states.truncate(self.n_states());
        Ok(states)
    }

    /// Hidden states, and cells if there are any.
    fn n_states(&self) -> usize {
        match self.cell {
            RecurrentCell::Lstm => 2,
            _ => 1,
        }
    }

    /// Whether the gradient needs values of the gates.
    fn saves(&self) -> bool {
        self.cell.saved() > 0
    }

    fn name<'a, T>(&self, inputs: &'a [T]) -> Outcome<Named<'a, T>> {
        let mut inputs = inputs.iter();
        let missing = || "wanted more inputs".to_owned();
        let projected = inputs.next().ok_or_else(missing)?;
        let weight = inputs.next().ok_or_else(missing)?;
        let [bias, hidden, cell] = self
            .given
            .map(|is_given| is_given.then(|| inputs.next()).flatten());
        Ok(Named {
            projected,
            weight,
            bias,
            hidden,
            cell,
        })
    }

    /// Returns the shape of inputs that fit, of which none is empty.
    fn fits(&self, types: &[ArrayType]) -> Option<RecurrentShape> {
        let inputs = self.name(types).ok()?;
        let [leading @ .., steps, columns] = inputs.projected.shape.as_slice() else {
            return None;
        };
        let &[rows, size] = inputs.weight.shape.as_slice() else {
            return None;
        };
        let gates = i32::try_from(self.cell.gates()).ok()?;
        let mut state = leading.to_vec();
        state.push(size);
        let is_state = |one: Option<&ArrayType>| one.is_none_or(|one| one.shape == state);
        let fits = *columns == rows
            && size.checked_mul(gates) == Some(rows)
            && *steps > 0
            && size > 0
            && inputs.bias.is_none_or(|bias| bias.shape == [size])
            && is_state(inputs.hidden)
            && is_state(inputs.cell);
        fits.then(|| self.shape(&inputs.projected.shape))
    }

    /// The sizes of a layer whose projected inputs have this shape.
    fn shape(&self, projected: &[i32]) -> RecurrentShape {
        let projected = sizes(projected);
        let (steps, leading) = match projected.as_slice() {
            [leading @ .., steps, _] => (*steps, leading),
            _ => (0, &[][..]),
        };
        RecurrentShape {
            cell: self.cell,
            batch: leading.iter().product(),
            steps,
            size: projected.last().map_or(0, |last| last / self.cell.gates()),
        }
    }

    /// The types of states and of what is saved.
    fn output_types(&self, inputs: &[ArrayType], saves: bool) -> Outcome<Vec<ArrayType>> {
        let wrong = || format!("sizes do not fit: {inputs:?}");
        let shape = self.fits(inputs).ok_or_else(wrong)?;
        let of = |numbers: usize, dtype| {
            let mut shape = inputs[0].shape.clone();
            let last = shape.last_mut().ok_or_else(wrong)?;
            *last = i32::try_from(numbers).map_err(|_| wrong())?;
            Outcome::Ok(ArrayType { shape, dtype })
        };
        let mut types = vec![of(shape.size, inputs[0].dtype)?; self.n_states()];
        if saves && self.saves() {
            types.push(of(shape.size * self.cell.saved(), Dtype::Float32)?);
        }
        Ok(types)
    }

    /// Returns the kernel of the states, which are followed by what the gradient needs if it `saves` that.
    fn forward(self, saves: bool) -> Result<HostKernel> {
        let kernel = host_kernel(
            "recurrent",
            move |inputs| self.output_types(inputs, saves),
            move |inputs, outputs| match input(inputs, 0)?.dtype() {
                Dtype::Float32 => self.run::<f32>(inputs, outputs),
                Dtype::Float16 => self.run::<mlx::f16>(inputs, outputs),
                _ => self.run::<mlx::bf16>(inputs, outputs),
            },
        )?;
        Ok(kernel.composed(move |inputs| {
            let mut states = match self.states(&refs(inputs)) {
                Ok(states) => states,
                Err(error) => vec![Array::failed(error); self.n_states()],
            };
            if saves && self.saves() {
                // Only the kernel of the gradient reads it, and not its composed form.
                states.push(self.nothing_saved(&inputs[0]));
            }
            states
        }))
    }

    /// The states in MLX's operations.
    #[track_caller]
    fn states(self, inputs: &[&Array]) -> Result<Vec<Array>> {
        let named = self
            .name(inputs)
            .map_err(|text| mlx::Error::op("recurrent", text))?;
        let sequence = Sequence {
            projected: (*named.projected).clone(),
            weight: (*named.weight).clone(),
            bias: named.bias.copied().cloned(),
            hidden: named.hidden.copied().cloned(),
            cell: named.cell.copied().cloned(),
        };
        (self.composed)(&sequence)
    }

    #[track_caller]
    fn nothing_saved(self, projected: &Array) -> Array {
        let shape = projected.shape().map(|mut shape| {
            let size = self.shape(&shape).size * self.cell.saved();
            if let Some(last) = shape.last_mut() {
                *last = i32::try_from(size).unwrap_or(i32::MAX);
            }
            mlx::zeros(shape)
        });
        Array::from_result(shape)
    }

    /// Returns the kernel of the gradients by all inputs: it takes `n_inputs`, all outputs, and the cotangents of states.
    fn gradient(self, n_inputs: usize) -> Result<HostKernel> {
        let kernel = host_kernel(
            "recurrent gradient",
            move |inputs| Ok(inputs.iter().take(n_inputs).cloned().collect()),
            move |inputs, outputs| {
                let parts = inputs.split_at_checked(n_inputs);
                let parts = parts.ok_or_else(|| "wanted more inputs".to_owned())?;
                match input(inputs, 0)?.dtype() {
                    Dtype::Float32 => self.run_gradient::<f32>(parts, outputs),
                    Dtype::Float16 => self.run_gradient::<mlx::f16>(parts, outputs),
                    _ => self.run_gradient::<mlx::bf16>(parts, outputs),
                }
            },
        )?;
        Ok(kernel.composed(move |arrays| {
            let inputs = arrays[..n_inputs].to_vec();
            let cotangents = arrays[arrays.len() - self.n_states()..].to_vec();
            let states = move |inputs: &Vec<Array>| self.states(&refs(inputs));
            match vjp(states, &inputs, &cotangents) {
                Ok((_, gradients)) => gradients,
                Err(error) => vec![Array::failed(error); n_inputs],
            }
        }))
    }

    fn inputs<'a, T: mlx::Element>(
        &self,
        inputs: &'a [HostInput<'_>],
    ) -> Outcome<RecurrentInputs<'a, T>> {
        let named = self.name(inputs)?;
        let optional = |one: Option<&'a HostInput<'_>>| one.map(HostInput::as_slice).transpose();
        Ok(RecurrentInputs {
            projected: named.projected.as_slice()?,
            weight: named.weight.as_slice()?,
            bias: optional(named.bias)?,
            hidden: optional(named.hidden)?,
            cell: optional(named.cell)?,
        })
    }

    fn run<T: mlx::Element + mlx_kernels::Element>(
        &self,
        inputs: &[HostInput<'_>],
        outputs: &mut [HostOutput<'_>],
    ) -> Outcome<()> {
        let shape = self.shape(input(inputs, 0)?.shape());
        let (states, saved) = outputs
            .split_at_mut_checked(self.n_states())
            .ok_or("wanted more outputs")?;
        let saved = match saved {
            [saved, ..] => saved.as_mut_slice::<f32>()?,
            [] => &mut [],
        };
        let mut states = states.iter_mut();
        let mut next = || match states.next() {
            Some(output) => output.as_mut_slice::<T>(),
            None => Ok(Default::default()),
        };
        let outputs = RecurrentOutputs {
            hidden: next()?,
            cells: next()?,
            saved,
        };
        let inputs = self.inputs::<T>(inputs)?;
        mlx_kernels::recurrent(shape, inputs, outputs).map_err(|error| error.to_string())
    }

    fn run_gradient<T: mlx::Element + mlx_kernels::Element>(
        &self,
        (inputs, others): (&[HostInput<'_>], &[HostInput<'_>]),
        outputs: &mut [HostOutput<'_>],
    ) -> Outcome<()> {
        let shape = self.shape(input(inputs, 0)?.shape());
        let states = |from: usize| -> Outcome<RecurrentStates<'_, T>> {
            Ok(RecurrentStates {
                hidden: input(others, from)?.as_slice()?,
                cells: match self.n_states() {
                    2 => input(others, from + 1)?.as_slice()?,
                    _ => &[],
                },
            })
        };
        let n_saved = usize::from(self.saves());
        let saved = match n_saved {
            0 => &[][..],
            _ => input(others, self.n_states())?.as_slice::<f32>()?,
        };
        let mut slices = outputs.iter_mut().map(HostOutput::as_mut_slice::<T>);
        let mut next = |is_given: bool| match is_given {
            true => slices.next().unwrap_or_else(|| Ok(Default::default())),
            false => Ok(Default::default()),
        };
        let [bias, hidden, cell] = self.given;
        let gradient = RecurrentGradient {
            projected: next(true)?,
            weight: next(true)?,
            bias: next(bias)?,
            hidden: next(hidden)?,
            cell: next(cell)?,
        };
        let inputs = self.inputs::<T>(inputs)?;
        let (after, cotangents) = (states(0)?, states(self.n_states() + n_saved)?);
        mlx_kernels::recurrent_gradient(shape, inputs, after, saved, cotangents, gradient)
            .map_err(|error| error.to_string())
    }
}

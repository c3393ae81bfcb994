//! Recurrent layers: each step of a sequence is computed from its input and the step before.
//!
//! The products of the inputs of all steps are one product, which is cut into steps, so that a step has one product of
//! its own, and the gradients of steps are joined once. On the CPU all steps are one kernel, in compiled functions too.

use mlx::{Array, Error, Integer, Result, addmm, concatenate, stack};
use mlx_kernels::RecurrentCell;

use crate::conv::biased;
use crate::kernels::{self, Sequence};
use crate::layer_error::{Size, Wanted, axis_size, first_mismatch, in_layer};
use crate::{
    AnyLayer, Forward, Init, IntoLayer, LstmInput, Module, ModuleState, ReLU, RecurrentInput, Tanh,
    activation,
};

/// An Elman recurrent layer, `mlx.nn.RNN`: `h[t + 1] = tanh(Wxh x[t] + Whh h[t] + bias)`.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let rnn = mlx_nn::RNN::new(4, 8);
/// let x = mlx::ones([2, 5, 4]);
/// let hidden = rnn.forward(&x);
/// assert_eq!(hidden.shape()?, [2, 5, 8]);
/// // The next steps go on from the last one.
/// assert_eq!(rnn.forward_from(&x, &hidden.i((.., -1))).shape()?, [2, 5, 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Module)]
pub struct RNN {
    /// Weights of the input, `[hidden_size, input_size]`; the parameter `Wxh`.
    #[module(rename = "Wxh")]
    pub wxh: Array,
    /// Weights of the hidden state, `[hidden_size, hidden_size]`; the parameter `Whh`.
    #[module(rename = "Whh")]
    pub whh: Array,
    /// `[hidden_size]`.
    pub bias: Option<Array>,
    /// The function of each step; tanh by default.
    pub nonlinearity: AnyLayer,
    /// What is frozen.
    pub state: ModuleState,
}

impl RNN {
    /// Returns a layer with a bias, and values uniformly distributed from `-1 / sqrt(hidden_size)` to
    /// `1 / sqrt(hidden_size)`.
    pub fn new(input_size: impl Integer, hidden_size: impl Integer) -> Self {
        let (input_size, hidden_size) = (input_size.to_i32(), hidden_size.to_i32());
        Self::with_init(input_size, hidden_size, true, &mut Init::default())
    }

    /// Returns a layer with initial values from `init`.
    pub fn with_init(input_size: i32, hidden_size: i32, bias: bool, init: &mut Init) -> Self {
        let scale = scale(hidden_size);
        Self {
            wxh: init.uniform(&[hidden_size, input_size], scale),
            whh: init.uniform(&[hidden_size, hidden_size], scale),
            bias: bias.then(|| init.uniform(&[hidden_size], scale)),
            nonlinearity: AnyLayer::new(Tanh),
            state: ModuleState::default(),
        }
    }

    /// Returns the layer with or without bias; a new one is 0.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = biased(&self.wxh, self.bias, bias);
        self
    }

    /// Returns the layer with another function of each step: a module or a function of arrays.
    #[must_use]
    pub fn nonlinearity<Kind>(mut self, nonlinearity: impl IntoLayer<Kind>) -> Self {
        self.nonlinearity = AnyLayer::new(nonlinearity);
        self
    }

    /// Maps `[batch, length, input_size]` or `[length, input_size]` to the hidden state at each step,
    /// `[batch, length, hidden_size]` or `[length, hidden_size]`. The first step has no hidden state before
    /// it, unless one is given: `rnn.forward((&x, &hidden))`.
    #[track_caller]
    pub fn forward<'a>(&self, input: impl Into<RecurrentInput<'a>>) -> Array {
        let RecurrentInput { x, hidden } = input.into();
        self.forward_from(x, hidden)
    }

    /// Maps `x` as [`forward`](Self::forward), from a hidden state `[batch, hidden_size]` or `[hidden_size]`.
    ///
    /// Inputs of other shapes, and a sequence without steps, give an array that carries the error.
    #[track_caller]
    pub fn forward_from<'a>(&self, x: &Array, hidden: impl Into<Option<&'a Array>>) -> Array {
        let hidden = hidden.into();
        let weights = Weights {
            layer: "RNN",
            input: &self.wxh,
            hidden: &self.whh,
            bias: self.bias.as_ref(),
        };
        let y = Array::from_result(self.steps(&weights, x, hidden));
        weights.named(y, x, &[("hidden", hidden)])
    }

    #[track_caller]
    fn steps(&self, weights: &Weights<'_>, x: &Array, hidden: Option<&Array>) -> Result<Array> {
        let sequence = weights.sequence(x, [None, hidden, None]);
        let by_kernel = if self.nonlinearity.is::<Tanh>() {
            kernels::recurrent(RecurrentCell::Tanh, &sequence, |sequence| {
                rnn(sequence, activation::tanh)
            })
        } else if self.nonlinearity.is::<ReLU>() {
            kernels::recurrent(RecurrentCell::Relu, &sequence, |sequence| {
                rnn(sequence, activation::relu)
            })
        } else {
            None
        };
        let states = match by_kernel {
            Some(states) => states,
            None => rnn(&sequence, |x| self.nonlinearity.forward(x))?,
        };
        let [hidden] = states_of(states)?;
        Ok(hidden)
    }
}

/// The hidden states of an [`RNN`] in MLX's operations.
#[track_caller]
fn rnn(sequence: &Sequence, nonlinearity: impl Fn(&Array) -> Array) -> Result<Vec<Array>> {
    let all_steps = cut(&sequence.projected)?;
    let recurrent = recurrent(&sequence.weight, all_steps.len());
    let mut hidden = sequence.hidden.clone();
    let mut all = Vec::new();
    for step in all_steps {
        let sum = match &hidden {
            Some(hidden) => addmm(&step, hidden, &recurrent),
            None => step,
        };
        let next = nonlinearity(&sum);
        all.push(next.clone());
        hidden = Some(next);
    }
    Ok(vec![stack(&all, -2)])
}

/// A gated recurrent unit, `mlx.nn.GRU`.
///
/// ```text
/// r[t] = sigmoid(Wxr x[t] + Whr h[t] + br)
/// z[t] = sigmoid(Wxz x[t] + Whz h[t] + bz)
/// n[t] = tanh(Wxn x[t] + bn + r[t] * (Whn h[t] + bhn))
/// h[t + 1] = (1 - z[t]) * n[t] + z[t] * h[t]
/// ```
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let gru = mlx_nn::GRU::new(4, 8);
/// let x = mlx::ones([2, 5, 4]);
/// assert_eq!(gru.forward(&x).shape()?, [2, 5, 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Module)]
pub struct GRU {
    /// Weights of the input for `r`, `z` and `n`, `[3 * hidden_size, input_size]`; the parameter `Wx`.
    #[module(rename = "Wx")]
    pub wx: Array,
    /// Weights of the hidden state for `r`, `z` and `n`, `[3 * hidden_size, hidden_size]`; the parameter `Wh`.
    #[module(rename = "Wh")]
    pub wh: Array,
    /// `[3 * hidden_size]`.
    pub b: Option<Array>,
    /// What is added to `n`'s product with the hidden state, `[hidden_size]`.
    pub bhn: Option<Array>,
    /// What is frozen.
    pub state: ModuleState,
}

impl GRU {
    /// Returns a layer with biases, and values uniformly distributed from `-1 / sqrt(hidden_size)` to
    /// `1 / sqrt(hidden_size)`.
    pub fn new(input_size: impl Integer, hidden_size: impl Integer) -> Self {
        let (input_size, hidden_size) = (input_size.to_i32(), hidden_size.to_i32());
        Self::with_init(input_size, hidden_size, true, &mut Init::default())
    }

    /// Returns a layer with initial values from `init`.
    pub fn with_init(input_size: i32, hidden_size: i32, bias: bool, init: &mut Init) -> Self {
        let (scale, rows) = (scale(hidden_size), hidden_size.saturating_mul(3));
        Self {
            wx: init.uniform(&[rows, input_size], scale),
            wh: init.uniform(&[rows, hidden_size], scale),
            b: bias.then(|| init.uniform(&[rows], scale)),
            bhn: bias.then(|| init.uniform(&[hidden_size], scale)),
            state: ModuleState::default(),
        }
    }

    /// Returns the layer with or without biases; new ones are 0.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.b = biased(&self.wx, self.b, bias);
        let zeros = || mlx::zeros([axis_size(&self.wh, -1)]);
        self.bhn = bias.then(|| self.bhn.unwrap_or_else(zeros));
        self
    }

    /// Maps `[batch, length, input_size]` or `[length, input_size]` to the hidden state at each step,
    /// `[batch, length, hidden_size]` or `[length, hidden_size]`. The first step has a hidden state of 0 before
    /// it, unless one is given: `gru.forward((&x, &hidden))`.
    #[track_caller]
    pub fn forward<'a>(&self, input: impl Into<RecurrentInput<'a>>) -> Array {
        let RecurrentInput { x, hidden } = input.into();
        self.forward_from(x, hidden)
    }

    /// Maps `x` as [`forward`](Self::forward), from a hidden state `[batch, hidden_size]` or `[hidden_size]`.
    ///
    /// Inputs of other shapes, and a sequence without steps, give an array that carries the error.
    #[track_caller]
    pub fn forward_from<'a>(&self, x: &Array, hidden: impl Into<Option<&'a Array>>) -> Array {
        let hidden = hidden.into();
        let weights = Weights {
            layer: "GRU",
            input: &self.wx,
            hidden: &self.wh,
            bias: self.b.as_ref(),
        };
        let y = Array::from_result(self.steps(&weights, x, hidden));
        weights.named(y, x, &[("hidden", hidden)])
    }

    #[track_caller]
    fn steps(&self, weights: &Weights<'_>, x: &Array, hidden: Option<&Array>) -> Result<Array> {
        let sequence = weights.sequence(x, [self.bhn.as_ref(), hidden, None]);
        let states = match kernels::recurrent(RecurrentCell::Gru, &sequence, gru) {
            Some(states) => states,
            None => gru(&sequence)?,
        };
        let [hidden] = states_of(states)?;
        Ok(hidden)
    }
}

/// The hidden states of a [`GRU`] in MLX's operations.
#[track_caller]
fn gru(sequence: &Sequence) -> Result<Vec<Array>> {
    let size = sequence.weight.dim(-1)?;
    // The bias of the product with the hidden state: none of `r` and `z`.
    let bias = sequence.bias.as_ref().map(|bhn| {
        let none = mlx::zeros_like(bhn);
        concatenate([&none, &none, bhn], 0)
    });
    let all_steps = cut(&sequence.projected)?;
    let recurrent = recurrent(&sequence.weight, all_steps.len());
    let mut hidden = sequence.hidden.clone();
    let mut all = Vec::new();
    for step in all_steps {
        let [input_gates, input_new] = parts(&step, [size * 2])?;
        let (gates, offset) = match &hidden {
            Some(hidden) => {
                let product = match &bias {
                    Some(bias) => addmm(bias, hidden, &recurrent),
                    None => hidden.matmul(&recurrent),
                };
                let [gates, new] = parts(&product, [size * 2])?;
                (input_gates + gates, Some(new))
            }
            None => (input_gates, sequence.bias.clone()),
        };
        let [reset, update] = parts(&gates.sigmoid(), [size])?;
        let new = match offset {
            Some(offset) => (input_new + reset * offset).tanh(),
            None => input_new.tanh(),
        };
        let next = match &hidden {
            Some(hidden) => &new + update * (hidden - &new),
            None => &new - update * &new,
        };
        all.push(next.clone());
        hidden = Some(next);
    }
    Ok(vec![stack(&all, -2)])
}

/// A long short-term memory, `mlx.nn.LSTM`.
///
/// ```text
/// i[t] = sigmoid(Wxi x[t] + Whi h[t] + bi)
/// f[t] = sigmoid(Wxf x[t] + Whf h[t] + bf)
/// g[t] = tanh(Wxg x[t] + Whg h[t] + bg)
/// o[t] = sigmoid(Wxo x[t] + Who h[t] + bo)
/// c[t + 1] = f[t] * c[t] + i[t] * g[t]
/// h[t + 1] = o[t] * tanh(c[t + 1])
/// ```
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let lstm = mlx_nn::LSTM::new(4, 8);
/// let x = mlx::ones([2, 5, 4]);
/// let (hidden, cell) = lstm.forward(&x);
/// assert_eq!(hidden.shape()?, [2, 5, 8]);
/// // The next steps go on from the last one.
/// let last = |states: &mlx::Array| states.i((.., -1));
/// let (hidden, _) = lstm.forward_from(&x, &last(&hidden), &last(&cell));
/// assert_eq!(hidden.shape()?, [2, 5, 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Module)]
pub struct LSTM {
    /// Weights of the input for `i`, `f`, `g` and `o`, `[4 * hidden_size, input_size]`; the parameter `Wx`.
    #[module(rename = "Wx")]
    pub wx: Array,
    /// Weights of the hidden state for `i`, `f`, `g` and `o`, `[4 * hidden_size, hidden_size]`; the parameter `Wh`.
    #[module(rename = "Wh")]
    pub wh: Array,
    /// `[4 * hidden_size]`.
    pub bias: Option<Array>,
    /// What is frozen.
    pub state: ModuleState,
}

impl LSTM {
    /// Returns a layer with a bias, and values uniformly distributed from `-1 / sqrt(hidden_size)` to
    /// `1 / sqrt(hidden_size)`.
    pub fn new(input_size: impl Integer, hidden_size: impl Integer) -> Self {
        let (input_size, hidden_size) = (input_size.to_i32(), hidden_size.to_i32());
        Self::with_init(input_size, hidden_size, true, &mut Init::default())
    }

    /// Returns a layer with initial values from `init`.
    pub fn with_init(input_size: i32, hidden_size: i32, bias: bool, init: &mut Init) -> Self {
        let (scale, rows) = (scale(hidden_size), hidden_size.saturating_mul(4));
        Self {
            wx: init.uniform(&[rows, input_size], scale),
            wh: init.uniform(&[rows, hidden_size], scale),
            bias: bias.then(|| init.uniform(&[rows], scale)),
            state: ModuleState::default(),
        }
    }

    /// Returns the layer with or without bias; a new one is 0.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = biased(&self.wx, self.bias, bias);
        self
    }

    /// Maps `[batch, length, input_size]` or `[length, input_size]` to the hidden state and the cell at each step, both
    /// `[batch, length, hidden_size]` or `[length, hidden_size]`. The first step has states of 0 before it,
    /// unless they are given: `lstm.forward((&x, &hidden, &cell))`.
    #[track_caller]
    pub fn forward<'a>(&self, input: impl Into<LstmInput<'a>>) -> (Array, Array) {
        let LstmInput { x, hidden, cell } = input.into();
        self.forward_from(x, hidden, cell)
    }

    /// Maps `x` as [`forward`](Self::forward), from a hidden state and a cell, each `[batch, hidden_size]` or
    /// `[hidden_size]`, or `None` for 0.
    ///
    /// Inputs of other shapes, and a sequence without steps, give arrays that carry the error.
    #[track_caller]
    pub fn forward_from<'a>(
        &self,
        x: &Array,
        hidden: impl Into<Option<&'a Array>>,
        cell: impl Into<Option<&'a Array>>,
    ) -> (Array, Array) {
        let (hidden, cell) = (hidden.into(), cell.into());
        let weights = Weights {
            layer: "LSTM",
            input: &self.wx,
            hidden: &self.wh,
            bias: self.bias.as_ref(),
        };
        let (h, c) = match self.steps(&weights, x, hidden, cell) {
            Ok(states) => states,
            Err(error) => (Array::failed(error.clone()), Array::failed(error)),
        };
        let before = [("hidden", hidden), ("cell", cell)];
        (weights.named(h, x, &before), weights.named(c, x, &before))
    }

    #[track_caller]
    fn steps(
        &self,
        weights: &Weights<'_>,
        x: &Array,
        hidden: Option<&Array>,
        cell: Option<&Array>,
    ) -> Result<(Array, Array)> {
        let sequence = weights.sequence(x, [None, hidden, cell]);
        let states = match kernels::recurrent(RecurrentCell::Lstm, &sequence, lstm) {
            Some(states) => states,
            None => lstm(&sequence)?,
        };
        let [hidden, cell] = states_of(states)?;
        Ok((hidden, cell))
    }
}

/// The hidden states and cells of an [`LSTM`] in MLX's operations.
#[track_caller]
fn lstm(sequence: &Sequence) -> Result<Vec<Array>> {
    let size = sequence.weight.dim(-1)?;
    let all_steps = cut(&sequence.projected)?;
    let recurrent = recurrent(&sequence.weight, all_steps.len());
    let (mut hidden, mut cell) = (sequence.hidden.clone(), sequence.cell.clone());
    let (mut all_hidden, mut all_cells) = (Vec::new(), Vec::new());
    for step in all_steps {
        let sums = match &hidden {
            Some(hidden) => addmm(&step, hidden, &recurrent),
            None => step,
        };
        let [input_forget, candidate, output] = parts(&sums, [size * 2, size * 3])?;
        let [input, forget] = parts(&input_forget.sigmoid(), [size])?;
        let added = input * candidate.tanh();
        let next = match &cell {
            Some(cell) => forget * cell + added,
            None => added,
        };
        let state = output.sigmoid() * next.tanh();
        all_hidden.push(state.clone());
        all_cells.push(next.clone());
        (hidden, cell) = (Some(state), Some(next));
    }
    Ok(vec![stack(&all_hidden, -2), stack(&all_cells, -2)])
}

impl Forward for RNN {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        Self::forward(self, x)
    }
}

impl Forward for GRU {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        Self::forward(self, x)
    }
}

/// The hidden state and the cell at each step.
impl Forward<Array, (Array, Array)> for LSTM {
    #[track_caller]
    fn forward(&self, x: &Array) -> (Array, Array) {
        Self::forward(self, x)
    }
}

/// The weights of a recurrent layer: rows for each gate.
struct Weights<'a> {
    layer: &'static str,
    /// `[gates * hidden_size, input_size]`.
    input: &'a Array,
    /// `[gates * hidden_size, hidden_size]`.
    hidden: &'a Array,
    /// `[gates * hidden_size]`.
    bias: Option<&'a Array>,
}

impl Weights<'_> {
    /// Returns the products of all steps' inputs, with the bias: `[.., length, gates * hidden_size]`.
    #[track_caller]
    fn projected(&self, x: &Array) -> Array {
        match self.bias {
            Some(bias) => addmm(bias, x, &self.input.t()),
            None => x.matmul(&self.input.t()),
        }
    }

    /// Returns what the states of all steps are made of, with what is added to a product, and states before the first step.
    #[track_caller]
    fn sequence(&self, x: &Array, [bias, hidden, cell]: [Option<&Array>; 3]) -> Sequence {
        Sequence {
            projected: self.projected(x),
            weight: self.hidden.clone(),
            bias: bias.cloned(),
            hidden: hidden.cloned(),
            cell: cell.cloned(),
        }
    }

    /// Returns the result `y`; an error found inside is replaced by one in the layer's name.
    #[track_caller]
    fn named(&self, y: Array, x: &Array, before: &[(&'static str, Option<&Array>)]) -> Array {
        let states = before.iter().filter_map(|(_, array)| *array);
        let operands = [x, self.input, self.hidden].into_iter();
        in_layer(
            self.layer,
            y,
            operands.chain(self.bias).chain(states),
            || self.mismatch(x, before),
        )
    }

    fn mismatch(&self, x: &Array, before: &[(&'static str, Option<&Array>)]) -> Option<String> {
        let input_size = Size::Exactly(axis_size(self.input, -1));
        let hidden_size = Size::Exactly(axis_size(self.hidden, -1));
        let shape = [Size::Leading, Size::Any("length"), input_size];
        let wanted = |name, array, shape| Wanted { name, array, shape };
        if let Some(message) = first_mismatch(&[wanted("x", x, &shape)]) {
            return Some(message);
        }
        if axis_size(x, -2) == 0 {
            let shape = x.shape().ok()?;
            return Some(format!("x must have at least one step, got {shape:?}"));
        }
        let rows = [Size::Exactly(axis_size(self.hidden, 0))];
        if let Some(message) = self
            .bias
            .and_then(|bias| first_mismatch(&[wanted("bias", bias, &rows)]))
        {
            return Some(message);
        }
        let shape = x.shape().ok()?;
        for &(name, array) in before {
            let Some(array) = array else { continue };
            let mut sizes: Vec<Size> = shape[..shape.len() - 2]
                .iter()
                .map(|&size| Size::Exactly(size))
                .collect();
            sizes.push(hidden_size);
            let state = Wanted {
                name,
                array,
                shape: &sizes,
            };
            if let Some(message) = first_mismatch(&[state]) {
                return Some(message);
            }
        }
        None
    }
}

/// Returns the limit of uniform initial weights.
#[allow(clippy::cast_precision_loss)]
fn scale(hidden_size: i32) -> f32 {
    (1.0 / hidden_size.max(1) as f32).sqrt()
}

/// Returns weights of the hidden state as the right side of products, `[hidden_size, gates * hidden_size]`. For several
/// steps they are copied once into the order in which small products read them.
#[track_caller]
fn recurrent(weight: &Array, n_steps: usize) -> Array {
    match n_steps {
        1 => weight.t(),
        _ => weight.t().contiguous(),
    }
}

/// Returns states, of which there are `N`.
fn states_of<const N: usize>(states: Vec<Array>) -> Result<[Array; N]> {
    states.try_into().map_err(|states: Vec<Array>| {
        let message = format!("wanted {N} kinds of states, got {}", states.len());
        Error::op("recurrent", message)
    })
}

/// Returns the steps of `[.., length, size]`, each `[.., size]`. The gradient of all of them together is one join.
#[track_caller]
fn cut(x: &Array) -> Result<Vec<Array>> {
    let steps = x.unstack(-2)?;
    if steps.is_empty() {
        let message = "wanted at least one step, got none";
        return Err(Error::op("unstack", message));
    }
    Ok(steps)
}

/// Returns the array cut along the last axis before these indices.
#[track_caller]
fn parts<const N: usize, const M: usize>(x: &Array, indices: [i32; N]) -> Result<[Array; M]> {
    let parts = x.split_at(indices, -1)?;
    parts.try_into().map_err(|parts: Vec<Array>| {
        let message = format!("wanted {M} parts, got {}", parts.len());
        Error::op("split", message)
    })
}

//! Optimizers, with the names, formulas and defaults of `mlx.optimizers`.
//!
//! [`Optimizer::update`] changes a model in place and keeps the state in the optimizer. Beneath it they are pure:
//! parameters, gradients and state are arguments of [`Optimizer::apply_gradients`], parameters and state are results. So
//! a whole training step is one function that `mlx_compiler::jit` can compile, and the state is a map of arrays that
//! saves and loads like weights, under the names that Python MLX gives it.

mod adafactor;
mod adam;
mod adaptive;
mod lion;
mod multi;
mod muon;
pub mod schedulers;
mod sgd;

use std::path::Path;

use mlx::{Array, ArrayList, Error, Result};

use crate::{IntoWeights, Module, WeightMap};

pub use crate::clip_grad_norm;
pub use adafactor::Adafactor;
pub use adam::{Adam, AdamW, Adamax};
pub use adaptive::{AdaDelta, Adagrad, RMSprop};
pub use lion::Lion;
pub use multi::{Filter, IntoOptimizers, MultiOptimizer};
pub use muon::Muon;
pub use schedulers::{
    Schedule, cosine_decay, cosine_decay_to, exponential_decay, join_schedules, linear_schedule,
    step_decay,
};
pub use sgd::{SGD, Sgd};

/// The state of an optimizer: `step`, `learning_rate`, and for each parameter arrays such as `layers.0.weight.m`.
pub type OptimizerState = WeightMap;

/// What an optimizer is made for: a reference to a module, or its parameters by name.
pub trait IntoParameters {
    /// Returns the parameters that are trained.
    fn into_parameters(self) -> WeightMap;
}

impl<M: Module> IntoParameters for &M {
    fn into_parameters(self) -> WeightMap {
        self.trainable_parameters()
    }
}

impl IntoParameters for WeightMap {
    fn into_parameters(self) -> WeightMap {
        self
    }
}

/// Makes methods that replace one setting and return the optimizer.
macro_rules! settings {
    ($optimizer:ident { $($setting:ident: $type:ty, $what:literal;)* }) => {
        impl $optimizer {$(
            #[doc = concat!("Returns the optimizer with ", $what, ".")]
            #[must_use]
            pub fn $setting(mut self, $setting: impl Into<$type>) -> Self {
                self.$setting = $setting.into();
                self
            }
        )*}
    };
}
use settings;

/// Gives optimizers [`Optimizer::update`] as a method of their own, for programs that do not import the trait.
macro_rules! updates {
    ($($optimizer:ident)*) => {$(
        impl $optimizer {
            /// Makes a step: see [`Optimizer::update`].
            ///
            /// # Errors
            /// As for [`Optimizer::apply_gradients`]; module and state are unchanged.
            #[track_caller]
            pub fn update(
                &mut self,
                module: &mut impl Module,
                gradients: &impl Module,
            ) -> Result<()> {
                Optimizer::update(self, module, gradients)
            }

            /// Returns the state before the first step: see [`Optimizer::init`].
            #[track_caller]
            pub fn init(&self, parameters: impl IntoParameters) -> OptimizerState {
                Optimizer::init_parameters(self, &parameters.into_parameters())
            }

            /// Returns the state: see [`Optimizer::state`].
            pub fn state(&self) -> &OptimizerState {
                &self.state
            }

            /// Returns how many steps were made.
            pub fn step(&self) -> Array {
                let step = self.state.get("step").cloned();
                step.unwrap_or_else(|| Array::scalar(0_u64))
            }

            /// Replaces the state: see [`set_state`](Self::set_state).
            ///
            /// # Errors
            /// As for [`set_state`](Self::set_state).
            #[track_caller]
            pub fn load_state(&mut self, state: impl IntoWeights) -> Result<()> {
                self.set_state(state)
            }

            /// Replaces the state, by one that was saved for example: `optimizer.set_state(mlx::load(path)?)?`.
            ///
            /// # Errors
            /// When it has no number of steps, and is not empty: it is no state of an optimizer.
            #[track_caller]
            pub fn set_state(&mut self, state: impl IntoWeights) -> Result<()> {
                let state = state.into_weights();
                if !state.is_empty() {
                    state_array(&state, "step")?;
                }
                // The learning rate is that of the state.
                mark_used(self);
                self.state = state;
                Ok(())
            }
        }

        /// The arrays of its state, so that `mlx::eval((&model, &optimizer))` evaluates them.
        impl ArrayList for &$optimizer {
            fn into_arrays(self) -> Vec<Array> {
                self.state.values().cloned().collect()
            }
        }
    )*};
}
updates! { Adafactor Adam AdamW Adamax AdaDelta Adagrad RMSprop Lion MultiOptimizer Muon SGD }

/// Gives optimizers their learning rate as an array; [`Adafactor`] has a setting of this name.
macro_rules! learning_rates {
    ($($optimizer:ident)*) => {$(
        impl $optimizer {
            /// Returns the learning rate of the last step, or of the first one before it.
            #[track_caller]
            pub fn learning_rate(&self) -> Array {
                current_learning_rate(self)
            }

            /// Sets the learning rate of the next step: see [`Optimizer::set_learning_rate`].
            pub fn set_learning_rate(&mut self, rate: f64) {
                Optimizer::set_learning_rate(self, rate);
            }
        }
    )*};
}
learning_rates! { Adam AdamW Adamax AdaDelta Adagrad RMSprop Lion MultiOptimizer Muon SGD }

#[track_caller]
fn current_learning_rate(optimizer: &impl Optimizer) -> Array {
    match (
        optimizer.state().get("learning_rate"),
        optimizer.learning_rate(),
    ) {
        (Some(rate), _) => rate.clone(),
        (None, Some(schedule)) => schedule.at(&Array::scalar(0_u64)),
        (None, None) => Array::failed(Error::op(
            "learning_rate",
            "the optimizer has none of its own",
        )),
    }
}

/// The methods of [`Optimizer`] that read the fields `learning_rate` and `state`.
macro_rules! accessors {
    () => {
        fn learning_rate(&self) -> Option<&Schedule> {
            Some(&self.learning_rate)
        }

        fn state(&self) -> &OptimizerState {
            &self.state
        }

        fn state_mut(&mut self) -> &mut OptimizerState {
            &mut self.state
        }
    };
}
use accessors;

/// The learning rate and number of one optimizer step.
pub struct StepContext {
    /// The learning rate, `float32`.
    pub learning_rate: Array,
    /// The number of this step, from 1, `uint64`.
    pub step: Array,
}

/// The former name of [`StepContext`].
#[deprecated(note = "renamed to StepContext")]
pub type Moment = StepContext;

/// A rule that updates parameters by their gradients.
///
/// One of your own has a learning rate, the names of its state arrays, and [`Optimizer::apply_single`], as in Python.
///
/// ```
/// use mlx_nn::optimizers::{Adam, Optimizer};
/// use mlx_nn::WeightMap;
///
/// # fn main() -> mlx::Result<()> {
/// let parameters = WeightMap::from([("w".to_owned(), mlx::array!([1.0]))]);
/// let gradients = WeightMap::from([("w".to_owned(), mlx::array!([0.5]))]);
/// let adam = Adam::new(0.1);
/// let state = adam.init(&parameters);
/// let (parameters, state) = adam.apply_gradients(&gradients, &parameters, &state)?;
/// assert!(parameters["w"].item::<f32>()? < 1.0);
/// assert_eq!(state["step"].item::<u64>()?, 1);
/// # Ok(())
/// # }
/// ```
pub trait Optimizer {
    /// Returns the learning rate; `None` when the optimizer computes its own in each step, as [`Adafactor`] does.
    fn learning_rate(&self) -> Option<&Schedule>;

    /// Returns the names of the state arrays of a parameter.
    fn slots(&self, parameter: &Array) -> &'static [&'static str];

    /// Checks the settings.
    ///
    /// # Errors
    /// When one is out of its range.
    fn check(&self) -> Result<()>;

    /// Returns a parameter after a step and updates its state arrays `slots`, in the order of [`Optimizer::slots`].
    fn apply_single(
        &self,
        gradient: &Array,
        parameter: &Array,
        slots: &mut [Array],
        step: &StepContext,
    ) -> Array;

    /// Returns the state arrays of a parameter before the first step, in the order of [`Optimizer::slots`]: zeros of its
    /// shape by default.
    #[track_caller]
    fn init_single(&self, parameter: &Array) -> Vec<Array> {
        let slots = self.slots(parameter).iter();
        slots.map(|_| mlx::zeros_like(parameter)).collect()
    }

    /// Returns the state before the first step, for a module or for parameters by name.
    ///
    /// [`Optimizer::update`] makes it by itself in the first step.
    #[track_caller]
    fn init(&self, parameters: &impl Module) -> OptimizerState
    where
        Self: Sized,
    {
        self.init_parameters(&parameters.trainable_parameters())
    }

    /// Returns the state before the first step, for parameters by name.
    #[track_caller]
    fn init_parameters(&self, parameters: &WeightMap) -> OptimizerState {
        let step = Array::scalar(0_u64);
        let mut state = OptimizerState::new();
        if let Some(rate) = self.learning_rate() {
            state.insert("learning_rate".to_owned(), rate.at(&step));
        }
        state.insert("step".to_owned(), step);
        for (name, parameter) in parameters {
            let slots = self.slots(parameter).iter();
            for (slot, array) in slots.zip(self.init_single(parameter)) {
                state.insert(format!("{name}.{slot}"), array);
            }
        }
        state
    }

    /// Returns whether a state has what [`Optimizer::init`] gives for these parameters.
    fn has_state(&self, state: &OptimizerState, parameters: &WeightMap) -> bool {
        let has_slots = |(name, parameter): (&String, &Array)| {
            let mut slots = self.slots(parameter).iter();
            slots.all(|slot| state.contains_key(&format!("{name}.{slot}")))
        };
        state.contains_key("step") && parameters.iter().all(has_slots)
    }

    /// Returns the parameters and the state after a step. A parameter without a gradient is unchanged.
    ///
    /// A constant learning rate is taken from the state, so that changing it there changes the next step.
    /// # Errors
    /// When a setting is out of its range, the state is another optimizer's or another model's, or there is a gradient
    /// without a parameter.
    #[track_caller]
    fn apply_gradients(
        &self,
        gradients: &WeightMap,
        parameters: &WeightMap,
        state: &OptimizerState,
    ) -> Result<(WeightMap, OptimizerState)> {
        self.check()?;
        let before = state_array(state, "step")?;
        let (mut parameters, mut next) = (parameters.clone(), state.clone());
        let learning_rate = match self.learning_rate() {
            Some(rate) if rate.is_constant() => state_array(state, "learning_rate")?.clone(),
            Some(rate) => rate.at(before),
            None => Array::failed(Error::op("optimizer", "it has no learning rate")),
        };
        let step = before + 1;
        if self.learning_rate().is_some() {
            next.insert("learning_rate".to_owned(), learning_rate.clone());
        }
        next.insert("step".to_owned(), step.clone());
        let context = StepContext {
            learning_rate,
            step,
        };
        for (name, gradient) in gradients {
            let Some(parameter) = parameters.get_mut(name) else {
                let message = format!("there is a gradient of {name} and no such parameter");
                return Err(Error::op("optimizer", message));
            };
            let names = self.slots(parameter).iter();
            let names: Vec<String> = names.map(|slot| format!("{name}.{slot}")).collect();
            let mut slots = Vec::with_capacity(names.len());
            for name in &names {
                slots.push(state_array(&next, name)?.clone());
            }
            *parameter = self.apply_single(gradient, parameter, &mut slots, &context);
            next.extend(names.into_iter().zip(slots));
        }
        Ok((parameters, next))
    }

    /// Returns the state that [`Optimizer::update`] keeps.
    fn state(&self) -> &OptimizerState;

    /// Returns the state that [`Optimizer::update`] keeps, for loading one that was saved.
    fn state_mut(&mut self) -> &mut OptimizerState;

    /// Sets the learning rate of the next step, as an assignment does: `optimizer.learning_rate = 0.1.into()`.
    ///
    /// A schedule replaces it again in that step.
    fn set_learning_rate(&mut self, rate: f64) {
        if let Some(schedule) = self.learning_rate() {
            schedule.mark_used();
        }
        #[allow(clippy::cast_possible_truncation)]
        let rate = Array::scalar(rate as f32);
        self.state_mut().insert("learning_rate".to_owned(), rate);
    }

    /// Makes a step: replaces the parameters of a module that have gradients, and the optimizer's own state, which is
    /// made in the first step.
    ///
    /// The gradients are those of [`value_and_grad`](crate::value_and_grad), by name, or a module of them, as
    /// [`mlx::grad`] of a module gives. What is frozen has none and is kept.
    ///
    /// ```
    /// use mlx_nn::optimizers::{Adam, Optimizer};
    /// use mlx_nn::{Linear, Module};
    ///
    /// # fn main() -> mlx::Result<()> {
    /// let mut layer = Linear::new(2, 1);
    /// let mut optimizer = Adam::new(0.1);
    /// let gradients = layer.parameters();
    /// optimizer.update(&mut layer, &gradients)?;
    /// assert_eq!(optimizer.state()["step"].item::<u64>()?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`Optimizer::apply_gradients`]; module and state are unchanged.
    #[track_caller]
    fn update(&mut self, module: &mut impl Module, gradients: &impl Module) -> Result<()>
    where
        Self: Sized,
    {
        let gradients = gradients.trainable_parameters();
        let parameters = module.parameters().into_iter();
        let wanted: WeightMap = parameters
            .filter(|(name, _)| gradients.contains_key(name))
            .collect();
        let mut state = match self.has_state(self.state(), &wanted) {
            true => self.state().clone(),
            // Parameters may be unfrozen between steps: their state starts then.
            false => {
                let mut state = self.init_parameters(&wanted);
                state.extend(self.state().clone());
                state
            }
        };
        // A constant that was assigned since the last step takes the place of the one in the state.
        if let Some(rate) = self.learning_rate().filter(|rate| rate.is_new()) {
            state.insert("learning_rate".to_owned(), rate.at(&Array::scalar(0_u64)));
        }
        let (updated, state) = self.apply_gradients(&gradients, &wanted, &state)?;
        module.update(&updated)?;
        mark_used(self);
        *self.state_mut() = state;
        Ok(())
    }

    /// Makes a step with a state that is kept elsewhere: replaces the parameters of a module, and the state.
    ///
    /// # Errors
    /// As for [`Optimizer::apply_gradients`].
    #[track_caller]
    fn update_with_state(
        &self,
        module: &mut impl Module,
        gradients: &WeightMap,
        state: &mut OptimizerState,
    ) -> Result<()>
    where
        Self: Sized,
    {
        let (parameters, next) = self.apply_gradients(gradients, &module.parameters(), state)?;
        *module = module.with_parameters(&parameters)?;
        *state = next;
        Ok(())
    }
}

/// An optimizer that is chosen at run time.
impl<O: Optimizer + ?Sized> Optimizer for Box<O> {
    fn learning_rate(&self) -> Option<&Schedule> {
        (**self).learning_rate()
    }
    fn slots(&self, parameter: &Array) -> &'static [&'static str] {
        (**self).slots(parameter)
    }
    fn check(&self) -> Result<()> {
        (**self).check()
    }
    #[track_caller]
    fn apply_single(
        &self,
        gradient: &Array,
        parameter: &Array,
        slots: &mut [Array],
        step: &StepContext,
    ) -> Array {
        (**self).apply_single(gradient, parameter, slots, step)
    }
    #[track_caller]
    fn init_single(&self, parameter: &Array) -> Vec<Array> {
        (**self).init_single(parameter)
    }
    #[track_caller]
    fn init_parameters(&self, parameters: &WeightMap) -> OptimizerState {
        (**self).init_parameters(parameters)
    }
    fn has_state(&self, state: &OptimizerState, parameters: &WeightMap) -> bool {
        (**self).has_state(state, parameters)
    }
    #[track_caller]
    fn apply_gradients(
        &self,
        gradients: &WeightMap,
        parameters: &WeightMap,
        state: &OptimizerState,
    ) -> Result<(WeightMap, OptimizerState)> {
        (**self).apply_gradients(gradients, parameters, state)
    }
    fn state(&self) -> &OptimizerState {
        (**self).state()
    }
    fn state_mut(&mut self) -> &mut OptimizerState {
        (**self).state_mut()
    }
    fn set_learning_rate(&mut self, rate: f64) {
        (**self).set_learning_rate(rate);
    }
}

/// Notes that the state has the constant learning rate.
fn mark_used(optimizer: &impl Optimizer) {
    if let Some(rate) = optimizer.learning_rate() {
        rate.mark_used();
    }
}

fn state_array<'a>(state: &'a OptimizerState, name: &str) -> Result<&'a Array> {
    state.get(name).ok_or_else(|| {
        let message =
            format!("the state must have {name}: make it with `init` for these parameters");
        Error::op("optimizer", message)
    })
}

/// Saves the state of an optimizer as safetensors.
///
/// # Errors
/// When an array cannot be computed, or the file cannot be written.
#[track_caller]
pub fn save_state(path: impl AsRef<Path>, state: &OptimizerState) -> Result<()> {
    let arrays = state.iter().map(|(name, array)| (name.as_str(), array));
    mlx::io::save_safetensors(path, arrays)
}

/// Loads the state of an optimizer, as [`save_state`] or Python MLX saved it.
///
/// # Errors
/// When the file cannot be read or is no safetensors file.
#[track_caller]
pub fn load_state(path: impl AsRef<Path>) -> Result<OptimizerState> {
    Ok(mlx::io::load_safetensors(path)?
        .arrays
        .into_iter()
        .collect())
}

/// Returns an error about a setting.
fn out_of_range(optimizer: &'static str, setting: &str, wanted: &str, got: f64) -> Error {
    Error::op(optimizer, format!("{setting} must be {wanted}, got {got}"))
}

/// Returns an error when a term that is added to a denominator is not positive.
fn check_eps(optimizer: &'static str, eps: f64) -> Result<()> {
    match eps > 0.0 {
        true => Ok(()),
        false => Err(out_of_range(optimizer, "eps", "above 0", eps)),
    }
}

/// Returns an error when a decay rate is negative or NaN.
fn check_decay(optimizer: &'static str, name: &str, decay: f64) -> Result<()> {
    match decay >= 0.0 {
        true => Ok(()),
        false => Err(out_of_range(optimizer, name, "at least 0", decay)),
    }
}

fn check_betas(optimizer: &'static str, betas: (f64, f64)) -> Result<()> {
    for (name, beta) in [("beta1", betas.0), ("beta2", betas.1)] {
        if !(0.0..1.0).contains(&beta) {
            return Err(out_of_range(optimizer, name, "in [0, 1)", beta));
        }
    }
    Ok(())
}

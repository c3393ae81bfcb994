//! Optimizers, with the names, formulas and defaults of `mlx.optimizers`.
//!
//! [`Optimizer::update`] changes a model in place and keeps the state in the optimizer. Beneath it they are pure:
//! parameters, gradients and state are arguments of [`Optimizer::apply_gradients`], parameters and state are results. So
//! a whole training step is one function that `mlx_compiler::jit` can compile, and the state is a map of arrays that
//! saves and loads like weights, under the names that Python MLX gives it.

mod adam;
mod lion;
mod schedule;
mod sgd;

use std::path::Path;

use mlx::{Array, Error, Result};

use crate::{Module, WeightMap};

pub use adam::{Adam, AdamW};
pub use lion::Lion;
pub use schedule::{
    Schedule, cosine_decay, exponential_decay, join_schedules, linear_schedule, step_decay,
};
pub use sgd::Sgd;

/// The state of an optimizer: `step`, `learning_rate`, and for each parameter arrays such as `layers.0.weight.m`.
pub type OptimizerState = WeightMap;

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
    /// Returns the learning rate.
    fn learning_rate(&self) -> &Schedule;

    /// Returns the names of the state arrays of each parameter; they start as zeros of its shape.
    fn slots(&self) -> &'static [&'static str];

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

    /// Returns the state before the first step.
    #[track_caller]
    fn init(&self, parameters: &WeightMap) -> OptimizerState {
        let step = Array::scalar(0_u64);
        let mut state = OptimizerState::new();
        state.insert("learning_rate".to_owned(), self.learning_rate().at(&step));
        state.insert("step".to_owned(), step);
        for (name, parameter) in parameters {
            for slot in self.slots() {
                state.insert(format!("{name}.{slot}"), mlx::zeros_like(parameter));
            }
        }
        state
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
        let learning_rate = match self.learning_rate().is_constant() {
            true => state_array(state, "learning_rate")?.clone(),
            false => self.learning_rate().at(before),
        };
        let context = StepContext {
            learning_rate,
            step: before + 1,
        };
        let (mut parameters, mut state) = (parameters.clone(), state.clone());
        state.insert("step".to_owned(), context.step.clone());
        state.insert("learning_rate".to_owned(), context.learning_rate.clone());
        for (name, gradient) in gradients {
            let Some(parameter) = parameters.get_mut(name) else {
                let message = format!("there is a gradient of {name} and no such parameter");
                return Err(Error::op("optimizer", message));
            };
            let names: Vec<String> = self.slots().iter().map(|s| format!("{name}.{s}")).collect();
            let mut slots = Vec::with_capacity(names.len());
            for name in &names {
                slots.push(state_array(&state, name)?.clone());
            }
            *parameter = self.apply_single(gradient, parameter, &mut slots, &context);
            state.extend(names.into_iter().zip(slots));
        }
        Ok((parameters, state))
    }

    /// Returns the state that [`Optimizer::update`] keeps.
    fn state(&self) -> &OptimizerState;

    /// Returns the state that [`Optimizer::update`] keeps, for loading one that was saved.
    fn state_mut(&mut self) -> &mut OptimizerState;

    /// Makes a step: replaces the parameters of a module that have gradients, and the optimizer's own state, which is
    /// made in the first step.
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
    fn update(&mut self, module: &mut impl Module, gradients: &WeightMap) -> Result<()> {
        let parameters = module.parameters();
        let of_gradients = |name: &String| gradients.contains_key(name);
        let wanted: WeightMap = parameters
            .iter()
            .filter(|(name, _)| of_gradients(name))
            .map(|(name, parameter)| (name.clone(), parameter.clone()))
            .collect();
        let has_state = |name: &String| {
            let mut names = self.slots().iter().map(|slot| format!("{name}.{slot}"));
            names.all(|slot| self.state().contains_key(&slot))
        };
        let state = match self.state().contains_key("step") && wanted.keys().all(has_state) {
            true => self.state().clone(),
            // Parameters may be unfrozen between steps: their state starts then.
            false => {
                let mut state = self.init(&wanted);
                state.extend(self.state().clone());
                state
            }
        };
        let (updated, state) = self.apply_gradients(gradients, &wanted, &state)?;
        module.update(&updated)?;
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
    ) -> Result<()> {
        let (parameters, next) = self.apply_gradients(gradients, &module.parameters(), state)?;
        *module = module.with_parameters(&parameters)?;
        *state = next;
        Ok(())
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

fn check_betas(optimizer: &'static str, betas: (f64, f64)) -> Result<()> {
    for (name, beta) in [("beta1", betas.0), ("beta2", betas.1)] {
        if !(0.0..1.0).contains(&beta) {
            return Err(out_of_range(optimizer, name, "in [0, 1)", beta));
        }
    }
    Ok(())
}

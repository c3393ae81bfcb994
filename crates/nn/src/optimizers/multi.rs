//! Several optimizers, each for some of the parameters.

use std::fmt;
use std::rc::Rc;

use mlx::{Array, Error, Result};

use super::{Optimizer, OptimizerState, Schedule, StepContext};
use crate::WeightMap;

/// Whether an optimizer takes a parameter: a function of its name and of an array of its shape.
pub type Filter = Rc<dyn Fn(&str, &Array) -> bool>;

/// Several optimizers, each for the parameters that its filter takes; the last is for the others.
///
/// The state is that of all of them, `states.0.step`, `states.1.bias.m`, as Python MLX names it.
///
/// ```
/// use mlx::Array;
/// use mlx_nn::optimizers::{AdamW, MultiOptimizer, Muon, Optimizer};
/// use mlx_nn::{Linear, Module};
///
/// # fn main() -> mlx::Result<()> {
/// let matrices = |name: &str, weight: &Array| name.ends_with("weight") && weight.ndim().is_ok_and(|n| n == 2);
/// let mut optimizer = MultiOptimizer::new((Muon::new(0.02), AdamW::new(1e-3)), [matrices]);
/// let mut layer = Linear::new(4, 4);
/// let gradients = layer.parameters();
/// optimizer.update(&mut layer, &gradients)?;
/// assert!(optimizer.state.contains_key("states.0.weight.v"));
/// assert!(optimizer.state.contains_key("states.1.bias.m"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MultiOptimizer {
    optimizers: Vec<Rc<dyn Optimizer>>,
    filters: Vec<Filter>,
    /// The state that [`Optimizer::update`] keeps: empty at first.
    pub state: OptimizerState,
}

impl MultiOptimizer {
    /// Returns an optimizer that passes each parameter to the first of these whose filter takes it, or to the last.
    ///
    /// There is one filter fewer than optimizers; otherwise each step is an error.
    pub fn new<F: Fn(&str, &Array) -> bool + 'static>(
        optimizers: impl IntoOptimizers,
        filters: impl IntoIterator<Item = F>,
    ) -> Self {
        let filters = filters.into_iter().map(|filter| Rc::new(filter) as Filter);
        Self {
            optimizers: optimizers.into_optimizers(),
            filters: filters.collect(),
            state: OptimizerState::new(),
        }
    }

    /// Returns the arrays for each optimizer.
    fn split(&self, arrays: &WeightMap) -> Vec<WeightMap> {
        let mut parts = vec![WeightMap::new(); self.optimizers.len()];
        for (name, array) in arrays {
            let taken = self.filters.iter().position(|filter| filter(name, array));
            let place = taken.unwrap_or(self.optimizers.len().saturating_sub(1));
            if let Some(part) = parts.get_mut(place) {
                part.insert(name.clone(), array.clone());
            }
        }
        parts
    }

    /// Returns the optimizers with their arrays.
    fn shares(&self, arrays: &WeightMap) -> impl Iterator<Item = Share<'_>> {
        let optimizers = self.optimizers.iter().enumerate();
        optimizers
            .zip(self.split(arrays))
            .map(|((index, optimizer), arrays)| Share {
                prefix: format!("states.{index}."),
                optimizer: optimizer.as_ref(),
                arrays,
            })
    }
}

/// One optimizer, and what it is given.
struct Share<'a> {
    /// Before the names of its state.
    prefix: String,
    optimizer: &'a dyn Optimizer,
    arrays: WeightMap,
}

impl Share<'_> {
    /// Returns its part of the whole state.
    fn state(&self, state: &OptimizerState) -> OptimizerState {
        let own = state.iter().filter_map(|(name, array)| {
            let name = name.strip_prefix(&self.prefix)?;
            Some((name.to_owned(), array.clone()))
        });
        own.collect()
    }

    /// Returns its state under the names of the whole.
    fn named(&self, state: OptimizerState) -> impl Iterator<Item = (String, Array)> {
        let state = state.into_iter();
        state.map(|(name, array)| (format!("{}{name}", self.prefix), array))
    }
}

impl Optimizer for MultiOptimizer {
    /// Returns the learning rate of the first optimizer, as in Python.
    fn learning_rate(&self) -> Option<&Schedule> {
        self.optimizers.first()?.learning_rate()
    }

    /// Returns none: which arrays a parameter has depends on its name.
    fn slots(&self, _: &Array) -> &'static [&'static str] {
        &[]
    }

    fn check(&self) -> Result<()> {
        let (wanted, got) = (self.optimizers.len(), self.filters.len());
        if wanted != got + 1 {
            let message =
                format!("wanted one filter fewer than {wanted} optimizers, got {got} filters");
            return Err(Error::op("multi_optimizer", message));
        }
        let mut optimizers = self.optimizers.iter();
        optimizers.try_for_each(|optimizer| optimizer.check())
    }

    /// Returns an error: which optimizer takes a parameter depends on its name.
    #[track_caller]
    fn apply_single(&self, _: &Array, _: &Array, _: &mut [Array], _: &StepContext) -> Array {
        let message = "wanted apply_gradients or update, which know the names of parameters, got apply_single";
        Array::failed(Error::op("multi_optimizer", message))
    }

    #[track_caller]
    fn init_parameters(&self, parameters: &WeightMap) -> OptimizerState {
        let mut state = OptimizerState::new();
        for share in self.shares(parameters) {
            state.extend(share.named(share.optimizer.init_parameters(&share.arrays)));
        }
        state
    }

    fn has_state(&self, state: &OptimizerState, parameters: &WeightMap) -> bool {
        self.shares(parameters).all(|share| {
            share
                .optimizer
                .has_state(&share.state(state), &share.arrays)
        })
    }

    #[track_caller]
    fn apply_gradients(
        &self,
        gradients: &WeightMap,
        parameters: &WeightMap,
        state: &OptimizerState,
    ) -> Result<(WeightMap, OptimizerState)> {
        self.check()?;
        let (mut parameters, mut next) = (parameters.clone(), state.clone());
        for share in self.shares(gradients) {
            let own = share.state(state);
            let (updated, own) =
                share
                    .optimizer
                    .apply_gradients(&share.arrays, &parameters, &own)?;
            parameters = updated;
            next.extend(share.named(own));
        }
        Ok((parameters, next))
    }

    fn state(&self) -> &OptimizerState {
        &self.state
    }

    fn state_mut(&mut self) -> &mut OptimizerState {
        &mut self.state
    }

    /// Sets the learning rate of all optimizers.
    fn set_learning_rate(&mut self, rate: f64) {
        for index in 0..self.optimizers.len() {
            #[allow(clippy::cast_possible_truncation)]
            let rate = Array::scalar(rate as f32);
            let name = format!("states.{index}.learning_rate");
            self.state.insert(name, rate);
        }
    }
}

impl fmt::Debug for MultiOptimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.optimizers.len();
        write!(f, "MultiOptimizer of {n} optimizers")
    }
}

/// Optimizers of several types: a tuple of them, or a vector of boxes.
pub trait IntoOptimizers {
    /// Returns the optimizers.
    fn into_optimizers(self) -> Vec<Rc<dyn Optimizer>>;
}

impl<O: Optimizer + 'static> IntoOptimizers for Vec<O> {
    fn into_optimizers(self) -> Vec<Rc<dyn Optimizer>> {
        let optimizers = self.into_iter();
        optimizers
            .map(|optimizer| Rc::new(optimizer) as Rc<dyn Optimizer>)
            .collect()
    }
}

impl<O: Optimizer + 'static, const N: usize> IntoOptimizers for [O; N] {
    fn into_optimizers(self) -> Vec<Rc<dyn Optimizer>> {
        Vec::from(self).into_optimizers()
    }
}

macro_rules! tuples {
    ($(($($t:ident $optimizer:ident),*);)*) => {$(
        impl<$($t: Optimizer + 'static),*> IntoOptimizers for ($($t,)*) {
            fn into_optimizers(self) -> Vec<Rc<dyn Optimizer>> {
                let ($($optimizer,)*) = self;
                vec![$(Rc::new($optimizer)),*]
            }
        }
    )*};
}

tuples! {
    (A a);
    (A a, B b);
    (A a, B b, C c);
    (A a, B b, C c, D d);
    (A a, B b, C c, D d, E e);
    (A a, B b, C c, D d, E e, F f);
}

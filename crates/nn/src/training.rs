//! Gradients of a module's parameters, gradient clipping and loss scaling.

use std::panic::Location;

use mlx::transforms::{Apply, Loss, Nth, Transformed};
use mlx::tree::{BoxedError, Function};
use mlx::{Array, Dtype, Result, Tree, tree};

use crate::{Module, WeightMap};

/// Returns a function that gives the loss of a module on a batch, and the gradients of its trainable parameters by name.
///
/// `loss` is a function of a module and a batch, or of a module, inputs and targets, that gives a floating scalar, or a
/// tuple of one and anything else; the function that is returned takes the same. `module` says which type of module and
/// is not kept: an optimizer can change it between calls. Frozen parameters, packed weights and buffers have no
/// gradient; [`Buffer`](crate::Buffer)s that the layers replace are replaced in the module.
///
/// ```
/// use mlx::Array;
/// use mlx_nn::losses::mse_loss;
/// use mlx_nn::{Linear, value_and_grad};
///
/// # fn main() -> mlx::Result<()> {
/// let layer = Linear::new(2, 1);
/// let loss = |layer: &Linear, x: &Array, y: &Array| mse_loss(&layer.forward(x), y);
/// let step = value_and_grad(&layer, loss);
/// let (x, y) = (mlx::array!([[1.0, 2.0]]), mlx::array!([[3.0]]));
/// let (loss, gradients) = step(&layer, &x, &y)?;
/// assert!(loss.item::<f32>()? > 0.0);
/// assert_eq!(gradients["weight"].shape()?, [1, 2]);
///
/// let of_batch = |layer: &Linear, (x, y): &(Array, Array)| mse_loss(&layer.forward(x), y);
/// let (same, _) = value_and_grad(&layer, of_batch)(&layer, &(x, y))?;
/// assert_eq!(same.item::<f32>()?, loss.item::<f32>()?);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn value_and_grad<'f, M, Args, F>(
    module: &M,
    loss: F,
) -> Transformed<'f, Args, (F::Output, WeightMap)>
where
    M: Module,
    Args: Nth<0, Arg = M> + 'f,
    F: Function<Args> + 'f,
    F::Output: Loss,
{
    let _ = module;
    let loss = LossAndBuffers { loss };
    Transformed::new(ByName(mlx::value_and_grad(loss)))
}

/// A loss that also gives what its module has in the place of buffers afterwards.
struct LossAndBuffers<F> {
    loss: F,
}

impl<Args, F> Function<Args> for LossAndBuffers<F>
where
    Args: Nth<0>,
    Args::Arg: Module,
    F: Function<Args>,
{
    type Output = WithBuffers<F::Output>;

    fn apply_refs(&self, args: Args::Refs<'_>) -> std::result::Result<Self::Output, BoxedError> {
        let value = self.loss.apply_refs(args)?;
        let mut buffers = Vec::new();
        Args::nth(args).visit_buffers(&mut |buffer| buffers.push(buffer.get()));
        Ok(WithBuffers { value, buffers })
    }
}

/// What a loss gives, and the buffers of the module after it.
#[derive(Tree)]
struct WithBuffers<Value> {
    value: Value,
    buffers: Vec<Array>,
}

impl<Value: Loss> Loss for WithBuffers<Value> {}

/// The value of a loss and its gradients by name, where the buffers of the module are replaced.
struct ByName<'f, Args: Nth<0> + 'f, Value: 'f>(
    Transformed<'f, Args, (WithBuffers<Value>, Args::Arg)>,
);

impl<Args, Value> Apply<Args, (Value, WeightMap)> for ByName<'_, Args, Value>
where
    Args: Nth<0>,
    Args::Arg: Module,
{
    fn apply_at(
        &self,
        args: Args::Refs<'_>,
        at: &'static Location<'static>,
    ) -> Result<(Value, WeightMap)> {
        let (output, gradients) = self.0.call_at(args, at)?;
        let mut values = output.buffers.into_iter();
        Args::nth(args).visit_buffers(&mut |buffer| {
            if let Some(value) = values.next() {
                buffer.set(value);
            }
        });
        Ok((output.value, gradients.trainable_parameters()))
    }
}

/// Gradients by reference, or those of a module by value.
pub trait Gradients {
    /// The tree they are.
    type Tree: Tree;

    /// Returns them.
    fn tree(&self) -> &Self::Tree;
}

impl<T: Tree> Gradients for &T {
    type Tree = T;

    fn tree(&self) -> &T {
        self
    }
}

impl Gradients for WeightMap {
    type Tree = WeightMap;

    fn tree(&self) -> &WeightMap {
        self
    }
}

/// Returns gradients scaled so that their global norm is at most `max_norm`, and that norm.
///
/// ```
/// use mlx_nn::{WeightMap, clip_grad_norm};
///
/// # fn main() -> mlx::Result<()> {
/// let gradients = WeightMap::from([("a".to_owned(), mlx::array!([3.0, 4.0]))]);
/// let (clipped, norm) = clip_grad_norm(&gradients, 1.0);
/// assert_eq!(norm.item::<f32>()?, 5.0);
/// assert!((clipped["a"].to_vec::<f32>()?[0] - 0.6).abs() < 1e-5);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn clip_grad_norm<G: Gradients>(gradients: G, max_norm: f32) -> (G::Tree, Array) {
    let gradients = gradients.tree();
    let squares = tree::arrays(gradients)
        .into_iter()
        .map(|gradient| wide(gradient).abs().square().sum(()));
    let total = squares.reduce(|sum, square| sum + square);
    let norm = total.unwrap_or_else(|| mlx::zeros(())).sqrt();
    let share = (max_norm / (&norm + 1e-6)).minimum(1.0);
    let clipped = gradients.map(&mut |gradient| match gradient.dtype() {
        Ok(dtype) => (wide(gradient) * &share).astype(dtype),
        Err(_) => gradient.clone(),
    });
    (clipped, norm)
}

/// Returns half precision as `float32`, and any other dtype as it is.
#[track_caller]
pub(crate) fn wide(x: &Array) -> Array {
    match x.dtype() {
        Ok(Dtype::Float16 | Dtype::Bfloat16) => x.astype(Dtype::Float32),
        _ => x.clone(),
    }
}

/// Returns a tree with its floating arrays in another dtype.
#[track_caller]
pub fn cast<T: Tree>(tree: &T, dtype: Dtype) -> T {
    tree.map(&mut |array| match array.dtype() {
        Ok(own) if own.is_floating() && own != dtype => array.astype(dtype),
        _ => array.clone(),
    })
}

/// The settings of dynamic loss scaling, which keeps small gradients of half precision from underflow.
///
/// The loss is multiplied by a scale before the gradient is taken, and gradients are divided by it after. A step with
/// gradients that are not finite is skipped and the scale reduced; after many finite steps it grows again. All of it is
/// part of the graph: nothing is read back between steps.
///
/// ```
/// use mlx_nn::{LossScaler, WeightMap};
///
/// # fn main() -> mlx::Result<()> {
/// let scaler = LossScaler::default();
/// let scale = scaler.init();
/// let gradients = WeightMap::from([("a".to_owned(), mlx::array!([f32::INFINITY]))]);
/// let (_, finite) = scale.unscale(&gradients);
/// let scale = scaler.update(&scale, &finite);
/// assert_eq!(scale.scale.item::<f32>()?, 32768.0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScaler {
    /// The initial scale.
    pub init_scale: f32,
    /// The factor of the scale after `growth_interval` finite steps.
    pub growth_factor: f32,
    /// The factor of the scale when gradients are not finite.
    pub backoff_factor: f32,
    /// Number of finite steps in a row before the scale grows.
    pub growth_interval: u32,
}

impl Default for LossScaler {
    fn default() -> Self {
        Self {
            init_scale: 65_536.0,
            growth_factor: 2.0,
            backoff_factor: 0.5,
            growth_interval: 2000,
        }
    }
}

/// The state of dynamic loss scaling, an input and output of a training step.
#[derive(Clone, Tree)]
pub struct LossScale {
    /// The factor of the loss, `float32`.
    pub scale: Array,
    /// Finite steps since the scale changed, `int32`.
    pub good_steps: Array,
}

impl LossScaler {
    /// Returns the state before the first step.
    pub fn init(&self) -> LossScale {
        LossScale {
            scale: Array::scalar(self.init_scale),
            good_steps: Array::scalar(0_i32),
        }
    }

    /// Returns the state after a step; `finite` says whether its gradients were.
    #[track_caller]
    pub fn update(&self, scale: &LossScale, finite: &Array) -> LossScale {
        let steps = &scale.good_steps + 1;
        let grows = steps.greater_equal(i64::from(self.growth_interval));
        let grown = mlx::where_(&grows, &scale.scale * self.growth_factor, &scale.scale);
        // A scale that reaches infinity would stay there.
        let grown = grown.minimum(f64::from(f32::MAX) / 4.0);
        let backed = (&scale.scale * self.backoff_factor).maximum(1.0);
        LossScale {
            scale: mlx::where_(finite, grown, backed),
            good_steps: mlx::where_(&finite.logical_and(grows.logical_not()), steps, 0),
        }
    }
}

impl LossScale {
    /// Returns the loss times the scale, in `float32`.
    #[track_caller]
    pub fn scale(&self, loss: &Array) -> Array {
        loss.astype(Dtype::Float32) * &self.scale
    }

    /// Returns gradients divided by the scale, in `float32`, and whether all of them are finite.
    #[track_caller]
    pub fn unscale<T: Tree>(&self, gradients: &T) -> (T, Array) {
        let gradients =
            gradients.map(&mut |gradient| gradient.astype(Dtype::Float32) / &self.scale);
        let finite = tree::arrays(&gradients)
            .into_iter()
            .map(|gradient| gradient.isfinite().all(()))
            .reduce(|all, finite| all.logical_and(finite));
        (gradients, finite.unwrap_or_else(|| Array::scalar(true)))
    }
}

/// Returns `new` where `condition` is true and `old` where it is not, array by array.
///
/// # Errors
/// When one tree has more arrays than the other.
#[track_caller]
pub fn select<T: Tree>(condition: &Array, new: &T, old: &T) -> Result<T> {
    let pairs = tree::arrays(new).into_iter().zip(tree::arrays(old));
    tree::rebuild(
        old,
        pairs.map(|(new, old)| mlx::where_(condition, new, old)),
    )
}

//! Gradients of a module's parameters, gradient clipping and loss scaling.

use mlx::transforms::Loss;
use mlx::tree::{BoxedError, Outcome};
use mlx::{Array, Dtype, Result, Tree, tree};

use crate::{Buffer, Module, WeightMap};

/// A loss: a function of a module and of up to four trees of arrays, inputs and targets, that gives a floating scalar, a
/// tuple of one and auxiliary values, or a `Result` of these.
///
/// `Args` is the tuple of the trees; it is inferred. A closure must name the types of its arguments.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a loss of a module",
    label = "wanted something like `|model: &Net, x: &Array, y: &Array| mse_loss(&model.forward(x), y)`",
    note = "arguments are references, the module first, and a closure must write their types",
    note = "`value_and_grad` takes the loss only, and the function it returns the module: `let step = value_and_grad(loss); let (loss, gradients) = step(&model, &x, &y)?;`"
)]
pub trait LossFunction<'f, M, Args> {
    /// The function that [`value_and_grad`] returns: of the module and the trees, to the loss and the gradients.
    type Step;

    /// Returns that function.
    fn step(self) -> Self::Step;
}

macro_rules! losses {
    ($(($($t:ident $arg:ident),*);)*) => {$(
        impl<'f, M, Function, Value, $($t: Tree),*> LossFunction<'f, M, ($($t,)*)> for Function
        where
            M: Module,
            Function: Fn(&M, $(&$t),*) -> Value + 'f,
            Value: Outcome<Tree: Loss>,
        {
            #[allow(clippy::type_complexity)]
            type Step = Box<dyn Fn(&M, $(&$t),*) -> Result<(Value::Tree, WeightMap)> + 'f>;

            fn step(self) -> Self::Step {
                Box::new(move |module, $($arg),*| {
                    // Copies that share their arrays.
                    let args = ($($arg.map(&mut Clone::clone),)*);
                    let loss = |module: &M, ($($arg,)*): &($($t,)*)| self(module, $($arg),*);
                    gradients_of(&loss, module, &args)
                })
            }
        }
    )*};
}

losses! {
    ();
    (A a);
    (A a, B b);
    (A a, B b, C c);
    (A a, B b, C c, D d);
}

/// Returns a function that gives the loss of a module on a batch, and the gradients of its trainable parameters by name.
///
/// Frozen parameters, packed weights and buffers have none; [`Buffer`]s that the layers replace are replaced in the
/// module. `loss` is a [`LossFunction`]: of a module and a batch, or of a module, inputs and targets, which the function
/// that is returned takes too.
///
/// ```
/// use mlx::Array;
/// use mlx_nn::losses::mse_loss;
/// use mlx_nn::{Linear, value_and_grad};
///
/// # fn main() -> mlx::Result<()> {
/// let layer = Linear::new(2, 1);
/// let step = value_and_grad(|layer: &Linear, x: &Array, y: &Array| mse_loss(&layer.forward(x), y));
/// let (x, y) = (mlx::array!([[1.0, 2.0]]), mlx::array!([[3.0]]));
/// let (loss, gradients) = step(&layer, &x, &y)?;
/// assert!(loss.item::<f32>()? > 0.0);
/// assert_eq!(gradients["weight"].shape()?, [1, 2]);
///
/// let of_batch = |layer: &Linear, (x, y): &(Array, Array)| mse_loss(&layer.forward(x), y);
/// let (same, _) = value_and_grad(of_batch)(&layer, &(x, y))?;
/// assert_eq!(same.item::<f32>()?, loss.item::<f32>()?);
/// # Ok(())
/// # }
/// ```
pub fn value_and_grad<'f, M, Args, F: LossFunction<'f, M, Args>>(loss: F) -> F::Step {
    loss.step()
}

fn gradients_of<M: Module, Args: Tree, Value: Outcome<Tree: Loss>>(
    loss: &impl Fn(&M, &Args) -> Value,
    module: &M,
    args: &Args,
) -> Result<(Value::Tree, WeightMap)> {
    // A copy, whose buffers are replaced by values that live only while the gradient is taken.
    let of_parameters =
        |parameters: &WeightMap, args: &Args| -> std::result::Result<_, BoxedError> {
            let copy = module.with_parameters(parameters)?;
            let value = loss(&copy, args).outcome()?;
            let mut buffers = Vec::new();
            copy.visit_buffers(&mut |buffer: &Buffer| buffers.push(buffer.get()));
            Ok(WithBuffers { value, buffers })
        };
    let parameters = module.trainable_parameters();
    let (output, gradients) = mlx::value_and_grad(of_parameters).call((&parameters, args))?;
    let mut values = output.buffers.into_iter();
    module.visit_buffers(&mut |buffer| {
        if let Some(value) = values.next() {
            buffer.set(value);
        }
    });
    Ok((output.value, gradients))
}

/// What a loss gives, and the buffers of the module after it.
#[derive(Tree)]
struct WithBuffers<Value> {
    value: Value,
    buffers: Vec<Array>,
}

impl<Value: Loss> Loss for WithBuffers<Value> {}

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
pub fn clip_grad_norm<T: Tree>(gradients: &T, max_norm: f32) -> (T, Array) {
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

/// Returns half precision as `float32`, because squares overflow `float16`.
fn wide(x: &Array) -> Array {
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

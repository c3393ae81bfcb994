//! Functions made out of functions: gradients, products with Jacobians, vectorization, checkpoints, own rules.
//!
//! What they take is a [`Function`](crate::tree::Function): it takes references to trees of arrays and returns a tree
//! of arrays, or a `Result` of one. What they give is one as well, so that they nest: `vmap(grad(f))`.
//!
//! ```
//! use mlx::{Array, array, grad};
//!
//! # fn main() -> mlx::Result<()> {
//! let cube = |x: &Array| x * x * x;
//! let slope = grad(cube);
//! assert_eq!(slope(&array!(2.0))?.item::<f32>()?, 12.0);
//! assert_eq!(grad(slope)(&array!(2.0))?.item::<f32>()?, 12.0);
//! # Ok(())
//! # }
//! ```
//!
//! Underneath is [`apply`], which knows flat lists of arrays only. It calls MLX, or, while a function is traced, the
//! [`Recorder`](crate::Recorder), which calls it again when it replays the function.

mod argnums;
mod body;
mod call;
mod checkpoint;
mod checks;
mod custom_function;
mod execute;
mod flat;
mod grad;
mod in_axes;
mod own_rules;
mod primals;
mod products;
mod stack;
mod transformed;
mod vmap;

pub use crate::array::{FlatFunction, FlatVmapRule, Transform, TransformCall, VmapRule};
pub use argnums::{Arg, Argnums, Nth};
pub(crate) use body::{body, finish};
pub use checkpoint::checkpoint;
pub use custom_function::{CustomFunction, custom_function, custom_vjp};
pub use flat::{apply, apply_at};
pub use grad::{Loss, grad, grad_of, value_and_grad, value_and_grad_of};
pub use in_axes::{InAxes, InAxis};
pub use primals::{Cotangents, Primals};
pub use products::{jvp, vjp};
pub use transformed::{Apply, GradKind, GradsByNumber, OfArgnums, Transformed, ValueAndGradKind};
pub use vmap::{Vmap, vmap};

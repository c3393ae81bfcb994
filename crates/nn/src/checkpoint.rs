//! Modules that are computed again for their gradient, to save memory.

use mlx::tree::Outcome;
use mlx::{Array, Result, Tree};

use crate::Module;

/// Returns what `function` computes of a module and its inputs; the gradient computes it again instead of keeping what
/// was computed on the way: `mlx.nn.utils.checkpoint`.
///
/// Gradients are those of the module's trainable arrays and of all inputs. What else the function captures is a constant
/// to it; a key of random numbers is captured, so that both computations draw the same.
///
/// ```
/// use mlx::Array;
/// use mlx_nn::{Linear, checkpoint, relu, value_and_grad};
///
/// # fn main() -> mlx::Result<()> {
/// let layers = vec![Linear::new(4, 4), Linear::new(4, 4)];
/// let loss = |layers: &Vec<Linear>, x: &Array| -> mlx::Result<Array> {
///     let mut y = x.clone();
///     for layer in layers {
///         y = checkpoint(layer, &y, |layer, y| relu(&layer.forward(y)))?;
///     }
///     Ok(y.sum(()))
/// };
/// let (_, gradients) = value_and_grad(&layers, loss)(&layers, &mlx::array!([[1.0, 2.0, 3.0, 4.0]]))?;
/// assert_eq!(gradients["1.weight"].shape()?, [4, 4]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When the function returns one, or gives no arrays.
#[track_caller]
pub fn checkpoint<M, Inputs, F, Output>(
    module: &M,
    inputs: &Inputs,
    function: F,
) -> Result<Output::Tree>
where
    M: Module,
    Inputs: Tree + 'static,
    F: Fn(&M, &Inputs) -> Output + 'static,
    Output: Outcome + 'static,
{
    let (mut is_trainable, mut trainable) = (Vec::new(), Vec::new());
    module.visit_trainable(&mut |array, trains| {
        is_trainable.push(trains);
        if trains {
            trainable.push(array.clone());
        }
    });
    // Packed weights have no gradient, so they are no arguments.
    let module = module.map(&mut Array::clone);
    let run = mlx::checkpoint(move |arrays: &Vec<Array>, inputs: &Inputs| {
        let (mut flags, mut arrays) = (is_trainable.iter(), arrays.iter());
        let module = module.map(&mut |array| match flags.next() {
            Some(true) => arrays.next().unwrap_or(array).clone(),
            _ => array.clone(),
        });
        function(&module, inputs).outcome()
    });
    run.call((&trainable, inputs))
}

//! Functions whose gradient computes again what it needs, to save memory.

use std::panic::Location;
use std::rc::Rc;

use super::call::{Form, form, leaves, run, split, taken};
use super::transformed::Apply;
use super::{FlatFunction, Transform, Transformed, apply_at};
use crate::random::Replay;
use crate::tree::{Arguments, Function};
use crate::{Array, Result};

/// Returns the same function, whose gradient runs it again instead of keeping what it computed on the way.
///
/// Gradients are those of the arguments: arrays that the function captures are constants to it.
///
/// ```
/// use mlx::{Array, array, checkpoint, grad};
///
/// # fn main() -> mlx::Result<()> {
/// let block = checkpoint(|x: &Array| x.exp().sin().exp());
/// let loss = move |x: &Array| block(x).map(|y| y.sum(()));
/// assert_eq!(grad(loss)(&array!([0.0, 1.0]))?.shape()?, [2]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn checkpoint<Args, F>(function: F) -> Transformed<'static, Args, F::Output>
where
    Args: Arguments + 'static,
    F: Function<Args> + 'static,
{
    Transformed::new(Checkpoint(Rc::new(function)))
}

struct Checkpoint<F>(Rc<F>);

impl<Args, F> Apply<Args, F::Output> for Checkpoint<F>
where
    Args: Arguments + 'static,
    F: Function<Args> + 'static,
{
    fn apply_at(&self, args: Args::Refs<'_>, at: &'static Location<'static>) -> Result<F::Output> {
        let output = Rc::new(Form::default());
        let flat = flat(Rc::clone(&self.0), args, Rc::clone(&output));
        // What runs again for the gradient draws the numbers that it drew before.
        let replay = Replay::default();
        let flat = Rc::new(move |arrays: &[Array]| replay.run(|| flat(arrays)));
        let results = apply_at(&Transform::Checkpoint, &[flat], &leaves::<Args>(args), at)?;
        split(&taken(&output)?, &mut results.into_iter())
    }
}

/// Returns the function over flat arrays, which keeps the form of these arguments but not the arrays.
pub(super) fn flat<Args, F>(
    function: Rc<F>,
    args: Args::Refs<'_>,
    output: Rc<Form<F::Output>>,
) -> Rc<FlatFunction>
where
    Args: Arguments + 'static,
    F: Function<Args> + ?Sized + 'static,
{
    let like = form(&Args::map_refs(args, &mut Array::clone));
    Rc::new(move |arrays: &[Array]| run(&*function, like.refs(), &output, arrays))
}

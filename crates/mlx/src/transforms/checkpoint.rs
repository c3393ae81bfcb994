//! Functions whose gradient computes again what it needs, to save memory.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::rc::Rc;

use super::call::{Form, form, leaves, run, split, taken};
use super::{FlatFunction, Transform, apply_at};
use crate::random::Replay;
use crate::tree::{Arguments, BoxedError, Function};
use crate::{Array, Error, Result};

/// Returns the same function, whose gradient runs it again instead of keeping what it computed on the way.
///
/// Gradients are those of the arguments: arrays that the function captures are constants to it.
///
/// ```
/// use mlx::{Array, array, checkpoint, grad};
///
/// # fn main() -> mlx::Result<()> {
/// let block = checkpoint(|x: &Array| x.exp().sin().exp());
/// let loss = move |x: &Array| block.call(x).map(|y| y.sum(()));
/// assert_eq!(grad(loss).call(&array!([0.0, 1.0]))?.shape()?, [2]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn checkpoint<Args, F>(function: F) -> Checkpoint<F, Args>
where
    Args: Arguments + 'static,
    F: Function<Args> + 'static,
{
    Checkpoint {
        function: Rc::new(function),
        made_at: Location::caller(),
        of: PhantomData,
    }
}

/// What [`checkpoint`] gives.
pub struct Checkpoint<F, Args> {
    function: Rc<F>,
    /// WithOp by errors when another transform calls this function.
    made_at: &'static Location<'static>,
    of: PhantomData<fn(Args)>,
}

impl<Args, F> Checkpoint<F, Args>
where
    Args: Arguments + 'static,
    F: Function<Args> + 'static,
{
    /// Returns the function's output. Nothing runs until [`eval`](crate::eval()).
    ///
    /// # Errors
    /// When the function returns one, or gives no arrays.
    ///
    /// # Panics
    /// When the function does.
    #[track_caller]
    pub fn call(&self, args: Args::Refs<'_>) -> Result<F::Output> {
        self.call_at(args, Location::caller())
    }

    fn call_at(&self, args: Args::Refs<'_>, at: &'static Location<'static>) -> Result<F::Output> {
        let output = Rc::new(Form::default());
        let flat = flat(Rc::clone(&self.function), args, Rc::clone(&output));
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
    F: Function<Args> + 'static,
{
    let like = form(&Args::map_refs(args, &mut Array::clone));
    Rc::new(move |arrays: &[Array]| run(&*function, like.refs(), &output, arrays))
}

impl<Args, F> Function<Args> for Checkpoint<F, Args>
where
    Args: Arguments + 'static,
    F: Function<Args> + 'static,
{
    type Output = F::Output;

    fn apply_refs(&self, args: Args::Refs<'_>) -> std::result::Result<Self::Output, BoxedError> {
        self.call_at(args, self.made_at).map_err(Error::into)
    }
}

impl<F, Args> Clone for Checkpoint<F, Args> {
    fn clone(&self) -> Self {
        Self {
            function: Rc::clone(&self.function),
            made_at: self.made_at,
            of: PhantomData,
        }
    }
}

impl<F, Args> fmt::Debug for Checkpoint<F, Args> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checkpoint({})", std::any::type_name::<F>())
    }
}

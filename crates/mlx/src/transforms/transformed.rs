//! What transforms give: functions that are called as functions are.

use std::cell::OnceCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::Location;
use std::rc::Rc;

use super::{Argnums, Nth};
use crate::tree::{Arguments, BoxedError, Callee, Function};
use crate::{Array, Error, Result, Tree};

/// What [`grad`](crate::grad) and other transforms give: a function of references to `Args` with a `Result` of `Output`.
///
/// It is called as a function, `f(&x, &y)`, or by [`call`](Self::call), whose errors name the line of the call.
///
/// ```
/// use mlx::{Array, array, transforms::Transformed, value_and_grad};
///
/// # fn main() -> mlx::Result<()> {
/// let target = array!([1.0, 2.0]);
/// let loss = |w: &Array, x: &Array| (w * x - &target).square().sum(());
/// let step: Transformed<(Array, Array), (Array, Array)> = value_and_grad(loss);
/// let (value, gradient) = step(&array!([1.0, 1.0]), &array!([3.0, 2.0]))?;
/// assert_eq!((value.item::<f32>()?, gradient.to_vec::<f32>()?), (4.0, vec![12.0, 0.0]));
/// # Ok(())
/// # }
/// ```
pub struct Transformed<'f, Args: Arguments + 'f, Output: 'f> {
    applied: Applied<'f, Args, Output>,
    /// What this dereferences to, made when it does for the first time.
    callable: OnceCell<Box<Args::Callable<'f, Result<Output>>>>,
}

/// What stands behind a [`Transformed`]: a function with its transform.
pub trait Apply<Args: Arguments, Output> {
    /// Applies it.
    ///
    /// # Errors
    /// As [`Transformed::call`]; they name the line `at`.
    fn apply_at(&self, args: Args::Refs<'_>, at: &'static Location<'static>) -> Result<Output>;

    /// Applies it with the gradients of other arguments, those with these numbers; the gradients in the output mean
    /// nothing then.
    ///
    /// # Errors
    /// As [`Transformed::call`], and when this takes no gradients.
    fn apply_by(
        &self,
        args: Args::Refs<'_>,
        argnums: &[usize],
        at: &'static Location<'static>,
    ) -> Result<(Output, GradsByNumber)> {
        let _ = (args, argnums);
        let message = "wanted what `grad` or `value_and_grad` gives, got another transform";
        Err(Error::op("argnums", message).at(at))
    }
}

/// The gradients of arguments, by the argument's number.
pub type GradsByNumber = Vec<(usize, Vec<Array>)>;

struct Applied<'f, Args, Output> {
    apply: Rc<dyn Apply<Args, Output> + 'f>,
    /// What errors name when this is not called by [`Transformed::call`].
    made_at: &'static Location<'static>,
}

impl<'f, Args: Arguments + 'f, Output: 'f> Transformed<'f, Args, Output> {
    /// Returns the function that applies this; errors of calls that are not by [`call`](Self::call) name this line.
    #[track_caller]
    pub fn new(apply: impl Apply<Args, Output> + 'f) -> Self {
        Self::made_at(apply, Location::caller())
    }

    pub(super) fn made_at(
        apply: impl Apply<Args, Output> + 'f,
        made_at: &'static Location<'static>,
    ) -> Self {
        Self::of(Applied {
            apply: Rc::new(apply),
            made_at,
        })
    }

    fn of(applied: Applied<'f, Args, Output>) -> Self {
        Self {
            applied,
            callable: OnceCell::new(),
        }
    }

    /// Returns the gradient by other arguments, as Python's `argnums`: `grad(f).argnums([0, 2])` is
    /// [`grad_of(f, [0, 2])`](crate::grad_of), `value_and_grad(f).argnums(1)` is
    /// [`value_and_grad_of(f, 1)`](crate::value_and_grad_of).
    ///
    /// ```
    /// use mlx::{Array, array, grad, value_and_grad};
    ///
    /// # fn main() -> mlx::Result<()> {
    /// let area = |a: &Array, b: &Array| a * b;
    /// let (by_a, by_b) = grad(area).argnums([0, 1])(&array!(2.0), &array!(3.0))?;
    /// assert_eq!((by_a.item::<f32>()?, by_b.item::<f32>()?), (3.0, 2.0));
    /// let (value, by_b) = value_and_grad(area).argnums(1)(&array!(2.0), &array!(3.0))?;
    /// assert_eq!((value.item::<f32>()?, by_b.item::<f32>()?), (6.0, 2.0));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    #[must_use]
    pub fn argnums<N, Kind>(self, argnums: N) -> Transformed<'f, Args, Output::ByArgnums>
    where
        N: Argnums<Args> + 'f,
        Kind: 'f,
        Output: OfArgnums<Args, N, Kind>,
    {
        let by_argnums = ByArgnums::<_, _, _, Kind> {
            applied: self.applied,
            argnums,
            kind: PhantomData,
        };
        Transformed::new(by_argnums)
    }

    /// Returns the gradient by another argument: [`argnums`](Self::argnums) of one.
    #[track_caller]
    #[must_use]
    pub fn argnum<N, Kind>(self, argnum: N) -> Transformed<'f, Args, Output::ByArgnums>
    where
        N: Argnums<Args> + 'f,
        Kind: 'f,
        Output: OfArgnums<Args, N, Kind>,
    {
        self.argnums(argnum)
    }

    /// Calls the function: `f.call(&x)`, `f.call((&x, &y))`. Nothing runs until [`eval`](crate::eval()).
    ///
    /// # Errors
    /// When the function returns one or gives what the transform cannot take, or MLX cannot transform an operation.
    ///
    /// # Panics
    /// When the function does.
    #[track_caller]
    pub fn call(&self, args: Args::Refs<'_>) -> Result<Output> {
        self.call_at(args, Location::caller())
    }

    /// Calls the function; errors name the line `at`.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_at(&self, args: Args::Refs<'_>, at: &'static Location<'static>) -> Result<Output> {
        self.applied.apply.apply_at(args, at)
    }
}

/// The output of a gradient, by other arguments than the first. `Kind` is inferred.
#[diagnostic::on_unimplemented(
    message = "`argnums` is for what `grad` or `value_and_grad` gives, got a function that gives `{Self}`"
)]
pub trait OfArgnums<Args: Arguments, N: Argnums<Args>, Kind> {
    /// The output with the gradients of other arguments.
    type ByArgnums;

    /// Puts other gradients in the place of those that are there.
    fn by_argnums(self, grads: N::Grads) -> Self::ByArgnums;
}

/// The kind of what [`grad`](crate::grad) gives.
pub struct GradKind;

/// The kind of what [`value_and_grad`](crate::value_and_grad) gives.
pub struct ValueAndGradKind;

impl<A, Args: Nth<0, Arg = A>, N: Argnums<Args>> OfArgnums<Args, N, GradKind> for A {
    type ByArgnums = N::Grads;

    fn by_argnums(self, grads: N::Grads) -> N::Grads {
        grads
    }
}

impl<V, A, Args: Nth<0, Arg = A>, N: Argnums<Args>> OfArgnums<Args, N, ValueAndGradKind>
    for (V, A)
{
    type ByArgnums = (V, N::Grads);

    fn by_argnums(self, grads: N::Grads) -> (V, N::Grads) {
        (self.0, grads)
    }
}

/// A gradient by these arguments.
struct ByArgnums<'f, Args, Output, N, Kind> {
    applied: Applied<'f, Args, Output>,
    argnums: N,
    kind: PhantomData<Kind>,
}

impl<Args, Output, N, Kind> Apply<Args, Output::ByArgnums> for ByArgnums<'_, Args, Output, N, Kind>
where
    Args: Arguments,
    N: Argnums<Args>,
    Output: OfArgnums<Args, N, Kind>,
{
    fn apply_at(
        &self,
        args: Args::Refs<'_>,
        at: &'static Location<'static>,
    ) -> Result<Output::ByArgnums> {
        let numbers = self.argnums.numbers()?;
        let (output, mut by_number) = self.applied.apply.apply_by(args, &numbers, at)?;
        let grads = grads(&self.argnums, args, &mut by_number)?;
        Ok(output.by_argnums(grads))
    }
}

/// Returns gradients in the form of the arguments.
pub(super) fn grads<Args: Arguments, N: Argnums<Args>>(
    argnums: &N,
    args: Args::Refs<'_>,
    by_number: &mut GradsByNumber,
) -> Result<N::Grads> {
    argnums.grads(args, &mut |number| {
        let found = by_number.iter_mut().find(|(one, _)| *one == number);
        found
            .map(|(_, arrays)| std::mem::take(arrays))
            .unwrap_or_default()
    })
}

impl<'f, Args: Arguments + 'f, Output: 'f> Deref for Transformed<'f, Args, Output> {
    type Target = Args::Callable<'f, Result<Output>>;

    fn deref(&self) -> &Self::Target {
        self.callable
            .get_or_init(|| Args::callable(self.applied.clone()))
    }
}

impl<Args: Arguments, Output> Callee<Args, Result<Output>> for Applied<'_, Args, Output> {
    fn call_refs(&self, args: Args::Refs<'_>) -> Result<Output> {
        self.apply.apply_at(args, self.made_at)
    }
}

impl<Args: Arguments, Output: Tree> Function<Args> for Transformed<'_, Args, Output> {
    type Output = Output;

    fn apply_refs(&self, args: Args::Refs<'_>) -> std::result::Result<Output, BoxedError> {
        self.applied.call_refs(args).map_err(Error::into)
    }
}

impl<Args, Output> Clone for Applied<'_, Args, Output> {
    fn clone(&self) -> Self {
        Self {
            apply: Rc::clone(&self.apply),
            made_at: self.made_at,
        }
    }
}

impl<Args: Arguments, Output> Clone for Transformed<'_, Args, Output> {
    fn clone(&self) -> Self {
        Self::of(self.applied.clone())
    }
}

impl<Args: Arguments, Output> fmt::Debug for Transformed<'_, Args, Output> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types = std::any::type_name::<(Args, Output)>();
        write!(f, "Transformed<{types}>, made at {}", self.applied.made_at)
    }
}

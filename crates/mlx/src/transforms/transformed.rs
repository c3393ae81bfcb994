//! What transforms give: functions that are called as functions are.

use std::cell::OnceCell;
use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::rc::Rc;

use crate::tree::{Arguments, BoxedError, Callee, Function};
use crate::{Error, Result, Tree};

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
}

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

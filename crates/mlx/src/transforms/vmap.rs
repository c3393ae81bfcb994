//! A function over one more axis than it was written for.

use std::cell::OnceCell;
use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::rc::Rc;

use super::Transform;
use super::call::{split, transformed};
use super::checks::wrong;
use crate::tree::{Arguments, BoxedError, Callee, Function};
use crate::{Axes, Error, Result, Tree};

/// Returns the function that applies `function` along an axis of its arguments, the first unless said otherwise.
///
/// ```
/// use mlx::{Array, array, vmap};
///
/// # fn main() -> mlx::Result<()> {
/// let dot = |x: &Array, y: &Array| (x * y).sum(());
/// let rows = array!([[1.0, 2.0], [3.0, 4.0]]);
/// let dots = vmap(dot).in_axes([Some(0), None])(&rows, &array!([1.0, 10.0]))?;
/// assert_eq!(dots.to_vec::<f32>()?, [21.0, 43.0]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn vmap<'f, Args, F>(function: F) -> Vmap<'f, Args, F::Output>
where
    Args: Arguments + 'f,
    F: Function<Args> + 'f,
{
    Vmap::of(Applied {
        function: Rc::new(function),
        in_axes: vec![Some(0)],
        out_axes: vec![0],
        made_at: Location::caller(),
    })
}

/// What [`vmap`] gives: a function that is called as one, or by [`call`](Self::call), whose errors name the line of the
/// call.
pub struct Vmap<'f, Args: Arguments + 'f, Output: 'f> {
    applied: Applied<'f, Args, Output>,
    /// What this dereferences to, made when it does for the first time.
    callable: OnceCell<Box<Args::Callable<'f, Result<Output>>>>,
}

struct Applied<'f, Args, Output> {
    function: Rc<dyn Function<Args, Output = Output> + 'f>,
    in_axes: Vec<Option<i32>>,
    out_axes: Vec<i32>,
    /// What errors name when this is not called by [`Vmap::call`].
    made_at: &'static Location<'static>,
}

impl<'f, Args: Arguments + 'f, Output: Tree + 'f> Vmap<'f, Args, Output> {
    fn of(applied: Applied<'f, Args, Output>) -> Self {
        Self {
            applied,
            callable: OnceCell::new(),
        }
    }

    /// Sets the axis of each argument; one for all of them when there is one.
    ///
    /// It is the axis of every array in the argument. None stands for an argument that is the same for every element.
    /// Negative ones count from the end.
    #[must_use]
    pub fn in_axes(self, axes: impl Into<Vec<Option<i32>>>) -> Self {
        Self::of(Applied {
            in_axes: axes.into(),
            ..self.applied
        })
    }

    /// Sets where the axis goes in each array of the output; one for all of them when there is one.
    #[must_use]
    pub fn out_axes(self, axes: impl Into<Axes>) -> Self {
        let out_axes = match axes.into() {
            Axes::All => vec![0],
            Axes::Some(axes) => axes,
        };
        Self::of(Applied {
            out_axes,
            ..self.applied
        })
    }

    /// Returns the function's outputs for all elements. Nothing runs until [`eval`](crate::eval()).
    ///
    /// # Errors
    /// When the function returns one or asks for values, axes are out of range or of different sizes, or MLX cannot
    /// vectorize an operation.
    ///
    /// # Panics
    /// When the function does.
    #[track_caller]
    pub fn call(&self, args: Args::Refs<'_>) -> Result<Output> {
        self.applied.call_at(args, Location::caller())
    }
}

impl<'f, Args: Arguments + 'f, Output: Tree + 'f> Deref for Vmap<'f, Args, Output> {
    type Target = Args::Callable<'f, Result<Output>>;

    fn deref(&self) -> &Self::Target {
        self.callable
            .get_or_init(|| Args::callable(self.applied.clone()))
    }
}

impl<Args: Arguments, Output: Tree> Applied<'_, Args, Output> {
    fn call_at(&self, args: Args::Refs<'_>, at: &'static Location<'static>) -> Result<Output> {
        let transform = Transform::Vmap {
            in_axes: self.axes_of_arrays(&Args::counts(args), at)?,
            out_axes: self.out_axes.clone(),
        };
        let (output, results) = transformed(&transform, &*self.function, args, &[], at)?;
        split(&output, &mut results.into_iter())
    }

    /// Returns the axis of each array of the arguments, which have `counts` arrays.
    fn axes_of_arrays(
        &self,
        counts: &[usize],
        at: &'static Location<'static>,
    ) -> Result<Vec<Option<i32>>> {
        if self.in_axes.len() != counts.len() && self.in_axes.len() != 1 {
            let message = format!(
                "wanted an axis for each of {} arguments, got {}",
                counts.len(),
                self.in_axes.len()
            );
            let transform = Transform::Vmap {
                in_axes: self.in_axes.clone(),
                out_axes: self.out_axes.clone(),
            };
            return Err(wrong(&transform, message, &[], at));
        }
        let each = counts.iter().zip(self.in_axes.iter().cycle());
        Ok(each
            .flat_map(|(&count, &axis)| std::iter::repeat_n(axis, count))
            .collect())
    }
}

impl<Args: Arguments, Output: Tree> Callee<Args, Result<Output>> for Applied<'_, Args, Output> {
    fn call_refs(&self, args: Args::Refs<'_>) -> Result<Output> {
        self.call_at(args, self.made_at)
    }
}

impl<Args, Output> Clone for Applied<'_, Args, Output> {
    fn clone(&self) -> Self {
        Self {
            function: Rc::clone(&self.function),
            in_axes: self.in_axes.clone(),
            out_axes: self.out_axes.clone(),
            made_at: self.made_at,
        }
    }
}

impl<Args: Arguments, Output: Tree> Function<Args> for Vmap<'_, Args, Output> {
    type Output = Output;

    fn apply_refs(&self, args: Args::Refs<'_>) -> std::result::Result<Output, BoxedError> {
        self.applied.call_refs(args).map_err(Error::into)
    }
}

impl<Args: Arguments, Output> fmt::Debug for Vmap<'_, Args, Output> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types = std::any::type_name::<(Args, Output)>();
        write!(f, "Vmap<{types}>, made at {}", self.applied.made_at)
    }
}

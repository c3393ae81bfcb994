//! A function over one more axis than it was written for.

use std::cell::OnceCell;
use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::rc::Rc;

use super::call::{split, transformed};
use super::checks::wrong;
use super::{Apply, InAxes, Transform, Transformed};
use crate::tree::{Arguments, BoxedError, Function};
use crate::{Axes, Result, Tree};

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
    Vmap::of(
        Axed {
            function: Rc::new(function),
            in_axes: vec![Some(0)],
            out_axes: vec![0],
        },
        Location::caller(),
    )
}

/// What [`vmap`] gives: a [`Transformed`] function whose axes can be set.
pub struct Vmap<'f, Args: Arguments + 'f, Output: 'f> {
    axed: Axed<'f, Args, Output>,
    made_at: &'static Location<'static>,
    /// The function along these axes, made when it is called for the first time.
    transformed: OnceCell<Transformed<'f, Args, Output>>,
}

/// A function and the axes that it is applied along.
struct Axed<'f, Args, Output> {
    function: Rc<dyn Function<Args, Output = Output> + 'f>,
    in_axes: Vec<Option<i32>>,
    out_axes: Vec<i32>,
}

impl<'f, Args: Arguments + 'f, Output: Tree + 'f> Vmap<'f, Args, Output> {
    fn of(axed: Axed<'f, Args, Output>, made_at: &'static Location<'static>) -> Self {
        Self {
            axed,
            made_at,
            transformed: OnceCell::new(),
        }
    }

    /// Sets the axis of each argument; one for all of them when there is one: `0`, `(0, 1)`, `[Some(0), None]`.
    ///
    /// It is the axis of every array in the argument. None stands for an argument that is the same for every element.
    /// Negative ones count from the end.
    #[must_use]
    pub fn in_axes(self, axes: impl InAxes) -> Self {
        let in_axes = axes.into_axes();
        Self::of(
            Axed {
                in_axes,
                ..self.axed
            },
            self.made_at,
        )
    }

    /// Sets where the axis goes in each array of the output; one for all of them when there is one.
    #[must_use]
    pub fn out_axes(self, axes: impl Into<Axes>) -> Self {
        let out_axes = match axes.into() {
            Axes::All => vec![0],
            Axes::Some(axes) => axes,
        };
        Self::of(
            Axed {
                out_axes,
                ..self.axed
            },
            self.made_at,
        )
    }
}

impl<'f, Args: Arguments + 'f, Output: Tree + 'f> Deref for Vmap<'f, Args, Output> {
    type Target = Transformed<'f, Args, Output>;

    fn deref(&self) -> &Self::Target {
        let made = || Transformed::made_at(self.axed.clone(), self.made_at);
        self.transformed.get_or_init(made)
    }
}

impl<Args: Arguments, Output: Tree> Apply<Args, Output> for Axed<'_, Args, Output> {
    fn apply_at(&self, args: Args::Refs<'_>, at: &'static Location<'static>) -> Result<Output> {
        let transform = Transform::Vmap {
            in_axes: self.axes_of_arrays(&Args::counts(args), at)?,
            out_axes: self.out_axes.clone(),
        };
        let (output, results) = transformed(&transform, &*self.function, args, &[], at)?;
        split(&output, &mut results.into_iter())
    }
}

impl<Args, Output> Axed<'_, Args, Output> {
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

impl<Args, Output> Clone for Axed<'_, Args, Output> {
    fn clone(&self) -> Self {
        Self {
            function: Rc::clone(&self.function),
            in_axes: self.in_axes.clone(),
            out_axes: self.out_axes.clone(),
        }
    }
}

impl<Args: Arguments, Output: Tree> Function<Args> for Vmap<'_, Args, Output> {
    type Output = Output;

    fn apply_refs(&self, args: Args::Refs<'_>) -> std::result::Result<Output, BoxedError> {
        (**self).apply_refs(args)
    }
}

impl<Args: Arguments, Output: Tree> fmt::Debug for Vmap<'_, Args, Output> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vmap of {:?}", **self)
    }
}

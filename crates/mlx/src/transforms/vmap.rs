//! A function over one more axis than it was written for.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;

use super::Transform;
use super::call::{split, transformed};
use super::checks::wrong;
use crate::tree::{Arguments, BoxedError, Function};
use crate::{Axes, Error, Result};

/// Returns the function that applies `function` along an axis of its arguments, the first unless said otherwise.
///
/// ```
/// use mlx::{Array, array, vmap};
///
/// # fn main() -> mlx::Result<()> {
/// let dot = |x: &Array, y: &Array| (x * y).sum(());
/// let rows = array!([[1.0, 2.0], [3.0, 4.0]]);
/// let dots = vmap(dot).in_axes([Some(0), None]).call((&rows, &array!([1.0, 10.0])))?;
/// assert_eq!(dots.to_vec::<f32>()?, [21.0, 43.0]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn vmap<Args: Arguments, F: Function<Args>>(function: F) -> Vmap<F, Args> {
    Vmap {
        function,
        in_axes: vec![Some(0)],
        out_axes: vec![0],
        made: Location::caller(),
        of: PhantomData,
    }
}

/// What [`vmap`] gives.
pub struct Vmap<F, Args> {
    function: F,
    in_axes: Vec<Option<i32>>,
    out_axes: Vec<i32>,
    /// What errors name where this is called by another transform, and not by the program.
    made: &'static Location<'static>,
    of: PhantomData<fn(Args)>,
}

impl<Args: Arguments, F: Function<Args>> Vmap<F, Args> {
    /// Sets the axis of each argument; one for all of them when there is one.
    ///
    /// It is the axis of every array in the argument. None stands for an argument that is the same for every element.
    /// Negative ones count from the end.
    #[must_use]
    pub fn in_axes(mut self, axes: impl Into<Vec<Option<i32>>>) -> Self {
        self.in_axes = axes.into();
        self
    }

    /// Sets where the axis goes in each array of the output; one for all of them when there is one.
    #[must_use]
    pub fn out_axes(mut self, axes: impl Into<Axes>) -> Self {
        self.out_axes = match axes.into() {
            Axes::All => vec![0],
            Axes::Some(axes) => axes,
        };
        self
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
    pub fn call(&self, args: Args::Refs<'_>) -> Result<F::Output> {
        self.call_at(args, Location::caller())
    }

    fn call_at(&self, args: Args::Refs<'_>, at: &'static Location<'static>) -> Result<F::Output> {
        let transform = Transform::Vmap {
            in_axes: self.axes_of_arrays(&Args::counts(args), at)?,
            out_axes: self.out_axes.clone(),
        };
        let (output, results) = transformed(&transform, &self.function, args, &[], at)?;
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

impl<Args: Arguments, F: Function<Args>> Function<Args> for Vmap<F, Args> {
    type Output = F::Output;

    fn apply_refs(&self, args: Args::Refs<'_>) -> std::result::Result<Self::Output, BoxedError> {
        self.call_at(args, self.made).map_err(Error::into)
    }
}

impl<F, Args> fmt::Debug for Vmap<F, Args> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vmap({})", std::any::type_name::<F>())
    }
}

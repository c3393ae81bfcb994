//! The array: a handle of MLX's, a value of a function being traced, or a computation that failed.

mod constants;
mod create;
mod display;
mod element_cast;
mod keywords;
#[cfg(feature = "ndarray")]
mod ndarray;
mod operand;
mod read;
mod recorder;
mod rows;
mod shape;
pub(crate) mod trace;

pub use create::IntoArray;
pub(crate) use operand::pair;
pub use operand::{Operand, Scalar};
pub(crate) use recorder::Traced;
pub use recorder::{
    FlatFunction, FlatVmapRule, OpCall, Recorder, Transform, TransformCall, VmapRule,
};
pub use rows::RowIter;

use std::panic::Location;
use std::rc::Rc;

use crate::ffi::Handle;
use crate::{Error, Result};

/// An n-dimensional array of one dtype, computed when it is needed.
///
/// Operations only build a graph; [`eval`](crate::eval()), [`item`](Self::item) or
/// [`to_vec`](Self::to_vec) run it. Cloning shares the array and costs next to nothing.
///
/// An array is one of three things: a handle of MLX's; a value of a function that is being traced; or a
/// computation that failed when it was built, carrying its first error. So operators and methods never panic
/// and need no `?`; whatever reads a value or a shape returns [`Result`] and reports that first error.
///
/// Neither `Send` nor `Sync`: MLX evaluates without locks, and streams belong to threads. Evaluated values go to
/// other threads as [`SharedArray`](crate::SharedArray).
///
/// ```compile_fail,E0277
/// let x = mlx::array!([1.0, 2.0]);
/// std::thread::spawn(move || x.eval()); // the trait `Send` is not implemented
/// ```
///
/// Arrays are not compared with `==`, which would have to compute them: there are [`equal`](Self::equal), one answer
/// for each element, and [`array_equal`](Self::array_equal), one for all.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let x = mlx::Array::from_slice(&[1.0_f32, 2.0, 3.0], [3])?;
/// let y = (&x * 2.0 + 1.0).sum(());
/// assert_eq!(y.item::<f32>()?, 15.0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "an array is lazy: nothing has been computed yet"]
pub struct Array {
    pub(crate) state: State,
}

/// The three things an array can be.
#[derive(Clone)]
pub(crate) enum State {
    /// An array of MLX's.
    Ready(Rc<Handle>),
    /// A value of a function being traced.
    Traced(Traced),
    /// The first error of a computation that could not be built.
    Failed(Rc<Error>),
}

impl AsRef<Array> for Array {
    fn as_ref(&self) -> &Array {
        self
    }
}

impl Array {
    pub(crate) fn from_state(state: State) -> Self {
        Self { state }
    }

    pub(crate) fn from_handle(handle: Handle) -> Self {
        Self {
            state: State::Ready(Rc::new(handle)),
        }
    }

    /// Returns an array that carries `error`, as an operation that rejects its inputs does.
    pub fn failed(error: Error) -> Self {
        Self {
            state: State::Failed(Rc::new(error)),
        }
    }

    /// Returns the array, or the error it carries.
    pub fn from_result(result: Result<Array>) -> Self {
        result.unwrap_or_else(Self::failed)
    }

    /// Returns the error this array carries, if it could not be built.
    pub fn error(&self) -> Option<&Error> {
        match &self.state {
            State::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// Returns `self`, or the error it carries.
    ///
    /// # Errors
    /// When the array could not be built.
    pub fn checked(self) -> Result<Self> {
        match &self.state {
            State::Failed(error) => Err(error.as_ref().clone()),
            _ => Ok(self),
        }
    }

    /// Returns the handle that knows this array's shape and dtype: its own, or its shadow's.
    pub(crate) fn typed(&self) -> Result<&Handle> {
        match &self.state {
            State::Ready(handle) => Ok(handle),
            State::Traced(traced) => Ok(&traced.shadow),
            State::Failed(error) => Err(error.as_ref().clone()),
        }
    }

    /// Returns the handle whose values can be computed; a traced array that depends on inputs has none.
    #[track_caller]
    pub(crate) fn handle(&self, op: &'static str) -> Result<&Rc<Handle>> {
        match &self.state {
            State::Ready(handle)
            | State::Traced(Traced {
                known: true,
                shadow: handle,
                ..
            }) => match handle.failure() {
                None => Ok(handle),
                Some(fault) => Err(Error::from_native(op, fault.clone())),
            },
            State::Traced(_) => Err(Error::Traced {
                op,
                hint: "; return it instead, or use cond, while_loop or scan",
                at: Location::caller(),
            }),
            State::Failed(error) => Err(error.as_ref().clone()),
        }
    }
}

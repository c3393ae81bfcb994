//! Values out of an array: always evaluated, as their own type or as one that holds every value.

use std::panic::Location;
use std::rc::Rc;

use super::{Array, element_cast};
use crate::dtype::FromElement;
use crate::error::WithOp;
use crate::ffi::{self, Handle, data, stream, table};
use crate::op::Op;
use crate::{ArrayType, Element, Error, Result, validate};

impl Array {
    /// Computes this array and waits for it.
    ///
    /// # Errors
    /// When the array, or anything it depends on, could not be built or computed, or is being traced.
    #[track_caller]
    pub fn eval(&self) -> Result<()> {
        let handle = self.handle("eval")?;
        ffi::eval::eval([handle.as_ref()]).with_op("eval")
    }

    /// Computes this array and returns its only element, widened where the dtype is another: see [`FromElement`].
    ///
    /// # Errors
    /// When it has another number of elements, `T` cannot hold the element exactly, or it could not be computed.
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// let best = mlx::array!([0.1, 0.7, 0.2]).argmax(());
    /// assert_eq!(best.item::<usize>()?, 1); // of uint32
    /// assert_eq!(mlx::array!(1.5).astype(mlx::bfloat16).item::<f32>()?, 1.5);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn item<T: FromElement>(&self) -> Result<T> {
        let handle = self.contiguous_handle("item")?;
        if handle.size() != 1 {
            return Err(Error::op(
                "item",
                format!("wanted one element, got shape {:?}", handle.shape()),
            ));
        }
        let elements = element_cast::elements("item", &handle)?;
        let missing = || Error::op("item", "wanted one element, got none");
        elements.first().copied().ok_or_else(missing)
    }

    /// Computes this array and returns a copy of its elements in row-major order, widened where the dtype is another: see
    /// [`FromElement`].
    ///
    /// # Errors
    /// When `T` cannot hold an element exactly, or the array could not be computed.
    #[track_caller]
    pub fn to_vec<T: FromElement>(&self) -> Result<Vec<T>> {
        element_cast::elements("to_vec", &*self.contiguous_handle("to_vec")?)
    }

    /// Returns what [`to_vec`](Self::to_vec) does: one list of all elements, where Python nests lists for several axes.
    ///
    /// # Errors
    /// As [`to_vec`](Self::to_vec).
    #[track_caller]
    pub fn tolist<T: FromElement>(&self) -> Result<Vec<T>> {
        self.to_vec()
    }

    /// Computes this array and returns its elements without a copy.
    ///
    /// # Errors
    /// When it is not row-contiguous (a transpose, a broadcast: call [`contiguous`](Self::contiguous) first), has
    /// another dtype than `T`, or could not be computed.
    #[track_caller]
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        self.check_dtype::<T>("as_slice")?;
        self.eval()?;
        data::as_slice(self.handle("as_slice")?).with_op("as_slice")
    }

    #[track_caller]
    fn check_dtype<T: Element>(&self, op: &'static str) -> Result<()> {
        let got = self.handle(op)?.dtype();
        if got == T::DTYPE {
            Ok(())
        } else {
            Err(Error::Dtype {
                op,
                wanted: T::DTYPE,
                got,
            })
        }
    }

    /// Computes this array and gives its bytes in row-major order to `read`.
    #[track_caller]
    pub(crate) fn with_bytes<T>(
        &self,
        op: &'static str,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<T> {
        let handle = self.contiguous_handle(op)?;
        data::bytes(&handle).with_op(op).map(read)
    }

    /// Returns an evaluated, row-contiguous handle to the same values.
    #[track_caller]
    fn contiguous_handle(&self, op: &'static str) -> Result<Rc<Handle>> {
        // Before it is computed: what has no value is the caller's operation's error.
        let handle = self.handle(op)?;
        self.eval()?;
        if handle.size() == 0 || handle.is_row_contiguous().with_op(op)? {
            return Ok(Rc::clone(handle));
        }
        let op_contiguous = Op::Contiguous {
            allow_col_major: false,
        };
        let copy = validate::check(&op_contiguous, &[handle])
            .and_then(|()| table::one(&op_contiguous, &[handle], stream::current()?))
            .map_err(|error| {
                let inputs = vec![ArrayType::of(handle)];
                let (name, at) = (op_contiguous.name(), Location::caller());
                Error::native_at(name, &error, inputs, at)
            })?;
        let copy = Array::from_handle(copy);
        copy.eval()?;
        copy.handle(op).map(Rc::clone)
    }
}

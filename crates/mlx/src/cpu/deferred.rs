//! A function of arrays as one operation of a traced function, which chooses its kernels when the graph runs.

use std::any::Any;
use std::rc::Rc;

use super::custom::HostKernel;
use crate::array::trace::without_recording;
use crate::ffi::custom::{self, CustomCall};
use crate::ffi::table::Outputs;
use crate::ffi::{Handle, NativeError, exporting};
use crate::op::{Op, OpFlags};
use crate::{Array, Result, bind_all};

type Function = dyn Fn(&[Array]) -> Result<Vec<Array>>;

/// Applies a function to arrays. While a function is traced, it is recorded as one operation of this name, and applied
/// again whenever the graph runs, to the arrays of that time.
///
/// So it chooses as in an eager call: by the device, and by whether gradients are taken of its inputs. It must be a function
/// of its inputs alone, of any sizes, that is, capture no arrays and no sizes, and give the same types whatever it chooses.
///
/// # Errors
/// When the function fails, or an input carries an error.
#[doc(hidden)]
#[track_caller]
pub fn deferred(
    name: &'static str,
    inputs: &[&Array],
    function: impl Fn(&[Array]) -> Result<Vec<Array>> + 'static,
) -> Result<Vec<Array>> {
    let deferred = Deferred {
        name,
        function: Rc::new(function),
    };
    bind_all(Op::Custom(custom::operation(deferred)), inputs)
}

/// Applies what a custom operation computes in operations of the table: the function that [`deferred`] was given, with no kernels
/// of this crate, or the composed form of a host kernel. `None` for an operation that has neither.
///
/// # Errors
/// When the function fails.
#[doc(hidden)]
pub fn expand(op: &Op, inputs: &[&Array]) -> Option<Result<Vec<Array>>> {
    let Op::Custom(operation) = op else {
        return None;
    };
    let inputs: Vec<Array> = inputs.iter().map(|input| (*input).clone()).collect();
    if let Some(deferred) = custom::call_of::<Deferred>(operation) {
        return Some(exporting::without_kernels(|| (deferred.function)(&inputs)));
    }
    let kernel = custom::call_of::<HostKernel>(operation)?;
    let composed = kernel.composed_form()?;
    Some(Ok(exporting::without_kernels(|| composed(&inputs))))
}

struct Deferred {
    name: &'static str,
    function: Rc<Function>,
}

impl CustomCall for Deferred {
    fn name(&self) -> &str {
        self.name
    }

    fn call(&self, inputs: &[&Handle]) -> std::result::Result<Outputs, NativeError> {
        let failed = |error: crate::Error| NativeError(error.to_string());
        let inputs: std::result::Result<Vec<Array>, NativeError> = inputs
            .iter()
            .map(|input| input.duplicate().map(Array::from_handle))
            .collect();
        let inputs = inputs?;
        let outputs = without_recording(|| (self.function)(&inputs)).map_err(failed)?;
        let handles: std::result::Result<Vec<Handle>, NativeError> = outputs
            .iter()
            .map(|output| output.handle(self.name).map_err(failed)?.duplicate())
            .collect();
        handles.map(Outputs::Many)
    }

    fn flags(&self) -> OpFlags {
        OpFlags::SIZES_FROM_INPUTS
    }

    fn is_same(&self, other: &dyn Any) -> bool {
        other
            .downcast_ref::<Self>()
            .is_some_and(|other| Rc::ptr_eq(&self.function, &other.function))
    }
}

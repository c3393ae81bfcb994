//! How operations that a user's kernel defines are called: [`op::CustomOp`](crate::op::CustomOp) with a C call in it.

use std::any::Any;
use std::rc::Rc;

use super::handle::Handle;
use super::table::Outputs;
use crate::error::NativeError;
use crate::op::{CustomKernel, CustomOp, OpFlags};

/// A user's kernel, applied in a certain way.
pub(crate) trait CustomCall: Any {
    /// Returns the name, as it prints.
    fn name(&self) -> &str;
    /// Builds the results.
    fn call(&self, inputs: &[&Handle]) -> Result<Outputs, NativeError>;
    /// Returns whether `other` gives equal results on equal inputs, because it is the same kernel.
    fn is_same(&self, other: &dyn Any) -> bool;
    /// Returns what is known of it, as of operations of the table.
    fn flags(&self) -> OpFlags {
        OpFlags::FIXED_SIZES
    }
}

/// The only implementation of [`CustomKernel`], so that [`call`] can find the call in an operation.
struct Callable(Box<dyn CustomCall>);

impl CustomKernel for Callable {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn is_same(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<Self>().is_some_and(|other| {
            let other: &dyn Any = other.0.as_ref();
            self.0.is_same(other)
        })
    }
}

/// Returns the operation that makes a call.
pub(crate) fn operation(call: impl CustomCall) -> CustomOp {
    let flags = call.flags();
    CustomOp::new(Rc::new(Callable(Box::new(call))), flags)
}

/// Returns the call that an operation makes, if it is of this kind.
pub(crate) fn call_of<C: CustomCall>(operation: &CustomOp) -> Option<&C> {
    let callable = operation.kernel().downcast_ref::<Callable>()?;
    let call: &dyn Any = callable.0.as_ref();
    call.downcast_ref()
}

/// Builds the results of an operation made by [`operation`].
pub(crate) fn call(operation: &CustomOp, inputs: &[&Handle]) -> Result<Outputs, NativeError> {
    match operation.kernel().downcast_ref::<Callable>() {
        Some(callable) => callable.0.call(inputs),
        None => Err(NativeError::from("a custom operation without a call")),
    }
}

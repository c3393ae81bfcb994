//! Operations that are not in the table: kernels given by the user.

use std::any::Any;
use std::fmt;
use std::rc::Rc;

use crate::ffi::table::Outputs;
use crate::ffi::{Fault, Handle};

/// A user's kernel as an operation; made by [`fast::host_kernel`](crate::fast::host_kernel) and its kin.
#[derive(Clone)]
pub struct Custom(Rc<dyn CustomCall>);

/// What a custom operation does with handles.
pub(crate) trait CustomCall: Any {
    /// The name, as it prints.
    fn name(&self) -> &str;
    /// Builds the results.
    fn call(&self, inputs: &[&Handle]) -> Result<Outputs, Fault>;
    /// Whether the other gives equal results on equal inputs, because it is the same kernel.
    fn is_same(&self, other: &dyn Any) -> bool;
}

impl Custom {
    pub(crate) fn new(call: impl CustomCall) -> Self {
        Self(Rc::new(call))
    }

    pub(crate) fn name(&self) -> &str {
        self.0.name()
    }

    pub(crate) fn call(&self, inputs: &[&Handle]) -> Result<Outputs, Fault> {
        self.0.call(inputs)
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Custom({})", self.name())
    }
}

/// Two custom operations are equal when they are the same kernel, launched the same way.
impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        let other: &dyn Any = other.0.as_ref();
        self.0.is_same(other)
    }
}

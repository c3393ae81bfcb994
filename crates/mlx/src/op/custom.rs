//! Operations that are not in the table: kernels given by the user.

use std::fmt;
use std::rc::Rc;

use crate::ffi::table::Outputs;
use crate::ffi::{Fault, Handle};

/// A user's kernel as an operation; made by [`fast::host_kernel`](crate::fast::host_kernel) and its kin.
#[derive(Clone)]
pub struct Custom(Rc<dyn CustomCall>);

/// What a custom operation does with handles.
pub(crate) trait CustomCall {
    /// The name, as it prints.
    fn name(&self) -> &str;
    /// Builds the results.
    fn call(&self, inputs: &[&Handle]) -> Result<Outputs, Fault>;
}

impl Custom {
    pub(crate) fn new(call: Rc<dyn CustomCall>) -> Self {
        Self(call)
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

/// Two custom operations are equal when they are the same kernel.
impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

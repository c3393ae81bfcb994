//! Operations that are not in the table: kernels given by the user.

use std::any::Any;
use std::fmt;
use std::rc::Rc;

use super::OpFlags;

/// A user's kernel as an operation; made by [`fast::host_kernel`](crate::fast::host_kernel),
/// [`fast::metal_kernel`](crate::fast::metal_kernel) and [`fast::cuda_kernel`](crate::fast::cuda_kernel).
#[derive(Clone)]
pub struct CustomOp {
    kernel: Rc<dyn CustomKernel>,
    flags: OpFlags,
}

/// What is known of a kernel without calling it; `ffi/custom.rs` has the call.
pub(crate) trait CustomKernel: Any {
    /// Returns the name, as it prints.
    fn name(&self) -> &str;
    /// Returns whether `other` gives equal results on equal inputs, because it is the same kernel.
    fn is_same(&self, other: &dyn Any) -> bool;
}

impl CustomOp {
    pub(crate) fn new(kernel: Rc<dyn CustomKernel>, flags: OpFlags) -> Self {
        Self { kernel, flags }
    }

    pub(crate) fn name(&self) -> &str {
        self.kernel.name()
    }

    pub(crate) const fn flags(&self) -> OpFlags {
        self.flags
    }

    /// Returns the kernel, to be downcast to what calls it.
    pub(crate) fn kernel(&self) -> &dyn Any {
        self.kernel.as_ref()
    }
}

impl fmt::Debug for CustomOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CustomOp({})", self.name())
    }
}

/// Two custom operations are equal when they are the same kernel, launched the same way.
impl PartialEq for CustomOp {
    fn eq(&self, other: &Self) -> bool {
        self.kernel.is_same(other.kernel())
    }
}

//! Why something that resembles a formula is not fused.

use std::fmt;

/// What kind of difference keeps a formula from being replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RefusalKind {
    /// An intermediate value is used by something outside of the formula.
    Reused,
    /// An intermediate value is an output of the function.
    Output,
    /// The formula reduces other axes than the kernel.
    Axis,
    /// Values are rounded elsewhere than in the kernel.
    Dtype,
    /// The small number that avoids a division by zero is missing or elsewhere.
    Eps,
    /// The mask means something else, or is not proven to mean the same.
    Mask,
    /// The formula contains active dropout.
    Dropout,
    /// Shapes that the kernel does not take.
    Shape,
    /// A different formula, with results that differ by more than rounding.
    Formula,
    /// The device has no kernel for these shapes and dtypes.
    NoKernel,
    /// The device computes the formula together with elementwise operations beside it.
    Joined,
    /// The formula was measured to be faster as it was written: see [`CompileOptions::autotune`](crate::CompileOptions::autotune).
    Autotuned,
    /// The caller asked for the composed formula.
    Asked,
}

/// Why a formula was not replaced, or why its body runs instead of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of difference it is.
    pub kind: RefusalKind,
    /// The difference in words.
    pub reason: String,
}

impl Refusal {
    pub(crate) fn new(kind: RefusalKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

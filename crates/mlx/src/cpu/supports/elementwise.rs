//! Conditions of functions of elements.

use super::{Beside, MIN_ELEMENTS, MIN_ELEMENTS_SIMPLE};
use crate::Dtype;
use crate::cpu::elementwise_typed::{Form, form_of, has_kernel};
use crate::ffi::host::Layout;
use crate::op::Op;

/// Whether a kernel computes a function of elements, faster than MLX; `None` for other operations.
///
/// Inputs have the shape of the output, as MLX broadcasts them, and any strides.
pub(super) fn supports(
    beside: Beside,
    op: &Op,
    inputs: &[Layout<'_>],
    output: Layout<'_>,
) -> Option<bool> {
    let form = form_of(op)?;
    let alike = match (form, inputs) {
        (Form::Map(_) | Form::Cast, [_]) => true,
        (Form::Zip(_) | Form::Compare(_), [a, b]) => a.dtype() == b.dtype(),
        (Form::Select, [condition, yes, no]) => {
            condition.dtype() == Dtype::Bool && yes.dtype() == no.dtype()
        }
        _ => false,
    };
    let least = match form {
        Form::Map(function) if function.is_transcendental() => MIN_ELEMENTS,
        Form::Zip(function) if function.is_transcendental() => MIN_ELEMENTS,
        _ => MIN_ELEMENTS_SIMPLE,
    };
    let fits = |x: &Layout<'_>| x.shape() == output.shape();
    let dtype = inputs.last()?.dtype();
    Some(
        alike
            && output.size() >= beside.least(least)
            && inputs.iter().all(fits)
            && has_kernel(form, dtype, output.dtype()),
    )
}

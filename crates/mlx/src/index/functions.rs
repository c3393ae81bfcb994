//! Taking and putting along an axis, as functions.

use crate::{Array, Axes, Operand, Shape};

/// Functions whose other arguments are those of the method.
macro_rules! functions {
    ($($name:ident($($arg:ident: $t:ty),*);)*) => {$(
        #[doc = concat!("Returns what the method [`Array::", stringify!($name), "`] does.")]
        #[track_caller]
        pub fn $name(a: impl AsRef<Array>, $($arg: $t),*) -> Array {
            a.as_ref().$name($($arg),*)
        }
    )*};
}

functions! {
    take(indices: impl Into<Operand>, axis: impl Into<Axes>);
    take_along_axis(indices: &Array, axis: impl Into<Axes>);
    put_along_axis(indices: &Array, values: impl Into<Operand>, axis: impl Into<Axes>);
    slice_update(update: &Array, start: &Array, axes: impl Into<Axes>);
}

/// Returns what the method [`Array::slice_at`] does: Python's `slice` with the start in an array.
#[track_caller]
pub fn slice(
    a: impl AsRef<Array>,
    start: &Array,
    axes: impl Into<Axes>,
    slice_size: impl Into<Shape>,
) -> Array {
    a.as_ref().slice_at(start, axes, slice_size)
}

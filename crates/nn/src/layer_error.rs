//! Errors of layers: the name of the layer, what was wanted, and what was got.
//!
//! Layers check nothing before they compute, because reading a shape would bind a shapeless trace to it. Where an
//! operation inside rejects its inputs, its error is replaced by one in the layer's name.

use std::fmt;

use mlx::{Array, Error};

/// The size of one axis in a [`Wanted`] shape.
#[derive(Clone, Copy)]
pub(crate) enum Size {
    /// Any number of leading axes.
    Leading,
    /// An axis of any size, by its name.
    Any(&'static str),
    /// An axis of this size.
    Exactly(i32),
}

/// The shape that an input or a parameter of a layer must have.
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'static str,
    pub(crate) array: &'a Array,
    pub(crate) shape: &'a [Size],
}

impl Wanted<'_> {
    fn is_met(&self, got: &[i32]) -> bool {
        let sizes = match self.shape {
            [Size::Leading, sizes @ ..] if got.len() >= sizes.len() => sizes,
            [Size::Leading, ..] => return false,
            sizes if got.len() == sizes.len() => sizes,
            _ => return false,
        };
        let last = &got[got.len() - sizes.len()..];
        sizes.iter().zip(last).all(|(wanted, got)| match wanted {
            Size::Exactly(size) => size == got,
            Size::Leading | Size::Any(_) => true,
        })
    }

    /// Returns what is wrong with the shape, if anything is.
    fn mismatch(&self) -> Option<String> {
        let got = self.array.shape().ok()?;
        if self.is_met(&got) {
            return None;
        }
        let sizes: Vec<String> = self.shape.iter().map(ToString::to_string).collect();
        let (name, wanted) = (self.name, sizes.join(", "));
        Some(format!("{name} must be [{wanted}], got {got:?}"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Leading => f.write_str(".."),
            Size::Any(name) => f.write_str(name),
            Size::Exactly(size) => write!(f, "{size}"),
        }
    }
}

/// Returns the first of these shapes that is wrong, as a message.
pub(crate) fn first_mismatch(wanted: &[Wanted<'_>]) -> Option<String> {
    wanted.iter().find_map(Wanted::mismatch)
}

/// Returns the result `y` of a layer; an error found inside is replaced by one in the layer's name.
///
/// An error that one of the `operands` (inputs and parameters) already carried is kept. `mismatch` is called
/// only when there is an error; where it returns `None`, the message of the operation inside is kept.
#[track_caller]
pub(crate) fn in_layer<'a>(
    layer: &'static str,
    y: Array,
    operands: impl IntoIterator<Item = &'a Array>,
    mismatch: impl FnOnce() -> Option<String>,
) -> Array {
    let Some(error) = y.error() else {
        return y;
    };
    if operands.into_iter().any(|array| array.error().is_some()) {
        return y;
    }
    let message = match (mismatch(), error) {
        (Some(message), _) => message,
        (None, Error::Op(inner)) => inner.message.clone(),
        (None, _) => return y,
    };
    Array::failed(Error::op(layer, message))
}

/// Returns the size of an array's axis, or 0 where it has none.
pub(crate) fn axis_size(array: &Array, axis: i32) -> i32 {
    array.dim(axis).unwrap_or(0)
}

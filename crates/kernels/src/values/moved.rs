//! Copied, joined, padded, gathered and updated arrays.

use pulp::bytemuck::Pod;

use super::element_type::{NumberType, by_integer, elements, elements_mut};
use crate::error::{Error, Result};
use crate::indexing::{Gather, Index, gather, take_along};
use crate::strided::{
    Combinable, Combine, SliceTarget, StridedView, concatenate, pad, update_slice,
};

/// The bytes of an array with strides.
#[derive(Clone, Copy, Debug)]
pub struct StridedBytes<'a> {
    /// From the lowest element to the highest.
    pub bytes: &'a [u8],
    /// Bytes of an element.
    pub element: usize,
    /// The first element.
    pub start: usize,
    /// Sizes of the axes.
    pub shape: &'a [usize],
    /// How far apart neighbours are along each axis, in elements.
    pub strides: &'a [isize],
}

impl<'a> StridedBytes<'a> {
    /// The elements as another type of the same size.
    fn slice<T: Pod>(&self) -> Result<StridedView<'a, T>> {
        if self.element != size_of::<T>() {
            return Err(unknown_size(self.element));
        }
        StridedView::new(elements(self.bytes)?, self.start, self.shape, self.strides)
    }

    /// Copies the elements in row-major order, as [`copy_strided`](crate::copy_strided) does.
    ///
    /// # Errors
    /// When `out` has another length, or elements have not 1, 2, 4 or 8 bytes.
    pub fn copy_to(&self, out: &mut [u8]) -> Result<()> {
        match self.element {
            1 => self.slice::<[u8; 1]>()?.copy_to_bytes(out),
            2 => self.slice::<[u8; 2]>()?.copy_to_bytes(out),
            4 => self.slice::<[u8; 4]>()?.copy_to_bytes(out),
            8 => self.slice::<[u8; 8]>()?.copy_to_bytes(out),
            other => Err(unknown_size(other)),
        }
    }
}

fn unknown_size(got: usize) -> Error {
    Error::Parameter {
        op: "strided",
        what: "the size of an element",
        wanted: "1, 2, 4 or 8",
        got,
    }
}

/// Calls a function that is generic over plain values with values of this many bytes.
macro_rules! by_size {
    ($size:expr, $function:ident ( $($argument:expr),* $(,)? )) => {
        match $size {
            1 => $function::<[u8; 1]>($($argument),*),
            2 => $function::<[u8; 2]>($($argument),*),
            4 => $function::<[u8; 4]>($($argument),*),
            8 => $function::<[u8; 8]>($($argument),*),
            other => Err(unknown_size(other)),
        }
    };
}

/// Writes arrays one after the other along an axis: see [`concatenate`].
///
/// # Errors
/// When arrays do not match, or `out` has another length.
pub fn concatenate_values(parts: &[StridedBytes<'_>], axis: usize, out: &mut [u8]) -> Result<()> {
    fn of<T: Pod + Send + Sync>(
        parts: &[StridedBytes<'_>],
        axis: usize,
        out: &mut [u8],
    ) -> Result<()> {
        let parts: Vec<_> = parts
            .iter()
            .map(StridedBytes::slice::<T>)
            .collect::<Result<_>>()?;
        concatenate(&parts, axis, elements_mut(out)?)
    }
    let element = parts.first().map_or(1, |part| part.element);
    by_size!(element, of(parts, axis, out))
}

/// Writes a value around an array: see [`pad`].
///
/// # Errors
/// When the array does not fit, or a length does not match.
pub fn pad_values(
    x: &StridedBytes<'_>,
    low: &[usize],
    value: &StridedBytes<'_>,
    shape: &[usize],
    out: &mut [u8],
) -> Result<()> {
    fn of<T: Pod + Send + Sync>(
        x: &StridedBytes<'_>,
        low: &[usize],
        value: &StridedBytes<'_>,
        shape: &[usize],
        out: &mut [u8],
    ) -> Result<()> {
        let mut one = [T::zeroed()];
        value.slice::<T>()?.copy_to(&mut one)?;
        pad(&x.slice::<T>()?, low, one[0], shape, elements_mut(out)?)
    }
    by_size!(x.element, of(x, low, value, shape, out))
}

/// Writes the slices of these sizes that start at the indices along the given axes: see [`gather`].
///
/// # Errors
/// When an index is out of range, or a length does not match.
pub fn gather_values(
    x: &StridedBytes<'_>,
    indices: &[(usize, NumberType, StridedBytes<'_>)],
    sizes: &[usize],
    out: &mut [u8],
) -> Result<()> {
    fn of<T: Pod + Send + Sync>(
        x: &StridedBytes<'_>,
        indices: &[(usize, NumberType, StridedBytes<'_>)],
        slices: &mut Gather,
        out: &mut [u8],
    ) -> Result<()> {
        let x = x.slice::<T>()?;
        for (axis, of, list) in indices {
            by_integer!(
                "gather",
                *of,
                index(slices, (&x.shape, &x.strides), *axis, list)
            )?;
        }
        gather(&x, slices, elements_mut(out)?)
    }
    fn index<I: Index>(
        slices: &mut Gather,
        layout: (&[usize], &[isize]),
        axis: usize,
        list: &StridedBytes<'_>,
    ) -> Result<()> {
        slices.index(layout, axis, &list.slice::<I>()?)
    }
    let count = indices
        .first()
        .map_or(1, |(_, _, list)| list.shape.iter().product());
    let mut slices = Gather::new(count, sizes);
    by_size!(x.element, of(x, indices, &mut slices, out))
}

/// Writes the elements that indices name along an axis: see [`take_along`].
///
/// # Errors
/// When an index is out of range, or shapes do not match.
pub fn take_along_values(
    x: &StridedBytes<'_>,
    (of, indices): (NumberType, &StridedBytes<'_>),
    axis: usize,
    out: &mut [u8],
) -> Result<()> {
    fn typed<I: Index>(
        x: &StridedBytes<'_>,
        indices: &StridedBytes<'_>,
        axis: usize,
        out: &mut [u8],
    ) -> Result<()> {
        let indices = indices.slice::<I>()?;
        match x.element {
            1 => take_along(&x.slice::<[u8; 1]>()?, &indices, axis, elements_mut(out)?),
            2 => take_along(&x.slice::<[u8; 2]>()?, &indices, axis, elements_mut(out)?),
            4 => take_along(&x.slice::<[u8; 4]>()?, &indices, axis, elements_mut(out)?),
            8 => take_along(&x.slice::<[u8; 8]>()?, &indices, axis, elements_mut(out)?),
            other => Err(unknown_size(other)),
        }
    }
    by_integer!("take_along_axis", of, typed(x, indices, axis, out))
}

/// Writes an array with an update of a slice: see [`update_slice`].
///
/// # Errors
/// When the slice does not fit, or the type is not taken.
pub fn update_values(
    how: Combine,
    of: NumberType,
    x: Option<&StridedBytes<'_>>,
    update: &StridedBytes<'_>,
    target: SliceTarget<'_>,
    out: &mut [u8],
) -> Result<()> {
    fn typed<T: Combinable>(
        how: Combine,
        x: Option<&StridedBytes<'_>>,
        update: &StridedBytes<'_>,
        target: SliceTarget<'_>,
        out: &mut [u8],
    ) -> Result<()> {
        let x = x.map(StridedBytes::slice::<T>).transpose()?;
        let update = update.slice::<T>()?;
        update_slice(how, x.as_ref(), &update, target, elements_mut(out)?)
    }
    match of {
        NumberType::F32 => typed::<f32>(how, x, update, target, out),
        NumberType::F64 => typed::<f64>(how, x, update, target, out),
        NumberType::F16 | NumberType::Bf16 if how == Combine::Set => {
            typed::<u16>(how, x, update, target, out)
        }
        _ => by_integer!("slice_update", of, typed(how, x, update, target, out)),
    }
}

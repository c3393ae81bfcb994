//! Copied, joined, padded, gathered and updated arrays.

use half::{bf16, f16};
use pulp::bytemuck::{Pod, cast_slice_mut};

use super::by_type::{by_integer, elements, elements_mut};
use crate::element::Element;
use crate::element_type::ElementType;
use crate::error::{Error, Result};
use crate::indexing::{
    Gather, Index, gather, resolved, scatter, scatter_along, scatter_along_half, scatter_half,
    take_along,
};
use crate::strided::{
    Combinable, Combine, SliceTarget, StridedView, Term, concatenate, pad, row_major, update_slice,
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

/// Lets `fill` write elements of this many bytes in the order of memory of an array with these strides, which is dense, and
/// copies them to `out` in row-major order.
///
/// # Errors
/// Those of `fill`, or when `out` does not match the shape.
pub fn write_with_strides(
    element: usize,
    (shape, strides): (&[usize], &[isize]),
    out: &mut [u8],
    fill: impl FnOnce(&mut [u8]) -> Result<()>,
) -> Result<()> {
    // As words, for the alignment.
    let mut words = vec![0_u64; out.len().div_ceil(size_of::<u64>())];
    let bytes = &mut cast_slice_mut::<u64, u8>(&mut words)[..out.len()];
    fill(bytes)?;
    let view = StridedBytes {
        bytes,
        element,
        start: 0,
        shape,
        strides,
    };
    view.copy_to(out)
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

/// Calls a function that is generic over numbers with integers of this many bytes, of which only the bits matter.
macro_rules! by_bits {
    ($size:expr, $function:ident ( $($argument:expr),* $(,)? )) => {
        match $size {
            1 => $function::<u8>($($argument),*),
            2 => $function::<u16>($($argument),*),
            4 => $function::<u32>($($argument),*),
            8 => $function::<u64>($($argument),*),
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
    indices: &[(usize, ElementType, StridedBytes<'_>)],
    sizes: &[usize],
    out: &mut [u8],
) -> Result<()> {
    fn of<T: Pod + Send + Sync>(
        x: &StridedBytes<'_>,
        indices: &[(usize, ElementType, StridedBytes<'_>)],
        slices: &mut Gather,
        out: &mut [u8],
    ) -> Result<()> {
        let x = x.slice::<T>()?;
        for (axis, of, list) in indices {
            by_integer!(
                "gather",
                *of,
                move_slices(slices, (&x.shape, &x.strides), *axis, list)
            )?;
        }
        gather(&x, slices, elements_mut(out)?)
    }
    let mut slices = slices_of(indices, sizes);
    by_size!(x.element, of(x, indices, &mut slices, out))
}

/// As many slices of these sizes as there are indices.
fn slices_of(indices: &[(usize, ElementType, StridedBytes<'_>)], sizes: &[usize]) -> Gather {
    let count = indices
        .first()
        .map_or(1, |(_, _, list)| list.shape.iter().product());
    Gather::new(count, sizes)
}

/// Moves slices by their indices along an axis of an array of this shape and strides.
fn move_slices<I: Index>(
    slices: &mut Gather,
    layout: (&[usize], &[isize]),
    axis: usize,
    list: &StridedBytes<'_>,
) -> Result<()> {
    slices.index(layout, axis, &list.slice::<I>()?)
}

/// Slices of an array, by the indices of their first elements.
#[derive(Clone, Copy, Debug)]
pub struct IndexedSlices<'a> {
    /// The shape of the array.
    pub shape: &'a [usize],
    /// An axis, the type of its indices and these, for each axis with indices; all of the same shape.
    pub indices: &'a [(usize, ElementType, StridedBytes<'a>)],
    /// The sizes of a slice.
    pub sizes: &'a [usize],
}

/// Writes an array with updates in its slices: see [`scatter`]. Sums and products of half precision are `f32` and rounded
/// once.
///
/// # Errors
/// When an index is out of range, or shapes do not match.
pub fn scatter_values(
    how: Combine,
    of: ElementType,
    x: Option<&StridedBytes<'_>>,
    slices: IndexedSlices<'_>,
    updates: &StridedBytes<'_>,
    out: &mut [u8],
) -> Result<()> {
    struct Call<'a> {
        how: Combine,
        x: Option<&'a StridedBytes<'a>>,
        slices: Gather,
        updates: &'a StridedBytes<'a>,
        shape: &'a [usize],
    }
    fn typed<T: Combinable>(call: &Call<'_>, out: &mut [u8]) -> Result<()> {
        let x = call.x.map(StridedBytes::slice::<T>).transpose()?;
        let updates = call.updates.slice::<T>()?;
        let out = (call.shape, elements_mut(out)?);
        scatter(call.how, x.as_ref(), &call.slices, &updates, out)
    }
    fn half<T: Combinable + Element + Term<f32>>(call: &Call<'_>, out: &mut [u8]) -> Result<()> {
        let x = call.x.map(StridedBytes::slice::<T>).transpose()?;
        let updates = call.updates.slice::<T>()?;
        let out = (call.shape, elements_mut(out)?);
        scatter_half(call.how, x.as_ref(), &call.slices, &updates, out)
    }
    let IndexedSlices {
        shape,
        indices,
        sizes,
    } = slices;
    let mut slices = slices_of(indices, sizes);
    let strides = row_major(shape);
    for (axis, of, list) in indices {
        let layout = (shape, strides.as_slice());
        by_integer!(
            "scatter",
            *of,
            move_slices(&mut slices, layout, *axis, list)
        )?;
    }
    let call = Call {
        how,
        x,
        slices,
        updates,
        shape,
    };
    match (of, how) {
        (_, Combine::Set) => by_bits!(updates.element, typed(&call, out)),
        (ElementType::F32, _) => typed::<f32>(&call, out),
        (ElementType::F64, _) => typed::<f64>(&call, out),
        (ElementType::F16, Combine::Add | Combine::Multiply) => half::<f16>(&call, out),
        (ElementType::Bf16, Combine::Add | Combine::Multiply) => half::<bf16>(&call, out),
        (ElementType::F16, _) => typed::<f16>(&call, out),
        (ElementType::Bf16, _) => typed::<bf16>(&call, out),
        _ => by_integer!("scatter", of, typed(&call, out)),
    }
}

/// Writes an array of this shape with each update at its index along an axis, or added there: see [`scatter_along`].
///
/// # Errors
/// When an index is out of range, or shapes do not match.
pub fn scatter_along_values(
    how: Combine,
    of: ElementType,
    x: Option<&StridedBytes<'_>>,
    axis: usize,
    (index_type, indices): (ElementType, &StridedBytes<'_>),
    updates: &StridedBytes<'_>,
    (shape, out): (&[usize], &mut [u8]),
) -> Result<()> {
    struct Call<'a> {
        how: Combine,
        x: Option<&'a StridedBytes<'a>>,
        axis: usize,
        indices: &'a [usize],
        updates: &'a StridedBytes<'a>,
        shape: &'a [usize],
    }
    fn typed<T: Combinable>(call: &Call<'_>, out: &mut [u8]) -> Result<()> {
        let x = call.x.map(StridedBytes::slice::<T>).transpose()?;
        let updates = call.updates.slice::<T>()?.contiguous()?;
        let out = (call.shape, elements_mut(out)?);
        let given = (call.indices, &*updates);
        scatter_along(call.how, x.as_ref(), call.axis, given, out)
    }
    fn half<T: Combinable + Element + Term<f32>>(call: &Call<'_>, out: &mut [u8]) -> Result<()> {
        let x = call.x.map(StridedBytes::slice::<T>).transpose()?;
        let updates = call.updates.slice::<T>()?.contiguous()?;
        let out = (call.shape, elements_mut(out)?);
        let given = (call.indices, &*updates);
        scatter_along_half(call.how, x.as_ref(), call.axis, given, out)
    }
    fn resolve<I: Index>(indices: &StridedBytes<'_>, size: usize) -> Result<Vec<usize>> {
        resolved("scatter_axis", &indices.slice::<I>()?, size)
    }
    let size = shape.get(axis).copied().unwrap_or(0);
    let indices = by_integer!("scatter_axis", index_type, resolve(indices, size))?;
    let call = Call {
        how,
        x,
        axis,
        indices: &indices,
        updates,
        shape,
    };
    match (of, how) {
        (_, Combine::Set) => by_bits!(updates.element, typed(&call, out)),
        (ElementType::F32, _) => typed::<f32>(&call, out),
        (ElementType::F64, _) => typed::<f64>(&call, out),
        (ElementType::F16, _) => half::<f16>(&call, out),
        (ElementType::Bf16, _) => half::<bf16>(&call, out),
        _ => by_integer!("scatter_axis", of, typed(&call, out)),
    }
}

/// Writes the elements that indices name along an axis: see [`take_along`].
///
/// # Errors
/// When an index is out of range, or shapes do not match.
pub fn take_along_values(
    x: &StridedBytes<'_>,
    (of, indices): (ElementType, &StridedBytes<'_>),
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
    of: ElementType,
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
        ElementType::F32 => typed::<f32>(how, x, update, target, out),
        ElementType::F64 => typed::<f64>(how, x, update, target, out),
        ElementType::F16 | ElementType::Bf16 if how == Combine::Set => {
            typed::<u16>(how, x, update, target, out)
        }
        ElementType::F16 => typed::<f16>(how, x, update, target, out),
        ElementType::Bf16 => typed::<bf16>(how, x, update, target, out),
        ElementType::C64 if how == Combine::Set => typed::<u64>(how, x, update, target, out),
        _ => by_integer!("slice_update", of, typed(how, x, update, target, out)),
    }
}

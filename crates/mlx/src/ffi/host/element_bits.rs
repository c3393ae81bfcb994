//! Elements as the numbers that kernels read and write: of any strides, and as bits where the type does not matter.

use super::{HostInput, HostOutput};
use crate::dtype::{Complex64, Dtype};

/// A type that elements of some dtypes are read and written as.
///
/// # Safety
/// Every element of the dtypes that `fits` accepts is a valid value of the type, and every value of the type is one of
/// theirs; of `bool`, if it is 0 or 1.
pub(crate) unsafe trait ElementBits: Copy {
    /// Whether elements of a dtype may be taken for this type.
    fn fits(dtype: Dtype) -> bool;
}

macro_rules! element_bits {
    ($($type:ty: |$dtype:ident| $fits:expr;)*) => {$(
        // SAFETY: numbers and pairs of them of the same size and alignment as the dtypes' elements.
        unsafe impl ElementBits for $type {
            fn fits($dtype: Dtype) -> bool {
                $fits
            }
        }
    )*};
}

// Unsigned integers are the bits of any dtype of their size; complex numbers are aligned less than `u64`.
element_bits! {
    u8: |dtype| dtype.size() == 1;
    u16: |dtype| dtype.size() == 2;
    u32: |dtype| dtype.size() == 4;
    u64: |dtype| dtype.size() == 8 && dtype != Dtype::Complex64;
    i8: |dtype| dtype == Dtype::Int8;
    i16: |dtype| dtype == Dtype::Int16;
    i32: |dtype| dtype == Dtype::Int32;
    i64: |dtype| dtype == Dtype::Int64;
    half::f16: |dtype| dtype == Dtype::Float16;
    half::bf16: |dtype| dtype == Dtype::Bfloat16;
    f32: |dtype| dtype == Dtype::Float32;
    f64: |dtype| dtype == Dtype::Float64;
    [f32; 2]: |dtype| dtype == Dtype::Complex64;
}

impl<'a> HostInput<'a> {
    /// Returns everything from the first element to the last as `f32`, whatever is between, complex numbers as pairs; none
    /// when an element is before the first one.
    pub(crate) fn as_floats(&self) -> Result<Option<&'a [f32]>, String> {
        if self.dtype() != Dtype::Complex64 {
            return self.as_strided::<f32>();
        }
        let pairs = self.as_strided::<Complex64>()?;
        // SAFETY: a `Complex64` is two `f32`, in C's layout; it is the same memory for the same time.
        let floats = |pairs: &'a [Complex64]| unsafe {
            std::slice::from_raw_parts(pairs.as_ptr().cast::<f32>(), 2 * pairs.len())
        };
        Ok(pairs.map(floats))
    }

    /// Returns everything from the lowest element to the highest, whatever is between, and the index of the first.
    pub(crate) fn as_spread<T: ElementBits>(&self) -> Result<(&'a [T], usize), String> {
        check_bits::<T>(self.dtype())?;
        let reach = self.layout().reach();
        let (before, extent) = reach.ok_or("elements are too far apart")?;
        if extent == 0 {
            return Ok((&[], 0));
        }
        let lowest = self.buffer.data.cast::<T>().wrapping_sub(before);
        // SAFETY: from the lowest element to the highest, which are values of `T` (checked); all between belong to the
        // array's buffer, as views beyond it are refused (`workaround::view`), and are not written until the kernel returns.
        let elements = unsafe { std::slice::from_raw_parts(lowest, extent) };
        Ok((elements, before))
    }
}

impl HostOutput<'_> {
    /// Returns the elements as `f32`, complex numbers as pairs, to be written.
    pub(crate) fn as_mut_floats(&mut self) -> Result<&mut [f32], String> {
        if self.dtype() != Dtype::Complex64 {
            return self.as_mut_slice::<f32>();
        }
        let pairs = self.as_mut_slice::<Complex64>()?;
        // SAFETY: a `Complex64` is two `f32`, in C's layout; it is the same memory, borrowed for as long.
        Ok(unsafe {
            std::slice::from_raw_parts_mut(pairs.as_mut_ptr().cast::<f32>(), 2 * pairs.len())
        })
    }
}

impl HostOutput<'_> {
    /// Returns the elements as values of `T`, to be written; those of `bool` must end up 0 or 1.
    pub(crate) fn as_mut_bits<T: ElementBits>(&mut self) -> Result<&mut [T], String> {
        check_bits::<T>(self.dtype())?;
        if self.buffer.size == 0 {
            return Ok(&mut []);
        }
        let first = self.buffer.data.cast::<T>();
        // SAFETY: row-contiguous with `size` elements that are values of `T` (checked), whose bits all are valid, and only
        // this kernel has it until it returns.
        Ok(unsafe { std::slice::from_raw_parts_mut(first, self.buffer.size) })
    }
}

fn check_bits<T: ElementBits>(dtype: Dtype) -> Result<(), String> {
    let refused = || format!("elements of {dtype} are no {}", std::any::type_name::<T>());
    T::fits(dtype).then_some(()).ok_or_else(refused)
}

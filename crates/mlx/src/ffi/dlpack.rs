//! Tensors in the form of DLPack, with the structs of its C header, version 0 (`DLManagedTensor`).

use std::ffi::c_void;

use crate::dtype::Dtype;
use crate::error::NativeError;

const CPU: i32 = 1;
/// Memory of the host that CUDA has pinned.
const CUDA_HOST: i32 = 3;
/// The most axes that are taken from elsewhere.
const MAX_AXES: i32 = 64;

/// `DLTensor`.
#[repr(C)]
struct Tensor {
    data: *mut c_void,
    device: Device,
    ndim: i32,
    dtype: DataType,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

/// `DLDevice`.
#[repr(C)]
struct Device {
    kind: i32,
    id: i32,
}

/// `DLDataType`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq)]
struct DataType {
    code: u8,
    bits: u8,
    lanes: u16,
}

/// `DLManagedTensor`.
#[repr(C)]
pub(crate) struct Managed {
    tensor: Tensor,
    manager: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Managed)>,
}

/// A `DLManagedTensor` that this value owns: its deleter is called once, when this is dropped, unless it is given away.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let x = mlx::array!([[1.0, 2.0], [3.0, 4.0]]);
/// let tensor = x.t().to_dlpack()?;
/// assert_eq!(mlx::Array::from_dlpack(&tensor)?.to_vec::<f32>()?, [1.0, 3.0, 2.0, 4.0]);
/// # Ok(())
/// # }
/// ```
pub struct ManagedTensor(*mut Managed);

/// What a tensor that is made here points to.
struct Backing {
    bytes: Vec<u64>,
    shape: Vec<i64>,
    strides: Vec<i64>,
}

/// A tensor's shape, dtype and elements in row-major order.
pub(crate) struct Copied {
    pub(crate) shape: Vec<i32>,
    pub(crate) dtype: Dtype,
    pub(crate) bytes: Vec<u8>,
}

impl ManagedTensor {
    /// Returns a tensor on the CPU with a copy of these elements, in row-major order.
    pub(crate) fn copy(shape: &[i32], dtype: Dtype, bytes: &[u8]) -> Self {
        let shape: Vec<i64> = shape.iter().copied().map(i64::from).collect();
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis].max(1);
        }
        // Words, so that every element is aligned.
        let words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        });
        let mut backing = Box::new(Backing {
            bytes: words.collect(),
            shape,
            strides,
        });
        let tensor = Tensor {
            data: backing.bytes.as_mut_ptr().cast(),
            device: Device { kind: CPU, id: 0 },
            ndim: i32::try_from(backing.shape.len()).unwrap_or(i32::MAX),
            dtype: data_type(dtype),
            shape: backing.shape.as_mut_ptr(),
            strides: backing.strides.as_mut_ptr(),
            byte_offset: 0,
        };
        Self(Box::into_raw(Box::new(Managed {
            tensor,
            manager: Box::into_raw(backing).cast(),
            deleter: Some(delete),
        })))
    }

    /// Takes over a pointer to a `DLManagedTensor` (not the versioned one), as the capsule of Python's `__dlpack__` has
    /// it.
    ///
    /// # Safety
    /// The pointer is null, or points to a tensor as the header of DLPack describes, whose elements may be read, and
    /// which nobody else deletes.
    pub unsafe fn from_raw(raw: *mut c_void) -> Self {
        Self(raw.cast())
    }

    /// Gives the tensor away: the code that takes the pointer calls its deleter, on any thread.
    #[must_use]
    pub fn into_raw(self) -> *mut c_void {
        let raw = self.0;
        std::mem::forget(self);
        raw.cast()
    }

    /// Returns a copy of the elements.
    pub(crate) fn elements(&self) -> Result<Copied, NativeError> {
        if self.0.is_null() {
            return Err(NativeError::from("wanted a tensor, got null"));
        }
        // SAFETY: not null; the tensor is alive while this value owns it.
        let tensor = unsafe { &(*self.0).tensor };
        if ![CPU, CUDA_HOST].contains(&tensor.device.kind) {
            let kind = tensor.device.kind;
            return Err(NativeError(format!(
                "wanted a tensor on the CPU, got device type {kind}"
            )));
        }
        let dtype = Dtype::ALL
            .into_iter()
            .find(|&dtype| data_type(dtype) == tensor.dtype)
            .ok_or_else(|| {
                let DataType { code, bits, lanes } = tensor.dtype;
                NativeError(format!(
                    "wanted a dtype of MLX, got code {code} of {bits} bits, {lanes} lanes"
                ))
            })?;
        if !(0..=MAX_AXES).contains(&tensor.ndim) {
            return Err(NativeError(format!(
                "wanted 0 to {MAX_AXES} axes, got {}",
                tensor.ndim
            )));
        }
        let ndim = usize::try_from(tensor.ndim).unwrap_or(0);
        // SAFETY: a tensor has as many sizes as axes, alive while it is.
        let sizes = unsafe { list(tensor.shape, ndim) };
        let shape: Option<Vec<i32>> = sizes
            .iter()
            .map(|&n| i32::try_from(n).ok().filter(|n| *n >= 0))
            .collect();
        let shape = shape
            .filter(|shape| shape.len() == ndim)
            .ok_or_else(|| NativeError(format!("wanted sizes of 31 bits, got {sizes:?}")))?;
        // SAFETY: a tensor has as many strides as axes, or none for row-major order, alive while it is.
        let strides = unsafe { list(tensor.strides, ndim) };
        let bytes = tensor.gathered(&shape, strides, dtype.size())?;
        Ok(Copied {
            shape,
            dtype,
            bytes,
        })
    }
}

impl Tensor {
    /// Returns the elements in row-major order.
    fn gathered(
        &self,
        shape: &[i32],
        strides: &[i64],
        size: usize,
    ) -> Result<Vec<u8>, NativeError> {
        let too_large = || NativeError(format!("wanted a shape that can be, got {shape:?}"));
        let count = shape
            .iter()
            .try_fold(1_usize, |n, &m| n.checked_mul(usize::try_from(m).ok()?));
        let count = count.ok_or_else(too_large)?;
        let len = count.checked_mul(size).ok_or_else(too_large)?;
        if len == 0 {
            return Ok(Vec::new());
        }
        if self.data.is_null() {
            return Err(NativeError::from("wanted elements, got a null pointer"));
        }
        let offset = usize::try_from(self.byte_offset).map_err(|_| too_large())?;
        let first = self.data.cast::<u8>().wrapping_add(offset);
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| too_large())?;
        if strides.is_empty() {
            // SAFETY: without strides the elements lie in row-major order, `len` bytes from the first on.
            bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(first, len) });
            return Ok(bytes);
        }
        let mut at = vec![0_i64; shape.len()];
        for _ in 0..count {
            let steps: i64 = at.iter().zip(strides).map(|(k, stride)| k * stride).sum();
            let from = first.wrapping_offset(
                isize::try_from(steps).map_err(|_| too_large())? * size.cast_signed(),
            );
            // SAFETY: the position is within the shape, so an element of `size` bytes is stored there.
            bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(from, size) });
            for axis in (0..shape.len()).rev() {
                at[axis] += 1;
                if at[axis] < i64::from(shape[axis]) {
                    break;
                }
                at[axis] = 0;
            }
        }
        Ok(bytes)
    }
}

/// Returns a list of C's; nothing where the pointer is null.
///
/// # Safety
/// There are `len` numbers, alive as long as the result is used.
unsafe fn list<'a>(data: *const i64, len: usize) -> &'a [i64] {
    if data.is_null() {
        return &[];
    }
    // SAFETY: the caller promises it.
    unsafe { std::slice::from_raw_parts(data, len) }
}

impl Drop for ManagedTensor {
    fn drop(&mut self) {
        if self.0.is_null() {
            return;
        }
        // SAFETY: not null, and alive: this value owns the tensor.
        let deleter = unsafe { (*self.0).deleter };
        if let Some(deleter) = deleter {
            // SAFETY: the tensor's own deleter, called once: nothing uses the tensor after this.
            unsafe { deleter(self.0) };
        }
    }
}

/// The deleter of tensors that are made here; any thread may call it.
unsafe extern "C" fn delete(managed: *mut Managed) {
    // SAFETY: the owner of the tensor calls this once; `copy` has made it of a box.
    let managed = unsafe { Box::from_raw(managed) };
    // SAFETY: `copy` has made the manager of a box, which only this tensor has.
    drop(unsafe { Box::from_raw(managed.manager.cast::<Backing>()) });
}

/// Returns the dtype as DLPack has it: signed, unsigned, float, bfloat, complex, bool.
fn data_type(dtype: Dtype) -> DataType {
    let code = match dtype {
        Dtype::Int8 | Dtype::Int16 | Dtype::Int32 | Dtype::Int64 => 0,
        Dtype::Uint8 | Dtype::Uint16 | Dtype::Uint32 | Dtype::Uint64 => 1,
        Dtype::Float16 | Dtype::Float32 | Dtype::Float64 => 2,
        Dtype::Bfloat16 => 4,
        Dtype::Complex64 => 5,
        Dtype::Bool => 6,
    };
    DataType {
        code,
        bits: u8::try_from(dtype.size() * 8).unwrap_or(u8::MAX),
        lanes: 1,
    }
}

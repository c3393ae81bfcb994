//! Weights that are read from their file into one buffer for each dtype, without copies in between.
//!
//! A weight is then a view of the buffer. One large allocation is in huge pages where the system has them, which the
//! thousands of page faults of small allocations and a copy by [`compact`](mlx::memory::compact) would cost otherwise.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use mlx::fast::{HostOutput, host_kernel};
use mlx::{Array, ArrayType, Dtype, Op, bind};
use mlx_nn::WeightMap;

use super::{Dtype as Stored, RawTensor};
use crate::axis_size::axis_size;
use crate::{Error, Result};

/// A buffer has at most this many elements, unless one tensor alone has more.
const MAX_ELEMENTS: usize = 1 << 26;
/// Tensors begin at multiples of this many bytes: those of a cache line, and of a register.
const ALIGNMENT: usize = 64;
/// Elements that are read and converted at a time: their bytes stay in a cache.
const CHUNK: usize = 1 << 14;

/// A tensor and the dtype that it is loaded as.
pub(crate) struct Request {
    pub(crate) tensor: RawTensor,
    pub(crate) dtype: Dtype,
}

impl Request {
    /// Returns whether a tensor can be read in this dtype directly: as it is stored, or as `float32`.
    pub(crate) fn is_direct(&self) -> bool {
        let tensor = &self.tensor;
        let is_number = !matches!(tensor.dtype, Stored::U32 | Stored::Other(_));
        let is_plain = tensor.scale.is_none();
        let fits = tensor.shape.iter().all(|&size| i32::try_from(size).is_ok());
        !tensor.is_empty()
            && i32::try_from(tensor.len()).is_ok()
            && fits
            && match self.dtype {
                Dtype::Float32 => is_number,
                Dtype::Float16 => is_plain && tensor.dtype == Stored::F16,
                Dtype::Bfloat16 => is_plain && tensor.dtype == Stored::BF16,
                _ => false,
            }
    }
}

/// A tensor at a place of a buffer, which is a number of elements.
struct Part {
    tensor: RawTensor,
    offset: usize,
}

/// A buffer to be filled.
struct Buffer {
    dtype: Dtype,
    parts: Vec<Part>,
    len: usize,
}

/// Returns weights by their names, for the CPU; they are read when they are evaluated.
///
/// # Errors
/// [`Error::Model`] when MLX fails. What cannot be read is the error of the evaluation.
pub(crate) fn contiguous(requests: Vec<Request>) -> Result<WeightMap> {
    let mut map = WeightMap::new();
    for buffer in buffers(requests) {
        let views: Vec<(String, Vec<i32>, usize, usize)> = buffer
            .parts
            .iter()
            .map(|Part { tensor, offset }| {
                let shape = tensor.shape.iter().map(|&size| axis_size(size)).collect();
                (tensor.name.clone(), shape, *offset, offset + tensor.len())
            })
            .collect();
        let whole = read(buffer)?;
        for (name, shape, start, stop) in views {
            let view = Op::Slice {
                start: vec![axis_size(start)],
                stop: vec![axis_size(stop)],
                strides: vec![1],
            };
            map.insert(name, bind(view, &[&whole]).reshape(shape));
        }
    }
    Ok(map)
}

/// Places tensors one after the other, in buffers of one dtype.
fn buffers(requests: Vec<Request>) -> Vec<Buffer> {
    let mut buffers: Vec<Buffer> = Vec::new();
    for Request { tensor, dtype } in requests {
        let len = tensor.len();
        let fits = |buffer: &&mut Buffer| buffer.dtype == dtype && buffer.len + len <= MAX_ELEMENTS;
        let buffer = match buffers.iter_mut().rev().find(fits) {
            Some(buffer) => buffer,
            None => {
                buffers.push(Buffer {
                    dtype,
                    parts: Vec::new(),
                    len: 0,
                });
                let last = buffers.len() - 1;
                &mut buffers[last]
            }
        };
        let offset = buffer.len;
        buffer.len = (offset + len).next_multiple_of(ALIGNMENT / dtype.size());
        buffer.parts.push(Part { tensor, offset });
    }
    buffers
}

/// Returns the elements of a buffer as an array of one axis.
fn read(buffer: Buffer) -> Result<Array> {
    let Buffer { dtype, parts, len } = buffer;
    let array_type = ArrayType::new(axis_size(len), dtype);
    let kernel = host_kernel(
        "weights",
        move |_| Ok(vec![array_type.clone()]),
        move |_, outputs| {
            let [output] = outputs else {
                return Err(format!("wanted 1 output, got {}", outputs.len()));
            };
            fill(&parts, dtype, output).map_err(|error| error.to_string())
        },
    );
    Ok(kernel.map_err(Error::model)?.apply_one(&[]))
}

fn fill(parts: &[Part], dtype: Dtype, output: &mut HostOutput<'_>) -> Result<()> {
    let failed = |text: String| Error::Weights(text);
    match dtype {
        Dtype::Float16 => {
            let out = output.as_mut_slice::<f16>().map_err(failed)?;
            copy(parts, out, |bytes, out| {
                let pairs = bytes.as_chunks().0;
                (out.iter_mut().zip(pairs))
                    .for_each(|(out, &pair)| *out = f16::from_le_bytes(pair));
            })
        }
        Dtype::Bfloat16 => {
            let out = output.as_mut_slice::<bf16>().map_err(failed)?;
            copy(parts, out, |bytes, out| {
                let pairs = bytes.as_chunks().0;
                (out.iter_mut().zip(pairs))
                    .for_each(|(out, &pair)| *out = bf16::from_le_bytes(pair));
            })
        }
        _ => fill_f32(parts, output.as_mut_slice::<f32>().map_err(failed)?),
    }
}

fn fill_f32(parts: &[Part], out: &mut [f32]) -> Result<()> {
    for part in parts {
        let place = part.offset..part.offset + part.tensor.len();
        let single = [Part {
            tensor: part.tensor.clone(),
            offset: 0,
        }];
        let (out, is_plain) = (&mut out[place], part.tensor.scale.is_none());
        match part.tensor.dtype {
            Stored::F32 if is_plain => copy(&single, out, |bytes, out| {
                let words = bytes.as_chunks().0;
                (out.iter_mut().zip(words))
                    .for_each(|(out, &word)| *out = f32::from_le_bytes(word));
            })?,
            Stored::F16 if is_plain => {
                let mut halves = vec![f16::ZERO; CHUNK];
                copy(&single, out, |bytes, out| {
                    let halves = &mut halves[..out.len()];
                    let pairs = bytes.as_chunks().0;
                    for (half, &pair) in halves.iter_mut().zip(pairs) {
                        *half = f16::from_le_bytes(pair);
                    }
                    halves.convert_to_f32_slice(out);
                })?;
            }
            // Others are rare, or need their scales.
            _ => out.copy_from_slice(&part.tensor.to_f32()?),
        }
    }
    Ok(())
}

/// Reads the bytes of each tensor chunk by chunk, and has them decoded.
fn copy<T>(parts: &[Part], out: &mut [T], mut decode: impl FnMut(&[u8], &mut [T])) -> Result<()> {
    let mut bytes = Vec::new();
    for Part { tensor, offset } in parts {
        let size = tensor.dtype.size();
        bytes.resize(CHUNK * size, 0);
        let out = &mut out[*offset..offset + tensor.len()];
        for (number, out) in out.chunks_mut(CHUNK).enumerate() {
            let bytes = &mut bytes[..out.len() * size];
            tensor.read_into(number * CHUNK * size, bytes)?;
            decode(bytes, out);
        }
    }
    Ok(())
}

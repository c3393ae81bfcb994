//! Weights that are read from their file into one buffer for each dtype, without copies in between.
//!
//! A weight is then a view of the buffer. One large allocation is in huge pages where the system has them, which the
//! thousands of page faults of small allocations and a copy by [`compact`](mlx::memory::compact) would cost otherwise.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

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
/// Elements that one thread reads before it takes others: some huge pages, so that threads seldom touch one together.
const PIECE: usize = 1 << 21;
/// More threads do not read faster.
const MAX_THREADS: usize = 8;

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
            read_on_all_threads(pieces(parts, out), |piece| {
                piece.decode(|out, bytes| *out = f16::from_le_bytes(bytes))
            })
        }
        Dtype::Bfloat16 => {
            let out = output.as_mut_slice::<bf16>().map_err(failed)?;
            read_on_all_threads(pieces(parts, out), |piece| {
                piece.decode(|out, bytes| *out = bf16::from_le_bytes(bytes))
            })
        }
        _ => {
            let out = output.as_mut_slice::<f32>().map_err(failed)?;
            read_on_all_threads(pieces(parts, out), |piece| piece.decode_f32())
        }
    }
}

/// A part of a tensor, and where it goes.
struct Piece<'a, T> {
    tensor: &'a RawTensor,
    /// The first of its elements.
    start: usize,
    out: &'a mut [T],
}

/// Returns whether elements of a tensor are decoded one by one, and not together with scales or as what is rare.
fn is_decoded_in_chunks(tensor: &RawTensor) -> bool {
    tensor.scale.is_none() && matches!(tensor.dtype, Stored::F32 | Stored::F16 | Stored::BF16)
}

/// Cuts tensors into pieces that threads can share.
fn pieces<'a, T>(parts: &'a [Part], mut out: &'a mut [T]) -> Vec<Piece<'a, T>> {
    let (mut pieces, mut place) = (Vec::new(), 0);
    for Part { tensor, offset } in parts {
        let (_, rest) = out.split_at_mut(offset - place);
        let (elements, rest) = rest.split_at_mut(tensor.len());
        (out, place) = (rest, offset + tensor.len());
        // What is decoded as a whole is read as a whole.
        let size = if is_decoded_in_chunks(tensor) {
            PIECE
        } else {
            tensor.len()
        };
        for (number, out) in elements.chunks_mut(size).enumerate() {
            pieces.push(Piece {
                tensor,
                start: number * size,
                out,
            });
        }
    }
    pieces
}

/// Calls `read` with each piece, on as many threads as there are processors: the first touch of the memory costs more
/// than reading a file that the system has in its cache.
fn read_on_all_threads<T: Send>(
    pieces: Vec<Piece<'_, T>>,
    read: impl Fn(Piece<'_, T>) -> Result<()> + Sync,
) -> Result<()> {
    let n_threads = thread::available_parallelism().map_or(1, usize::from);
    let n_threads = n_threads.min(MAX_THREADS).min(pieces.len()).max(1);
    let (pieces, outcome) = (Mutex::new(pieces.into_iter()), Mutex::new(Ok(())));
    // A closure, so that the lock is not held while a piece is read.
    let next = || lock(&pieces).next();
    let work = || {
        while let Some(piece) = next() {
            if let Err(error) = read(piece) {
                *lock(&outcome) = Err(error);
                // The others find nothing left.
                lock(&pieces).by_ref().for_each(drop);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..n_threads {
            // Without another thread this one reads all.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Piece<'_, T> {
    /// Reads elements of `SIZE` bytes chunk by chunk, and has each decoded.
    fn decode<const SIZE: usize>(self, decode: impl Fn(&mut T, [u8; SIZE])) -> Result<()> {
        self.in_chunks(SIZE, |out, bytes| {
            let elements = bytes.as_chunks().0;
            (out.iter_mut().zip(elements)).for_each(|(out, &element)| decode(out, element));
        })
    }

    /// Reads elements of `size` bytes chunk by chunk, and has the chunks decoded.
    fn in_chunks(self, size: usize, mut decode: impl FnMut(&mut [T], &[u8])) -> Result<()> {
        let mut bytes = vec![0; CHUNK.min(self.out.len()) * size];
        for (number, out) in self.out.chunks_mut(CHUNK).enumerate() {
            let bytes = &mut bytes[..out.len() * size];
            self.tensor
                .read_into((self.start + number * CHUNK) * size, bytes)?;
            decode(out, bytes);
        }
        Ok(())
    }
}

impl Piece<'_, f32> {
    /// Reads a tensor of any dtype as `float32`.
    fn decode_f32(self) -> Result<()> {
        let tensor = self.tensor;
        match tensor.dtype {
            Stored::F32 if tensor.scale.is_none() => {
                self.decode(|out, bytes| *out = f32::from_le_bytes(bytes))
            }
            Stored::F16 if tensor.scale.is_none() => {
                let mut halves = vec![f16::ZERO; CHUNK.min(self.out.len())];
                self.in_chunks(size_of::<f16>(), |out, bytes| {
                    let halves = &mut halves[..out.len()];
                    let pairs = bytes.as_chunks().0;
                    for (half, &pair) in halves.iter_mut().zip(pairs) {
                        *half = f16::from_le_bytes(pair);
                    }
                    halves.convert_to_f32_slice(out);
                })
            }
            // Others are rare, or need their scales.
            _ => {
                let all = tensor.to_f32()?;
                self.out
                    .copy_from_slice(&all[self.start..][..self.out.len()]);
                Ok(())
            }
        }
    }
}

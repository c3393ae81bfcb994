//! The bytes of a tensor as elements: plain, unpacked, or packed as MLX packs them.

use super::blocks::{Block, groups};
use super::tensor::GgufTensor;
use crate::ffi::host::{HostInput, HostOutput};
use crate::{Array, ArrayType, Dtype, Element, Result, zeros_with};

/// Bytes that are read and decoded at a time: they stay in a cache.
const CHUNK: usize = 1 << 17;

/// What a host kernel returns.
type Outcome = std::result::Result<(), String>;

/// Packed weights, one scale and one bias for each group.
pub(super) struct PackedArrays {
    pub(super) weight: Array,
    pub(super) scales: Array,
    pub(super) biases: Array,
}

impl GgufTensor {
    /// Returns the values of blocks as an array, each rounded once; they are read when it is computed.
    pub(super) fn unpacked<T: Element>(
        &self,
        round: impl Fn(f64) -> T + Send + Sync + 'static,
    ) -> Result<Array> {
        let array_type = ArrayType::new(self.sizes(), T::DTYPE);
        if self.n_bytes == 0 {
            return zeros_with(array_type.shape, array_type.dtype).checked();
        }
        let tensor = self.clone();
        let kernel = move |_: &[HostInput<'_>], outputs: &mut [HostOutput<'_>]| {
            let [output] = outputs else {
                return Err("load: wanted one output".to_owned());
            };
            let values = output.as_mut_slice::<T>()?;
            tensor.or_zeros(tensor.unpack(values, &round), outputs)
        };
        let arrays = self.source.arrays(vec![array_type], kernel)?;
        let mut arrays = arrays.into_iter();
        arrays
            .next()
            .ok_or_else(|| self.source.fault("wanted one array, got none"))
    }

    /// Returns the codes of blocks packed, with scales and biases; they are read when one of them is computed. Types
    /// without groups have none.
    pub(super) fn packed<T: Element>(
        &self,
        round: impl Fn(f32) -> T + Send + Sync + 'static,
    ) -> Result<Option<PackedArrays>> {
        let Some((group_size, bits)) = groups(self.kind) else {
            return Ok(None);
        };
        let with_inner = |size: &dyn Fn(usize) -> usize, dtype: Dtype| {
            let mut shape = self.shape.clone();
            if let Some(inner) = shape.last_mut() {
                *inner = size(*inner);
            }
            // Smaller than what was checked when the file was opened.
            ArrayType::new(
                shape.iter().map(|&size| size as i32).collect::<Vec<_>>(),
                dtype,
            )
        };
        let weight = with_inner(&|inner| inner * bits / 32, Dtype::Uint32);
        let scales = with_inner(&|inner| inner / group_size, T::DTYPE);
        let types = vec![weight, scales.clone(), scales];
        let arrays = if self.n_bytes == 0 {
            let empty = |of: ArrayType| zeros_with(of.shape, of.dtype).checked();
            types.into_iter().map(empty).collect::<Result<Vec<_>>>()?
        } else {
            let tensor = self.clone();
            let kernel = move |_: &[HostInput<'_>], outputs: &mut [HostOutput<'_>]| {
                let [weight, scales, biases] = outputs else {
                    return Err("load: wanted three outputs".to_owned());
                };
                let words = weight.as_mut_slice::<u32>()?;
                let scales = scales.as_mut_slice::<T>()?;
                let biases = biases.as_mut_slice::<T>()?;
                let outcome = tensor.pack(words, scales, biases, &round);
                tensor.or_zeros(outcome, outputs)
            };
            self.source.arrays(types, kernel)?
        };
        match <[Array; 3]>::try_from(arrays) {
            Ok([weight, scales, biases]) => Ok(Some(PackedArrays {
                weight,
                scales,
                biases,
            })),
            Err(arrays) => Err(self
                .source
                .fault(format!("wanted three arrays, got {}", arrays.len()))),
        }
    }

    /// Returns the error of a kernel, whose outputs then hold nothing of what was in memory.
    fn or_zeros(&self, outcome: Outcome, outputs: &mut [HostOutput<'_>]) -> Outcome {
        outcome.map_err(|why| {
            for output in outputs {
                output.as_mut_bytes().fill(0);
            }
            self.source.unread(&self.name, &why)
        })
    }

    /// Fills `out` with the values of blocks, each rounded once.
    pub(super) fn unpack<T>(&self, out: &mut [T], round: impl Fn(f64) -> T) -> Outcome {
        let Some((group_size, _)) = groups(self.kind) else {
            return Err(format!("wanted blocks, got {:?}", self.kind));
        };
        let mut out = out.chunks_exact_mut(self.kind.block_len());
        self.each_block(|block| {
            let out = out.next().into_iter().flatten();
            for (i, (out, &code)) in out.zip(&block.codes).enumerate() {
                let group = i / group_size;
                let (scale, bias) = (block.scales[group], block.biases[group]);
                // Product and sum are exact in `f64`.
                *out = round(f64::from(code) * f64::from(scale) + f64::from(bias));
            }
        })
    }

    /// Fills `words` with the codes of blocks, and `scales` and `biases` with those of their groups.
    fn pack<T>(
        &self,
        words: &mut [u32],
        scales: &mut [T],
        biases: &mut [T],
        round: impl Fn(f32) -> T,
    ) -> Outcome {
        let Some((group_size, bits)) = groups(self.kind) else {
            return Err(format!("wanted blocks, got {:?}", self.kind));
        };
        let block_len = self.kind.block_len();
        let n_groups = block_len / group_size;
        let mut words = words.chunks_exact_mut(block_len * bits / 32);
        let mut scales = scales.chunks_exact_mut(n_groups);
        let mut biases = biases.chunks_exact_mut(n_groups);
        self.each_block(|block| {
            let (Some(words), Some(scales), Some(biases)) =
                (words.next(), scales.next(), biases.next())
            else {
                return;
            };
            put_bits(words, &block.codes[..block_len], bits);
            for (group, (scale, bias)) in scales.iter_mut().zip(biases).enumerate() {
                *scale = round(block.scales[group]);
                *bias = round(block.biases[group]);
            }
        })
    }

    /// Reads the blocks in order.
    fn each_block(&self, mut visit: impl FnMut(&Block)) -> Outcome {
        let size = self.kind.block_bytes();
        let mut bytes = vec![0; (CHUNK / size * size).min(self.n_bytes)];
        let (mut block, mut done) = (Block::new(), 0);
        while done < self.n_bytes {
            let len = bytes.len().min(self.n_bytes - done);
            let bytes = &mut bytes[..len];
            self.source.fill(self.offset + done as u64, bytes)?;
            for bytes in bytes.chunks_exact(size) {
                block.read(self.kind, bytes);
                visit(&block);
            }
            done += len;
        }
        Ok(())
    }
}

/// Writes codes of `bits` bits, the first in the lowest bits; all codes together fill whole words.
fn put_bits(words: &mut [u32], codes: &[u8], bits: usize) {
    let mut words = words.iter_mut();
    let (mut word, mut filled) = (0_u64, 0);
    for &code in codes {
        word |= u64::from(code) << filled;
        filled += bits;
        if filled >= 32 {
            words.next().into_iter().for_each(|out| *out = word as u32);
            word >>= 32;
            filled -= 32;
        }
    }
}

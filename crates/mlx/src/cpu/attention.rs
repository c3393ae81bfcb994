//! Attention and its gradients, over arrays with any strides.

use std::borrow::Cow;

use mlx_kernels::{
    AttentionGradient, AttentionInputs, AttentionShape, Mask, MaskStrides, QuantizedRows, Strided,
    Strides,
};

use super::layout::{error_text, input, output, size};
use super::product::{into_f32, widened};
use super::{Stored, by_dtype};
use crate::Dtype;
use crate::ffi::host::{HostInput, HostOutput};
use crate::op::MaskMode;

/// The attributes of attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct AttentionConfig {
    pub(super) mask: MaskMode,
    pub(super) has_sinks: bool,
    pub(super) scale: f32,
}

pub(super) fn run(
    config: AttentionConfig,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    fn typed<T: Stored>(
        config: AttentionConfig,
        inputs: &[HostInput<'_>],
        out: &mut HostOutput<'_>,
    ) -> Result<(), String> {
        let queries = strided(input(inputs, 0)?)?;
        let mut args = AttentionArgs::<T>::new(config, inputs, shape_of(inputs)?, queries)?;
        let (keys, values) = (strided(input(inputs, 1)?)?, strided(input(inputs, 2)?)?);
        args.trim_masked_keys();
        let out = out.as_mut_slice::<T>()?;
        let inputs = args.inputs(keys.view(), values.view());
        mlx_kernels::attention(args.shape, inputs, config.scale, out).map_err(error_text)?;
        args.fill_fully_masked_rows(out);
        Ok(())
    }
    let q = input(inputs, 0)?;
    by_dtype!(q.dtype(), typed(config, inputs, output(outputs, 0)?))
}

/// Attention over keys and values in 8 bits, scaled by `1 / sqrt(dim)`; a mask of numbers is `float32`.
pub(crate) fn quantized(
    mask: MaskMode,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let mut shape = shape_of(inputs)?;
    let (q, keys, values) = (input(inputs, 0)?, input(inputs, 1)?, input(inputs, 2)?);
    shape.value_dim = shape.dim;
    let queries = match q.dtype() {
        Dtype::Float32 => strided(q)?,
        _ => Rows {
            values: widened(q)?,
            strides: Strides::contiguous(shape.heads, shape.queries, shape.dim),
        },
    };
    let config = AttentionConfig {
        mask,
        has_sinks: false,
        scale: (1.0 / (shape.dim as f64).sqrt()) as f32,
    };
    let mut args = AttentionArgs::<f32>::new(config, inputs, shape, queries)?;
    let (keys, values) = (strided::<u8>(keys)?, strided::<u8>(values)?);
    args.trim_masked_keys();
    let bytes = four(input(inputs, 1)?)?[3];
    let group_size = group_size(shape.dim, bytes).ok_or("no whole number of groups")?;
    let inputs = args.inputs(keys.quantized(group_size), values.quantized(group_size));
    into_f32(output(outputs, 0)?, |out| {
        mlx_kernels::quantized_attention(args.shape, inputs, config.scale, out)
            .map_err(error_text)?;
        args.fill_fully_masked_rows(out);
        Ok(())
    })
}

/// Returns how many of `dim` numbers share a scale and a bias in a row of `bytes`.
pub(crate) fn group_size(dim: usize, bytes: usize) -> Option<usize> {
    // Of 4 bytes each.
    let parameters = bytes.checked_sub(dim)?;
    let groups = parameters / 8;
    let is_whole = groups > 0 && parameters.is_multiple_of(8) && dim.is_multiple_of(groups);
    is_whole.then(|| dim / groups)
}

/// Writes rows in 8 bits.
pub(crate) fn quantize_rows(
    group_size: usize,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let x = input(inputs, 0)?;
    let dim = x.shape().last().map_or(0, |&dim| size(dim));
    let out = output(outputs, 0)?.as_mut_slice::<u8>()?;
    mlx_kernels::quantize_rows(dim, group_size, &widened(x)?, out).map_err(error_text)
}

/// The last input is the gradient of the result; outputs are those of queries, keys and values.
pub(super) fn gradient(
    config: AttentionConfig,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let (cotangent, inputs) = inputs.split_last().ok_or("wanted inputs, got none")?;
    let queries = strided(input(inputs, 0)?)?;
    let args = AttentionArgs::<f32>::new(config, inputs, shape_of(inputs)?, queries)?;
    let (keys, values) = (strided(input(inputs, 1)?)?, strided(input(inputs, 2)?)?);
    let cotangent = strided::<f32>(cotangent)?;
    let [dq, dk, dv] = outputs else {
        return Err(format!("wanted 3 outputs, got {}", outputs.len()));
    };
    let gradient = AttentionGradient {
        queries: dq.as_mut_slice()?,
        keys: dk.as_mut_slice()?,
        values: dv.as_mut_slice()?,
    };
    let (shape, inputs) = (args.shape, args.inputs(keys.view(), values.view()));
    mlx_kernels::attention_gradient(shape, inputs, config.scale, cotangent.view(), gradient)
        .map_err(error_text)
}

/// More rows of a mask than this are not searched for keys that no query attends to.
const MAX_MASK_ROWS: usize = 64;

/// Inputs as the kernels read them, without keys and values.
struct AttentionArgs<'a, T: Clone> {
    shape: AttentionShape,
    queries: Rows<'a, T>,
    is_causal: bool,
    bools: Option<(Cow<'a, [bool]>, MaskStrides)>,
    numbers: Option<(Cow<'a, [T]>, MaskStrides)>,
    sinks: Option<Cow<'a, [f32]>>,
}

impl<'a, T: Stored> AttentionArgs<'a, T> {
    fn new(
        config: AttentionConfig,
        inputs: &[HostInput<'a>],
        shape: AttentionShape,
        queries: Rows<'a, T>,
    ) -> Result<Self, String> {
        let mut given = Self {
            shape,
            queries,
            is_causal: config.mask == MaskMode::Causal,
            bools: None,
            numbers: None,
            sinks: None,
        };
        if config.mask == MaskMode::Array {
            let mask = input(inputs, 3)?;
            if mask.dtype() == Dtype::Bool {
                given.bools = Some(in_place(mask)?);
            } else {
                given.numbers = Some(in_place(mask)?);
            }
        }
        if config.has_sinks {
            let sinks = inputs.last().ok_or("wanted sinks")?;
            given.sinks = Some(sinks.to_contiguous()?);
        }
        Ok(given)
    }

    /// Leaves out keys at the end that no query attends to: a cache that is not full yet, behind a mask.
    fn trim_masked_keys(&mut self) {
        let AttentionShape {
            batch,
            heads,
            queries,
            keys,
            ..
        } = self.shape;
        let Some((values, strides)) = &self.bools else {
            return;
        };
        // An axis along which the mask is broadcast is searched once.
        let once = |size, stride| if stride == 0 { 1 } else { size };
        let rows = [
            once(batch, strides.batch),
            once(heads, strides.head),
            once(queries, strides.query),
        ];
        if rows.iter().product::<usize>() > MAX_MASK_ROWS || strides.key == 0 {
            return;
        }
        let mut seen = 1;
        for batch in 0..rows[0] {
            for head in 0..rows[1] {
                for query in 0..rows[2] {
                    let row = batch * strides.batch + head * strides.head + query * strides.query;
                    let last = (seen..keys)
                        .rev()
                        .find(|key| values[row + key * strides.key]);
                    seen = last.map_or(seen, |last| last + 1);
                }
            }
        }
        self.shape.keys = seen.min(keys);
    }

    /// Makes results of queries that attend to no key NaN, as MLX's are: the kernel gives zeros.
    fn fill_fully_masked_rows(&self, out: &mut [T]) {
        let AttentionShape {
            heads,
            queries,
            keys,
            value_dim,
            ..
        } = self.shape;
        // With sinks there is always something to attend to.
        if value_dim == 0 || self.sinks.is_some() {
            return;
        }
        let place = |strides: &MaskStrides, [batch, head, query, key]: [usize; 4]| {
            batch * strides.batch + head * strides.head + query * strides.query + key * strides.key
        };
        let sees = |at: [usize; 4]| match (&self.bools, &self.numbers) {
            (Some((values, strides)), _) => values[place(strides, at)],
            (_, Some((values, strides))) => values[place(strides, at)].into() > f32::NEG_INFINITY,
            _ if self.is_causal => at[3] + queries <= at[2] + keys,
            _ => true,
        };
        for (row, out) in out.chunks_exact_mut(value_dim).enumerate() {
            let (batch, head, query) =
                (row / queries / heads, row / queries % heads, row % queries);
            // Nearly always the first key is attended to.
            if !(0..keys).any(|key| sees([batch, head, query, key])) {
                out.fill(T::nearest(f32::NAN));
            }
        }
    }

    fn inputs<K>(&self, keys: K, values: K) -> AttentionInputs<'_, T, K> {
        let mask = match (&self.bools, &self.numbers) {
            (Some((values, strides)), _) => Mask::Boolean {
                values,
                strides: *strides,
            },
            (_, Some((values, strides))) => Mask::Additive {
                values,
                strides: *strides,
            },
            _ if self.is_causal => Mask::Causal,
            _ => Mask::None,
        };
        AttentionInputs {
            queries: self.queries.view(),
            keys,
            values,
            mask,
            sinks: self.sinks.as_deref(),
        }
    }
}

fn shape_of(inputs: &[HostInput<'_>]) -> Result<AttentionShape, String> {
    let (q, v) = (four(input(inputs, 0)?)?, four(input(inputs, 2)?)?);
    Ok(AttentionShape {
        batch: q[0],
        heads: q[1],
        kv_heads: v[1],
        queries: q[2],
        keys: v[2],
        dim: q[3],
        value_dim: v[3],
    })
}

/// The four sizes of an array.
fn four(array: &HostInput<'_>) -> Result<[usize; 4], String> {
    <[i32; 4]>::try_from(array.shape())
        .map(|shape| shape.map(size))
        .map_err(|_| format!("wanted 4 axes, got {:?}", array.shape()))
}

/// Rows that the kernel reads where they are, or a copy of them.
struct Rows<'a, T: Clone> {
    values: Cow<'a, [T]>,
    strides: Strides,
}

impl Rows<'_, u8> {
    fn quantized(&self, group_size: usize) -> QuantizedRows<'_> {
        QuantizedRows {
            bytes: &self.values,
            strides: self.strides,
            group_size,
        }
    }
}

impl<T: Clone> Rows<'_, T> {
    fn view(&self) -> Strided<'_, T> {
        Strided {
            values: &self.values,
            strides: self.strides,
        }
    }
}

/// Reads rows with contiguous elements in place, and copies others.
fn strided<'a, T: crate::Element>(array: &HostInput<'a>) -> Result<Rows<'a, T>, String> {
    let [_, heads, rows, dim] = four(array)?;
    let layout = array.layout();
    if let &[batch, head, row, one] = layout.strides()
        && (one == 1 || dim == 1)
        && let Some(values) = array.as_strided::<T>()?
    {
        return Ok(Rows {
            values: Cow::Borrowed(values),
            strides: Strides {
                batch: step(batch, layout.shape()[0])?,
                head: step(head, layout.shape()[1])?,
                row: step(row, layout.shape()[2])?,
            },
        });
    }
    Ok(Rows {
        values: array.to_contiguous::<T>()?,
        strides: Strides::contiguous(heads, rows, dim),
    })
}

/// Reads a mask where it is, or copies it when its strides go backwards.
fn in_place<'a, T: crate::Element>(
    array: &HostInput<'a>,
) -> Result<(Cow<'a, [T]>, MaskStrides), String> {
    let layout = array.layout();
    let shape = four(array)?;
    match (layout.strides(), array.as_strided::<T>()?) {
        (&[batch, head, query, key], Some(values)) => {
            let sizes = layout.shape();
            let strides = MaskStrides {
                batch: step(batch, sizes[0])?,
                head: step(head, sizes[1])?,
                query: step(query, sizes[2])?,
                key: step(key, sizes[3])?,
            };
            Ok((Cow::Borrowed(values), strides))
        }
        _ => Ok((array.to_contiguous::<T>()?, MaskStrides::contiguous(shape))),
    }
}

/// A stride; that of an axis of one element does not matter.
fn step(stride: i64, size: i32) -> Result<usize, String> {
    if size <= 1 {
        return Ok(0);
    }
    usize::try_from(stride).map_err(|_| format!("wanted a stride from 0 up, got {stride}"))
}

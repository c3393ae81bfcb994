//! Attention, over arrays where they lie.

use std::borrow::Cow;

use mlx_kernels::{AttentionInputs, AttentionShape, Mask, MaskStrides, Strided, Strides};

use super::layout::{input, output, said, size};
use super::{Stored, by_dtype};
use crate::Dtype;
use crate::ffi::host::{HostInput, HostOutput};

pub(super) fn run(
    mask: i64,
    has_sinks: bool,
    scale: f32,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let q = input(inputs, 0)?;
    by_dtype!(
        q.dtype(),
        typed(mask, has_sinks, scale, inputs, output(outputs, 0)?)
    )
}

fn typed<T: Stored>(
    mask: i64,
    has_sinks: bool,
    scale: f32,
    inputs: &[HostInput<'_>],
    out: &mut HostOutput<'_>,
) -> Result<(), String> {
    let [q, k, v] = [0, 1, 2].map(|index| input(inputs, index));
    let (q, k, v) = (q?, k?, v?);
    let (q_shape, v_shape) = (four(q)?, four(v)?);
    let shape = AttentionShape {
        batch: q_shape[0],
        heads: q_shape[1],
        kv_heads: v_shape[1],
        queries: q_shape[2],
        keys: v_shape[2],
        dim: q_shape[3],
        value_dim: v_shape[3],
    };
    let (q, k, v) = (strided::<T>(q)?, strided::<T>(k)?, strided::<T>(v)?);
    let array = if mask == 2 {
        Some(input(inputs, 3)?)
    } else {
        None
    };
    let mut bools = None;
    let mut numbers = None;
    match array {
        Some(array) if array.dtype() == Dtype::Bool => bools = Some(in_place::<bool>(array)?),
        Some(array) => numbers = Some(in_place::<T>(array)?),
        None => {}
    }
    let sinks = if has_sinks {
        let sinks = inputs.last().ok_or("wanted sinks")?;
        Some(sinks.in_rows::<f32>()?)
    } else {
        None
    };
    let inputs = AttentionInputs {
        queries: q.view(),
        keys: k.view(),
        values: v.view(),
        mask: match (&bools, &numbers) {
            (Some((values, strides)), _) => Mask::Boolean {
                values,
                strides: *strides,
            },
            (_, Some((values, strides))) => Mask::Additive {
                values,
                strides: *strides,
            },
            _ if mask == 1 => Mask::Causal,
            _ => Mask::None,
        },
        sinks: sinks.as_deref(),
    };
    mlx_kernels::attention(shape, inputs, scale, out.as_mut_slice()?).map_err(said)
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

impl<T: Stored> Rows<'_, T> {
    fn view(&self) -> Strided<'_, T> {
        Strided {
            values: &self.values,
            strides: self.strides,
        }
    }
}

/// Reads rows whose elements lie side by side where they are, and copies others.
fn strided<'a, T: Stored>(array: &HostInput<'a>) -> Result<Rows<'a, T>, String> {
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
        values: array.in_rows::<T>()?,
        strides: Strides::contiguous(heads, rows, dim),
    })
}

/// Reads a mask where it is, or copies it when its strides go backwards.
#[allow(clippy::type_complexity)]
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
        _ => Ok((array.in_rows::<T>()?, MaskStrides::contiguous(shape))),
    }
}

/// A stride; that of an axis of one element does not matter.
fn step(stride: i64, size: i32) -> Result<usize, String> {
    if size <= 1 {
        return Ok(0);
    }
    usize::try_from(stride).map_err(|_| format!("wanted a stride from 0 up, got {stride}"))
}

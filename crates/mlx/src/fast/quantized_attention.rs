//! Keys and values in 8 bits: rows of bytes with their scales and biases, and attention over them.

use std::sync::OnceLock;

use super::attention_mask::{AttentionMask, Resolved, Scores};
use super::inputs::{cast, reject};
use crate::cpu::{self, HostKernel, group_size, host_kernel};
use crate::op::{MaskMode, Op, QuantizationMode};
use crate::{Array, ArrayType, Dtype, Quantization, Result, bind, concatenate, where_, zeros_with};

const QUANTIZE: &str = "fast.quantize_rows";
const DEQUANTIZE: &str = "fast.dequantize_rows";
const ATTENTION: &str = "fast.quantized_scaled_dot_product_attention";
const GROUP_SIZES: [i32; 3] = [32, 64, 128];
/// Bytes of a scale and a bias.
const PARAMETERS: i32 = 8;

/// Returns each row of `x` in 8 bits: `[.., dim]` becomes `uint8[.., dim + 8 * dim / group_size]`.
///
/// A row is a byte for each number, then the scale of each group of numbers, then the bias of each, both `float32`. A number
/// is `scale * byte + bias`, as [`quantize`](Array::quantize) chooses them; in one array, a row of a key-value cache is
/// written and read as one piece. Undone by [`dequantize_rows`]. Nothing runs until [`eval`](crate::eval()).
///
/// # Errors
/// The result carries an error when groups are not of 32, 64 or 128 numbers, do not divide a row, or `x` is not of a floating
/// dtype.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let rows = mlx::fast::quantize_rows(&mlx::ones([2, 64]), 32);
/// assert_eq!(rows.array_type()?.to_string(), "uint8[2, 80]");
/// assert_eq!(mlx::fast::dequantize_rows(&rows, 32, mlx::float32).max(()).item::<f32>()?, 1.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn quantize_rows(x: &Array, group_size: i32) -> Array {
    Array::from_result(quantize(x, group_size))
}

/// Returns rows of 8-bit numbers as [`quantize_rows`] made them, as numbers of a floating dtype.
///
/// # Errors
/// The result carries an error when `rows` are not rows of whole groups of this size, in `uint8`.
#[track_caller]
pub fn dequantize_rows(rows: &Array, group_size: i32, dtype: Dtype) -> Array {
    Array::from_result(dequantize(rows, group_size, dtype))
}

/// Returns attention over keys and values in 8 bits, with scale `1 / sqrt(dim)`.
///
/// `q` is `[batch, heads, queries, dim]`; keys and values are `[batch, kv_heads, keys, bytes]`, rows that [`quantize_rows`]
/// made in groups of one size. The result is that of
/// [`scaled_dot_product_attention`](super::scaled_dot_product_attention()) over the rows' numbers, in the dtype of `q`. On
/// the CPU one kernel reads the bytes, and converts some rows at a time; elsewhere all rows become numbers first. Nothing runs
/// until [`eval`](crate::eval()).
///
/// # Errors
/// The result carries an error when shapes or dtypes do not fit.
#[track_caller]
pub fn quantized_scaled_dot_product_attention(
    q: &Array,
    keys: &Array,
    values: &Array,
    mask: &AttentionMask,
) -> Array {
    Array::from_result(attention(q, keys, values, mask))
}

#[track_caller]
fn quantize(x: &Array, group_size: i32) -> Result<Array> {
    static KERNELS: [OnceLock<HostKernel>; GROUP_SIZES.len()] =
        [const { OnceLock::new() }; GROUP_SIZES.len()];
    let Some(place) = GROUP_SIZES.iter().position(|&size| size == group_size) else {
        let message = format!("group_size must be 32, 64 or 128, got {group_size}");
        return reject(QUANTIZE, message, &[x]);
    };
    if let Err(message) = quantized_type(&[x.array_type()?], group_size) {
        return reject(QUANTIZE, message, &[x]);
    }
    let kernel = kept(&KERNELS[place], || {
        let size = usize::try_from(group_size).unwrap_or_default();
        let kernel = host_kernel(
            QUANTIZE,
            move |inputs| Ok(vec![quantized_type(inputs, group_size)?]),
            move |inputs, outputs| cpu::quantize_rows(size, inputs, outputs),
        )?;
        Ok(kernel
            .joining_programs()
            .composed(move |inputs| inputs.iter().map(|x| composed(x, group_size)).collect()))
    })?;
    Ok(kernel.apply_one(&[x]))
}

/// The kernel in a place, where it is kept: compiled functions know a kernel by its identity.
#[track_caller]
fn kept(
    place: &'static OnceLock<HostKernel>,
    make: impl FnOnce() -> Result<HostKernel>,
) -> Result<&'static HostKernel> {
    if let Some(kernel) = place.get() {
        return Ok(kernel);
    }
    let kernel = make()?;
    Ok(place.get_or_init(|| kernel))
}

fn quantized_type(inputs: &[ArrayType], group_size: i32) -> std::result::Result<ArrayType, String> {
    let [x] = inputs else {
        return Err(format!("wanted 1 input, got {}", inputs.len()));
    };
    let is_stored = matches!(x.dtype, Dtype::Float32 | Dtype::Float16 | Dtype::Bfloat16);
    let Some((&dim, outer)) = x.shape.split_last().filter(|_| is_stored) else {
        return Err(format!(
            "x must be rows of float32, float16 or bfloat16, got {x}"
        ));
    };
    if dim == 0 || dim % group_size != 0 {
        return Err(format!(
            "rows of x must be whole groups of {group_size} numbers, got {x}"
        ));
    }
    let bytes = dim / group_size * (group_size + PARAMETERS);
    Ok(ArrayType {
        shape: outer.iter().copied().chain([bytes]).collect(),
        dtype: Dtype::Uint8,
    })
}

/// Rows in 8 bits in MLX's operations.
fn composed(x: &Array, group_size: i32) -> Array {
    let quantization = Quantization {
        group_size,
        bits: 8,
        mode: QuantizationMode::Affine,
    };
    let rows = cast(x, Dtype::Float32).atleast_2d();
    let quantized = match rows.quantize(quantization) {
        Ok(quantized) => quantized,
        Err(error) => return Array::failed(error),
    };
    let parts = [quantized.weight, quantized.scales].into_iter();
    let parts: Vec<Array> = parts
        .chain(quantized.biases)
        .map(|part| part.view(Dtype::Uint8))
        .collect();
    let rows = concatenate(&parts, -1);
    match x.ndim() {
        Ok(1) => rows.squeeze(0),
        _ => rows,
    }
}

#[track_caller]
fn dequantize(rows: &Array, group_size: i32, dtype: Dtype) -> Result<Array> {
    let array_type = rows.array_type()?;
    let bytes = array_type.shape.last().copied().unwrap_or_default();
    let whole = group_size > 0 && bytes > 0 && bytes % (group_size + PARAMETERS) == 0;
    if !whole || array_type.dtype != Dtype::Uint8 {
        let message = format!(
            "wanted uint8 rows of groups of {group_size} numbers with a scale and a bias, got {array_type}"
        );
        return reject(DEQUANTIZE, message, &[rows]);
    }
    let groups = bytes / (group_size + PARAMETERS);
    let dim = groups * group_size;
    let part = |start: i32, stop: i32| -> Array {
        let mut all = array_type.shape.clone();
        let last = all.len() - 1;
        all[last] = stop;
        let mut first = vec![0; all.len()];
        first[last] = start;
        let slice = Op::Slice {
            strides: vec![1; all.len()],
            start: first,
            stop: all,
        };
        bind(slice, &[rows])
    };
    let numbers = |start: i32| {
        let bytes = part(start, start + 4 * groups);
        bytes.view(Dtype::Float32).expand_dims(-1)
    };
    let codes = part(0, dim).astype(Dtype::Float32);
    let codes = codes.unflatten(-1, [groups, group_size]);
    let x = codes * numbers(dim) + numbers(dim + 4 * groups);
    Ok(cast(&x.flatten(-2, -1), dtype))
}

#[track_caller]
fn attention(q: &Array, keys: &Array, values: &Array, mask: &AttentionMask) -> Result<Array> {
    static KERNELS: [OnceLock<HostKernel>; 3] = [const { OnceLock::new() }; 3];
    let inputs = [q, keys, values];
    let types = [q.array_type()?, keys.array_type()?, values.array_type()?];
    let (scores, _) = match check(&types) {
        Ok(found) => found,
        Err(message) => return reject(ATTENTION, message, &inputs),
    };
    if scores.shape.iter().any(|size| *size == 0) {
        return Ok(zeros_with(types[0].shape.clone(), types[0].dtype));
    }
    let (place, mode, mask, alive) = match mask.resolve(&scores)? {
        Resolved::None => (0, MaskMode::None, None, None),
        Resolved::Causal => (1, MaskMode::Causal, None, None),
        Resolved::Array { mask, alive } => (2, MaskMode::Array, Some(mask), alive),
    };
    // The kernel reads a mask by its strides.
    let mask = mask.map(|mask| mask.broadcast_to(scores.shape));
    let kernel = kept(&KERNELS[place], || attention_kernel(mode))?;
    let inputs: Vec<&Array> = inputs.into_iter().chain(&mask).collect();
    let result = kernel.apply_one(&inputs);
    Ok(match alive {
        None => result,
        Some(alive) => where_(&alive, result, 0),
    })
}

#[track_caller]
fn attention_kernel(mode: MaskMode) -> Result<HostKernel> {
    let kernel = host_kernel(
        ATTENTION,
        |inputs| {
            check(inputs)?;
            Ok(inputs.iter().take(1).cloned().collect())
        },
        move |inputs, outputs| cpu::quantized_attention(mode, inputs, outputs),
    )?;
    let exact = move |inputs: &[Array]| match over_numbers(mode, inputs) {
        Ok(result) => vec![result],
        Err(error) => vec![Array::failed(error)],
    };
    Ok(kernel.joining_programs().composed(exact))
}

/// The same over keys and values that become numbers first.
fn over_numbers(mode: MaskMode, inputs: &[Array]) -> Result<Array> {
    let types: Result<Vec<ArrayType>> = inputs.iter().map(Array::array_type).collect();
    let types = types?;
    let (_, group_size) = check(&types).map_err(|text| crate::Error::op(ATTENTION, text))?;
    let dtype = types[0].dtype;
    let mut mask = AttentionMask::none();
    if mode == MaskMode::Causal {
        mask = mask.and_causal();
    }
    if let Some(given) = inputs.get(3) {
        mask = AttentionMask::from(given);
    }
    let options = super::AttentionOptions {
        mask,
        ..super::AttentionOptions::default()
    };
    let numbers = |rows: &Array| dequantize(rows, group_size, dtype);
    Ok(super::scaled_dot_product_attention_with(
        &inputs[0],
        &numbers(&inputs[1])?,
        &numbers(&inputs[2])?,
        &options,
    ))
}

/// Returns what is masked and the size of groups, or why queries, keys and values do not fit.
fn check(types: &[ArrayType]) -> std::result::Result<(Scores, i32), String> {
    let [q, keys, values, ..] = types else {
        return Err(format!("wanted 3 inputs or 4, got {}", types.len()));
    };
    let is_stored = matches!(q.dtype, Dtype::Float32 | Dtype::Float16 | Dtype::Bfloat16);
    let (&[batch, heads, queries, dim], true) = (q.shape.as_slice(), is_stored) else {
        return Err(format!(
            "q must be [batch, heads, queries, dim] of float32, float16 or bfloat16, got {q}"
        ));
    };
    let size = |n: i32| usize::try_from(n).unwrap_or_default();
    let (&[kv_batch, kv_heads, n_keys, bytes], Dtype::Uint8) = (keys.shape.as_slice(), keys.dtype)
    else {
        return Err(format!(
            "keys must be uint8 [batch, kv_heads, keys, bytes], got {keys}"
        ));
    };
    if values != keys {
        return Err(format!("values must be {keys} as the keys, got {values}"));
    }
    let group = group_size(size(dim), size(bytes)).and_then(|group| i32::try_from(group).ok());
    let Some(group) = group.filter(|group| GROUP_SIZES.contains(group)) else {
        return Err(format!(
            "keys must be rows of {dim} numbers in groups of 32, 64 or 128 to match q, got {keys}"
        ));
    };
    if kv_batch != batch || heads.checked_rem(kv_heads).unwrap_or(1) != 0 {
        return Err(format!(
            "keys must have batch {batch} and a divisor of {heads} heads to match q, got {keys}"
        ));
    }
    let scores = Scores {
        shape: [batch, heads, queries, n_keys].map(crate::Size::from),
        dtype: Dtype::Float32,
    };
    Ok((scores, group))
}

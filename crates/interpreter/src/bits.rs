//! Elements as bytes: views of one dtype as another, and FP8.

use half::{bf16, f16};
use mlx::Dtype;
use mlx_compiler::Result;

use crate::call::Call;
use crate::number::{Number, Rounding};
use crate::tensor::Tensor;

/// Returns the bytes of a tensor read as elements of another dtype.
pub(crate) fn view(x: &Tensor, dtype: Dtype, call: &Call<'_>) -> Result<Vec<Tensor>> {
    let bytes: Vec<u8> = x
        .numbers()
        .iter()
        .flat_map(|&x| to_bytes(x, x_dtype(x, dtype, call)))
        .collect();
    let numbers = bytes
        .chunks_exact(dtype.size())
        .map(|bytes| from_bytes(bytes, dtype))
        .collect();
    call.one(numbers)
}

/// The dtype of the first input, in which its elements are written.
fn x_dtype(_: Number, other: Dtype, call: &Call<'_>) -> Dtype {
    call.inputs.first().map_or(other, |input| input.dtype())
}

/// Returns an element as its dtype has it in memory.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn to_bytes(number: Number, dtype: Dtype) -> Vec<u8> {
    match number.cast(dtype, Rounding::PerOp) {
        Number::Bool(x) => vec![u8::from(x)],
        Number::Int(x) => x.to_le_bytes()[..dtype.size()].to_vec(),
        Number::Unsigned(x) => x.to_le_bytes()[..dtype.size()].to_vec(),
        Number::Float(x) => match dtype {
            Dtype::Float16 => f16::from_f64(x).to_le_bytes().to_vec(),
            Dtype::Bfloat16 => bf16::from_f64(x).to_le_bytes().to_vec(),
            Dtype::Float32 => (x as f32).to_le_bytes().to_vec(),
            _ => x.to_le_bytes().to_vec(),
        },
        Number::Complex(re, im) => [(re as f32).to_le_bytes(), (im as f32).to_le_bytes()].concat(),
    }
}

/// Returns the element that these bytes are.
#[allow(clippy::cast_possible_wrap)]
pub(crate) fn from_bytes(bytes: &[u8], dtype: Dtype) -> Number {
    let mut wide = [0_u8; 8];
    for (slot, &byte) in wide.iter_mut().zip(bytes) {
        *slot = byte;
    }
    let raw = u64::from_le_bytes(wide);
    let low = u32::from_le_bytes([wide[0], wide[1], wide[2], wide[3]]);
    let high = u32::from_le_bytes([wide[4], wide[5], wide[6], wide[7]]);
    let short = u16::from_le_bytes([wide[0], wide[1]]);
    match dtype {
        Dtype::Bool => Number::Bool(raw != 0),
        Dtype::Float16 => Number::Float(f16::from_bits(short).into()),
        Dtype::Bfloat16 => Number::Float(bf16::from_bits(short).into()),
        Dtype::Float32 => Number::Float(f32::from_bits(low).into()),
        Dtype::Float64 => Number::Float(f64::from_bits(raw)),
        Dtype::Complex64 => {
            Number::Complex(f32::from_bits(low).into(), f32::from_bits(high).into())
        }
        _ => Number::Unsigned(raw).cast(dtype, Rounding::PerOp),
    }
}

/// Returns the number that a byte is in FP8 (E4M3, without infinities).
pub(crate) fn from_fp8(byte: i64) -> f64 {
    let sign = if byte & 0x80 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = ((byte >> 3) & 0xF, byte & 0x7);
    if exponent == 0xF && fraction == 0x7 {
        return f64::NAN;
    }
    let exponent = i32::try_from(exponent).unwrap_or(0);
    #[allow(clippy::cast_precision_loss)]
    let fraction = fraction as f64 / 8.0;
    if exponent == 0 {
        sign * fraction * 2_f64.powi(-6)
    } else {
        sign * (1.0 + fraction) * 2_f64.powi(exponent - 7)
    }
}

/// Returns the nearest number of FP8, ties to even; what is beyond the range becomes the maximum.
pub(crate) fn to_fp8(x: f64) -> u64 {
    let sign = if x.is_sign_negative() { 0x80 } else { 0 };
    if x.is_nan() {
        // MLX has no NaN there.
        return sign | 0x7E;
    }
    // Magnitudes grow with their bytes, so the nearest one is next to the first that is not less.
    let distance = |byte: &u64| (from_fp8(i64::try_from(*byte).unwrap_or(0)) - x.abs()).abs();
    let best = (0..0x7F_u64).fold(0, |best, byte| {
        let (a, b) = (distance(&best), distance(&byte));
        if b < a || (b == a && byte % 2 == 0) {
            byte
        } else {
            best
        }
    });
    sign | if x.abs().is_infinite() { 0x7E } else { best }
}

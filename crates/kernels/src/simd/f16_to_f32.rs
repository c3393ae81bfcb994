//! Conversion of `f16` and `bf16` to `f32`: by the processor's instruction (F16C) where there is one, by shifts elsewhere.

use half::{bf16, f16};

/// Writes `values` as `f32`; both slices have the same length.
#[inline(always)]
pub(crate) fn f16_to_f32(values: &[f16], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if x86::f16_to_f32(values, out) {
        return;
    }
    for (out, value) in out.iter_mut().zip(values) {
        *out = f16_to_f32_by_shifts(*value);
    }
}

/// Writes `values` as `f32`; both slices have the same length.
#[inline(always)]
pub(crate) fn bf16_to_f32(values: &[bf16], out: &mut [f32]) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = f32::from_bits(u32::from(value.to_bits()) << 16);
    }
}

/// The `f32` of an `f16`, without a branch: the compiler vectorizes a loop of it.
#[inline(always)]
pub(crate) fn f16_to_f32_by_shifts(value: f16) -> f32 {
    /// `2^112`: the difference of the biases of the exponents.
    const REBIAS: f32 = f32::from_bits((112 + 127) << 23);
    const FIRST_INFINITE: u32 = 0x7c00;
    let bits = u32::from(value.to_bits());
    let magnitude = bits & 0x7fff;
    let finite = (f32::from_bits(magnitude << 13) * REBIAS).to_bits();
    let infinite = 0x7f80_0000 | (magnitude << 13);
    let magnitude_f32 = if magnitude >= FIRST_INFINITE {
        infinite
    } else {
        finite
    };
    f32::from_bits(magnitude_f32 | (bits & 0x8000) << 16)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![expect(unsafe_code, reason = "pulp has no conversion of half precision")]

    use std::arch::is_x86_feature_detected;
    use std::arch::x86_64::_mm256_cvtph_ps;

    use half::f16;
    use pulp::bytemuck::cast;

    /// Converts and returns true, if the processor has the instruction.
    pub(super) fn f16_to_f32(values: &[f16], out: &mut [f32]) -> bool {
        let able = is_x86_feature_detected!("avx") && is_x86_feature_detected!("f16c");
        if able {
            // SAFETY: the processor has AVX and F16C, which is all that the function needs.
            unsafe { convert(values, out) };
        }
        able
    }

    #[target_feature(enable = "avx,f16c")]
    fn convert(values: &[f16], out: &mut [f32]) {
        let (values, tail) = values.as_chunks::<8>();
        let (out, out_tail) = out.as_chunks_mut::<8>();
        for (out, values) in out.iter_mut().zip(values) {
            *out = cast(_mm256_cvtph_ps(cast(values.map(f16::to_bits))));
        }
        for (out, value) in out_tail.iter_mut().zip(tail) {
            *out = super::f16_to_f32_by_shifts(*value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_and_instruction_agree_on_every_number() {
        let values: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        let mut converted = vec![0.0; values.len()];
        f16_to_f32(&values, &mut converted);
        for (value, converted) in values.iter().zip(converted) {
            let exact = value.to_f32();
            assert!(
                converted == exact && f16_to_f32_by_shifts(*value) == exact
                    || converted.is_nan() && value.is_nan()
            );
        }
    }
}

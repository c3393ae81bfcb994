//! From half to single precision: with the processor's instruction where there is one, with shifts where not.

use half::{bf16, f16};

/// Writes `values` as `f32`; both slices have one length.
#[inline(always)]
pub(crate) fn widen_f16(values: &[f16], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if x86::widen(values, out) {
        return;
    }
    for (out, value) in out.iter_mut().zip(values) {
        *out = shifted(*value);
    }
}

/// Writes `values` as `f32`; both slices have one length.
#[inline(always)]
pub(crate) fn widen_bf16(values: &[bf16], out: &mut [f32]) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = f32::from_bits(u32::from(value.to_bits()) << 16);
    }
}

/// The `f32` of an `f16`, without a branch: a loop of it becomes vector instructions.
#[inline(always)]
fn shifted(value: f16) -> f32 {
    /// `2^112`: the difference of the biases of the exponents.
    const REBIAS: f32 = f32::from_bits((112 + 127) << 23);
    const FIRST_INFINITE: u32 = 0x7c00;
    let bits = u32::from(value.to_bits());
    let magnitude = bits & 0x7fff;
    let finite = (f32::from_bits(magnitude << 13) * REBIAS).to_bits();
    let infinite = 0x7f80_0000 | (magnitude << 13);
    let wide = if magnitude >= FIRST_INFINITE {
        infinite
    } else {
        finite
    };
    f32::from_bits(wide | (bits & 0x8000) << 16)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![expect(unsafe_code, reason = "pulp has no conversion of half precision")]

    use std::arch::is_x86_feature_detected;
    use std::arch::x86_64::_mm256_cvtph_ps;

    use half::f16;
    use pulp::bytemuck::cast;

    /// Whether it was done: if the processor has the instruction.
    pub(super) fn widen(values: &[f16], out: &mut [f32]) -> bool {
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
            *out = super::shifted(*value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_and_instruction_agree_on_every_number() {
        let values: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        let mut wide = vec![0.0; values.len()];
        widen_f16(&values, &mut wide);
        for (value, wide) in values.iter().zip(wide) {
            let exact = value.to_f32();
            assert!(wide == exact && shifted(*value) == exact || wide.is_nan() && value.is_nan());
        }
    }
}

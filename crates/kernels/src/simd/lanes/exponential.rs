//! `exp` and `log` of a register.

use pulp::Simd;

use super::Lanes;

/// `1.5 * 2^23`: adding it to a number below `2^22` rounds that to an integer, stored in the low bits.
pub(super) const ROUND: f32 = 12_582_912.0;
const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// `ln 2` in two parts; the first has so few bits that its product with an exponent is exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// `(exp(r) - 1 - r) / r^2` on `[-ln(2)/2, ln(2)/2]`.
const EXP: [f32; 6] = [
    1.987_569_1e-4,
    1.398_199_9e-3,
    8.333_452e-3,
    4.166_579_6e-2,
    1.666_666_5e-1,
    0.5,
];
/// `(log(1 + f) - f + f^2 / 2) / f^3` on `[sqrt(1/2) - 1, sqrt(2) - 1]`.
const LOG: [f32; 9] = [
    7.037_683_6e-2,
    -1.151_461e-1,
    1.167_699_9e-1,
    -1.242_014_1e-1,
    1.424_932_3e-1,
    -1.666_805_8e-1,
    2.000_071_5e-1,
    -2.499_999_4e-1,
    3.333_333e-1,
];
const ONE: u32 = 0x3f80_0000;
const SQRT_HALF: u32 = 0x3f35_04f3;
const MANTISSA: u32 = 0x007f_ffff;
const MIN_NORMAL: u32 = 0x0080_0000;
const INFINITY: u32 = 0x7f80_0000;

impl<S: Simd> Lanes<S> {
    /// `e^self`, within 1 ulp or so over the whole range, denormal results included.
    #[inline(always)]
    pub(crate) fn exp(self) -> Self {
        let s = self.simd;
        if Self::HAS_SCALEF {
            // The second operand is taken if either is NaN, so that NaN is kept.
            let x = self.constant(89.0).min(self.constant(-104.0).max(self));
            return x.exp_by_scalef();
        }
        let x = self.max(self.constant(-104.0)).min(self.constant(89.0));
        let (power, exponent) = x.exp_parts();
        // 2^n in two factors, because n reaches from -150 to 128: only the last product rounds.
        let biased = s.add_u32s(exponent, s.splat_u32s(254));
        let half = s.wrapping_dyn_shr_u32s(biased, s.splat_u32s(1));
        let rest = s.sub_u32s(biased, half);
        let shift = s.splat_u32s(23);
        let half = Self::from_bits(s, s.wrapping_dyn_shl_u32s(half, shift));
        let rest = Self::from_bits(s, s.wrapping_dyn_shl_u32s(rest, shift));
        (power * half * rest).propagate_nan(self)
    }

    /// `e^self` for `self <= 0`; results below the smallest normal number may be 0. NaN is kept.
    #[inline(always)]
    pub(crate) fn exp_nonpositive(self) -> Self {
        let s = self.simd;
        if Self::HAS_SCALEF {
            return self.constant(-104.0).max(self).exp_by_scalef();
        }
        let x = self.max(self.constant(-87.5));
        let (power, exponent) = x.exp_parts();
        let biased = s.add_u32s(exponent, s.splat_u32s(127));
        let scale = Self::from_bits(s, s.wrapping_dyn_shl_u32s(biased, s.splat_u32s(23)));
        Self::select(
            self.less_than(self.constant(-87.0)),
            self.constant(0.0),
            power * scale,
        )
        .propagate_nan(self)
    }

    /// `e^self` for `self` from -104 to 89 or NaN, with the scaling instruction.
    #[inline(always)]
    fn exp_by_scalef(self) -> Self {
        let round = self.constant(ROUND);
        let n = self.mul_add(self.constant(LOG2_E), round) - round;
        self.exp_rest(n).scalef(n)
    }

    /// `(e^r, n)` with `self = n * ln(2) + r`.
    #[inline(always)]
    fn exp_parts(self) -> (Self, S::u32s) {
        let s = self.simd;
        let round = self.constant(ROUND);
        let shifted = self.mul_add(self.constant(LOG2_E), round);
        let exponent = s.sub_u32s(shifted.bits(), round.bits());
        (self.exp_rest(shifted - round), exponent)
    }

    /// `e^r` with `self = n * ln(2) + r`.
    #[inline(always)]
    fn exp_rest(self, n: Self) -> Self {
        let r = n.mul_add(self.constant(-LN_2_HIGH), self);
        let r = n.mul_add(self.constant(-LN_2_LOW), r);
        r.polynomial(EXP).mul_add(r * r, r) + self.constant(1.0)
    }

    /// `e^self - 1`, within 2 ulp.
    #[inline(always)]
    pub(crate) fn expm1(self) -> Self {
        let s = self.simd;
        let x = self.max(self.constant(-30.0)).min(self.constant(89.0));
        let round = self.constant(ROUND);
        let shifted = x.mul_add(self.constant(LOG2_E), round);
        let exponent = s.sub_u32s(shifted.bits(), round.bits());
        let n = shifted - round;
        let r = n.mul_add(self.constant(-LN_2_HIGH), x);
        let r = n.mul_add(self.constant(-LN_2_LOW), r);
        let power = r.polynomial(EXP).mul_add(r * r, r);
        // Half of it, because 2^128 is infinite.
        let biased = s.add_u32s(exponent, s.splat_u32s(126));
        let scale = Self::from_bits(s, s.wrapping_dyn_shl_u32s(biased, s.splat_u32s(23)));
        let half = scale.mul_add(power, scale - self.constant(0.5));
        // Where half of it would be denormal, and for the sign of a zero.
        let is_tiny = self.abs().less_than(self.constant(1e-8));
        Self::select(is_tiny, self, half + half).propagate_nan(self)
    }

    /// `(e, f)` with `self = 2^e * (1 + f)` for a positive number, denormal ones included.
    #[inline(always)]
    fn log_parts(self) -> (Self, Self) {
        let s = self.simd;
        let tiny = self.less_than(self.constant(f32::MIN_POSITIVE));
        let scaled = Self::select(tiny, self * self.constant(8_388_608.0), self);
        let offset = s.add_u32s(scaled.bits(), s.splat_u32s(ONE - SQRT_HALF));
        // The exponent of a positive number is below 2^8: set into the bits of 2^23, it reads as 2^23 + exponent.
        let exponent = s.or_u32s(
            s.wrapping_dyn_shr_u32s(offset, s.splat_u32s(23)),
            s.splat_u32s(8_388_608_f32.to_bits()),
        );
        let bias = Self::select(
            tiny,
            self.constant(8_388_608.0 + 127.0 + 23.0),
            self.constant(8_388_608.0 + 127.0),
        );
        let e = Self::from_bits(s, exponent) - bias;
        let mantissa = s.add_u32s(
            s.and_u32s(offset, s.splat_u32s(MANTISSA)),
            s.splat_u32s(SQRT_HALF),
        );
        (e, Self::from_bits(s, mantissa) - self.constant(1.0))
    }

    /// A logarithm of `self`, of which `log` is that of positive finite numbers.
    #[inline(always)]
    fn log_or_special(self, log: Self) -> Self {
        let zero = self.constant(0.0);
        let infinity = self.constant(f32::INFINITY);
        let log = Self::select(self.equal(zero), -infinity, log);
        let log = Self::select(self.equal(infinity), infinity, log);
        let log = Self::select(self.less_than(zero), self.constant(f32::NAN), log);
        log.propagate_nan(self)
    }

    /// The natural logarithm, within 1 ulp or so; `-inf` at 0 and NaN below.
    #[inline(always)]
    pub(crate) fn log(self) -> Self {
        if self.is_normal_and_positive() {
            return self.log_of_normal();
        }
        let (e, f) = self.log_parts();
        self.log_or_special(Self::log_of_parts(e, f))
    }

    /// Whether all lanes are positive, finite and not denormal, as nearly all arguments are.
    #[inline(always)]
    fn is_normal_and_positive(self) -> bool {
        let s = self.simd;
        let above = s.sub_u32s(self.bits(), s.splat_u32s(MIN_NORMAL));
        let outside = s.greater_than_or_equal_u32s(above, s.splat_u32s(INFINITY - MIN_NORMAL));
        s.first_true_m32s(outside) >= S::F32_LANES
    }

    /// The natural logarithm of lanes that are all positive, finite and not denormal.
    #[inline(always)]
    fn log_of_normal(self) -> Self {
        let s = self.simd;
        let offset = s.add_u32s(self.bits(), s.splat_u32s(ONE - SQRT_HALF));
        let exponent = s.or_u32s(
            s.wrapping_dyn_shr_u32s(offset, s.splat_u32s(23)),
            s.splat_u32s(8_388_608_f32.to_bits()),
        );
        let e = Self::from_bits(s, exponent) - self.constant(8_388_608.0 + 127.0);
        let mantissa = s.add_u32s(
            s.and_u32s(offset, s.splat_u32s(MANTISSA)),
            s.splat_u32s(SQRT_HALF),
        );
        let f = Self::from_bits(s, mantissa) - self.constant(1.0);
        Self::log_of_parts(e, f)
    }

    /// The natural logarithm of `2^e * (1 + f)`.
    #[inline(always)]
    fn log_of_parts(e: Self, f: Self) -> Self {
        let rest = f.polynomial(LOG).mul_add(f, f.constant(-0.5));
        let log = rest.mul_add(f * f, f);
        let log = e.mul_add(f.constant(LN_2_LOW), log);
        e.mul_add(f.constant(LN_2_HIGH), log)
    }

    /// The logarithm to a base whose `1 / ln(base)` is `high + low` and `log(2)` `two_high + two_low`; the first parts
    /// have so few bits that their products with what is close are exact.
    #[inline(always)]
    fn log_to_base(self, [high, low]: [f32; 2], [two_high, two_low]: [f32; 2]) -> Self {
        let (e, f) = self.log_parts();
        let square = f * f;
        let tail = square.mul_add(self.constant(-0.5), f.polynomial(LOG) * f * square);
        let sum = (f + tail) * self.constant(low);
        let sum = e.mul_add(self.constant(two_low), sum);
        let sum = tail.mul_add(self.constant(high), sum);
        let sum = f.mul_add(self.constant(high), sum);
        self.log_or_special(e.mul_add(self.constant(two_high), sum))
    }

    /// The logarithm to base 2, within 2 ulp; exact for powers of 2.
    #[inline(always)]
    pub(crate) fn log2(self) -> Self {
        self.log_to_base([1.442_382_8, 3.122_284e-4], [1.0, 0.0])
    }

    /// The logarithm to base 10, within 2 ulp.
    #[inline(always)]
    pub(crate) fn log10(self) -> Self {
        self.log_to_base([0.433_593_75, 7.007_319e-4], [0.300_781_25, 2.487_456_6e-4])
    }

    /// `log(1 + self)`, within 2 ulp; `-inf` at -1 and NaN below.
    #[inline(always)]
    pub(crate) fn log1p(self) -> Self {
        let s = self.simd;
        let one = self.constant(1.0);
        let sum = self + one;
        let (e, f) = sum.log_parts();
        let is_near = e.equal(self.constant(0.0));
        let f = Self::select(is_near, self, f);
        // What the sum has lost, by the sum: a hundredth of an ulp does not matter here.
        let lost = Self::select(one.less_than(self), one - (sum - self), self - (sum - one));
        let exponent = s.and_u32s(sum.bits(), s.splat_u32s(0x7f80_0000));
        let inverse = Self::from_bits(s, s.sub_u32s(s.splat_u32s(0x7f00_0000), exponent));
        let mantissa = sum * inverse;
        // 1 / m for m from 1 to 2, within 2 percent.
        let inverse_mantissa = mantissa.polynomial([0.257_9, -1.268_1, 2.005_7]);
        let lost = lost * inverse * inverse_mantissa;
        let lost = Self::select(is_near, self.constant(0.0), lost);
        let square = f * f;
        let tail = e.mul_add(self.constant(LN_2_LOW), f.polynomial(LOG) * f * square);
        let tail = square.mul_add(self.constant(-0.5), tail + lost);
        let log = e.mul_add(self.constant(LN_2_HIGH), f + tail);
        // For the sign of a zero, and denormal numbers.
        let is_tiny = self.abs().less_than(self.constant(1e-8));
        Self::select(is_tiny, self, sum.log_or_special(log))
    }

    /// `log(e^self + e^other)`, within 3 ulp of the larger of the result and the larger operand.
    #[inline(always)]
    pub(crate) fn logaddexp(self, other: Self) -> Self {
        let is_less = self.less_than(other);
        let most = Self::select(is_less, other, self);
        let least = Self::select(is_less, self, other);
        let difference = least - most;
        let sum = most + difference.exp_nonpositive().log1p();
        // The difference of two infinities is NaN.
        let infinity = self.constant(f32::INFINITY);
        let sum = Self::select(most.equal(infinity), most, sum);
        let sum = Self::select(least.equal(-infinity), most, sum);
        sum.propagate_nan(self).propagate_nan(other)
    }
}

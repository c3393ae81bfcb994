//! `tanh`, the logistic function and the error function of a register, and the activations made of them.

use pulp::Simd;

use super::Lanes;
use super::exponential::ROUND;

/// `((exp(2 r) - 1) / 2 - r) / r^2` on `[-ln(2)/4, ln(2)/4]`.
const HALF_EXPM1: [f32; 5] = [
    4.442_405_3e-2,
    1.338_647_6e-1,
    3.333_376e-1,
    6.666_617_4e-1,
    9.999_999_4e-1,
];
/// Beyond this magnitude `tanh` is 1.
const TANH_LIMIT: f32 = 10.0;
/// `2 / ln(2)`.
const TWO_LOG2_E: f32 = 2.0 * std::f32::consts::LOG2_E;
/// `ln(2) / 2` in two parts; the first has so few bits that its product with an exponent is exact.
const HALF_LN_2_HIGH: f32 = 355.0 / 1024.0;
const HALF_LN_2_LOW: f32 = -1.060_972_2e-4;
/// `erf(x) / x - 1` in `x^2`, for `|x| < 0.921875`.
const ERF_SMALL: [f32; 6] = [
    -5.967_617e-4,
    4.991_194_2e-3,
    -2.676_813_5e-2,
    1.128_199_3e-1,
    -3.761_253_4e-1,
    1.283_791_7e-1,
];
/// `log(1 - erf(x)) + x` divided by `x`, for larger `|x|`.
const ERF_LARGE: [f32; 7] = [
    -1.728_534_7e-5,
    3.831_971_3e-4,
    -3.883_964_4e-3,
    2.425_462_2e-2,
    -1.067_778_8e-1,
    -6.348_468_7e-1,
    -1.287_175_1e-1,
];
/// `erfinv(x) / x` in `log(1 - x^2)`, where that is at least -6.125: the coefficients of MLX.
const ERFINV_MIDDLE: [f32; 10] = [
    5.438_778_3e-9,
    1.432_854_5e-7,
    1.227_747_9e-6,
    1.129_636_26e-7,
    -5.615_307_6e-5,
    -1.476_976_3e-4,
    2.314_686_8e-3,
    1.153_925_8e-2,
    -2.320_154_8e-1,
    8.862_269e-1,
];
/// The same for the tails.
const ERFINV_TAIL: [f32; 9] = [
    3.036_975_7e-10,
    2.932_431e-8,
    1.221_503_3e-6,
    2.841_089_6e-5,
    3.935_529_7e-4,
    3.026_988_1e-3,
    4.831_858e-3,
    -2.646_461_4e-1,
    8.400_165e-1,
];
const SQRT_HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;
/// `2 * sqrt(2 / pi)`.
const GELU_TANH: f32 = 1.595_769;
const GELU_CUBE: f32 = 0.044_715;

impl<S: Simd> Lanes<S> {
    /// The hyperbolic tangent: `u / (u + 1)` with `u = (e^2|x| - 1) / 2`, which does not cancel near 0.
    #[inline(always)]
    pub(crate) fn tanh(self) -> Self {
        let s = self.simd;
        let one = self.constant(1.0);
        // The second operand is taken if either is NaN, so that NaN is kept where registers have it so.
        let x = self.constant(TANH_LIMIT).min(self.abs());
        let round = self.constant(ROUND);
        let shifted = x.mul_add(self.constant(TWO_LOG2_E), round);
        let n = shifted - round;
        let r = n.mul_add(self.constant(-HALF_LN_2_HIGH), x);
        let r = n.mul_add(self.constant(-HALF_LN_2_LOW), r);
        let rest = r.polynomial(HALF_EXPM1).mul_add(r * r, r);
        // 2^n from 1 to 2^29.
        let exponent = s.wrapping_dyn_shl_u32s(shifted.bits(), s.splat_u32s(23));
        let scale = Self::from_bits(s, s.add_u32s(exponent, s.splat_u32s(1.0_f32.to_bits())));
        let half = self.constant(0.5);
        let u = scale.mul_add(rest, scale.mul_add(half, -half));
        let result = u.divide_fast(u + one).copysign(self);
        if Self::HAS_SCALEF {
            result
        } else {
            result.propagate_nan(self)
        }
    }

    /// `1 / (1 + e^-x)`, relative to the result for every x: the far left tail does not vanish early.
    #[inline(always)]
    pub(crate) fn sigmoid(self) -> Self {
        let one = self.constant(1.0);
        let decay = (-self.abs()).exp();
        let numerator = Self::select(self.less_than(self.constant(0.0)), decay, one);
        numerator / (one + decay)
    }

    /// The logistic function within `2^-23`, for the gates of recurrent layers: cheaper than
    /// [`sigmoid`](Self::sigmoid), which is as exact where the result is tiny.
    #[inline(always)]
    pub(crate) fn gate(self) -> Self {
        let one = self.constant(1.0);
        // The second operand is taken if either is NaN, so that NaN is kept where registers have it so.
        let x = self.constant(87.0).min(self.abs());
        let decay = (-x).exp_nonpositive();
        let numerator = Self::select(self.less_than(self.constant(0.0)), decay, one);
        let result = numerator.divide_fast(one + decay);
        if Self::HAS_SCALEF {
            result
        } else {
            result.propagate_nan(self)
        }
    }

    /// The error function.
    #[inline(always)]
    pub(crate) fn erf(self) -> Self {
        let magnitude = self.abs();
        let square = self * self;
        let small = square.polynomial(ERF_SMALL).mul_add(self, self);
        // Beyond 4 the result is 1; the bound keeps the polynomial from leaving its range.
        let bounded = magnitude.min(self.constant(4.0));
        let power = bounded.polynomial(ERF_LARGE).mul_add(bounded, -bounded);
        let large = (self.constant(1.0) - power.exp_nonpositive()).copysign(self);
        Self::select(magnitude.less_than(self.constant(0.921_875)), small, large)
            .propagate_nan(self)
    }

    /// The inverse of the error function: infinite at -1 and 1, NaN beyond.
    #[inline(always)]
    pub(crate) fn erfinv(self) -> Self {
        // Rounded once: near 1 the square's error would be as large as the difference.
        let t = self.mul_add_exact(-self, self.constant(1.0)).log();
        let is_tail = t.less_than(self.constant(-6.125));
        let quotient = Self::select(
            is_tail,
            t.polynomial(ERFINV_TAIL),
            t.polynomial(ERFINV_MIDDLE),
        );
        self * quotient
    }

    /// `x * (1 + erf(x / sqrt(2))) / 2`.
    #[inline(always)]
    pub(crate) fn gelu(self) -> Self {
        let half = self * self.constant(0.5);
        let erf = (self * self.constant(SQRT_HALF)).erf();
        half.mul_add(erf, half)
    }

    /// `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2`.
    #[inline(always)]
    pub(crate) fn gelu_tanh(self) -> Self {
        // (1 + tanh(u)) / 2 is the logistic function of 2 u.
        let cube = (self * self.constant(GELU_CUBE) * self).mul_add(self, self);
        self * (cube * self.constant(GELU_TANH)).sigmoid()
    }

    /// `x / (1 + e^-x)`.
    #[inline(always)]
    pub(crate) fn silu(self) -> Self {
        self * self.sigmoid()
    }
}

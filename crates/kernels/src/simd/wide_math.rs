//! Functions of `f32` in `f64` arithmetic without a branch, which the compiler vectorizes: each is rounded once, from a
//! value within `2^-27` of the exact one, so that the result is within 0.7 ulp.
//!
//! `FMA` tells whether the instruction set in use multiplies and adds in one instruction.

/// `1.5 * 2^52`: adding it to a number below `2^51` rounds that to an integer, stored in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;
const ONE: u64 = 0x3ff0_0000_0000_0000;
const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
const MANTISSA: u64 = 0x000f_ffff_ffff_ffff;
/// `2^52`, in whose low bits an exponent is read as a number.
const EXPONENT: u64 = 0x4330_0000_0000_0000;
const LN_2: f64 = std::f64::consts::LN_2;
const LOG2_E: f64 = std::f64::consts::LOG2_E;
const HALF_PI: f64 = std::f64::consts::FRAC_PI_2;
/// `tan(pi / 8)`.
const TAN_EIGHTH: f64 = std::f64::consts::SQRT_2 - 1.0;
/// What `HALF_PI` lacks.
const HALF_PI_LOW: f64 = 6.123_233_995_736_766e-17;

/// `(log(1 + f) - f + f^2 / 2) / f^3` on `[sqrt(1/2) - 1, sqrt(2) - 1]`.
const LOG: [f64; 11] = [
    5.555_094_556_064_493e-2,
    -9.727_659_389_760_898e-2,
    9.804_564_386_097_082e-2,
    -9.931_553_137_948_022e-2,
    1.104_825_037_715_739_5e-1,
    -1.249_992_771_718_601_8e-1,
    1.428_788_609_998_250_3e-1,
    -1.666_671_980_607_466e-1,
    1.999_997_372_789_637_5e-1,
    -2.499_999_949_870_83e-1,
    3.333_333_338_480_375_4e-1,
];
/// `(exp(r) - 1 - r) / r^2` on `[-ln(2)/2, ln(2)/2]`.
const EXP: [f64; 6] = [
    1.989_098_086_975_032_7e-4,
    1.393_364_103_198_670_1e-3,
    8.333_310_934_448_869e-3,
    4.166_646_500_604_005e-2,
    1.666_666_668_161_425_6e-1,
    5.000_000_013_457_727e-1,
];
/// `(atan(t) - t) / t^3` in `t^2`, for `|t| <= tan(pi / 8)`.
const ATAN: [f64; 6] = [
    5.048_138_512_079_744_5e-2,
    -8.624_676_145_249_494e-2,
    1.107_136_502_188_479_4e-1,
    -1.428_415_119_362_861_4e-1,
    1.999_997_725_868_838_7e-1,
    -3.333_333_327_925_48e-1,
];
/// `(asin(x) - x) / x^3` in `x^2`, for `|x| <= 1/2`.
const ASIN: [f64; 7] = [
    3.097_454_037_135_507_4e-2,
    1.057_441_551_691_290_9e-2,
    2.361_181_700_889_175_2e-2,
    3.026_913_872_858_918_3e-2,
    4.464_766_388_813_485e-2,
    7.499_992_404_401_838e-2,
    1.666_666_668_608_564_3e-1,
];
/// `(sin(r) - r) / r^3` in `r^2`, for `|r| <= pi / 4`.
const SIN: [f64; 4] = [
    2.724_992_580_305_979e-6,
    -1.984_008_673_538_485e-4,
    8.333_331_874_710_208e-3,
    -1.666_666_666_385_529e-1,
];
/// `(cos(r) - 1) / r^2` in `r^2`, for `|r| <= pi / 4`.
const COS: [f64; 5] = [
    -2.723_714_041_801_6e-7,
    2.479_986_219_014_839_6e-5,
    -1.388_888_509_139_92e-3,
    4.166_666_663_739_607e-2,
    -4.999_999_999_996_389e-1,
];

/// `erfinv(a) / a` in `log(1 - a^2)`, from -6.125 to 0.
const ERFINV_NEAR: [f64; 14] = [
    -1.330_023_643_544_866_2e-12,
    -6.643_507_567_748_382e-11,
    -1.441_469_185_087_414_3e-9,
    -1.730_805_133_668_286_6e-8,
    -1.177_633_109_023_660_8e-7,
    -3.672_409_028_186_396_5e-7,
    2.217_086_905_216_934_7e-7,
    7.054_251_854_442_908e-7,
    -4.809_819_247_323_373e-5,
    -1.291_391_571_445_501_2e-4,
    2.334_614_015_880_142e-3,
    1.154_922_782_286_638_5e-2,
    -2.320_136_771_695_554_8e-1,
    8.862_269_252_869_854e-1,
];
/// The same from -17 to -6.125.
const ERFINV_FAR: [f64; 12] = [
    7.803_787_732_675_343e-14,
    1.138_047_141_554_660_5e-11,
    7.556_437_970_795_979e-10,
    3.017_545_577_846_520_7e-8,
    8.055_711_158_433_021e-7,
    1.508_920_517_946_150_6e-5,
    2.018_062_359_711_500_2e-4,
    1.909_022_201_181_153_8e-3,
    1.209_476_059_576_388_4e-2,
    4.020_198_529_629_363e-2,
    -1.836_901_461_108_436_7e-1,
    9.224_114_236_369_643e-1,
];

#[inline(always)]
fn mul_add<const FMA: bool>(a: f64, b: f64, c: f64) -> f64 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// The polynomial whose highest coefficient comes first.
#[inline(always)]
fn polynomial<const FMA: bool, const N: usize>(x: f64, coefficients: [f64; N]) -> f64 {
    let mut sum = coefficients[0];
    for coefficient in &coefficients[1..] {
        sum = mul_add::<FMA>(sum, x, *coefficient);
    }
    sum
}

/// `(e, f)` with `x = 2^e * (1 + f)`, for a positive normal number.
#[inline(always)]
fn split(x: f64) -> (f64, f64) {
    let offset = x.to_bits().wrapping_add(ONE - SQRT_HALF);
    let exponent = f64::from_bits((offset >> 52) | EXPONENT) - (f64::from_bits(EXPONENT) + 1023.0);
    let mantissa = (offset & MANTISSA).wrapping_add(SQRT_HALF);
    (exponent, f64::from_bits(mantissa) - 1.0)
}

/// `log(1 + f)` for a `f` of [`split`].
#[inline(always)]
fn log_of_fraction<const FMA: bool>(f: f64) -> f64 {
    let cubic = mul_add::<FMA>(polynomial::<FMA, 11>(f, LOG), f, -0.5);
    mul_add::<FMA>(f * f, cubic, f)
}

/// `log(1 + x)` for `x >= 0`, infinity and NaN.
#[inline(always)]
fn log1p_of_positive<const FMA: bool>(x: f64) -> f64 {
    let (e, f) = split(1.0 + x);
    let f = if e == 0.0 { x } else { f };
    let log = mul_add::<FMA>(e, LN_2, log_of_fraction::<FMA>(f));
    if x < f64::INFINITY { log } else { x }
}

/// `(e^x - 1, 2^n, n)` parts: `e^x = 2^n * (1 + p)`; returns `(p, 2^n)`. `x` is from -700 to 700 or NaN.
#[inline(always)]
fn exp_parts<const FMA: bool>(x: f64) -> (f64, f64) {
    let shifted = mul_add::<FMA>(x, LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<FMA>(n, -LN_2, x);
    let p = mul_add::<FMA>(polynomial::<FMA, 6>(r, EXP), r * r, r);
    (p, power_of_two(shifted))
}

/// `2^n` where `shifted` is `ROUND + n`.
#[inline(always)]
fn power_of_two(shifted: f64) -> f64 {
    let biased = shifted
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .wrapping_add(1023);
    f64::from_bits(biased << 52)
}

/// A bound that keeps NaN.
#[inline(always)]
fn bounded(x: f64, least: f64, most: f64) -> f64 {
    let x = if x < least { least } else { x };
    if x > most { most } else { x }
}

/// The hyperbolic sine.
#[inline(always)]
pub(crate) fn sinh<const FMA: bool>(x: f32) -> f32 {
    let magnitude = bounded(f64::from(x).abs(), 0.0, 100.0);
    let (p, scale) = exp_parts::<FMA>(magnitude);
    let minus_one = mul_add::<FMA>(scale, p, scale - 1.0);
    let sinh = 0.5 * (minus_one + minus_one / (minus_one + 1.0));
    (sinh as f32).copysign(x)
}

/// The hyperbolic cosine.
#[inline(always)]
pub(crate) fn cosh<const FMA: bool>(x: f32) -> f32 {
    let magnitude = bounded(f64::from(x).abs(), 0.0, 100.0);
    let (p, scale) = exp_parts::<FMA>(magnitude);
    let exp = mul_add::<FMA>(scale, p, scale);
    (0.5 * (exp + 1.0 / exp)) as f32
}

/// Up to this magnitude [`tan`] reduces an argument to full precision.
pub(crate) const TAN_LIMIT: f32 = 1_048_576.0;

/// The tangent, for `|x|` up to the limit.
#[inline(always)]
pub(crate) fn tan<const FMA: bool>(x: f32) -> f32 {
    let wide = f64::from(x);
    let shifted = mul_add::<FMA>(wide, std::f64::consts::FRAC_2_PI, ROUND);
    let n = shifted - ROUND;
    // The first part has 33 bits, so that its product with a quarter below 2^20 is exact.
    let high = f64::from_bits(HALF_PI.to_bits() & 0xffff_ffff_fff0_0000);
    let r = wide - n * high;
    let r = r - n * ((HALF_PI - high) + HALF_PI_LOW);
    let square = r * r;
    let sin = mul_add::<FMA>(polynomial::<FMA, 4>(square, SIN) * square, r, r);
    let cos = mul_add::<FMA>(polynomial::<FMA, 5>(square, COS), square, 1.0);
    let is_odd = shifted.to_bits() & 1 == 1;
    let (numerator, denominator) = if is_odd { (-cos, sin) } else { (sin, cos) };
    let tan = (numerator / denominator) as f32;
    // The sign of a zero would be lost in the reduction.
    if x == 0.0 { x } else { tan }
}

/// The arc of a quotient of two numbers that are not negative; of 0 by 0, 0.
#[inline(always)]
fn arc<const FMA: bool>(y: f64, x: f64) -> f64 {
    let (low, high) = if y > x { (x, y) } else { (y, x) };
    let is_far = low > TAN_EIGHTH * high;
    let (numerator, denominator, shift) = if is_far {
        (low - high, low + high, std::f64::consts::FRAC_PI_4)
    } else {
        (low, high, 0.0)
    };
    let quotient = numerator / denominator;
    let t = if denominator == 0.0 { 0.0 } else { quotient };
    let square = t * t;
    let arc = shift + mul_add::<FMA>(polynomial::<FMA, 6>(square, ATAN) * square, t, t);
    if y > x { HALF_PI - arc } else { arc }
}

/// The arc tangent.
#[inline(always)]
pub(crate) fn arctan<const FMA: bool>(x: f32) -> f32 {
    // Above, the result is pi / 2 to every bit; infinity by infinity is none.
    let magnitude = bounded(f64::from(x).abs(), 0.0, 1e30);
    let arc = arc::<FMA>(magnitude, 1.0) as f32;
    let arc = arc.copysign(x);
    if x.is_nan() { x } else { arc }
}

/// The angle of the point `(x, y)`.
#[inline(always)]
pub(crate) fn arctan2<const FMA: bool>(y: f32, x: f32) -> f32 {
    // Infinities are numbers that are larger than all others and equal to each other.
    let (up, along) = (
        bounded(f64::from(y).abs(), 0.0, 1e300),
        bounded(f64::from(x).abs(), 0.0, 1e300),
    );
    let arc = arc::<FMA>(up, along);
    let arc = if x.is_sign_negative() {
        std::f64::consts::PI - arc
    } else {
        arc
    };
    let arc = (arc as f32).copysign(y);
    if x.is_nan() || y.is_nan() { x + y } else { arc }
}

/// `asin(x)` and `sqrt` of the two branches: `(is large, root, asin of root or x)`.
#[inline(always)]
fn arcsin_parts<const FMA: bool>(magnitude: f64) -> (bool, f64) {
    let is_large = magnitude > 0.5;
    let square = if is_large {
        0.5 * (1.0 - magnitude)
    } else {
        magnitude * magnitude
    };
    let root = if is_large { square.sqrt() } else { magnitude };
    let arc = mul_add::<FMA>(polynomial::<FMA, 7>(square, ASIN) * square, root, root);
    (is_large, arc)
}

/// The arc sine; NaN outside of `[-1, 1]`.
#[inline(always)]
pub(crate) fn arcsin<const FMA: bool>(x: f32) -> f32 {
    let (is_large, arc) = arcsin_parts::<FMA>(f64::from(x).abs());
    let arc = if is_large { HALF_PI - 2.0 * arc } else { arc };
    (arc as f32).copysign(x)
}

/// The arc cosine; NaN outside of `[-1, 1]`.
#[inline(always)]
pub(crate) fn arccos<const FMA: bool>(x: f32) -> f32 {
    let (is_large, arc) = arcsin_parts::<FMA>(f64::from(x).abs());
    let signed = if x < 0.0 { -arc } else { arc };
    let small = HALF_PI - signed;
    let large = if x < 0.0 {
        std::f64::consts::PI - 2.0 * arc
    } else {
        2.0 * arc
    };
    (if is_large { large } else { small }) as f32
}

/// The area hyperbolic sine.
#[inline(always)]
pub(crate) fn arcsinh<const FMA: bool>(x: f32) -> f32 {
    let magnitude = f64::from(x).abs();
    let square = magnitude * magnitude;
    let above = magnitude + square / (1.0 + (1.0 + square).sqrt());
    let area = log1p_of_positive::<FMA>(above);
    let area = if magnitude < f64::INFINITY {
        area
    } else {
        magnitude
    };
    (area as f32).copysign(x)
}

/// The area hyperbolic cosine; NaN below 1.
#[inline(always)]
pub(crate) fn arccosh<const FMA: bool>(x: f32) -> f32 {
    let above = f64::from(x) - 1.0;
    let sum = above + (above * (above + 2.0)).sqrt();
    let area = log1p_of_positive::<FMA>(sum) as f32;
    if x >= 1.0 { area } else { f32::NAN }
}

/// The area hyperbolic tangent; NaN outside of `[-1, 1]`, an infinity at its ends.
#[inline(always)]
pub(crate) fn arctanh<const FMA: bool>(x: f32) -> f32 {
    let magnitude = f64::from(x).abs();
    let area = 0.5 * log1p_of_positive::<FMA>(2.0 * magnitude / (1.0 - magnitude));
    let area = (area as f32).copysign(x);
    if magnitude <= 1.0 { area } else { f32::NAN }
}

/// `x^y` with the special cases of C's `pow`; a product for the exponents 2, 3 and 4.
#[inline(always)]
pub(crate) fn power<const FMA: bool>(x: f32, y: f32) -> f32 {
    let (magnitude, exponent) = (f64::from(x).abs(), f64::from(y));
    let (e, f) = split(magnitude);
    let log2 = mul_add::<FMA>(log_of_fraction::<FMA>(f), LOG2_E, e);
    let log2 = if magnitude == 0.0 {
        f64::NEG_INFINITY
    } else {
        log2
    };
    let log2 = if magnitude < f64::INFINITY {
        log2
    } else {
        magnitude
    };
    // Beyond these bounds the result is 0 or infinite.
    let product = bounded(exponent * log2, -400.0, 400.0);
    let shifted = product + ROUND;
    let n = shifted - ROUND;
    let r = (product - n) * LN_2;
    let scale = power_of_two(shifted);
    let exp = mul_add::<FMA>(polynomial::<FMA, 6>(r, EXP), r * r, r);
    let power = mul_add::<FMA>(scale, exp, scale) as f32;
    let square = magnitude * magnitude;
    let power = if y == 2.0 { square as f32 } else { power };
    let power = if y == 3.0 {
        (square * magnitude) as f32
    } else {
        power
    };
    let power = if y == 4.0 {
        (square * square) as f32
    } else {
        power
    };
    let is_one = y == 0.0 || x == 1.0 || magnitude == 1.0 && y.abs() == f32::INFINITY;
    let power = if is_one { 1.0 } else { power };
    // An infinite exponent is even.
    let half = exponent * 0.5;
    let is_odd = exponent.floor() == exponent && half.floor() != half;
    let is_negative = x.is_sign_negative() && is_odd;
    let power = if is_negative { -power } else { power };
    let is_undefined = x < 0.0 && x > f32::NEG_INFINITY && exponent.floor() != exponent;
    if is_undefined { f32::NAN } else { power }
}

/// The inverse of the error function: an infinity at the ends of `[-1, 1]`, NaN outside.
#[inline(always)]
pub(crate) fn erfinv<const FMA: bool>(x: f32) -> f32 {
    let wide = f64::from(x);
    let (e, f) = split(1.0 - wide * wide);
    let t = mul_add::<FMA>(e, LN_2, log_of_fraction::<FMA>(f));
    let near = polynomial::<FMA, 14>(t, ERFINV_NEAR);
    let far = polynomial::<FMA, 12>(t, ERFINV_FAR);
    let ratio = if t < -6.125 { far } else { near };
    let inverse = (wide * ratio) as f32;
    let inverse = if wide.abs() == 1.0 {
        f32::INFINITY.copysign(x)
    } else {
        inverse
    };
    if wide.abs() <= 1.0 { inverse } else { f32::NAN }
}

//! Functions of one element against `f64` formulas, over all magnitudes and lengths.

mod reference;

use mlx_kernels::{Error, UnaryOp, swiglu, unary};
use reference::{random, ulps};
use rstest::rstest;

fn exact(function: UnaryOp, x: f32) -> f64 {
    let x = f64::from(x);
    match function {
        UnaryOp::Exp => x.exp(),
        UnaryOp::Log => x.ln(),
        UnaryOp::Sin => x.sin(),
        UnaryOp::Cos => x.cos(),
        UnaryOp::Tanh => x.tanh(),
        UnaryOp::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        UnaryOp::Erf => reference::erf(x),
        UnaryOp::Gelu => 0.5 * x * reference::erfc(-x / 2_f64.sqrt()),
        UnaryOp::GeluTanh => {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            x / (1.0 + (-2.0 * u).exp())
        }
        UnaryOp::Silu => x / (1.0 + (-x).exp()),
        UnaryOp::Expm1 => x.exp_m1(),
        UnaryOp::Log1p => x.ln_1p(),
        UnaryOp::Log2 => x.log2(),
        UnaryOp::Log10 => x.log10(),
        UnaryOp::Tan => x.tan(),
        UnaryOp::Sinh => x.sinh(),
        UnaryOp::Cosh => x.cosh(),
        UnaryOp::Arccos => x.acos(),
        UnaryOp::Arccosh => x.acosh(),
        UnaryOp::Arcsin => x.asin(),
        UnaryOp::Arcsinh => arcsinh(x),
        UnaryOp::Arctan => x.atan(),
        UnaryOp::Arctanh => 0.5 * (2.0 * x / (1.0 - x)).ln_1p(),
        _ => f64::NAN,
    }
}

/// Of small numbers too, which the standard library's loses.
fn arcsinh(x: f64) -> f64 {
    if x.is_infinite() {
        return x;
    }
    let above = x.abs() + x * x / (1.0 + (1.0 + x * x).sqrt());
    above.ln_1p().copysign(x)
}

/// Every 4096th bit pattern, both signs: all exponents, denormals, infinities and not-a-numbers among them.
fn all_magnitudes() -> Vec<f32> {
    let mut values: Vec<f32> = (0..=u32::MAX / 4096)
        .map(|i| f32::from_bits(i * 4096 + i % 4096))
        .collect();
    values.extend([
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MAX,
        f32::MIN,
    ]);
    values.extend([
        f32::MIN_POSITIVE,
        -f32::MIN_POSITIVE,
        f32::from_bits(1),
        -f32::from_bits(1),
    ]);
    values.extend(random(200_000, 7).iter().map(|x| x * 12.0));
    values.extend(random(200_000, 8).iter().map(|x| x * 110.0));
    values.extend(random(200_000, 9));
    values.extend(random(20_000, 10).iter().map(|x| 1.0 + x * 1e-4));
    values.extend(random(20_000, 11).iter().map(|x| x * 1e-4 - 1.0));
    values.extend((0..2000).map(|n| (f64::from(n) * std::f64::consts::FRAC_PI_2) as f32));
    values
}

#[rstest]
#[case(UnaryOp::Exp, 1.5)]
#[case(UnaryOp::Log, 1.5)]
#[case(UnaryOp::Sin, 1.75)]
#[case(UnaryOp::Cos, 1.75)]
#[case(UnaryOp::Tanh, 2.5)]
#[case(UnaryOp::Sigmoid, 2.5)]
#[case(UnaryOp::Erf, 1.5)]
#[case(UnaryOp::Silu, 3.5)]
#[case(UnaryOp::Expm1, 2.0)]
#[case(UnaryOp::Log1p, 2.0)]
#[case(UnaryOp::Log2, 2.0)]
#[case(UnaryOp::Log10, 2.0)]
#[case(UnaryOp::Tan, 1.0)]
#[case(UnaryOp::Sinh, 0.7)]
#[case(UnaryOp::Cosh, 0.7)]
#[case(UnaryOp::Arccos, 0.7)]
#[case(UnaryOp::Arccosh, 0.7)]
#[case(UnaryOp::Arcsin, 0.7)]
#[case(UnaryOp::Arcsinh, 0.7)]
#[case(UnaryOp::Arctan, 0.7)]
#[case(UnaryOp::Arctanh, 0.7)]
fn stays_within_units_in_the_last_place(#[case] function: UnaryOp, #[case] bound: f64) {
    let x = all_magnitudes();
    let mut out = vec![0.0; x.len()];
    unary(function, &x, &mut out).unwrap();
    let mut worst = (0.0, 0.0, 0.0);
    for (x, got) in x.iter().zip(&out) {
        if function == UnaryOp::Silu && (-110.0..-87.0).contains(x) {
            assert!((f64::from(*got) - exact(function, *x)).abs() <= f64::from(x.abs()) * 1.5e-45);
            continue;
        }
        let error = ulps(*got, exact(function, *x));
        if error > worst.0 {
            worst = (error, *x, *got);
        }
    }
    println!("{function:?}: {:.3} ulp at {:e}", worst.0, worst.1);
    assert!(
        worst.0 <= bound,
        "{function:?}({:e}) = {:e}: {} ulp",
        worst.1,
        worst.2,
        worst.0
    );
}

#[rstest]
#[case(UnaryOp::Gelu)]
#[case(UnaryOp::GeluTanh)]
fn gelu_stays_within_its_bound(#[case] function: UnaryOp) {
    let x = all_magnitudes();
    let mut out = vec![0.0; x.len()];
    unary(function, &x, &mut out).unwrap();
    for (x, got) in x.iter().zip(&out) {
        let wanted = exact(function, *x);
        if *x == f32::NEG_INFINITY || x.is_nan() {
            assert!(got.is_nan());
        } else if x.is_finite() {
            let error = (f64::from(*got) - wanted).abs();
            let bound = f64::from(x.abs()) / 4_194_304.0 + 3e-45;
            assert!(
                error <= bound,
                "{function:?}({x:e}) = {got:e}, wanted {wanted:e}"
            );
        }
    }
}

#[test]
fn keeps_the_sign_of_zero_and_the_limits() {
    let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY];
    let of = |function| {
        let mut out = [7.0; 4];
        unary(function, &special, &mut out).unwrap();
        out.map(f32::to_bits)
    };
    let bits = |values: [f32; 4]| values.map(f32::to_bits);
    assert_eq!(of(UnaryOp::Exp), bits([1.0, 1.0, f32::INFINITY, 0.0]));
    assert_eq!(of(UnaryOp::Tanh), bits([0.0, -0.0, 1.0, -1.0]));
    assert_eq!(of(UnaryOp::Erf), bits([0.0, -0.0, 1.0, -1.0]));
    assert_eq!(of(UnaryOp::Sigmoid), bits([0.5, 0.5, 1.0, 0.0]));
    assert_eq!(of(UnaryOp::Sin)[..2], bits([0.0, -0.0, 0.0, 0.0])[..2]);
    assert_eq!(
        of(UnaryOp::Log)[..3],
        bits([f32::NEG_INFINITY, f32::NEG_INFINITY, f32::INFINITY, 0.0])[..3]
    );
}

#[test]
fn every_length_gives_the_same_values_as_the_whole() {
    let x = random(70, 3);
    let mut whole = vec![0.0; x.len()];
    unary(UnaryOp::Exp, &x, &mut whole).unwrap();
    for length in 0..=67 {
        for start in 0..3 {
            let mut out = vec![7.0; length + 1];
            let x = &x[start..start + length];
            unary(UnaryOp::Exp, x, &mut out[..length]).unwrap();
            assert_eq!(
                out[..length],
                whole[start..start + length],
                "length {length}"
            );
            assert_eq!(out[length], 7.0);
        }
    }
}

#[test]
fn streaming_and_plain_stores_agree() {
    let x = random(7_000_001, 5);
    let mut out = vec![0.0; x.len()];
    unary(UnaryOp::Exp, &x, &mut out).unwrap();
    let mut plain = vec![0.0; x.len()];
    for (x, plain) in x.chunks(1_000_000).zip(plain.chunks_mut(1_000_000)) {
        unary(UnaryOp::Exp, x, plain).unwrap();
    }
    assert_eq!(out, plain);
    let small: Vec<f32> = x.iter().step_by(100_000).map(|x| x.exp()).collect();
    for (got, wanted) in out.iter().step_by(100_000).zip(small) {
        assert!((got - wanted).abs() <= 1e-6 * wanted);
    }
}

#[test]
fn half_precision_is_computed_in_single() {
    let x: Vec<half::f16> = random(1500, 9)
        .iter()
        .map(|x| half::f16::from_f32(*x))
        .collect();
    let mut out = vec![half::f16::ZERO; x.len()];
    unary(UnaryOp::Exp, &x, &mut out).unwrap();
    for (x, got) in x.iter().zip(&out) {
        let wanted = x.to_f64().exp();
        assert!((got.to_f64() - wanted).abs() <= wanted * 0.000_49);
    }
}

#[rstest]
#[case(0)]
#[case(1)]
#[case(17)]
#[case(40_003)]
fn swiglu_is_gate_times_value(#[case] length: usize) {
    let gate: Vec<f32> = random(length, 1).iter().map(|x| x * 9.0).collect();
    let x = random(length, 2);
    let mut out = vec![0.0; length];
    swiglu(&gate, &x, &mut out).unwrap();
    for ((gate, x), got) in gate.iter().zip(&x).zip(&out) {
        let wanted = exact(UnaryOp::Silu, *gate) * f64::from(*x);
        assert!(ulps(*got, wanted) <= 5.0, "{gate} {x} {got}");
    }
}

#[test]
fn refuses_lengths_that_differ() {
    let error = unary(UnaryOp::Exp, &[1.0, 2.0], &mut [0.0]).unwrap_err();
    assert_eq!(error.to_string(), "exp: out must have 2 elements, got 1");
    assert!(matches!(
        swiglu(&[1.0], &[], &mut [0.0]),
        Err(Error::Length { what: "x", .. })
    ));
}

#[test]
fn functions_of_one_instruction_are_taken_too() {
    let x = random(40_003, 4);
    let mut out = vec![0.0; x.len()];
    for (function, of) in [
        (UnaryOp::Abs, f32::abs as fn(f32) -> f32),
        (UnaryOp::Square, |x| x * x),
        (UnaryOp::Floor, f32::floor),
        (UnaryOp::Truncate, f32::trunc),
    ] {
        unary(function, &x, &mut out).unwrap();
        let wanted = x.iter().map(|x| of(*x));
        assert!(wanted.zip(&out).all(|(wanted, out)| {
            wanted.to_bits() == out.to_bits() || wanted.is_nan() && out.is_nan()
        }));
    }
}

//! Powers, angles, logarithms of sums and the inverse of the error function against `f64`.

mod reference;

use mlx_kernels::{BinaryOp, StridedSlice, UnaryOp, map, zip};
use reference::{random, ulps};
use rstest::rstest;

/// All pairs of special and ordinary numbers.
fn pairs() -> (Vec<f32>, Vec<f32>) {
    let mut values = vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        2.0,
        3.0,
        -3.0,
        4.0,
        1.5,
        100.0,
        -100.0,
        0.1,
        1e-45,
        -1e-45,
        f32::MIN_POSITIVE,
        f32::MAX,
        f32::MIN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        16_777_217.0,
        1e-30,
        1.000_000_1,
        0.999_999_94,
    ];
    values.extend(random(300, 5).iter().map(|x| x * 10.0));
    values.extend(random(100, 6).iter().map(|x| x * 1e30));
    let n = values.len();
    let a = (0..n * n).map(|i| values[i / n]).collect();
    let b = (0..n * n).map(|i| values[i % n]).collect();
    (a, b)
}

#[rstest]
#[case(BinaryOp::Power, 0.75, f64::powf)]
#[case(BinaryOp::Arctan2, 0.75, f64::atan2)]
fn functions_of_two_are_within_units_in_the_last_place(
    #[case] op: BinaryOp,
    #[case] bound: f64,
    #[case] exact: fn(f64, f64) -> f64,
) {
    let (a, b) = pairs();
    let mut out = vec![0.0; a.len()];
    let x = StridedSlice {
        values: &a[..],
        start: 0,
        strides: &[1],
    };
    let y = StridedSlice {
        values: &b[..],
        start: 0,
        strides: &[1],
    };
    zip(op, &[a.len()], x, y, &mut out).unwrap();
    let mut worst = (0.0, 0.0, 0.0, 0.0);
    for ((a, b), got) in a.iter().zip(&b).zip(&out) {
        let wanted = exact(f64::from(*a), f64::from(*b));
        let error = ulps(*got, wanted);
        if error > worst.0 {
            worst = (error, *a, *b, *got);
        }
        assert!(
            *got != 0.0 || got.is_sign_negative() == wanted.is_sign_negative(),
            "{op:?} {a:e} {b:e}"
        );
    }
    println!("{op:?}: {worst:?}");
    assert!(worst.0 <= bound, "{op:?} {worst:?}");
    // One exponent for all gives the same.
    for exponent in [2.0, 3.0, 4.0, 1.0, -1.0, 0.5, f32::NAN] {
        let one = [exponent];
        let same = StridedSlice {
            values: &one[..],
            start: 0,
            strides: &[0],
        };
        let all = vec![exponent; a.len()];
        let each = StridedSlice {
            values: &all[..],
            start: 0,
            strides: &[1],
        };
        let (mut scalar, mut slice) = (vec![0.0; a.len()], vec![0.0; a.len()]);
        zip(op, &[a.len()], x, same, &mut scalar).unwrap();
        zip(op, &[a.len()], x, each, &mut slice).unwrap();
        for (i, (scalar, slice)) in scalar.iter().zip(&slice).enumerate() {
            assert!(
                scalar == slice || scalar.is_nan() && slice.is_nan(),
                "{} {exponent}: {scalar} {slice}",
                a[i]
            );
        }
    }
}

#[test]
fn the_logarithm_of_a_sum_of_powers_is_within_units_of_the_largest() {
    let (a, b) = pairs();
    let mut out = vec![0.0; a.len()];
    let x = StridedSlice {
        values: &a[..],
        start: 0,
        strides: &[1],
    };
    let y = StridedSlice {
        values: &b[..],
        start: 0,
        strides: &[1],
    };
    zip(BinaryOp::Logaddexp, &[a.len()], x, y, &mut out).unwrap();
    for ((a, b), got) in a.iter().zip(&b).zip(&out) {
        let (most, least) = (f64::from(a.max(*b)), f64::from(a.min(*b)));
        if a.is_nan() || b.is_nan() {
            assert!(got.is_nan());
        } else if most.is_infinite() || least.is_infinite() {
            assert_eq!(f64::from(*got), most, "{a:e} {b:e}");
        } else {
            let wanted = most + (least - most).exp().ln_1p();
            let scale = most.abs().max(wanted.abs()).max(1e-30);
            let error = (f64::from(*got) - wanted).abs() / scale * f64::from(1 << 23);
            assert!(
                error <= 3.0 || wanted as f32 == *got,
                "{a:e} {b:e}: {got:e}, wanted {wanted:e}"
            );
        }
    }
}

#[test]
fn the_inverse_of_the_error_function_is_right() {
    let mut x = random(100_000, 12);
    x.extend((1..2000_u32).map(|i| f32::from_bits(1.0_f32.to_bits() - i)));
    x.extend((1..2000_u32).map(|i| f32::from_bits(i * 1_000)));
    let mut out = vec![0.0; x.len()];
    let view = StridedSlice {
        values: &x[..],
        start: 0,
        strides: &[1],
    };
    map(UnaryOp::Erfinv, &[x.len()], view, &mut out).unwrap();
    for (x, got) in x.iter().zip(&out) {
        // A step of Newton's from what was found.
        let (y, wide) = (f64::from(*got), f64::from(*x));
        let off = if wide.abs() < 0.5 {
            reference::erf(y) - wide
        } else {
            ((1.0 - wide.abs()) - reference::erfc(y.abs())) * wide.signum()
        };
        let wanted = y - off / (2.0 / std::f64::consts::PI.sqrt() * (-y * y).exp());
        let error = ulps(*got, wanted);
        assert!(
            error <= 1.0,
            "{x:e}: {got:e}, wanted {wanted:e}, {error} ulp"
        );
    }
    let special = [1.0, -1.0, 1.5, f32::NAN, -0.0];
    let mut out = [0.0; 5];
    map(
        UnaryOp::Erfinv,
        &[5],
        StridedSlice {
            values: &special[..],
            start: 0,
            strides: &[1],
        },
        &mut out,
    )
    .unwrap();
    assert_eq!(out[..2], [f32::INFINITY, f32::NEG_INFINITY]);
    assert!(out[2].is_nan() && out[3].is_nan() && out[4] == 0.0);
}

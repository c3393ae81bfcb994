//! Rotary positions against `f64` formulas: both layouts, offsets, partial rows, given frequencies.

mod reference;

use mlx_kernels::{Element, Result, Rope, RopeShape, RotaryTable};
use reference::random;
use rstest::rstest;

/// Makes a table for one array.
fn rope<T: Element>(how: Rope, shape: RopeShape, x: &[T], out: &mut [T]) -> Result<()> {
    RotaryTable::new(how, shape.positions)?.apply(shape, x, out)
}

fn exact(rope: Rope, shape: RopeShape, steps: &[f64], x: &[f32]) -> Vec<f64> {
    let mut out = reference::wide(x);
    for (row, out) in out.chunks_mut(shape.dim).enumerate() {
        let position =
            (rope.offset as f64 + (row % shape.positions) as f64) * f64::from(rope.scale);
        for (i, step) in steps.iter().enumerate() {
            let (a, b) = if rope.traditional {
                (2 * i, 2 * i + 1)
            } else {
                (i, i + rope.dims / 2)
            };
            let (sin, cos) = (position * step).sin_cos();
            (out[a], out[b]) = (out[a] * cos - out[b] * sin, out[a] * sin + out[b] * cos);
        }
    }
    out
}

#[rstest]
fn matches_the_formula(
    #[values(false, true)] traditional: bool,
    #[values((2, 2), (6, 6), (64, 64), (64, 80), (32, 64), (34, 35), (0, 5))] dims: (usize, usize),
    #[values(0, 7, 1_000_000, -20)] offset: i64,
    #[values((1, 1), (9, 40), (3, 301))] size: (usize, usize),
) {
    let shape = RopeShape {
        outer: size.0,
        positions: size.1,
        dim: dims.1,
    };
    let how = Rope {
        dims: dims.0,
        traditional,
        offset,
        scale: 0.5,
        ..Rope::default()
    };
    let x = random(size.0 * size.1 * dims.1, 1);
    let mut out = vec![f32::NAN; x.len()];
    rope(how, shape, &x, &mut out).unwrap();
    let steps: Vec<f64> = (0..dims.0 / 2)
        .map(|i| 10_000_f64.powf(-((2 * i) as f64) / dims.0 as f64))
        .collect();
    for (got, wanted) in out.iter().zip(exact(how, shape, &steps, &x)) {
        assert!(
            (f64::from(*got) - wanted).abs() <= 1.5 / 4_194_304.0,
            "{got} {wanted}"
        );
    }
}

#[test]
fn frequencies_are_turns_of_one_over_them() {
    let shape = RopeShape {
        outer: 1,
        positions: 5,
        dim: 4,
    };
    let how = Rope {
        dims: 4,
        ..Rope::default()
    };
    let x = random(20, 1);
    let mut out = vec![0.0; 20];
    RotaryTable::with_frequencies(how, 5, &[1.0, 8.0])
        .unwrap()
        .apply(shape, &x, &mut out)
        .unwrap();
    for (got, wanted) in out.iter().zip(exact(how, shape, &[1.0, 0.125], &x)) {
        assert!((f64::from(*got) - wanted).abs() <= 1.0 / 4_194_304.0);
    }
}

#[test]
fn half_precision_rounds_once() {
    let shape = RopeShape {
        outer: 3,
        positions: 5,
        dim: 8,
    };
    let how = Rope {
        dims: 8,
        ..Rope::default()
    };
    let x: Vec<half::f16> = random(120, 1)
        .iter()
        .map(|x| half::f16::from_f32(*x))
        .collect();
    let single: Vec<f32> = x.iter().map(|x| x.to_f32()).collect();
    let (mut half, mut full) = (vec![half::f16::ZERO; 120], vec![0.0; 120]);
    rope(how, shape, &x, &mut half).unwrap();
    rope(how, shape, &single, &mut full).unwrap();
    assert!(
        half.iter()
            .zip(&full)
            .all(|(half, full)| *half == half::f16::from_f32(*full))
    );
}

#[test]
fn refuses_what_does_not_fit() {
    let shape = RopeShape {
        outer: 1,
        positions: 1,
        dim: 4,
    };
    let mut out = [0.0; 4];
    let odd = Rope {
        dims: 3,
        ..Rope::default()
    };
    assert_eq!(
        rope(odd, shape, &[0.0; 4], &mut out)
            .unwrap_err()
            .to_string(),
        "rope: dims must be even, got 3"
    );
    let long = Rope {
        dims: 6,
        ..Rope::default()
    };
    assert!(rope(long, shape, &[0.0; 4], &mut out).is_err());
    assert!(
        rope(
            Rope {
                dims: 4,
                ..Rope::default()
            },
            shape,
            &[0.0; 3],
            &mut out
        )
        .is_err()
    );
    assert!(
        RotaryTable::new(
            Rope {
                dims: 1 << 40,
                ..Rope::default()
            },
            1
        )
        .is_err()
    );
    assert!(
        RotaryTable::new(
            Rope {
                dims: 4,
                ..Rope::default()
            },
            usize::MAX / 4
        )
        .is_err()
    );
}

//! Reductions over any axis against `f64`, with their bound.

mod reference;

use half::{bf16, f16};
use mlx_kernels::{Error, ReduceShape, Reduction, reduce};
use reference::random;
use rstest::rstest;

fn exact(reduction: Reduction, x: &[f64]) -> f64 {
    match reduction {
        Reduction::Sum => x.iter().sum(),
        Reduction::Mean => x.iter().sum::<f64>() / x.len() as f64,
        Reduction::Max => x.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        _ => x.iter().copied().fold(f64::INFINITY, f64::min),
    }
}

#[rstest]
fn stays_within_its_bound(
    #[values(Reduction::Sum, Reduction::Mean, Reduction::Max, Reduction::Min)] reduction: Reduction,
    #[values(
        (1, 1, 1),
        (3, 1, 5),
        (7, 13, 1),
        (1000, 3, 1),
        (5, 4097, 1),
        (3, 65_537, 1),
        (1, 3_000_001, 1),
        (1, 700, 700),
        (4, 65, 1025),
        (2000, 5, 3),
        (1, 9000, 33),
        (3, 5000, 2),
        (2, 2, 5000)
    )]
    (outer, reduced, inner): (usize, usize, usize),
) {
    let shape = ReduceShape {
        outer,
        reduced,
        inner,
    };
    // All positive, so that a lost element shows.
    let x: Vec<f32> = random(outer * reduced * inner, 3)
        .iter()
        .map(|x| x + 1.01)
        .collect();
    let mut out = vec![7.0; outer * inner];
    reduce(reduction, shape, &x, &mut out).unwrap();
    let depth = 130.0 + (reduced as f64 / 4096.0).max(1.0).log2();
    for (i, got) in out.iter().enumerate() {
        let (o, i) = (i / inner, i % inner);
        let column = (0..reduced).map(|r| f64::from(x[(o * reduced + r) * inner + i]));
        let wanted = exact(reduction, &column.collect::<Vec<_>>());
        let error = (f64::from(*got) - wanted).abs();
        match reduction {
            Reduction::Sum | Reduction::Mean => {
                assert!(error <= depth * wanted / 16_777_216.0, "{got} {wanted}");
            }
            _ => assert_eq!(error, 0.0),
        }
    }
}

#[test]
fn a_long_sum_of_equal_numbers_loses_almost_nothing() {
    let x = vec![0.1_f32; 30_000_000];
    let shape = ReduceShape {
        outer: 1,
        reduced: x.len(),
        inner: 1,
    };
    let mut out = [0.0];
    reduce(Reduction::Mean, shape, &x, &mut out).unwrap();
    assert!((out[0] - 0.1).abs() <= 1e-7, "{}", out[0]);
}

#[rstest]
#[case(1, 1)]
#[case(300, 1)]
#[case(300, 40)]
#[case(5000, 2)]
#[case(70_000, 1)]
fn one_that_is_not_a_number_is_found_anywhere(#[case] reduced: usize, #[case] inner: usize) {
    let shape = ReduceShape {
        outer: 1,
        reduced,
        inner,
    };
    for place in [0, reduced / 2, reduced - 1] {
        for reduction in [Reduction::Max, Reduction::Min, Reduction::Sum] {
            let mut x = vec![1.0; reduced * inner];
            x[place * inner] = f32::NAN;
            let mut out = vec![0.0; inner];
            reduce(reduction, shape, &x, &mut out).unwrap();
            assert!(out[0].is_nan(), "{reduction:?} {place}");
            assert!(out[1..].iter().all(|x| !x.is_nan()));
        }
    }
}

#[rstest]
#[case(3, 1000, 1)]
#[case(2, 100, 70)]
#[case(1, 5000, 3)]
fn half_precision_is_reduced_in_single(
    #[case] outer: usize,
    #[case] reduced: usize,
    #[case] inner: usize,
) {
    let shape = ReduceShape {
        outer,
        reduced,
        inner,
    };
    let x: Vec<f32> = random(outer * reduced * inner, 5);
    let narrow: Vec<f16> = x.iter().map(|x| f16::from_f32(*x)).collect();
    let short: Vec<bf16> = x.iter().map(|x| bf16::from_f32(*x)).collect();
    let single = |x: Vec<f32>| {
        let mut out = vec![0.0; outer * inner];
        reduce(Reduction::Sum, shape, &x, &mut out).unwrap();
        out
    };
    let mut out = vec![f16::ZERO; outer * inner];
    reduce(Reduction::Sum, shape, &narrow, &mut out).unwrap();
    let wanted = single(narrow.iter().map(|x| x.to_f32()).collect());
    assert!(
        out.iter()
            .zip(wanted)
            .all(|(out, wanted)| *out == f16::from_f32(wanted))
    );
    let mut out = vec![bf16::ZERO; outer * inner];
    reduce(Reduction::Sum, shape, &short, &mut out).unwrap();
    let wanted = single(short.iter().map(|x| x.to_f32()).collect());
    assert!(
        out.iter()
            .zip(wanted)
            .all(|(out, wanted)| *out == bf16::from_f32(wanted))
    );
}

#[test]
fn no_elements_have_a_sum_and_no_greatest() {
    let shape = ReduceShape {
        outer: 2,
        reduced: 0,
        inner: 1,
    };
    let mut out = [7.0_f32; 2];
    reduce::<f32, f32>(Reduction::Sum, shape, &[], &mut out).unwrap();
    assert_eq!(out, [0.0; 2]);
    reduce::<f32, f32>(Reduction::Mean, shape, &[], &mut out).unwrap();
    assert!(out[1].is_nan());
    let error = reduce::<f32, f32>(Reduction::Max, shape, &[], &mut out).unwrap_err();
    assert_eq!(
        error.to_string(),
        "max: the number of elements must be at least 1, got 0"
    );
}

#[test]
fn refuses_lengths_that_do_not_match() {
    let shape = ReduceShape {
        outer: 2,
        reduced: 2,
        inner: 1,
    };
    let error = reduce(Reduction::Sum, shape, &[1.0; 3], &mut [0.0; 2]).unwrap_err();
    assert_eq!(error.to_string(), "sum: x must have 4 elements, got 3");
    let huge = ReduceShape {
        outer: usize::MAX,
        ..shape
    };
    assert!(matches!(
        reduce::<f32, f32>(Reduction::Sum, huge, &[1.0], &mut []),
        Err(Error::TooLarge { .. })
    ));
}

//! Products, integers, places of extremes and scans against plain loops.

use half::{bf16, f16};
use mlx_kernels::{
    Fold, FoldAll, FoldAllFloat, FoldAny, FoldAnyFloat, FoldMax, FoldMin, FoldProduct, FoldSum,
    ReduceShape, Reduction, Scan, ScanIntegerSum, ScanMax, ScanOrder, ScanProduct, ScanSum,
    arg_reduce, fold, reduce, scan,
};
use rstest::rstest;

fn shape(outer: usize, reduced: usize, inner: usize) -> ReduceShape {
    ReduceShape {
        outer,
        reduced,
        inner,
    }
}

const SHAPES: [(usize, usize, usize); 11] = [
    (1, 1, 1),
    (3, 77, 1),
    (1, 100_003, 1),
    (2, 70_000, 1),
    (1, 70_000, 3),
    (5, 40, 7),
    (1, 900, 129),
    (2, 300, 5000),
    (1, 4, 70_000),
    (300, 9, 32),
    (1, 33, 2),
];

/// Numbers from -1 to 1.
fn number(i: usize) -> f32 {
    let bits = (i as u32).wrapping_mul(2_654_435_761) ^ 0x5bd1_e995;
    bits as f32 / u32::MAX as f32 * 2.0 - 1.0
}

/// What is along the middle axis, for each of the others.
fn lines<T: Copy>(shape: ReduceShape, x: &[T]) -> Vec<Vec<T>> {
    let ReduceShape {
        outer,
        reduced,
        inner,
    } = shape;
    let line = |o: usize, i: usize| (0..reduced).map(move |r| x[(o * reduced + r) * inner + i]);
    (0..outer)
        .flat_map(|o| (0..inner).map(move |i| (o, i)))
        .map(|(o, i)| line(o, i).collect())
        .collect()
}

fn folded<F: Fold<Out: Copy + Default>>(shape: ReduceShape, x: &[F::In]) -> Vec<F::Out> {
    let mut out = vec![F::Out::default(); shape.outer * shape.inner];
    fold::<F>(shape, x, &mut out).unwrap();
    out
}

#[test]
fn folds_are_those_of_plain_loops() {
    for (outer, reduced, inner) in SHAPES {
        let shape = shape(outer, reduced, inner);
        let n = outer * reduced * inner;
        let bytes: Vec<i8> = (0..n).map(|i| (number(i) * 127.0) as i8).collect();
        let of = |f: &dyn Fn(&[i8]) -> i32| -> Vec<i32> {
            lines(shape, &bytes).iter().map(|line| f(line)).collect()
        };
        let sums = of(&|line| line.iter().map(|&x| i32::from(x)).sum());
        assert_eq!(folded::<FoldSum<i8>>(shape, &bytes), sums);
        let most = of(&|line| i32::from(*line.iter().max().unwrap()));
        assert!(
            folded::<FoldMax<i8>>(shape, &bytes)
                .iter()
                .map(|&x| i32::from(x))
                .eq(most)
        );
        let least = of(&|line| i32::from(*line.iter().min().unwrap()));
        assert!(
            folded::<FoldMin<i8>>(shape, &bytes)
                .iter()
                .map(|&x| i32::from(x))
                .eq(least)
        );
        let any = of(&|line| i32::from(line.iter().any(|&x| x != 0)));
        assert!(
            folded::<FoldAny<i8>>(shape, &bytes)
                .iter()
                .map(|&x| i32::from(x))
                .eq(any)
        );
        let all = of(&|line| i32::from(line.iter().all(|&x| x != 0)));
        assert!(
            folded::<FoldAll<i8>>(shape, &bytes)
                .iter()
                .map(|&x| i32::from(x))
                .eq(all)
        );
        let near_one: Vec<f32> = (0..n).map(|i| 1.0 + 0.01 * number(i)).collect();
        let products = lines(shape, &near_one);
        let got = folded::<FoldProduct<f32>>(shape, &near_one);
        for (line, got) in products.iter().zip(got) {
            let want: f64 = line.iter().map(|&x| f64::from(x)).product();
            assert!(
                (f64::from(got) - want).abs() <= 1.2e-7 * want,
                "{got} {want}"
            );
        }
    }
}

#[test]
fn zeros_of_both_signs_are_none_and_nan_is_some() {
    let bits = |x: f32| x.to_bits() as i32;
    let one = shape(1, 3, 1);
    assert_eq!(
        folded::<FoldAnyFloat<i32>>(one, &[0.0, -0.0, 0.0].map(bits)),
        [0]
    );
    assert_eq!(
        folded::<FoldAnyFloat<i32>>(one, &[0.0, -0.0, f32::NAN].map(bits)),
        [1]
    );
    assert_eq!(
        folded::<FoldAllFloat<i32>>(one, &[1.0, -0.0, 2.0].map(bits)),
        [0]
    );
    assert_eq!(
        folded::<FoldAllFloat<i32>>(one, &[1.0, f32::NAN, -1e-40].map(bits)),
        [1]
    );
}

#[test]
fn extremes_of_half_precision_are_exact_and_keep_nan() {
    for (outer, reduced, inner) in SHAPES {
        let shape = shape(outer, reduced, inner);
        let n = outer * reduced * inner;
        for has_nan in [false, true] {
            let mut x: Vec<f16> = (0..n).map(|i| f16::from_f32(number(i) * 1000.0)).collect();
            if has_nan {
                x[n / 2] = f16::NAN;
            }
            let wide: Vec<bf16> = x.iter().map(|x| bf16::from_f32(x.to_f32())).collect();
            for kind in [Reduction::Max, Reduction::Min] {
                let pick = |a: f32, b: f32| match kind {
                    _ if a.is_nan() || b.is_nan() => f32::NAN,
                    Reduction::Max => a.max(b),
                    _ => a.min(b),
                };
                let mut out = vec![f16::ZERO; outer * inner];
                reduce(kind, shape, &x, &mut out).unwrap();
                for (line, got) in lines(shape, &x).iter().zip(out) {
                    let want = line.iter().map(|x| x.to_f32()).reduce(pick).unwrap();
                    assert!(got.to_f32() == want || got.is_nan() && want.is_nan());
                }
                let mut out = vec![0.0; outer * inner];
                reduce(kind, shape, &wide, &mut out).unwrap();
                for (line, got) in lines(shape, &wide).iter().zip(out) {
                    let want = line.iter().map(|x| x.to_f32()).reduce(pick).unwrap();
                    assert!(got == want || got.is_nan() && want.is_nan());
                }
            }
        }
    }
}

#[test]
fn the_first_of_equal_extremes_is_found() {
    for (outer, reduced, inner) in SHAPES {
        let shape = shape(outer, reduced, inner);
        let n = outer * reduced * inner;
        let x: Vec<f32> = (0..n)
            .map(|i| match i % 97 {
                5 => f32::NAN,
                7 => -0.0,
                8 => 0.0,
                _ => (number(i) * 8.0).round(),
            })
            .collect();
        for is_max in [true, false] {
            let mut out = vec![9; outer * inner];
            arg_reduce(is_max, shape, &x, &mut out).unwrap();
            for (line, got) in lines(shape, &x).iter().zip(out) {
                let (mut at, mut found) = (0, line[0]);
                for (index, &x) in line.iter().enumerate() {
                    if if is_max { x > found } else { x < found } {
                        (at, found) = (index, x);
                    }
                }
                assert_eq!(got as usize, at, "{shape:?}");
            }
        }
    }
}

fn scanned<K: Scan<Out: Default>>(
    order: ScanOrder,
    shape: ReduceShape,
    x: &[K::In],
) -> Vec<K::Out> {
    let mut out = vec![K::Out::default(); x.len()];
    scan::<K>(order, shape, x, &mut out).unwrap();
    out
}

/// Plain scans of each line, in double precision.
fn plain(order: ScanOrder, line: &[f64], start: f64, step: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let mut out = vec![0.0; line.len()];
    let mut state = start;
    let mut places: Vec<usize> = (0..line.len()).collect();
    if order.is_reverse {
        places.reverse();
    }
    for at in places {
        let next = step(state, line[at]);
        out[at] = if order.is_inclusive { next } else { state };
        state = next;
    }
    out
}

#[rstest]
#[case(false, true)]
#[case(true, true)]
#[case(false, false)]
#[case(true, false)]
fn scans_are_those_of_plain_loops(#[case] is_reverse: bool, #[case] is_inclusive: bool) {
    let order = ScanOrder {
        is_reverse,
        is_inclusive,
    };
    let more = [(70, 130, 1), (33, 64, 1), (5, 3, 1)];
    for (outer, reduced, inner) in SHAPES.into_iter().chain(more) {
        let shape = shape(outer, reduced, inner);
        let n = outer * reduced * inner;
        let x: Vec<f32> = (0..n).map(number).collect();
        let doubles: Vec<Vec<f64>> = lines(shape, &x)
            .iter()
            .map(|line| line.iter().map(|&x| f64::from(x)).collect())
            .collect();
        let max = |a: f64, b: f64| if a > b { a } else { b };
        let results = [
            (
                scanned::<ScanSum<f32>>(order, shape, &x),
                0.0,
                (|a, b| a + b) as fn(f64, f64) -> f64,
            ),
            (
                scanned::<ScanProduct<f32>>(order, shape, &x),
                1.0,
                |a, b| a * b,
            ),
            (
                scanned::<ScanMax<f32>>(order, shape, &x),
                f64::NEG_INFINITY,
                max,
            ),
        ];
        for (got, start, step) in results {
            for (line, got) in doubles.iter().zip(lines(shape, &got)) {
                let want = plain(order, line, start, step);
                assert!(want.iter().zip(got).all(|(want, got)| *want as f32 == got));
            }
        }
        let halves: Vec<f16> = x.iter().map(|x| f16::from_f32(*x)).collect();
        let got = scanned::<ScanSum<f16>>(order, shape, &halves);
        for (line, got) in lines(shape, &halves).iter().zip(lines(shape, &got)) {
            let line: Vec<f64> = line.iter().map(|x| x.to_f64()).collect();
            let want = plain(order, &line, 0.0, |a, b| a + b);
            assert!(
                want.iter()
                    .zip(got)
                    .all(|(want, got)| f16::from_f32(*want as f32) == got)
            );
        }
        let whole: Vec<u8> = x.iter().map(|x| (x * 100.0) as i8 as u8).collect();
        let got = scanned::<ScanIntegerSum<u8>>(order, shape, &whole);
        for (line, got) in lines(shape, &whole).iter().zip(lines(shape, &got)) {
            let line: Vec<f64> = line.iter().map(|&x| f64::from(x)).collect();
            let want = plain(order, &line, 0.0, |a, b| (a + b) % 256.0);
            assert!(want.iter().zip(got).all(|(want, got)| *want as u8 == got));
        }
    }
}

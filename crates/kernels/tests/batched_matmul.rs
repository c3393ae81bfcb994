//! Products of matrices with any strides against their formula in `f64`.

mod reference;

use half::{bf16, f16};
use mlx_kernels::{Addend, Element, MatmulShape, StridedMatrices, batched_matmul};
use reference::random;
use rstest::rstest;

/// How the elements of a matrix are stored.
#[derive(Clone, Copy, Debug)]
enum Layout {
    Rows,
    Transposed,
    EverySecond,
    Backwards,
    OneRow,
}

/// Strides of a matrix, how many elements it takes, and where it starts.
fn strides(layout: Layout, rows: usize, columns: usize) -> (isize, isize, usize, usize) {
    let (r, c) = (rows as isize, columns as isize);
    let size = rows * columns;
    match layout {
        Layout::Rows => (c, 1, size, 0),
        Layout::Transposed => (1, r, size, 0),
        Layout::EverySecond => (2 * c + 2, 2, 2 * (columns + 1) * rows, 1),
        Layout::Backwards => (-c, -1, size, size - 1),
        Layout::OneRow => (0, 1, columns, 0),
    }
}

trait Number: Element {
    /// The unit of rounding where a result is stored, and half of the distance of subnormal numbers.
    const UNIT: f64;
    const LEAST: f64;
    fn of(x: f32) -> Self;
    fn wide(self) -> f64;
}

macro_rules! number {
    ($type:ty, $unit:expr, $least:expr, $of:expr) => {
        impl Number for $type {
            const UNIT: f64 = $unit;
            const LEAST: f64 = $least;
            fn of(x: f32) -> Self {
                $of(x)
            }
            fn wide(self) -> f64 {
                f64::from(self)
            }
        }
    };
}
number!(f32, 0.0, 0.0, |x| x);
number!(f16, 1.0 / 2048.0, 1.0 / 33_554_432.0, f16::from_f32);
number!(bf16, 1.0 / 256.0, 0.0, bf16::from_f32);

struct Matrices<T> {
    data: Vec<T>,
    batch_strides: Vec<isize>,
    start: usize,
    row: isize,
    column: isize,
}

impl<T: Number> Matrices<T> {
    fn new(
        layout: Layout,
        batch: usize,
        is_shared: bool,
        rows: usize,
        columns: usize,
        seed: u64,
    ) -> Self {
        let (row, column, size, start) = strides(layout, rows, columns);
        let count = if is_shared { 1 } else { batch };
        Self {
            data: random(size * count, seed).into_iter().map(T::of).collect(),
            batch_strides: vec![if is_shared { 0 } else { size as isize }],
            start,
            row,
            column,
        }
    }

    fn view(&self) -> StridedMatrices<'_, T> {
        StridedMatrices {
            data: &self.data,
            start: self.start,
            batch_strides: &self.batch_strides,
            row_stride: self.row,
            column_stride: self.column,
        }
    }

    fn at(&self, batch: usize, row: usize, column: usize) -> f64 {
        let index = self.start as isize + batch as isize * self.batch_strides[0];
        let index = index + row as isize * self.row + column as isize * self.column;
        self.data[index as usize].wide()
    }
}

fn check<T: Number>(
    (batch, rows, depth, columns): (usize, usize, usize, usize),
    (left, right, is_shared): (Layout, Layout, bool),
    scaling: Option<(f32, f32)>,
) {
    let a = Matrices::<T>::new(left, batch, false, rows, depth, 1);
    let b = Matrices::<T>::new(right, batch, is_shared, depth, columns, 2);
    let c = Matrices::<T>::new(Layout::Transposed, batch, true, rows, columns, 3);
    let addend = scaling.map(|(alpha, beta)| Addend {
        alpha,
        beta,
        c: c.view(),
    });
    let batches = [batch];
    let shape = MatmulShape {
        batch: &batches,
        rows,
        depth,
        columns,
    };
    let mut out = vec![T::of(7.0); batch * rows * columns];
    batched_matmul(shape, a.view(), b.view(), addend, &mut out).unwrap();
    let unit = 1.0 / 16_777_216.0;
    let bound = unit * (2 + depth.min(256) + depth / 256) as f64;
    let (alpha, beta) = scaling.map_or((1.0, 0.0), |(a, b)| (f64::from(a), f64::from(b)));
    for (i, got) in out.into_iter().enumerate() {
        let (n, r, j) = (i / (rows * columns), i / columns % rows, i % columns);
        let products = (0..depth).map(|k| a.at(n, r, k) * b.at(n, k, j));
        let magnitude: f64 = products.clone().map(f64::abs).sum();
        let added = if beta == 0.0 {
            0.0
        } else {
            beta * c.at(n, r, j)
        };
        let want = alpha * products.sum::<f64>() + added;
        let error = (got.wide() - want).abs();
        let allowed = bound * magnitude * alpha.abs() + 3.0 * unit * (want.abs() + added.abs());
        assert!(
            error <= allowed + T::UNIT * want.abs() + T::LEAST,
            "[{n}, {r}, {j}]: {} and not {want}",
            got.wide()
        );
    }
}

#[rstest]
fn follows_the_formula(
    #[values(
        (1, 1, 1, 1), (1, 3, 5, 2), (1, 8, 300, 32), (2, 9, 17, 33), (1, 40, 513, 70), (3, 150, 64, 16), (1, 300, 31, 600)
    )]
    sizes: (usize, usize, usize, usize),
    #[values(
        Layout::Rows,
        Layout::Transposed,
        Layout::EverySecond,
        Layout::Backwards,
        Layout::OneRow
    )]
    left: Layout,
    #[values(
        Layout::Rows,
        Layout::Transposed,
        Layout::EverySecond,
        Layout::Backwards,
        Layout::OneRow
    )]
    right: Layout,
) {
    check::<f32>(sizes, (left, right, false), None);
    check::<f16>(sizes, (left, right, true), None);
    check::<bf16>(sizes, (left, right, false), None);
}

#[rstest]
#[case(1.0, 1.0)]
#[case(-0.5, 2.0)]
#[case(2.0, 0.0)]
fn adds_a_scaled_matrix(#[case] alpha: f32, #[case] beta: f32) {
    let layout = (Layout::Rows, Layout::Transposed, false);
    check::<f32>((3, 21, 40, 35), layout, Some((alpha, beta)));
    check::<f16>((3, 21, 40, 35), layout, Some((alpha, beta)));
    check::<bf16>((1, 21, 40, 35), layout, Some((alpha, beta)));
}

#[test]
fn factors_of_zero_leave_their_part_out() {
    let bad = [f32::NAN; 4];
    let good = [1.0_f32, 2.0, 3.0, 4.0];
    fn view(data: &[f32; 4]) -> StridedMatrices<'_, f32> {
        StridedMatrices {
            data,
            start: 0,
            batch_strides: &[],
            row_stride: 2,
            column_stride: 1,
        }
    }
    let shape = MatmulShape {
        batch: &[],
        rows: 2,
        depth: 2,
        columns: 2,
    };
    let mut out = [0.0; 4];
    let addend = Addend {
        alpha: 0.0,
        beta: 2.0,
        c: view(&good),
    };
    batched_matmul(shape, view(&bad), view(&good), Some(addend), &mut out).unwrap();
    assert_eq!(out, [2.0, 4.0, 6.0, 8.0]);
    let addend = Addend {
        alpha: 1.0,
        beta: 0.0,
        c: view(&bad),
    };
    batched_matmul(shape, view(&good), view(&good), Some(addend), &mut out).unwrap();
    assert_eq!(out, [7.0, 10.0, 15.0, 22.0]);
    let none = MatmulShape { depth: 0, ..shape };
    batched_matmul(none, view(&bad), view(&good), None, &mut out).unwrap();
    assert_eq!(out, [0.0; 4]);
}

#[test]
fn refuses_what_does_not_fit() {
    let data = [0.0_f32; 6];
    let view = |start, row_stride| StridedMatrices {
        data: &data,
        start,
        batch_strides: &[],
        row_stride,
        column_stride: 1,
    };
    let shape = MatmulShape {
        batch: &[],
        rows: 2,
        depth: 3,
        columns: 2,
    };
    let error = |left, right, len: usize| {
        let mut out = vec![0.0; len];
        batched_matmul(shape, left, right, None, &mut out)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error(view(0, 3), view(0, 2), 3),
        "batched_matmul: out must have 4 elements, got 3"
    );
    let reach = "batched_matmul: left must have at least 7 elements for its strides, got 6";
    assert_eq!(error(view(1, 3), view(0, 2), 4), reach);
    assert!(error(view(0, 3), view(1, -2), 4).contains("right"));
}

/// Large enough for matrix tiles, which split numbers of `f32` in three.
#[rstest]
fn large_products_follow_the_formula(
    #[values((2, 131, 517, 140), (1, 200, 171, 300), (1, 290, 256, 129))] sizes: (
        usize,
        usize,
        usize,
        usize,
    ),
    #[values(Layout::Rows, Layout::Transposed, Layout::EverySecond)] left: Layout,
    #[values(Layout::Rows, Layout::Transposed, Layout::Backwards)] right: Layout,
) {
    check::<f32>(sizes, (left, right, false), None);
    check::<f32>(sizes, (left, right, true), Some((0.5, -2.0)));
    check::<f16>(sizes, (left, right, false), None);
}

/// Parts of small numbers are denormal, parts of large ones overflow, and what is not finite has no parts.
#[rstest]
#[case::tiny(1e-20, 1e-20)]
#[case::products_at_the_end(1e-19, 1e-19)]
#[case::denormal(1e-42, 1e3)]
#[case::small_and_large(1e-35, 1e30)]
#[case::large(3e38, 1e-3)]
#[case::overflow(1e30, 1e9)]
#[case::zeros(0.0, 1.0)]
#[case::nan(f32::NAN, 1.0)]
#[case::infinite(f32::INFINITY, 1.0)]
fn numbers_of_any_magnitude_are_right(
    #[case] left: f32,
    #[case] right: f32,
    #[values(false, true)] everywhere: bool,
) {
    let (rows, depth, columns) = (128, 600, 130);
    let mut a = random(rows * depth, 1);
    let mut b = random(depth * columns, 2);
    let scale = |numbers: &mut Vec<f32>, factor: f32| {
        for (i, number) in numbers.iter_mut().enumerate() {
            if everywhere || i == 1234 {
                *number *= factor;
            }
        }
    };
    scale(&mut a, left);
    scale(&mut b, right);
    let shape = MatmulShape {
        batch: &[],
        rows,
        depth,
        columns,
    };
    let view = |data, row_stride| StridedMatrices {
        data,
        start: 0,
        batch_strides: &[],
        row_stride,
        column_stride: 1,
    };
    let mut out = vec![7.0; rows * columns];
    batched_matmul(
        shape,
        view(&a, depth as isize),
        view(&b, columns as isize),
        None,
        &mut out,
    )
    .unwrap();
    for (i, &got) in out.iter().enumerate() {
        let (r, c) = (i / columns, i % columns);
        let products =
            (0..depth).map(|k| f64::from(a[r * depth + k]) * f64::from(b[k * columns + c]));
        let (mut want, mut magnitude) = (0.0, 0.0);
        for product in products {
            want += product;
            magnitude += product.abs();
        }
        // A sum that overflows on the way is as good as one that does at the end.
        if magnitude > f64::from(f32::MAX) || magnitude.is_nan() {
            let is_finite = want.is_finite() && want.abs() < f64::from(f32::MAX);
            assert!(
                is_finite || !got.is_finite(),
                "[{r}, {c}]: {got} and not {want}"
            );
            assert_eq!(
                want.is_nan(),
                want.is_nan() && got.is_nan(),
                "[{r}, {c}]: {got} and not {want}"
            );
            continue;
        }
        let bound = 260.0 / 16_777_216.0 * magnitude + depth as f64 * 2_f64.powi(-149);
        assert!(
            (f64::from(got) - want).abs() <= bound,
            "[{r}, {c}]: {got} and not {want}"
        );
    }
}

//! Updates at indices against plain loops, duplicates and half precision included, and what is refused.

use half::{bf16, f16};
use mlx_kernels::{
    Combine, Gather, StridedView, scatter, scatter_along, scatter_along_half, scatter_half,
};
use rstest::rstest;

/// Numbers that look random, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }

    fn floats(&mut self, n: usize) -> Vec<f64> {
        (0..n)
            .map(|_| self.below(4001) as f64 / 1000.0 - 2.0)
            .collect()
    }
}

fn row_major(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis] as isize;
    }
    strides
}

fn combine(how: Combine, a: f64, b: f64) -> f64 {
    match how {
        Combine::Add => a + b,
        Combine::Multiply => a * b,
        Combine::Greater | Combine::Max => a.max(b),
        Combine::Lesser | Combine::Min => a.min(b),
        _ => b,
    }
}

/// One slice after the other, one element after the other.
fn by_loops(
    how: Combine,
    (x, shape): (&[f64], &[usize]),
    axes: &[usize],
    lists: &[Vec<usize>],
    (updates, sizes): (&[f64], &[usize]),
) -> Vec<f64> {
    let mut out = x.to_vec();
    let slice: usize = sizes.iter().product();
    for (number, update) in updates.chunks(slice).enumerate() {
        for (element, value) in update.iter().enumerate() {
            let (mut rest, mut place) = (element, 0);
            let mut step = 1;
            for axis in (0..shape.len()).rev() {
                let mut index = rest % sizes[axis];
                rest /= sizes[axis];
                if let Some(list) = axes.iter().position(|&indexed| indexed == axis) {
                    index += lists[list][number];
                }
                place += index * step;
                step *= shape[axis];
            }
            out[place] = combine(how, out[place], *value);
        }
    }
    out
}

const KINDS: [Combine; 5] = [
    Combine::Set,
    Combine::Add,
    Combine::Multiply,
    Combine::Greater,
    Combine::Lesser,
];

#[rstest]
#[case::rows(&[500, 170], &[0], &[1, 170], 300)]
#[case::parts_of_rows(&[500, 170], &[0], &[1, 33], 300)]
#[case::elements(&[90_000], &[0], &[1], 5000)]
#[case::few_rows(&[3, 41_000], &[0], &[1, 41_000], 9)]
#[case::columns(&[40, 2000], &[1], &[40, 1], 700)]
#[case::both(&[70, 900], &[0, 1], &[1, 1], 4000)]
#[case::wide_slices(&[300, 200], &[0], &[7, 200], 50)]
#[case::wide_columns(&[2, 300, 200], &[1, 2], &[2, 5, 3], 400)]
#[case::middle(&[1, 60, 30, 50], &[2], &[1, 60, 1, 50], 45)]
#[case::one_row(&[1, 50_000], &[1], &[1, 1], 900)]
fn slices_are_updated(
    #[case] shape: &[usize],
    #[case] axes: &[usize],
    #[case] sizes: &[usize],
    #[case] count: usize,
) {
    let mut numbers = Numbers(0x1234_5678_9abc_def1);
    let elements: usize = shape.iter().product();
    let slice: usize = sizes.iter().product();
    let (x, updates) = (numbers.floats(elements), numbers.floats(count * slice));
    let lists: Vec<Vec<usize>> = axes
        .iter()
        .map(|&axis| {
            let last = shape[axis] - sizes[axis] + 1;
            // Many of a few places, so that most are there more than once.
            (0..count)
                .map(|_| numbers.below(last) / 3 * 3 % last)
                .collect()
        })
        .collect();
    let mut slices = Gather::new(count, sizes);
    let strides = row_major(shape);
    for (&axis, list) in axes.iter().zip(&lists) {
        // Every other one counts from the end.
        let size = shape[axis] as i64;
        let signed = list.iter().enumerate();
        let signed: Vec<i64> = signed
            .map(|(k, &index)| index as i64 - if k % 2 == 1 { size } else { 0 })
            .collect();
        let list = StridedView::new(&signed, 0, &[count], &[1]).unwrap();
        slices.index((shape, &strides), axis, &list).unwrap();
    }
    let mut update_shape = vec![count];
    update_shape.extend(sizes);
    let update_strides = row_major(&update_shape);
    for how in KINDS {
        let want = by_loops(how, (&x, shape), axes, &lists, (&updates, sizes));
        let x_view = StridedView::new(&x, 0, shape, &strides).unwrap();
        let update = StridedView::new(&updates, 0, &update_shape, &update_strides).unwrap();
        let mut out = vec![0.0; elements];
        scatter(how, Some(&x_view), &slices, &update, (shape, &mut out)).unwrap();
        assert_eq!(out, want, "{how:?}");
        let mut out = x.clone();
        scatter(how, None, &slices, &update, (shape, &mut out)).unwrap();
        assert_eq!(out, want, "{how:?} in place");

        // Every element of half precision is exact; sums and products of all are rounded once.
        let x_half: Vec<bf16> = x.iter().map(|&x| bf16::from_f64(x)).collect();
        let update_half: Vec<bf16> = updates.iter().map(|&x| bf16::from_f64(x)).collect();
        let widen = |all: &[bf16]| all.iter().map(|x| x.to_f64()).collect::<Vec<_>>();
        let (x_wide, updates_wide) = (widen(&x_half), widen(&update_half));
        let want = by_loops(how, (&x_wide, shape), axes, &lists, (&updates_wide, sizes));
        let x_view = StridedView::new(&x_half, 0, shape, &strides).unwrap();
        let update = StridedView::new(&update_half, 0, &update_shape, &update_strides).unwrap();
        let mut out = vec![bf16::ZERO; elements];
        scatter_half(how, Some(&x_view), &slices, &update, (shape, &mut out)).unwrap();
        for (got, want) in out.iter().zip(&want) {
            let error = (got.to_f64() - want).abs();
            assert!(error <= want.abs() / 256.0 + 1e-30, "{how:?} {got} {want}");
        }
    }
}

#[test]
fn a_view_is_copied_and_updated_by_a_view() {
    // The array is the transpose of what is stored, and each update is one number.
    let x: Vec<i32> = (0..6000).collect();
    let updates: Vec<i32> = (1..=40).collect();
    let x_view = StridedView::new(&x, 0, &[100, 60], &[1, 100]).unwrap();
    let update = StridedView::new(&updates, 0, &[40, 1, 60], &[1, 0, 0]).unwrap();
    let indices: Vec<u8> = (0..40).map(|k| 2 * k + 1).collect();
    let list = StridedView::new(&indices, 0, &[40], &[1]).unwrap();
    let mut slices = Gather::new(40, &[1, 60]);
    slices.index((&[100, 60], &[60, 1]), 0, &list).unwrap();
    let mut out = vec![0; 6000];
    let to = (&[100, 60][..], out.as_mut_slice());
    scatter(Combine::Add, Some(&x_view), &slices, &update, to).unwrap();
    for row in 0..100 {
        for column in 0..60 {
            let added = if row % 2 == 1 && row < 80 {
                row / 2 + 1
            } else {
                0
            };
            assert_eq!(out[row * 60 + column], (column * 100 + row + added) as i32);
        }
    }
}

#[rstest]
#[case::last(&[70, 300], 1, 120)]
#[case::first(&[400, 60], 0, 700)]
#[case::middle(&[20, 50, 30], 1, 90)]
#[case::one(&[70_000], 0, 9000)]
#[case::short(&[9000, 3], 1, 5)]
#[case::few(&[2, 30_000], 1, 2000)]
fn elements_are_updated_along_an_axis(
    #[case] shape: &[usize],
    #[case] axis: usize,
    #[case] count: usize,
) {
    let mut numbers = Numbers(0xfeed_5678_9abc_def1);
    let outer: usize = shape[..axis].iter().product();
    let inner: usize = shape[axis + 1..].iter().product();
    let (size, elements) = (shape[axis], shape.iter().product::<usize>());
    let n = outer * count * inner;
    let (x, updates) = (numbers.floats(elements), numbers.floats(n));
    let indices: Vec<usize> = (0..n).map(|_| numbers.below(size)).collect();
    for how in [Combine::Set, Combine::Add] {
        let by_loops = |x: &[f64], updates: &[f64]| {
            let mut want = x.to_vec();
            for (place, (index, update)) in indices.iter().zip(updates).enumerate() {
                let (outer, column) = (place / (count * inner), place % inner);
                let to = &mut want[(outer * size + index) * inner + column];
                *to = combine(how, *to, *update);
            }
            want
        };
        let strides = row_major(shape);
        let x_view = StridedView::new(&x, 0, shape, &strides).unwrap();
        let mut out = vec![0.0; elements];
        let given = (indices.as_slice(), updates.as_slice());
        scatter_along(how, Some(&x_view), axis, given, (shape, &mut out)).unwrap();
        assert_eq!(out, by_loops(&x, &updates), "{how:?}");

        let x_half: Vec<f16> = x.iter().map(|&x| f16::from_f64(x)).collect();
        let update_half: Vec<f16> = updates.iter().map(|&x| f16::from_f64(x)).collect();
        let widen = |all: &[f16]| all.iter().map(|x| x.to_f64()).collect::<Vec<_>>();
        let want = by_loops(&widen(&x_half), &widen(&update_half));
        let mut out = x_half;
        let given = (indices.as_slice(), update_half.as_slice());
        scatter_along_half(how, None, axis, given, (shape, &mut out)).unwrap();
        for (got, want) in out.iter().zip(&want) {
            let error = (got.to_f64() - want).abs();
            assert!(error <= want.abs() / 2048.0 + 1e-5, "{how:?} {got} {want}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (x, updates) = ([0_i32; 12], [1_i32; 8]);
    let x = StridedView::new(&x, 0, &[3, 4], &[4, 1]).unwrap();
    let indices = [0_i32, 3];
    let list = StridedView::new(&indices, 0, &[2], &[1]).unwrap();
    let mut slices = Gather::new(2, &[1, 4]);
    assert!(slices.index((&[3, 4], &[4, 1]), 0, &list).is_err());
    let slices = Gather::new(2, &[1, 4]);
    let update = StridedView::new(&updates, 0, &[2, 1, 4], &[4, 4, 1]).unwrap();
    let mut out = [0; 12];
    let shape = &[3, 4][..];
    scatter(Combine::Set, Some(&x), &slices, &update, (shape, &mut out)).unwrap();
    assert!(
        scatter(
            Combine::Set,
            Some(&x),
            &slices,
            &update,
            (shape, &mut out[1..])
        )
        .is_err()
    );
    let short = StridedView::new(&updates, 0, &[1, 1, 4], &[4, 4, 1]).unwrap();
    assert!(scatter(Combine::Set, Some(&x), &slices, &short, (shape, &mut out)).is_err());
    let given = (&[3, 0, 0, 0][..], &updates[..4]);
    assert!(scatter_along(Combine::Add, Some(&x), 0, given, (shape, &mut out)).is_err());
    let given = (&[2, 0, 0, 0][..], &updates[..3]);
    assert!(scatter_along(Combine::Add, Some(&x), 0, given, (shape, &mut out)).is_err());
}

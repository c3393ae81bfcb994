//! Joined, padded, gathered and updated arrays against plain loops, and what is refused.

use mlx_kernels::{
    Combine, Gather, SliceTarget, StridedView, concatenate, copy_strided, gather, pad, take_along,
    update_slice,
};
use rstest::rstest;

/// The elements in row-major order, found one by one.
fn elements(
    x: &StridedView<'_, u32>,
    from: &[u32],
    start: usize,
    strides: &[isize],
    shape: &[usize],
) -> Vec<u32> {
    let mut out = vec![0; x.size()];
    let mut places = vec![start as isize];
    for (&size, &stride) in shape.iter().zip(strides) {
        places = places
            .iter()
            .flat_map(|place| (0..size as isize).map(move |i| place + i * stride))
            .collect();
    }
    for (out, place) in out.iter_mut().zip(places) {
        *out = from[place as usize];
    }
    out
}

type View = (usize, &'static [usize], &'static [isize]);

fn view(start: usize, shape: &'static [usize], strides: &'static [isize]) -> View {
    (start, shape, strides)
}

#[rstest]
#[case::rows([view(0, &[3, 5], &[5, 1]), view(7, &[2, 5], &[5, 1])], 0)]
#[case::columns([view(0, &[30, 5], &[5, 1]), view(7, &[30, 70], &[70, 1])], 1)]
#[case::transposed([view(0, &[70, 90], &[1, 70]), view(0, &[70, 33], &[33, 1])], 1)]
#[case::middle([view(0, &[3, 40, 6], &[240, 6, 1]), view(9, &[3, 50, 6], &[6, 18, 1])], 1)]
#[case::long([view(0, &[2, 40_000], &[40_000, 1]), view(79_999, &[2, 30_000], &[-30_000, -1])], 1)]
fn arrays_are_joined(#[case] views: [View; 2], #[case] axis: usize) {
    let from: Vec<u32> = (0..100_000).collect();
    let parts: Vec<_> = views
        .iter()
        .map(|(start, shape, strides)| StridedView::new(&from, *start, shape, strides).unwrap())
        .collect();
    let outer: usize = views[0].1[..axis].iter().product();
    let rows: Vec<Vec<u32>> = parts
        .iter()
        .zip(&views)
        .map(|(part, (start, shape, strides))| elements(part, &from, *start, strides, shape))
        .collect();
    let want: Vec<u32> = (0..outer)
        .flat_map(|index| {
            rows.iter().flat_map(move |row| {
                let n = row.len() / outer;
                row[index * n..(index + 1) * n].to_vec()
            })
        })
        .collect();
    let mut out = vec![0; want.len()];
    concatenate(&parts, axis, &mut out).unwrap();
    assert_eq!(out, want);
    assert!(concatenate(&parts, 3, &mut out).is_err());
    assert!(concatenate(&parts, axis, &mut out[1..]).is_err());
}

#[rstest]
#[case::row(&[50_000], &[3], &[50_010])]
#[case::matrix(&[30, 50], &[1, 2], &[33, 60])]
#[case::cube(&[7, 20, 30], &[2, 0, 5], &[9, 21, 40])]
#[case::long_rows(&[2, 40_000], &[1, 7], &[4, 40_010])]
fn a_value_is_put_around(#[case] shape: &[usize], #[case] low: &[usize], #[case] padded: &[usize]) {
    let size = shape.iter().product::<usize>();
    let from: Vec<u32> = (1..=size as u32).collect();
    let strides: Vec<isize> = (0..shape.len())
        .map(|axis| shape[axis + 1..].iter().product::<usize>() as isize)
        .collect();
    let x = StridedView::new(&from, 0, shape, &strides).unwrap();
    let mut out = vec![0; padded.iter().product()];
    pad(&x, low, 9_999_999, padded, &mut out).unwrap();
    for (place, got) in out.iter().enumerate() {
        let (mut rest, mut want, mut step) = (place, Some(0), 1);
        for axis in (0..shape.len()).rev() {
            let index = (rest % padded[axis]).checked_sub(low[axis]);
            rest /= padded[axis];
            want = want
                .zip(index.filter(|index| *index < shape[axis]))
                .map(|(want, index)| want + index * step);
            step *= shape[axis];
        }
        assert_eq!(*got, want.map_or(9_999_999, |at| from[at]), "{place}");
    }
    assert!(pad(&x, padded, 0, padded, &mut out).is_err());
}

#[test]
fn slices_are_found_by_their_indices() {
    let from: Vec<u32> = (0..40 * 50).collect();
    let x = StridedView::new(&from, 0, &[40, 50], &[50, 1]).unwrap();
    let indices: Vec<i16> = (0..60).map(|i| (i * 7) % 40 - 20).collect();
    let list = StridedView::new(&indices, 0, &[60], &[1]).unwrap();
    let place = |index: i16| if index < 0 { index + 40 } else { index } as usize;
    // Rows, columns of the transposed array, and single elements.
    let mut rows = Gather::new(60, &[1, 50]);
    rows.index((&[40, 50], &[50, 1]), 0, &list).unwrap();
    let mut out = vec![0; 60 * 50];
    gather(&x, &rows, &mut out).unwrap();
    for (row, index) in out.chunks(50).zip(&indices) {
        assert_eq!(row, &from[place(*index) * 50..][..50]);
    }
    let turned = StridedView::new(&from, 0, &[50, 40], &[1, 50]).unwrap();
    let mut columns = Gather::new(60, &[50, 1]);
    columns.index((&[50, 40], &[1, 50]), 1, &list).unwrap();
    let mut again = vec![0; 60 * 50];
    gather(&turned, &columns, &mut again).unwrap();
    assert_eq!(again, out);
    let mut single = Gather::new(60, &[1, 1]);
    single.index((&[40, 50], &[50, 1]), 0, &list).unwrap();
    single.index((&[40, 50], &[50, 1]), 1, &list).unwrap();
    gather(&x, &single, &mut out[..60]).unwrap();
    for (got, index) in out.iter().zip(&indices) {
        let column = if *index < 0 { index + 50 } else { *index } as usize;
        assert_eq!(*got, from[place(*index) * 50 + column]);
    }
    for bad in [40_i16, -41, i16::MAX, i16::MIN] {
        let bad = [bad];
        let bad = StridedView::new(&bad, 0, &[1], &[1]).unwrap();
        assert!(
            Gather::new(1, &[1, 50])
                .index((&[40, 50], &[50, 1]), 0, &bad)
                .is_err()
        );
        let mut out = [0; 50];
        assert!(
            take_along(
                &x,
                &StridedView::new(&[-41_i64; 50], 0, &[1, 50], &[0, 1]).unwrap(),
                0,
                &mut out
            )
            .is_err()
        );
    }
    // A slice of two rows does not fit at the last.
    let last = [39_u8];
    let last = StridedView::new(&last, 0, &[1], &[1]).unwrap();
    assert!(
        Gather::new(1, &[2, 50])
            .index((&[40, 50], &[50, 1]), 0, &last)
            .is_err()
    );
}

#[rstest]
#[case(0)]
#[case(1)]
#[case(2)]
fn elements_are_taken_along_an_axis(#[case] axis: usize) {
    let from: Vec<u16> = (0..4 * 600 * 9).map(|i| i as u16).collect();
    let shape = [4, 600, 9];
    let x = StridedView::new(&from, 0, &shape, &[5400, 9, 1]).unwrap();
    let mut wanted = shape;
    wanted[axis] = 5;
    let count: usize = wanted.iter().product();
    let indices: Vec<i64> = (0..count as i64)
        .map(|i| (i * 31) % (2 * shape[axis] as i64) - shape[axis] as i64)
        .collect();
    let strides = [(wanted[1] * wanted[2]) as isize, wanted[2] as isize, 1];
    let list = StridedView::new(&indices, 0, &wanted, &strides).unwrap();
    let mut out = vec![0; count];
    take_along(&x, &list, axis, &mut out).unwrap();
    for (place, got) in out.iter().enumerate() {
        let mut at = [
            place / (wanted[1] * wanted[2]),
            place / wanted[2] % wanted[1],
            place % wanted[2],
        ];
        let index = indices[place];
        at[axis] = (if index < 0 {
            index + shape[axis] as i64
        } else {
            index
        }) as usize;
        assert_eq!(*got, from[at[0] * 5400 + at[1] * 9 + at[2]]);
    }
}

#[rstest]
#[case::rows(&[20, 300], &[3, 0], &[2, 1], &[8, 300])]
#[case::backwards(&[20, 300], &[19, 299], &[-1, -3], &[20, 100])]
#[case::columns(&[500, 90], &[0, 5], &[1, 4], &[500, 20])]
fn slices_are_updated(
    #[case] shape: &[usize],
    #[case] start: &[usize],
    #[case] steps: &[isize],
    #[case] part: &[usize],
) {
    let size: usize = shape.iter().product();
    let old: Vec<i32> = (0..size as i32).collect();
    let new: Vec<i32> = (0..(part[0] * part[1]) as i32).map(|i| i * 5 - 9).collect();
    let x = StridedView::new(&old, 0, shape, &[shape[1] as isize, 1]).unwrap();
    let update = StridedView::new(&new, 0, part, &[part[1] as isize, 1]).unwrap();
    let target = SliceTarget {
        shape,
        start,
        steps,
    };
    for how in [
        Combine::Set,
        Combine::Add,
        Combine::Multiply,
        Combine::Max,
        Combine::Min,
    ] {
        let mut want = old.clone();
        for i in 0..part[0] {
            for j in 0..part[1] {
                let row = start[0] as isize + i as isize * steps[0];
                let column = start[1] as isize + j as isize * steps[1];
                let at = row as usize * shape[1] + column as usize;
                let value = new[i * part[1] + j];
                want[at] = match how {
                    Combine::Add => want[at] + value,
                    Combine::Multiply => want[at].wrapping_mul(value),
                    Combine::Max => want[at].max(value),
                    Combine::Min => want[at].min(value),
                    _ => value,
                };
            }
        }
        let mut out = vec![0; size];
        update_slice(how, Some(&x), &update, target, &mut out).unwrap();
        assert_eq!(out, want, "{how:?}");
        let mut in_place = old.clone();
        update_slice(how, None, &update, target, &mut in_place).unwrap();
        assert_eq!(in_place, want, "{how:?} in place");
    }
    let beyond = SliceTarget {
        shape,
        start: shape,
        steps,
    };
    assert!(update_slice(Combine::Set, None, &update, beyond, &mut old.clone()).is_err());
}

#[test]
fn tiles_of_every_size_of_element_are_transposed() {
    fn check<T: mlx_kernels::Pod + PartialEq + std::fmt::Debug>(of: impl Fn(usize) -> T) {
        let (rows, columns) = (150, 203);
        let from: Vec<T> = (0..rows * columns).map(of).collect();
        let mut out = from.clone();
        copy_strided(&from, 0, &[columns, rows], &[1, columns as isize], &mut out).unwrap();
        for (place, got) in out.iter().enumerate() {
            assert_eq!(*got, from[place % rows * columns + place / rows]);
        }
    }
    check(|i| (i % 251) as u8);
    check(|i| i as u16);
    check(|i| i as u32);
    check(|i| i as u64);
    check(|i| [i as u64, 7]);
}

//! Copies of strided views against a plain loop: every order of axes, backward and repeated ones, refusals.

use mlx_kernels::{Error, copy_strided};
use rstest::rstest;

/// The elements in row-major order, found one by one.
fn slow(from: &[u32], start: usize, shape: &[usize], strides: &[isize]) -> Vec<u32> {
    let mut places = vec![start as isize];
    for (&size, &stride) in shape.iter().zip(strides) {
        places = places
            .iter()
            .flat_map(|place| (0..size as isize).map(move |i| place + i * stride))
            .collect();
    }
    places.iter().map(|&place| from[place as usize]).collect()
}

#[rstest]
#[case::scalar(0, &[], &[])]
#[case::rows(0, &[5, 7], &[7, 1])]
#[case::part_of_rows(3, &[50, 33], &[100, 1])]
#[case::transposed(0, &[130, 70], &[1, 130])]
#[case::many_transposed(0, &[3, 37, 41], &[1517, 1, 37])]
#[case::heads(64, &[2, 3, 5, 16], &[720, 16, 144, 1])]
#[case::first_axis_last(0, &[9, 8, 7], &[1, 9, 72])]
#[case::every_second(1, &[40, 50], &[100, 2])]
#[case::backwards(99, &[10, 10], &[-10, -1])]
#[case::rows_backwards(4900, &[50, 100], &[-100, 1])]
#[case::repeated(3, &[4, 100], &[1, 0])]
#[case::repeated_rows(0, &[200, 100], &[0, 1])]
#[case::of_one(0, &[1, 60, 1, 1], &[5, 3, 7, -9])]
#[case::large_transposed(0, &[300, 500], &[1, 300])]
#[case::empty(7, &[3, 0], &[9, 9])]
fn elements_come_in_row_major_order(
    #[case] start: usize,
    #[case] shape: &[usize],
    #[case] strides: &[isize],
) {
    let from: Vec<u32> = (0..150_000).collect();
    let count: usize = shape.iter().product();
    let mut out = vec![u32::MAX; count];
    copy_strided(&from, start, shape, strides, &mut out).unwrap();
    assert_eq!(out, slow(&from, start, shape, strides));
    // Elements of other sizes take the same way.
    let bytes: Vec<u8> = from.iter().map(|&x| (x % 251) as u8).collect();
    let mut narrow = vec![0; count];
    copy_strided(&bytes, start, shape, strides, &mut narrow).unwrap();
    assert!(
        narrow
            .iter()
            .zip(&out)
            .all(|(&a, &b)| u32::from(a) == b % 251)
    );
}

#[rstest]
#[case::behind_the_end(0, &[2, 3], &[3, 2])]
#[case::before_the_start(1, &[3], &[-1])]
#[case::no_stride(0, &[2, 3], &[3])]
#[case::overflow(0, &[2, 3], &[isize::MAX, 1])]
#[case::start_behind_the_end(7, &[6], &[0])]
fn strides_that_lead_outside_are_refused(
    #[case] start: usize,
    #[case] shape: &[usize],
    #[case] strides: &[isize],
) {
    let mut out = [9; 6];
    let out = &mut out[..shape.iter().product()];
    let refused = copy_strided(&[0; 7], start, shape, strides, out);
    assert!(
        matches!(refused, Err(Error::Reach { .. } | Error::Length { .. })),
        "{refused:?}"
    );
    assert!(out.iter().all(|&x| x == 9));
}

//! Sorting and selection against stable sorts by comparison, for every type, length and kind of data.

mod reference;

use std::cmp::Ordering;
use std::fmt::Debug;

use half::{bf16, f16};
use mlx_kernels::{Sortable, argpartition, argsort, partition, sort};

/// A type with an order in which NaN is last, and bits.
trait Ordered: Sortable + Debug {
    fn of(number: f64) -> Self;
    fn order(self, other: Self) -> Ordering;
    fn bits(self) -> u64;
}

macro_rules! ordered {
    ($($type:ty: $of:expr, $is_nan:expr, $bits:expr;)*) => {$(
        impl Ordered for $type {
            fn of(number: f64) -> Self {
                $of(number)
            }

            fn order(self, other: Self) -> Ordering {
                let is_nan: fn($type) -> bool = $is_nan;
                match (is_nan(self), is_nan(other)) {
                    (false, false) => self.partial_cmp(&other).unwrap(),
                    (a, b) => a.cmp(&b),
                }
            }

            fn bits(self) -> u64 {
                let bits: fn($type) -> u64 = $bits;
                bits(self)
            }
        }
    )*};
}

ordered! {
    u8: |x: f64| (x * 3.0) as i64 as u8, |_| false, u64::from;
    i8: |x: f64| (x * 3.0) as i64 as i8, |_| false, |x| x as u64;
    u16: |x: f64| (x * 3.0) as i64 as u16, |_| false, u64::from;
    i16: |x: f64| (x * 3.0) as i64 as i16, |_| false, |x| x as u64;
    u32: |x: f64| (x * 3e5) as i64 as u32, |_| false, u64::from;
    i32: |x: f64| (x * 3e5) as i32, |_| false, |x| x as u64;
    u64: |x: f64| (x * 3e5) as i64 as u64, |_| false, |x| x;
    i64: |x: f64| (x * 3e15) as i64, |_| false, |x| x as u64;
    f16: f16::from_f64, f16::is_nan, |x| u64::from(x.to_bits());
    bf16: bf16::from_f64, bf16::is_nan, |x| u64::from(x.to_bits());
    f32: |x: f64| x as f32, f32::is_nan, |x| u64::from(x.to_bits());
    f64: |x: f64| x, f64::is_nan, |x| x.to_bits();
}

struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Rows with ties, in one direction, constant ones, and with the numbers that compare in their own way.
    fn row<T: Ordered>(&mut self, kind: usize, len: usize) -> Vec<T> {
        (0..len)
            .map(|i| {
                let number = (self.next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
                T::of(match kind {
                    0 => number * 1000.0,
                    1 => (number * 4.0).round(),
                    2 => i as f64,
                    3 => -(i as f64),
                    4 => 7.0,
                    5 => match self.next() % 8 {
                        0 => f64::NAN,
                        1 => -f64::NAN,
                        2 => 0.0,
                        3 => -0.0,
                        4 => f64::INFINITY,
                        5 => f64::NEG_INFINITY,
                        6 => 1e-41 * number,
                        _ => number,
                    },
                    _ => f64::NAN,
                })
            })
            .collect()
    }
}

fn bits<T: Ordered>(all: &[T]) -> Vec<u64> {
    all.iter().map(|x| x.bits()).collect()
}

fn check_row<T: Ordered>(x: &[T], rows: usize, len: usize, what: &str) {
    let mut sorted = vec![T::default(); x.len()];
    sort(x, len, &mut sorted).unwrap();
    let mut positions = vec![0; x.len()];
    argsort(x, len, &mut positions).unwrap();
    for row in 0..rows {
        let range = row * len..(row + 1) * len;
        let (x, mut want) = (&x[range.clone()], x[range.clone()].to_vec());
        want.sort_by(|a, b| a.order(*b));
        assert!(bits(&sorted[range.clone()]) == bits(&want), "sort {what}");
        let mut order: Vec<u32> = (0..len as u32).collect();
        order.sort_by(|a, b| x[*a as usize].order(x[*b as usize]));
        assert!(positions[range] == order, "argsort {what}");
    }
}

fn check_partition<T: Ordered>(x: &[T], rows: usize, len: usize, kth: usize, what: &str) {
    let mut parted = vec![T::default(); x.len()];
    partition(x, len, kth, &mut parted).unwrap();
    let mut positions = vec![0; x.len()];
    argpartition(x, len, kth, &mut positions).unwrap();
    for row in 0..rows {
        let range = row * len..(row + 1) * len;
        let x = &x[range.clone()];
        let mut order: Vec<u32> = (0..len as u32).collect();
        order.sort_by(|a, b| x[*a as usize].order(x[*b as usize]));
        let pivot = x[order[kth] as usize];
        // Stable in three parts.
        let mut want: Vec<u32> = (0..len as u32).collect();
        want.sort_by_key(|at| x[*at as usize].order(pivot));
        assert!(
            positions[range.clone()] == want,
            "argpartition {kth} {what}"
        );
        assert_eq!(positions[range.clone()][kth], order[kth], "{kth} {what}");
        let want: Vec<T> = want.iter().map(|at| x[*at as usize]).collect();
        assert!(
            bits(&parted[range]) == bits(&want),
            "partition {kth} {what}"
        );
    }
}

fn check<T: Ordered>() {
    let numbers = &mut Numbers(0x2545_F491_4F6C_DD1D);
    let name = std::any::type_name::<T>();
    for kind in 0..7 {
        for (rows, len) in [
            (1, 1),
            (3, 2),
            (5, 7),
            (2, 64),
            (3, 191),
            (2, 300),
            (1, 5000),
        ] {
            let x: Vec<T> = numbers.row(kind, rows * len);
            let what = format!("{name}, kind {kind}, {rows} rows of {len}");
            check_row(&x, rows, len, &what);
            for kth in [0, len / 3, len - 1] {
                check_partition(&x, rows, len, kth, &what);
            }
        }
    }
    for (kind, len) in [(0, 70_000), (1, 66_000), (5, 200_001), (2, 65_536)] {
        let x: Vec<T> = numbers.row(kind, len);
        let what = format!("{name}, kind {kind}, {len} elements");
        check_row(&x, 1, len, &what);
        for kth in [0, 100, len - 50] {
            check_partition(&x, 1, len, kth, &what);
        }
    }
}

#[test]
fn integers_are_in_order() {
    check::<u8>();
    check::<i8>();
    check::<u16>();
    check::<i16>();
    check::<u32>();
    check::<i32>();
    check::<u64>();
    check::<i64>();
}

#[test]
fn floating_numbers_are_in_order() {
    check::<f16>();
    check::<bf16>();
    check::<f32>();
    check::<f64>();
}

#[test]
fn refuses_what_is_not_whole_rows() {
    let mut out = [0; 6];
    assert!(sort(&[1; 6], 4, &mut out).is_err());
    assert!(sort(&[1; 4], 4, &mut out).is_err());
    assert!(partition(&[1; 6], 3, 3, &mut out).is_err());
    assert!(argsort(&[1; 6], 0, &mut [0; 6]).is_err());
    assert!(sort::<i32>(&[], 0, &mut []).is_ok());
}

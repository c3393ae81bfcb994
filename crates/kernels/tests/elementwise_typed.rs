//! Functions of elements of every type over every layout against plain loops: exact for integers, casts and choices, and
//! rounded once for floating numbers.

mod reference;

use half::{bf16, f16};
use mlx_kernels::{
    BinaryOp, ElementType, Error, StridedSlice, UnaryOp, cast, compare, has_binary, has_unary, map,
    map_in_place, select, select_in_place, zip, zip_in_place,
};
use reference::random;

/// Shapes with the strides and starts of two operands: rows, columns, transposes, gaps, backwards, broadcasts.
type Case = (&'static [usize], [(&'static [isize], usize); 2]);

const LAYOUTS: [Case; 16] = [
    (&[], [(&[], 3), (&[], 0)]),
    (&[0, 4], [(&[4, 1], 0), (&[0, 1], 0)]),
    (&[1], [(&[7], 0), (&[-9], 5)]),
    (&[5000], [(&[1], 0), (&[0], 7)]),
    (&[5000], [(&[2], 1), (&[-1], 4999)]),
    (&[33, 70], [(&[70, 1], 0), (&[0, 1], 0)]),
    (&[70, 33], [(&[1, 70], 0), (&[33, 1], 0)]),
    (&[70, 300], [(&[1, 70], 0), (&[300, 1], 0)]),
    (&[300, 70], [(&[1, 300], 0), (&[-70, 1], 299 * 70)]),
    (&[40, 260], [(&[261, 1], 2), (&[1, 0], 0)]),
    (&[3, 5, 7, 11], [(&[1, 3, 15, 105], 0), (&[0, 11, 0, 1], 0)]),
    (&[3, 4000], [(&[4000, 1], 0), (&[8000, -2], 7998)]),
    (&[1000, 3], [(&[3, 1], 0), (&[0, 1], 0)]),
    (
        &[2, 129, 200],
        [(&[25800, 1, 129], 0), (&[25800, 200, 1], 0)],
    ),
    (&[17, 16, 200], [(&[1, 17, 272], 0), (&[0, 0, 1], 0)]),
    (&[2, 40_000], [(&[40_000, 1], 0), (&[1, 2], 0)]),
];

/// Where the elements of a shape are, one after the other.
fn indices(shape: &[usize], strides: &[isize], start: usize) -> Vec<usize> {
    let mut all = vec![start];
    for (size, stride) in shape.iter().zip(strides) {
        let step = |from: &usize| {
            let from = *from;
            (0..*size).map(move |i| from.wrapping_add_signed(*stride * i as isize))
        };
        all = all.iter().flat_map(step).collect();
    }
    all
}

fn gathered<T: Copy>(values: &[T], shape: &[usize], (strides, start): (&[isize], usize)) -> Vec<T> {
    indices(shape, strides, start)
        .iter()
        .map(|i| values[*i])
        .collect()
}

/// Numbers in mixed order.
fn bits(count: usize, seed: u64) -> Vec<u64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..count).map(|_| next()).collect()
}

const COUNT: usize = 90_000;

macro_rules! integers_agree {
    ($name:ident, $type:ty) => {
        #[test]
        fn $name() {
            let a: Vec<$type> = bits(COUNT, 3).iter().map(|x| *x as $type).collect();
            let b: Vec<$type> = bits(COUNT, 4)
                .iter()
                .map(|x| {
                    if x % 3 == 0 {
                        (x / 3 % 5) as $type
                    } else {
                        *x as $type
                    }
                })
                .collect();
            type Pair = (BinaryOp, fn($type, $type) -> $type);
            let functions: [Pair; 10] = [
                (BinaryOp::Add, |a, b| a.wrapping_add(b)),
                (BinaryOp::Subtract, |a, b| a.wrapping_sub(b)),
                (BinaryOp::Multiply, |a, b| a.wrapping_mul(b)),
                (
                    BinaryOp::Divide,
                    |a, b| if b == 0 { 0 } else { a.wrapping_div(b) },
                ),
                (BinaryOp::Maximum, |a, b| a.max(b)),
                (BinaryOp::Minimum, |a, b| a.min(b)),
                (BinaryOp::BitwiseAnd, |a, b| a & b),
                (BinaryOp::BitwiseXor, |a, b| a ^ b),
                (BinaryOp::Remainder, |a, b| match b {
                    0 => a,
                    b => {
                        let (a, b) = (a as i128, b as i128);
                        (((a % b) + b) % b) as $type
                    }
                }),
                (BinaryOp::FloorDivide, |a, b| match b {
                    0 => 0,
                    b => {
                        let (a, b) = (a as i128, b as i128);
                        ((a - ((a % b) + b) % b) / b) as $type
                    }
                }),
            ];
            for (shape, [first, second]) in LAYOUTS {
                let (left, right) = (gathered(&a, shape, first), gathered(&b, shape, second));
                let x = StridedSlice {
                    values: &a[..],
                    start: first.1,
                    strides: first.0,
                };
                let y = StridedSlice {
                    values: &b[..],
                    start: second.1,
                    strides: second.0,
                };
                for (op, exact) in functions {
                    let mut out = vec![1; left.len()];
                    zip(op, shape, x, y, &mut out).unwrap();
                    let wanted: Vec<$type> = left
                        .iter()
                        .zip(&right)
                        .map(|(a, b)| exact(*a, *b))
                        .collect();
                    assert_eq!(out, wanted, "{op:?} {shape:?}");
                }
                let mut out = vec![9; left.len()];
                compare(BinaryOp::Less, shape, x, y, &mut out).unwrap();
                let wanted: Vec<u8> = left
                    .iter()
                    .zip(&right)
                    .map(|(a, b)| u8::from(a < b))
                    .collect();
                assert_eq!(out, wanted);
                let mut out = vec![1; left.len()];
                map(UnaryOp::Square, shape, x, &mut out).unwrap();
                let wanted: Vec<$type> = left.iter().map(|a| a.wrapping_mul(*a)).collect();
                assert_eq!(out, wanted);
            }
        }
    };
}

integers_agree!(of_u8_wrap, u8);
integers_agree!(of_u16_wrap, u16);
integers_agree!(of_u32_wrap, u32);
integers_agree!(of_u64_wrap, u64);
integers_agree!(of_i8_wrap, i8);
integers_agree!(of_i16_wrap, i16);
integers_agree!(of_i32_wrap, i32);
integers_agree!(of_i64_wrap, i64);

#[test]
fn floating_numbers_of_every_layout_are_rounded_once() {
    let (a, b) = (random(COUNT, 1), random(COUNT, 2));
    let half: Vec<f16> = a.iter().map(|x| f16::from_f32(*x)).collect();
    let other: Vec<f16> = b.iter().map(|x| f16::from_f32(*x)).collect();
    let brain: Vec<bf16> = a.iter().map(|x| bf16::from_f32(*x)).collect();
    let condition: Vec<u8> = b.iter().map(|x| u8::from(*x > 0.1)).collect();
    for (shape, [first, second]) in LAYOUTS {
        let view = |values, (strides, start): (&'static [isize], usize)| StridedSlice {
            values,
            start,
            strides,
        };
        let (left, right) = (gathered(&a, shape, first), gathered(&b, shape, second));
        let mut out = vec![0.0; left.len()];
        zip(
            BinaryOp::Divide,
            shape,
            view(&a[..], first),
            view(&b[..], second),
            &mut out,
        )
        .unwrap();
        let wanted: Vec<f32> = left.iter().zip(&right).map(|(a, b)| a / b).collect();
        assert_eq!(out, wanted, "{shape:?}");
        let x = StridedSlice {
            values: &half[..],
            start: first.1,
            strides: first.0,
        };
        let y = StridedSlice {
            values: &other[..],
            start: second.1,
            strides: second.0,
        };
        let mut out = vec![f16::ZERO; left.len()];
        zip(BinaryOp::Multiply, shape, x, y, &mut out).unwrap();
        let (h, o) = (
            gathered(&half, shape, first),
            gathered(&other, shape, second),
        );
        let wanted: Vec<f16> = h
            .iter()
            .zip(&o)
            .map(|(a, b)| f16::from_f32(a.to_f32() * b.to_f32()))
            .collect();
        assert_eq!(out, wanted, "{shape:?}");
        let mut truth = vec![9; left.len()];
        compare(BinaryOp::GreaterEqual, shape, x, y, &mut truth).unwrap();
        let wanted: Vec<u8> = h.iter().zip(&o).map(|(a, b)| u8::from(a >= b)).collect();
        assert_eq!(truth, wanted);
        let z = StridedSlice {
            values: &brain[..],
            start: first.1,
            strides: first.0,
        };
        let mut out = vec![bf16::ZERO; left.len()];
        map(UnaryOp::Floor, shape, z, &mut out).unwrap();
        let wanted: Vec<bf16> = gathered(&brain, shape, first)
            .iter()
            .map(|x| bf16::from_f32(x.to_f32().floor()))
            .collect();
        assert_eq!(out, wanted);
        let numbers = bits(COUNT, 9);
        let chosen = StridedSlice {
            values: &condition[..],
            start: second.1,
            strides: second.0,
        };
        let yes = StridedSlice {
            values: &numbers[..],
            start: first.1,
            strides: first.0,
        };
        let no = StridedSlice {
            values: &numbers[..],
            start: second.1,
            strides: second.0,
        };
        let mut out = vec![0; left.len()];
        select(shape, chosen, yes, no, &mut out).unwrap();
        let (yes, no) = (
            gathered(&numbers, shape, first),
            gathered(&numbers, shape, second),
        );
        let wanted: Vec<u64> = gathered(&condition, shape, second)
            .iter()
            .zip(yes.iter().zip(&no))
            .map(|(condition, (yes, no))| if *condition != 0 { *yes } else { *no })
            .collect();
        assert_eq!(out, wanted);
    }
}

#[test]
fn writing_over_an_operand_gives_the_same() {
    let a: Vec<i32> = bits(COUNT, 5).iter().map(|x| *x as i32).collect();
    let condition: Vec<u8> = a.iter().map(|x| (*x & 1) as u8).collect();
    let raw: Vec<u32> = a.iter().map(|x| *x as u32).collect();
    for (shape, [_, (strides, start)]) in LAYOUTS {
        let n = shape.iter().product::<usize>();
        let mut dense = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            dense[axis - 1] = dense[axis] * shape[axis] as isize;
        }
        let own = StridedSlice {
            values: &a[..],
            start: 0,
            strides: &dense[..],
        };
        let other = StridedSlice {
            values: &a[..],
            start,
            strides,
        };
        let mut wanted = vec![0; n];
        map(UnaryOp::Negate, shape, own, &mut wanted).unwrap();
        let mut got = a[..n].to_vec();
        map_in_place(UnaryOp::Negate, &mut got).unwrap();
        assert_eq!(got, wanted);
        for is_first in [true, false] {
            let (left, right) = if is_first { (own, other) } else { (other, own) };
            zip(BinaryOp::Subtract, shape, left, right, &mut wanted).unwrap();
            let mut got = a[..n].to_vec();
            zip_in_place(BinaryOp::Subtract, shape, other, is_first, &mut got).unwrap();
            assert_eq!(got, wanted, "{shape:?} {is_first}");
            let other = StridedSlice {
                values: &raw[..],
                start,
                strides,
            };
            let own = StridedSlice {
                values: &raw[..],
                start: 0,
                strides: &dense[..],
            };
            let condition = StridedSlice {
                values: &condition[..],
                start,
                strides,
            };
            let (yes, no) = if is_first { (other, own) } else { (own, other) };
            let mut wanted = vec![0; n];
            select(shape, condition, yes, no, &mut wanted).unwrap();
            let mut got = raw[..n].to_vec();
            select_in_place(shape, condition, other, is_first, &mut got).unwrap();
            assert_eq!(got, wanted, "{shape:?} {is_first}");
        }
    }
}

#[test]
fn casts_give_what_conversions_in_cpp_give() {
    let x = [
        0.0_f32,
        1.9,
        -1.9,
        255.0,
        300.0,
        -129.0,
        3e9,
        -3e9,
        1e20,
        f32::NAN,
        f32::INFINITY,
    ];
    let raw: Vec<u32> = x.iter().map(|x| x.to_bits()).collect();
    let view = StridedSlice {
        values: &raw[..],
        start: 0,
        strides: &[1],
    };
    let shape = [x.len()];
    let mut bytes = [0_u8; 11];
    cast(ElementType::F32, ElementType::U8, &shape, view, &mut bytes).unwrap();
    assert_eq!(bytes, [0, 1, 255, 255, 44, 127, 0, 0, 0, 0, 0]);
    let mut words = [0_u32; 11];
    cast(ElementType::F32, ElementType::I32, &shape, view, &mut words).unwrap();
    let min = i32::MIN;
    assert_eq!(
        words.map(|w| w as i32),
        [0, 1, -1, 255, 300, -129, min, min, min, min, min]
    );
    let mut truth = [9_u8; 11];
    cast(
        ElementType::F32,
        ElementType::Bool,
        &shape,
        view,
        &mut truth,
    )
    .unwrap();
    assert_eq!(truth, [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    let large: Vec<u64> = vec![u64::MAX, 1 << 63, 5];
    let view = StridedSlice {
        values: &large[..],
        start: 0,
        strides: &[1],
    };
    let mut out = [0_u32; 3];
    cast(ElementType::U64, ElementType::F32, &[3], view, &mut out).unwrap();
    assert_eq!(out.map(f32::from_bits), [1.844_674_4e19, 9.223_372e18, 5.0]);
    let mut out = [0_u8; 3];
    cast(ElementType::I64, ElementType::I8, &[3], view, &mut out).unwrap();
    assert_eq!(out, [255, 0, 5]);
}

#[test]
fn every_half_is_cast_there_and_back() {
    let halves: Vec<u16> = (0..=u16::MAX).collect();
    for (from, to_f32) in [
        (
            ElementType::F16,
            (|x| f16::from_bits(x).to_f32()) as fn(u16) -> f32,
        ),
        (ElementType::Bf16, |x| bf16::from_bits(x).to_f32()),
    ] {
        for step in [1_isize, 3, -1] {
            let n = halves.len() / step.unsigned_abs();
            let start = if step < 0 { n - 1 } else { 0 };
            let view = StridedSlice {
                values: &halves[..],
                start,
                strides: &[step],
            };
            let mut wide = vec![0_u32; n];
            cast(from, ElementType::F32, &[n], view, &mut wide).unwrap();
            for (i, got) in wide.iter().enumerate() {
                let x = halves[start.wrapping_add_signed(step * i as isize)];
                let (got, wanted) = (f32::from_bits(*got), to_f32(x));
                assert!(got.to_bits() == wanted.to_bits() || got.is_nan() && wanted.is_nan());
            }
            let mut wider = vec![0_u64; n];
            cast(from, ElementType::F64, &[n], view, &mut wider).unwrap();
            for (wide, wider) in wide.iter().zip(&wider) {
                let (single, double) = (f32::from_bits(*wide), f64::from_bits(*wider));
                assert!(f64::from(single) == double || single.is_nan() && double.is_nan());
            }
            let mut back = vec![0_u16; n];
            let wide = StridedSlice {
                values: &wide[..],
                start: 0,
                strides: &[1],
            };
            cast(ElementType::F32, from, &[n], wide, &mut back).unwrap();
            for (i, got) in back.iter().enumerate() {
                let x = halves[start.wrapping_add_signed(step * i as isize)];
                assert!(*got == x || to_f32(x).is_nan() && to_f32(*got).is_nan());
            }
        }
    }
}

#[test]
fn refuses_what_it_has_not_and_what_does_not_fit() {
    assert!(has_binary::<i8>(BinaryOp::LeftShift) && !has_binary::<f32>(BinaryOp::LeftShift));
    assert!(has_binary::<f16>(BinaryOp::Logaddexp) && !has_binary::<i32>(BinaryOp::Arctan2));
    assert!(has_unary::<u8>(UnaryOp::BitwiseInvert) && !has_unary::<u8>(UnaryOp::Exp));
    assert!(has_unary::<f64>(UnaryOp::Exp) && has_unary::<[f32; 2]>(UnaryOp::Negate));
    let x = [1.0_f32; 6];
    let view = |start, strides| StridedSlice {
        values: &x[..],
        start,
        strides,
    };
    let mut out = [0.0; 6];
    let refused = map(UnaryOp::Abs, &[6], view(1, &[1]), &mut out);
    assert!(matches!(
        refused,
        Err(Error::Reach {
            wanted: 7,
            got: 6,
            ..
        })
    ));
    let refused = map(UnaryOp::Abs, &[6], view(4, &[-1]), &mut out);
    assert!(matches!(refused, Err(Error::Reach { .. })));
    let refused = zip(
        BinaryOp::Add,
        &[2, 3],
        view(0, &[3, 1]),
        view(0, &[1]),
        &mut out,
    );
    assert!(matches!(
        refused,
        Err(Error::Length {
            wanted: 2,
            got: 1,
            ..
        })
    ));
    let refused = zip(
        BinaryOp::LeftShift,
        &[6],
        view(0, &[1]),
        view(0, &[1]),
        &mut out,
    );
    assert!(matches!(refused, Err(Error::Parameter { .. })));
    assert_eq!(out, [0.0; 6]);
}

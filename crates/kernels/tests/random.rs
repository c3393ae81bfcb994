//! Random bits against the generator in plain loops, and numbers against the formula of the library they follow.

mod reference;

use half::{bf16, f16};
use mlx_kernels::{Element, UnaryOp, random_bits, random_normal, random_uniform, unary};
use reference::{erf, erfc, ulps};
use rstest::rstest;

fn threefry(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    let keys = [key[0], key[1], key[0] ^ key[1] ^ 0x1BD1_1BDA];
    let [mut a, mut b] = [
        counter[0].wrapping_add(keys[0]),
        counter[1].wrapping_add(keys[1]),
    ];
    for group in 0..5 {
        for rotation in [[13, 15, 26, 6], [17, 29, 16, 24]][group % 2] {
            a = a.wrapping_add(b);
            b = b.rotate_left(rotation) ^ a;
        }
        a = a.wrapping_add(keys[(group + 1) % 3]);
        b = b
            .wrapping_add(keys[(group + 2) % 3])
            .wrapping_add(group as u32 + 1);
    }
    [a, b]
}

fn words(key: [u32; 2], n: usize) -> Vec<u32> {
    let (half, odd) = (n / 2, n % 2);
    let mut words = vec![0; n];
    for i in 0..half {
        let second = i + half + odd;
        [words[i], words[second]] = threefry(key, [i as u32, second as u32]);
    }
    if odd == 1 {
        words[half] = threefry(key, [half as u32, 0])[0];
    }
    words
}

#[test]
fn the_generator_is_the_published_one() {
    // The known answers of Random123 for Threefry-2x32 with 20 rounds.
    assert_eq!(threefry([0; 2], [0; 2]), [0x6b20_0159, 0x99ba_4efe]);
    assert_eq!(
        threefry([u32::MAX; 2], [u32::MAX; 2]),
        [0x1cb9_96fc, 0xbb00_2be7]
    );
}

#[test]
fn bits_are_exact_for_every_length_and_alignment() {
    let key = [0x1234_5678, 0x9abc_def0];
    for len in (0..300).chain([8191, 65_536, 65_542, 100_001, 262_148]) {
        let want: Vec<u8> = words(key, usize::div_ceil(len, 4))
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .take(len)
            .collect();
        for shift in 0..2 {
            let mut bytes = vec![0; len + shift];
            random_bits(key, &mut bytes[shift..]);
            assert!(bytes[shift..] == want, "{len} bytes at {shift}");
        }
    }
}

/// What each type rounds to, and the largest number below 1.
fn uniform_in<T: Element>(round: fn(f32) -> T, back: fn(T) -> f32, below_one: f32) {
    let round = |x: f32| back(round(x));
    for (low, high) in [
        (0.0, 1.0),
        (-1.0, 1.0),
        (2.5, 3.0),
        (100.0, 100.3),
        (1.0, 0.0),
    ] {
        for n in [0, 1, 2, 7, 64, 1001, 50_000] {
            let mut got = vec![T::default(); n];
            random_uniform([3, n as u32], low, high, &mut got);
            let (low, high) = (round(low), round(high));
            for (got, word) in got.iter().zip(words([3, n as u32], n)) {
                let unit = round((word as f32 / 4_294_967_296.0).min(below_one));
                let number = round(round(unit * round(high - low)) + low);
                let is_excluded = low < high && number >= high;
                let want = if is_excluded { low } else { number };
                assert_eq!(back(*got).to_bits(), want.to_bits(), "{low} {high} {n}");
            }
        }
    }
}

#[test]
fn uniform_numbers_are_exact() {
    uniform_in::<f32>(|x| x, |x| x, 1.0 - f32::EPSILON / 2.0);
    uniform_in::<f16>(f16::from_f32, f16::to_f32, 1.0 - 1.0 / 2048.0);
    uniform_in::<bf16>(bf16::from_f32, bf16::to_f32, 1.0 - 1.0 / 256.0);
}

/// The inverse of the error function, by Newton's method from its first digits.
fn erfinv(x: f64, start: f64) -> f64 {
    let slope = |y: f64| 2.0 / std::f64::consts::PI.sqrt() * (-y * y).exp();
    let mut y = start.abs();
    for _ in 0..4 {
        let error = if y > 1.0 {
            (1.0 - x.abs()) - erfc(y)
        } else {
            erf(y) - x.abs()
        };
        y -= error / slope(y);
    }
    y.copysign(x)
}

#[test]
fn the_inverse_of_the_error_function_stays_within_units_in_the_last_place() {
    let dense = (0..400_000).map(|i| i as f32 / 200_000.0 - 1.0);
    let near_one = (1..5000).map(|i| f32::from_bits(1_f32.to_bits() - i));
    let small = (0..2000).map(|i| f32::from_bits(i * 400_000 + 0x0080_0000));
    let x: Vec<f32> = dense
        .chain(near_one)
        .chain(small)
        .filter(|x| x.abs() < 1.0)
        .collect();
    let mut got = vec![0.0; x.len()];
    unary(UnaryOp::Erfinv, &x, &mut got).unwrap();
    let distance = |(x, got): (&f32, &f32)| ulps(*got, erfinv(f64::from(*x), f64::from(*got)));
    let worst = x.iter().zip(&got).map(distance).fold(0.0, f64::max);
    assert!(worst <= 3.0, "{worst}");
}

#[test]
fn the_inverse_of_the_error_function_ends_at_one() {
    let x = [1.0, -1.0, 1.5, -2.0, f32::NAN, f32::INFINITY, 0.0];
    let mut got = [0.0; 7];
    unary(UnaryOp::Erfinv, &x, &mut got).unwrap();
    assert_eq!(got[..2], [f32::INFINITY, f32::NEG_INFINITY]);
    assert!(got[2..6].iter().all(|x| x.is_nan()), "{got:?}");
    assert_eq!(got[6], 0.0);
}

#[rstest]
#[case(0.0, 1.0)]
#[case(-3.0, 0.5)]
fn normal_numbers_are_the_inverse_of_uniform_ones(#[case] loc: f32, #[case] scale: f32) {
    for n in [1, 2, 33, 4097, 40_000] {
        let mut got = vec![0.0_f32; n];
        random_normal([9, 1], loc, scale, &mut got);
        for (got, word) in got.iter().zip(words([9, 1], n)) {
            let unit = (word as f32 / 4_294_967_296.0).min(1.0 - f32::EPSILON / 2.0);
            let uniform = f64::from(unit * 2.0 - (1.0 - f32::EPSILON / 2.0));
            let start = f64::from(got - loc) / f64::from(scale) / 2_f64.sqrt();
            let exact = erfinv(uniform, start) * 2_f64.sqrt() * f64::from(scale) + f64::from(loc);
            let allowed = 4e-7 * (exact - f64::from(loc)).abs().max(exact.abs());
            assert!((f64::from(*got) - exact).abs() <= allowed, "{got} {exact}");
        }
    }
}

#[test]
fn normal_numbers_of_half_precision_are_rounded_after_each_step() {
    let mut got = vec![f16::ZERO; 10_000];
    random_normal([9, 1], 0.5, 3.0, &mut got);
    let factor = f16::from_f32(f16::from_f32(std::f32::consts::SQRT_2).to_f32() * 3.0).to_f32();
    let mut single = vec![0.0_f32; 10_000];
    random_normal([9, 1], 0.0, std::f32::consts::FRAC_1_SQRT_2, &mut single);
    for (got, single) in got.iter().zip(&single) {
        let product = f16::from_f32(f16::from_f32(*single).to_f32() * factor);
        let want = f16::from_f32(product.to_f32() + 0.5).to_f32();
        // The single one was multiplied by a number that is nearly 1.
        assert!(
            (got.to_f32() - want).abs() <= 0.005 * want.abs().max(1.0),
            "{got} {want}"
        );
    }
}

//! Sorting, selection, random numbers and Fourier transforms.

use mlx::index::Slice;
use mlx::{Array, Dtype, fft, random as draw};

use super::{EXACT, FLOATS, Random, Results, SAME, Values, tolerance};

pub(super) fn order(results: &mut Results, random: &mut Random) {
    sorted(results, random);
    parted(results, random);
    drawn(results);
    transformed(results, random);
}

fn any_dtype(random: &mut Random) -> Dtype {
    random.of(&[
        Dtype::Bool,
        Dtype::Uint8,
        Dtype::Uint16,
        Dtype::Uint32,
        Dtype::Uint64,
        Dtype::Int8,
        Dtype::Int16,
        Dtype::Int32,
        Dtype::Int64,
        Dtype::Float16,
        Dtype::Bfloat16,
        Dtype::Float32,
        Dtype::Float64,
    ])
}

/// Special numbers only where a cast of them is defined.
fn numbers(random: &mut Random, shape: &[i32], dtype: Dtype) -> Array {
    if FLOATS.contains(&dtype) || dtype == Dtype::Float64 {
        let values = random.of(&[Values::Plain, Values::Special]);
        return random.view(shape, dtype, values);
    }
    // Few different ones, so that some are equal.
    let dense = random.view(shape, Dtype::Float32, Values::Plain) * 50.0;
    dense.astype(Dtype::Int32).astype(dtype)
}

fn sorted(results: &mut Results, random: &mut Random) {
    let shapes: [&[i32]; 7] = [
        &[300],
        &[4, 129],
        &[7, 3, 40],
        &[1, 700],
        &[2, 5, 1, 64],
        &[90_000],
        &[33, 2000],
    ];
    for round in 0..40 {
        let shape = random.of(&shapes);
        let dtype = any_dtype(random);
        let axis = random.below(shape.len()) as i32;
        let x = numbers(random, shape, dtype);
        let what = format!("{dtype} {shape:?} {axis} {round}");
        results.keep(format!("sort {what}"), EXACT, Ok(x.sort(axis)));
        results.keep(format!("argsort {what}"), EXACT, Ok(x.argsort(axis)));
    }
}

/// The order of the sides is not promised.
fn parted(results: &mut Results, random: &mut Random) {
    let shapes: [&[i32]; 4] = [&[5000], &[64, 70], &[9, 300, 3], &[3, 2000]];
    for round in 0..30 {
        let shape = random.of(&shapes);
        let dtype = any_dtype(random);
        let axis = random.below(shape.len());
        let x = numbers(random, shape, dtype);
        let size = shape[axis];
        let kth = random.of(&[0, size / 2, -1, size - 2]);
        let axis = axis as i32;
        let what = format!("{dtype} {shape:?} {kth} {axis} {round}");
        let positions = x.argpartition(kth, axis);
        let all = [
            ("partition", x.partition(kth, axis)),
            ("argpartition", x.take_along_axis(&positions, axis)),
        ];
        let place = i64::from(if kth < 0 { kth + size } else { kth });
        for (name, parted) in all {
            let parted = parted.moveaxis(axis, 0);
            let below = parted.i(Slice::new(None, Some(place), 1)).sort(0);
            let above = parted.i(Slice::new(Some(place), None, 1));
            let first = above.i(Slice::new(None, Some(1), 1));
            results.keep(format!("{name} below {what}"), SAME, Ok(below));
            results.keep(format!("{name} above {what}"), SAME, Ok(above.sort(0)));
            results.keep(format!("{name} kth {what}"), SAME, Ok(first));
        }
        let k = random.of(&[1, size / 3, size - 1]);
        let top = x.topk_with(k, axis).sort(axis);
        results.keep(format!("topk {k} {what}"), SAME, Ok(top));
    }
}

fn drawn(results: &mut Results) {
    let key = draw::key(12);
    for width in [1, 2, 4] {
        for size in [63, 64, 65, 1001, 4098] {
            let bits = draw::bits(&key, [size], width);
            // Of 32 bits, `float32` would lose some.
            let low = &bits % 65_536;
            let high = bits.astype(Dtype::Uint32).right_shift(16);
            results.keep(format!("bits {width} {size}"), EXACT, Ok(low));
            results.keep(format!("high bits {width} {size}"), EXACT, Ok(high));
        }
    }
    let keys = draw::split_with(&key, 7);
    let mapped = mlx::vmap(|key: &Array| draw::bits(key, [75], 2)).call(&keys);
    results.keep("bits of keys".to_owned(), EXACT, mapped);
    for dtype in FLOATS {
        for (low, high) in [(0.0_f32, 1.0_f32), (-3.0, 5.0), (100.0, 100.5)] {
            let options = draw::RandomOptions {
                dtype: Some(dtype),
                key: Some(key.clone()),
            };
            let numbers = draw::uniform_with(low, high, [3, 701], options);
            results.keep(format!("uniform {dtype} {low}"), EXACT, Ok(numbers));
        }
        for (loc, scale) in [(0.0, 1.0), (-2.0, 0.3)] {
            let options = draw::NormalOptions {
                loc: loc.into(),
                scale: scale.into(),
                dtype,
                key: Some(key.clone()),
            };
            let numbers = draw::normal_with([3, 701], options);
            let loose = tolerance(dtype, 1e-6);
            results.keep(format!("normal {dtype} {loc}"), loose, Ok(numbers));
        }
    }
}

fn transformed(results: &mut Results, random: &mut Random) {
    let shapes: [&[i32]; 6] = [
        &[4, 128],
        &[300],
        &[5, 12, 9],
        &[1, 97, 8],
        &[16, 16, 3],
        &[2, 501],
    ];
    let unit = Array::from_slice(&[mlx::Complex64 { re: 0.0, im: 1.0 }], [1]).unwrap();
    for round in 0..24 {
        let shape = random.of(&shapes);
        let x = random.view(shape, Dtype::Float32, Values::Plain);
        let y = random.view(shape, Dtype::Float32, Values::Plain);
        let z = &x.astype(Dtype::Complex64) + y.astype(Dtype::Complex64) * &unit;
        let axis = random.below(shape.len()) as i32;
        let one = fft::FftOptions {
            axis,
            ..Default::default()
        };
        let what = format!("{shape:?} {axis} {round}");
        let back = fft::irfft_with(&z, one);
        let all = [
            ("fft", fft::fft_with(&z, one)),
            ("ifft", fft::ifft_with(&z, one)),
            ("rfft", fft::rfft_with(&x, one)),
            ("fftn", fft::fftn(&z)),
            ("ifftn", fft::ifftn(&z)),
            ("rfftn", fft::rfftn(&x)),
        ];
        for (name, result) in all {
            results.keep(format!("{name} real {what}"), 1e-5, Ok(result.real()));
            results.keep(format!("{name} imag {what}"), 1e-5, Ok(result.imag()));
        }
        results.keep(format!("irfft {what}"), 1e-5, Ok(back));
        results.keep(format!("abs {what}"), -3e-7, Ok(z.abs()));
        let special = random.view(shape, Dtype::Float32, Values::Special);
        let special = special.astype(Dtype::Complex64).abs();
        results.keep(format!("abs special {what}"), -3e-7, Ok(special));
        let back = fft::irfftn(&z);
        results.keep(format!("irfftn {what}"), 1e-5, Ok(back));
    }
}

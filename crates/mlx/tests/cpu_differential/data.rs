//! What moves elements, and reductions and scans over any axes.

use mlx::{Array, CumulativeOptions, Dtype, PadMode, concatenate, random};

use super::{EXACT, FLOATS, One, Random, Results, SAME, Values, tolerance};

const DTYPES: [Dtype; 8] = [
    Dtype::Float32,
    Dtype::Float16,
    Dtype::Bfloat16,
    Dtype::Int32,
    Dtype::Uint8,
    Dtype::Int64,
    Dtype::Bool,
    Dtype::Complex64,
];

const SHAPES: [&[i32]; 9] = [
    &[67, 71],
    &[5000],
    &[17, 3, 129],
    &[2, 3, 5, 7, 29],
    &[128, 64],
    &[1, 300, 1, 9],
    &[33, 2, 64],
    &[3, 1500],
    &[200, 3, 5],
];

pub(super) fn indices(n: usize, size: i32, dtype: Dtype, random: &mut Random) -> Array {
    let index = |random: &mut Random| {
        let index = random.below(size as usize) as i32;
        let is_signed = matches!(dtype, Dtype::Int32 | Dtype::Int64);
        if is_signed && random.below(3) == 0 {
            index - size
        } else {
            index
        }
    };
    let all: Vec<i32> = (0..n).map(|_| index(random)).collect();
    Array::from_slice(&all, [n as i32]).unwrap().astype(dtype)
}

pub(super) fn moved(results: &mut Results, random: &mut Random) {
    const ONE: [(&str, One); 9] = [
        ("contiguous", Array::contiguous),
        ("transposed", |x| x.t().contiguous()),
        ("flipped", |x| x.flip(-1).contiguous()),
        ("flat", |x| x.t().reshape([-1])),
        ("rolled", |x| x.roll(3, -1)),
        ("rolled 0", |x| x.roll(-2, 0)),
        ("tiled", |x| x.tile([2, 3])),
        ("padded", |x| x.pad_with((2, 1), PadMode::Constant, 1)),
        ("padded by its edge", |x| x.pad_with(1, PadMode::Edge, 0)),
    ];
    for round in 0..4 {
        for shape in SHAPES {
            let dtype = random.of(&DTYPES);
            let x = random.view(shape, dtype, Values::Special);
            for (name, function) in ONE {
                let what = format!("{name} {dtype} {shape:?} {round}");
                results.keep(what, EXACT, Ok(function(&x)));
            }
            let what = format!("{dtype} {shape:?} {round}");
            let axis = random.below(shape.len());
            let (y, z) = (
                random.view(shape, dtype, Values::Special),
                random.view(shape, dtype, Values::Plain),
            );
            let joined = concatenate([&x, &y, &z], axis as i32);
            results.keep(format!("concatenate {axis} {what}"), EXACT, Ok(joined));
            let index = random.of(&[Dtype::Int32, Dtype::Uint32, Dtype::Int64, Dtype::Uint8]);
            let size = shape[axis].min(255);
            let picked = indices(150, size, index, random);
            let taken = x.take(&picked, axis as i32);
            results.keep(format!("take {axis} {index} {what}"), EXACT, Ok(taken));
            let n: i32 = shape.iter().product();
            let along = indices(n as usize, size, index, random).reshape(shape.to_vec());
            let taken = x.take_along_axis(&along, axis as i32);
            results.keep(
                format!("take_along {axis} {index} {what}"),
                EXACT,
                Ok(taken),
            );
            if dtype != Dtype::Bool {
                updated(results, &what, &x, &y);
            }
        }
    }
}

/// Updates of slices, over the array and of another one.
fn updated(results: &mut Results, what: &str, x: &Array, y: &Array) {
    let part = || mlx::index::Slice::new(1, None, 2);
    let set = x.at(part()).set(&y.i(part()));
    results.keep(format!("set {what}"), EXACT, Ok(set));
    let fresh = x + y;
    results.keep(
        format!("set in place {what}"),
        EXACT,
        Ok(fresh.at(1..).set(&y.i(1..))),
    );
    results.keep(format!("set to one {what}"), EXACT, Ok(x.at(1..).set(1)));
    results.keep(format!("add {what}"), EXACT, Ok(x.at(part()).add(1)));
    let all = x.at(..).add(&y.i(..1));
    results.keep(format!("add a row {what}"), EXACT, Ok(all));
    results.keep(format!("multiply {what}"), EXACT, Ok(x.at(1..).multiply(2)));
    results.keep(
        format!("maximum {what}"),
        SAME,
        Ok(x.at(1..).maximum(&y.i(1..))),
    );
    results.keep(
        format!("minimum {what}"),
        SAME,
        Ok(x.at(1..).minimum(&y.i(1..))),
    );
}

pub(super) fn reduced(results: &mut Results, random: &mut Random) {
    let all: [&[i32]; 8] = [
        &[0],
        &[-1],
        &[1],
        &[0, 1],
        &[0, 2],
        &[1, 2],
        &[2],
        &[0, 1, 2],
    ];
    for axes in all {
        for dtype in DTYPES {
            let shape = random.of(&[[33, 5, 65], [7, 129, 2], [300, 3, 7], [5, 9, 64]]);
            let is_float = FLOATS.contains(&dtype);
            let values = if is_float {
                random.of(&[Values::Plain, Values::Special])
            } else {
                Values::Plain
            };
            let x = random.view(&shape, dtype, values);
            let what = format!("{dtype} {shape:?} {axes:?}");
            let near = if is_float {
                tolerance(dtype, -1e-6)
            } else {
                SAME
            };
            // Numbers around 1, of which a product of thousands is one.
            let ones = if is_float {
                &x.astype(Dtype::Float32) * 0.01 + 1.0
            } else {
                x.clone()
            };
            let ones = ones.astype(dtype);
            if dtype != Dtype::Complex64 {
                results.keep(format!("prod {what}"), near, Ok(ones.prod(axes.to_vec())));
                results.keep(format!("any {what}"), EXACT, Ok(x.any(axes.to_vec())));
                results.keep(format!("all {what}"), EXACT, Ok(x.all(axes.to_vec())));
                results.keep(format!("max {what}"), SAME, Ok(x.max(axes.to_vec())));
                results.keep(format!("min {what}"), SAME, Ok(x.min(axes.to_vec())));
            }
            if !is_float && dtype != Dtype::Complex64 {
                results.keep(format!("sum {what}"), EXACT, Ok(x.sum(axes.to_vec())));
            }
            let &[axis] = axes else {
                continue;
            };
            results.keep(format!("argmax {what}"), EXACT, Ok(x.argmax(axis)));
            results.keep(format!("argmin {what}"), EXACT, Ok(x.argmin(axis)));
            scanned(results, random, &what, dtype, axis, &shape);
        }
    }
    doubles(results, random);
    let x = random::randint_with(-5, 6, [64, 128], &random::key(1));
    results.keep("argmax of ties".to_owned(), EXACT, Ok(x.argmax(-1)));
    results.keep("argmax of ties 0".to_owned(), EXACT, Ok(x.argmax(0)));
    for dtype in [
        Dtype::Int8,
        Dtype::Int16,
        Dtype::Uint16,
        Dtype::Uint32,
        Dtype::Uint64,
    ] {
        let x = (&x * 7).astype(dtype);
        results.keep(format!("sum {dtype}"), EXACT, Ok(x.sum(-1)));
        results.keep(format!("prod {dtype}"), EXACT, Ok(x.prod(0)));
        results.keep(format!("max {dtype}"), EXACT, Ok(x.max(0)));
        results.keep(format!("argmin {dtype}"), EXACT, Ok(x.argmin(-1)));
        results.keep(format!("cumsum {dtype}"), EXACT, Ok(x.cumsum(-1)));
        results.keep(format!("cumprod {dtype}"), EXACT, Ok(x.cumprod(0)));
        results.keep(format!("cummax {dtype}"), EXACT, Ok(x.cummax(-1)));
        results.keep(format!("cummin {dtype}"), EXACT, Ok(x.cummin(0)));
        results.keep(format!("argmax {dtype}"), EXACT, Ok(x.argmax(0)));
    }
}

/// Double precision and complex numbers, and axes that stay in another order than they are stored in.
fn doubles(results: &mut Results, random: &mut Random) {
    for round in 0..6 {
        for axes in [vec![0], vec![1], vec![2], vec![0, 2], vec![0, 1, 2]] {
            let shape = random.of(&[[33, 5, 65], [7, 129, 2], [300, 3, 7], [5, 9, 64]]);
            let what = format!("{shape:?} {axes:?} {round}");
            let near = tolerance(Dtype::Float32, 1e-6);
            let x = random.view(&shape, Dtype::Float64, Values::Plain);
            let y = random.view(&shape, Dtype::Float64, Values::Special);
            results.keep(format!("sum f64 {what}"), near, Ok(x.sum(axes.clone())));
            let ones = &x * 0.01 + 1.0;
            results.keep(
                format!("prod f64 {what}"),
                near,
                Ok(ones.prod(axes.clone())),
            );
            results.keep(format!("max f64 {what}"), SAME, Ok(y.max(axes.clone())));
            results.keep(format!("min f64 {what}"), SAME, Ok(y.min(axes.clone())));
            if let [axis] = axes[..] {
                results.keep(format!("argmax f64 {what}"), EXACT, Ok(y.argmax(axis)));
                results.keep(format!("cumsum f64 {what}"), near, Ok(x.cumsum(axis)));
                results.keep(format!("cummax f64 {what}"), SAME, Ok(y.cummax(axis)));
            }
            let z = random.view(&shape, Dtype::Complex64, Values::Plain);
            let sum = (&z * 0.5).sum(axes.clone());
            results.keep(format!("sum complex {what}"), near, Ok(sum));
            for dtype in [Dtype::Float32, Dtype::Bfloat16, Dtype::Int32] {
                let x = random.view(&shape, dtype, Values::Plain);
                let moved = x.transpose([1, 2, 0]);
                let what = format!("{dtype} {what}");
                let near = tolerance(dtype, 2e-5);
                results.keep(
                    format!("sum moved {what}"),
                    near,
                    Ok(moved.sum(axes.clone())),
                );
                results.keep(
                    format!("max moved {what}"),
                    SAME,
                    Ok(moved.max(axes.clone())),
                );
                if let [axis] = axes[..] {
                    results.keep(
                        format!("argmin moved {what}"),
                        EXACT,
                        Ok(moved.argmin(axis)),
                    );
                }
            }
        }
    }
}

fn scanned(
    results: &mut Results,
    random: &mut Random,
    what: &str,
    dtype: Dtype,
    axis: i32,
    shape: &[i32],
) {
    if matches!(dtype, Dtype::Complex64 | Dtype::Bool) {
        return;
    }
    let is_float = FLOATS.contains(&dtype);
    let x = random.view(shape, dtype, Values::Plain);
    let special = random.view(
        shape,
        dtype,
        if is_float {
            Values::Special
        } else {
            Values::Plain
        },
    );
    let near = if is_float {
        tolerance(dtype, 1e-6)
    } else {
        SAME
    };
    for (reverse, inclusive) in [(false, true), (true, true), (false, false), (true, false)] {
        let order = || CumulativeOptions {
            reverse,
            inclusive,
            ..CumulativeOptions::along(axis)
        };
        let what = format!("{what} {reverse} {inclusive}");
        results.keep(format!("cumsum {what}"), near, Ok(x.cumsum(order())));
        let small = if is_float { &x * 0.5 } else { x.clone() };
        results.keep(format!("cumprod {what}"), near, Ok(small.cumprod(order())));
        results.keep(format!("cummax {what}"), SAME, Ok(special.cummax(order())));
        results.keep(format!("cummin {what}"), SAME, Ok(special.cummin(order())));
        if is_float {
            results.keep(
                format!("logcumsumexp {what}"),
                near,
                Ok(x.logcumsumexp(order())),
            );
        }
    }
}

//! Functions of elements of every dtype: integers, truth values, `float64`, complex numbers; comparisons, choices, casts.

use mlx::{Array, Dtype, where_};

use super::{EXACT, FLOATS, One, Random, Results, SAME, Values, tolerance};

const INTEGERS: [Dtype; 8] = [
    Dtype::Int8,
    Dtype::Int16,
    Dtype::Int32,
    Dtype::Int64,
    Dtype::Uint8,
    Dtype::Uint16,
    Dtype::Uint32,
    Dtype::Uint64,
];
const SHAPES: [&[i32]; 6] = [
    &[65, 67],
    &[5000],
    &[17, 3, 129],
    &[2, 3, 5, 7, 29],
    &[4100, 1],
    &[3, 1700],
];

type Two = fn(&Array, &Array) -> Array;

/// The other operand: of the same shape, or one that is repeated along an axis or more.
fn other(random: &mut Random, shape: &[i32]) -> Vec<i32> {
    let mut other = shape.to_vec();
    if random.below(2) == 0 {
        other = other[random.below(other.len())..].to_vec();
        let axis = random.below(other.len());
        other[axis] = 1;
    }
    other
}

/// Numbers of any size: from the low bits of a product that wraps around.
fn integers(random: &mut Random, shape: &[i32], dtype: Dtype) -> Array {
    let x = random.view(shape, dtype, Values::Plain);
    if random.below(2) == 0 {
        return x;
    }
    let factor = Array::from_slice(&[1_234_567_891_i32], [1])
        .unwrap()
        .astype(dtype);
    let step = random.view(shape, dtype, Values::Plain);
    (x + step * 3) * factor
}

pub(super) fn typed(results: &mut Results, random: &mut Random) {
    functions_of_one(results, random);
    functions_of_two(results, random);
    of_integers(results, random);
    comparisons_and_choices(results, random);
    casts(results, random);
    chains(results, random);
}

/// What nothing else needs is written over.
fn chains(results: &mut Results, random: &mut Random) {
    for dtype in [Dtype::Float32, Dtype::Float16, Dtype::Int32, Dtype::Uint8] {
        for _ in 0..4 {
            let shape = random.of(&SHAPES);
            let to = other(random, shape);
            let (a, b) = (
                random.view(shape, dtype, Values::Plain),
                random.view(&to, dtype, Values::Plain),
            );
            let what = format!("{dtype} {shape:?} {to:?}");
            results.keep(format!("clip {what}"), EXACT, Ok((&a + &b).clip(0, 2)));
            results.keep(format!("subtract {what}"), EXACT, Ok(&b - (&a * &a)));
            results.keep(format!("negative {what}"), EXACT, Ok(-(-(&a + &b)).abs()));
            let condition = a.greater(&b);
            let chosen = where_(&condition, &a + 1, &b);
            results.keep(format!("where first {what}"), EXACT, Ok(chosen));
            let chosen = where_(&condition, &b, &a * 2);
            results.keep(format!("where second {what}"), EXACT, Ok(chosen));
        }
    }
}

fn functions_of_one(results: &mut Results, random: &mut Random) {
    const ONE: [(&str, One); 21] = [
        ("expm1", Array::expm1),
        ("log1p", Array::log1p),
        ("log2", Array::log2),
        ("log10", Array::log10),
        ("tan", Array::tan),
        ("sinh", Array::sinh),
        ("cosh", Array::cosh),
        ("arccos", Array::arccos),
        ("arccosh", Array::arccosh),
        ("arcsin", Array::arcsin),
        ("arcsinh", Array::arcsinh),
        ("arctan", Array::arctan),
        ("arctanh", Array::arctanh),
        ("erfinv", Array::erfinv),
        ("floor", Array::floor),
        ("ceil", Array::ceil),
        ("round", |x| x.round()),
        ("abs", Array::abs),
        ("square", Array::square),
        ("rsqrt", Array::rsqrt),
        ("negative", |x| -x),
    ];
    for (name, function) in ONE {
        for round in 0..10 {
            let dtype = if round == 9 {
                Dtype::Float64
            } else {
                random.of(&FLOATS)
            };
            let shape = random.of(&SHAPES);
            let values = random.of(&[Values::Plain, Values::Special]);
            let x = random.view(shape, dtype, values);
            let is_exact = ["floor", "ceil", "round", "abs", "negative"].contains(&name);
            let tol = if is_exact {
                EXACT
            } else {
                tolerance(dtype, -3e-6)
            };
            results.keep(format!("{name} {dtype} {shape:?}"), tol, Ok(function(&x)));
        }
    }
    for dtype in INTEGERS {
        let x = integers(random, &[65, 67], dtype);
        results.keep(format!("abs {dtype}"), EXACT, Ok(x.abs()));
        results.keep(format!("negative {dtype}"), EXACT, Ok(-&x));
        results.keep(format!("sign {dtype}"), EXACT, Ok(x.sign()));
        results.keep(format!("square {dtype}"), EXACT, Ok(x.square()));
        results.keep(format!("invert {dtype}"), EXACT, Ok(x.bitwise_invert()));
        results.keep(format!("not {dtype}"), EXACT, Ok(x.logical_not()));
    }
}

fn functions_of_two(results: &mut Results, random: &mut Random) {
    const TWO: [(&str, Two); 9] = [
        ("add", |a, b| a + b),
        ("subtract", |a, b| a - b),
        ("multiply", |a, b| a * b),
        ("divide", |a, b| a / b),
        ("maximum", |a, b| a.maximum(b)),
        ("minimum", |a, b| a.minimum(b)),
        ("logaddexp", |a, b| a.logaddexp(b)),
        ("arctan2", |a, b| a.arctan2(b)),
        ("power", |a, b| a.power(b)),
    ];
    for (name, function) in TWO {
        for round in 0..14 {
            let dtype = if round % 5 == 4 {
                Dtype::Float64
            } else {
                random.of(&FLOATS)
            };
            let shape = random.of(&SHAPES);
            let values = random.of(&[Values::Plain, Values::Special]);
            let a = random.view(shape, dtype, values);
            let to = other(random, shape);
            let b = random.view(&to, dtype, values);
            let tol = match name {
                "maximum" | "minimum" => SAME,
                // The sum may cancel.
                "logaddexp" if values == Values::Special => continue,
                "logaddexp" => tolerance(dtype, 2e-6),
                "arctan2" | "power" => tolerance(dtype, -3e-6),
                _ => EXACT,
            };
            results.keep(
                format!("{name} {dtype} {shape:?} {to:?}"),
                tol,
                Ok(function(&a, &b)),
            );
        }
    }
    for exponent in [0.0, 0.5, 1.0, 2.0, 3.0, 4.0, -1.0, -2.0, f32::INFINITY] {
        for dtype in FLOATS {
            let x = random.view(&[65, 67], dtype, Values::Special);
            let power = x.power(Array::from_slice(&[exponent], ()).unwrap().astype(dtype));
            results.keep(
                format!("power {dtype} {exponent}"),
                tolerance(dtype, -3e-6),
                Ok(power),
            );
        }
    }
    for name in ["add", "subtract", "negative"] {
        let shape = random.of(&SHAPES);
        let (a, b) = (
            random.view(shape, Dtype::Complex64, Values::Plain),
            random.view(shape, Dtype::Complex64, Values::Plain),
        );
        let result = match name {
            "add" => a + b,
            "subtract" => a - b,
            _ => -a,
        };
        results.keep(format!("{name} complex {shape:?}"), EXACT, Ok(result.abs()));
    }
}

fn of_integers(results: &mut Results, random: &mut Random) {
    const TWO: [(&str, Two); 12] = [
        ("add", |a, b| a + b),
        ("subtract", |a, b| a - b),
        ("multiply", |a, b| a * b),
        ("maximum", |a, b| a.maximum(b)),
        ("minimum", |a, b| a.minimum(b)),
        ("floor_divide", |a, b| a.floor_divide(b)),
        ("remainder", |a, b| a.remainder(b)),
        ("power", |a, b| a.power(b.abs().minimum(5))),
        ("and", |a, b| a.bitwise_and(b)),
        ("or", |a, b| a.bitwise_or(b)),
        ("xor", |a, b| a.bitwise_xor(b)),
        ("shift", |a, b| {
            a.left_shift(b.bitwise_and(3)).right_shift(b.bitwise_and(1))
        }),
    ];
    for (name, function) in TWO {
        for dtype in INTEGERS {
            let shape = random.of(&SHAPES);
            let to = other(random, shape);
            let (a, b) = (integers(random, shape, dtype), integers(random, &to, dtype));
            results.keep(
                format!("{name} {dtype} {shape:?} {to:?}"),
                EXACT,
                Ok(function(&a, &b)),
            );
        }
    }
    const TRUTH: [(&str, Two); 8] = [
        ("logical_and", |a, b| a.logical_and(b)),
        ("logical_or", |a, b| a.logical_or(b)),
        ("logical_not", |a, _| a.logical_not()),
        ("bitwise_and", |a, b| a.bitwise_and(b)),
        ("bitwise_xor", |a, b| a.bitwise_xor(b)),
        ("maximum", |a, b| a.maximum(b)),
        ("add", |a, b| a + b),
        ("multiply", |a, b| a * b),
    ];
    for (name, function) in TRUTH {
        let shape = random.of(&SHAPES);
        let to = other(random, shape);
        let a = random
            .view(shape, Dtype::Float32, Values::Plain)
            .greater(0.0_f32);
        let b = random
            .view(&to, Dtype::Float32, Values::Plain)
            .greater(0.5_f32);
        results.keep(
            format!("{name} bool {shape:?} {to:?}"),
            EXACT,
            Ok(function(&a, &b)),
        );
    }
}

fn comparisons_and_choices(results: &mut Results, random: &mut Random) {
    const TWO: [(&str, Two); 6] = [
        ("equal", |a, b| a.equal(b)),
        ("not_equal", |a, b| a.not_equal(b)),
        ("less", |a, b| a.less(b)),
        ("less_equal", |a, b| a.less_equal(b)),
        ("greater", |a, b| a.greater(b)),
        ("greater_equal", |a, b| a.greater_equal(b)),
    ];
    for (name, function) in TWO {
        let all = FLOATS
            .iter()
            .chain(&INTEGERS)
            .chain(&[Dtype::Float64, Dtype::Bool]);
        for dtype in all.copied().collect::<Vec<_>>() {
            let shape = random.of(&SHAPES);
            let to = other(random, shape);
            let values = if dtype.is_inexact() {
                Values::Special
            } else {
                Values::Plain
            };
            let (a, b) = (
                random.view(shape, dtype, values),
                random.view(&to, dtype, values),
            );
            results.keep(
                format!("{name} {dtype} {shape:?} {to:?}"),
                EXACT,
                Ok(function(&a, &b)),
            );
            let condition = random.view(&to, Dtype::Bool, Values::Plain);
            let chosen = where_(&condition, &a, &b);
            results.keep(format!("where {dtype} {shape:?} {to:?}"), EXACT, Ok(chosen));
        }
    }
}

fn casts(results: &mut Results, random: &mut Random) {
    let wide = [Dtype::Bool, Dtype::Float64];
    let all: Vec<Dtype> = FLOATS
        .iter()
        .chain(&INTEGERS)
        .chain(&wide)
        .copied()
        .collect();
    for from in &all {
        for to in &all {
            let shape = random.of(&SHAPES);
            let between = from.is_inexact() && to.is_inexact();
            let values = if between {
                Values::Special
            } else {
                Values::Plain
            };
            let x = random.view(shape, *from, values);
            results.keep(
                format!("cast {from} {to} {shape:?}"),
                EXACT,
                Ok(x.astype(*to)),
            );
            let x = (random.plain(&[80, 80], Values::Plain) * 60.0).astype(*from);
            results.keep(format!("cast {from} {to}"), EXACT, Ok(x.astype(*to)));
        }
    }
}

//! Functions of one and of two elements.

use mlx::{Array, Dtype, fast};

use super::{EXACT, FLOATS, One, Random, Results, SAME, Values, tolerance, transformed};

/// Limits of arrays that are large enough for one pass.
fn clipped(results: &mut Results, random: &mut Random) {
    let clip = |x: &Array| x.clip(-0.5_f32, 0.75_f32);
    for dtype in FLOATS {
        for round in 0..4 {
            let what = format!("clip {dtype} {round}");
            let x = random.view(&[300, 301], dtype, Values::Special);
            results.keep(what.clone(), SAME, Ok(clip(&x)));
            results.keep(format!("{what} NaN"), SAME, Ok(x.clip(f32::NAN, 0.75_f32)));
            let low = random.view(&[301], dtype, Values::Plain);
            results.keep(format!("{what} row"), SAME, Ok(x.clip(&low, 0.75_f32)));
        }
        let x = random.view(&[300, 301], dtype, Values::Plain);
        transformed(results, &format!("clip {dtype}"), SAME, clip, &x);
    }
}

pub(super) fn elementwise(results: &mut Results, random: &mut Random) {
    clipped(results, random);
    const ONE: [(&str, One); 15] = [
        ("exp", Array::exp),
        ("log", Array::log),
        ("sin", Array::sin),
        ("cos", Array::cos),
        ("tanh", Array::tanh),
        ("sigmoid", Array::sigmoid),
        ("erf", Array::erf),
        ("square", Array::square),
        ("sqrt", Array::sqrt),
        ("rsqrt", Array::rsqrt),
        ("negative", |x| -x),
        ("abs", Array::abs),
        ("gelu", |x| fast::gelu(x)),
        ("gelu_approx", |x| fast::gelu_approx(x)),
        ("silu", |x| fast::silu(x)),
    ];
    for (name, function) in ONE {
        for round in 0..14 {
            let ndim = random.below(4);
            let mut shape = random.shape(ndim);
            if round > 9 {
                shape = vec![67, 71];
            }
            let dtype = random.of(&FLOATS);
            let values = random.of(&[Values::Plain, Values::Special]);
            let x = random.view(&shape, dtype, values);
            let what = format!("{name} {dtype} {shape:?}");
            // MLX's own erf has no small numbers, and what is made of several operations rounds each.
            let is_loose = ["erf", "gelu", "gelu_approx"].contains(&name);
            let tol = tolerance(dtype, if is_loose { 6e-6 } else { -6e-6 });
            results.keep(what.clone(), tol, Ok(function(&x)));
            if round < 3 {
                let x = random.view(&shape, dtype, Values::Plain);
                transformed(results, &what, tolerance(dtype, 1e-5), function, &x);
            }
        }
        for dtype in [Dtype::Complex64, Dtype::Int32, Dtype::Uint8, Dtype::Bool] {
            let x = random.plain(&[80, 80], Values::Plain).astype(dtype);
            results.keep(format!("{name} {dtype}"), 1e-5, Ok(function(&x)));
        }
    }
    type Two = fn(&Array, &Array) -> Array;
    const TWO: [(&str, Two); 7] = [
        ("add", |a, b| a + b),
        ("subtract", |a, b| a - b),
        ("multiply", |a, b| a * b),
        ("divide", |a, b| a / b),
        ("maximum", |a, b| a.maximum(b)),
        ("minimum", |a, b| a.minimum(b)),
        ("swiglu", |a, b| fast::swiglu(a, b)),
    ];
    for (name, function) in TWO {
        for round in 0..24 {
            let ndim = 1 + random.below(3);
            let mut shape = random.shape(ndim);
            if round > 4 {
                shape = random
                    .of(&[&[65, 67][..], &[5000], &[17, 3, 129], &[2, 3, 5, 7, 29]])
                    .to_vec();
            }
            let dtype = random.of(&FLOATS);
            let values = if name == "swiglu" {
                Values::Plain
            } else {
                Values::Special
            };
            let a = random.view(&shape, dtype, values);
            let mut other = shape.clone();
            if random.below(3) == 0 {
                other = other[random.below(other.len())..].to_vec();
                let axis = random.below(other.len());
                other[axis] = 1;
            }
            let b = random.view(&other, dtype, values);
            let what = format!("{name} {dtype} {shape:?} {other:?}");
            let tol = match name {
                "swiglu" => tolerance(dtype, 6e-6),
                "maximum" | "minimum" => SAME,
                _ => EXACT,
            };
            results.keep(what, tol, Ok(function(&a, &b)));
        }
    }
}

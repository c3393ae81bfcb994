//! Softmax, norms and reductions.

use mlx::{Dtype, fast};

use super::{FLOATS, One, Random, Results, SAME, Values, tolerance, transformed};

pub(super) fn along_axes(results: &mut Results, random: &mut Random) {
    const ONE: [(&str, One); 7] = [
        ("softmax", |x| x.softmax(-1)),
        ("softmax 0", |x| x.softmax(0)),
        ("logsumexp", |x| x.logsumexp(-1)),
        ("rms_norm", |x| fast::rms_norm(x, None, 1e-5)),
        ("layer_norm", |x| fast::layer_norm(x, None, None, 1e-5)),
        ("sum -1", |x| x.sum(-1)),
        ("max -1", |x| x.max(-1)),
    ];
    for (name, function) in ONE {
        for _ in 0..12 {
            let ndim = 1 + random.below(3);
            let shape = random.shape(ndim);
            let dtype = random.of(&FLOATS);
            let x = random.view(&shape, dtype, Values::Plain);
            let what = format!("{name} {dtype} {shape:?}");
            transformed(results, &what, tolerance(dtype, 2e-5), function, &x);
        }
        for dtype in FLOATS {
            // Where a sum overflows depends on its order.
            let rounds = if name.starts_with("sum") { 1 } else { 3 };
            for round in 0..rounds {
                let x = random.view(&[40, 33], dtype, Values::Special);
                let low = mlx::full([40, 33], f32::NEG_INFINITY).astype(dtype);
                let x = if round == 0 { low } else { x };
                // What is finite must not overflow on the way, where the order of the sum decides.
                let x = x.astype(Dtype::Float16).astype(dtype);
                results.keep(
                    format!("{name} {dtype} special {round}"),
                    tolerance(dtype, 2e-5),
                    Ok(function(&x)),
                );
            }
        }
    }
    let all: [&[i32]; 9] = [
        &[0],
        &[1],
        &[2],
        &[3],
        &[0, 1],
        &[1, 2],
        &[0, 2],
        &[1, 3],
        &[0, 1, 2, 3],
    ];
    for axes in all {
        for dtype in [
            Dtype::Float32,
            Dtype::Float16,
            Dtype::Bfloat16,
            Dtype::Int32,
            Dtype::Complex64,
        ] {
            for values in [Values::Plain, Values::Special] {
                let shape = random.of(&[
                    [3, 1, 33, 65],
                    [2, 5, 1, 129],
                    [8, 7, 6, 5],
                    [1, 2, 1300, 1],
                ]);
                let is_float = FLOATS.contains(&dtype);
                let x = if is_float {
                    random.view(&shape, dtype, values)
                } else {
                    random.plain(&shape, Values::Plain).astype(dtype)
                };
                let what = format!("{dtype} {shape:?} {axes:?} {}", values == Values::Special);
                // MLX adds half precision in half precision.
                let loose = tolerance(dtype, 2e-5)
                    * if is_float && dtype != Dtype::Float32 {
                        30.0
                    } else {
                        1.0
                    };
                // What is left of a sum over everything is small beside what was added.
                let loose = loose * if axes.len() == 4 { 100.0 } else { 1.0 };
                if values == Values::Plain {
                    results.keep(format!("sum {what}"), loose, Ok(x.sum(axes.to_vec())));
                    results.keep(format!("mean {what}"), loose, Ok(x.mean(axes.to_vec())));
                }
                results.keep(format!("max {what}"), SAME, Ok(x.max(axes.to_vec())));
                results.keep(format!("min {what}"), SAME, Ok(x.min(axes.to_vec())));
            }
        }
    }
}

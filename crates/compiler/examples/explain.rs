//! Prints what the compiler makes of a few formulas.

use mlx::{Array, Dtype, array, keepdims, ones};
use mlx_compiler::{CompileOptions, Fallback, jit_with};

fn rms_norm(x: &Array, weight: &Array) -> Array {
    x * (x.square().mean(keepdims(-1)) + 1e-5).rsqrt() * weight
}

fn attention(q: &Array, k: &Array, v: &Array) -> mlx::Result<Array> {
    let [_, _, length, dim] = q.dims()?;
    let scores = q.matmul(&k.swapaxes(-1, -2)) / (dim as f32).sqrt();
    let mask = mlx::tri_with(length, length, 0, Dtype::Bool);
    let scores = mlx::where_(&mask, scores, f32::NEG_INFINITY);
    Ok(scores.softmax(-1).matmul(v))
}

fn rope(x: &Array, offset: &Array) -> mlx::Result<Array> {
    let [_, _, length, dim] = x.dims()?;
    let half = dim / 2;
    let speeds = Array::scalar(10_000.0_f32)
        .power(mlx::iota(half).astype(Dtype::Float32) * (-2.0 / dim as f32));
    let positions = (mlx::iota(length) + offset).astype(Dtype::Float32);
    let angles = positions.expand_dims(-1) * speeds;
    let (cos, sin) = (angles.cos(), angles.sin());
    let parts = x.split(2, -1)?;
    Ok(mlx::concatenate(
        [
            &(&parts[0] * &cos - &parts[1] * &sin),
            &(&parts[1] * &cos + &parts[0] * &sin),
        ],
        -1,
    ))
}

fn main() -> anyhow::Result<()> {
    let options = CompileOptions {
        fallback: Fallback::Never,
        ..CompileOptions::default()
    };
    let x = ones([2, 8, 64]);
    let norm = jit_with(rms_norm, options.clone());
    let w = ones([64]);
    println!("{}\n", norm.trace((&x, &w))?);
    let lowered = norm.lower((&x, &w))?;
    println!(
        "{}\n\n{}\n\n{}\n",
        lowered.optimized(),
        lowered,
        lowered.report()
    );
    let q = ones([1, 4, 8, 64]);
    let lowered = jit_with(attention, options.clone()).lower((&q, &q, &q))?;
    println!(
        "{}\n\n{}\n\n{}\n",
        lowered.traced(),
        lowered,
        lowered.report()
    );
    let offset = array!(3);
    let lowered = jit_with(rope, options).lower((&q, &offset))?;
    println!(
        "{}\n\n{}\n\n{}\n",
        lowered.traced(),
        lowered,
        lowered.report()
    );
    Ok(())
}

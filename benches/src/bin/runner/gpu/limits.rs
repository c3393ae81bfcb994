//! What the device can do: a copy, and products of matrices.

use std::time::Instant;

use anyhow::Result;
use mlx::{Array, Device, Dtype};
use mlx_bench::harness::limits::Limits;

/// Measures the device; on a CPU, which only tries the runners, with little.
pub fn measure() -> Result<Limits> {
    let is_gpu = Device::current()? == Device::Gpu;
    let (bytes, side) = if is_gpu {
        (1_i32 << 30, 8192)
    } else {
        (1 << 24, 256)
    };
    let bf16 = gemm(side, Dtype::Bfloat16)?;
    let sgemm = gemm(side, Dtype::Float32)?;
    let copy_gb_s = copy(bytes)?;
    mlx::memory::clear_cache()?;
    Ok(Limits {
        copy_gb_s,
        sgemm_gflop_s: sgemm,
        bf16_gflop_s: bf16,
        ..Limits::default()
    })
}

/// The shortest time of a call, of several that are given to the device together.
fn seconds(calls: usize, call: impl Fn() -> Array) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..6 {
        let start = Instant::now();
        let results: Vec<Array> = (0..calls).map(|_| call()).collect();
        mlx::eval(&results)?;
        mlx::synchronize()?;
        best = best.min(start.elapsed().as_secs_f64() / calls as f64);
    }
    Ok(best)
}

/// Bytes read and written in a second, in 10^9, by negation, which moves and computes nothing that takes time.
fn copy(bytes: i32) -> Result<f64> {
    let x = mlx::full([bytes / 4], 1.0_f32);
    mlx::eval([&x])?;
    Ok(2.0 * f64::from(bytes) / seconds(8, || -&x)? / 1e9)
}

fn gemm(side: i32, dtype: Dtype) -> Result<f64> {
    let a = super::made::around_zero(&[side, side], 1.0, 1, dtype);
    let b = super::made::around_zero(&[side, side], 1.0, 2, dtype);
    mlx::eval([&a, &b])?;
    Ok(2.0 * f64::from(side).powi(3) / seconds(4, || a.matmul(&b))? / 1e9)
}

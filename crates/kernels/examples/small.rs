//! What the products and norms of a small language model's token cost, one after another, with warm caches.
//!
//! `cargo run --release -p mlx-kernels --example small [seconds for each row]`

use std::hint::black_box;
use std::time::{Duration, Instant};

use mlx_kernels::*;

/// The minimum time of one call, in microseconds.
fn min_time(budget: Duration, mut call: impl FnMut()) -> f64 {
    let begin = Instant::now();
    let mut min = f64::INFINITY;
    while begin.elapsed() < budget {
        let start = Instant::now();
        call();
        min = min.min(start.elapsed().as_secs_f64());
    }
    min * 1e6
}

fn main() -> Result<()> {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let budget = Duration::from_secs_f64(seconds.unwrap_or(0.2));
    println!("{} with {} threads", instruction_set(), threads());
    let x: Vec<f32> = (0..16 * 1536)
        .map(|i| (i * 7919 % 4093) as f32 / 2046.5 - 1.0)
        .collect();
    for (rows, columns) in [
        (576, 576),
        (192, 576),
        (1536, 576),
        (576, 1536),
        (49_152, 576),
    ] {
        let weights: Vec<u32> = (0..rows * columns / 8)
            .map(|i| (i as u32).wrapping_mul(0x9e37_79b1))
            .collect();
        let scales: Vec<half::f16> = (0..rows * columns / 32)
            .map(|i| half::f16::from_f32(i as f32 % 7.0 * 0.01))
            .collect();
        let scales_f32: Vec<f32> = scales.iter().map(|scale| scale.to_f32()).collect();
        for vectors in [1, 10] {
            let mut out = vec![0.0; vectors * rows];
            let x = &x[..vectors * columns];
            let matrix = Quantized {
                shape: MatrixShape { rows, columns },
                bits: 4,
                group_size: 32,
                weights: &weights,
                scales: &scales,
                biases: &scales,
            };
            let in_f32 = Quantized {
                shape: matrix.shape,
                bits: 4,
                group_size: 32,
                weights: &weights,
                scales: &scales_f32[..],
                biases: &scales_f32[..],
            };
            let plain = min_time(budget, || {
                quantized_matmul(in_f32, vectors, black_box(x), &mut out).unwrap();
            });
            let half = min_time(budget, || {
                quantized_matmul(matrix, vectors, black_box(x), &mut out).unwrap();
            });
            let bytes = min_time(budget, || {
                quantized_matmul_int8(in_f32, vectors, black_box(x), &mut out).unwrap();
            });
            println!(
                "4-bit {vectors:>2}x{columns} times {rows}x{columns}: {plain:.1} us, scales in f16 {half:.1}, bytes {bytes:.1}"
            );
        }
    }
    let mut out = vec![0.0; 16 * 1536];
    for (rows, dim) in [(1, 576), (9, 64), (10, 576)] {
        let (shape, size) = (RowMajorShape { rows, dim }, rows * dim);
        let norm = min_time(budget, || {
            let x = black_box(&x[..size]);
            rms_norm(shape, x, Some(&x[..dim]), 1e-5, &mut out[..size]).unwrap();
        });
        println!("rms_norm {rows}x{dim}: {norm:.2} us");
    }
    let gated = min_time(budget, || {
        swiglu(black_box(&x[..1536]), &x[1536..3072], &mut out[..1536]).unwrap();
    });
    println!("swiglu 1536: {gated:.2} us");
    Ok(())
}

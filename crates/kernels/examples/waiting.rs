//! What a short kernel costs when nothing ran for a while before it: the helpers are awake or asleep then.
//!
//! `cargo run --release -p mlx-kernels --example waiting`

use std::hint::{black_box, spin_loop};
use std::time::{Duration, Instant};

use mlx_kernels::*;

/// The median and the tenth part of calls that follow a pause, in microseconds.
fn after(pause: Duration, mut call: impl FnMut()) -> (f64, f64) {
    let mut times: Vec<f64> = (0..500)
        .map(|_| {
            let start = Instant::now();
            while start.elapsed() < pause {
                spin_loop();
            }
            let start = Instant::now();
            call();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() / 10])
}

fn main() -> Result<()> {
    println!("{} with {} threads", instruction_set(), threads());
    let x = vec![0.5; 512 * 1024];
    let weight = vec![1.0; 1024];
    let mut out = x.clone();
    let (words, scales) = (vec![0x1234_5678; 576 * 72], vec![0.1; 576 * 18]);
    for pause in [0, 5, 20, 50, 100, 200, 1000] {
        let pause = Duration::from_micros(pause);
        for rows in [16, 64, 512] {
            let (shape, size) = (RowMajorShape { rows, dim: 1024 }, rows * 1024);
            let (median, tenth) = after(pause, || {
                let x = black_box(&x[..size]);
                rms_norm(shape, x, Some(&weight), 1e-5, &mut out[..size]).unwrap();
            });
            println!("{pause:?} before rms_norm {rows}x1024: {median:.1} us, {tenth:.1} at best");
        }
        let matrix = Quantized {
            shape: MatrixShape {
                rows: 576,
                columns: 576,
            },
            bits: 4,
            group_size: 32,
            weights: &words,
            scales: &scales,
            biases: &scales,
        };
        let (median, tenth) = after(pause, || {
            quantized_matmul(matrix, 1, black_box(&x[..576]), &mut out[..576]).unwrap();
        });
        println!("{pause:?} before 4-bit 576x576: {median:.1} us, {tenth:.1} at best");
    }
    Ok(())
}

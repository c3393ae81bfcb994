//! Many threads compute at once on one device: products, attention, convolutions, transforms and gradients, with threads
//! that end and begin all the while. Each gets what one thread alone gets.
//!
//! `MLX_TEST_SECONDS` says for how long; a few seconds otherwise.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mlx::fast::{self, AttentionOptions};
use mlx::{Array, CloseOptions, ConvGeneralOptions, Dtype, Result, SharedArray, fft, grad};

const THREADS: usize = 16;

/// Numbers that look random and are the same every time.
fn numbers(seed: u32, shape: &[i32], dtype: Dtype) -> Array {
    let size: i32 = shape.iter().product();
    let values: Vec<f32> = (0..size)
        .map(|i| (f64::from(i) * 1.7 + f64::from(seed)).sin() as f32)
        .collect();
    Array::from_slice(&values, shape.to_vec())
        .unwrap()
        .astype(dtype)
}

/// One kind of work; `seed` changes its sizes, so that plans and kernels are made anew.
type Work = fn(u32) -> Result<Array>;

const KINDS: [Work; 6] = [
    |seed| {
        let (n, k) = (17 + seed as i32 % 5, 33 + seed as i32 % 3);
        let a = numbers(seed, &[n, k], Dtype::Float32);
        Ok(a.matmul(numbers(seed + 1, &[k, n], Dtype::Float32))
            .exp()
            .sum(-1))
    },
    |seed| {
        let length = 8 + seed as i32 % 9;
        let [q, k, v] = [0, 1, 2].map(|i| numbers(seed + i, &[1, 4, length, 64], Dtype::Bfloat16));
        let y = fast::scaled_dot_product_attention_with(&q, &k, &v, &AttentionOptions::default());
        Ok(y.astype(Dtype::Float32))
    },
    |seed| {
        let length = 4 + seed as i32 % 6;
        let [q, k, v] = [0, 1, 2].map(|i| numbers(seed + i, &[1, 2, length, 32], Dtype::Float32));
        Ok(fast::scaled_dot_product_attention_with(
            &q,
            &k,
            &v,
            &AttentionOptions::default(),
        ))
    },
    |seed| {
        let size = 9 + seed as i32 % 4;
        let x = numbers(seed, &[2, size, size, 3], Dtype::Float32);
        let w = numbers(seed + 1, &[5, 3, 3, 3], Dtype::Float32);
        Ok(x.conv_general(&w, ConvGeneralOptions::default()))
    },
    |seed| {
        let x = numbers(seed, &[3, 16 + seed as i32 % 4], Dtype::Float32);
        Ok(fft::irfft(&fft::rfft(&x)).abs())
    },
    |seed| {
        let x = numbers(seed, &[4, 21 + seed as i32 % 3], Dtype::Float32);
        grad(|x: &Array| {
            fast::layer_norm(x, None, None, 1e-5)
                .square()
                .cumsum(-1)
                .sum(())
        })
        .call(&x)
    },
];

/// What one thread alone gets, for each kind and seed.
fn wanted(seeds: u32) -> Vec<Vec<SharedArray>> {
    let one = |work: &Work| {
        (0..seeds)
            .map(|seed| work(seed).unwrap().share().unwrap())
            .collect()
    };
    KINDS.iter().map(one).collect()
}

#[test]
fn threads_that_come_and_go_get_what_one_thread_gets() {
    const SEEDS: u32 = 12;
    let seconds = std::env::var("MLX_TEST_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(2));
    let wanted = wanted(SEEDS);
    let n_done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for first in 0..THREADS {
            let (wanted, n_done) = (&wanted, &n_done);
            scope.spawn(move || {
                let mut turn = first;
                while Instant::now() < end {
                    // A new thread for each turn: streams and handles of the last one are given back.
                    std::thread::scope(|inner| {
                        inner.spawn(move || {
                            let (kind, seed) = (turn % KINDS.len(), turn as u32 % SEEDS);
                            let got = KINDS[kind](seed).unwrap();
                            let want = wanted[kind][seed as usize].array();
                            let close = got.allclose_with(&want, CloseOptions::new(1e-5, 1e-6));
                            assert!(
                                close.item::<bool>().unwrap(),
                                "kind {kind}, seed {seed}: {got}, not {want}"
                            );
                        });
                    });
                    n_done.fetch_add(1, Ordering::Relaxed);
                    turn += 7;
                }
            });
        }
    });
    let n_done = n_done.load(Ordering::Relaxed);
    println!("{n_done} computations");
    assert!(n_done > THREADS, "{n_done}");
}

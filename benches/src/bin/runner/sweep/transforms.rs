//! Fourier transforms, random numbers and linear algebra of the sweep.

use anyhow::Result;
use mlx::fft::{fft2, rfft};
use mlx::{Array, eye, linalg, random};

use crate::kernels::{Body, take, unary};

pub fn body(name: &str, inputs: &[Array]) -> Result<Option<Body>> {
    Ok(Some(match name {
        "fft_1024" | "rfft_1000" => unary(inputs, |x| rfft(x).abs())?,
        "fft2_512" => unary(inputs, |x| fft2(x).abs())?,
        "random_normal_4M" => drawn(|key| random::normal_with([1024, 4096], key))?,
        "random_uniform_4M" => drawn(|key| random::uniform_with(0.0, 1.0, [1024, 4096], key))?,
        _ => return linear_algebra(name, inputs),
    }))
}

fn drawn(function: impl Fn(&Array) -> Array + 'static) -> Result<Body> {
    let key = random::key(7);
    mlx_bench::ready([&key])?;
    Ok(Box::new(move || Ok(function(&key))))
}

fn linear_algebra(name: &str, inputs: &[Array]) -> Result<Option<Body>> {
    Ok(Some(match name {
        "cholesky_512" => {
            let [_, positive] = positive_definite(inputs)?;
            Box::new(move || Ok(linalg::cholesky(&positive)))
        }
        "inv_512" => {
            let [_, positive] = positive_definite(inputs)?;
            Box::new(move || Ok(linalg::inv(&positive)))
        }
        "solve_512" => {
            let [a, positive] = positive_definite(inputs)?;
            Box::new(move || Ok(linalg::solve(&positive, &a)))
        }
        "eigh_256" => {
            let [_, positive] = positive_definite(inputs)?;
            Box::new(move || Ok(linalg::eigh(&positive)?.0))
        }
        "svd_256" => {
            let [a] = take(inputs)?;
            Box::new(move || Ok(linalg::svd(&a)?.1))
        }
        "qr_512" => {
            let [a] = take(inputs)?;
            Box::new(move || Ok(linalg::qr(&a)?.0))
        }
        _ => return Ok(None),
    }))
}

/// Returns a square matrix `a`, and `a a^T + 512`.
fn positive_definite(inputs: &[Array]) -> Result<[Array; 2]> {
    let [a] = take(inputs)?;
    let n = a.shape()?.first().copied().unwrap_or(0);
    let positive = a.matmul(&a.t()) + eye(n) * 512.0_f32;
    mlx_bench::ready([&positive])?;
    Ok([a, positive])
}

//! Calls kernels with random sizes, strides and masks and compares with plain formulas in `f64`.
//!
//! `cargo run --release -p mlx-kernels --example fuzz [seconds] [first seed]`; what fails names its seed, and that seed as
//! the first one repeats it.

mod cases;
mod dice;
mod elements;
mod matrices;

use std::time::{Duration, Instant};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2.0);
    let first: u64 = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let (begin, budget) = (Instant::now(), Duration::from_secs_f64(seconds));
    let mut seed = first;
    while begin.elapsed() < budget {
        if let Err(text) = cases::run(seed) {
            eprintln!("seed {seed}: {text}");
            std::process::exit(1);
        }
        seed += 1;
    }
    println!(
        "{} calls, seeds {first} to {}",
        seed - first,
        seed.saturating_sub(1)
    );
}

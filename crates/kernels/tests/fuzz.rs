//! Random calls for two seconds; `cargo run --release -p mlx-kernels --example fuzz 600` goes on for longer.

#[path = "../examples/fuzz/cases.rs"]
mod cases;
#[path = "../examples/fuzz/dice.rs"]
mod dice;
#[path = "../examples/fuzz/elements.rs"]
mod elements;
#[path = "../examples/fuzz/matrices.rs"]
mod matrices;

use std::time::{Duration, Instant};

#[test]
fn random_calls_agree_with_plain_formulas() {
    let begin = Instant::now();
    for seed in 0.. {
        if let Err(text) = cases::run(seed) {
            panic!("seed {seed}: {text}");
        }
        if begin.elapsed() > Duration::from_secs(2) {
            break;
        }
    }
}

//! Compiled functions against the same functions uncompiled: both forms of a formula, interleaved in one process.
//!
//! `cargo xtask bench --only jit-vs-eager` measures all of them and fails when one is slower compiled than eager beyond
//! noise; `--only jit-vs-eager/rope` measures those whose names have that part.

mod elementwise;
mod formula;
mod layouts;
mod losses;
mod networks;

use std::time::Duration;

use anyhow::Context;

use super::options::JIT_VS_EAGER;
use crate::clock::once;
pub use formula::Formula;
use formula::Pair;

/// Compiled may take this share longer than eager before it counts as slower.
const NOISE: f64 = 0.10;
/// And this much longer: what a wake-up of MLX's thread varies by.
const NOISE_OF_A_CALL: Duration = Duration::from_micros(4);
/// Rounds of both forms in one attempt.
const ROUNDS: usize = 7;
/// A row that seems slower is measured at most this often: other processes may have been busy.
const ATTEMPTS: usize = 4;
/// How long a form runs in a round.
const ROUND: Duration = Duration::from_millis(12);

/// Returns all formulas.
pub fn formulas() -> Vec<Formula> {
    let families = [
        elementwise::formulas(),
        layouts::formulas(),
        losses::formulas(),
        networks::formulas(),
    ];
    families.into_iter().flatten().collect()
}

/// What both forms of a formula took: the minimum of the rounds' medians.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Each operation by itself.
    pub eager: Duration,
    /// The function under `jit`.
    pub compiled: Duration,
}

impl Times {
    const NONE: Self = Self {
        eager: Duration::MAX,
        compiled: Duration::MAX,
    };

    /// Whether the compiled form is slower beyond noise.
    pub fn is_slower(&self) -> bool {
        self.compiled > self.eager.mul_f64(1.0 + NOISE) + NOISE_OF_A_CALL
    }

    /// Compiled over eager.
    pub fn ratio(&self) -> f64 {
        self.compiled.as_secs_f64() / self.eager.as_secs_f64()
    }
}

/// Measures the formulas whose row is `wanted` and prints a line for each; returns whether none is slower compiled.
///
/// # Errors
/// When a formula cannot be computed, or its two forms disagree.
pub fn run(wanted: impl Fn(&str) -> bool) -> anyhow::Result<bool> {
    println!("| row | eager, ms | compiled, ms | ratio | |\n| --- | ---: | ---: | ---: | --- |");
    let mut slower = Vec::new();
    for formula in formulas() {
        let row = format!("{JIT_VS_EAGER}{}", formula.name);
        if !wanted(&row) {
            continue;
        }
        let times = measure(&formula).with_context(|| row.clone())?;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let verdict = if times.is_slower() { "slower" } else { "" };
        println!(
            "| `{row}` | {:.3} | {:.3} | {:.2} | {verdict} |",
            ms(times.eager),
            ms(times.compiled),
            times.ratio()
        );
        if times.is_slower() {
            slower.push(row);
        }
    }
    if !slower.is_empty() {
        println!("\nslower compiled than eager: {}", slower.join(", "));
    }
    Ok(slower.is_empty())
}

/// Measures both forms in turns until the compiled one is not slower, or that is not by chance.
///
/// # Errors
/// When a form cannot be computed, or they disagree.
pub fn measure(formula: &Formula) -> anyhow::Result<Times> {
    let pair = (formula.make)()?;
    pair.check()?;
    let calls = pair.calls_in(ROUND)?;
    let mut times = Times::NONE;
    for _ in 0..ATTEMPTS {
        for round in 0..ROUNDS {
            // Each form begins in every other round, so that neither always follows the other.
            let (mut eager, mut compiled) = (Duration::MAX, Duration::MAX);
            for turn in [round % 2, (round + 1) % 2] {
                match turn {
                    0 => eager = median(&pair, calls, Pair::eager)?,
                    _ => compiled = median(&pair, calls, Pair::compiled)?,
                }
            }
            times.eager = times.eager.min(eager);
            times.compiled = times.compiled.min(compiled);
        }
        if !times.is_slower() {
            break;
        }
    }
    Ok(times)
}

/// The median time of `n` calls of one form, after one that warms caches up again.
fn median(
    pair: &Pair,
    calls: usize,
    form: fn(&Pair) -> mlx::Result<Vec<mlx::Array>>,
) -> mlx::Result<Duration> {
    once(|| form(pair))?;
    let mut samples = Vec::with_capacity(calls);
    for _ in 0..calls {
        samples.push(once(|| form(pair))?);
    }
    samples.sort();
    Ok(samples.get(samples.len() / 2).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_there_are_forty_formulas() {
        let formulas = formulas();
        let names: HashSet<&str> = formulas.iter().map(|formula| formula.name).collect();
        assert_eq!(names.len(), formulas.len());
        assert!(names.len() >= 40, "{}", names.len());
    }

    #[test]
    fn slower_is_what_is_beyond_noise() {
        let times = |eager, compiled| Times {
            eager: Duration::from_micros(eager),
            compiled: Duration::from_micros(compiled),
        };
        assert!(!times(1_000, 1_103).is_slower());
        assert!(times(1_000, 1_105).is_slower());
        assert!(!times(10, 14).is_slower() && times(10, 16).is_slower());
    }
}

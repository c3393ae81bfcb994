//! Timing of functions over lazy arrays.

use std::time::{Duration, Instant};

use mlx::tree::Tree;

/// How long the calls of a function took, the shortest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    samples: Vec<Duration>,
    first: Duration,
}

impl Timing {
    /// Returns the middle one of all measured calls.
    pub fn median(&self) -> Duration {
        self.at(self.samples.len() / 2)
    }

    /// Returns the shortest measured call.
    pub fn min(&self) -> Duration {
        self.at(0)
    }

    /// Returns the longest measured call.
    pub fn max(&self) -> Duration {
        self.at(self.samples.len().saturating_sub(1))
    }

    /// Returns the first call, which is not among the measured ones: it fetches memory and compiles kernels.
    pub fn first(&self) -> Duration {
        self.first
    }

    /// Returns the number of measured calls.
    pub fn runs(&self) -> usize {
        self.samples.len()
    }

    /// Returns the measured calls, the shortest first.
    pub fn samples(&self) -> &[Duration] {
        &self.samples
    }

    fn at(&self, idx: usize) -> Duration {
        self.samples.get(idx).copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Timing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let (median, min, max) = (ms(self.median()), ms(self.min()), ms(self.max()));
        let runs = self.runs();
        write!(f, "{median:.3} ms ({min:.3} to {max:.3}, {runs} runs)")
    }
}

/// Calls `body` some times unmeasured and then 50 times measured; its arrays are computed within the clock.
///
/// Evaluate the inputs before (see [`ready`](crate::ready)), or the first call computes them.
///
/// ```
/// use mlx::{Dtype, fast};
///
/// # fn main() -> mlx::Result<()> {
/// let (x, weight) = (mlx::ones([4, 64]), mlx::ones([64]));
/// mlx_bench::ready([&x, &weight])?;
/// let fused = mlx_bench::time(|| Ok(fast::rms_norm(&x, &weight, 1e-5)))?;
/// let composed = mlx_bench::time(|| Ok(fast::composed::rms_norm(&x, &weight, 1e-5)))?;
/// println!("fused {fused}, composed {composed}");
/// assert_eq!(fused.runs(), 50);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When `body` returns one, or its arrays cannot be computed.
pub fn time<T: Tree>(body: impl FnMut() -> mlx::Result<T>) -> mlx::Result<Timing> {
    time_with(3, 50, body)
}

/// Times as [`time`] does, with `warm_up` unmeasured calls (at least one) and `runs` measured ones (at least one).
///
/// # Errors
/// As [`time`].
pub fn time_with<T: Tree>(
    warm_up: usize,
    runs: usize,
    mut body: impl FnMut() -> mlx::Result<T>,
) -> mlx::Result<Timing> {
    let first = once(&mut body)?;
    for _ in 1..warm_up {
        once(&mut body)?;
    }
    let mut samples = Vec::with_capacity(runs.max(1));
    for _ in 0..runs.max(1) {
        samples.push(once(&mut body)?);
    }
    samples.sort();
    Ok(Timing { samples, first })
}

/// Times one call, to the end of its work; warming up is left to you.
///
/// The result is dropped within the clock, as in a program that goes on.
///
/// # Errors
/// As [`time`].
pub fn once<T: Tree>(mut body: impl FnMut() -> mlx::Result<T>) -> mlx::Result<Duration> {
    let start = Instant::now();
    finish(body()?)?;
    Ok(start.elapsed())
}

/// Computes every array of a tree and waits for the device.
fn finish<T: Tree>(tree: T) -> mlx::Result<()> {
    let mut arrays = Vec::new();
    tree.visit(&mut |array| arrays.push(array));
    mlx::eval(arrays)?;
    mlx::synchronize()
}

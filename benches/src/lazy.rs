//! Lazy arrays measured with criterion.

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Throughput};
use mlx::tree::Tree;
use mlx::{Array, Dtype, random};

use crate::clock::once;

/// The minimum that one call has to move or compute, for true throughput.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Bytes read and written, each once: for work that waits for memory.
    Bytes(u64),
    /// Floating-point operations, shown as elements: for work that waits for arithmetic.
    Flops(u64),
    /// Nothing that throughput would say something about.
    Calls,
}

impl Work {
    fn throughput(self) -> Option<Throughput> {
        match self {
            Work::Bytes(bytes) => Some(Throughput::Bytes(bytes)),
            Work::Flops(flops) => Some(Throughput::Elements(flops)),
            Work::Calls => None,
        }
    }
}

/// Computes the inputs of a bench, so that the first measured call does not.
///
/// # Errors
/// When one of them cannot be computed.
pub fn ready<'a>(inputs: impl IntoIterator<Item = &'a Array>) -> mlx::Result<()> {
    mlx::eval(inputs.into_iter().collect::<Vec<_>>())?;
    mlx::synchronize()
}

/// Returns a `float32` array of normal random numbers that is computed already; the same seed gives the same numbers.
///
/// # Errors
/// When it cannot be computed.
pub fn normal(shape: &[i32], seed: u64) -> mlx::Result<Array> {
    let array = random::normal_with(shape, &random::key(seed));
    let array = array.astype(Dtype::Float32);
    ready([&array])?;
    Ok(array)
}

/// Adds a bench of a function over lazy arrays to a group; each measured call ends when its arrays are computed.
///
/// One call runs before criterion starts, so that an error is returned here and kernels are compiled.
///
/// ```no_run
/// use criterion::Criterion;
/// use mlx_bench::{Work, bench_lazy, ready};
///
/// fn norms(criterion: &mut Criterion) -> mlx::Result<()> {
///     let x = mlx::ones([4, 128, 1024]);
///     ready([&x])?;
///     let mut group = criterion.benchmark_group("fast");
///     let bytes = Work::Bytes(2 * 4 * 128 * 1024 * 4);
///     bench_lazy(&mut group, "rms_norm/float32/4x128x1024/cpu", bytes, || {
///         Ok(mlx::fast::rms_norm(&x, None, 1e-5))
///     })
/// }
/// # norms(&mut Criterion::default()).unwrap();
/// ```
///
/// # Errors
/// The first one that `body` returns, or that computing its arrays gives.
pub fn bench_lazy<T: Tree>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    work: Work,
    mut body: impl FnMut() -> mlx::Result<T>,
) -> mlx::Result<()> {
    once(&mut body)?;
    if let Some(throughput) = work.throughput() {
        group.throughput(throughput);
    }
    let mut outcome = Ok(());
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|calls| {
            let mut total = Duration::ZERO;
            for _ in 0..calls {
                match once(&mut body) {
                    Ok(duration) => total += duration,
                    Err(error) => outcome = Err(error),
                }
            }
            // Criterion divides by it.
            total.max(Duration::from_nanos(1))
        });
    });
    outcome
}

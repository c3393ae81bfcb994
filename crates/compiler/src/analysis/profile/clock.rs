//! Clocks: how long evaluations take, on the CPU's clock and on the GPU's.

use std::time::{Duration, Instant};

use mlx::compiler_api::time_on_gpu;
use mlx::{Array, Device, Dtype};

use super::MachineLimits;

/// The bytes of an array whose addition the GPU is busy with while the next evaluation is prepared.
const BUSY_BYTES: i32 = 1 << 28;
/// How many such additions at least and at most: some tenths of a millisecond, and some hundredths of a second.
const BUSY_ADDITIONS: (usize, usize) = (8, 400);

/// Measures evaluations on a device.
pub(super) enum Clock {
    /// From the call of `eval` to its end. On GPUs without a clock that can be asked too.
    Host,
    /// From the moment at which the GPU begins with an evaluation to that at which it ends, without what the host takes to
    /// prepare it: the GPU is kept busy meanwhile, with additions to this array, each of which takes it this long.
    Gpu(Array, Duration),
}

impl Clock {
    /// The clock of the device that operations go to.
    pub(super) fn new() -> mlx::Result<Self> {
        if Device::current()? == Device::Cpu || time_on_gpu(|| Ok(()))?.is_none() {
            return Ok(Self::Host);
        }
        let array = mlx::ones([BUSY_BYTES / 4]);
        mlx::eval([&array, &(&array + 1.0)])?;
        let n = BUSY_ADDITIONS.0;
        let additions = time_on_gpu(|| (0..n).try_for_each(|_| mlx::async_eval(&(&array + 1.0))))?;
        let addition = additions.unwrap_or_default().div_f64(n as f64);
        Ok(Self::Gpu(array, addition.max(Duration::from_micros(1))))
    }

    /// How often a compiled function is called before it runs as it does from then on: CUDA records it at its second call.
    pub(super) fn calls_before(&self) -> usize {
        match self {
            Self::Host => 0,
            Self::Gpu(..) => 2,
        }
    }

    /// Evaluates what `make` returns and measures it.
    pub(super) fn time(
        &self,
        make: impl FnOnce() -> mlx::Result<Vec<Array>>,
    ) -> mlx::Result<Duration> {
        self.time_prepared(Duration::ZERO, make)
    }

    /// The same of what takes the host up to `prepared` to make and to launch.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn time_prepared(
        &self,
        prepared: Duration,
        make: impl FnOnce() -> mlx::Result<Vec<Array>>,
    ) -> mlx::Result<Duration> {
        let Self::Gpu(array, addition) = self else {
            let started = Instant::now();
            mlx::eval(&make()?)?;
            return Ok(started.elapsed());
        };
        mlx::synchronize()?;
        let (least, most) = BUSY_ADDITIONS;
        let additions = (prepared.as_secs_f64() / addition.as_secs_f64()).ceil() as usize;
        for _ in 0..(additions + least).min(most) {
            mlx::async_eval(&(array + 1.0))?;
        }
        let mut outputs = Vec::new();
        let time = time_on_gpu(|| {
            outputs = make()?;
            mlx::async_eval(&outputs)
        })?;
        // Errors of the evaluation are told to those who wait for it.
        mlx::eval(&outputs)?;
        Ok(time.unwrap_or_default())
    }

    /// Returns what an evaluation takes that computes next to nothing.
    pub(super) fn empty(&self) -> mlx::Result<Duration> {
        let x = Array::scalar(1.0_f32);
        x.eval()?;
        let mut times = Vec::new();
        for _ in 0..64 {
            let y = &x + 1.0;
            times.push(self.time(|| Ok(vec![y]))?);
        }
        times.sort_unstable();
        Ok(times[times.len() / 2])
    }

    /// Returns the limits of the device.
    pub(super) fn limits(&self) -> mlx::Result<MachineLimits> {
        let best = |work: &dyn Fn() -> Array| -> mlx::Result<f64> {
            let mut best = f64::INFINITY;
            for _ in 0..5 {
                let y = work();
                best = best.min(self.time(|| Ok(vec![y]))?.as_secs_f64());
            }
            Ok(best.max(1e-9))
        };
        // Larger than every cache, and a product that occupies all of the device, in the type that it is fastest with.
        let (bytes, n, dtype): (i32, i32, Dtype) = match self {
            Self::Host => (1 << 26, 1 << 10, Dtype::Float32),
            Self::Gpu(..) => (1 << 30, 1 << 13, Dtype::Bfloat16),
        };
        let (large, matrix) = (mlx::ones([bytes / 4]), mlx::ones_with([n, n], dtype));
        mlx::eval([&large, &matrix])?;
        Ok(MachineLimits {
            bytes_per_second: f64::from(bytes) * 2.0 / best(&|| &large + 1.0)?,
            operations_per_second: f64::from(n).powi(3) * 2.0 / best(&|| matrix.matmul(&matrix))?,
        })
    }
}

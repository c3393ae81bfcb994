//! The limits of this machine: bandwidth and arithmetic, measured.

use std::hint::black_box;
use std::thread;
use std::time::Instant;

use mlx_kernels::{
    BinaryOp, ElementwiseProgram, Instruction, ReduceShape, Reduction, StridedInput, TypedSlice,
    TypedSliceMut, reduce,
};
use serde::{Deserialize, Serialize};

use super::rows::Cost;

/// The machine's limits, measured in the run whose rows are compared with them.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Limits {
    /// Copying large arrays, bytes read and written, in 10^9 bytes a second.
    pub copy_gb_s: f64,
    /// Reading large arrays, in 10^9 bytes a second.
    pub read_gb_s: f64,
    /// The product of 2048 x 2048 matrices in `float32`, in 10^9 operations a second.
    pub sgemm_gflop_s: f64,
    /// The product of matrices in `bfloat16`, on a GPU; 0 where it was not measured.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bf16_gflop_s: f64,
    /// PyTorch's copy on a GPU, bytes read and written; 0 where it was not measured.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pytorch_copy_gb_s: f64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

impl Limits {
    /// Returns what the device does with numbers of a type, in 10^9 operations a second.
    fn gflop_s(&self, dtype: &str) -> f64 {
        match dtype {
            "float32" => self.sgemm_gflop_s,
            _ if self.bf16_gflop_s > 0.0 => self.bf16_gflop_s,
            _ => self.sgemm_gflop_s,
        }
    }

    /// The time that these limits leave for a row: the longer of moving its bytes and of computing its products.
    ///
    /// Bytes are moved at the speed of copying when at least a fifth of them is written, else at that of reading.
    pub fn ms(&self, cost: &Cost, dtype: &str) -> Option<f64> {
        let bytes = cost.read + cost.written;
        let copies = cost.written >= 0.2 * bytes;
        // On a GPU the share is that of a copy.
        let gb_s = if copies || self.read_gb_s == 0.0 {
            self.copy_gb_s.max(self.pytorch_copy_gb_s)
        } else {
            self.read_gb_s
        };
        let moving = bytes / (gb_s * 1e6);
        let computing = cost.flops / (self.gflop_s(dtype) * 1e6);
        let ms = moving.max(computing);
        (ms.is_finite() && ms > 0.0).then_some(ms)
    }
}

/// Large enough that no cache helps: 256 MiB of `f32`.
const LENGTH: usize = 64 << 20;
const MATRIX: i32 = 2048;
const TRIES: usize = 12;

/// Measures all three, the best of some tries, with one thread and with all of them.
///
/// Copying is done twice: by `memcpy`, and by the product with 1 of `mlx-kernels`, which stores around the caches.
/// Reading is done twice too: by a plain loop, and by the sum of `mlx-kernels`. The better one is the limit.
///
/// # Errors
/// When MLX cannot multiply.
pub fn measure(threads: usize) -> mlx::Result<Limits> {
    let source = vec![1.0_f32; LENGTH];
    let mut target = vec![2.0_f32; LENGTH];
    let (mut copy, mut read) = (0.0_f64, 0.0_f64);
    for threads in [1, threads.max(1)] {
        for _ in 0..TRIES {
            copy = copy.max(copy_once(&source, &mut target, threads));
            read = read.max(read_once(&source, threads));
        }
    }
    for _ in 0..TRIES {
        copy = copy.max(stream_once(&source, &mut target));
        read = read.max(sum_once(&source));
    }
    Ok(Limits {
        copy_gb_s: copy,
        read_gb_s: read,
        sgemm_gflop_s: sgemm()?,
        ..Limits::default()
    })
}

/// `memcpy` of the C library, which writes around the caches from some size on.
fn copy_once(source: &[f32], target: &mut [f32], threads: usize) -> f64 {
    let part = source.len().div_ceil(threads);
    let start = Instant::now();
    thread::scope(|scope| {
        for (from, to) in source.chunks(part).zip(target.chunks_mut(part)) {
            scope.spawn(move || to.copy_from_slice(from));
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    black_box(&target);
    gb(2 * size_of_val(source)) / seconds
}

/// A copy with streaming stores, on the threads of the kernels: the product of all elements and 1.
fn stream_once(source: &[f32], target: &mut [f32]) -> f64 {
    let product = [
        Instruction::Input(0),
        Instruction::Constant(1.0),
        Instruction::Binary(BinaryOp::Multiply, 0, 1),
    ];
    let Ok(program) = ElementwiseProgram::new(1, &product, &[2]) else {
        return 0.0;
    };
    let input = StridedInput {
        values: TypedSlice::F32(source),
        strides: &[1],
    };
    let start = Instant::now();
    let out = &mut [TypedSliceMut::F32(&mut *target)];
    let done = program.run(&[source.len()], &[input], out);
    let seconds = start.elapsed().as_secs_f64();
    black_box(&target);
    done.map_or(0.0, |()| gb(2 * size_of_val(source)) / seconds)
}

/// A sum on the threads of the kernels.
fn sum_once(source: &[f32]) -> f64 {
    const ROWS: usize = 1024;
    let shape = ReduceShape {
        outer: ROWS,
        reduced: source.len() / ROWS,
        inner: 1,
    };
    let mut sums = [0.0_f32; ROWS];
    let start = Instant::now();
    let done = reduce(Reduction::Sum, shape, source, &mut sums);
    let seconds = start.elapsed().as_secs_f64();
    black_box(&sums);
    done.map_or(0.0, |()| gb(size_of_val(source)) / seconds)
}

/// Each thread sums four streams at once, which keeps more reads in flight than one.
fn read_once(source: &[f32], threads: usize) -> f64 {
    let part = source.len().div_ceil(threads);
    let start = Instant::now();
    thread::scope(|scope| {
        for mine in source.chunks(part) {
            scope.spawn(move || black_box(sum_of_streams(mine)));
        }
    });
    gb(size_of_val(source)) / start.elapsed().as_secs_f64()
}

fn sum_of_streams(data: &[f32]) -> f32 {
    const LANES: usize = 32;
    let (left, right) = data.split_at(data.len() / 2);
    let (a, b) = left.split_at(left.len() / 2);
    let (c, d) = right.split_at(right.len() / 2);
    let mut sums = [[0.0_f32; LANES]; 4];
    let lanes = |stream| <[f32]>::chunks_exact(stream, LANES);
    for (((a, b), c), d) in lanes(a).zip(lanes(b)).zip(lanes(c)).zip(lanes(d)) {
        for (sum, lane) in sums.iter_mut().zip([a, b, c, d]) {
            for (sum, value) in sum.iter_mut().zip(lane) {
                *sum += value;
            }
        }
    }
    sums.iter().flatten().sum()
}

fn sgemm() -> mlx::Result<f64> {
    let a = mlx::full([MATRIX, MATRIX], 0.5);
    let b = mlx::full([MATRIX, MATRIX], 0.25);
    crate::ready([&a, &b])?;
    let timing = crate::time_with(2, TRIES, || Ok(a.matmul(&b)))?;
    let flops = 2.0 * f64::from(MATRIX).powi(3);
    Ok(flops / timing.min().as_secs_f64() / 1e9)
}

fn gb(bytes: usize) -> f64 {
    bytes as f64 / 1e9
}

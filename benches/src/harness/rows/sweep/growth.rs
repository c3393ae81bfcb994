//! Growth: the cost against the size of sorting, convolution, the product in `bfloat16`, and gathering rows.

use super::{Agreement, Operation, operation, products};
use crate::harness::inputs::Draw;
use crate::harness::rows::{Benchmark, Group};

pub(super) fn rows() -> Vec<Benchmark> {
    let mut rows = Vec::new();
    for exponent in [8, 10, 12, 14, 16, 18, 20, 22] {
        let n = 1 << exponent;
        rows.push(row(&sort(n), n, "float32"));
    }
    for side in [7, 14, 28, 56, 112, 224] {
        rows.push(row(&conv2d(side), side, "float32"));
    }
    for n in [32, 64, 128, 256, 512, 1024, 2048] {
        rows.push(row(&matmul(n), n, "bfloat16"));
    }
    for n in [16, 64, 256, 1024, 4096, 16384, 65536] {
        rows.push(row(&gather(n), n, "float32"));
    }
    rows
}

fn row(operation: &Operation, size: usize, dtype: &'static str) -> Benchmark {
    Benchmark {
        id: format!("growth/{}/{size}/cpu", operation.name),
        shape: size.to_string(),
        ..operation.row(dtype, Group::Growth)
    }
}

fn sort(n: usize) -> Operation {
    operation("sort", &[&[n]], &[n], Agreement::Same)
}

/// 3x3 with 64 channels over one picture.
fn conv2d(side: usize) -> Operation {
    let picture: &[usize] = &[1, side, side, 64];
    products("conv2d", &[picture, &[64, 3, 3, 64]], picture, 9 * 64)
}

fn matmul(n: usize) -> Operation {
    products("matmul", &[&[n, n], &[n, n]], &[n, n], n)
}

/// Rows of 512 numbers out of 50 000.
fn gather(n: usize) -> Operation {
    operation(
        "gather",
        &[&[50_000, 512], &[n]],
        &[n, 512],
        Agreement::Same,
    )
    .draw(1, Draw::Whole(0, 50_000))
}

//! Products, plain and with packed weights, reductions, sorting and gathering.

use serde_json::{Value, json};

use super::{EAGER, Kernel, MLX_ONLY, Made, Size};
use crate::harness::rows::{Benchmark, Target, by};

const F32: &str = "float32";
const BF16: &str = "bfloat16";
/// How many packed weights share a scale.
const GROUP: usize = 64;
/// The share of the copy that packed products are to reach.
const SHARE: f64 = 0.75;

pub(super) fn rows(size: Size) -> Vec<Benchmark> {
    let products = [(F32, 4096), (BF16, 4096), (F32, 1024), (BF16, 1024)];
    let mut rows: Vec<Benchmark> = products
        .into_iter()
        .map(|(dtype, n)| {
            let quick = n == 4096;
            let kernel = matmul(dtype, [n, n, n], size);
            Kernel { quick, ..kernel }.row(size)
        })
        .collect();
    rows.push(matmul(BF16, [1, 4096, 14336], size).row(size));
    rows.push(matmul(BF16, [512, 4096, 14336], size).row(size));
    for bits in [4, 8] {
        for (inputs, outputs) in [(4096, 14336), (14336, 4096)] {
            for n in [1, 4, 8, 16] {
                // The short run has one and eight rows of the first, and one of the second.
                let is_quick = n == 1 || (n == 8 && inputs == 4096);
                rows.push(packed(bits, n, [inputs, outputs], is_quick, size));
            }
        }
    }
    let others = [embedding(size)].into_iter().chain(reductions(size));
    rows.extend(others.map(|kernel| kernel.row(size)));
    rows
}

fn plain(name: &'static str, dtype: &'static str, shape: &[usize], arrays: Vec<Made>) -> Kernel {
    Kernel {
        name,
        variant: "",
        dtype,
        shape: by(shape),
        arrays,
        attributes: Value::Null,
        result: (0, dtype),
        flops: 0.0,
        read: None,
        gradients: 0,
        rivals: EAGER,
        quick: true,
    }
}

fn matmul(dtype: &'static str, shape: [usize; 3], size: Size) -> Kernel {
    let [m, k, n] = shape.map(|axis| size.axis(axis));
    let arrays = vec![
        Made::around_zero(&[m, k], dtype, 1.0, 1),
        Made::around_zero(&[k, n], dtype, 1.0, 2),
    ];
    Kernel {
        result: (m * n, dtype),
        flops: 2.0 * (m * k * n) as f64,
        ..plain("matmul", dtype, &shape, arrays)
    }
}

/// Packed weights `[rows, columns]`: words, scales and biases.
fn weights(bits: usize, rows: usize, columns: usize) -> [Made; 3] {
    let groups = [rows, columns / GROUP];
    [
        Made::bits(&[rows, columns * bits / 32], 11),
        Made {
            scale: 0.01,
            shift: 0.015,
            ..Made::around_zero(&groups, BF16, 1.0, 12)
        },
        Made::around_zero(&groups, BF16, 0.1, 13),
    ]
}

fn packed(bits: usize, n: usize, matrix: [usize; 2], quick: bool, size: Size) -> Benchmark {
    let [inputs, outputs] = matrix.map(|axis| size.axis(axis));
    let mut arrays = vec![Made::around_zero(&[n, inputs], BF16, 1.0, 1)];
    arrays.extend(weights(bits, outputs, inputs));
    let kernel = Kernel {
        variant: if bits == 4 { "_4bit" } else { "_8bit" },
        attributes: json!({"bits": bits, "group_size": GROUP}),
        result: (n * outputs, BF16),
        flops: 2.0 * (n * inputs * outputs) as f64,
        rivals: MLX_ONLY,
        quick,
        ..plain("quantized_matmul", BF16, &[n, matrix[0], matrix[1]], arrays)
    };
    let row = kernel.row(size);
    Benchmark {
        target: Target {
            share: (bits == 4).then_some(SHARE),
            ..row.target
        },
        ..row
    }
}

/// Rows of a packed table.
fn embedding(size: Size) -> Kernel {
    let (n, rows, columns) = (size.axis(2048), size.axis(151_936), size.axis(4096));
    let mut arrays = vec![Made::whole(&[n], rows, 1)];
    arrays.extend(weights(4, rows, columns));
    Kernel {
        attributes: json!({"bits": 4, "group_size": GROUP}),
        result: (n * columns, BF16),
        read: Some((n * columns) as f64 * (0.5 + 4.0 / GROUP as f64)),
        rivals: MLX_ONLY,
        ..plain("embedding", BF16, &[2048, 151_936, 4096], arrays)
    }
}

fn reductions(size: Size) -> Vec<Kernel> {
    let of = |name, dtype, shape: &[usize], result: usize| {
        let x = Made::around_zero(&size.of(shape), dtype, 1.0, 1);
        Kernel {
            result: (result, dtype),
            ..plain(name, dtype, shape, vec![x])
        }
    };
    let (rows, columns) = (size.axis(8192), size.axis(1024));
    // Numbers above 0, whose sum is not the difference of large ones.
    let above_zero = |mut kernel: Kernel| {
        for one in &mut kernel.arrays {
            (one.scale, one.shift) = (1.0, 1.0);
        }
        kernel
    };
    let (from, n) = (size.axis(131_072), size.axis(65_536));
    let gathered = (n * columns) as f64 * 2.0;
    vec![
        above_zero(of("sum", F32, &[8192, 8192], 1)),
        above_zero(of("sum_rows", BF16, &[8192, 8192], rows)),
        of("argmax", F32, &[64, 150_000], size.axis(64)),
        of("sort", F32, &[1024, 16384], columns * size.axis(16384)),
        Kernel {
            result: (n * columns, BF16),
            read: Some(gathered),
            ..plain(
                "gather",
                BF16,
                &[65_536, 131_072, 1024],
                vec![
                    Made::around_zero(&[from, columns], BF16, 1.0, 1),
                    Made::whole(&[n], from, 2),
                ],
            )
        },
    ]
}

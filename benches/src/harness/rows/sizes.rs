//! Rows over sizes: where fusing wins and where it loses, and how cost grows.

use super::kernels::{attention, quantized, rms_norm};
use super::{Benchmark, Group, Target};

/// The two rivals that say most, for short runs.
const FEW: &[&str] = &["python-mlx-openblas", "onnxruntime"];
/// The rivals of full runs: the lines of a plot that one can still tell apart.
const MORE: &[&str] = &["python-mlx-openblas", "numpy", "jax", "onnxruntime"];
/// Where a call of the others takes many seconds.
const FAST_ONES: &[&str] = &["jax", "onnxruntime"];
const TOO_LARGE: &[(&str, &str)] = &[
    (
        "python-mlx-openblas",
        "takes many seconds for a call: see the smaller sizes",
    ),
    (
        "numpy",
        "takes many seconds for a call: see the smaller sizes",
    ),
];
const TOO_MANY_ROWS: &[(&str, &str)] = &[(
    "python-mlx-openblas",
    "takes 15 ms for each row: see fewer rows",
)];

pub(super) fn rows(quick: bool) -> Vec<Benchmark> {
    let mut rows = Vec::new();
    let norms: &[(usize, usize, bool)] = &[
        (1, 64, true),
        (16, 256, true),
        (128, 1024, true),
        (1024, 1024, true),
        (2048, 2048, false),
        (8192, 2048, true),
    ];
    for &(tokens, dim, in_quick) in norms {
        let row = rms_norm(&[tokens, dim], Target::default());
        rows.push(sweep(row, in_quick, quick));
    }
    for (seq, in_quick) in [
        (32, true),
        (128, true),
        (256, false),
        (512, true),
        (1024, true),
        (2048, false),
        (4096, false),
        (8192, false),
    ] {
        let row = attention(&[1, 8, seq, 64], Target::default());
        let row = sweep(row, in_quick, quick);
        rows.push(if seq >= 4096 {
            only(row, FAST_ONES, TOO_LARGE)
        } else {
            row
        });
    }
    for (n_rows, in_quick) in [
        (1, true),
        (4, true),
        (16, true),
        (64, false),
        (256, false),
        (1024, false),
        (4096, false),
    ] {
        let row = quantized(n_rows, "quantized_matmul", Target::default());
        let row = Benchmark {
            group: Group::Scaling,
            ..sweep(row, in_quick, quick)
        };
        rows.push(match n_rows {
            0..64 => only(row, FEW, &[]),
            _ => only(row, &["onnxruntime"], TOO_MANY_ROWS),
        });
    }
    rows
}

fn sweep(row: Benchmark, in_quick: bool, quick: bool) -> Benchmark {
    Benchmark {
        group: Group::Sweep,
        quick: in_quick,
        rivals: if quick { FEW } else { MORE },
        ..row
    }
}

/// A row whose other rivals are left out for a reason.
fn only(
    row: Benchmark,
    rivals: &'static [&'static str],
    left_out: &'static [(&'static str, &'static str)],
) -> Benchmark {
    Benchmark {
        rivals,
        left_out,
        ..row
    }
}

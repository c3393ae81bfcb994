//! Rows over many sizes: where fusing wins and where it loses, and how cost grows.

use super::kernels::{attention, quantized, rms_norm};
use super::{ARRAYS, Group, Row, Target};

/// The two rivals that say most, for short runs.
const FEW: &[&str] = &["python-mlx-openblas", "onnxruntime"];
const ALL_FORMS: &[&str] = &["composed", "compiled", "one-thread"];

pub(super) fn rows(quick: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    let norms: &[(usize, usize, bool)] = &[
        (1, 64, true),
        (16, 256, true),
        (64, 512, false),
        (128, 1024, true),
        (1024, 1024, true),
        (2048, 2048, false),
        (8192, 2048, true),
    ];
    for &(tokens, dim, in_quick) in norms {
        rows.push(sweep(
            rms_norm(&[tokens, dim], Target::default()),
            in_quick,
            quick,
        ));
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
        rows.push(sweep(row, in_quick, quick));
    }
    for (n_rows, in_quick) in [
        (2, false),
        (4, true),
        (16, true),
        (64, false),
        (256, false),
        (1024, false),
        (4096, false),
    ] {
        rows.push(Row {
            group: Group::Scaling,
            forms: if quick { &[] } else { &["one-thread"] },
            ..sweep(
                quantized(n_rows, "quantized_matmul", Target::default()),
                in_quick,
                quick,
            )
        });
    }
    rows
}

fn sweep(row: Row, in_quick: bool, quick: bool) -> Row {
    Row {
        group: Group::Sweep,
        quick: in_quick,
        rivals: if quick { FEW } else { ARRAYS },
        forms: if quick { row.forms } else { ALL_FORMS },
        ..row
    }
}

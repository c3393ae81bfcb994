//! The part of the sweep that is measured in `float32`, `bfloat16` and `float16`.

use super::{Agreement, DTYPES, Operation, operation, products};
use crate::harness::rows::{Benchmark, Group};

const SQUARE: &[usize] = &[1024, 4096];
const ROW: &[usize] = &[4096];
const ROWS: &[usize] = &[1024];

pub(super) fn rows() -> Vec<Benchmark> {
    let of_dtype = |dtype| {
        let rows = operations(dtype).into_iter();
        rows.map(move |operation| operation.row(dtype, Group::Operations))
    };
    DTYPES.into_iter().flat_map(of_dtype).collect()
}

fn operations(dtype: &str) -> Vec<Operation> {
    use Agreement::{Rounded, Same, Summed, Within};
    let softmax = match dtype {
        "float32" => Within(1e-4, 1e-8),
        _ => Within(0.02, 1e-5),
    };
    vec![
        operation("add", &[SQUARE, SQUARE], SQUARE, Rounded),
        operation("mul_row", &[SQUARE, ROW], SQUARE, Rounded),
        operation("exp", &[SQUARE], SQUARE, Rounded),
        operation("tanh", &[SQUARE], SQUARE, Rounded),
        operation("sigmoid", &[SQUARE], SQUARE, Rounded),
        operation("sum_all", &[SQUARE], &[], Summed),
        operation("sum_rows", &[SQUARE], ROWS, Summed),
        operation("sum_cols", &[SQUARE], ROW, Summed),
        operation("max_rows", &[SQUARE], ROWS, Same),
        // Of equal maxima both return the first.
        operation("argmax_rows", &[SQUARE], ROWS, Same),
        operation("softmax", &[SQUARE], SQUARE, softmax),
        operation("rms_norm", &[SQUARE, ROW], SQUARE, Rounded),
        operation("layer_norm", &[SQUARE, ROW], SQUARE, Rounded),
        // PyTorch rounds between the two operations.
        operation("silu_mul", &[SQUARE, SQUARE], SQUARE, Rounded),
        operation("transpose_copy", &[SQUARE], &[4096, 1024], Same),
        operation("concat", &[SQUARE, SQUARE], &[2048, 4096], Same),
        operation("astype_f32", &[SQUARE], SQUARE, Same),
        products(
            "matmul_512x1024x1024",
            &[&[512, 1024], &[1024, 1024]],
            &[512, 1024],
            1024,
        ),
        products("gemv_4096", &[&[1, 4096], &[4096, 4096]], &[1, 4096], 4096),
        products(
            "bmm_16x256",
            &[&[16, 256, 256], &[16, 256, 256]],
            &[16, 256, 256],
            256,
        ),
        attention(),
        products(
            "conv2d_56x64",
            &[&[8, 56, 56, 64], &[64, 3, 3, 64]],
            &[8, 56, 56, 64],
            576,
        ),
        products(
            "conv1d_1500x384",
            &[&[4, 1500, 384], &[384, 3, 384]],
            &[4, 1500, 384],
            1152,
        ),
    ]
}

/// Under a causal mask half of the products are needed.
fn attention() -> Operation {
    const HEADS: &[usize] = &[1, 8, 512, 64];
    products("sdpa_causal_512", &[HEADS, HEADS, HEADS], HEADS, 512).agree(Agreement::Rounded)
}

//! The part of the sweep that is measured in `float32` only, and its integers.

use super::{Agreement, NORMAL, Operation, operation, products};
use crate::harness::inputs::{Draw, Input};
use crate::harness::rows::{Benchmark, Group};

use Agreement::{Free, Products, Rounded, Same, Summed, Within};

const SQUARE: &[usize] = &[1024, 4096];
const ROWS: &[usize] = &[1024];
/// Where an operation wants positive numbers.
const POSITIVE: Draw = Draw::Even(0.1, 4.0);
/// The weights of a network.
const SMALL: Draw = Draw::Normal(0.02);

pub(super) fn rows() -> Vec<Benchmark> {
    let parts = [
        elementwise(),
        reductions(),
        ordering(),
        indexing(),
        layout(),
        transforms(),
        linear_algebra(),
        products_and_convolutions(),
        networks(),
    ];
    let operations = parts.iter().flatten();
    operations
        .map(|operation| operation.row("float32", Group::Operations))
        .collect()
}

fn unary(name: &'static str) -> Operation {
    operation(name, &[SQUARE], SQUARE, Rounded)
}

fn binary(name: &'static str) -> Operation {
    operation(name, &[SQUARE, SQUARE], SQUARE, Rounded)
}

fn elementwise() -> Vec<Operation> {
    let whole = Draw::Whole(0, 1000);
    vec![
        binary("sub"),
        binary("div"),
        binary("pow").draw(0, POSITIVE),
        binary("maximum").agree(Same),
        binary("where").agree(Same),
        binary("greater").agree(Same),
        unary("abs").agree(Same),
        unary("sqrt").draw(0, POSITIVE),
        unary("rsqrt").draw(0, POSITIVE),
        unary("log").draw(0, POSITIVE),
        unary("log1p").draw(0, POSITIVE),
        unary("sin"),
        unary("cos"),
        unary("erf"),
        unary("floor").agree(Same),
        unary("clip").agree(Same),
        binary("logaddexp"),
        unary("int_add").draw(0, whole).agree(Same),
        unary("int_to_f32").draw(0, whole).agree(Same),
    ]
}

fn reductions() -> Vec<Operation> {
    let rows = |name| operation(name, &[SQUARE], ROWS, Rounded);
    vec![
        operation("mean_all", &[SQUARE], &[], Rounded),
        rows("var_rows"),
        rows("prod_rows"),
        rows("logsumexp"),
        operation("cumsum_rows", &[SQUARE], SQUARE, Summed),
        operation("cumsum_cols", &[SQUARE], SQUARE, Summed),
        operation("any", &[SQUARE], &[], Same),
        // The sum is beyond what a float32 of the comparison holds exactly.
        operation("int_sum", &[SQUARE], &[], Within(1e-6, 0.0)).draw(0, Draw::Whole(0, 1000)),
    ]
}

fn ordering() -> Vec<Operation> {
    vec![
        operation("sort_rows", &[SQUARE], SQUARE, Same),
        operation(
            "argsort_rows",
            &[SQUARE],
            SQUARE,
            Free("not compared: PyTorch's argsort leaves the order of equal keys open"),
        ),
        // Compared in ascending order: this library's has none.
        operation("topk_50", &[SQUARE], &[1024, 50], Same),
        operation("sort_4M", &[&[1 << 22]], &[1 << 22], Same),
    ]
}

fn indexing() -> Vec<Operation> {
    let ids = Draw::Whole(0, 50_000);
    let columns = Draw::Whole(0, 4096);
    vec![
        operation("embedding", &[&[50_000, 512], &[4096]], &[4096, 512], Same).draw(1, ids),
        operation("gather_cols", &[SQUARE, &[512]], &[1024, 512], Same).draw(1, columns),
        operation(
            "scatter_add",
            &[&[50_000, 512], &[4096], &[4096, 512]],
            &[50_000, 512],
            Rounded,
        )
        .draw(1, ids),
        operation("take_along", &[SQUARE, &[1024, 64]], &[1024, 64], Same).draw(1, columns),
    ]
}

fn layout() -> Vec<Operation> {
    vec![
        unary("flip").agree(Same),
        unary("roll").agree(Same),
        operation("tile", &[SQUARE], &[2048, 4096], Same),
        operation("pad", &[SQUARE], &[1026, 4098], Same),
        unary("triu").agree(Same),
    ]
}

fn transforms() -> Vec<Operation> {
    const OTHER_GENERATOR: Agreement = Free("not compared: both draw from generators of their own");
    let close = Within(1e-4, 2e-3);
    vec![
        operation("fft_1024", &[&[256, 1024]], &[256, 513], close),
        operation("fft2_512", &[&[512, 512]], &[512, 512], close),
        operation("rfft_1000", &[&[256, 1000]], &[256, 501], close),
        operation("random_normal_4M", &[], SQUARE, OTHER_GENERATOR),
        operation("random_uniform_4M", &[], SQUARE, OTHER_GENERATOR),
    ]
}

fn linear_algebra() -> Vec<Operation> {
    let (large, small): (&[usize], &[usize]) = (&[512, 512], &[256, 256]);
    vec![
        operation("cholesky_512", &[large], large, Products),
        operation("inv_512", &[large], large, Within(1e-3, 1e-5)),
        // Compared by the singular values and the eigenvalues: the signs of vectors are free.
        operation("svd_256", &[small], &[256], Products),
        operation("eigh_256", &[small], &[256], Products),
        operation("solve_512", &[large], large, Products),
        operation(
            "qr_512",
            &[large],
            large,
            Free("not compared: the signs of the columns of Q are free"),
        ),
    ]
}

fn products_and_convolutions() -> Vec<Operation> {
    vec![
        products(
            "einsum_bij_bjk",
            &[&[32, 64, 128], &[32, 128, 64]],
            &[32, 64, 64],
            128,
        ),
        products(
            "einsum_bqhd_bkhd",
            &[&[8, 128, 8, 64], &[8, 128, 8, 64]],
            &[8, 8, 128, 128],
            64,
        ),
        products(
            "depthwise_112",
            &[&[8, 112, 112, 32], &[32, 3, 3, 1]],
            &[8, 112, 112, 32],
            9,
        ),
        products(
            "conv2d_stem7x7",
            &[&[8, 224, 224, 3], &[64, 7, 7, 3]],
            &[8, 112, 112, 64],
            147,
        ),
        products(
            "conv2d_1x1",
            &[&[8, 56, 56, 256], &[64, 1, 1, 256]],
            &[8, 56, 56, 64],
            256,
        ),
    ]
}

/// A transformer block of width 512 with 8 heads over `[4, 256, 512]`, in as many `passes` as going forward is.
fn block(name: &'static str, result: usize, agreement: Agreement, passes: f64) -> Operation {
    // The four matrices for each of the 1024 tokens, and half of the products of attention.
    let matrices = 1024.0 * (1536.0 + 512.0 + 2.0 * 2048.0) * 512.0;
    let block_flops = 2.0 * (matrices + 4.0 * 8.0 * 256.0 * 256.0 * 64.0);
    let input = |shape: &[usize], draw| Input::new(shape, draw);
    Operation {
        name,
        inputs: vec![
            input(&[4, 256, 512], NORMAL),
            input(&[1536, 512], SMALL),
            input(&[512, 512], SMALL),
            input(&[2048, 512], SMALL),
            input(&[512, 2048], SMALL),
            input(&[512], NORMAL),
        ],
        result: vec![result],
        agreement,
        flops: passes * block_flops,
    }
}

/// The gradients of the block by its four matrices.
pub(super) fn block_gradient(name: &'static str) -> Operation {
    let weights = (1536 + 512 + 2 * 2048) * 512;
    block(name, weights, Within(5e-3, 1e-5), 3.0)
}

/// A step of training of a small network, and a transformer block forward and backward.
fn networks() -> Vec<Operation> {
    let mlp_flops = 2.0 * 256.0 * (2.0 * 784.0 * 512.0 + 3.0 * 512.0 * 10.0);
    let tokens = 4 * 256 * 512;
    vec![
        Operation {
            flops: mlp_flops,
            ..operation(
                "mlp_grad_eager",
                &[&[256, 784], &[784, 512], &[512, 10], &[256, 10]],
                &[784 * 512 + 512 * 10],
                Within(1e-3, 0.05),
            )
        },
        block("block_forward", tokens, Products, 1.0),
        block("block_forward_jit", tokens, Products, 1.0),
        block_gradient("block_grad"),
    ]
}

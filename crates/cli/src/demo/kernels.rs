//! Part 1: each fused kernel and its composed formula, compared with `f64` and with each other, and timed.

use std::time::Instant;

use anyhow::Result;
use mlx::{Array, Dtype, fast};
use mlx_provision::Progress;
use serde::Serialize;

use super::reference;
use crate::output;

/// How often each form is timed.
pub const RUNS: usize = 50;

/// One kernel on one input.
#[derive(Serialize)]
pub struct Row {
    name: &'static str,
    input: &'static str,
    shape: Vec<i32>,
    dtype: String,
    scale: f64,
    max_diff: f64,
    err_composed: f64,
    err_fused: f64,
    composed_ms: f64,
    fused_ms: f64,
    fused_path: String,
}

/// A kernel with its three answers for one input.
struct Case {
    name: &'static str,
    input: &'static str,
    shape: Vec<i32>,
    reference: Vec<f64>,
    composed: Box<dyn Fn() -> Array>,
    fused: Box<dyn Fn() -> Array>,
}

const NORM: [i32; 3] = [4, 128, 1024];
const HEADS: [i32; 4] = [2, 8, 128, 64];

/// Runs every kernel on counting and on random numbers, printing a line for each.
pub fn run() -> Result<Vec<Row>> {
    output::line(format_args!(
        "{:<30} {:<7} {:>17}  {:>9} {:>9} {:>9}  {:>9} {:>9} {:>6}  path",
        "kernel", "input", "shape", "|c - f|", "err c", "err f", "comp. ms", "fused ms", "ratio"
    ));
    let mut rows = Vec::new();
    for case in cases()? {
        let spinner = Progress::new().spinner(case.name);
        let row = measure(case)?;
        drop(spinner);
        output::line(format_args!(
            "{:<30} {:<7} {:>17}  {:>9.1e} {:>9.1e} {:>9.1e}  {:>9.3} {:>9.3} {:>6.2}  {}",
            row.name,
            row.input,
            format!("{:?}", row.shape),
            row.max_diff,
            row.err_composed,
            row.err_fused,
            row.composed_ms,
            row.fused_ms,
            row.composed_ms / row.fused_ms,
            row.fused_path
        ));
        rows.push(row);
    }
    output::line(format_args!(
        "\nerr: maximum distance from the same formula in f64. ratio: composed over fused, above 1 when fusing wins."
    ));
    Ok(rows)
}

fn cases() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for input in ["iota", "random"] {
        let norm = data(input, &NORM, 100.0, 1)?;
        let heads = data(input, &HEADS, 10_000.0, 2)?;
        cases.extend([
            rms_norm(input, &norm)?,
            attention(input, &heads)?,
            layer_norm(input, &norm)?,
            rope(input, &heads)?,
        ]);
    }
    Ok(cases)
}

/// Counting numbers divided by `by`, or normally distributed ones; evaluated.
fn data(input: &str, shape: &[i32], by: f32, seed: u64) -> Result<Array> {
    let array = match input {
        "iota" => {
            mlx::iota(shape.iter().product::<i32>())
                .astype(Dtype::Float32)
                .reshape(shape)
                / by
        }
        _ => mlx::random::normal_with(shape, &mlx::random::key(seed)),
    };
    array.eval()?;
    Ok(array)
}

fn wide(array: &Array) -> Result<Vec<f64>> {
    Ok(array.to_vec::<f32>()?.into_iter().map(f64::from).collect())
}

fn rms_norm(input: &'static str, x: &Array) -> Result<Case> {
    let weight = mlx::ones([NORM[2]]);
    weight.eval()?;
    let (x, y) = (x.clone(), x.clone());
    let w = weight.clone();
    Ok(Case {
        name: "rms_norm",
        input,
        shape: NORM.to_vec(),
        reference: reference::rms_norm(&wide(&x)?, &wide(&weight)?, f64::from(1e-6_f32)),
        composed: Box::new(move || fast::composed::rms_norm(&x, &weight, 1e-6)),
        fused: Box::new(move || fast::rms_norm(&y, &w, 1e-6)),
    })
}

fn layer_norm(input: &'static str, x: &Array) -> Result<Case> {
    let (weight, bias) = (mlx::ones([NORM[2]]), mlx::zeros([NORM[2]]));
    mlx::eval([&weight, &bias])?;
    let (x, y) = (x.clone(), x.clone());
    let (w, b) = (weight.clone(), bias.clone());
    Ok(Case {
        name: "layer_norm",
        input,
        shape: NORM.to_vec(),
        reference: reference::layer_norm(
            &wide(&x)?,
            &wide(&weight)?,
            &wide(&bias)?,
            f64::from(1e-5_f32),
        ),
        composed: Box::new(move || fast::composed::layer_norm(&x, &weight, &bias, 1e-5)),
        fused: Box::new(move || fast::layer_norm(&y, &w, &b, 1e-5)),
    })
}

fn attention(input: &'static str, x: &Array) -> Result<Case> {
    let values = wide(x)?;
    let (seq, dim) = (HEADS[2] as usize, HEADS[3] as usize);
    let (x, y) = (x.clone(), x.clone());
    Ok(Case {
        name: "scaled_dot_product_attention",
        input,
        shape: HEADS.to_vec(),
        reference: reference::attention(&values, &values, &values, seq, dim),
        composed: Box::new(move || {
            fast::composed::scaled_dot_product_attention(
                &x,
                &x,
                &x,
                &fast::AttentionOptions::default(),
            )
        }),
        fused: Box::new(move || {
            fast::scaled_dot_product_attention_with(&y, &y, &y, &fast::AttentionOptions::default())
        }),
    })
}

fn rope(input: &'static str, x: &Array) -> Result<Case> {
    let (seq, dim) = (HEADS[2] as usize, HEADS[3] as usize);
    let (x, y) = (x.clone(), x.clone());
    Ok(Case {
        name: "rope",
        input,
        shape: HEADS.to_vec(),
        reference: reference::rope(&wide(&x)?, seq, dim, 10_000.0),
        composed: Box::new(move || fast::composed::rope(&x, &fast::RopeOptions::default())),
        fused: Box::new(move || fast::rope(&y, &fast::RopeOptions::default())),
    })
}

fn measure(case: Case) -> Result<Row> {
    let (composed, fused) = ((case.composed)(), (case.fused)());
    let fused_path =
        fast::backend(&fused).map_or_else(|error| error.to_string(), |path| path.to_string());
    mlx::eval([&composed, &fused])?;
    let (a, b) = (wide(&composed)?, wide(&fused)?);
    let (composed_ms, fused_ms) = time(&case)?;
    Ok(Row {
        name: case.name,
        input: case.input,
        shape: case.shape,
        dtype: composed.dtype()?.to_string(),
        scale: case
            .reference
            .iter()
            .fold(0.0, |greatest, v| v.abs().max(greatest)),
        max_diff: distance(&a, &b),
        err_composed: distance(&a, &case.reference),
        err_fused: distance(&b, &case.reference),
        composed_ms,
        fused_ms,
        fused_path,
    })
}

/// The maximum distance between two results; NaN where one has it.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let farther = |greatest: f64, d: f64| {
        if d.is_nan() || d > greatest {
            d
        } else {
            greatest
        }
    };
    a.iter()
        .zip(b)
        .map(|(x, y)| (x - y).abs())
        .fold(0.0, farther)
}

/// Median milliseconds of both forms, taken in turns after a warm-up, each call evaluated.
fn time(case: &Case) -> Result<(f64, f64)> {
    let once = |form: &dyn Fn() -> Array| -> Result<f64> {
        let start = Instant::now();
        form().eval()?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    for _ in 0..5 {
        once(&case.composed)?;
        once(&case.fused)?;
    }
    let (mut composed, mut fused) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        composed.push(once(&case.composed)?);
        fused.push(once(&case.fused)?);
    }
    Ok((median(composed), median(fused)))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

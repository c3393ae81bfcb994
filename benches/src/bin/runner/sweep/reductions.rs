//! Reductions, scans and sorting of the sweep.

use anyhow::Result;
use mlx::{Array, CumulativeOptions};

use crate::kernels::{Body, unary};

pub fn body(name: &str, inputs: &[Array]) -> Result<Option<Body>> {
    Ok(Some(match name {
        "sum_all" | "int_sum" => unary(inputs, |x| x.sum(()))?,
        "sum_rows" => unary(inputs, |x| x.sum(-1))?,
        "sum_cols" => unary(inputs, |x| x.sum(0))?,
        "max_rows" => unary(inputs, |x| x.max(-1))?,
        "argmax_rows" => unary(inputs, |x| x.argmax(-1))?,
        "softmax" => unary(inputs, |x| x.softmax(-1))?,
        "mean_all" => unary(inputs, |x| x.mean(()))?,
        "var_rows" => unary(inputs, |x| x.var(-1))?,
        "prod_rows" => unary(inputs, |x| x.prod(-1))?,
        "logsumexp" => unary(inputs, |x| x.logsumexp(-1))?,
        "cumsum_rows" => unary(inputs, |x| x.cumsum(CumulativeOptions::along(-1)))?,
        "cumsum_cols" => unary(inputs, |x| x.cumsum(CumulativeOptions::along(0)))?,
        "any" => unary(inputs, |x| x.greater(5.0_f32).any(()))?,
        "sort_rows" | "sort_4M" | "sort" => unary(inputs, |x| x.sort(-1))?,
        "argsort_rows" => unary(inputs, |x| x.argsort(-1))?,
        "topk_50" => unary(inputs, |x| x.topk(50))?,
        _ => return Ok(None),
    }))
}

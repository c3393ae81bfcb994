//! Operations of the sweep that move elements: copies, indexing.

use anyhow::Result;
use mlx::{Array, PadMode, concatenate};

use crate::kernels::{Body, binary, take, unary};

pub fn body(name: &str, inputs: &[Array]) -> Result<Option<Body>> {
    Ok(Some(match name {
        "transpose_copy" => unary(inputs, |x| x.t().contiguous())?,
        "concat" => binary(inputs, |x, y| concatenate([x, y], 0))?,
        "flip" => unary(inputs, |x| x.flip(-1).contiguous())?,
        "roll" => unary(inputs, |x| x.roll(3, -1))?,
        "tile" => unary(inputs, |x| x.tile([2, 1]))?,
        "pad" => unary(inputs, |x| x.pad_with(1, PadMode::Constant, 0.0_f32))?,
        "triu" => unary(inputs, |x| x.triu())?,
        "embedding" | "gather" => binary(inputs, |table, ids| table.take(ids, 0))?,
        "gather_cols" => binary(inputs, |x, columns| x.take(columns, 1))?,
        "take_along" => binary(inputs, |x, columns| x.take_along_axis(columns, -1))?,
        "scatter_add" => {
            let [table, ids, updates] = take(inputs)?;
            Box::new(move || Ok(table.at(&ids).add(&updates)))
        }
        _ => return Ok(None),
    }))
}

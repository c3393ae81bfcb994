//! Rows of the sweep: an operation under its name, in the row's element type.

mod elementwise;
mod layout;
mod networks;
mod products;
mod reductions;
mod training;
mod transforms;

use std::path::Path;

use anyhow::{Context, Result, bail};
use mlx::{Array, Dtype};
use mlx_bench::harness::protocol::Load;

use crate::kernels::Body;
use crate::work::{Computed, Work};

/// Returns the row, or nothing when its name is unknown here.
pub fn prepare(load: &Load) -> Result<Option<Box<dyn Work>>> {
    let text = |name: &str| {
        let value = load.params[name].as_str();
        value.with_context(|| format!("{name} is missing"))
    };
    let (name, dtype) = (text("name")?, dtype(text("dtype")?)?);
    let mut inputs = Vec::new();
    for path in &load.inputs {
        let input = mlx::io::load_npy(path)?;
        let is_float = input.dtype()? == Dtype::Float32;
        inputs.push(if is_float { input.astype(dtype) } else { input });
    }
    mlx_bench::ready(&inputs)?;
    let body = body(name, &inputs)?;
    let is_unordered = name == "topk_50";
    Ok(body.map(|body| {
        let computed = Computed(body);
        Box::new(Operation {
            computed,
            is_unordered,
        }) as Box<dyn Work>
    }))
}

fn dtype(name: &str) -> Result<Dtype> {
    Ok(match name {
        "float32" => Dtype::Float32,
        "bfloat16" => Dtype::Bfloat16,
        "float16" => Dtype::Float16,
        other => bail!("dtype: wanted float32, bfloat16 or float16, got {other:?}"),
    })
}

fn body(name: &str, inputs: &[Array]) -> Result<Option<Body>> {
    let parts = [
        elementwise::body,
        reductions::body,
        layout::body,
        products::body,
        transforms::body,
        networks::body,
        training::body,
    ];
    for part in parts {
        let body = part(name, inputs)?;
        if body.is_some() {
            return Ok(body);
        }
    }
    Ok(None)
}

/// A computation whose result is compared as `float32`.
struct Operation {
    computed: Computed,
    /// Whether the last axis has no order, and is sorted for the comparison.
    is_unordered: bool,
}

impl Work for Operation {
    fn first(&mut self, output: &Path) -> Result<Option<String>> {
        let mut array = (self.computed.0)()?;
        if self.is_unordered {
            array = array.sort(-1);
        }
        mlx::io::save_npy(output, &array.astype(Dtype::Float32))?;
        Ok(None)
    }

    fn run(&mut self) -> Result<f64> {
        self.computed.run()
    }
}

//! Rows of a GPU with this library: several calls given to the device together, and one wait.

mod kernels;
pub mod limits;
mod made;
mod qwen;
mod random_models;
mod training;
mod whisper;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use mlx::{Array, Device, Dtype};
use mlx_bench::harness::protocol::Load;
use serde_json::Value;

use crate::work::{Form, Work};

/// Returns the row, or nothing when this form does not have it.
pub fn prepare(form: Form, load: &Load) -> Result<Option<Box<dyn Work>>> {
    let params = &load.params;
    if let Some(model) = params["model"].as_str() {
        return match model {
            "decode" | "prefill" => qwen::prepare(form, model, params).map(Some),
            "whisper_encoder" | "whisper_token" => whisper::prepare(form, model, params).map(Some),
            other => bail!("model: wanted decode, prefill or one of Whisper's, got {other:?}"),
        };
    }
    let inputs = made::all(params)?;
    if !params["train"].is_null() {
        return training::prepare(form, params, inputs).map(Some);
    }
    kernels::prepare(form, params, inputs).map(Some)
}

/// Returns the name of the device that computes.
pub fn device_name() -> String {
    let name = || {
        let info = mlx::device_info(Device::current()?)?;
        mlx::Result::Ok(info.device_name.or(info.architecture))
    };
    name()
        .ok()
        .flatten()
        .unwrap_or_else(|| "unknown".to_owned())
}

/// Computes the arrays of a row.
pub type Call = Box<dyn FnMut() -> Result<Vec<Array>>>;

/// A row of which several calls are given to the device together.
pub struct Calls {
    /// One call.
    pub call: Call,
    /// How many of them a run has.
    pub calls: usize,
    /// How many steps a call has, of which one is timed.
    pub steps: usize,
}

impl Calls {
    pub fn new(params: &Value, call: Call) -> Result<Self> {
        Ok(Self {
            call,
            calls: number(params, "calls")?,
            steps: 1,
        })
    }
}

impl Work for Calls {
    fn first(&mut self, output: &Path) -> Result<Option<String>> {
        let result = (self.call)()?;
        save_sample(output, &result)?;
        drop(result);
        // Kernels are compiled, and programs recorded at their second call.
        self.run()?;
        self.run()?;
        Ok(None)
    }

    fn run(&mut self) -> Result<f64> {
        let start = Instant::now();
        let mut results = Vec::new();
        for _ in 0..self.calls {
            results.extend((self.call)()?);
        }
        mlx::eval(&results)?;
        mlx::synchronize()?;
        drop(results);
        Ok(start.elapsed().as_secs_f64() * 1e3 / (self.calls * self.steps) as f64)
    }
}

/// The most numbers of an array that are compared.
const SAMPLE: i32 = 65_536;

/// Writes up to 65,536 numbers of each array, evenly spread, as `float32`.
pub fn save_sample(output: &Path, arrays: &[Array]) -> Result<()> {
    let mut parts = Vec::new();
    for array in arrays {
        let count = i32::try_from(array.size()?)?;
        // An odd step meets every column of an even number of them.
        let step = (count / SAMPLE) | 1;
        let places = mlx::arange((0, count, step));
        let flat = array.reshape([-1]).take(&places, 0);
        parts.push(flat.astype(Dtype::Float32));
    }
    let sample = mlx::concatenate(&parts, 0);
    mlx::eval([&sample])?;
    mlx::io::save_npy(output, &sample)?;
    Ok(())
}

pub fn number(params: &Value, name: &str) -> Result<usize> {
    let value = params[name].as_u64();
    Ok(usize::try_from(
        value.with_context(|| format!("{name} is missing"))?,
    )?)
}

pub fn real(params: &Value, name: &str) -> Result<f32> {
    let value = params[name].as_f64();
    Ok(value.with_context(|| format!("{name} is missing"))? as f32)
}

pub fn text<'a>(params: &'a Value, name: &str) -> Result<&'a str> {
    let value = params[name].as_str();
    value.with_context(|| format!("{name} is missing"))
}

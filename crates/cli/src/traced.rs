//! What the compiler makes of the models that `mlx lint` and `mlx tune` name: they are traced, not run.

use anyhow::{Context, Result};
use mlx_compiler::{CompileOptions, Report};
use mlx_models::llama;
use mlx_nn::FastOps;

use crate::{generate, model};

/// Traces a model, or both that are used when none is named, and returns its name with what the compiler makes of it.
pub fn reports(
    name: Option<&str>,
    is_composed: bool,
    options: &CompileOptions,
) -> Result<Vec<(String, Report)>> {
    let kernels = match is_composed {
        true => FastOps::Composed,
        false => FastOps::Fused,
    };
    Ok(match name {
        None => vec![
            whisper(None, kernels, options)?,
            llama(None, kernels, options)?,
        ],
        Some(model) if model::is_whisper(model)? => vec![whisper(Some(model), kernels, options)?],
        model => vec![llama(model, kernels, options)?],
    })
}

fn whisper(
    name: Option<&str>,
    kernels: FastOps,
    options: &CompileOptions,
) -> Result<(String, Report)> {
    let whisper = model::load(name)?;
    let network = whisper.network.with_kernels(kernels);
    Ok((whisper.name, network.trace_report(options.clone())?))
}

fn llama(
    name: Option<&str>,
    kernels: FastOps,
    options: &CompileOptions,
) -> Result<(String, Report)> {
    let (name, path) = generate::locate(name)?;
    let checkpoint =
        llama::Checkpoint::open(&path).with_context(|| format!("model {}", path.display()))?;
    let network = llama::Network::new(&checkpoint, &llama::NetworkOptions::default())?;
    let network = network.with_kernels(kernels);
    Ok((name, network.trace_report(options.clone())?))
}

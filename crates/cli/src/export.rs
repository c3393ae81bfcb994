//! `mlx export`: a model as functions in files, which run without MLX.

use anyhow::{Context, Result};
use mlx_models::whisper::save_functions;

use crate::arguments::ExportArguments;
use crate::{model, output};

/// Writes a Whisper model as functions to a folder.
pub fn run(arguments: &ExportArguments) -> Result<()> {
    let (name, from) = model::locate(arguments.model.as_deref())?;
    let folder = &arguments.folder;
    save_functions(from, folder).with_context(|| format!("export: {name}"))?;
    output::line(format_args!("{name}: written to {}", folder.display()));
    Ok(())
}

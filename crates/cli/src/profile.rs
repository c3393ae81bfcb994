//! `mlx profile`: where the time of a model goes, by operation and source line.

use anyhow::{Context, Result};
use mlx_compiler::{CompileOptions, Profile};
use mlx_models::llama;
use mlx_plot::FlameGraph;

use crate::arguments::ProfileArguments;
use crate::{generate, model, output};

/// Prints a table for each part of a model, and draws all of them as a flame graph.
pub fn run(arguments: &ProfileArguments) -> Result<()> {
    let mut flames = FlameGraph::new("mlx profile", "us");
    for (name, profile) in profiles(arguments)? {
        if arguments.json {
            output::line(format_args!("{}", profile.to_json()));
        } else {
            output::line(format_args!("{name}\n{profile}\n"));
        }
        for (frames, microseconds) in profile.stacks() {
            let all = std::iter::once(name.clone()).chain(frames);
            flames = flames.stack(all, microseconds);
        }
    }
    if let Some(file) = &arguments.svg {
        std::fs::write(file, flames.to_svg())
            .with_context(|| format!("profile: cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Measures the parts of the models.
fn profiles(arguments: &ProfileArguments) -> Result<Vec<(String, Profile)>> {
    let name = arguments.model.as_deref();
    let is_whisper = name.map(model::is_whisper).transpose()?;
    let mut profiles = Vec::new();
    if is_whisper != Some(false) {
        let whisper = model::load(name)?;
        let (encoder, step) = whisper.network.profile(CompileOptions::default())?;
        profiles.push((format!("{}, encoder", whisper.name), encoder));
        profiles.push((format!("{}, a token", whisper.name), step));
    }
    if is_whisper != Some(true) {
        let (name, path) = generate::locate(name)?;
        let checkpoint =
            llama::Checkpoint::open(&path).with_context(|| format!("model {}", path.display()))?;
        let network = llama::Network::new(&checkpoint, &llama::NetworkOptions::default())?;
        let (prompt, step) = network.profile(CompileOptions::default())?;
        profiles.push((format!("{name}, 16 tokens of a prompt"), prompt));
        profiles.push((format!("{name}, a token"), step));
    }
    Ok(profiles)
}

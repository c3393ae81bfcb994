//! `mlx tune`: measures which form of each part of a model is the fastest, into a file that can be shipped.

use std::process::ExitCode;

use anyhow::Result;
use mlx_compiler::{Autotune, CompileOptions, autotune_cache};

use crate::arguments::TuneArguments;
use crate::{output, traced};

/// Measures the parts of a model, or of both that are used when none is named.
pub fn run(arguments: &TuneArguments) -> Result<ExitCode> {
    let mut is_kept = true;
    for (name, report) in traced::reports(
        arguments.model.as_deref(),
        arguments.composed,
        &options(arguments),
    )? {
        let is_lost = |warning: &String| {
            warning.contains("is not written") || warning.contains("is not used")
        };
        is_kept &= !report.autotune_warnings.iter().any(is_lost);
        if arguments.json {
            let mut value: serde_json::Value = serde_json::from_str(&report.to_json())?;
            value["model"] = name.as_str().into();
            output::line(format_args!("{value}"));
            continue;
        }
        for site in &report.autotuned {
            output::line(format_args!("{site}"));
        }
        for warning in &report.autotune_warnings {
            output::note(format_args!("{name}: {warning}"));
        }
        let of = |source: &str| {
            let sites = report.autotuned.iter();
            sites.filter(|site| site.source.name() == source).count()
        };
        let (measured, known, untimed) = (of("measured"), of("cache"), of("untimed"));
        let sites = report.autotuned.iter();
        let changed = sites.filter(|site| site.chosen != site.default);
        output::line(format_args!(
            "{name}: {measured} parts measured, {known} known, {untimed} not timed; {} faster in another form than the default",
            changed.count()
        ));
    }
    if !arguments.json {
        let cache = autotune_cache(arguments.output.as_deref())?;
        output::line(format_args!(
            "{}: {} measurements; MLX_AUTOTUNE=cached uses them",
            cache.path.display(),
            cache.usable
        ));
    }
    Ok(match is_kept {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn options(arguments: &TuneArguments) -> CompileOptions {
    CompileOptions {
        autotune: Autotune::Measure,
        autotune_cache: arguments.output.clone(),
        ..CompileOptions::default()
    }
}

//! `mlx lint`: what makes a model slow or wrong, found in its graph without running it.

use std::process::ExitCode;

use anyhow::{Result, bail};
use mlx_compiler::{CompileOptions, Fallback, FindingKind, Report};

use crate::arguments::LintArguments;
use crate::{output, traced};

/// Prints the findings of a model, or of both that are used when none is named; status 1 when there are any.
pub fn run(arguments: &LintArguments) -> Result<ExitCode> {
    let allowed = arguments
        .allow
        .iter()
        .map(|name| kind(name))
        .collect::<Result<Vec<_>>>()?;
    let mut n_findings = 0;
    for (name, report) in
        traced::reports(arguments.model.as_deref(), arguments.composed, &options())?
    {
        let mut findings = report.lint();
        findings.retain(|finding| !allowed.contains(&finding.kind));
        n_findings += findings.len();
        if arguments.json {
            output::line(format_args!("{}", json(&name, &report, &allowed)?));
            continue;
        }
        for finding in &findings {
            output::line(format_args!("{finding}"));
        }
        let plural = if findings.len() == 1 { "" } else { "s" };
        output::line(format_args!("{name}: {} finding{plural}", findings.len()));
    }
    Ok(match n_findings {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// The report of a model as JSON, without the findings that are allowed.
fn json(name: &str, report: &Report, allowed: &[FindingKind]) -> Result<serde_json::Value> {
    let mut value: serde_json::Value = serde_json::from_str(&report.to_json())?;
    value["model"] = name.into();
    if let Some(findings) = value["findings"].as_array_mut() {
        findings.retain(|finding| !allowed.iter().any(|kind| finding["kind"] == kind.name()));
    }
    Ok(value)
}

fn kind(name: &str) -> Result<FindingKind> {
    let kinds = FindingKind::ALL;
    let Some(kind) = kinds.iter().find(|kind| kind.name() == name) else {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        bail!(
            "lint: --allow must be one of {}, got {name}",
            names.join(", ")
        );
    };
    Ok(*kind)
}

fn options() -> CompileOptions {
    CompileOptions {
        fallback: Fallback::Never,
        ..CompileOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_as_lint_prints_them() {
        assert_eq!(kind("dead_result").unwrap(), FindingKind::DeadResult);
        let error = kind("dead_results").unwrap_err().to_string();
        assert!(
            error.contains("silent_widening, ") && error.ends_with("got dead_results"),
            "{error}"
        );
    }
}

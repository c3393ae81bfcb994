//! What is particular to a run on a GPU: its settings, its limits, and what it takes over from an earlier run.

use std::path::Path;
use std::time::Duration;

use super::environment::threads_of_everyone;
use super::limits::Limits;
use super::measure::{Participant, Settings};
use super::options::Options;
use super::protocol::Verb;
use super::results::Results;
use super::rows::{Benchmark, Group, PYTORCH, Size};

/// A switch: rows of small sizes on the device that there is, to try the runners without a GPU.
pub const TINY: &str = "MLX_BENCH_TINY";

/// Returns whether rows have their own sizes.
pub fn size() -> Size {
    match std::env::var_os(TINY).is_some_and(|value| !value.is_empty() && value != "0") {
        true => Size::Tiny,
        false => Size::Whole,
    }
}

/// Returns the kind of run, `tiny` when it says nothing of a GPU.
pub fn mode(options: &Options) -> &'static str {
    match options.is_of_gpu() && size() == Size::Tiny {
        true => "tiny",
        false => options.mode(),
    }
}

/// Returns how long and how often: a run has many calls, so that few runs say enough.
pub fn settings(quick: bool, threads: usize) -> Settings {
    Settings {
        threads,
        rounds: if quick { 3 } else { 7 },
        budget: Duration::from_millis(if quick { 20 } else { 60 }),
        longest: Duration::from_secs(if quick { 3 } else { 10 }),
        max_runs_per_round: if quick { 5 } else { 10 },
        timeout: Duration::from_secs(if quick { 90 } else { 180 }),
        own_timeout: Duration::from_secs(240),
        slow: Duration::from_secs(if quick { 3 } else { 5 }),
        pause: Duration::from_millis(2),
    }
}

/// Returns the variables of our runner.
pub fn environment(threads: usize) -> Vec<(String, String)> {
    let mut environment = threads_of_everyone(threads);
    if size() == Size::Whole {
        environment.push(("MLX_DEVICE".to_owned(), "gpu".to_owned()));
    }
    environment
}

/// Measures the device with our runner and with PyTorch's; what fails is told, and is not measured.
pub fn limits(ours: &mut Participant, rivals: &mut [Participant], settings: &Settings) -> Limits {
    let mut limits = measured(ours, settings).unwrap_or_default();
    let pytorch = rivals.iter_mut().find(|rival| rival.name == PYTORCH);
    if let Some(theirs) = pytorch.and_then(|pytorch| measured(pytorch, settings)) {
        limits.pytorch_copy_gb_s = theirs.pytorch_copy_gb_s;
    }
    limits
}

fn measured(participant: &mut Participant, settings: &Settings) -> Option<Limits> {
    if !participant.is_here() {
        return None;
    }
    let name = participant.name.clone();
    let asked = participant.runner(settings).and_then(|runner| {
        let reply = runner.ask(None, Verb::Limits { gpu: true }, Duration::from_secs(120));
        reply.map_err(|fault| fault.to_string())
    });
    match asked {
        Ok(reply) if reply.limits.is_some() => reply.limits,
        Ok(reply) => {
            let why = reply.failed.unwrap_or_else(|| "has no limits".to_owned());
            eprintln!("limits: {name}: {why}");
            None
        }
        Err(why) => {
            eprintln!("limits: {name}: {why}");
            None
        }
    }
}

/// Takes the rows over that an earlier run has a time for, and leaves the others to be measured.
pub fn take_over(results: &mut Results, rows: &mut Vec<Benchmark>, earlier: Results) {
    let taken = earlier.rows.into_iter().filter(|row| row.ours_ms.is_some());
    results.rows.extend(taken);
    let is_there = |id: &str| results.rows.iter().any(|row| row.id == id);
    rows.retain(|row| !is_there(&row.id));
    for (name, version) in earlier.pins {
        results.pins.entry(name).or_insert(version);
    }
}

/// Tells a row of a model where its files are, which our runner makes when they are not there.
pub fn with_folder(mut row: Benchmark, build: &Path) -> Benchmark {
    if row.group == Group::GpuModels
        && let Some(name) = row.params["folder"].as_str()
    {
        let folder = build.join("random-models").join(name);
        row.params["folder"] = folder.to_string_lossy().into();
    }
    row
}

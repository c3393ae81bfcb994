//! What this machine has for set-up, and what is staged: the first half of `mlx doctor`. Nothing is changed.

use std::path::PathBuf;

use crate::backend::Backend;
use crate::tools::{cmake, compiler, libclang};
use crate::{Settings, download, layout, mlx, pins, places, stamp};

/// The state of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Good,
    /// Not there, and not needed as things are.
    Absent,
    /// In the way of building or running.
    Bad,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about: `network`, `python`, `c++ compiler`, ...
    pub name: String,
    /// What was found.
    pub value: String,
    /// Its state.
    pub state: State,
    /// What to do when it is bad.
    pub advice: Option<String>,
}

/// Returns what is known of this machine and of what is staged, without fetching or building anything.
#[must_use]
pub fn inspect(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![
        good(
            "stage folder",
            format!("{} ({})", settings.root.path.display(), settings.root.why),
        ),
        good(
            "network",
            settings
                .offline
                .map_or("allowed".into(), |name| format!("forbidden by {name}")),
        ),
    ];
    findings.push(backend(settings));
    findings.extend(programs(settings));
    findings.extend(staged(settings));
    findings
}

fn backend(settings: &Settings) -> Finding {
    match mlx::choose(settings) {
        Ok((choice, _)) => good(
            "backend to stage",
            format!("{} ({})", choice.backend, choice.why),
        ),
        Err(error) => bad("backend to stage", "none".into(), error.to_string()),
    }
}

fn programs(settings: &Settings) -> Vec<Finding> {
    let python = match download::find_python(settings) {
        Ok(found) => good(
            "python",
            format!(
                "{} ({}, pip {})",
                found.path.display(),
                found.version,
                found.pip
            ),
        ),
        Err(error) => unneeded_or_bad(settings, "python", error.to_string()),
    };
    let compiler = match compiler::find(settings) {
        Ok(found) => good("c++ compiler", format!("{found} ({})", found.version)),
        Err(error) => unneeded_or_bad(settings, "c++ compiler", error.to_string()),
    };
    let or_staged = |name: &str, own: Option<PathBuf>| match own {
        Some(path) => good(name, path.display().to_string()),
        None => Finding {
            state: State::Absent,
            ..good(name, "none on this machine, the staged one is used".into())
        },
    };
    vec![
        python,
        compiler,
        or_staged("cmake", cmake::own(settings)),
        or_staged("libclang", libclang::own(settings)),
    ]
}

/// A missing tool is bad only while there is something left to stage.
fn unneeded_or_bad(settings: &Settings, name: &str, advice: String) -> Finding {
    if Backend::ALL
        .iter()
        .any(|backend| native(settings, *backend).is_some())
    {
        return Finding {
            state: State::Absent,
            ..good(name, "none, and all is staged".into())
        };
    }
    bad(name, "none".into(), advice)
}

fn staged(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let roles = ["mlx-c", "openblas", "cmake", "ninja", "libclang"].map(str::to_owned);
    let of_mlx = Backend::ALL.map(|backend| format!("mlx:{backend}"));
    for role in of_mlx.iter().chain(&roles) {
        let Some(pin) = pins::find(role, &settings.platform) else {
            continue;
        };
        let dir = settings.root.path.join(pin.folder());
        let name = format!("staged {}", pin.package);
        if stamp::is_complete(&dir) {
            findings.push(good(&name, format!("{} in {}", pin.version, dir.display())));
        } else if dir.exists() {
            let advice = format!("{}, which stages it again", how_to_stage(settings));
            findings.push(bad(&name, format!("incomplete: {}", dir.display()), advice));
        }
    }
    let built: Vec<_> = Backend::ALL
        .iter()
        .filter_map(|backend| native(settings, *backend))
        .collect();
    for dir in &built {
        findings.push(good("native library", dir.display().to_string()));
    }
    if built.is_empty() {
        let advice = how_to_stage(settings);
        findings.push(bad("native library", "not built".into(), advice));
    }
    findings
}

/// Says how set-up is started: users of a git dependency have no `cargo xtask`.
fn how_to_stage(settings: &Settings) -> String {
    let checkout = places::workspace(&settings.native_source);
    match checkout.is_some_and(|dir| !dir.starts_with(&settings.cargo_home)) {
        true => "run `cargo xtask setup`".into(),
        false => {
            "build your program again with `cargo build`, or set MLX_BUILD_DIR or MLX_DIR".into()
        }
    }
}

fn native(settings: &Settings, backend: Backend) -> Option<PathBuf> {
    layout::current(&settings.root.path, backend).filter(|dir| stamp::is_complete(dir))
}

fn good(name: &str, value: String) -> Finding {
    Finding {
        name: name.to_owned(),
        value,
        state: State::Good,
        advice: None,
    }
}

fn bad(name: &str, value: String, advice: String) -> Finding {
    Finding {
        name: name.to_owned(),
        value,
        state: State::Bad,
        advice: Some(advice),
    }
}

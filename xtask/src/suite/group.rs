//! Which tests share a process: those of one file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::process;
use super::report::{Outcome, Test, file_name};

/// Tests of one program that run in one process.
#[derive(Clone)]
pub struct Group {
    pub program: PathBuf,
    pub tests: Vec<String>,
}

impl Group {
    /// The same program with other tests.
    pub fn only(&self, tests: Vec<String>) -> Self {
        Self {
            program: self.program.clone(),
            tests,
        }
    }

    /// One outcome for all tests.
    pub fn all(&self, outcome: Outcome, message: &str) -> Vec<Test> {
        let test = |name: &String| Test {
            program: file_name(&self.program),
            name: name.clone(),
            outcome,
            seconds: 0.0,
            message: message.to_owned(),
        };
        self.tests.iter().map(test).collect()
    }
}

/// Asks a program for its tests, and groups them by the file they are in; `only` selects some.
pub fn groups(crates: &Path, program: &Path, only: &[String]) -> Result<Vec<Group>> {
    let output = process::command(crates, program)
        .args(["--list", "--format", "terse"])
        .output()
        .with_context(|| format!("{} could not be started", program.display()))?;
    ensure!(
        output.status.success(),
        "{} does not list its tests: {}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some(name) = line.strip_suffix(": test") else {
            continue;
        };
        let full = format!("{} {name}", file_name(program));
        if only.is_empty() || only.iter().any(|part| full.contains(part.as_str())) {
            let file = name.split("::").next().unwrap_or_default();
            files
                .entry(file.to_owned())
                .or_default()
                .push(name.to_owned());
        }
    }
    let group = |tests| Group {
        program: program.to_owned(),
        tests,
    };
    Ok(files.into_values().map(group).collect())
}

//! The test programs: one for the integration tests of each crate, one for its unit tests, and their data.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cargo::{command, root};

/// The crates whose tests use MLX.
const CRATES: [&str; 4] = ["mlx", "compiler", "nn", "models"];

/// A test program under the name `CRATE-TEST`.
#[derive(Debug, PartialEq)]
pub struct Program {
    pub name: String,
    pub path: PathBuf,
}

/// Builds the test programs.
pub fn build() -> Result<Vec<Program>> {
    let integration = ["--workspace", "--test", "suite", "--test", "fusions"];
    // The whole workspace, as `cargo test` builds it: with other features all would be compiled again.
    let unit = ["--workspace", "--lib"];
    let mut programs = built_by(&integration)?;
    programs.extend(built_by(&unit)?);
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(programs)
}

/// Runs `cargo test --no-run` with these arguments, and returns what it built.
fn built_by(arguments: &[&str]) -> Result<Vec<Program>> {
    let mut command = command(["test", "--no-run", "--locked"]);
    command
        .arg("--message-format=json-render-diagnostics")
        .args(arguments)
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("cargo could not be started")?;
    let lines = child
        .stdout
        .take()
        .into_iter()
        .flat_map(|out| BufReader::new(out).lines());
    let programs = lines
        .map_while(Result::ok)
        .filter_map(|line| program(&line))
        .collect();
    let status = child.wait()?;
    ensure!(
        status.success(),
        "cargo test --no-run {} failed ({status})",
        arguments.join(" ")
    );
    Ok(programs)
}

/// The test program that a message of cargo tells of.
fn program(message: &str) -> Option<Program> {
    let message: Value = serde_json::from_str(message).ok()?;
    let path = PathBuf::from(message.get("executable")?.as_str()?);
    let target = message.get("target")?;
    let source = Path::new(target.get("src_path")?.as_str()?);
    let crates = root().join("crates");
    let package = source.strip_prefix(crates).ok()?.iter().next()?.to_str()?;
    if !CRATES.contains(&package) {
        return None;
    }
    let is_test = message.pointer("/profile/test")?.as_bool()?;
    let name = match target.pointer("/kind/0")?.as_str()? {
        "lib" => "lib",
        _ => target.get("name")?.as_str()?,
    };
    is_test.then(|| Program {
        name: format!("{package}-{name}"),
        path,
    })
}

/// The files that tests read when they run, with their places under `crates/`.
pub fn data() -> Result<Vec<(PathBuf, PathBuf)>> {
    let crates = root().join("crates");
    let mut files = Vec::new();
    for package in CRATES {
        for folder in ["golden", "data"] {
            add_folder(
                &crates,
                &Path::new(package).join("tests").join(folder),
                &mut files,
            )?;
        }
    }
    let generated = "mlx-sys/native/mlx_ops.h";
    files.push((crates.join(generated), generated.into()));
    Ok(files)
}

/// Adds the files in a folder, but for the scripts that made them.
fn add_folder(root: &Path, place: &Path, files: &mut Vec<(PathBuf, PathBuf)>) -> Result<()> {
    let folder = root.join(place);
    if !folder.is_dir() {
        return Ok(());
    }
    let read = std::fs::read_dir(&folder);
    for entry in read.with_context(|| format!("{} could not be read", folder.display()))? {
        let entry = entry?;
        let place = place.join(entry.file_name());
        if entry.path().is_dir() {
            add_folder(root, &place, files)?;
        } else if place.extension().is_none_or(|extension| extension != "py") {
            files.push((entry.path(), place));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(source: &str, kind: &str, name: &str, test: bool) -> String {
        let source = root().join(source).display().to_string();
        serde_json::json!({
            "reason": "compiler-artifact", "executable": "/t/x-1",
            "target": {"kind": [kind], "name": name, "src_path": source},
            "profile": {"test": test},
        })
        .to_string()
    }

    #[test]
    fn names_programs_after_their_crate() {
        let name = |message: String| program(&message).map(|program| program.name);
        let suite = message("crates/nn/tests/suite.rs", "test", "suite", true);
        assert_eq!(name(suite).as_deref(), Some("nn-suite"));
        let unit = message("crates/mlx/src/lib.rs", "lib", "mlx", true);
        assert_eq!(name(unit).as_deref(), Some("mlx-lib"));
        let other = message("crates/testdata/src/lib.rs", "lib", "mlx_testdata", true);
        assert_eq!(name(other), None);
        assert_eq!(
            name(message("crates/cli/src/main.rs", "bin", "mlx", false)),
            None
        );
        assert_eq!(name("{\"reason\":\"build-finished\"}".to_owned()), None);
    }

    #[test]
    fn each_suite_has_all_tests_of_its_folder() {
        // Without libtest's main function, with paths from the root of a program, of optional features, or with a switch of
        // the whole process.
        const PROGRAMS: [&str; 5] = ["suite", "exit", "fusions", "exchange", "autotune_switch"];
        for package in CRATES {
            let tests = root().join("crates").join(package).join("tests");
            let suite = std::fs::read_to_string(tests.join("suite.rs")).unwrap();
            for entry in std::fs::read_dir(&tests).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_stem().unwrap().to_str().unwrap();
                let is_test = path.extension().is_some_and(|extension| extension == "rs")
                    || path.join("main.rs").is_file();
                let is_listed = suite.contains(&format!("\nmod {name};\n"));
                assert!(
                    !is_test || is_listed || PROGRAMS.contains(&name),
                    "crates/{package}/tests/suite.rs lacks {name}"
                );
            }
        }
    }

    #[test]
    fn data_has_golden_files_and_no_scripts() {
        let data = data().unwrap();
        let has = |place: &str| data.iter().any(|(_, to)| to == Path::new(place));
        assert!(has("compiler/tests/golden/rms_norm.txt"), "{data:?}");
        assert!(!has("mlx/tests/golden/make_io.py"));
    }
}

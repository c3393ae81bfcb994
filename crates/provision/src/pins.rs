//! The files that are fetched, each pinned by hash: `pins.txt` of this crate, read into the program when it is compiled.

use crate::Platform;
use crate::backend::Backend;

/// The version of MLX that everything is built for.
pub const MLX_VERSION: &str = "0.32.4";
/// The version of mlx-c that everything is built for.
pub const MLXC_VERSION: &str = "0.7.0";

/// One fetched file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// What it is for: `mlx:cpu`, `openblas`, `cmake`, ...
    pub role: String,
    /// The machines it is for.
    pub platform: String,
    /// The package's name in its registry.
    pub package: String,
    /// The package's version.
    pub version: String,
    /// The file's sha256 in hexadecimal.
    pub sha256: String,
    /// The file's name.
    pub file: String,
    /// The licence.
    pub licence: String,
    /// Which files and folders of the archive are unpacked; all when empty.
    pub members: Vec<String>,
}

/// Where a pinned file is fetched from, each with its ordinary client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registry {
    /// crates.io, with cargo.
    Crates,
    /// PyPI, with pip.
    PyPi,
    /// npm, with npm.
    Npm,
}

impl Pin {
    /// Returns the name of the staged folder, which changes with version and hash.
    #[must_use]
    pub fn folder(&self) -> String {
        let hash = self.sha256.get(..8).unwrap_or(&self.sha256);
        format!("{}-{}-{hash}", self.package, self.version)
    }

    /// Returns the registry, which the ending of the file's name tells.
    #[must_use]
    pub fn registry(&self) -> Registry {
        match self.file.rsplit('.').next() {
            Some("crate") => Registry::Crates,
            Some("tgz") => Registry::Npm,
            _ => Registry::PyPi,
        }
    }

    /// Returns the tags at the end of a wheel's name: Python, ABI and platforms.
    pub(crate) fn wheel_tags(&self) -> Option<(&str, &str, Vec<&str>)> {
        let mut tags = self.file.strip_suffix(".whl")?.rsplit('-');
        let (platforms, abi, python) = (tags.next()?, tags.next()?, tags.next()?);
        Some((python, abi, platforms.split('.').collect()))
    }

    /// Returns the platform tags in a wheel's name, as pip's `--platform` wants them.
    #[must_use]
    pub fn platform_tags(&self) -> Vec<&str> {
        self.wheel_tags()
            .map_or_else(|| vec!["any"], |(_, _, platforms)| platforms)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let mut next = || words.next().map(str::to_owned);
        let pin = Self {
            role: next()?,
            platform: next()?,
            package: next()?,
            version: next()?,
            sha256: next()?,
            file: next()?,
            licence: String::new(),
            members: Vec::new(),
        };
        let licence = words.collect::<Vec<_>>().join(" ");
        (!licence.is_empty()).then_some(Self { licence, ..pin })
    }
}

/// Returns every pin.
#[must_use]
pub fn all() -> Vec<Pin> {
    include_str!("../pins.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(Pin::parse)
        .collect()
}

/// Returns the pin for a role on a machine: the most specific one that fits.
#[must_use]
pub fn find(role: &str, platform: &Platform) -> Option<Pin> {
    all()
        .into_iter()
        .filter(|pin| pin.role == role)
        .filter_map(|pin| Some((platform.fits(&pin.platform)?, pin)))
        .max_by_key(|(rank, _)| *rank)
        .map(|(_, pin)| pin)
}

/// Returns the pin of MLX itself for a backend on a machine.
#[must_use]
pub fn mlx(backend: Backend, platform: &Platform) -> Option<Pin> {
    find(&format!("mlx:{backend}"), platform)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_whole_pin() {
        let lines = include_str!("../pins.txt")
            .lines()
            .filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        assert_eq!(lines.count(), all().len());
        for pin in all() {
            assert_eq!(pin.sha256.len(), 64, "{}", pin.file);
            let name = pin.package.replace('-', "_");
            assert!(
                pin.file.replace('-', "_").starts_with(&name),
                "{}",
                pin.file
            );
            assert!(pin.file.contains(&pin.version), "{}", pin.file);
        }
    }

    #[test]
    fn versions_are_those_of_the_pins() {
        for pin in all() {
            match pin.role.as_str() {
                "mlx-c" => assert_eq!(pin.version, MLXC_VERSION),
                role if role.starts_with("mlx:") => assert_eq!(pin.version, MLX_VERSION),
                _ => {}
            }
        }
    }
}

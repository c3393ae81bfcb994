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
}

impl Pin {
    /// Returns the name of the staged folder, which changes with version and hash.
    #[must_use]
    pub fn folder(&self) -> String {
        let hash = self.sha256.get(..8).unwrap_or(&self.sha256);
        format!("{}-{}-{hash}", self.package, self.version)
    }

    /// Returns whether the file comes from cargo's registry rather than from Python's.
    #[must_use]
    pub fn is_crate(&self) -> bool {
        self.file.ends_with(".crate")
    }

    /// Returns the platform tags in a wheel's name, as pip's `--platform` wants them.
    #[must_use]
    pub fn platform_tags(&self) -> Vec<&str> {
        let stem = self.file.strip_suffix(".whl").unwrap_or(&self.file);
        stem.rsplit('-')
            .next()
            .unwrap_or("any")
            .split('.')
            .collect()
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

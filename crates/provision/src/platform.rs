//! The machine that files are staged for.

use std::fmt;
use std::process::Command;

/// An operating system that MLX has builds for, or another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Os {
    /// Linux with glibc.
    Linux,
    /// macOS and its main version, which selects the Metal kernels.
    Macos(u32),
    /// Anything else, as Rust names it.
    Other(String),
}

/// A machine: operating system and processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// The operating system.
    pub os: Os,
    /// The processor, as Rust names it.
    pub arch: String,
}

impl Platform {
    /// Returns the machine this program runs on.
    #[must_use]
    pub fn host() -> Self {
        Self::named(std::env::consts::OS, std::env::consts::ARCH)
    }

    /// Returns the machine with these names, which are Rust's (`linux`, `macos`; `x86_64`, `aarch64`).
    #[must_use]
    pub fn named(os: &str, arch: &str) -> Self {
        let os = match os {
            "linux" => Os::Linux,
            "macos" => Os::Macos(macos_version().unwrap_or(14)),
            other => Os::Other(other.to_owned()),
        };
        Self {
            os,
            arch: arch.to_owned(),
        }
    }

    /// Returns the name of the operating system, as Rust has it.
    #[must_use]
    pub fn os_name(&self) -> &str {
        match &self.os {
            Os::Linux => "linux",
            Os::Macos(_) => "macos",
            Os::Other(name) => name,
        }
    }

    /// Returns whether a `platform` column of the pins is for this machine, and how specific it is.
    pub(crate) fn fits(&self, column: &str) -> Option<u32> {
        if column == "any" {
            return Some(0);
        }
        let (name, least) = column.split_once('@').unwrap_or((column, "0"));
        let least: u32 = least.parse().ok()?;
        let version = match self.os {
            Os::Macos(version) => version,
            _ => 0,
        };
        (name == self.to_string() && version >= least).then_some(least)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.os_name(), self.arch)
    }
}

/// Returns the main version of the running macOS.
fn macos_version() -> Option<u32> {
    if !cfg!(target_os = "macos") {
        return None;
    }
    let output = Command::new("sw_vers")
        .arg("-productVersion")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split('.').next()?.trim().parse().ok()
}

//! Fetching a crate file with cargo, from its cache when it is there.

use std::path::{Path, PathBuf};

use super::failed;
use crate::pins::Pin;
use crate::process::{command, find, output};
use crate::shell_words::quoted;
use crate::{Error, Result, Settings};

/// The manifest and lock file of an empty package that depends on the pinned one; see `vendor/README.md`.
///
/// They have names of their own because cargo leaves folders with a `Cargo.toml` out of a package.
const MANIFEST: &str = include_str!("../../mlx-c-source.toml");
const LOCK: &str = include_str!("../../mlx-c-source.lock");

/// Returns the crate file in cargo's cache.
pub(super) fn cached(settings: &Settings, pin: &Pin) -> Option<PathBuf> {
    let cache = settings.cargo_home.join("registry/cache");
    std::fs::read_dir(cache)
        .ok()?
        .filter_map(std::result::Result::ok)
        .map(|registry| registry.path().join(&pin.file))
        .find(|file| file.is_file())
}

/// Has cargo fetch the package into its cache.
pub(super) fn fetch(settings: &Settings, pin: &Pin, temp: &Path) -> Result<PathBuf> {
    let manifest = temp.join("mlx-c-source/Cargo.toml");
    for (name, text) in [
        ("Cargo.toml", MANIFEST),
        ("Cargo.lock", LOCK),
        ("src/lib.rs", ""),
    ] {
        let file = temp.join("mlx-c-source").join(name);
        let parent = file.parent().unwrap_or(temp);
        std::fs::create_dir_all(parent).map_err(|error| Error::io("create", parent, error))?;
        std::fs::write(&file, text).map_err(|error| Error::io("write", &file, error))?;
    }
    let program =
        find(&settings.cargo, &settings.path).unwrap_or_else(|| PathBuf::from(&settings.cargo));
    let said = output(
        command(&program, settings)
            .args(["fetch", "--locked", "--manifest-path"])
            .arg(&manifest)
            .env("CARGO_HOME", &settings.cargo_home),
    )?;
    if said.status.success()
        && let Some(file) = cached(settings, pin)
    {
        return Ok(file);
    }
    Err(failed(
        settings,
        pin,
        &String::from_utf8_lossy(&said.stderr),
    ))
}

/// Returns commands for people that bring the file into `downloads`; they need no checkout.
pub(super) fn command_by_hand(pin: &Pin, downloads: &Path) -> String {
    format!(
        "(dir=$(mktemp -d)/fetch && cargo init --quiet --lib \"$dir\" && cd \"$dir\" && cargo add --quiet \
         --no-default-features {}@={} && cargo fetch && mkdir -p {to} && \
         cp \"${{CARGO_HOME:-$HOME/.cargo}}\"/registry/cache/*/{} {to})",
        pin.package,
        pin.version,
        pin.file,
        to = quoted(downloads),
    )
}

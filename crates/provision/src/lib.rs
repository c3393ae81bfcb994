//! Fetches, checks, stages and builds the native files that MLX for Rust loads at run time.
//!
//! The build script of `mlx-sys` and `cargo xtask setup` both call [`setup`], so there is one way to a working
//! checkout and no second copy of it. Everything lands in one folder (see [`places`]): each item is unpacked beside
//! its place, stamped and renamed into it under a lock, so that a kill at any moment leaves either the whole item or
//! nothing, and several cargo processes at once wait for each other instead of fighting.
//!
//! Without the feature `fetch` only the names and places are left, which the loader of `mlx-sys` needs.

pub mod backend;
pub mod environment;
pub mod layout;
pub mod places;

#[cfg(feature = "fetch")]
mod archive;
#[cfg(feature = "fetch")]
mod bundle;
#[cfg(feature = "fetch")]
mod download;
#[cfg(feature = "fetch")]
mod error;
#[cfg(feature = "fetch")]
mod hash;
#[cfg(feature = "fetch")]
mod inspect;
#[cfg(feature = "fetch")]
mod lock;
#[cfg(feature = "fetch")]
mod mlx;
#[cfg(feature = "fetch")]
mod native;
#[cfg(feature = "fetch")]
pub mod pins;
#[cfg(feature = "fetch")]
mod platform;
#[cfg(feature = "fetch")]
mod process;
#[cfg(feature = "fetch")]
mod progress;
#[cfg(feature = "fetch")]
mod python_environment;
#[cfg(feature = "fetch")]
mod settings;
#[cfg(feature = "fetch")]
mod setup;
#[cfg(feature = "fetch")]
mod shell_words;
#[cfg(feature = "fetch")]
mod stage;
#[cfg(feature = "fetch")]
mod stamp;
#[cfg(feature = "fetch")]
mod sweep;
#[cfg(feature = "fetch")]
mod system;
#[cfg(feature = "fetch")]
mod tools;

#[cfg(feature = "fetch")]
pub use self::{
    bundle::bundle,
    error::{Error, MissingFile, Result},
    hash::of_file as sha256,
    inspect::{Finding, State, inspect},
    native::run_cmake_child_if_requested,
    platform::{Os, Platform},
    progress::{Bar, Progress},
    python_environment::PythonEnvironment,
    settings::Settings,
    setup::{Staged, setup},
    stage::{is_made_from, make_in_place, stage_archive, stage_with},
};

/// Runs CMake and ends the process when this process is the child that does so.
#[cfg(feature = "fetch")]
#[deprecated(note = "renamed to run_cmake_child_if_requested")]
pub fn enter() {
    run_cmake_child_if_requested();
}

/// What was found on this machine.
#[cfg(feature = "fetch")]
#[deprecated(note = "renamed to Finding")]
pub type Fact = Finding;

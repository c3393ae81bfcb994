//! `cargo xtask setup` as people run it, on a stage folder that borrows what the real one has.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use mlx_provision::{Progress, Settings, setup};

/// Returns the real stage folder, with everything in it.
fn real() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let output = xtask(&Scratch::empty()).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        settings().root.path
    })
}

fn settings() -> Settings {
    let native = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/mlx-sys/native");
    Settings {
        progress: Progress::quiet(),
        ..Settings::from_env(&native)
    }
}

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn empty() -> Self {
        let scratch = Self(tempfile::tempdir().unwrap());
        fs::create_dir(scratch.path("bin")).unwrap();
        fs::create_dir(scratch.path("stage")).unwrap();
        fs::write(scratch.path("log"), "").unwrap();
        scratch
    }

    /// With links to every fetched item of the real stage folder, but not to the built library.
    fn with_everything_fetched() -> Self {
        let scratch = Self::empty();
        for entry in fs::read_dir(real()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let is_item = entry.path().join(".staged").is_file() && !name.starts_with("native-");
            if is_item {
                symlink(entry.path(), scratch.path("stage").join(name)).unwrap();
            }
        }
        scratch
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a program that writes down that it was called.
    fn program(&self, name: &str, body: &str) -> PathBuf {
        let (draft, file) = (self.path(name), self.path("bin").join(name));
        let text = format!(
            "#!/bin/sh\necho \"{name} $*\" >> '{}'\n{body}\n",
            self.path("log").display()
        );
        fs::write(&draft, text).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
        // Copied by another process: see `provision/tests/support`.
        assert!(
            Command::new("cp")
                .arg(&draft)
                .arg(&file)
                .status()
                .unwrap()
                .success()
        );
        file
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// Returns what is half done in its stage folder.
    fn half_done(&self) -> usize {
        fs::read_dir(self.path("stage/.tmp")).map_or(0, Iterator::count)
    }
}

/// Returns `xtask setup` with the scratch folder's programs first in `PATH`.
fn xtask(scratch: &Scratch) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(scratch.path("bin")).chain(std::env::split_paths(&path));
    command
        .arg("setup")
        .env("PATH", std::env::join_paths(path).unwrap())
        .env_remove("CXX")
        .env_remove("CARGO");
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn makes_no_network_call_once_all_is_staged() {
    let _ = real();
    let scratch = Scratch::empty();
    for name in ["python3", "python", "cargo"] {
        scratch.program(name, "exit 1");
    }
    for offline in ["0", "1"] {
        let output = xtask(&scratch)
            .env("MLX_OFFLINE", offline)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    assert_eq!(scratch.log(), "");
}

#[test]
fn does_not_build_again_what_is_built() {
    let stamp = settings().root.path.join("current-cpu");
    let native = || {
        let name = fs::read_to_string(&stamp).unwrap();
        fs::metadata(real().join(name.trim()).join(".staged"))
            .unwrap()
            .modified()
            .unwrap()
    };
    let before = {
        let _ = real();
        native()
    };
    // Neither the profile nor the target folder is part of what the native library depends on.
    let scratch = Scratch::empty();
    let output = xtask(&scratch)
        .env("PROFILE", "release")
        .env("OPT_LEVEL", "3")
        .env("CARGO_TARGET_DIR", scratch.path("target"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(!said(&output).contains("building mlx-c"));
    assert_eq!(native(), before);
}

#[test]
fn lists_the_variables() {
    let output = xtask(&Scratch::empty()).arg("--help").output().unwrap();
    for variable in mlx_provision::environment::ALL {
        assert!(said(&output).contains(variable.name), "{}", variable.name);
    }
}

#[test]
fn finds_what_is_built_without_a_compiler() {
    let settings = Settings {
        path: Scratch::empty().path("bin").into_os_string(),
        root: mlx_provision::places::StagingRoot {
            path: real().to_owned(),
            why: "a test",
        },
        cxx: None,
        ..settings()
    };
    // libclang is looked for by its place, not in PATH.
    let staged = setup(&settings).unwrap();
    assert!(staged.layout.mlxc.is_file());
}

#[test]
fn shows_the_log_of_a_native_build_that_fails_and_leaves_nothing() {
    let scratch = Scratch::with_everything_fetched();
    // Good enough for the checks before the build, and for nothing more.
    let body = "case \"$*\" in *--version*) echo 'c++ 13' ;; *-fsyntax-only*) ;; *) echo 'x.cpp:1: error: broken' >&2; exit 1 ;; esac";
    let compiler = scratch.program("broken-c++", body);
    let output = xtask(&scratch)
        .arg("--dir")
        .arg(scratch.path("stage"))
        .env("CXX", compiler)
        .output()
        .unwrap();
    let said = said(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("error: the native build failed"), "{said}");
    assert!(said.contains("try another with CXX or CMAKE"), "{said}");
    let log = said
        .split("the whole log is ")
        .nth(1)
        .and_then(|rest| rest.split(';').next());
    let log = fs::read_to_string(log.expect("the log's path")).unwrap();
    assert!(log.contains("broken"), "{log}");
    assert_eq!(scratch.half_done(), 0);
    assert!(!scratch.path("stage/current-cpu").exists());
}

#[test]
fn ends_with_an_error_for_an_unknown_backend_or_option() {
    let scratch = Scratch::empty();
    for (args, wanted) in [
        (["--backend", "tpu"], "unknown backend `tpu`"),
        (["--color", "red"], "--color"),
    ] {
        let output = xtask(&scratch).args(args).output().unwrap();
        assert!(!output.status.success());
        assert!(said(&output).contains(wanted), "{}", said(&output));
    }
}

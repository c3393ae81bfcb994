//! What the user's variables for pip and temporary files, and the system's C library, do to set-up.
//!
//! Each case runs in a process of its own, because variables belong to the process.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use mlx_provision::{setup, stage_archive};
use rstest::rstest;
use support::{Scratch, settings_in};

/// Stages the small wheel, or sets up, in a process that the tests below start.
#[test]
fn stage_in_this_process() {
    let Some(dir) = std::env::var_os("SCRATCH").map(PathBuf::from) else {
        // Not started by another test.
        return;
    };
    let settings = settings_in(&dir);
    let error = match std::env::var_os("SET_UP") {
        Some(_) => setup(&settings).err(),
        None => stage_archive(&settings, &Scratch::new().wheel("pkg").1).err(),
    };
    println!(
        "RESULT {}",
        error.map_or("staged".into(), |error| error.to_string())
    );
}

/// Returns what came of it in a process with these variables and no other ones for pip.
fn result(scratch: &Scratch, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PIP_") {
            command.env_remove(name);
        }
    }
    let output = command
        .args(["--exact", "stage_in_this_process", "--nocapture"])
        .env("SCRATCH", scratch.path(""))
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, result) = text
        .split_once("RESULT ")
        .unwrap_or_else(|| panic!("{text}"));
    result.split("\ntest ").next().unwrap().trim().to_owned()
}

/// A pip that writes down its settings and delivers the wheel, and shows a configuration.
fn pip_that_tells(scratch: &Scratch, configuration: &str) {
    let (wheel, _) = scratch.wheel("pkg");
    let (told, list) = (scratch.path("told"), scratch.path("list"));
    fs::write(&list, configuration).unwrap();
    let body = format!(
        "case \"$*\" in *'pip config list'*) cat '{}'; exit 0 ;; *'pip download'*) env | grep ^PIP_ | sort > '{}' ;; esac",
        list.display(),
        told.display()
    );
    scratch.python_after(&body, &format!("cp '{}' \"$dest\"", wheel.display()));
}

#[rstest]
#[case::virtualenv("PIP_REQUIRE_VIRTUALENV", "1")]
#[case::target("PIP_TARGET", "/somewhere")]
#[case::prefix("PIP_PREFIX", "/somewhere")]
#[case::user("PIP_USER", "1")]
#[case::constraint("PIP_CONSTRAINT", "/constraints.txt")]
#[case::build_constraint("PIP_BUILD_CONSTRAINT", "/constraints.txt")]
#[case::requirement("PIP_REQUIREMENT", "/more.txt")]
#[case::abi("PIP_ABI", "cp39")]
#[case::binary("PIP_NO_BINARY", ":all:")]
#[case::python("PIP_PYTHON", "/none")]
#[case::date("PIP_UPLOADED_PRIOR_TO", "2001-01-01")]
#[case::quiet("PIP_QUIET", "3")]
#[case::progress("PIP_PROGRESS_BAR", "odd")]
fn keeps_what_breaks_downloads_from_pip(#[case] name: &str, #[case] value: &str) {
    let scratch = Scratch::new();
    let in_files = format!(
        "global.{}='{value}'\n",
        name.trim_start_matches("PIP_")
            .to_lowercase()
            .replace('_', "-")
    );
    pip_that_tells(&scratch, &in_files);
    assert_eq!(result(&scratch, &[(name, value)]), "staged");
    let told = fs::read_to_string(scratch.path("told")).unwrap();
    assert_eq!(
        told,
        "PIP_CONFIG_FILE=/dev/null\nPIP_DISABLE_PIP_VERSION_CHECK=1\n"
    );
}

#[test]
fn lets_pip_know_where_files_come_from() {
    let scratch = Scratch::new();
    pip_that_tells(
        &scratch,
        "global.index-url='https://files.example/simple'\nglobal.proxy='http://files.example:1'\n",
    );
    let variables = [
        ("PIP_CERT", "/ca.pem"),
        ("PIP_PROXY", "http://variable.example:2"),
    ];
    assert_eq!(result(&scratch, &variables), "staged");
    let told = fs::read_to_string(scratch.path("told")).unwrap();
    for wanted in [
        "PIP_INDEX_URL=https://files.example/simple",
        "PIP_CERT=/ca.pem",
        // Variables win over files, as in pip.
        "PIP_PROXY=http://variable.example:2",
    ] {
        assert!(
            told.lines().any(|line| line == wanted),
            "{wanted} is not in: {told}"
        );
    }
}

#[rstest]
#[case(&[("PIP_NO_INDEX", "1")], "", "PIP_NO_INDEX forbids pip", 0)]
#[case(&[], "global.no-index='true'\n", "`no-index` in pip's configuration forbids pip", 0)]
#[case(&[("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", "/wheels")], "", "(ERROR: none there)", 1)]
fn obeys_who_forbids_the_index(
    #[case] variables: &[(&str, &str)],
    #[case] configuration: &str,
    #[case] wanted: &str,
    #[case] n_downloads: usize,
) {
    let scratch = Scratch::new();
    pip_that_tells(&scratch, configuration);
    let list = format!(
        "case \"$*\" in *'pip config list'*) printf %s \"{configuration}\"; exit 0 ;; esac"
    );
    scratch.python_after(&list, "echo 'ERROR: none there' >&2; exit 1");
    let text = result(&scratch, variables);
    for part in [
        wanted,
        "unset it",
        "PIP_FIND_LINKS",
        "pip download",
        "downloads",
    ] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    assert_eq!(scratch.n_downloads(), n_downloads);
    assert!(scratch.staged().is_empty() && scratch.half_done().is_empty());
}

#[test]
fn takes_what_lies_where_pip_may_look() {
    let scratch = Scratch::new();
    pip_that_tells(&scratch, "");
    let variables = [("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", "/wheels")];
    assert_eq!(result(&scratch, &variables), "staged");
    let told = fs::read_to_string(scratch.path("told")).unwrap();
    assert!(
        told.contains("PIP_FIND_LINKS=/wheels\nPIP_NO_INDEX=1"),
        "{told}"
    );
}

#[test]
fn says_that_pip_is_broken_rather_than_missing() {
    let scratch = Scratch::new();
    let body = "case \"$*\" in *'pip --version'*) echo \"option use-feature: invalid choice: 'x'\" >&2; exit 1 ;; esac";
    scratch.python_after(body, "exit 1");
    let text = result(&scratch, &[]);
    assert!(text.contains("does not run: option use-feature"), "{text}");
    assert!(text.contains("config list"), "{text}");
}

#[rstest]
#[case::missing("nowhere/at all")]
#[case::a_file("a file")]
fn names_a_tmpdir_that_cannot_be_written(#[case] name: &str) {
    let scratch = Scratch::new();
    scratch.python("exit 1");
    scratch.program("c++", "echo 'c++ 12'");
    fs::write(scratch.path("a file"), "").unwrap();
    let dir = scratch.path(name);
    let text = result(
        &scratch,
        &[("TMPDIR", dir.to_str().unwrap()), ("SET_UP", "1")],
    );
    let wanted = format!("TMPDIR='{}' cannot be used", dir.display());
    assert!(
        text.contains(&wanted) && text.contains("set TMPDIR to"),
        "{text}"
    );
    assert_eq!(scratch.n_downloads(), 0);
}

#[rstest]
#[case::old("getconf", "echo 'glibc 2.31'", "this is glibc 2.31")]
#[case::old_by_ldd(
    "ldd",
    "echo 'ldd (Ubuntu GLIBC 2.34-0ubuntu3) 2.34'",
    "this is glibc 2.34"
)]
#[case::musl("ldd", "echo 'musl libc (x86_64)' >&2; exit 1", "this is musl")]
fn refuses_an_old_c_library_before_fetching(
    #[case] program: &str,
    #[case] body: &str,
    #[case] wanted: &str,
) {
    let scratch = Scratch::new();
    scratch.python("exit 1");
    scratch.program("c++", "echo 'c++ 12'");
    scratch.program(program, body);
    let text = result(&scratch, &[("SET_UP", "1")]);
    assert!(text.contains(wanted), "{text}");
    assert!(
        text.contains("mlx-cpu") && text.contains("glibc 2.35 or newer"),
        "{text}"
    );
    assert_eq!(text.contains("MLX_DIR"), !wanted.contains("musl"), "{text}");
    assert_eq!(scratch.n_downloads(), 0);
    assert!(scratch.staged().is_empty() && scratch.half_done().is_empty());
}

#[test]
fn refuses_a_program_for_musl_before_fetching() {
    let scratch = Scratch::new();
    scratch.program("c++", "echo 'c++ 12'");
    scratch.program("getconf", "echo 'glibc 2.40'");
    // What cargo tells a build script.
    let text = result(
        &scratch,
        &[("SET_UP", "1"), ("CARGO_CFG_TARGET_ENV", "musl")],
    );
    assert!(text.contains("this is musl"), "{text}");
}

#[test]
fn accepts_a_c_library_that_is_new_enough() {
    let scratch = Scratch::new();
    scratch.program("c++", "echo 'c++ 12'");
    scratch.program("getconf", "echo 'glibc 2.35'");
    let text = result(&scratch, &[("SET_UP", "1")]);
    assert!(text.contains("no Python found"), "{text}");
}

//! What fetching does when the network, Python or the file is not as it should be.

mod support;

use std::fs;

use mlx_provision::{Error, Settings, pins, setup, stage_archive};
use support::Scratch;

#[test]
fn stages_a_wheel_with_its_executables() {
    let scratch = Scratch::new();
    let (wheel, pin) = scratch.wheel("pkg");
    scratch.python_with(&wheel);
    let dir = stage_archive(&scratch.settings(), &pin).unwrap();
    assert_eq!(
        fs::read_to_string(dir.join("pkg/lib/libpkg.so")).unwrap(),
        "library"
    );
    use std::os::unix::fs::PermissionsExt;
    let mode = |name: &str| fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o111;
    assert_ne!(mode("pkg/bin/tool"), 0);
    assert_eq!(mode("pkg/lib/libpkg.so"), 0);
    assert_eq!(scratch.staged(), [pin.folder()]);
}

#[test]
fn refuses_a_file_with_another_hash() {
    let scratch = Scratch::new();
    let (wheel, mut pin) = scratch.wheel("pkg");
    scratch.python_with(&wheel);
    pin.sha256 = "0".repeat(64);
    let error = stage_archive(&scratch.settings(), &pin).unwrap_err();
    assert!(matches!(error, Error::Hash { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(&support::sha256(&wheel)) && text.contains(&pin.sha256),
        "{text}"
    );
    assert!(scratch.staged().is_empty() && scratch.half_done().is_empty());
}

#[test]
fn passes_on_the_hash_that_pip_complains_about() {
    let scratch = Scratch::new();
    let (_, pin) = scratch.wheel("pkg");
    scratch.python("echo '        Got        abcd' >&2; exit 1");
    let error = stage_archive(&scratch.settings(), &pin).unwrap_err();
    assert!(
        matches!(&error, Error::Hash { got, .. } if got == "abcd"),
        "{error}"
    );
}

#[test]
fn says_what_to_run_when_there_is_no_network() {
    let scratch = Scratch::new();
    let (_, pin) = scratch.wheel("pkg");
    scratch.python("echo 'ERROR: Temporary failure in name resolution' >&2; exit 1");
    let text = stage_archive(&scratch.settings(), &pin)
        .unwrap_err()
        .to_string();
    for part in [
        "Temporary failure in name resolution",
        "check the network",
        "python3 -m pip download --no-deps",
        "--platform=manylinux_2_17_x86_64",
        "pkg==1.0",
        "downloads",
    ] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    assert!(scratch.staged().is_empty() && scratch.half_done().is_empty());
}

#[test]
fn takes_a_file_that_was_put_there_by_hand() {
    let scratch = Scratch::new();
    let (wheel, pin) = scratch.wheel("pkg");
    let settings = Settings {
        offline: Some("MLX_OFFLINE"),
        ..scratch.settings()
    };
    fs::create_dir_all(settings.downloads()).unwrap();
    fs::copy(wheel, settings.downloads().join(&pin.file)).unwrap();
    stage_archive(&settings, &pin).unwrap();
    assert_eq!(scratch.n_downloads(), 0);
}

#[test]
fn names_every_missing_file_when_the_network_is_forbidden() {
    let scratch = Scratch::new();
    scratch.python("exit 1");
    scratch.program("c++", "echo 'c++ 12'");
    scratch.program("cargo", "exit 1");
    let settings = Settings {
        offline: Some("MLX_OFFLINE"),
        libclang: None,
        ..scratch.settings()
    };
    let text = setup(&settings).unwrap_err().to_string();
    let needed = ["mlx:cpu", "mlx-c", "openblas", "cmake", "ninja"];
    for role in needed {
        let pin = pins::find(role, &settings.platform).unwrap();
        assert!(text.contains(&pin.file), "{role} is not in: {text}");
    }
    assert!(text.contains("MLX_OFFLINE forbids the network"), "{text}");
    // It needs no checkout of this workspace.
    assert!(
        text.contains("cargo add") && !text.contains("vendor/"),
        "{text}"
    );
    let log = fs::read_to_string(scratch.path("log")).unwrap();
    assert!(!log.contains("pip") && !log.contains("cargo"), "{log}");
}

#[test]
fn calls_nothing_once_all_is_there() {
    let scratch = Scratch::new();
    let (wheel, pin) = scratch.wheel("pkg");
    scratch.python_with(&wheel);
    stage_archive(&scratch.settings(), &pin).unwrap();
    fs::write(scratch.path("log"), "").unwrap();
    scratch.python("exit 1");
    scratch.program("cargo", "exit 1");
    for offline in [None, Some("MLX_OFFLINE")] {
        let settings = Settings {
            offline,
            ..scratch.settings()
        };
        stage_archive(&settings, &pin).unwrap();
    }
    assert_eq!(fs::read_to_string(scratch.path("log")).unwrap(), "");
}

#[test]
fn refuses_a_python_that_is_too_old() {
    let scratch = Scratch::new();
    let (_, pin) = scratch.wheel("pkg");
    scratch.python_of_version("3.6.9", "exit 1");
    let error = stage_archive(&scratch.settings(), &pin).unwrap_err();
    assert!(
        matches!(&error, Error::OldPython { version, .. } if version == "3.6.9"),
        "{error}"
    );
    assert!(error.to_string().contains("3.9 or newer"), "{error}");
    assert_eq!(scratch.n_downloads(), 0);
}

#[test]
fn takes_another_python_when_the_first_is_too_old() {
    let scratch = Scratch::new();
    let (wheel, pin) = scratch.wheel("pkg");
    scratch.python_with(&wheel);
    fs::rename(scratch.path("bin/python3"), scratch.path("bin/python")).unwrap();
    scratch.python_of_version("2.7.18", "exit 1");
    stage_archive(&scratch.settings(), &pin).unwrap();
}

#[test]
fn says_how_to_install_python_and_pip() {
    let scratch = Scratch::new();
    let (_, pin) = scratch.wheel("pkg");
    let error = stage_archive(&scratch.settings(), &pin).unwrap_err();
    assert!(matches!(error, Error::NoPython { .. }), "{error}");
    scratch.program(
        "python3",
        "case \"$*\" in *version_info*) echo 3.12.1 ;; *) exit 1 ;; esac",
    );
    let error = stage_archive(&scratch.settings(), &pin).unwrap_err();
    assert!(matches!(error, Error::NoPip { .. }), "{error}");
    assert!(error.to_string().contains("python3-pip"), "{error}");
}

#[test]
fn finds_the_crate_in_cargo_s_cache_or_has_cargo_fetch_it() {
    let scratch = Scratch::new();
    let settings = scratch.settings();
    let pin = pins::find("mlx-c", &settings.platform).unwrap();
    scratch.program("cargo", "echo 'error: no network' >&2; exit 101");
    let text = stage_archive(&settings, &pin).unwrap_err().to_string();
    assert!(
        text.contains("no network") && text.contains("cargo fetch"),
        "{text}"
    );
    let log = fs::read_to_string(scratch.path("log")).unwrap();
    assert!(
        log.contains("cargo fetch --locked --manifest-path"),
        "{log}"
    );

    let cache = settings.cargo_home.join("registry/cache/some-registry");
    fs::create_dir_all(&cache).unwrap();
    fs::write(cache.join(&pin.file), "not the crate").unwrap();
    let error = stage_archive(&settings, &pin).unwrap_err();
    assert!(matches!(error, Error::Hash { .. }), "{error}");
}

#[test]
fn quotes_paths_in_the_commands_that_it_prints() {
    let scratch = Scratch::new();
    scratch.program("c++", "echo 'c++ 12'");
    scratch.program("cargo", "exit 1");
    let mut settings = Settings {
        offline: Some("MLX_OFFLINE"),
        ..scratch.settings()
    };
    settings.root.path = scratch.path("my stage; it's");
    let text = setup(&settings).unwrap_err().to_string();
    let quoted = format!("\"{}\"", settings.downloads().display());
    let n_commands = text.matches(" --dest ").count();
    assert!(
        n_commands > 3 && text.matches(&format!(" --dest {quoted} ")).count() == n_commands,
        "{text}"
    );
    assert!(
        text.contains(&format!("mkdir -p {quoted} && cp ")),
        "{text}"
    );
    assert!(
        !text.contains(&format!(" {} ", settings.downloads().display())),
        "{text}"
    );
}

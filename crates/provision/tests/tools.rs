//! What set-up says about the compiler, before anything is fetched.

mod support;

use std::fs;
use std::path::Path;

use mlx_provision::{Error, Settings, pins, setup};
use rstest::rstest;
use support::Scratch;

#[test]
fn says_how_to_install_a_compiler() {
    let scratch = Scratch::new();
    scratch.python("exit 1");
    let error = setup(&scratch.settings()).unwrap_err();
    assert!(matches!(error, Error::NoCompiler { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("c++, g++, clang++") && text.contains("apt install g++"),
        "{text}"
    );
    assert_eq!(scratch.n_downloads(), 0);
}

#[test]
fn names_the_compiler_that_cxx_points_to() {
    let scratch = Scratch::new();
    let settings = Settings {
        cxx: Some("g++-99".into()),
        ..scratch.settings()
    };
    let text = setup(&settings).unwrap_err().to_string();
    assert!(text.contains("tried g++-99"), "{text}");
}

#[test]
fn refuses_a_compiler_without_cxx20_before_fetching() {
    let scratch = Scratch::new();
    scratch.python("exit 1");
    scratch.program(
        "c++",
        "case \"$*\" in *--version*) echo 'g++ 4.8' ;; *) echo \"error: unrecognized option '-std=c++20'\" >&2; exit 1 ;; esac",
    );
    let error = setup(&scratch.settings()).unwrap_err();
    assert!(matches!(error, Error::OldCompiler { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("g++ 4.8") && text.contains("set CXX"),
        "{text}"
    );
    assert_eq!(scratch.n_downloads(), 0);
    assert!(scratch.staged().is_empty() && scratch.half_done().is_empty());
}

/// What set-up says with this `CXX` and these `CXXFLAGS`, which get as far as the network when they are good.
fn said_of(scratch: &Scratch, cxx: &str, cxxflags: &str) -> String {
    let settings = Settings {
        cxx: Some(cxx.into()),
        cxxflags: cxxflags.into(),
        ..scratch.settings()
    };
    setup(&settings).unwrap_err().to_string()
}

const GOOD: &str = "no Python found";

/// A compiler that knows `-m64` and no other flag, and a program that starts compilers.
fn compilers(scratch: &Scratch) {
    scratch.program("g++", "for a; do case $a in -O9|-m32) echo \"error: unknown $a\" >&2; exit 1 ;; esac; done; echo 'g++ 12'");
    scratch.program("ccache", "exec \"$@\"");
}

#[rstest]
#[case::plain("g++", "")]
#[case::argument("g++ -m64", "")]
#[case::launcher("ccache g++", "")]
#[case::launcher_and_argument("  ccache   g++ -m64 ", "")]
#[case::quoted("'g++' \"-m64\"", "")]
#[case::flags("g++", "-O2 -DNAME='two words' -I\"/a b\"")]
fn takes_a_compiler_with_arguments(#[case] cxx: &str, #[case] cxxflags: &str) {
    let scratch = Scratch::new();
    compilers(&scratch);
    // The fakes find each other.
    let path = format!("{}:/usr/bin:/bin", scratch.path("bin").display());
    scratch.program("ccache", &format!("PATH='{path}' exec \"$@\""));
    let text = said_of(&scratch, cxx, cxxflags);
    assert!(text.contains(GOOD), "{text}");
}

#[test]
fn takes_a_compiler_whose_path_has_a_space() {
    let scratch = Scratch::new();
    compilers(&scratch);
    let with_space = scratch.path("bin/my g++");
    fs::rename(scratch.path("bin/g++"), &with_space).unwrap();
    let path = with_space.to_str().unwrap();
    assert!(said_of(&scratch, path, "").contains(GOOD));
    assert!(said_of(&scratch, &format!("'{path}' -m64"), "").contains(GOOD));
}

#[rstest]
#[case::argument("g++ -m32", "", "CXX='g++ -m32' cannot be used: `")]
#[case::argument("g++ -m32", "", "error: unknown -m32; set CXX to")]
#[case::no_compiler("ccache g++-99", "", "CXX='ccache g++-99' cannot be used")]
#[case::quote("g++ '-m64", "", "a quote is not closed; set CXX")]
#[case::flags("g++", "-O9", "CXXFLAGS=-O9 cannot be used")]
#[case::flags("g++", "-O9", "error: unknown -O9; remove what it complains about")]
#[case::quoted_flags("g++", "-DA='x", "a quote is not closed; quote flags as in a shell")]
#[case::missing("clang++-99 -m64", "", "tried clang++-99 -m64")]
fn says_what_is_wrong_with_a_compiler(
    #[case] cxx: &str,
    #[case] cxxflags: &str,
    #[case] wanted: &str,
) {
    let scratch = Scratch::new();
    compilers(&scratch);
    scratch.python("exit 1");
    let text = said_of(&scratch, cxx, cxxflags);
    assert!(text.contains(wanted), "{text}");
    assert_eq!(scratch.n_downloads(), 0);
    assert!(scratch.half_done().is_empty());
}

#[test]
fn names_cmake_and_libclang_path_when_they_lead_nowhere() {
    let scratch = Scratch::new();
    compilers(&scratch);
    let settings = Settings {
        cmake: Some("cmake-99".into()),
        ..scratch.settings()
    };
    let text = setup(&settings).unwrap_err().to_string();
    assert!(
        text.contains("CMAKE=cmake-99 cannot be used: there is no such program"),
        "{text}"
    );
    let settings = Settings {
        libclang: Some(scratch.path("bin")),
        ..scratch.settings()
    };
    let text = setup(&settings).unwrap_err().to_string();
    assert!(
        text.contains("LIBCLANG_PATH=") && text.contains("no libclang is there"),
        "{text}"
    );
}

/// Writes what set-up reads of an MLX of this version.
fn write_mlx(dir: &Path, version: &str) {
    fs::create_dir_all(dir.join("lib")).unwrap();
    fs::create_dir_all(dir.join("include/mlx")).unwrap();
    fs::write(dir.join("lib/libmlx.so"), "").unwrap();
    let mut header = String::new();
    for (name, part) in ["MAJOR", "MINOR", "PATCH"].iter().zip(version.split('.')) {
        header.push_str(&format!("#define MLX_VERSION_{name} {part}\n"));
    }
    fs::write(dir.join("include/mlx/version.h"), header).unwrap();
}

#[rstest]
#[case::nowhere(
    "nowhere",
    "there is no such folder; set it to the folder with `lib/` and `include/`"
)]
#[case::a_file("mlx/lib/libmlx.so", "it is no folder; set it to ")]
#[case::its_lib("mlx/lib", "it has no lib/libmlx.so; set it to ")]
#[case::above("", "it has no lib/libmlx.so; set it to ")]
#[case::another_version("old", "it is version 0.1.0, but")]
#[case::no_library("headers", "it has no lib/libmlx.so; set it to the folder with")]
#[case::no_headers(
    "library",
    "it has no include/mlx/version.h; set it to the folder with"
)]
fn says_what_is_wrong_with_mlx_dir(#[case] dir: &str, #[case] wanted: &str) {
    let scratch = Scratch::new();
    compilers(&scratch);
    write_mlx(&scratch.path("mlx"), pins::MLX_VERSION);
    write_mlx(&scratch.path("old"), "0.1.0");
    write_mlx(&scratch.path("headers"), pins::MLX_VERSION);
    fs::remove_file(scratch.path("headers/lib/libmlx.so")).unwrap();
    write_mlx(&scratch.path("library"), pins::MLX_VERSION);
    fs::remove_dir_all(scratch.path("library/include")).unwrap();
    let mlx_dir = scratch.path(dir);
    let settings = Settings {
        mlx_dir: Some(mlx_dir.clone()),
        ..scratch.settings()
    };
    let text = setup(&settings).unwrap_err().to_string();
    assert!(
        text.starts_with(&format!("MLX_DIR={} cannot be used: ", mlx_dir.display())),
        "{text}"
    );
    assert!(text.contains(wanted), "{text}");
    if wanted.ends_with("set it to ") {
        let meant = format!("set it to {}", scratch.path("mlx").display());
        assert!(text.ends_with(&meant), "{text}");
    }
}

#[test]
fn takes_an_mlx_dir_of_the_pinned_version() {
    let scratch = Scratch::new();
    compilers(&scratch);
    write_mlx(&scratch.path("mlx"), pins::MLX_VERSION);
    let settings = Settings {
        mlx_dir: Some(scratch.path("mlx")),
        ..scratch.settings()
    };
    assert!(setup(&settings).unwrap_err().to_string().contains(GOOD));
}

#[rstest]
#[case(
    "tpu",
    None,
    "unknown backend `tpu`, known here: cpu, cuda13, cuda12; choose one of those, or none for cpu"
)]
#[case("CPU", None, "unknown backend `CPU`")]
#[case(
    "metal",
    None,
    "does not exist for linux on x86_64, which has: cpu, cuda13, cuda12"
)]
#[case("metal", Some("mlx"), "does not exist for linux")]
fn says_what_is_wrong_with_a_backend(
    #[case] backend: &str,
    #[case] mlx_dir: Option<&str>,
    #[case] wanted: &str,
) {
    let scratch = Scratch::new();
    compilers(&scratch);
    write_mlx(&scratch.path("mlx"), pins::MLX_VERSION);
    let settings = Settings {
        backend: Some(backend.into()),
        mlx_dir: mlx_dir.map(|name| scratch.path(name)),
        ..scratch.settings()
    };
    let text = setup(&settings).unwrap_err().to_string();
    assert!(
        text.starts_with(&format!("--backend={backend} cannot be used: ")),
        "{text}"
    );
    assert!(text.contains(wanted) && !text.contains("MLX_DIR"), "{text}");
}

//! What set-up says about the compiler, before anything is fetched.

mod support;

use mlx_provision::{Error, Settings, setup};
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

#[test]
fn refuses_an_mlx_dir_that_is_none() {
    let scratch = Scratch::new();
    scratch.program("c++", "echo 'c++ 12'");
    let settings = Settings {
        mlx_dir: Some(scratch.path("nowhere")),
        ..scratch.settings()
    };
    let text = setup(&settings).unwrap_err().to_string();
    assert!(text.contains("nowhere"), "{text}");
}

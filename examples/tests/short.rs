//! Each example runs in its short form, and does what it is for.
//!
//! Those that need a file that is fetched say so and pass where it cannot be had, unless `MLX_REQUIRE_ASSETS` is set.

use std::process::Command;

use mlx_testdata::{assets, if_available};

/// Runs an example and returns what it printed.
fn printed(program: &str) -> String {
    let output = Command::new(program)
        .arg("--short")
        .output()
        .expect(program);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns the number behind a word in what was printed.
fn number(printed: &str, word: &str) -> f32 {
    let mut words = printed
        .split_whitespace()
        .skip_while(|other| *other != word);
    let number = words
        .nth(1)
        .and_then(|number| number.trim_end_matches(',').parse().ok());
    number.unwrap_or_else(|| panic!("no number behind {word}: {printed}"))
}

#[test]
fn digits_are_read() {
    if if_available(assets::digits()).is_some() {
        let printed = printed(env!("CARGO_BIN_EXE_digits"));
        assert!(number(&printed, "accuracy") > 0.85, "{printed}");
    }
}

#[test]
fn characters_are_learned() {
    let printed = printed(env!("CARGO_BIN_EXE_characters"));
    assert!(
        number(&printed, "last") < 0.85 * number(&printed, "first"),
        "{printed}"
    );
}

#[test]
fn an_adapter_learns_a_lesson() {
    if if_available(assets::smollm2()).is_some() {
        let printed = printed(env!("CARGO_BIN_EXE_lora"));
        assert!(
            number(&printed, "last") < number(&printed, "first"),
            "{printed}"
        );
    }
}

#[test]
fn a_block_of_pytorch_gives_its_numbers() {
    let printed = printed(env!("CARGO_BIN_EXE_resnet_block"));
    assert!(number(&printed, "PyTorch") < 1e-4, "{printed}");
    assert!(
        number(&printed, "last") < number(&printed, "first"),
        "{printed}"
    );
}

#[test]
fn a_series_is_predicted_better_than_by_its_last_value() {
    let printed = printed(env!("CARGO_BIN_EXE_time_series"));
    let (error, before) = (number(&printed, "error"), number(&printed, "before"));
    assert!(error < 0.7 * before, "{printed}");
}

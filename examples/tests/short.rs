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

/// Runs an example as the ranks of a group, and returns what rank 0 printed.
fn printed_by_ranks(program: &str, ranks: usize) -> String {
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts.json");
    let listeners: Vec<_> = (0..ranks)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let address = |listener: &std::net::TcpListener| [listener.local_addr().unwrap().to_string()];
    let addresses: Vec<_> = listeners.iter().map(address).collect();
    std::fs::write(&hosts, serde_json::to_string(&addresses).unwrap()).unwrap();
    drop(listeners);
    let start = |rank: usize| {
        Command::new(program)
            .arg("--short")
            .env("MLX_HOSTFILE", &hosts)
            .env("MLX_RANK", rank.to_string())
            .env("MLX_NUM_THREADS", "1")
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect(program)
    };
    let children: Vec<_> = (0..ranks).map(start).collect();
    let outputs = children
        .into_iter()
        .map(|child| child.wait_with_output().unwrap());
    let texts: Vec<String> = outputs
        .map(|output| {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program}: {errors}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
        .collect();
    texts[0].clone()
}

#[test]
fn four_ranks_have_the_losses_of_one() {
    if if_available(assets::digits()).is_none() {
        return;
    }
    let program = env!("CARGO_BIN_EXE_digits_data_parallel");
    let losses = |printed: &str| -> Vec<f32> {
        let lines = printed.lines().filter(|line| line.starts_with("epoch"));
        lines.map(|line| number(line, "loss")).collect()
    };
    let (one, four) = (printed(program), printed_by_ranks(program, 4));
    assert!(four.contains("ranks 4 accuracy"), "{four}");
    let (one, four) = (losses(&one), losses(&four));
    assert_eq!((one.len(), four.len()), (14, 14));
    for (one, four) in one.iter().zip(&four) {
        assert!(
            (one - four).abs() < 2e-5 * one.abs().max(1.0),
            "{one} {four}"
        );
    }
    assert!(four[13] < 0.7 * four[0]);
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

#[test]
fn speech_is_transcribed_without_mlx() {
    let (Some(model), Some(recording)) = (
        if_available(assets::whisper_tiny_en()),
        if_available(assets::jfk_wav()),
    ) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    mlx_models::whisper::save_functions(model, folder.path()).unwrap();
    let run = |arguments: &[&std::path::Path]| {
        Command::new(env!("CARGO_BIN_EXE_transcribe_without_mlx"))
            .args(arguments)
            .env("MLX_DIR", "/nonexistent")
            .output()
            .unwrap()
    };
    let output = run(&[folder.path(), &recording]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let printed = String::from_utf8_lossy(&output.stdout);
    let text = "And so my fellow Americans ask not what your country can do for you";
    assert!(printed.starts_with("[00:00.00 - "), "{printed}");
    assert!(printed.contains(text), "{printed}");
    for wrong in [&[][..], &[folder.path()], &[&recording, &recording]] {
        let output = run(wrong);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.starts_with("error: "), "{errors}");
    }
}

//! How commands end when their output is closed or their recordings cannot be read.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use mlx_testdata::{assets, if_available};
use rstest::rstest;

fn mlx(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mlx"));
    command.args(args);
    command
}

/// Runs a command whose standard output is closed before it writes, as `| head` does.
fn closed(args: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    mlx(args)
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap()
}

#[rstest]
#[case::help(&["--help"])]
#[case::doctor(&["doctor"])]
#[case::doctor_json(&["doctor", "--json"])]
#[case::demo(&["demo"])]
#[cfg(unix)]
fn a_closed_pipe_ends_a_command_quietly(#[case] args: &[&str]) {
    let output = closed(args);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    // As if SIGPIPE had ended it, which is what a shell expects of `yes | head`.
    assert_eq!(output.status.code(), Some(128 + 13));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = mlx(&["--help"]).stdout(full).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.starts_with("error: standard output: "), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
#[cfg(unix)]
fn a_closed_standard_error_is_no_panic() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = mlx(&["transcribe", "no-such.wav"])
        .stderr(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn every_recording_that_is_missing_is_named_once() {
    let output = mlx(&["transcribe", "no-such.wav", "nor-this.mp3"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    for (line, name) in lines.iter().zip(["no-such.wav", "nor-this.mp3"]) {
        assert!(line.starts_with(&format!("error: {name}: ")), "{line}");
        assert_eq!(line.matches(name).count(), 1, "{line}");
        assert_eq!(line.matches("os error").count(), 1, "{line}");
    }
}

#[test]
fn standard_input_that_is_no_recording_is_an_error() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let status = mlx(&["transcribe", "-"])
        .stdin(Stdio::null())
        .stderr(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(
        text.starts_with("error: standard input: audio: wanted "),
        "{text}"
    );
}

#[test]
fn what_can_be_read_is_transcribed_and_the_rest_is_told() {
    let files = [assets::jfk_wav(), assets::beckett_wav()].map(if_available);
    let ([Some(jfk), Some(beckett)], Some(_)) = (files, if_available(assets::whisper_tiny_en()))
    else {
        return;
    };
    let cut = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cut.wav");
    let whole = std::fs::read(beckett).unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let cut = cut.to_str().unwrap();
    let output = mlx(&["transcribe", "-", "no-such.wav", cut])
        .stdin(std::fs::File::open(jfk).unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let errors: Vec<&str> = errors.lines().collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with("error: no-such.wav: "), "{errors:?}");
    let warning = format!("warning: {cut}: truncated: wanted ");
    assert!(errors[1].starts_with(&warning), "{errors:?}");
    let texts = String::from_utf8_lossy(&output.stdout).to_lowercase();
    let (first, second) = texts.split_once(cut.to_lowercase().as_str()).unwrap();
    assert!(first.starts_with("standard input\n"), "{texts}");
    assert!(first.contains("ask not what your country"), "{texts}");
    assert!(second.contains("[00:00"), "{texts}");
}

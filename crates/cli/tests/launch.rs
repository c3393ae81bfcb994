//! `mlx launch`: ranks here and over ssh, what they are given, and what happens when one fails.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use mlx_testdata::{assets, if_available};

fn launch(arguments: &[&str], input: &str, path: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mlx"));
    command
        .arg("launch")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(first) = path {
        let rest = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{rest}", first.display()));
    }
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    output
}

fn lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn ranks_know_who_they_are() {
    let program = "echo rank $MLX_RANK $A; grep -o 127.0.0.1: $MLX_HOSTFILE | wc -l";
    let arguments = ["-n", "3", "--env", "A=b", "--", "sh", "-c", program];
    let output = launch(&arguments, "", None);
    assert_eq!(output.status.code(), Some(0));
    let wanted = [
        "[0] 3",
        "[0] rank 0 b",
        "[1] 3",
        "[1] rank 1 b",
        "[2] 3",
        "[2] rank 2 b",
    ];
    assert_eq!(lines(&output), wanted);
}

#[test]
fn one_that_fails_ends_all() {
    let start = Instant::now();
    let program = "if [ $MLX_RANK = 1 ]; then echo no >&2; exit 7; fi; exec sleep 60";
    let output = launch(&["-n", "3", "--", "sh", "-c", program], "", None);
    assert_eq!(output.status.code(), Some(7));
    assert!(start.elapsed() < Duration::from_secs(20));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("[1] no\n") && errors.contains("rank 1 ended"),
        "{errors}"
    );
    // One that does not end when it is asked to, and one that a signal ends.
    let program = "if [ $MLX_RANK = 1 ]; then kill -9 $$; fi; trap '' TERM; sleep 60";
    let output = launch(&["-n", "2", "--", "sh", "-c", program], "", None);
    assert_eq!(output.status.code(), Some(128 + 9));
    assert!(start.elapsed() < Duration::from_secs(40));
}

#[test]
fn all_ranks_read_the_input() {
    let program = "read line; echo got $line";
    let arguments = ["-n", "2", "--no-prefix", "--", "sh", "-c", program];
    assert_eq!(
        lines(&launch(&arguments, "a word\n", None)),
        ["got a word"; 2]
    );
}

/// A program named `ssh` that runs what it is given here.
#[test]
fn ranks_start_over_ssh() {
    let folder = tempfile::tempdir().unwrap();
    let ssh = folder.path().join("ssh");
    std::fs::write(
        &ssh,
        "#!/bin/sh\nfor last; do :; done\necho \"over $4\"\nexec sh -c \"$last\"\n",
    )
    .unwrap();
    let made = Command::new("chmod").arg("+x").arg(&ssh).status().unwrap();
    assert!(made.success());
    let hosts = folder.path().join("hosts.json");
    let text = r#"[{"ssh": "near", "ips": ["10.0.0.1"]}, {"ssh": "far", "ips": ["10.0.0.2"]}]"#;
    std::fs::write(&hosts, text).unwrap();
    let program = "pwd; echo \"rank $MLX_RANK, it's here\"; cat $MLX_HOSTFILE";
    let hosts = hosts.display().to_string();
    let here = folder.path().canonicalize().unwrap();
    let cwd = here.display().to_string();
    let arguments = [
        "--hostfile",
        &hosts,
        "--cwd",
        &cwd,
        "--",
        "sh",
        "-c",
        program,
    ];
    let output = launch(&arguments, "", Some(folder.path()));
    let addresses = r#"[["10.0.0.1:32323"],["10.0.0.2:32324"]]"#;
    let mut wanted = Vec::new();
    for (rank, host) in ["near", "far"].iter().enumerate() {
        wanted.push(format!("[{rank}] {cwd}"));
        wanted.push(format!("[{rank}] {addresses}"));
        wanted.push(format!("[{rank}] over {host}"));
        wanted.push(format!("[{rank}] rank {rank}, it's here"));
    }
    wanted.sort();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(lines(&output), wanted, "{errors}");
}

#[test]
fn what_cannot_be_started_is_said() {
    let output = launch(&["-n", "2", "--", "/no/such/program"], "", None);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("rank 0 cannot be started"), "{errors}");
    let output = launch(&["--hosts", "front,back", "--", "true"], "", None);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("an address of each host"), "{errors}");
}

#[test]
fn two_ranks_generate_what_one_does() {
    if if_available(assets::smollm2()).is_none() {
        return;
    }
    let mlx = env!("CARGO_BIN_EXE_mlx");
    let generate = [
        "generate",
        "--prompt",
        "The capital of France is",
        "--max-tokens",
        "8",
    ];
    let one = Command::new(mlx).args(generate).output().unwrap();
    assert!(one.status.success());
    let mut arguments = vec![
        "-n",
        "2",
        "--no-prefix",
        "--env",
        "MLX_NUM_THREADS=1",
        "--",
        mlx,
    ];
    arguments.extend(generate);
    for by_layers in [false, true] {
        arguments.extend(by_layers.then_some("--pipeline"));
        let two = launch(&arguments, "", None);
        let errors = String::from_utf8_lossy(&two.stderr);
        assert_eq!(two.status.code(), Some(0), "{errors}");
        assert_eq!(lines(&two), lines(&one), "{errors}");
    }
}

//! Tests in a process of their own: for what belongs to the process, and for what might end it.

use std::process::Command;

/// Runs an ignored test of this test program in a process of its own.
pub fn alone(name: &str, variables: &[(&str, &str)]) {
    // The modules around this one: none, or the test's file where all files are one program.
    let mut name: Vec<&str> = name.split("::").collect();
    let around: Vec<&str> = module_path!().split("::").skip(1).collect();
    name.splice(0..0, around[..around.len() - 1].iter().copied());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name.join("::"), "--ignored", "--nocapture"])
        .env_remove("MLX_CACHE_LIMIT")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

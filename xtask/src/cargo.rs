//! How xtask runs cargo and other commands in the workspace.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use mlx_provision::Progress;

/// Returns the workspace's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Runs cargo with these arguments in the workspace, its output on the terminal.
pub fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Result<()> {
    run(command(args))
}

/// Returns cargo with these arguments in the workspace, to be changed before it runs.
pub fn command<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    command
}

/// Runs a command and fails when it does.
pub fn run(mut command: Command) -> Result<()> {
    let shown = format!("{command:?}").replace('"', "");
    let status = command
        .status()
        .with_context(|| format!("{shown} could not be started"))?;
    ensure!(status.success(), "{shown} failed ({status})");
    Ok(())
}

/// Builds with these arguments of `cargo build`; on a terminal with a spinner that counts crates.
///
/// # Errors
/// When the build fails; the compiler's messages are on the standard error then.
pub fn build(what: &str, args: &[&str]) -> Result<()> {
    let progress = Progress::new();
    let spinner = progress.task(what);
    let mut command = command([
        "build",
        "--quiet",
        "--message-format=json-render-diagnostics",
    ]);
    command
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("cargo could not be started")?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let messages = std::thread::spawn(move || {
        let mut text = String::new();
        let read = stderr.map(|mut stderr| stderr.read_to_string(&mut text));
        read.transpose().map(|_| text)
    });
    let mut n_built = 0;
    for line in stdout
        .into_iter()
        .flat_map(|stdout| BufReader::new(stdout).lines())
    {
        if let Some(name) = built(&line?) {
            n_built += 1;
            spinner.message(format!("{n_built} targets, {name}"));
        }
    }
    let status = child.wait()?;
    drop(spinner);
    let messages = messages
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    eprint!("{messages}");
    ensure!(
        status.success(),
        "cargo build {} failed ({status})",
        args.join(" ")
    );
    Ok(())
}

/// Returns the name of the target that a message of cargo says is built.
fn built(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("{\"reason\":\"compiler-artifact\"")?;
    let (_, target) = rest.split_once("\"target\":{")?;
    target.split_once("\"name\":\"")?.1.split('"').next()
}

/// Returns the arguments after the name of the command, for another program.
pub fn forwarded() -> Result<Vec<String>> {
    let text = |arg: std::ffi::OsString| {
        arg.into_string()
            .map_err(|arg| anyhow::anyhow!("{arg:?} is not text"))
    };
    std::env::args_os().skip(2).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::built;

    #[test]
    fn finds_what_is_built_in_cargo_s_messages() {
        let message = "{\"reason\":\"compiler-artifact\",\"package_id\":\"a#b@1.0\",\"target\":{\"kind\":[\"lib\"],\
                       \"name\":\"b\",\"src_path\":\"/b.rs\"},\"fresh\":true}";
        assert_eq!(built(message), Some("b"));
        assert_eq!(
            built("{\"reason\":\"build-finished\",\"success\":true}"),
            None
        );
    }
}

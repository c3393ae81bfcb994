//! How xtask runs cargo and other commands in the workspace.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

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

/// Returns the arguments that are left, for another program.
pub fn rest(args: &mut lexopt::Parser) -> Result<Vec<String>> {
    let text = |arg: std::ffi::OsString| {
        arg.into_string()
            .map_err(|arg| anyhow::anyhow!("{arg:?} is not text"))
    };
    args.raw_args()?.map(text).collect()
}

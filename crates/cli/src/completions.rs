//! `mlx completions`: scripts that complete commands and options in a shell.

use clap::Args;
use clap_complete::Shell;

use crate::output;

/// What `mlx completions` is told.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
bash: mlx completions bash > ~/.local/share/bash-completion/completions/mlx
zsh:  mlx completions zsh > _mlx, in a folder of $fpath
fish: mlx completions fish > ~/.config/fish/completions/mlx.fish")]
pub struct CompletionsArguments {
    /// The shell
    pub shell: Shell,
}

/// Prints the script.
pub fn run(arguments: &CompletionsArguments, mut command: clap::Command) {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "mlx", &mut script);
    output::write(format_args!("{}", String::from_utf8_lossy(&script)));
}

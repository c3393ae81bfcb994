//! What can be asked of `cargo xtask bench`?

use std::path::PathBuf;

use anyhow::{Result, bail};
use lexopt::prelude::*;

use super::environment::RIVALS;
use super::jit_vs_eager::PREFIX;

/// The command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The rows with targets and a few sizes of each sweep, with fewer rounds.
    pub quick: bool,
    /// Parts of row names; empty for all rows.
    pub only: Vec<String>,
    /// Rivals to run; empty for all that do not take long to set up or are there already.
    pub against: Vec<String>,
    /// Results to compare with.
    pub compare: Option<PathBuf>,
    /// Compare these results instead of measuring.
    pub with: Option<PathBuf>,
    /// Write table and plots of these results, without measuring.
    pub render: Option<PathBuf>,
    /// Where results are written.
    pub out: Option<PathBuf>,
    /// Whether rows are listed instead of measured.
    pub list: bool,
    /// Whether to set rivals up and stop.
    pub set_up: bool,
    /// Whether to print the help text.
    pub help: bool,
}

/// The help text.
pub const HELP: &str = "\
usage: cargo xtask bench [options]

  --quick            every row with a target and a few sizes, under 15 minutes on 2 cores
  --only PART...     rows whose name has one of these parts; with jit-vs-eager, functions compiled and uncompiled
                     in one process: exit status 2 when one is slower compiled
  --against NAME,..  only these rivals, built first when they are not: python-mlx, python-mlx-openblas, numpy,
                     jax, onnxruntime, candle, faster-whisper, llama-cpp, all, none
  --compare OLD.json what got slower than in OLD.json by more than the noise of both runs
  --with NEW.json    with --compare: compare these results and measure nothing
  --render RUN.json  write the table and the plots of a run again
  --out FOLDER       where results are written (benches/results)
  --list             print the rows
  --set-up           set the rivals up and stop
";

impl Options {
    /// Reads the command line.
    ///
    /// # Errors
    /// When it has something unknown.
    pub fn parse(mut args: lexopt::Parser) -> Result<Self> {
        let mut options = Self::default();
        while let Some(arg) = args.next()? {
            match arg {
                Long("quick") => options.quick = true,
                Long("only") => {
                    for part in args.values()? {
                        options.only.push(part.string()?);
                    }
                }
                Long("against") => options.against = against(&args.value()?.string()?)?,
                Long("compare") => options.compare = Some(args.value()?.into()),
                Long("with") => options.with = Some(args.value()?.into()),
                Long("render") => options.render = Some(args.value()?.into()),
                Long("out") => options.out = Some(args.value()?.into()),
                Long("list") => options.list = true,
                Long("set-up") => options.set_up = true,
                Long("help") | Short('h') => options.help = true,
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(options)
    }

    /// Whether a row is wanted.
    pub fn wants_row(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| id.contains(part.as_str()))
    }

    /// Whether the gate of compiled functions was asked for, which runs alone.
    pub fn names_gate(&self) -> bool {
        let name = PREFIX.trim_end_matches('/');
        self.only.iter().any(|part| part.starts_with(name))
    }

    /// Whether a rival is wanted.
    pub fn wants_rival(&self, name: &str) -> bool {
        self.against.is_empty() || self.names(name)
    }

    /// Whether a rival was named.
    pub fn names(&self, name: &str) -> bool {
        self.against.iter().any(|one| one == name)
    }
}

fn against(list: &str) -> Result<Vec<String>> {
    let known: Vec<&str> = RIVALS.iter().map(|rival| rival.name).collect();
    let names: Vec<&str> = match list {
        "all" => known,
        "none" => vec!["none"],
        list => {
            let names: Vec<&str> = list.split(',').map(str::trim).collect();
            if let Some(name) = names.iter().find(|name| !known.contains(name)) {
                bail!("against: wanted some of {}, got {name}", known.join(", "));
            }
            names
        }
    };
    Ok(names.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn parse(args: &[&str]) -> Result<Options> {
        let args = args.iter().map(std::ffi::OsString::from);
        Options::parse(lexopt::Parser::from_args(args))
    }

    #[test]
    fn rows_are_chosen_by_parts_of_their_names() {
        let options = parse(&["--only", "rms_norm/", "gelu"]).unwrap();
        assert!(options.wants_row("rms_norm/float32/4/cpu"));
        assert!(options.wants_row("gelu/float32/4/cpu"));
        assert!(!options.wants_row("add/float32/4/cpu"));
    }

    #[rstest]
    #[case(&["--only", "jit-vs-eager"], true)]
    #[case(&["--only", "add", "jit-vs-eager/rope"], true)]
    #[case(&["--only", "rope"], false)]
    #[case(&[], false)]
    fn the_gate_runs_when_it_is_named(#[case] args: &[&str], #[case] named: bool) {
        assert_eq!(parse(args).unwrap().names_gate(), named);
    }

    #[test]
    fn rivals_are_chosen_by_name() {
        let options = parse(&["--against", "numpy,llama-cpp"]).unwrap();
        assert!(options.wants_rival("llama-cpp") && !options.wants_rival("jax"));
        assert!(!parse(&["--against", "none"]).unwrap().wants_rival("jax"));
        assert!(parse(&[]).unwrap().wants_rival("jax"));
        assert!(parse(&["--against", "torch"]).is_err());
    }
}

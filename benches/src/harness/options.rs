//! The options of `cargo xtask bench`.
//!
//! `xtask` compiles this file too, so that a wrong option is refused, and help printed, before the harness is built.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// The names of the rivals, in the order of the table.
pub const RIVAL_NAMES: [&str; 11] = [
    "python-mlx",
    "python-mlx-openblas",
    "numpy",
    "jax",
    "onnxruntime",
    "pytorch",
    "faster-whisper",
    "llama-cpp",
    "candle",
    "mlx-lm",
    "pytorch-compiled",
];

/// What computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// The CPU.
    #[default]
    Cpu,
    /// The GPU of the backend in use.
    Gpu,
}

/// How the names of the rows begin that compare functions compiled and uncompiled.
pub const JIT_VS_EAGER: &str = "jit-vs-eager/";
/// How the names of the rows begin that are measured against PyTorch, and only when `--only` names them.
pub const FAMILIES: [&str; 3] = ["sweep/", "growth/", "training/"];

/// The command line.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(after_help = "\
With --only sweep, 129 operations and some small calls run against PyTorch, and the geometric mean, the rows at or
ahead of it, above 1.5, and slower in half precision are printed (about 10 minutes); --only growth has the cost
against size, and --only training steps of training and gradients of layers, against JAX too. PyTorch is downloaded (4 GB) when --against pytorch names it first.
With --device gpu, the rows of a GPU run beside Python MLX, mlx-lm and PyTorch, eager and compiled, of the Python that
MLX_BENCH_PYTHON names; nothing is set up or downloaded. --resume takes the rows over that an earlier run has.
With --only jit-vs-eager, functions are compared compiled and uncompiled in one process.
Exit status of the harness: 0 for success, 1 when something failed, 2 for a command line that is not understood and
when --compare or jit-vs-eager found something slower; `cargo xtask` makes 1 of it.")]
pub struct Options {
    /// What computes: with `gpu` the rows are those of a GPU
    #[arg(long, value_enum, value_name = "DEVICE", default_value_t)]
    pub device: Device,
    /// Every row with a target and a few sizes, with fewer rounds: under 15 minutes on 2 cores
    #[arg(long)]
    pub quick: bool,
    /// Rows whose name has one of these parts, `sweep`, `growth`, `training` or `jit-vs-eager`; all but these four otherwise
    #[arg(long, value_name = "PART", num_args = 1..)]
    pub only: Vec<String>,
    /// Only these rivals, built first when they are not: python-mlx, python-mlx-openblas, numpy, jax, onnxruntime,
    /// pytorch, faster-whisper, llama-cpp, candle, mlx-lm, pytorch-compiled, all, none; otherwise those that are built or are set up fast
    #[arg(long, value_name = "NAME,..", value_delimiter = ',', value_parser = rival)]
    pub against: Vec<String>,
    /// Report what got slower than in these results by more than the noise of both runs
    #[arg(long, value_name = "OLD.json")]
    pub compare: Option<PathBuf>,
    /// With --compare: compare these results and measure nothing
    #[arg(long, value_name = "NEW.json")]
    pub with: Option<PathBuf>,
    /// Write the table and the plots of a run again, without measuring
    #[arg(long, value_name = "RUN.json")]
    pub render: Option<PathBuf>,
    /// The folder that results are written to; `benches/results` otherwise
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Take over the rows that these results have a time for, and measure the others
    #[arg(long, value_name = "RUN.json")]
    pub resume: Option<PathBuf>,
    /// Seconds after which no row is begun any more
    #[arg(long, value_name = "SECONDS")]
    pub deadline: Option<u64>,
    /// Print the rows
    #[arg(long)]
    pub list: bool,
    /// Set the rivals up and stop
    #[arg(long)]
    pub set_up: bool,
}

/// Returns the name of a rival, or `all` or `none`.
fn rival(text: &str) -> Result<String, String> {
    let name = text.trim();
    match RIVAL_NAMES.contains(&name) || ["all", "none"].contains(&name) {
        true => Ok(name.to_owned()),
        false => Err(format!(
            "wanted some of {}, got {name}",
            RIVAL_NAMES.join(", ")
        )),
    }
}

impl Options {
    /// Whether a row is wanted. Those of [`FAMILIES`] are when a part begins with the family's name.
    pub fn wants_row(&self, id: &str) -> bool {
        let family = FAMILIES.into_iter().find(|family| id.starts_with(family));
        let Some(family) = family else {
            return self.only.is_empty() || self.only.iter().any(|part| id.contains(part.as_str()));
        };
        let family = family.trim_end_matches('/');
        let mut parts = self.only.iter();
        parts.any(|part| part.starts_with(family) && id.contains(part.as_str()))
    }

    /// What kind of run this is: `quick`, `full`, one of the families as a whole, or `partial`.
    pub fn mode(&self) -> &'static str {
        let family = |part: &str| {
            let mut names = FAMILIES.iter().map(|family| family.trim_end_matches('/'));
            names.find(|name| *name == part)
        };
        match (self.only.as_slice(), self.quick) {
            ([], true) => "quick",
            ([], false) => "full",
            ([part], _) => family(part).unwrap_or("partial"),
            _ => "partial",
        }
    }

    /// Whether the gate of compiled functions was asked for, which runs alone.
    pub fn names_gate(&self) -> bool {
        let name = JIT_VS_EAGER.trim_end_matches('/');
        self.only.iter().any(|part| part.starts_with(name))
    }

    /// Whether the rows are those of a GPU.
    pub fn is_of_gpu(&self) -> bool {
        self.device == Device::Gpu
    }

    /// Whether a rival is wanted.
    pub fn wants_rival(&self, name: &str) -> bool {
        self.against.is_empty() || self.names(name)
    }

    /// Whether a rival was named.
    pub fn names(&self, name: &str) -> bool {
        self.against.iter().any(|one| one == name || one == "all")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct CommandLine {
        #[command(flatten)]
        options: Options,
    }

    fn parse(args: &[&str]) -> Result<Options, clap::Error> {
        let args = std::iter::once(&"bench").chain(args);
        clap::Parser::try_parse_from(args).map(|line: CommandLine| line.options)
    }

    #[test]
    fn rows_are_chosen_by_parts_of_their_names() {
        let options = parse(&["--only", "rms_norm/", "gelu"]).unwrap();
        assert!(options.wants_row("rms_norm/float32/4/cpu"));
        assert!(options.wants_row("gelu/float32/4/cpu"));
        assert!(!options.wants_row("add/float32/4/cpu"));
    }

    #[test]
    fn the_sweep_runs_when_it_is_named() {
        let (add, sweep) = ("add/float32/4/cpu", "sweep/add/float32/cpu");
        for (args, expected, mode) in [
            (&[][..], [true, false], "full"),
            (&["--only", "add"], [true, false], "partial"),
            (&["--only", "sweep"], [false, true], "sweep"),
            (&["--only", "sweep", "--quick"], [false, true], "sweep"),
            (&["--only", "sweep/add/"], [false, true], "partial"),
            (&["--only", "sweep", "add"], [true, true], "partial"),
            (&["--only", "growth"], [false, false], "growth"),
            (&["--only", "training"], [false, false], "training"),
        ] {
            let options = parse(args).unwrap();
            let wanted = [add, sweep].map(|id| options.wants_row(id));
            assert_eq!((wanted, options.mode()), (expected, mode), "{args:?}");
        }
    }

    #[test]
    fn the_gate_runs_when_it_is_named() {
        for (args, named) in [
            (&["--only", "jit-vs-eager"][..], true),
            (&["--only", "add", "jit-vs-eager/rope"], true),
            (&["--only", "rope"], false),
            (&[], false),
        ] {
            assert_eq!(parse(args).unwrap().names_gate(), named, "{args:?}");
        }
    }

    #[test]
    fn the_cpu_computes_unless_a_gpu_is_named() {
        assert!(!parse(&[]).unwrap().is_of_gpu());
        let options = parse(&["--device", "gpu", "--quick", "--deadline", "300"]).unwrap();
        assert!(options.is_of_gpu());
        assert_eq!((options.mode(), options.deadline), ("quick", Some(300)));
        assert!(options.wants_row("gpu/rms_norm/float32/4x128x1024"));
        assert!(parse(&["--device", "tpu"]).is_err());
    }

    #[test]
    fn rivals_are_chosen_by_name() {
        let options = parse(&["--against", "numpy, llama-cpp"]).unwrap();
        assert!(options.wants_rival("llama-cpp") && !options.wants_rival("jax"));
        assert!(!parse(&["--against", "none"]).unwrap().wants_rival("jax"));
        assert!(parse(&[]).unwrap().wants_rival("jax"));
        assert!(parse(&["--against", "all"]).unwrap().wants_rival("jax"));
        assert!(parse(&["--against", "torch"]).is_err());
    }
}

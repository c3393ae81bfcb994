//! The options of the commands of `mlx`, as types without any dependency but clap.
//!
//! `cargo xtask` compiles this file too: its `demo`, `doctor`, `transcribe` and `generate` refuse a wrong option and
//! print help before they build the command.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// The exit statuses, shown at the end of the help.
pub const EXIT_STATUS: &str = "\
Exit status: 0 for success, 1 when something failed, 2 for a command line that is not understood,
141 when the reader of the output closed it (128 + SIGPIPE).";

/// What `mlx demo` is told.
#[derive(Args, Clone, Debug, Default)]
pub struct DemoArguments {
    /// The recording to transcribe; J. F. Kennedy's otherwise
    #[arg(long, value_name = "FILE")]
    pub audio: Option<PathBuf>,
    /// A Whisper model: a folder, or hf:NAME for a repository of the Hugging Face hub
    #[arg(long, value_name = "DIR|hf:NAME")]
    pub model: Option<String>,
    /// Write the results as JSON too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// What `mlx doctor` is told.
#[derive(Args, Clone, Debug, Default)]
pub struct DoctorArguments {
    /// Print the checks as JSON
    #[arg(long)]
    pub json: bool,
}

/// What `mlx diff` is told.
#[derive(Args, Clone, Debug, Default)]
pub struct DiffArguments {
    /// A graph: its text, a saved function (.safetensors), or a file of MLX's (.mlxfn)
    #[arg(value_name = "FILE")]
    pub left: PathBuf,
    /// The graph to compare it with
    #[arg(value_name = "FILE")]
    pub right: PathBuf,
}

/// What `mlx export` is told.
#[derive(Args, Clone, Debug, Default)]
pub struct ExportArguments {
    /// A Whisper model: a folder, or hf:NAME for a repository of the Hugging Face hub
    #[arg(long, value_name = "DIR|hf:NAME")]
    pub model: Option<String>,
    /// The folder that the files are written to
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
}

/// What `mlx transcribe` is told.
#[derive(Args, Clone, Debug, Default)]
pub struct TranscribeArguments {
    /// A Whisper model: a folder, or hf:NAME for a repository of the Hugging Face hub
    #[arg(long, value_name = "DIR|hf:NAME")]
    pub model: Option<String>,
    /// Compute with composed formulas instead of fused kernels
    #[arg(long)]
    pub composed: bool,
    /// The language that is spoken, as a code such as `de`; detected otherwise
    #[arg(long, value_name = "CODE")]
    pub language: Option<String>,
    /// Translate into English
    #[arg(long)]
    pub translate: bool,
    /// Beam search with this many beams
    #[arg(long, value_name = "N")]
    pub beams: Option<usize>,
    /// How many candidates are sampled at temperatures above 0
    #[arg(long, value_name = "N")]
    pub best_of: Option<usize>,
    /// Do not predict timestamps
    #[arg(long)]
    pub no_timestamps: bool,
    /// Do not skip stretches without speech
    #[arg(long)]
    pub no_vad: bool,
    /// Recordings; - is the standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// What `mlx generate` is told.
#[derive(Args, Clone, Debug, Default)]
pub struct GenerateArguments {
    /// A model of the Llama family: a GGUF file, a folder, or hf:NAME for a repository of the Hugging Face hub
    #[arg(long, value_name = "FILE.gguf|DIR|hf:NAME")]
    pub model: Option<String>,
    /// Continue this text
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        conflicts_with = "chat"
    )]
    pub prompt: Option<String>,
    /// Answer this message; without it and --prompt, a conversation over the standard input
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub chat: Option<String>,
    /// The system message of the conversation
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub system: Option<String>,
    /// The maximum number of tokens
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<usize>,
    /// A text in front of which generation stops; may be repeated
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub stop: Vec<String>,
    /// The sampling temperature; 0 takes the most likely token
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub temperature: Option<f32>,
    /// Sample from this many most likely tokens
    #[arg(long, value_name = "N")]
    pub top_k: Option<usize>,
    /// Sample from the most likely tokens that have this probability together
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    pub top_p: Option<f32>,
    /// Leave out tokens below this share of the probability of the most likely one
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    pub min_p: Option<f32>,
    /// Divide the logits of tokens that occurred before
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub repetition_penalty: Option<f32>,
    /// The seed of the sampler
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Compute with composed formulas instead of fused kernels
    #[arg(long)]
    pub composed: bool,
    /// Unpack quantized weights when the model is loaded
    #[arg(long)]
    pub unpacked: bool,
    /// How layers with quantized weights of 4 or 8 bits take their input, on the CPU
    #[arg(long, value_name = "KIND", value_enum, default_value_t, conflicts_with_all = ["composed", "unpacked"])]
    pub activations: Activations,
    /// How keys and values of past tokens are kept
    #[arg(long, value_name = "KIND", value_enum, default_value_t)]
    pub kv_cache: KvCache,
    /// Under `mlx launch`: give each rank a range of layers, instead of a part of every layer
    #[arg(long)]
    pub pipeline: bool,
}

/// How keys and values of past tokens are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KvCache {
    /// In the model's dtype
    #[default]
    Float,
    /// In 8 bits: less than a third of the memory of 32 bits, and the text may become another one
    Int8,
}

/// How layers with quantized weights take their input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Activations {
    /// As it is
    #[default]
    Float,
    /// Rounded to 8 bits: faster, and the text may become another one
    Int8,
}

/// What `mlx launch` is told. Names and defaults are those of Python's `mlx.launch`.
#[derive(Args, Clone, Debug, Default)]
pub struct LaunchArguments {
    /// How often each host of --hosts is a rank
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub repeat_hosts: u16,
    /// The hosts, separated by commas: addresses, or names for ssh
    #[arg(
        long,
        value_name = "HOST,..",
        value_delimiter = ',',
        default_value = "127.0.0.1"
    )]
    pub hosts: Vec<String>,
    /// A JSON file with a list of {"ssh": HOST, "ips": [ADDRESS, ..]} for each rank, instead of --hosts
    #[arg(long, value_name = "FILE")]
    pub hostfile: Option<PathBuf>,
    /// How ranks communicate
    #[arg(long, value_name = "KIND", value_enum)]
    pub backend: Option<LaunchBackend>,
    /// Set a variable of the environment of every rank; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Pass arguments to mpirun; may be repeated
    #[arg(long, value_name = "ARGUMENTS", allow_hyphen_values = true)]
    pub mpi_arg: Vec<String>,
    /// How many connections a ring has for each address
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub connections_per_ip: u16,
    /// The first port of a ring, which counts up for each rank and connection; 32323, or free ones on this machine
    #[arg(short = 'p', long, value_name = "PORT")]
    pub starting_port: Option<u16>,
    /// The port of rank 0 for NCCL
    #[arg(long, value_name = "PORT", default_value_t = 12345)]
    pub nccl_port: u16,
    /// The folder in which ranks start
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Say what is started, and what ended how
    #[arg(long)]
    pub verbose: bool,
    /// Print what ranks write as it is, without their numbers in front of lines
    #[arg(long)]
    pub no_prefix: bool,
    /// The program and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "PROGRAM"
    )]
    pub program: Vec<String>,
}

/// How the ranks that `mlx launch` starts communicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LaunchBackend {
    /// Over TCP, each rank with its two neighbors
    Ring,
    /// By mpirun
    Mpi,
    /// NVIDIA's library, a GPU for each rank
    Nccl,
}

/// What `mlx lint` is told.
#[derive(Args, Clone, Debug, Default)]
pub struct LintArguments {
    /// A Whisper or a model of the Llama family: a GGUF file, a folder, or hf:NAME for a repository of the Hugging Face
    /// hub; the small ones of the demo otherwise
    #[arg(long, value_name = "FILE.gguf|DIR|hf:NAME")]
    pub model: Option<String>,
    /// Lint the network as it is written with composed formulas
    #[arg(long)]
    pub composed: bool,
    /// Leave out findings of this kind; may be repeated
    #[arg(long, value_name = "KIND")]
    pub allow: Vec<String>,
    /// Print the reports as JSON, one a line
    #[arg(long)]
    pub json: bool,
}

/// What `mlx tune` is told.
#[derive(Args, Clone, Debug, Default)]
pub struct TuneArguments {
    /// A Whisper or a model of the Llama family: a GGUF file, a folder, or hf:NAME for a repository of the Hugging Face
    /// hub; the small ones of the demo otherwise
    #[arg(long, value_name = "FILE.gguf|DIR|hf:NAME")]
    pub model: Option<String>,
    /// Tune the network as it is written with composed formulas
    #[arg(long)]
    pub composed: bool,
    /// Write the measurements to this file, instead of the one that MLX_AUTOTUNE_CACHE names or the user's cache
    #[arg(long, value_name = "FILE.json")]
    pub output: Option<PathBuf>,
    /// Print the reports as JSON, one a line
    #[arg(long)]
    pub json: bool,
}

/// What `mlx profile` is told.
#[derive(Args, Clone, Debug, Default)]
pub struct ProfileArguments {
    /// A Whisper or a model of the Llama family: a GGUF file, a folder, or hf:NAME for a repository of the Hugging Face
    /// hub; the small ones of the demo otherwise
    #[arg(long, value_name = "FILE.gguf|DIR|hf:NAME")]
    pub model: Option<String>,
    /// Draw a flame graph
    #[arg(long, value_name = "FILE.svg")]
    pub svg: Option<PathBuf>,
    /// Print the profiles as JSON, one a line
    #[arg(long)]
    pub json: bool,
}

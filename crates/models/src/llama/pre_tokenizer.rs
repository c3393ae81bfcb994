//! Pre-tokenizers: how text is split before its pieces become tokens.
//!
//! GGUF files name one of llama.cpp's pre-tokenizers. The expressions are those of the `tokenizer.json` that a model
//! was trained with, where llama.cpp states them beside its own adaptation for an engine without Unicode classes.

use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

use super::split_patterns as patterns;
use crate::{Error, Result};

/// The pre-tokenizer of a name, and its other settings.
pub(super) struct Way {
    pub(super) pre_tokenizer: PreTokenizerWrapper,
    /// Whether a piece that is in the vocabulary is one token, whatever the merges say.
    pub(super) ignore_merges: bool,
    /// Whether text is normalized to NFC first.
    pub(super) compose: bool,
    /// Whether a text begins with the BOS token unless the file says otherwise.
    pub(super) add_bos: bool,
    /// Whether tokens are bytes written as characters, as in GPT-2; otherwise text with `▁` for a space.
    pub(super) byte_level: bool,
}

/// The splitting rule of a family of names.
#[derive(Clone, Copy)]
enum Splits {
    /// GPT-2's own expression.
    Gpt2,
    /// Single digits, then GPT-2's expression.
    DigitsGpt2,
    /// Expressions, each of which splits the pieces of the former.
    Each(&'static [&'static str]),
}

/// Flags of a name besides its splitting rule.
#[derive(Clone, Copy)]
struct Flags {
    ignore_merges: bool,
    compose: bool,
    add_bos: bool,
    raw: bool,
}

const PLAIN: Flags = Flags {
    ignore_merges: false,
    compose: false,
    add_bos: false,
    raw: false,
};
const WHOLE: Flags = Flags {
    ignore_merges: true,
    ..PLAIN
};
const WHOLE_BOS: Flags = Flags {
    add_bos: true,
    ..WHOLE
};
const BOS: Flags = Flags {
    add_bos: true,
    ..PLAIN
};
const NFC: Flags = Flags {
    compose: true,
    ..PLAIN
};
const RAW: Flags = Flags { raw: true, ..PLAIN };
const RAW_BOS: Flags = Flags {
    add_bos: true,
    ..RAW
};

/// Returns the pre-tokenizer of this name.
pub(super) fn way(name: &str) -> Result<Way> {
    let Some((splits, flags)) = find(name) else {
        return Err(Error::Tokenizer(format!(
            "tokenizer.ggml.pre: wanted the name of a pre-tokenizer of llama.cpp's, such as gpt-2, llama-bpe, qwen2 or \
             default, got {name}"
        )));
    };
    // Bytes become characters; with its own expression this is GPT-2's pre-tokenizer.
    let gpt2 = || PreTokenizerWrapper::from(ByteLevel::new(false, false, true));
    let steps = match splits {
        Splits::Gpt2 => vec![gpt2()],
        Splits::DigitsGpt2 => vec![Digits::new(true).into(), gpt2()],
        Splits::Each(patterns) => expressions(patterns, !flags.raw)?,
    };
    Ok(Way {
        pre_tokenizer: Sequence::new(steps).into(),
        ignore_merges: flags.ignore_merges,
        compose: flags.compose,
        add_bos: flags.add_bos,
        byte_level: !flags.raw,
    })
}

/// All names that llama.cpp has for byte-pair encoding.
fn find(name: &str) -> Option<(Splits, Flags)> {
    use Splits::{DigitsGpt2, Each, Gpt2};
    Some(match name {
        "default" => (Each(&patterns::DEFAULT), PLAIN),
        "gpt-2" | "gpt2" | "phi-2" | "jina-es" | "jina-de" | "jina-v2-es" | "jina-v2-de"
        | "jina-v1-en" | "jina-v2-code" | "roberta-bpe" | "gigachat" | "a.x-4.0" | "mellum"
        | "modern-bert" | "jais" | "trillion" | "granite-docling" | "exaone4" => (Gpt2, PLAIN),
        // Tokenizers of GPT-NeoX normalize to NFC.
        "mpt" | "olmo" => (Gpt2, NFC),
        "smollm" | "starcoder" | "refact" | "codeshell" | "exaone" | "minerva-7b" | "mellum2" => {
            (DigitsGpt2, PLAIN)
        }
        "command-r" => (DigitsGpt2, NFC),
        "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0"
        | "lfm2" | "jina-v5-nano" => (Each(&[patterns::LLAMA3]), WHOLE_BOS),
        "dbrx" | "smaug-bpe" | "glm4" | "chatglm-bpe" => (Each(&[patterns::LLAMA3]), PLAIN),
        "qwen2" | "deepseek-r1-qwen" | "megrez" | "kormo" | "f2llmv2" => {
            (Each(&[patterns::QWEN2]), NFC)
        }
        "stablelm2" | "hunyuan" | "solar-open" | "grok-2" => (Each(&[patterns::QWEN2]), PLAIN),
        "qwen35" => (Each(&[patterns::QWEN35]), NFC),
        "laguna" => (Each(&[patterns::LINES, patterns::QWEN2]), PLAIN),
        "ufakzeka" => (Each(&[patterns::UFAKZEKA]), PLAIN),
        "seed-coder" => (Each(&[patterns::SEED_CODER]), PLAIN),
        "bailingmoe" | "bailingmoe2" | "llada-moe" => (Each(&[patterns::BAILINGMOE]), PLAIN),
        "exaone-moe" => (Each(&[patterns::EXAONE_MOE]), PLAIN),
        "minicpm5" => (Each(&patterns::MINICPM5), WHOLE),
        "jais-2" => (Each(&[patterns::JAIS2]), PLAIN),
        "tekken" => (Each(&[patterns::TEKKEN]), WHOLE_BOS),
        "gpt-4o" | "llama4" | "kanana2" | "talkie" | "minimax-m2" => {
            (Each(&[patterns::GPT4O]), PLAIN)
        }
        "granite-embed-multi-97m" => (Each(&[patterns::GPT4O]), WHOLE),
        "tiny_aya" | "cohere2moe" => (Each(&[patterns::THOUSANDS, patterns::GPT4O]), PLAIN),
        "kimi-k2" => (Each(&[patterns::KIMI_K2]), PLAIN),
        "youtu" => (Each(&patterns::YOUTU), WHOLE),
        "deepseek-llm" => (Each(&patterns::DEEPSEEK_LLM), PLAIN),
        "deepseek-coder" => (Each(&patterns::DEEPSEEK_CODER), PLAIN),
        "deepseek-v3" | "hunyuan-dense" | "joyai-llm" | "hy_v4" => {
            (Each(&patterns::DEEPSEEK_V3), PLAIN)
        }
        "spark2_5" => (Each(&patterns::SPARK2_5), PLAIN),
        "afmoe" => (Each(&patterns::AFMOE), PLAIN),
        "falcon" => (Each(&patterns::FALCON), PLAIN),
        "bloom" | "poro-chat" | "gpt3-finnish" => (Each(&[patterns::BLOOM]), PLAIN),
        "viking" => (Each(&[patterns::BLOOM, patterns::DIGIT]), PLAIN),
        "chameleon" => (Each(&patterns::CHAMELEON), BOS),
        "superbpe" => (Each(&patterns::SUPERBPE), PLAIN),
        "gemma4" | "granite-embed-multi-311m" => (Each(&[patterns::LINES]), RAW_BOS),
        "sarvam-moe" => (Each(&[patterns::LINES]), RAW),
        _ => return None,
    })
}

/// Splits at matches, which are pieces too; then bytes become characters.
fn expressions(patterns: &[&str], byte_level: bool) -> Result<Vec<PreTokenizerWrapper>> {
    let mut steps = Vec::new();
    for pattern in patterns {
        let pattern = SplitPattern::Regex((*pattern).to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
            .map_err(|error| Error::Tokenizer(error.to_string()))?;
        steps.push(split.into());
    }
    if byte_level {
        steps.push(ByteLevel::new(false, false, false).into());
    }
    Ok(steps)
}

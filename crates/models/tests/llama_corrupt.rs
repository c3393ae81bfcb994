//! A whole model in a GGUF file, cut short and with wrong bytes: an error, or a model that works, and never a panic.

#[path = "../../mlx/tests/support/gguf_file.rs"]
mod gguf_file;
#[path = "support/llama_gguf.rs"]
mod llama_gguf;
#[path = "support/llama_reference.rs"]
mod reference;

use mlx::Dtype;
use mlx_models::llama::{Checkpoint, GenerateOptions, Generator, Message, Network, NetworkOptions};
use mlx_models::weights::gguf::GgmlType;
use mlx_models::{Error, Result};
use reference::{Shape, llama};
use rstest::rstest;

/// The tokenizer of a file.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Pairs,
    Scores,
}

/// A model with its tokenizer and template in one file, and about where the bytes of its tensors begin.
fn file(kind: Kind) -> (Vec<u8>, usize) {
    let shape = Shape {
        vocab: 8,
        layers: 1,
        ..llama()
    };
    let zeros = |values: &[f32]| (GgmlType::Q4_0, vec![0; values.len() / 32 * 18]);
    let file = llama_gguf::writer(&shape, &shape.weights(1), zeros);
    let file = match kind {
        Kind::Pairs => file
            .text("tokenizer.ggml.model", "gpt2")
            .text("tokenizer.ggml.pre", "smollm")
            .texts(
                "tokenizer.ggml.tokens",
                &["a", "b", "Ġ", "ab", "c", "d", "<e>", "<u>"],
            )
            .texts("tokenizer.ggml.merges", &["a b"])
            .i32s("tokenizer.ggml.token_type", &[1, 1, 1, 1, 1, 1, 3, 4]),
        Kind::Scores => file
            .text("tokenizer.ggml.model", "llama")
            .text("tokenizer.ggml.pre", "default")
            .texts(
                "tokenizer.ggml.tokens",
                &["<unk>", "a", "b", "▁", "ab", "<0x0A>", "<e>", "<u>"],
            )
            .f32s(
                "tokenizer.ggml.scores",
                &[0.0, -3.0, -4.0, -5.0, -1.0, 0.0, 0.0, 0.0],
            )
            .i32s("tokenizer.ggml.token_type", &[2, 1, 1, 1, 1, 6, 3, 4]),
    };
    let file = file
        .u32("tokenizer.ggml.bos_token_id", 6)
        .u32("tokenizer.ggml.eos_token_id", 6)
        .bool("tokenizer.ggml.add_bos_token", true)
        .text(
            "tokenizer.chat_template",
            "{{ messages[0].content }}{{ eos_token }}",
        );
    let bytes = file.finish();
    let without = gguf_file::GgufWriter {
        tensors: Vec::new(),
        ..file.clone()
    };
    // A name, sizes, a type and an offset of each tensor.
    let infos = file.tensors.iter().map(|tensor| tensor.name.len() + 40);
    (bytes, without.finish().len() + infos.sum::<usize>())
}

/// Everything from opening to writing.
fn run(bytes: Vec<u8>) -> Result<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let checkpoint = Checkpoint::open(file.path())?;
    let options = NetworkOptions {
        dtype: Some(Dtype::Float32),
        ..NetworkOptions::default()
    };
    let network = Network::new(&checkpoint, &options)?;
    let template = checkpoint.chat_template.as_ref();
    let prompt = match template.map(|template| template.render(&[Message::user("ab a")], true)) {
        Some(Ok(text)) => text,
        _ => String::from("a"),
    };
    let mut generator = Generator::with_capacity(&network, &checkpoint, 16)?;
    let tokens = checkpoint.tokenizer.encode(&prompt)?;
    let options = GenerateOptions {
        max_tokens: 2,
        ..GenerateOptions::default()
    };
    Ok(generator.generate(&tokens, &options, |_| ())?.text)
}

#[rstest]
#[case(Kind::Pairs)]
#[case(Kind::Scores)]
fn the_whole_file_works(#[case] kind: Kind) {
    run(file(kind).0).unwrap();
}

#[rstest]
#[case(Kind::Pairs)]
#[case(Kind::Scores)]
fn a_file_cut_short_is_an_error(#[case] kind: Kind) {
    let (file, headers) = file(kind);
    for length in (0..headers).step_by(7).chain([file.len() - 1]) {
        let error = run(file[..length].to_vec()).unwrap_err();
        assert!(
            matches!(error, Error::Weights(_)),
            "cut at {length}: {error}"
        );
    }
}

#[rstest]
#[case(Kind::Pairs)]
#[case(Kind::Scores)]
fn no_wrong_byte_makes_it_panic(#[case] kind: Kind) {
    let (file, headers) = file(kind);
    let (mut works, mut fails) = (0, 0);
    for at in 0..headers {
        for change in [0x01, 0x80, 0xff] {
            let mut file = file.clone();
            file[at] ^= change;
            match run(file) {
                Ok(_) => works += 1,
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    fails += 1;
                }
            }
        }
    }
    // Some bytes are padding, numbers or letters that may be others.
    assert!(works > 0 && fails > works, "{works} {fails}");
}

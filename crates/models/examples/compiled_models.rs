//! Compiles Whisper and SmolLM2, prints what was recognized, and compares words and tokens with the plain networks.

use std::time::Instant;

use anyhow::Result;
use mlx_compiler::{CompileOptions, Fallback};
use mlx_models::audio::Audio;
use mlx_models::llama::{Checkpoint, GenerateOptions, Generator, Network, NetworkOptions};
use mlx_models::whisper;
use mlx_nn::FastOps;
use mlx_testdata::assets;

fn main() -> Result<()> {
    let options = CompileOptions {
        fallback: Fallback::Never,
        ..CompileOptions::default()
    };
    let folder = assets::whisper_tiny_en()?;
    let checkpoint = whisper::Checkpoint::open(&folder)?;
    let plain = whisper::Network::new(checkpoint.config, &checkpoint.weights, mlx::Dtype::Float32)?
        .with_kernels(FastOps::Composed);
    let sound = Audio::load(assets::speech()?.path)?;
    let mut decode = whisper::TranscribeOptions::default();
    decode.decode.timestamps = false;
    for (name, network) in [
        ("plain", plain.clone()),
        (
            "compiled",
            plain.compiled(CompileOptions::without_fusions()),
        ),
        ("fused", plain.compiled(options.clone())),
    ] {
        let transcriber =
            whisper::Transcriber::new(&network, &checkpoint.tokenizer, &checkpoint.generation)?;
        for _ in 0..2 {
            let start = Instant::now();
            let transcript = transcriber.transcribe(&sound.samples, &decode)?;
            println!(
                "{name} {:.0} ms {}",
                start.elapsed().as_secs_f64() * 1e3,
                transcript.text
            );
        }
        if let Some(report) = network.report() {
            println!("{report}");
        }
    }
    let checkpoint = Checkpoint::open(&assets::smollm2()?)?;
    let plain =
        Network::new(&checkpoint, &NetworkOptions::default())?.with_kernels(FastOps::Composed);
    let prompt = [504, 2365, 6354, 16438, 27003, 690, 260, 23790, 2767, 30];
    let generate = GenerateOptions {
        max_tokens: 4,
        ..GenerateOptions::default()
    };
    for (name, network) in [
        ("plain", plain.clone()),
        (
            "compiled",
            plain.compiled(CompileOptions::without_fusions()),
        ),
        ("fused", plain.compiled(options)),
    ] {
        let start = Instant::now();
        let mut generator = Generator::with_capacity(&network, &checkpoint, 256)?;
        let text = generator.generate(&prompt, &generate, |_| {})?;
        println!(
            "{name} {:.0} ms {:?}",
            start.elapsed().as_secs_f64() * 1e3,
            text.text
        );
        if let Some(report) = network.report() {
            println!("{report}");
        }
    }
    Ok(())
}

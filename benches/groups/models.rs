//! Models on real data: Whisper's encoder and decoding, SmolLM2's steps, eager and compiled.

use std::time::Duration;

use anyhow::Result;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use mlx::{Array, Dtype};
use mlx_bench::{Work, bench_lazy};
use mlx_compiler::{CompileOptions, jit};
use mlx_models::audio::Audio;
use mlx_models::llama::{self, GenerateOptions, Generator, NetworkOptions};
use mlx_models::whisper;
use mlx_testdata::assets;

criterion_group!(benches, models);
criterion_main!(benches);

fn models(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("models");
    group.sample_size(10);
    if let Err(error) = speech(&mut group).and_then(|()| language(&mut group)) {
        eprintln!("models: {error:#}");
        std::process::exit(1);
    }
    group.finish();
}

fn speech(group: &mut BenchmarkGroup<'_, WallTime>) -> Result<()> {
    let checkpoint = whisper::Checkpoint::open(assets::whisper_tiny_en()?)?;
    let network = whisper::Network::new(checkpoint.config, &checkpoint.weights, Dtype::Float32)?;
    let samples = Audio::load(assets::speech()?.path)?.samples;
    let mel = whisper::LogMel::new(checkpoint.config.n_mels)?.padded(&samples);
    let mel = Array::from_slice(mel.data(), [1, 3000, 80])?;
    // Products of the encoder for 1500 frames.
    let flops = Work::Flops(37_000_000_000);
    let eager = || Ok(network.encode_array(&mel));
    bench_lazy(
        group,
        "whisper_encoder.eager/float32/tiny.en/cpu",
        flops,
        eager,
    )?;
    let plain = network.clone();
    let compiled = jit(move |mel: &Array| plain.encode_array(mel));
    let call = || Ok(compiled.call(&mel)?);
    bench_lazy(
        group,
        "whisper_encoder.compiled/float32/tiny.en/cpu",
        flops,
        call,
    )?;
    let mut options = whisper::TranscribeOptions::default();
    options.decode.timestamps = false;
    let compiled = network.compiled(CompileOptions::default());
    for (name, network) in [("eager", &network), ("compiled", &compiled)] {
        let transcriber =
            whisper::Transcriber::new(network, &checkpoint.tokenizer, &checkpoint.generation)?;
        // The first one traces; text is read within, so nothing is left to be computed.
        transcriber.transcribe(&samples, &options)?;
        group.bench_function(
            format!("whisper_total.{name}/float32/tiny.en/cpu"),
            |bencher| {
                bencher.iter(|| transcriber.transcribe(&samples, &options));
            },
        );
    }
    Ok(())
}

fn language(group: &mut BenchmarkGroup<'_, WallTime>) -> Result<()> {
    const PROMPT: [u32; 10] = [504, 2365, 6354, 16438, 27003, 690, 260, 23790, 2767, 30];
    let checkpoint = llama::Checkpoint::open(assets::smollm2()?)?;
    let network = llama::Network::new(&checkpoint, &NetworkOptions::default())?;
    let compiled = network.compiled(CompileOptions::default());
    let options = GenerateOptions {
        max_tokens: 8,
        ignore_end: true,
        ..GenerateOptions::default()
    };
    for (name, network) in [("eager", &network), ("compiled", &compiled)] {
        let generate = || {
            let mut generator = Generator::with_capacity(network, &checkpoint, 256)?;
            anyhow::Ok(generator.generate(&PROMPT, &options, |_| {})?.timings)
        };
        generate()?;
        for part in ["prefill", "token"] {
            let time = || match generate() {
                Ok(timings) if part == "prefill" => timings.prefill,
                Ok(timings) => timings.decode / u32::try_from(timings.steps.max(1)).unwrap_or(1),
                Err(_) => Duration::ZERO,
            };
            group.bench_function(format!("smollm2_{part}.{name}/q4_1/135M/cpu"), |bencher| {
                bencher.iter_custom(|calls| {
                    let total: Duration = (0..calls).map(|_| time()).sum();
                    total.max(Duration::from_nanos(1))
                });
            });
        }
    }
    Ok(())
}

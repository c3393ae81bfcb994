//! The time of compiling, stage by stage: trace, lower, compile, and the first call.
//!
//! Nothing is computed, so these are no kernels' times.

use std::time::{Duration, Instant};

use anyhow::Result;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use mlx::tree::{Arguments, Function};
use mlx::{Array, Dtype, keepdims, ones};
use mlx_bench::ready;
use mlx_compiler::{CompileOptions, jit, trace};
use mlx_models::whisper;
use mlx_testdata::assets;

criterion_group!(benches, compile);
criterion_main!(benches);

fn compile(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10);
    if let Err(error) = small(&mut group).and_then(|()| encoder(&mut group)) {
        eprintln!("compile: {error:#}");
        std::process::exit(1);
    }
    group.finish();
}

fn small(group: &mut BenchmarkGroup<'_, WallTime>) -> Result<()> {
    let (x, w) = (ones([128, 1024]), ones([1024]));
    ready([&x, &w])?;
    let norm = |x: &Array, w: &Array| x * (x.square().mean(keepdims(-1)) + 1e-5).rsqrt() * w;
    stages(group, "rms_norm", "128x1024", norm, (&x, &w))?;
    let chain = |x: &Array, w: &Array| ((x * 2.0 + w).tanh() - x).abs().sqrt();
    stages(group, "chain", "128x1024", chain, (&x, &w))
}

/// The encoder of Whisper tiny.en as it is written in plain formulas.
fn encoder(group: &mut BenchmarkGroup<'_, WallTime>) -> Result<()> {
    let folder = match assets::whisper_tiny_en() {
        Ok(folder) => folder,
        Err(error) => {
            eprintln!("compile: the encoder is left out: {error}");
            return Ok(());
        }
    };
    let checkpoint = whisper::Checkpoint::open(folder)?;
    let network = whisper::Network::new(checkpoint.config, &checkpoint.weights, Dtype::Float32)?;
    let network = network.with_kernels(mlx_nn::FastOps::Composed);
    let mel = ones([1, 3000, 80]);
    ready([&mel])?;
    let encode = move |mel: &Array| network.encode_array(mel);
    stages(group, "whisper_encoder", "tiny.en", encode, &mel)
}

/// Times each stage by itself, and a first call from function to graph.
fn stages<Args: Arguments, F: Function<Args> + Clone>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    op: &str,
    shape: &str,
    function: F,
    args: Args::Refs<'_>,
) -> Result<()> {
    let options = CompileOptions::default();
    // What fails is told here: within the clock there is no way out.
    trace(function.clone(), args)?.lower(&options)?.compile()?;
    let name = |stage: &str| format!("{op}.{stage}/float32/{shape}/cpu");
    group.bench_function(name("trace"), |bencher| {
        bencher.iter_custom(|calls| sum(calls, || timed(|| trace(function.clone(), args))));
    });
    group.bench_function(name("lower"), |bencher| {
        bencher.iter_custom(|calls| {
            sum(calls, || match trace(function.clone(), args) {
                Ok(traced) => timed(|| traced.lower(&options)),
                Err(_) => Duration::ZERO,
            })
        });
    });
    group.bench_function(name("compile"), |bencher| {
        bencher.iter_custom(|calls| {
            let lowered = || trace(function.clone(), args)?.lower(&options);
            sum(calls, || match lowered() {
                Ok(lowered) => timed(|| lowered.compile()),
                Err(_) => Duration::ZERO,
            })
        });
    });
    group.bench_function(name("first_call"), |bencher| {
        bencher.iter_custom(|calls| {
            sum(calls, || {
                let compiled = jit(function.clone());
                timed(|| compiled.call(args))
            })
        });
    });
    Ok(())
}

fn sum(calls: u64, mut one: impl FnMut() -> Duration) -> Duration {
    let total: Duration = (0..calls).map(|_| one()).sum();
    total.max(Duration::from_nanos(1))
}

/// The time of the call alone; what it returns is dropped behind the clock.
fn timed<T>(call: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    let result = call();
    let elapsed = start.elapsed();
    drop(result);
    elapsed
}

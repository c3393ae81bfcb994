//! Every notebook runs as a program.
//!
//! They need recordings, models and digits, fetched once into the build folder; a test says so and passes where those
//! cannot be had, unless `MLX_REQUIRE_ASSETS` is set.

use mlx_testdata::assets;
use rstest::rstest;

const NOTEBOOKS: [&str; 5] = [
    "embeddings",
    "fast_kernels",
    "quantized_llm",
    "training",
    "whisper",
];

#[test]
fn every_notebook_is_run_here() {
    assert_eq!(mlx_notebooks::names().collect::<Vec<_>>(), NOTEBOOKS);
}

#[rstest]
fn runs_as_a_program(
    #[values("embeddings", "fast_kernels", "quantized_llm", "training", "whisper")]
    name: &'static str,
) {
    if let Err(error) = needs(name) {
        assert!(std::env::var_os("MLX_REQUIRE_ASSETS").is_none(), "{error}");
        eprintln!("skipped: {error}");
        return;
    }
    // As much stack as the main thread of a kernel has.
    let thread = std::thread::Builder::new().stack_size(8 << 20);
    let run = move || mlx_notebooks::run(name).map_err(|error| error.to_string());
    let outcome = thread.spawn(run).expect("a thread").join();
    assert_eq!(outcome.expect("no panic"), Ok(()));
}

/// Fetches what a notebook reads.
fn needs(name: &str) -> mlx_testdata::Result<()> {
    match name {
        "embeddings" => assets::minilm().map(|_| ()),
        "quantized_llm" => assets::smollm2().map(|_| ()),
        "training" => assets::digits().map(|_| ()),
        _ => assets::speech().and_then(|_| assets::whisper_tiny_en().map(|_| ())),
    }
}

//! Every notebook runs as a program.

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
    // As much stack as the main thread of a kernel has.
    let thread = std::thread::Builder::new().stack_size(8 << 20);
    let run = move || mlx_notebooks::run(name).map_err(|error| error.to_string());
    let outcome = thread.spawn(run).expect("a thread").join();
    assert_eq!(outcome.expect("no panic"), Ok(()));
}

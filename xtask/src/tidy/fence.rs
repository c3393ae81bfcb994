//! Unsafe code stays behind the fence, and each block says why it is sound.

use super::{Complaint, Source};

/// Where unsafe code may be: the loader, the fence of `mlx`, tests, and the files of kernels that need an instruction of
/// the processor, a pointer for it, or (the thread pool) a longer lifetime.
const ALLOWED: [&str; 16] = [
    "crates/mlx-sys/",
    "crates/mlx/src/ffi/",
    "/tests/",
    "crates/kernels/src/parallel/thread_pool.rs",
    "crates/kernels/src/quantized/avx512/gemv.rs",
    "crates/kernels/src/quantized/avx512/registers.rs",
    "crates/kernels/src/simd/amx.rs",
    "crates/kernels/src/simd/amx_split.rs",
    "crates/kernels/src/simd/dot_half.rs",
    "crates/kernels/src/simd/f16_to_f32.rs",
    "crates/kernels/src/simd/half_lanes.rs",
    "crates/kernels/src/simd/lanes/scalef.rs",
    "crates/kernels/src/simd/magnitudes.rs",
    "crates/kernels/src/simd/prefetch.rs",
    "crates/kernels/src/simd/streaming_store.rs",
    "crates/kernels/src/simd/transpose.rs",
];

/// Crates and modules outside the fence must not contain unsafe code; inside, each block needs `// SAFETY:`.
pub fn check(source: &Source) -> Vec<Complaint> {
    let allowed = ALLOWED.iter().any(|place| source.path.contains(place));
    let mut complaints = Vec::new();
    let lines: Vec<&str> = source.text.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        if !opens_unsafe(code) {
            continue;
        }
        if !allowed {
            complaints.push(Complaint::new(
                source,
                number + 1,
                "unsafe code outside the fence",
            ));
        } else if !is_explained(&lines[..number], line) {
            complaints.push(Complaint::new(
                source,
                number + 1,
                "unsafe without a `// SAFETY:` comment above it",
            ));
        }
    }
    complaints
}

/// Whether a line opens an unsafe block or implements an unsafe trait; declaring unsafe functions is not that.
fn opens_unsafe(code: &str) -> bool {
    // Text in quotes is not code; the words are built so that this file passes its own rule.
    let code = code.split('"').step_by(2).collect::<String>();
    let word = concat!("uns", "afe");
    code.contains(&format!("{word} {{")) || code.contains(&format!("{word} impl"))
}

/// Whether the comment right above, or an earlier line of the same statement, says SAFETY.
fn is_explained(above: &[&str], line: &str) -> bool {
    const REACH: usize = 8;
    line.contains("SAFETY:")
        || above
            .iter()
            .rev()
            .take(REACH)
            .any(|line| line.contains("SAFETY"))
}

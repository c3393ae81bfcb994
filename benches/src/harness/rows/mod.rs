//! The rows: what is measured, on which inputs, which rivals can do it, and the targets.

mod gpu;
mod kernels;
mod models;
mod sizes;
mod sweep;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::check::Check;
use super::inputs::Input;

pub use gpu::{COMPILED, MLX_LM, Made, OP as GPU, PYTHON_MLX, Size};
pub use sweep::PYTORCH;

/// Which part of the table a row belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// One operation.
    Kernels,
    /// A model on real data.
    Models,
    /// Composed against fused over sizes: where fusing wins and where it loses.
    Sweep,
    /// Cost against size.
    Scaling,
    /// The sweep: an operation a user calls at an ordinary size, against PyTorch.
    Operations,
    /// A call that computes next to nothing, against PyTorch.
    Calls,
    /// Cost against size, against PyTorch.
    Growth,
    /// Gradients and steps of training, against PyTorch and JAX.
    Training,
    /// One operation on a GPU, forward or gradient.
    GpuKernels,
    /// Small operations on a GPU, many in one program.
    GpuPrograms,
    /// A model of random weights on a GPU.
    GpuModels,
    /// A step of training on a GPU.
    GpuTraining,
}

impl Group {
    /// Whether the row belongs to a comparison with PyTorch, which `--only` names.
    pub fn is_against_pytorch(self) -> bool {
        use Group::{Calls, Growth, Operations, Training};
        matches!(self, Operations | Calls | Growth | Training)
    }

    /// Whether the row runs on a GPU.
    pub fn is_of_gpu(self) -> bool {
        use Group::{GpuKernels, GpuModels, GpuPrograms, GpuTraining};
        matches!(self, GpuKernels | GpuPrograms | GpuModels | GpuTraining)
    }
}

/// The minimum of work of a row, for every participant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Bytes of inputs, each read once.
    pub read: f64,
    /// Bytes of the result.
    pub written: f64,
    /// Floating-point operations of products of matrices; elementwise ones are not counted.
    pub flops: f64,
}

/// What is aimed at. All that is given must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Target {
    /// Ours over a rival's time is at most this.
    pub ratio: Option<f64>,
    /// The rival that is meant; otherwise the best one of the run.
    pub against: Option<&'static str>,
    /// Our milliseconds are at most this.
    pub ms: Option<f64>,
    /// We reach at least this share of the machine's limit.
    pub share: Option<f64>,
    /// Ratios that are aimed at besides.
    pub also: &'static [Aim],
}

/// A ratio that is aimed at, between any two that compute a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aim {
    /// Whose time it is: [`Aim::OURS`], or one of our other forms.
    pub of: &'static str,
    /// Over whose: a rival, or one of our other forms.
    pub over: &'static str,
    /// What it is at most.
    pub most: f64,
}

impl Aim {
    /// Our usual form.
    pub const OURS: &'static str = "ours";
}

impl Target {
    /// Returns the target of a ratio to the best rival.
    pub fn ratio(ratio: f64) -> Self {
        Self {
            ratio: Some(ratio),
            ..Self::default()
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Benchmark {
    /// `op/dtype/shape/device`.
    pub id: String,
    /// The operation, as runners know it.
    pub op: &'static str,
    /// The shape, `4x128x1024`.
    pub shape: String,
    /// The element type.
    pub dtype: &'static str,
    /// The part of the table.
    pub group: Group,
    /// Attributes for the runners.
    pub params: Value,
    /// Inputs.
    pub inputs: Vec<Input>,
    /// How results are compared before anything is timed.
    pub check: Check,
    /// The minimum of work.
    pub cost: Cost,
    /// What is aimed at.
    pub target: Target,
    /// The rivals that can run it.
    pub rivals: &'static [&'static str],
    /// Our other forms that are timed too.
    pub forms: &'static [&'static str],
    /// Rivals that are not asked although they could be, and why.
    pub left_out: &'static [(&'static str, &'static str)],
    /// Whether `--quick` measures it.
    pub quick: bool,
    /// What a reader should know.
    pub note: &'static str,
}

impl Benchmark {
    /// Returns whether one of our forms is timed beside the usual one. A full run also measures scaling with threads.
    pub fn wants_form(&self, form: &str, quick: bool) -> bool {
        let scales = !quick && !self.group.is_against_pytorch() && !self.group.is_of_gpu();
        self.forms.contains(&form) || (form == ONE_THREAD && scales)
    }
}

/// Our form that uses one thread only.
pub const ONE_THREAD: &str = "one-thread";

/// Everyone who computes single operations.
pub const ARRAYS: &[&str] = &[
    "python-mlx",
    "python-mlx-openblas",
    "numpy",
    "jax",
    "onnxruntime",
    PYTORCH,
    "candle",
];
/// Everyone who transcribes with Whisper.
pub const WHISPER: &[&str] = &[
    "python-mlx",
    "python-mlx-openblas",
    "faster-whisper",
    "candle",
];
/// Everyone who generates with SmolLM2.
pub const LLAMA: &[&str] = &["python-mlx", "python-mlx-openblas", "llama-cpp", "candle"];

/// Returns every row; with `quick` the rows of the short run.
pub fn all(quick: bool) -> Vec<Benchmark> {
    let mut rows = kernels::rows();
    rows.extend(models::rows(quick));
    rows.extend(sizes::rows(quick));
    rows.extend(sweep::rows());
    rows.retain(|row| row.quick || !quick);
    rows
}

/// Returns every row of a GPU; with `quick` those of the short run.
pub fn of_gpu(quick: bool, size: Size) -> Vec<Benchmark> {
    gpu::rows(quick, size)
}

/// Returns the prompt of ten tokens that language models continue.
pub fn prompt() -> [u32; 10] {
    models::PROMPT
}

/// Returns `4x128x1024`.
fn by(shape: &[usize]) -> String {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    sizes.join("x")
}

fn id(op: &str, dtype: &str, shape: &str) -> String {
    format!("{op}/{dtype}/{shape}/cpu")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_have_four_parts() {
        let rows = all(false);
        let mut names: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        assert!(names.iter().all(|name| name.split('/').count() == 4));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), rows.len());
    }

    #[test]
    fn rows_of_a_gpu_have_unique_names_and_a_target() {
        let rows = of_gpu(false, Size::Whole);
        let mut names: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        assert!(names.iter().all(|name| name.starts_with("gpu/")));
        assert!(names.iter().all(|name| name.split('/').count() == 4));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), rows.len());
        assert!(rows.iter().all(|row| row.target.ratio.is_some()));
        // The small sizes are for the same rows.
        let tiny = of_gpu(false, Size::Tiny);
        assert!(rows.iter().zip(&tiny).all(|(row, tiny)| row.id == tiny.id));
        assert!(of_gpu(true, Size::Whole).len() < rows.len());
    }

    #[test]
    fn rows_of_a_gpu_have_the_promised_targets() {
        let rows = of_gpu(true, Size::Whole);
        let of = |id: &str| {
            let row = rows.iter().find(|row| row.id == format!("gpu/{id}"));
            let target = row.unwrap_or_else(|| panic!("{id} is no row")).target;
            let also: Vec<&str> = target.also.iter().map(|aim| aim.over).collect();
            let ratio = target.ratio.unwrap_or_default();
            (
                target.against.unwrap_or_default(),
                ratio,
                target.share,
                also,
            )
        };
        const EAGER: &str = "eager";
        for (id, against, ratio, share, also) in [
            (
                "rms_norm/float32/8x2048x4096",
                PYTHON_MLX,
                1.0,
                None,
                vec![],
            ),
            (
                "layer_norm/float32/8x2048x4096",
                PYTHON_MLX,
                1.0,
                Some(0.75),
                vec![],
            ),
            (
                "layer_norm/bfloat16/4x128x1024",
                PYTHON_MLX,
                1.0,
                None,
                vec![],
            ),
            (
                "quantized_matmul_4bit/bfloat16/1x4096x14336",
                PYTHON_MLX,
                1.0,
                Some(0.75),
                vec![],
            ),
            (
                "quantized_matmul_8bit/bfloat16/1x14336x4096",
                PYTHON_MLX,
                1.0,
                None,
                vec![],
            ),
            (
                "program_rms_norm/float32/4x128x1024",
                PYTORCH,
                1.3,
                None,
                vec![PYTHON_MLX, EAGER],
            ),
            (
                "decode/bfloat16/qwen3-0.6b-after512",
                MLX_LM,
                0.25,
                None,
                vec![EAGER],
            ),
            (
                "decode/4bit/qwen3-0.6b-after16",
                MLX_LM,
                0.25,
                None,
                vec![EAGER],
            ),
            (
                "decode/4bit/qwen3-4b-after16",
                MLX_LM,
                0.4,
                None,
                vec![EAGER],
            ),
            (
                "prefill/bfloat16/qwen3-0.6b-512",
                PYTORCH,
                1.0,
                None,
                vec![MLX_LM, EAGER],
            ),
            (
                "prefill/4bit/qwen3-0.6b-512",
                MLX_LM,
                1.0,
                None,
                vec![EAGER],
            ),
            (
                "whisper_encoder/float16/large-v3",
                PYTHON_MLX,
                1.0,
                None,
                vec![EAGER],
            ),
            (
                "train_block/bfloat16/8x1024x1024",
                COMPILED,
                1.0,
                None,
                vec![PYTHON_MLX, EAGER],
            ),
        ] {
            assert_eq!(of(id), (against, ratio, share, also), "{id}");
        }
    }

    #[test]
    fn the_short_run_has_every_row_with_a_target() {
        let with_target = |quick| {
            let rows = all(quick).into_iter();
            let mut ids: Vec<String> = rows
                .filter(|row| row.target != Target::default() && !row.group.is_against_pytorch())
                .map(|row| row.id)
                .collect();
            ids.sort();
            ids
        };
        assert_eq!(with_target(true), with_target(false));
        assert_eq!(with_target(true).len(), TARGETS.len());
    }

    /// What the CPU backend has promised: row, ratio, whose, milliseconds, share of the limit.
    type Promise = (
        &'static str,
        Option<f64>,
        Option<&'static str>,
        Option<f64>,
        Option<f64>,
    );
    const JAX: Option<&str> = Some("jax");
    const LLAMA_CPP: Option<&str> = Some("llama-cpp");
    const FASTER_WHISPER: Option<&str> = Some("faster-whisper");
    const TARGETS: [Promise; 22] = [
        ("rms_norm/float32/4096x4096", Some(1.0), None, None, None),
        ("layer_norm/float32/4096x4096", Some(1.0), None, None, None),
        ("softmax/float32/4096x4096", Some(1.0), None, None, None),
        ("rms_norm/float32/4x128x1024", Some(1.2), None, None, None),
        ("layer_norm/float32/4x128x1024", Some(1.2), None, None, None),
        ("attention/float32/1x6x1500x64", Some(1.0), None, None, None),
        ("attention/float32/2x8x128x64", Some(1.2), None, None, None),
        ("rope/float32/1x9x512x64", Some(1.5), None, None, None),
        ("gelu/float32/1500x1536", Some(1.1), None, None, None),
        ("exp/float32/4096x4096", Some(1.1), None, None, None),
        ("add/float32/4096x4096", Some(1.1), None, None, None),
        ("chain8/float32/4096x4096", Some(0.7), JAX, None, None),
        ("matvec/float32/4096x4096", Some(1.2), None, None, None),
        (
            "quantized_matvec/q4g64/4096x4096",
            Some(0.9),
            None,
            None,
            None,
        ),
        (
            "quantized_matvec_int8/q4g64/4096x4096",
            Some(1.2),
            None,
            None,
            None,
        ),
        (
            "matmul/float32/1024x1024x1024",
            Some(1.05),
            None,
            None,
            None,
        ),
        (
            "whisper_total/float32/tiny.en-jfk",
            Some(0.75),
            FASTER_WHISPER,
            None,
            None,
        ),
        (
            "whisper_encoder/float32/tiny.en-jfk",
            None,
            None,
            None,
            Some(0.65),
        ),
        (
            "whisper_token/float32/tiny.en-jfk",
            None,
            None,
            Some(4.5),
            None,
        ),
        // 1.15 times as many tokens a second.
        (
            "smollm2_decode/q4_1/135M",
            Some(0.869),
            LLAMA_CPP,
            None,
            None,
        ),
        (
            "smollm2_prefill/q4_1/135M-prompt10",
            Some(1.0),
            LLAMA_CPP,
            None,
            None,
        ),
        (
            "smollm2_prefill/q4_1/135M-prompt512",
            Some(1.0),
            LLAMA_CPP,
            None,
            None,
        ),
    ];

    #[test]
    fn every_promised_row_has_its_target() {
        let rows = all(true);
        for (id, ratio, against, ms, share) in TARGETS {
            let wanted = Target {
                ratio,
                against,
                ms,
                share,
                also: &[],
            };
            let row = rows.iter().find(|row| row.id == format!("{id}/cpu"));
            assert_eq!(row.map(|row| row.target), Some(wanted), "{id}");
        }
    }
}

//! Rows of a GPU: kernels, small kernels in programs, models and training, beside Python MLX, mlx-lm and PyTorch.
//!
//! Their inputs are made on the device from a formula that all runners have ([`Made`]), and a time is that of one call of
//! several that are given to the device at once.

mod kernels;
mod kernels_of_rows;
mod made;
mod models;
mod programs;
mod training;

use serde_json::{Map, Value, json};

use super::{Aim, Benchmark, Cost, Group, PYTORCH, Target};
use crate::harness::check::Check;

pub use made::{Made, Size};

/// Python MLX, on the same device.
pub const PYTHON_MLX: &str = "python-mlx";
/// Language models with MLX's own package.
pub const MLX_LM: &str = "mlx-lm";
/// PyTorch with `torch.compile`.
pub const COMPILED: &str = "pytorch-compiled";
/// The operation that runners know these rows by.
pub const OP: &str = "gpu";

/// Who computes a kernel.
const EVERYONE: &[&str] = &[PYTHON_MLX, PYTORCH, COMPILED];
/// Who computes a kernel that `torch.compile` could only pass on, or takes long to compile.
const EAGER: &[&str] = &[PYTHON_MLX, PYTORCH];
/// PyTorch has nothing like it.
const MLX_ONLY: &[&str] = &[PYTHON_MLX];

/// At most as long as Python MLX takes.
const AS_PYTHON: Aim = Aim {
    of: Aim::OURS,
    over: PYTHON_MLX,
    most: 1.0,
};
/// What two runs of one program differ by.
const NOISE: f64 = 0.05;
/// What is compiled takes at most as long as what is not.
const AS_EAGER: Aim = Aim {
    of: Aim::OURS,
    over: "eager",
    most: 1.0 + NOISE,
};

/// The same, where the usual form is not compiled.
const COMPILED_AS_OURS: Aim = Aim {
    of: "compiled",
    over: Aim::OURS,
    most: 1.0 + NOISE,
};

/// Returns every row of a GPU; with `quick` those of the short run.
pub fn rows(quick: bool, size: Size) -> Vec<Benchmark> {
    let mut rows = kernels::rows(size);
    rows.extend(kernels_of_rows::rows(size));
    rows.extend(programs::rows(size));
    rows.extend(training::rows(size));
    rows.extend(models::rows(quick, size));
    rows.retain(|row| row.quick || !quick);
    let kernels = rows.iter_mut().filter(|row| row.group == Group::GpuKernels);
    for row in kernels {
        let is_formula = row.id.contains("/chain/");
        if is_formula {
            row.forms = &["eager"];
            row.target.also = &[AS_EAGER];
        } else if quick {
            // Compiling takes PyTorch seconds for each row: the short run has it where operations are fused.
            let compiled = row.rivals.contains(&COMPILED);
            row.rivals = if compiled { EAGER } else { row.rivals };
        } else if row.params["gradients"] == 0 {
            row.forms = &["compiled"];
            row.target.also = &[COMPILED_AS_OURS];
        }
    }
    rows
}

/// A row before it is one of the table.
#[derive(Clone)]
struct Kernel {
    /// As all runners know it.
    name: &'static str,
    /// What the name says besides.
    variant: &'static str,
    dtype: &'static str,
    /// The sizes in the row's name.
    shape: String,
    arrays: Vec<Made>,
    attributes: Value,
    /// The number of elements of the result, and their type.
    result: (usize, &'static str),
    flops: f64,
    /// Bytes that are read when that is less than all inputs.
    read: Option<f64>,
    /// How many of the leading inputs have their gradients computed; the last input is the cotangent then.
    gradients: usize,
    rivals: &'static [&'static str],
    quick: bool,
}

/// What the device moves and computes in a second, to choose how many calls a run has.
const BYTES: f64 = 3.5e12;
const FLOPS: f64 = 4e14;
/// How long a run shall take, in seconds, and the bytes that all its results may have together.
const RUN: f64 = 2e-3;
const RESULTS: f64 = 8e9;

impl Kernel {
    fn cost(&self) -> Cost {
        let bytes: f64 = self.arrays.iter().map(Made::bytes).sum();
        let (count, dtype) = self.result;
        Cost {
            read: self.read.unwrap_or(bytes),
            written: count as f64 * made::element(dtype),
            flops: self.flops,
        }
    }

    /// How many calls are given to the device together.
    fn calls(&self, size: Size) -> usize {
        if size == Size::Tiny {
            return 3;
        }
        let cost = self.cost();
        let seconds = ((cost.read + cost.written) / BYTES)
            .max(cost.flops / FLOPS)
            .max(4e-6);
        let most = (RESULTS / cost.written.max(1.0)).max(2.0);
        (RUN / seconds).clamp(4.0, 200.0).min(most) as usize
    }

    fn tolerance(&self) -> f32 {
        match (self.dtype, self.flops > 0.0) {
            ("float32", false) => 1e-4,
            // The device multiplies `float32` in TF32, with 10 bits.
            ("float32", true) => 5e-3,
            // Python MLX's softmax on the CPU is off by 1.6e-2.
            _ => 3e-2,
        }
    }

    fn row(&self, size: Size) -> Benchmark {
        let gradient = if self.gradients > 0 { "_grad" } else { "" };
        let name = format!("{}{}{gradient}", self.name, self.variant);
        let mut params = Map::new();
        params.insert("kernel".into(), json!(self.name));
        params.insert("dtype".into(), json!(self.dtype));
        params.insert("calls".into(), json!(self.calls(size)));
        params.insert("gradients".into(), json!(self.gradients));
        params.insert("arrays".into(), json!(self.arrays));
        if let Value::Object(attributes) = &self.attributes {
            params.extend(attributes.clone());
        }
        Benchmark {
            id: format!("gpu/{name}/{}/{}", self.dtype, self.shape),
            op: OP,
            shape: self.shape.clone(),
            dtype: self.dtype,
            group: Group::GpuKernels,
            params: Value::Object(params),
            inputs: Vec::new(),
            check: Check::norm(self.tolerance()),
            cost: self.cost(),
            target: Target {
                against: Some(PYTHON_MLX),
                ..Target::ratio(1.0)
            },
            rivals: self.rivals,
            forms: &[],
            left_out: match self.rivals.contains(&PYTORCH) {
                true => &[],
                false => &[(PYTORCH, "has nothing that reads these packed weights")],
            },
            quick: self.quick,
            note: "",
        }
    }
}

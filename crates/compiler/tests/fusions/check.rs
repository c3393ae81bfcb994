//! How a formula is checked: that it fires where it was written, or is refused for the right reason, and that results
//! stay what they were.

use mlx::{Array, Dtype};
use mlx_compiler::{CompileOptions, Fallback, Fusion, RefusalKind, Report, jit_with};

/// A function of arrays, as a user writes it.
pub type Formula = fn(&[Array]) -> Array;

/// A function that returns several arrays.
pub type Formulas = fn(&[Array]) -> Vec<Array>;

/// Shape and dtype of an input.
pub type Type = (&'static [i32], Dtype);

/// A way to write a formula.
#[derive(Clone, Copy)]
pub struct Spelling {
    pub name: &'static str,
    pub fusion: Fusion,
    /// What stands in the text of the lowered graph when it fired.
    pub kernel: &'static str,
    pub file: &'static str,
    pub types: &'static [Type],
    pub formula: Formula,
}

/// Makes a test of each spelling, and `SPELLINGS`, the table of them all. Each fires as `fusion`.
macro_rules! spellings {
    ($fusion:expr, $kernel:expr; $($name:ident($types:expr)),* $(,)?) => {
        pub const SPELLINGS: &[crate::check::Spelling] = &[$(crate::check::Spelling {
            name: stringify!($name),
            fusion: $fusion,
            kernel: $kernel,
            file: file!(),
            types: $types,
            formula: $name,
        }),*];

        #[rstest::rstest]
        $(#[case::$name(stringify!($name))])*
        fn fires(#[case] name: &str) {
            let spelling = SPELLINGS.iter().find(|spelling| spelling.name == name);
            crate::check::fires(spelling.unwrap());
        }
    };
}

/// Makes a test of each formula that must be refused, for this kind of reason.
macro_rules! refusals {
    ($fusion:expr; $($name:ident($kind:ident, $types:expr)),* $(,)?) => {
        #[rstest::rstest]
        $(#[case::$name($name, mlx_compiler::RefusalKind::$kind, {
            const TYPES: &[crate::check::Type] = $types;
            TYPES
        })])*
        fn refuses(
            #[case] formula: crate::check::Formulas,
            #[case] kind: mlx_compiler::RefusalKind,
            #[case] types: &[crate::check::Type],
        ) {
            crate::check::refuses($fusion, kind, formula, types);
        }
    };
}

/// Makes a test of each formula that is another one altogether, so that nothing is said of it.
macro_rules! others {
    ($fusion:expr; $($name:ident($types:expr)),* $(,)?) => {
        #[rstest::rstest]
        $(#[case::$name($name, {
            const TYPES: &[crate::check::Type] = $types;
            TYPES
        })])*
        fn is_another_formula(
            #[case] formula: crate::check::Formulas,
            #[case] types: &[crate::check::Type],
        ) {
            crate::check::does_not_fire($fusion, formula, types);
        }
    };
}

/// Checks that a spelling fires at its line, lowers to the kernel, and keeps its results.
pub fn fires(spelling: &Spelling) {
    let inputs = inputs(spelling.types);
    let formula = |inputs: &[Array]| vec![(spelling.formula)(inputs)];
    if lacks_doubles(formula, &inputs) {
        return;
    }
    let (report, text) = lower(formula, &inputs, Fallback::Never);
    if is_refused_on_cuda(&report, spelling.fusion) {
        return agree(&formula, &inputs);
    }
    let fired = report
        .fired
        .iter()
        .find(|fired| fired.fusion == spelling.fusion);
    let fired = fired.unwrap_or_else(|| panic!("did not fire\n{report}\n{text}"));
    assert!(text.contains(spelling.kernel), "{report}\n{text}");
    let at = fired.site.at.map(std::panic::Location::file);
    assert_eq!(at, Some(spelling.file), "fired elsewhere");
    agree(&formula, &inputs);
}

/// Checks that a formula is refused for this kind of reason and keeps its results.
pub fn refuses(fusion: Fusion, kind: RefusalKind, formula: Formulas, types: &[Type]) {
    let inputs = inputs(types);
    if lacks_doubles(formula, &inputs) {
        return;
    }
    let report = does_not_fire_on(fusion, formula, &inputs);
    let kinds: Vec<RefusalKind> = report
        .refused
        .iter()
        .filter(|refused| refused.fusion == fusion)
        .map(|refused| refused.refusal.kind)
        .collect();
    assert!(kinds.contains(&kind), "{kinds:?}\n{report}");
    agree(&formula, &inputs);
}

/// Checks that a formula is not taken for this one and keeps its results.
pub fn does_not_fire(fusion: Fusion, formula: Formulas, types: &[Type]) {
    let inputs = inputs(types);
    if lacks_doubles(formula, &inputs) {
        return;
    }
    does_not_fire_on(fusion, formula, &inputs);
    agree(&formula, &inputs);
}

/// Whether a formula computes doubles on a device that has none; says so.
pub fn lacks_doubles(formula: impl Fn(&[Array]) -> Vec<Array>, inputs: &[Array]) -> bool {
    if mlx::Device::current().unwrap() == mlx::Device::Cpu {
        return false;
    }
    let is_refused = |text: String| text.contains("float64 is not supported on the GPU");
    // Formulas that ask for a shape on the way panic.
    let call = std::panic::AssertUnwindSafe(|| formula(inputs));
    let lacks = match std::panic::catch_unwind(call) {
        Ok(results) => results
            .iter()
            .filter_map(|array| array.dtype().err())
            .any(|error| is_refused(error.to_string())),
        Err(panic) => panic
            .downcast_ref::<String>()
            .cloned()
            .is_some_and(is_refused),
    };
    if lacks {
        eprintln!("skipped: float64: GPUs have none");
    }
    lacks
}

/// Whether a formula is refused for what CUDA's kernels do.
fn is_refused_on_cuda(report: &Report, fusion: Fusion) -> bool {
    let mut refused = report
        .refused
        .iter()
        .filter(|refused| refused.fusion == fusion);
    refused.any(|refused| refused.refusal.to_string().contains("CUDA"))
}

fn does_not_fire_on(fusion: Fusion, formula: Formulas, inputs: &[Array]) -> Report {
    let (report, text) = lower(formula, inputs, Fallback::Never);
    assert_eq!(report.count(fusion), 0, "fired\n{report}\n{text}");
    report
}

/// The report and the texts of the recognized and of the lowered graph.
pub fn lower(
    formula: impl Fn(&[Array]) -> Vec<Array>,
    inputs: &[Array],
    fallback: Fallback,
) -> (Report, String) {
    let options = CompileOptions {
        fallback,
        ..CompileOptions::default()
    };
    let function = jit_with(|inputs: &Vec<Array>| formula(inputs), options);
    let lowered = function.lower(&inputs.to_vec()).unwrap();
    let text = format!("{}\n{lowered}", lowered.optimized().to_short_text());
    (lowered.report().clone(), text)
}

/// Checks that compiled results are the eager ones, with kernels and with composed bodies.
pub fn agree(formula: &dyn Fn(&[Array]) -> Vec<Array>, inputs: &[Array]) {
    let eager = formula(inputs);
    // A kernel rounds half-precision values once where the formula rounds each step, also on the way to a wider result.
    let of_inputs = inputs
        .iter()
        .map(|input| tolerance(input.dtype().unwrap()))
        .fold(0.0, f64::max);
    for fallback in [Fallback::Never, Fallback::Always] {
        let compiled = compiled(formula, inputs, fallback);
        if let Err(message) = same_at_least(&eager, &compiled, 1.0, of_inputs) {
            let (report, text) = lower(formula, inputs, fallback);
            panic!("{fallback:?}: {message}\n{report}\n{text}");
        }
    }
}

/// What the compiled function gives.
pub fn compiled(
    formula: &dyn Fn(&[Array]) -> Vec<Array>,
    inputs: &[Array],
    fallback: Fallback,
) -> Vec<Array> {
    let options = CompileOptions {
        fallback,
        ..CompileOptions::default()
    };
    let function = jit_with(|inputs: &Vec<Array>| formula(inputs), options);
    function.call(&inputs.to_vec()).unwrap()
}

/// Whether results agree within the tolerance of their dtype.
pub fn same(eager: &[Array], compiled: &[Array]) -> Result<(), String> {
    same_within(eager, compiled, 1.0)
}

/// Whether results agree within so many times the tolerance of their dtype.
pub fn same_within(eager: &[Array], compiled: &[Array], times: f64) -> Result<(), String> {
    same_at_least(eager, compiled, times, 0.0)
}

fn same_at_least(
    eager: &[Array],
    compiled: &[Array],
    times: f64,
    least: f64,
) -> Result<(), String> {
    for (eager, compiled) in eager.iter().zip(compiled) {
        let (wanted, got) = (eager.array_type().unwrap(), compiled.array_type().unwrap());
        if wanted != got {
            return Err(format!("wanted {wanted}, got {got}"));
        }
        let (wanted, got) = (values(eager), values(compiled));
        let scale = wanted
            .iter()
            .filter(|value| value.is_finite())
            .fold(1.0_f64, |scale, value| scale.max(value.abs()));
        let tolerance = times * scale * tolerance(eager.dtype().unwrap()).max(least);
        for (wanted, got) in wanted.iter().zip(got) {
            let same = *wanted == got
                || (wanted.is_nan() && got.is_nan())
                || (wanted - got).abs() <= tolerance;
            if !same {
                return Err(format!("wanted {wanted}, got {got}"));
            }
        }
    }
    Ok(())
}

/// How far results may be apart, as a part of the greatest of them.
fn tolerance(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::Float64 => 1e-12,
        Dtype::Float32 => 1e-5,
        Dtype::Float16 => 4e-3,
        Dtype::Bfloat16 => 3e-2,
        _ => 0.0,
    }
}

fn values(array: &Array) -> Vec<f64> {
    // GPUs have no doubles.
    let wide = || array.astype(Dtype::Float64).to_vec::<f64>();
    mlx::with_device(mlx::Device::Cpu, wide).flatten().unwrap()
}

/// Arrays of these types that look random and are always the same.
pub fn inputs(types: &[Type]) -> Vec<Array> {
    (1..)
        .zip(types)
        .map(|(seed, one)| input(seed, *one))
        .collect()
}

/// Floating numbers are from -2 to 2, integers from 0 to 3.
fn input(seed: u64, (shape, dtype): Type) -> Array {
    let size: i32 = shape.iter().product();
    let mut random = Random::new(seed);
    let numbers: Vec<f32> = (0..size)
        .map(|_| match dtype {
            Dtype::Bool => f32::from(u8::from(random.below(2) == 1)),
            dtype if dtype.is_integer() => random.below(4) as f32,
            _ => (random.below(4001) as f32 - 2000.0) / 1000.0,
        })
        .collect();
    Array::from_slice(&numbers, shape).unwrap().astype(dtype)
}

/// Numbers that look random: Knuth's generator, its upper bits.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// A number from 0 to `end - 1`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }
}

//! Compares a program's results: eager, compiled in several ways, and in the interpreter.
//!
//! No tolerance is guessed. The interpreter runs the program exactly, rounded as the dtypes say, and with each result off
//! by up to four units in the last place. These tell how far roundings carry in this program: a result may be twice as
//! far from the exact one as they are. Where that is much, the output is not judged.

use mlx::{Array, Dtype};
use mlx_compiler::{CompileOptions, Fallback, Graph, KernelFusion, jit_with, trace};
use mlx_interpreter::{Interpreter, Rounding, Tensor, array_constants};

use super::autotuned;
use super::program::Program;

/// What a program that agreed had in it.
pub struct Outcome {
    pub fired: Vec<&'static str>,
    pub refused: usize,
    pub judged: usize,
    pub vague: usize,
    pub dtypes: Vec<&'static str>,
}

/// What an output should be, and how far it may be off.
pub struct Wanted {
    exact: Vec<f64>,
    tolerance: f64,
    /// Whether so much is allowed that nothing would be proven.
    vague: bool,
    is_float: bool,
}

/// Says how ways to run a program differ, if they do.
pub fn check(program: &Program, seed: u64) -> Result<Outcome, String> {
    let (constants, inputs) = (program.constants(), program.inputs());
    let function = |inputs: &Vec<Array>| program.run(&constants, inputs);
    let tensors = tensors(&inputs)?;

    let traced = trace(function, &inputs).map_err(|error| format!("trace: {error}"))?;
    let wanted = wanted(traced.graph(), &tensors)?;
    read_back(traced.graph())?;
    let eager = program
        .run(&constants, &inputs)
        .map_err(|error| format!("eager: {error}"))?;
    compare("eager", &eager, &wanted)?;

    let options = CompileOptions {
        verify: true,
        ..CompileOptions::default()
    };
    let lowered = traced
        .lower(&options)
        .map_err(|error| format!("lower: {error}"))?;
    let dtypes = dtypes(lowered.traced());
    let has_half = dtypes.contains(&"float16") || dtypes.contains(&"bfloat16");
    for kernels in [false, true] {
        let what = if kernels {
            "kernels in the interpreter"
        } else {
            "bodies in the interpreter"
        };
        let results = interpret(lowered.optimized(), &tensors, Rounding::Exact, kernels)?;
        same(what, &results, &wanted, has_half)?;
    }
    let results = interpret(lowered.graph(), &tensors, Rounding::Exact, false)?;
    same(
        "the lowered graph in the interpreter",
        &results,
        &wanted,
        has_half,
    )?;
    read_back(lowered.optimized())?;

    let report = lowered.report();
    let outcome = Outcome {
        fired: report
            .fired
            .iter()
            .map(|fired| fired.fusion.name())
            .collect(),
        refused: report.refused.len(),
        judged: wanted.iter().filter(|wanted| !wanted.vague).count(),
        vague: wanted.iter().filter(|wanted| wanted.vague).count(),
        dtypes,
    };
    for (what, options) in variants(seed) {
        let compiled = jit_with(function, options);
        for call in 0..2 {
            let results = compiled
                .call(&inputs)
                .map_err(|error| format!("{what}: {error}"))?;
            compare(&format!("{what}, call {call}"), &results, &wanted)?;
        }
    }
    // Measuring takes a while.
    if seed.is_multiple_of(25) {
        for form in 0..2 {
            let options = autotuned::forced(&function, &inputs, form)?;
            let results = jit_with(function, options).call(&inputs);
            let results = results.map_err(|error| format!("form {form}: {error}"))?;
            compare(&format!("form {form} of each site"), &results, &wanted)?;
        }
    }
    Ok(outcome)
}

/// Says how the results of another program differ from those of the first, if they do.
pub fn difference(program: &Program, other: &Program) -> Option<String> {
    let (constants, inputs) = (program.constants(), program.inputs());
    let function = |inputs: &Vec<Array>| program.run(&constants, inputs);
    let traced = trace(function, &inputs).ok()?;
    let wanted = wanted(traced.graph(), &tensors(&inputs).ok()?).ok()?;
    let results = other.run(&other.constants(), &inputs).ok()?;
    compare("other", &results, &wanted).err()
}

/// Every program is compiled plainly and without fusions; the seed chooses one more way.
fn variants(seed: u64) -> Vec<(&'static str, CompileOptions)> {
    let plain = CompileOptions {
        verify: true,
        ..CompileOptions::default()
    };
    let third = match seed % 3 {
        0 => (
            "compiled with fallback never",
            CompileOptions {
                fallback: Fallback::Never,
                ..plain.clone()
            },
        ),
        1 => (
            "compiled with fallback always",
            CompileOptions {
                fallback: Fallback::Always,
                ..plain.clone()
            },
        ),
        _ => (
            "compiled with elementwise fusion",
            CompileOptions {
                kernel_fusion: KernelFusion::All,
                ..plain.clone()
            },
        ),
    };
    let without = CompileOptions {
        verify: true,
        // The programs' arrays are too small for elementwise kernels otherwise.
        kernel_fusion: KernelFusion::All,
        ..CompileOptions::without_fusions()
    };
    vec![
        ("compiled", plain),
        (
            "compiled without formulas, with elementwise fusion",
            without,
        ),
        third,
    ]
}

pub fn tensors(arrays: &[Array]) -> Result<Vec<Tensor>, String> {
    arrays
        .iter()
        .map(|array| Tensor::of(array).map_err(|error| error.to_string()))
        .collect()
}

fn interpret(
    graph: &Graph,
    inputs: &[Tensor],
    rounding: Rounding,
    kernels: bool,
) -> Result<Vec<Tensor>, String> {
    let constants = array_constants(graph).map_err(|error| error.to_string())?;
    let interpreter = Interpreter {
        rounding,
        kernels,
        constants,
    };
    interpreter
        .run(graph, inputs)
        .map_err(|error| format!("interpreter: {error}"))
}

pub fn wanted(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Wanted>, String> {
    let run = |rounding| interpret(graph, inputs, rounding, false);
    let exact = run(Rounding::Exact)?;
    let noisy = |seed| run(Rounding::Noisy { ulps: 4, seed });
    let rounded = [
        run(Rounding::PerOp)?,
        noisy(1)?,
        noisy(2)?,
        noisy(3)?,
        noisy(4)?,
    ];
    let one = |(k, exact): (usize, &Tensor)| {
        let is_float = exact.dtype().is_floating();
        let exact = exact.to_f64();
        let scale = exact.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        let apart = rounded.iter().flat_map(|results| {
            let other = results[k].to_f64();
            exact
                .iter()
                .zip(other)
                .map(|(a, b)| (a - b).abs())
                .collect::<Vec<_>>()
        });
        // What an error makes NaN cannot be judged.
        let carried = apart.fold(0.0_f64, |most, x| {
            if x.is_nan() {
                f64::INFINITY
            } else {
                most.max(x)
            }
        });
        // Elements of one output share what is allowed: a small one may be made of large ones that cancel.
        let tolerance = if is_float {
            2.0 * carried + LEAST * scale.max(1e-3)
        } else {
            0.0
        };
        Wanted {
            vague: !tolerance.is_finite() || tolerance > 0.1 * scale.max(1e-3),
            exact,
            tolerance,
            is_float,
        }
    };
    Ok(exact.iter().enumerate().map(one).collect())
}

/// The part of the greatest element below which no agreement is asked for.
const LEAST: f64 = 4e-6;

pub fn compare(what: &str, results: &[Array], wanted: &[Wanted]) -> Result<(), String> {
    judge(
        what,
        &tensors(results).map_err(|error| format!("{what}: {error}"))?,
        wanted,
        1.0,
    )
}

/// Exact results of another form of the program must be closer than rounded ones may be, unless constants in half
/// precision were computed when it was compiled.
fn same(what: &str, results: &[Tensor], wanted: &[Wanted], has_half: bool) -> Result<(), String> {
    judge(what, results, wanted, if has_half { 1.0 } else { 0.25 })
}

fn judge(what: &str, results: &[Tensor], wanted: &[Wanted], factor: f64) -> Result<(), String> {
    if results.len() != wanted.len() {
        return Err(format!(
            "{what}: got {} outputs, want {}",
            results.len(),
            wanted.len()
        ));
    }
    for (index, (result, wanted)) in results.iter().zip(wanted).enumerate() {
        if wanted.vague {
            continue;
        }
        let got = result.to_f64();
        if got.len() != wanted.exact.len() {
            return Err(format!(
                "{what}: output {index} has {} elements, want {}",
                got.len(),
                wanted.exact.len()
            ));
        }
        for (k, (got_one, want)) in got.iter().zip(&wanted.exact).enumerate() {
            let apart = (got_one - want).abs();
            if apart <= factor * wanted.tolerance && (wanted.is_float || got_one == want) {
                continue;
            }
            return Err(format!(
                "{what}: output {index} ({}), element {k}: got {got_one:e}, want {want:e} within {:e}",
                result.dtype(),
                factor * wanted.tolerance
            ));
        }
    }
    Ok(())
}

/// A graph prints as a text that reads back as the same.
fn read_back(graph: &Graph) -> Result<(), String> {
    let text = graph.to_string();
    let back: Graph = text.parse().map_err(|error| format!("{error}\n{text}"))?;
    if back.to_string() == text {
        Ok(())
    } else {
        Err(format!("reads back as another graph:\n{text}\n{back}"))
    }
}

fn dtypes(graph: &Graph) -> Vec<&'static str> {
    let all = graph
        .values()
        .map(|(value, _)| graph.array_type(value).dtype);
    let mut all: Vec<Dtype> = all.collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(Dtype::name).collect()
}

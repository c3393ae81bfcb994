//! Shapeless functions at further sizes: one trace, and at each size what a trace for that size would give.

use mlx::{Array, ArrayType};
use mlx_compiler::{CompileOptions, Error, jit_with, trace};

use super::check::{compare, tensors, wanted};
use super::program::{Program, Source, random_tensor};
use super::random::Random;

/// What was seen at further sizes.
#[derive(Default)]
pub struct Sizes {
    /// Programs that were compiled for all sizes.
    pub taken: usize,
    /// Programs into which a size is frozen.
    pub refused: usize,
    /// Sizes at which the results were compared.
    pub compared: usize,
    /// Sizes that the function refuses eagerly, and compiled.
    pub failed: usize,
}

/// How the sizes of a call follow from those of the trace, the same size always in the same way.
const RESIZED: [fn(i32) -> i32; 6] = [
    |size| size,
    |size| if size == 1 { 1 } else { 2 * size + 1 },
    |size| if size == 3 { 1 } else { size },
    |size| if size == 2 { 5 } else { size },
    |_| 1,
    |size| if size == 4 { 0 } else { size },
];

/// Compiles the program for all sizes and says where it differs from the function itself.
pub fn check_sizes(program: &Program, seed: u64, seen: &mut Sizes) -> Result<(), String> {
    let constants = program.constants();
    let function = |inputs: &Vec<Array>| program.run(&constants, inputs);
    let options = CompileOptions {
        shapeless: true,
        verify: true,
        ..CompileOptions::default()
    };
    let compiled = jit_with(function, options).max_traces(1);
    let mut random = Random::new(seed);
    for (way, resize) in RESIZED.iter().enumerate() {
        // From the second on, one input alone may be of another size, so that it broadcasts or no longer fits.
        let alone = (way > 1 && random.percent(30)).then(|| random.below(3));
        let inputs = resized(program, *resize, alone, &mut random);
        let types: Vec<String> = inputs
            .iter()
            .map(|x| x.array_type().unwrap().to_string())
            .collect();
        let eager = program
            .run(&constants, &inputs)
            .and_then(|outputs| mlx::eval(&outputs).map(|()| outputs));
        for call in 0..3 {
            let what = format!("shapeless, {types:?}, call {call}");
            let got = compiled.call(&inputs);
            if let Err(Error::Shapeless(_)) = got {
                seen.refused += 1;
                return Ok(());
            }
            let got = got.and_then(|outputs| Ok(mlx::eval(&outputs).map(|()| outputs)?));
            match (&eager, got) {
                (Ok(eager), Ok(got)) => same(program, &constants, &inputs, (eager, &got), &what)?,
                (Err(_), Err(_)) => {}
                (Ok(_), Err(error)) => return Err(format!("{what}: {error}")),
                (Err(error), Ok(_)) => {
                    return Err(format!(
                        "{what}: wanted an error as eagerly, got values: {error}"
                    ));
                }
            }
        }
        match eager {
            Ok(_) => seen.compared += 1,
            Err(_) => seen.failed += 1,
        }
    }
    seen.taken += 1;
    Ok(())
}

/// Compares results with what a trace for these inputs says in the interpreter, where that takes them.
fn same(
    program: &Program,
    constants: &[Option<Array>],
    inputs: &Vec<Array>,
    (eager, got): (&[Array], &[Array]),
    what: &str,
) -> Result<(), String> {
    for (index, (eager, got)) in eager.iter().zip(got).enumerate() {
        let (want, got) = (eager.array_type().unwrap(), got.array_type().unwrap());
        if want != got {
            return Err(format!("{what}: output {index} is {got}, want {want}"));
        }
    }
    let is_empty = |x: &Array| x.size().is_ok_and(|n| n == 0);
    if inputs.iter().any(is_empty) {
        // The interpreter has no rules for reductions over nothing.
        return exactly(eager, got, what);
    }
    let function = |inputs: &Vec<Array>| program.run(constants, inputs);
    let traced = trace(function, inputs).map_err(|error| format!("{what}: trace: {error}"))?;
    compare(what, got, &wanted(traced.graph(), &tensors(inputs)?)?)
}

/// Compares results with those of the function itself: what is left when a size is 0 is sums of nothing and constants.
fn exactly(eager: &[Array], got: &[Array], what: &str) -> Result<(), String> {
    for (index, (want, got)) in tensors(eager)?.iter().zip(tensors(got)?).enumerate() {
        for (want, got) in want.to_f64().into_iter().zip(got.to_f64()) {
            let near = (want - got).abs() <= 0.02 * want.abs().max(1.0);
            if !near && want.is_finite() {
                return Err(format!(
                    "{what}: output {index}: got {got:e}, want {want:e}"
                ));
            }
        }
    }
    Ok(())
}

fn resized(
    program: &Program,
    resize: fn(i32) -> i32,
    alone: Option<usize>,
    random: &mut Random,
) -> Vec<Array> {
    let mut number = 0;
    let mut inputs = Vec::new();
    for source in &program.values {
        let Source::Input(tensor) = source else {
            continue;
        };
        let like = tensor.array_type();
        let changes = alone.is_none_or(|one| one == number);
        let size = |size: &i32| if changes { resize(*size) } else { *size };
        let shape: Vec<i32> = like.shape.iter().map(size).collect();
        let tensor = random_tensor(random, &ArrayType::new(shape, like.dtype));
        inputs.push(tensor.to_array().unwrap());
        number += 1;
    }
    inputs
}

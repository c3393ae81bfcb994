//! Each operation of the table in a shapeless function: at three sizes its results are the eager ones, or it is refused
//! by its name.
//!
//! Attributes and inputs are random. `SHAPELESS_ROUNDS=100` runs more for each operation, `SHAPELESS_OP=sort` one.

#[path = "../../mlx/tests/fuzz/cases.rs"]
mod cases;
#[path = "../../mlx/tests/fuzz/fitting.rs"]
mod fitting;
#[path = "../../mlx/tests/fuzz/random.rs"]
mod random;

use std::collections::BTreeMap;

use mlx::{Array, Device, Dtype, Op, bind_all};
use mlx_compiler::{CompileOptions, Error, jit, jit_with};
use random::Random;

const SEED: u64 = 20_261_129;
const ROUNDS: u64 = 100;
/// Arrays above this size are of attributes that are nothing but large.
const MAX_ELEMENTS: usize = 1 << 16;

/// How often each thing happened to an operation.
#[derive(Default)]
struct Counts {
    agreed: usize,
    refused: usize,
    failed_eagerly: usize,
}

#[test]
fn every_operation_is_eager_at_all_sizes_or_refused_by_name() {
    if !matches!(Device::current(), Ok(Device::Cpu)) {
        eprintln!("skipped: a GPU's compiled functions differ from eager ones by roundings");
        return;
    }
    let rounds = std::env::var("SHAPELESS_ROUNDS").ok();
    let rounds = rounds.and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let wanted = std::env::var("SHAPELESS_OP").unwrap_or_default();
    mlx::memory::set_memory_limit(1 << 28).unwrap();
    let (mut counts, mut failures) = (BTreeMap::new(), Vec::new());
    for (number, name) in (0..).zip(Op::NAMES) {
        // Ranks are in `crates/nn/tests/distributed.rs`.
        if !name.contains(&wanted) || name.starts_with("distributed.") {
            continue;
        }
        let counts: &mut Counts = counts.entry(name).or_default();
        for round in 0..rounds {
            let mut random = Random::new(SEED, number * 1_000_003 + round);
            let Some(case) = cases::case(&mut random, name) else {
                continue;
            };
            if let Err(message) = check(&mut random, &case, counts) {
                failures.push(format!("{name}, round {round}: {message}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    let unseen = |(name, counts): (&&str, &Counts)| {
        (counts.agreed + counts.refused == 0).then(|| (*name).to_owned())
    };
    let unseen: Vec<String> = counts.iter().filter_map(|(n, c)| unseen((n, c))).collect();
    // Fewer rounds may be too few for some.
    assert!(
        unseen.is_empty() || rounds < ROUNDS,
        "neither agreed nor were refused: {unseen:?}"
    );
    let sum = |of: fn(&Counts) -> usize| counts.values().map(of).sum::<usize>();
    println!(
        "{} operations: {} calls agreed, {} were refused, {} fail eagerly",
        counts.len(),
        sum(|counts| counts.agreed),
        sum(|counts| counts.refused),
        sum(|counts| counts.failed_eagerly),
    );
}

/// MLX computes the softmax of integers in their own dtype or in `float32`, by the order of the axes.
#[test]
fn several_axes_of_softmax_keep_their_order() {
    // MLX has no softmax of integers on GPUs.
    mlx_testdata::needs!(CpuKernels);
    let x = mlx::array!([[1, 2, 3]]);
    let mut counts = Counts::default();
    for axes in [vec![1, 0], vec![0, 1], vec![-1, 0], vec![0, -1]] {
        let op = Op::Softmax {
            axes,
            precise: false,
        };
        let inputs = vec![x.clone()];
        let case = cases::Case { op, inputs };
        check(&mut Random::new(SEED, 0), &case, &mut counts).unwrap();
    }
    assert_eq!(counts.agreed, 24);
}

/// Calls the operation at three sizes with one shapeless function, which is traced for the first that works.
fn check(random: &mut Random, case: &cases::Case, counts: &mut Counts) -> Result<(), String> {
    let op = case.op.clone();
    let options = CompileOptions {
        shapeless: true,
        ..CompileOptions::default()
    };
    let compiled = jit_with(
        move |x: &Vec<Array>| bind_all(op.clone(), &refs(x)),
        options,
    );
    for resize in [|size| size, |size| 2 * size + 1, |size| size / 2 + 1] {
        // Sizes that are equal stay equal, and 0 and 1 stay what they are.
        let resize = |size: &i32| if *size < 2 { *size } else { resize(*size) };
        let mut inputs = Vec::with_capacity(case.inputs.len());
        for input in &case.inputs {
            let Ok(like) = input.array_type() else {
                return Ok(());
            };
            let shape: Vec<i32> = like.shape.iter().map(resize).collect();
            inputs.push(match shape == like.shape {
                true => input.clone(),
                false => random.array(&shape, like.dtype),
            });
        }
        let Ok(wanted) = bind_all(case.op.clone(), &refs(&inputs)).and_then(read_all) else {
            counts.failed_eagerly += 1;
            continue;
        };
        let at = || {
            let types: Vec<_> = inputs.iter().map(Array::array_type).collect();
            format!("{:?} of {types:?}", case.op)
        };
        // Node by node, and then by a form for these sizes: that of a function which is compiled for them alone, which
        // differs where infinities meet zeros between the elements of a convolution.
        for by_node in [true, false] {
            match compiled.call(&inputs).map(read_all) {
                Ok(Ok(got))
                    if got == wanted || !by_node && got == compiled_alone(case, &inputs) =>
                {
                    counts.agreed += 1;
                }
                Ok(Ok(got)) => return Err(format!("{}: got {got:?}, want {wanted:?}", at())),
                Ok(Err(error)) => return Err(format!("{}: {error}", at())),
                Err(Error::Shapeless(text)) if text.contains(case.op.name()) => counts.refused += 1,
                Err(error) => return Err(format!("{}: {error}", at())),
            }
        }
    }
    Ok(())
}

/// What a function that is compiled for these sizes alone gives; nothing where it fails.
fn compiled_alone(case: &cases::Case, inputs: &Vec<Array>) -> Contents {
    let op = case.op.clone();
    let alone = jit(move |x: &Vec<Array>| bind_all(op.clone(), &refs(x)));
    let read = |outputs| read_all(outputs).ok();
    alone.call(inputs).ok().and_then(read).unwrap_or_default()
}

fn refs(arrays: &[Array]) -> Vec<&Array> {
    arrays.iter().collect()
}

/// The type of each array, and its elements: their bits, all NaN alike.
type Contents = Vec<(String, Vec<u64>)>;

fn read_all(arrays: Vec<Array>) -> mlx::Result<Contents> {
    let read = |array: Array| {
        let array_type = array.array_type()?.to_string();
        if array.size()? > MAX_ELEMENTS {
            return Ok((array_type, Vec::new()));
        }
        let parts = match array.dtype()? {
            Dtype::Complex64 => vec![array.real(), array.imag()],
            _ => vec![array],
        };
        let mut bits = Vec::new();
        for part in parts {
            let numbers = part.astype(Dtype::Float64).to_vec::<f64>()?;
            let one = |x: &f64| if x.is_nan() { u64::MAX } else { x.to_bits() };
            bits.extend(numbers.iter().map(one));
        }
        Ok((array_type, bits))
    };
    arrays.into_iter().map(read).collect()
}

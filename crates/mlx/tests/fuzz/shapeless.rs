//! Shapeless functions of every operation against eager calls: with the sizes they were traced with, then with others.

use mlx::{Array, CompiledClosure, Dtype, Result, bind_all, eval};

use crate::cases::{self, Case};
use crate::random::Random;

/// How many times a function is called, each time with other sizes.
const CALLS: usize = 4;

/// Runs one case, telling `write` what is about to run. Returns how many calls gave a result.
pub fn run(random: &mut Random, name: &str, write: &mut dyn FnMut(&str)) -> u64 {
    write("making inputs");
    let Some(case) = cases::case(random, name) else {
        return 0;
    };
    let op = case.op.clone();
    let apply = move |inputs: &[Array]| bind_all(op.clone(), &inputs.iter().collect::<Vec<_>>());
    let compiled = CompiledClosure::new(apply.clone(), true).unwrap();
    let mut worked = 0;
    for call in 0..CALLS {
        let inputs = if call == 0 {
            case.inputs.clone()
        } else {
            resized(random, &case)
        };
        if eval(&inputs).is_err() {
            continue;
        }
        let what = crate::describe(
            &Case {
                op: case.op.clone(),
                inputs: inputs.clone(),
            },
            false,
        );
        write(&format!("call {call}, eager: {what}"));
        let want = apply(&inputs).and_then(|outputs| numbers(&outputs));
        write(&format!("call {call}, compiled: {what}"));
        let got = compiled.call(&inputs.iter().collect::<Vec<_>>());
        let got = got.and_then(|outputs| numbers(&outputs));
        match (got, want) {
            (Ok(got), Ok(want)) => {
                worked += 1;
                // Zeros that are put into the input by hand are multiplied by weights, which may be infinite.
                let is_nan_fine = name == "conv_general";
                assert!(
                    is_same(&got, &want, is_nan_fine),
                    "wanted {want:?}, got {got:?}"
                );
            }
            (Err(_), Err(_)) => {}
            // An index where nothing is read or written is not looked at when it is not known in the trace.
            (Ok(got), Err(error))
                if error.to_string().contains("out of range")
                    && (got.iter().any(|(shape, _)| shape.contains(&0))
                        || inputs.iter().any(|x| x.size().is_ok_and(|size| size == 0))) => {}
            // MLX has no loops for doubles where the input is dilated, but has them where that is done by hand.
            (Ok(_), Err(error))
                if name == "conv_general" && error.to_string().contains("unsupported data") => {}
            (got, want) => panic!("wanted {want:?}, got {got:?}"),
        }
    }
    worked
}

/// Inputs of other sizes: mostly such that equal ones stay equal.
fn resized(random: &mut Random, case: &Case) -> Vec<Array> {
    let sizes: Vec<i32> = (0..16).map(|_| random.size()).collect();
    let is_one_kept = random.chance(50);
    let is_any = random.chance(15);
    let resize = |input: &Array, random: &mut Random| {
        let (shape, dtype) = (input.shape().unwrap(), input.dtype().unwrap());
        let other = |&size: &i32| match usize::try_from(size) {
            _ if is_any => random.size(),
            Ok(1) if is_one_kept => 1,
            Ok(size) => sizes.get(size).copied().unwrap_or(size as i32),
            Err(_) => size,
        };
        let shape: Vec<i32> = shape.iter().map(other).collect();
        random.array(&shape, dtype)
    };
    case.inputs
        .iter()
        .map(|input| resize(input, random))
        .collect()
}

/// The shape and the numbers of each array.
fn numbers(outputs: &[Array]) -> Result<Vec<Numbers>> {
    eval(outputs)?;
    let one = |array: &Array| {
        let (shape, dtype) = (array.shape()?, array.dtype()?);
        if array.size()? > 1 << 16 {
            return Ok((shape, Vec::new()));
        }
        let mut numbers = array.astype(Dtype::Float64).to_vec::<f64>()?;
        if dtype == Dtype::Complex64 {
            numbers.extend(array.imag().astype(Dtype::Float64).to_vec::<f64>()?);
        }
        Ok((shape, numbers))
    };
    outputs.iter().map(one).collect()
}

type Numbers = (Vec<i32>, Vec<f64>);

fn is_same(got: &[Numbers], want: &[Numbers], is_nan_fine: bool) -> bool {
    got.len() == want.len()
        && got.iter().zip(want).all(|((shape, got), (wanted, want))| {
            // What cancels is off by roundings of what it is made of.
            let largest = want
                .iter()
                .filter(|x| x.is_finite())
                .fold(0.0, |a: f64, x| a.max(x.abs()));
            let near = |(got, want): (&f64, &f64)| {
                got == want
                    || got.is_nan() && (is_nan_fine || want.is_nan())
                    || (got - want).abs() <= 1e-2 * got.abs().max(want.abs()) + 1e-6 * largest
            };
            shape == wanted && got.len() == want.len() && got.iter().zip(want).all(near)
        })
}

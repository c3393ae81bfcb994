//! One random call for each seed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::dice::Dice;
use crate::{elements, matrices};

/// Nothing, or what is wrong.
pub type Checked = Result<(), String>;

type Case = fn(&mut Dice) -> Checked;

const CASES: [(&str, Case); 9] = [
    ("unary", elements::unary_case),
    ("program", elements::program_case),
    ("rows", elements::rows_case),
    ("reduce", elements::reduce_case),
    ("attention", matrices::attention_case),
    ("matmul", matrices::matmul_case),
    ("quantized", matrices::quantized_case),
    ("conv1d", matrices::conv_case),
    ("rope", matrices::rope_case),
];

/// Makes the call of this seed and says what is wrong with its result.
pub fn run(seed: u64) -> Checked {
    let (name, case) = CASES[seed as usize % CASES.len()];
    let outcome = catch_unwind(AssertUnwindSafe(|| case(&mut Dice::new(seed))));
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(text)) => Err(format!("{name}: {text}")),
        Err(_) => Err(format!("{name}: panicked")),
    }
}

/// Says where numbers differ by more than `bound` times `scale`.
pub fn close(got: &[f32], wanted: &[f64], bound: f64, what: &str) -> Checked {
    if got.len() != wanted.len() {
        return Err(format!(
            "{what}: {} elements, wanted {}",
            got.len(),
            wanted.len()
        ));
    }
    let scale = wanted.iter().fold(1.0_f64, |most, x| most.max(x.abs()));
    for (i, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        let error = (f64::from(*got) - wanted).abs();
        if error <= bound * scale || got.is_nan() && wanted.is_nan() {
            continue;
        }
        return Err(format!("{what}: element {i} is {got:e}, wanted {wanted:e}"));
    }
    Ok(())
}

/// The error of a call that ought to succeed.
pub fn went<T>(result: mlx_kernels::Result<T>, what: &str) -> Result<T, String> {
    result.map_err(|error| format!("{what}: refused: {error}"))
}

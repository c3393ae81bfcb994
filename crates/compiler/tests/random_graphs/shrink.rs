//! Makes a failing program small: fewer outputs, and steps that become inputs with their own elements.

use mlx::Array;
use mlx_interpreter::Tensor;

use super::program::{Program, Source};

/// Returns the smallest program found that still fails, and how it fails.
pub fn shrink(
    program: Program,
    message: String,
    fails: &dyn Fn(&Program) -> Option<String>,
) -> (Program, String) {
    let (mut best, mut message) = (program, message);
    loop {
        let smaller = candidates(&best).into_iter().find_map(|candidate| {
            let message = fails(&candidate)?;
            Some((candidate, message))
        });
        match smaller {
            Some((candidate, text)) => (best, message) = (candidate, text),
            None => return (best, message),
        }
    }
}

/// Programs with less in them, the smallest first.
fn candidates(program: &Program) -> Vec<Program> {
    let mut all = Vec::new();
    if program.outputs.len() > 1 {
        for k in 0..program.outputs.len() {
            let mut fewer = program.clone();
            fewer.outputs = vec![program.outputs[k]];
            all.push(fewer.pruned());
        }
        for k in 0..program.outputs.len() {
            let mut fewer = program.clone();
            fewer.outputs.remove(k);
            all.push(fewer.pruned());
        }
    }
    let values = values(program);
    for k in (0..program.values.len()).rev() {
        if let (Source::Step(_), Some(tensor)) = (&program.values[k], values.get(k)) {
            if program.outputs.contains(&k) && program.outputs.len() == 1 {
                continue;
            }
            let mut cut = program.clone();
            cut.values[k] = Source::Input(tensor.clone());
            all.push(cut.pruned());
        }
    }
    all
}

/// What each value is, when the program runs.
fn values(program: &Program) -> Vec<Tensor> {
    let everything = Program {
        outputs: (0..program.values.len()).collect(),
        ..program.clone()
    };
    let arrays: Vec<Array> = everything
        .run(&everything.constants(), &everything.inputs())
        .unwrap_or_default();
    arrays
        .iter()
        .map_while(|array| Tensor::of(array).ok())
        .collect()
}

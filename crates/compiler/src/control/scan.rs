//! A body run over the first axis of sequences, carrying a state along.

use std::panic::Location;
use std::rc::Rc;

use mlx::compiler_api::TracedArray;
use mlx::tree::{self, Outcome};
use mlx::{Array, ArrayType, Tree};

use super::checks::{StateType, types_of};
use crate::execute::{Executor, ScanLayout, run_scan};
use crate::graph::{CallSite, Operation};
use crate::trace::{Recorded, append_node, open_tape, record_rounds, share_captures};
use crate::{Error, Result};

/// How [`scan`] iterates over its sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanOptions {
    /// Whether the last element comes first. Results keep the order of the sequences.
    pub reverse: bool,
}

/// Runs `body` over the first axis of `sequences`, carrying a state, and returns the last state and all results,
/// stacked along a new first axis.
///
/// `body` takes the carry and one element of each sequence, and gives the next carry, of the same type, and a tree of
/// results. Memory for intermediates does not grow with the length. Inside a traced function the body is traced once.
///
/// # Errors
/// When the sequences differ in length or are empty, the carry changes its type, or the body fails.
///
/// ```
/// use mlx::{Array, array};
/// use mlx_compiler::{ScanOptions, scan};
///
/// # fn main() -> Result<(), mlx_compiler::Error> {
/// let step = |total: &Array, x: &Array| (total + x, total * x);
/// let (total, products) = scan(&array!(0.0), &array!([1.0, 2.0, 3.0]), ScanOptions::default(), step)?;
/// assert_eq!(total.item::<f32>()?, 6.0);
/// assert_eq!(products.to_vec::<f32>()?, [0.0, 2.0, 9.0]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn scan<Carry, Xs, Ys, B>(
    carry: &Carry,
    sequences: &Xs,
    options: ScanOptions,
    body: impl Fn(&Carry, &Xs) -> B,
) -> Result<(Carry, Ys)>
where
    Carry: Tree,
    Xs: Tree,
    Ys: Tree,
    B: Outcome<Tree = (Carry, Ys)>,
{
    let at = Location::caller();
    let (carried, xs) = (tree::arrays(carry), tree::arrays(sequences));
    let layout = ScanLayout {
        n_carry: carried.len(),
        n_sequences: xs.len(),
        length: common_length(&xs)?,
        reverse: options.reverse,
    };
    let body = record_body(carry, sequences, body, at)?;
    let template = body.aux.map(&mut Array::abstract_value);
    let stacked: Vec<Array> = tree::arrays(&template)
        .into_iter()
        .map(|one| stacked_like(one, layout.length))
        .collect::<mlx::Result<_>>()?;
    let (mut graphs, captures) = share_captures(vec![body.without_aux()]);
    let body = graphs.remove(0);
    let mut all = carried.clone();
    all.extend(&xs);
    all.extend(&captures);
    let outputs = match open_tape() {
        None => run_scan(&all, layout, &Executor::new(body)?, at)?,
        Some(recorder) => {
            let operation = Operation::Scan {
                body: Rc::new(body),
                n_carry: layout.n_carry,
                n_sequences: layout.n_sequences,
                length: layout.length,
                reverse: layout.reverse,
            };
            let shadows: Vec<Array> = carried
                .iter()
                .map(|a| a.abstract_value())
                .chain(stacked)
                .collect();
            append_node(&recorder, operation, &all, &shadows, at)?
        }
    };
    let (last, results) = outputs.split_at(layout.n_carry);
    Ok((
        tree::rebuild(carry, last.iter().cloned())?,
        tree::rebuild(&template, results.iter().cloned())?,
    ))
}

/// Traces the body on a carry and one element of each sequence.
#[track_caller]
fn record_body<Carry, Xs, Ys, B>(
    carry: &Carry,
    sequences: &Xs,
    body: impl Fn(&Carry, &Xs) -> B,
    at: CallSite,
) -> Result<Recorded<Ys>>
where
    Carry: Tree,
    Xs: Tree,
    Ys: Tree,
    B: Outcome<Tree = (Carry, Ys)>,
{
    let carry_type = StateType::of(carry)?;
    let n_carry = carry_type.types.len();
    let mut types = carry_type.types.clone();
    for mut element in types_of(&tree::arrays(sequences))? {
        element.shape.remove(0);
        types.push(element);
    }
    record_rounds("scan", "body", &types, |arrays| {
        let (carried, xs) = arrays.split_at(n_carry);
        let carry = tree::rebuild(carry, carried.iter().cloned())?;
        let xs = tree::rebuild(sequences, xs.iter().cloned())?;
        let (next, ys) = body(&carry, &xs).outcome().map_err(Error::from_function)?;
        carry_type.check("scan", "carry", &next, at)?;
        let outputs = tree::arrays(&next)
            .into_iter()
            .chain(tree::arrays(&ys))
            .cloned();
        Ok((outputs.collect(), ys))
    })
}

/// An array of the type of all results of one kind, never computed.
fn stacked_like(one: &Array, length: usize) -> mlx::Result<Array> {
    let ArrayType { mut shape, dtype } = mlx::compiler_api::type_of(one)?;
    shape.insert(0, i32::try_from(length).unwrap_or(i32::MAX));
    mlx::compiler_api::without_recording(|| Ok(mlx::zeros_with(shape, dtype)))
}

#[track_caller]
fn common_length(xs: &[&Array]) -> Result<usize> {
    let types = types_of(xs)?;
    let lengths: Vec<Option<i32>> = types.iter().map(|t| t.shape.first().copied()).collect();
    match lengths.first() {
        Some(Some(length)) if *length > 0 && lengths.iter().all(|one| *one == Some(*length)) => {
            Ok(usize::try_from(*length).unwrap_or(0))
        }
        _ => {
            let message = "wanted sequences of one length along the first axis, at least 1";
            Err(mlx::Error::op_with("scan", message, types).into())
        }
    }
}

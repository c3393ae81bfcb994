//! A body run over the first axis of sequences, carrying something along.

use std::panic::Location;
use std::rc::Rc;

use mlx::tree::{self, Outcome};
use mlx::{Array, ArrayType, Op, Tree, bind};

use super::cond::type_list;
use super::transform::is_types_only;
use super::{At, append, eval_settled, open_tape, share_captures};
use crate::execute::Plan;
use crate::graph::Operation;
use crate::trace::record;
use crate::{Error, Result};

/// How [`scan`] goes over its sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanOptions {
    /// Whether the last element comes first. Results keep the order of the sequences.
    pub reverse: bool,
}

/// After how many steps the carry is computed, so that the graph stays small.
const STEPS_AT_ONCE: usize = 8;

/// Runs `body` over the first axis of `sequences`, carrying a state, and returns the last state and all results,
/// stacked along a new first axis.
///
/// `body` takes the carry and one element of each sequence, and gives the next carry, of the same type, and a tree of
/// results. Memory for intermediates does not grow with the length. Inside a traced function the body is traced once.
///
/// # Errors
/// When the sequences are not of one length, at least 1, the carry changes its type, or the body fails.
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
    let layout = Layout {
        n_carry: carried.len(),
        n_sequences: xs.len(),
        length: common_length(&xs)?,
        reverse: options.reverse,
    };
    let carry_types = types_of(&carried)?;
    let mut types = carry_types.clone();
    for mut element in types_of(&xs)? {
        element.shape.remove(0);
        types.push(element);
    }
    let structure = tree::structure(carry);
    let body = record("body", &types, |arrays| {
        let (carried, xs) = arrays.split_at(layout.n_carry);
        let carry = tree::rebuild(carry, carried.iter().cloned())?;
        let xs = tree::rebuild(sequences, xs.iter().cloned())?;
        let (next, ys) = body(&carry, &xs).outcome().map_err(Error::from_function)?;
        let got = types_of(&tree::arrays(&next))?;
        if tree::structure(&next) != structure || got != carry_types {
            let message = format!(
                "the body must give a carry of the same types, ({}), got ({})",
                type_list(&carry_types),
                type_list(&got)
            );
            return Err(mlx::Error::op("scan", message).at(at).into());
        }
        let outputs = tree::arrays(&next)
            .into_iter()
            .chain(tree::arrays(&ys))
            .cloned();
        Ok((outputs.collect(), ys))
    })?;
    let template = body.rest.map(&mut Array::shadow);
    let stacked: Vec<Array> = tree::arrays(&template)
        .into_iter()
        .map(|one| stacked_like(one, layout.length))
        .collect::<mlx::Result<_>>()?;
    let (mut graphs, captures) = share_captures(vec![body.without_rest()]);
    let body = graphs.remove(0);
    let mut all = carried.clone();
    all.extend(&xs);
    all.extend(&captures);
    let outputs = match open_tape() {
        None => run(&all, layout, &Plan::new(body)?, at)?,
        Some(recorder) => {
            let operation = Operation::Scan {
                body: Rc::new(body),
                n_carry: layout.n_carry,
                n_sequences: layout.n_sequences,
                length: layout.length,
                reverse: layout.reverse,
            };
            let shadows: Vec<Array> = carried.iter().map(|a| a.shadow()).chain(stacked).collect();
            append(&recorder, operation, &all, &shadows, at)?
        }
    };
    let (last, results) = outputs.split_at(layout.n_carry);
    Ok((
        tree::rebuild(carry, last.iter().cloned())?,
        tree::rebuild(&template, results.iter().cloned())?,
    ))
}

/// What the inputs of a scan are.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) n_carry: usize,
    pub(crate) n_sequences: usize,
    pub(crate) length: usize,
    pub(crate) reverse: bool,
}

/// Runs the body once for each element.
pub(crate) fn run(
    inputs: &[&Array],
    layout: Layout,
    body: &Plan,
    at: At,
) -> mlx::Result<Vec<Array>> {
    let (carry, rest) = inputs.split_at(layout.n_carry.min(inputs.len()));
    let (xs, captures) = rest.split_at(layout.n_sequences.min(rest.len()));
    let mut carry: Vec<Array> = carry.iter().map(|array| (*array).clone()).collect();
    let mut results: Vec<Vec<Array>> = Vec::new();
    for step in 0..layout.length {
        let place = if layout.reverse {
            layout.length - 1 - step
        } else {
            step
        };
        let elements: Vec<Array> = xs
            .iter()
            .map(|x| element(x, place).map_err(|error| error.at(at)))
            .collect::<mlx::Result<_>>()?;
        let mut arguments: Vec<&Array> = carry.iter().chain(&elements).collect();
        arguments.extend(captures);
        let mut outputs = body.run(&arguments)?;
        let ys = outputs.split_off(layout.n_carry.min(outputs.len()));
        carry = outputs;
        results.push(ys);
        // Meaningless values are not computed: a division by one of them would fail.
        if (step + 1) % STEPS_AT_ONCE == 0 && !is_types_only() {
            let latest = results.iter().rev().take(STEPS_AT_ONCE).flatten();
            eval_settled(carry.iter().chain(latest), at)?;
        }
    }
    if layout.reverse {
        results.reverse();
    }
    let n_results = results.first().map_or(0, Vec::len);
    let stacked = (0..n_results).map(|index| {
        let steps: Vec<&Array> = results.iter().map(|ys| &ys[index]).collect();
        bind(Op::Stack { axis: 0 }, &steps)
    });
    Ok(carry.into_iter().chain(stacked).collect())
}

/// One element along the first axis, without it.
fn element(x: &Array, place: usize) -> mlx::Result<Array> {
    let shape = mlx::trace::type_of(x)?.shape;
    let place = i32::try_from(place).unwrap_or(i32::MAX);
    let mut start = vec![0; shape.len()];
    let mut stop = shape;
    let (Some(first), Some(last)) = (start.first_mut(), stop.first_mut()) else {
        let message = "wanted a sequence with a first axis, got a scalar";
        return Err(mlx::Error::op("scan", message));
    };
    (*first, *last) = (place, place.saturating_add(1));
    let strides = vec![1; stop.len()];
    let op = Op::Slice {
        start,
        stop,
        strides,
    };
    Ok(bind(Op::Squeeze { axes: vec![0] }, &[&bind(op, &[x])]))
}

/// An array of the type of all results of one kind, never computed.
fn stacked_like(one: &Array, length: usize) -> mlx::Result<Array> {
    let ArrayType { mut shape, dtype } = mlx::trace::type_of(one)?;
    shape.insert(0, i32::try_from(length).unwrap_or(i32::MAX));
    mlx::trace::without_recording(|| Ok(mlx::zeros(shape, dtype)))
}

fn types_of(arrays: &[&Array]) -> mlx::Result<Vec<ArrayType>> {
    arrays
        .iter()
        .map(|array| mlx::trace::type_of(array))
        .collect()
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

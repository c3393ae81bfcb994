//! Running nodes with graphs inside: conditions are read, bodies run once for each step, states are computed between.

use std::rc::Rc;

use mlx::compiler_api::TracedArray;
use mlx::transforms::{FlatFunction, Transform, apply_at};
use mlx::{Array, Op, bind};

use super::Executor;
use crate::graph::CallSite;

/// After how many steps of a scan its results are computed, so that the lazy graph stays small.
const EVAL_INTERVAL: usize = 8;

/// Reads the predicate and runs one branch.
pub(super) fn run_cond(
    inputs: &[&Array],
    then: &Executor,
    otherwise: &Executor,
    at: CallSite,
) -> mlx::Result<Vec<Array>> {
    let [predicate, arguments @ ..] = inputs else {
        return Err(mlx::Error::op("cond", "wanted a condition, got none").at(at));
    };
    // Both branches give the same types.
    if then.is_for_types() {
        return then.run(arguments);
    }
    match read_predicate(predicate, at)? {
        Some(true) => then.run(arguments),
        Some(false) => otherwise.run(arguments),
        None => {
            let (given, other) = (then.run(arguments)?, otherwise.run(arguments)?);
            let pairs = given.iter().zip(&other);
            Ok(pairs.map(|(a, b)| select(predicate, a, b)).collect())
        }
    }
}

/// Repeats the body, computing each state before the next.
pub(super) fn run_while(
    inputs: &[&Array],
    n_state: usize,
    condition: &Executor,
    body: &Executor,
    at: CallSite,
) -> mlx::Result<Vec<Array>> {
    let (state, captures) = inputs.split_at(n_state.min(inputs.len()));
    let mut state: Vec<Array> = state.iter().map(|array| (*array).clone()).collect();
    if body.is_for_types() {
        // The state keeps its types; without values the loop might never end.
        return Ok(state);
    }
    loop {
        let arguments: Vec<&Array> = state.iter().chain(captures.iter().copied()).collect();
        let holds = condition.run(&arguments)?;
        let Some(holds) = holds.first() else {
            return Err(mlx::Error::op("while_loop", "wanted a condition, got none").at(at));
        };
        if !loop_continues(holds, at)? {
            return Ok(state);
        }
        let next = body.run(&arguments)?;
        // Before the old state is dropped, or the lazy graph would grow with every step.
        eval_untransformed(&next, at)?;
        state = next;
    }
}

/// What the inputs of a scan are.
#[derive(Clone, Copy)]
pub(crate) struct ScanLayout {
    pub(crate) n_carry: usize,
    pub(crate) n_sequences: usize,
    pub(crate) length: usize,
    pub(crate) reverse: bool,
}

/// Runs the body once for each element.
pub(crate) fn run_scan(
    inputs: &[&Array],
    layout: ScanLayout,
    body: &Executor,
    at: CallSite,
) -> mlx::Result<Vec<Array>> {
    let (carry, rest) = inputs.split_at(layout.n_carry.min(inputs.len()));
    let (xs, captures) = rest.split_at(layout.n_sequences.min(rest.len()));
    let mut carry: Vec<Array> = carry.iter().map(|array| (*array).clone()).collect();
    let mut results: Vec<Vec<Array>> = Vec::new();
    // Each step has the types of the first.
    let n_steps = match body.is_for_types() {
        true => layout.length.min(1),
        false => layout.length,
    };
    for step in 0..n_steps {
        let index = if layout.reverse {
            layout.length - 1 - step
        } else {
            step
        };
        let elements: Vec<Array> = xs
            .iter()
            .map(|x| element(x, index).map_err(|error| error.at(at)))
            .collect::<mlx::Result<_>>()?;
        let mut arguments: Vec<&Array> = carry.iter().chain(&elements).collect();
        arguments.extend(captures);
        let mut outputs = body.run(&arguments)?;
        let ys = outputs.split_off(layout.n_carry.min(outputs.len()));
        carry = outputs;
        results.push(ys);
        // Without values nothing is computed: a division by one of them would fail.
        if (step + 1) % EVAL_INTERVAL == 0 && !body.is_for_types() {
            let latest = results.iter().rev().take(EVAL_INTERVAL).flatten();
            eval_untransformed(carry.iter().chain(latest), at)?;
        }
    }
    if layout.reverse {
        results.reverse();
    }
    if n_steps < layout.length {
        carry.extend(types_of_steps(results, layout.length)?);
    } else {
        carry.extend(stack_steps(&results));
    }
    Ok(carry)
}

/// Arrays of the types that all steps stacked have, from the results of one.
fn types_of_steps(mut results: Vec<Vec<Array>>, length: usize) -> mlx::Result<Vec<Array>> {
    let n_steps = i32::try_from(length).map_err(|_| {
        mlx::Error::op(
            "scan",
            format!("wanted at most 2147483647 steps, got {length}"),
        )
    })?;
    let first = results.pop().unwrap_or_default();
    let stacked = first.iter().map(|result| {
        let shape = [n_steps].into_iter().chain(result.shape()?);
        let op = Op::BroadcastTo {
            shape: shape.collect(),
        };
        Ok(bind(op, &[result]))
    });
    stacked.collect()
}

/// Stacks the results of all steps along a new first axis.
fn stack_steps(results: &[Vec<Array>]) -> Vec<Array> {
    let n_results = results.first().map_or(0, Vec::len);
    let stacked = (0..n_results).map(|index| {
        let steps: Vec<&Array> = results.iter().map(|ys| &ys[index]).collect();
        bind(Op::Stack { axis: 0 }, &steps)
    });
    stacked.collect()
}

/// One element along the first axis, without it.
fn element(x: &Array, index: usize) -> mlx::Result<Array> {
    let shape = mlx::compiler_api::type_of(x)?.shape;
    let index = i32::try_from(index).unwrap_or(i32::MAX);
    let mut start = vec![0; shape.len()];
    let mut stop = shape;
    let (Some(first), Some(last)) = (start.first_mut(), stop.first_mut()) else {
        let message = "wanted a sequence with a first axis, got a scalar";
        return Err(mlx::Error::op("scan", message));
    };
    (*first, *last) = (index, index.saturating_add(1));
    let strides = vec![1; stop.len()];
    let op = Op::Slice {
        start,
        stop,
        strides,
    };
    Ok(bind(Op::Squeeze { axes: vec![0] }, &[&bind(op, &[x])]))
}

/// Applies a transform to functions that run their graphs.
pub(super) fn run_transform(
    transform: &Transform,
    inputs: &[&Array],
    n_captures: usize,
    functions: &[Rc<Executor>],
    at: CallSite,
) -> mlx::Result<Vec<Array>> {
    let (inputs, captures) = inputs.split_at(inputs.len() - n_captures.min(inputs.len()));
    let captures: Rc<[Array]> = captures.iter().map(|array| (*array).clone()).collect();
    let functions: Vec<Rc<FlatFunction>> = functions
        .iter()
        .map(|executor| {
            let (executor, captures) = (Rc::clone(executor), Rc::clone(&captures));
            let function = move |arrays: &[Array]| {
                let all: Vec<&Array> = arrays.iter().chain(captures.iter()).collect();
                executor.run(&all)
            };
            Rc::new(function) as Rc<FlatFunction>
        })
        .collect();
    apply_at(transform, &functions, inputs, at)
}

/// Computes the arrays that no transform is working on: a batch of `vmap` has no values, and a gradient keeps its
/// intermediates anyway.
pub(crate) fn eval_untransformed<'a>(
    arrays: impl IntoIterator<Item = &'a Array>,
    at: CallSite,
) -> mlx::Result<()> {
    let arrays = arrays
        .into_iter()
        .filter(|array| !array.is_transform_argument());
    mlx::eval(arrays).map_err(|error| error.at(at))
}

/// Reads a predicate; `None` when it has a value for each element of a `vmap`, and so none to be read.
pub(crate) fn read_predicate(predicate: &Array, at: CallSite) -> mlx::Result<Option<bool>> {
    if !predicate.is_transform_argument() {
        let value = predicate.item::<bool>().map_err(|error| error.at(at));
        return value.map(Some);
    }
    // Under a gradient it can be read. Of a copy: an array whose reading failed stays an error.
    Ok(bind(Op::Copy, &[predicate]).item::<bool>().ok())
}

/// Reads the condition of a loop.
pub(crate) fn loop_continues(condition: &Array, at: CallSite) -> mlx::Result<bool> {
    read_predicate(condition, at)?.ok_or_else(|| {
        let message = "wanted a condition that is the same for all elements of a vmap, got one that is not: loops of \
            different lengths cannot be vectorized; a scan, whose length is known, can";
        mlx::Error::op("while_loop", message).at(at)
    })
}

/// For each element of a `vmap`, the result of the branch that its own predicate chooses.
pub(crate) fn select(predicate: &Array, given: &Array, other: &Array) -> Array {
    let predicate = bind(Op::Reshape { shape: vec![] }, &[predicate]);
    mlx::where_(&predicate, given, other)
}

//! A body repeated while a condition on the state holds.

use std::panic::Location;
use std::rc::Rc;

use mlx::tree::{self, Outcome};
use mlx::{Array, Tree};

use super::cond::{check_predicate, type_list};
use super::transform::is_types_only;
use super::{At, append, eval_settled, holds, open_tape, share_captures};
use crate::execute::Plan;
use crate::graph::Operation;
use crate::trace::record;
use crate::{Error, Result};

/// Returns the state after repeating `body` while `condition` holds.
///
/// `condition` gives one `bool`, `body` the next state, of the same structure, shapes and dtypes. Each state is
/// computed before the next, so memory does not grow with the number of steps. Inside a traced function both are
/// traced once and the loop runs each time the compiled function does. A `vmap` goes through a loop whose condition is
/// the same for all elements.
///
/// # Errors
/// When the condition is not one `bool` or differs between elements of a `vmap`, the state changes its type, or a
/// function fails.
///
/// ```
/// use mlx::{Array, array};
/// use mlx_compiler::{jit, while_loop};
///
/// # fn main() -> Result<(), mlx_compiler::Error> {
/// let double_beyond = jit(|x: &Array, limit: &Array| {
///     while_loop(x, |x: &Array| x.less(limit), |x: &Array| x * 2.0)
/// });
/// assert_eq!(double_beyond.call((&array!(3.0), &array!(20.0)))?.item::<f32>()?, 24.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn while_loop<State, C, B>(
    state: &State,
    condition: impl Fn(&State) -> C,
    body: impl Fn(&State) -> B,
) -> Result<State>
where
    State: Tree,
    C: Outcome<Tree = Array>,
    B: Outcome<Tree = State>,
{
    let at = Location::caller();
    let condition = |state: &State| condition(state).outcome().map_err(Error::from_function);
    let body = |state: &State| body(state).outcome().map_err(Error::from_function);
    let arrays = tree::arrays(state);
    let types = arrays
        .iter()
        .map(|array| mlx::trace::type_of(array))
        .collect::<mlx::Result<Vec<_>>>()?;
    let structure = tree::structure(state);
    let check_next = |next: &State| -> Result<()> {
        let got = tree::arrays(next)
            .iter()
            .map(|array| mlx::trace::type_of(array))
            .collect::<mlx::Result<Vec<_>>>()?;
        if tree::structure(next) == structure && got == types {
            return Ok(());
        }
        let message = format!(
            "the body must give a state of the same types, ({}), got ({})",
            type_list(&types),
            type_list(&got)
        );
        Err(mlx::Error::op("while_loop", message).at(at).into())
    };
    let Some(recorder) = open_tape() else {
        let mut state = state.map(&mut Array::clone);
        loop {
            let holds = condition(&state)?;
            check_predicate("while_loop", &mlx::trace::type_of(&holds)?, at)?;
            if !goes_on(&holds, at)? {
                return Ok(state);
            }
            let next = body(&state)?;
            check_next(&next)?;
            eval_settled(tree::arrays(&next), at)?;
            state = next;
        }
    };
    let rebuild = |arrays: &[Array]| tree::rebuild(state, arrays.iter().cloned());
    let condition = record("condition", &types, |arrays| {
        let holds = condition(&rebuild(arrays)?)?;
        check_predicate("while_loop", &mlx::trace::type_of(&holds)?, at)?;
        Ok((vec![holds], ()))
    })?;
    let body = record("body", &types, |arrays| {
        let next = body(&rebuild(arrays)?)?;
        check_next(&next)?;
        let outputs = tree::arrays(&next).into_iter().cloned().collect();
        Ok((outputs, ()))
    })?;
    let (mut graphs, captures) = share_captures(vec![condition, body]);
    let body = Rc::new(graphs.remove(1));
    let operation = Operation::While {
        condition: Rc::new(graphs.remove(0)),
        body,
        n_state: types.len(),
    };
    let shadows: Vec<Array> = arrays.iter().map(|array| array.shadow()).collect();
    let mut all = arrays;
    all.extend(&captures);
    let outputs = append(&recorder, operation, &all, &shadows, at)?;
    Ok(tree::rebuild(state, outputs)?)
}

/// Repeats the body, computing each state before the next.
pub(crate) fn run(
    inputs: &[&Array],
    n_state: usize,
    condition: &Plan,
    body: &Plan,
    at: At,
) -> mlx::Result<Vec<Array>> {
    let (state, captures) = inputs.split_at(n_state.min(inputs.len()));
    let mut state: Vec<Array> = state.iter().map(|array| (*array).clone()).collect();
    if is_types_only() {
        // The state keeps its types; with meaningless values the loop might never end.
        return Ok(state);
    }
    loop {
        let arguments: Vec<&Array> = state.iter().chain(captures.iter().copied()).collect();
        let holds = condition.run(&arguments)?;
        let Some(holds) = holds.first() else {
            return Err(mlx::Error::op("while_loop", "wanted a condition, got none").at(at));
        };
        if !goes_on(holds, at)? {
            return Ok(state);
        }
        let next = body.run(&arguments)?;
        // Before the old state goes, or the graph would grow with every step.
        eval_settled(&next, at)?;
        state = next;
    }
}

/// Reads the condition.
fn goes_on(condition: &Array, at: At) -> mlx::Result<bool> {
    holds(condition, at)?.ok_or_else(|| {
        let message = "wanted a condition that is the same for all elements of a vmap, got one that is not: loops of \
            different lengths cannot be vectorized; a scan, whose length is known, can";
        mlx::Error::op("while_loop", message).at(at)
    })
}

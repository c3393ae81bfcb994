//! A body repeated while a condition on the state holds.

use std::panic::Location;
use std::rc::Rc;

use mlx::compiler_api::{Recorder, TracedArray};
use mlx::tree::{self, Outcome};
use mlx::{Array, Tree};

use super::checks::{StateType, check_predicate};
use crate::execute::{eval_untransformed, loop_continues};
use crate::graph::{CallSite, Operation};
use crate::trace::{append_node, open_tape, record_rounds, share_captures};
use crate::{Error, Result};

/// Returns the state after repeating `body` while `condition` holds.
///
/// `condition` gives one `bool`, `body` the next state, of the same structure, shapes and dtypes. Each state is
/// computed before the next, so memory does not grow with the number of steps. Inside a traced function both are
/// traced once and the loop runs each time the compiled function does. A `vmap` works on a loop whose condition is
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
    let state_type = StateType::of(state)?;
    let condition = |state: &State| -> Result<Array> {
        let holds = condition(state).outcome().map_err(Error::from_function)?;
        check_predicate("while_loop", &mlx::compiler_api::type_of(&holds)?, at)?;
        Ok(holds)
    };
    let body = |state: &State| -> Result<State> {
        let next = body(state).outcome().map_err(Error::from_function)?;
        state_type.check("while_loop", "state", &next, at)?;
        Ok(next)
    };
    match open_tape() {
        None => run_eagerly(state, condition, body, at),
        Some(recorder) => record_loop(&recorder, state, &state_type, condition, body, at),
    }
}

/// Runs the loop at once, computing each state before the next.
fn run_eagerly<State: Tree>(
    state: &State,
    condition: impl Fn(&State) -> Result<Array>,
    body: impl Fn(&State) -> Result<State>,
    at: CallSite,
) -> Result<State> {
    let mut state = state.map(&mut Array::clone);
    while loop_continues(&condition(&state)?, at)? {
        let next = body(&state)?;
        eval_untransformed(tree::arrays(&next), at)?;
        state = next;
    }
    Ok(state)
}

/// Appends the loop to the open trace.
#[track_caller]
fn record_loop<State: Tree>(
    recorder: &Rc<dyn Recorder>,
    state: &State,
    state_type: &StateType,
    condition: impl Fn(&State) -> Result<Array>,
    body: impl Fn(&State) -> Result<State>,
    at: CallSite,
) -> Result<State> {
    let rebuild = |arrays: &[Array]| tree::rebuild(state, arrays.iter().cloned());
    let condition = record_rounds("while_loop", "condition", &state_type.types, |arrays| {
        Ok((vec![condition(&rebuild(arrays)?)?], ()))
    })?;
    let body = record_rounds("while_loop", "body", &state_type.types, |arrays| {
        let next = body(&rebuild(arrays)?)?;
        let outputs = tree::arrays(&next).into_iter().cloned().collect();
        Ok((outputs, ()))
    })?;
    let (mut graphs, captures) = share_captures(vec![condition, body]);
    let body = Rc::new(graphs.remove(1));
    let operation = Operation::While {
        condition: Rc::new(graphs.remove(0)),
        body,
        n_state: state_type.types.len(),
    };
    let mut all = tree::arrays(state);
    let shadows: Vec<Array> = all.iter().map(|array| array.abstract_value()).collect();
    all.extend(&captures);
    let outputs = append_node(recorder, operation, &all, &shadows, at)?;
    Ok(tree::rebuild(state, outputs)?)
}

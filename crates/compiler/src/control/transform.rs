//! Function transforms inside a traced function: their functions become graphs, and MLX transforms those.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mlx::Array;
use mlx::trace::{record_on_all, recorders, without_recording};
use mlx::transforms::{FlatFunction, Transform, TransformCall, apply_at};

use super::{At, append, open_tape, share_captures};
use crate::Error;
use crate::execute::Plan;
use crate::graph::Operation;
use crate::trace::{Recorded, record};

thread_local! {
    static TYPES_ONLY: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether graphs are run now only for the types of their outputs, on arrays whose values mean nothing.
pub(super) fn is_types_only() -> bool {
    TYPES_ONLY.get()
}

/// While it lives, graphs are run for types only, or again for values.
struct TypesOnly(bool);

impl TypesOnly {
    fn new(now: bool) -> Self {
        Self(TYPES_ONLY.replace(now))
    }
}

impl Drop for TypesOnly {
    fn drop(&mut self) {
        TYPES_ONLY.set(self.0);
    }
}

/// Records a transform as a node.
///
/// The transform is applied once to arrays without values. So MLX calls each function with the types it will have,
/// and the function is traced on those; and MLX tells the types of the outputs.
pub(crate) fn record_call(call: &TransformCall<'_>) -> mlx::Result<Vec<Array>> {
    let Some(recorder) = open_tape() else {
        return Err(
            mlx::Error::op(call.transform.name(), "wanted an open trace, got none").at(call.at),
        );
    };
    let traced: Vec<Rc<RefCell<Option<Recorded<()>>>>> =
        call.functions.iter().map(|_| Rc::default()).collect();
    let functions: Vec<Rc<FlatFunction>> = call
        .functions
        .iter()
        .zip(&traced)
        .map(|(function, slot)| {
            let (function, slot) = (Rc::clone(function), Rc::clone(slot));
            let open = recorders();
            let probe = move |inputs: &[Array]| {
                // The outer trace is open for the inner one, which may capture its arrays.
                let types = inputs
                    .iter()
                    .map(mlx::trace::type_of)
                    .collect::<mlx::Result<Vec<_>>>()?;
                // The user's function may call compiled ones with values of its own.
                let user = TypesOnly::new(false);
                let recorded = record_on_all(&open, || {
                    record("function", &types, |arrays| {
                        Ok((function(arrays).map_err(Error::Mlx)?, ()))
                    })
                })
                .map_err(Error::into_mlx)?;
                drop(user);
                let plan = Plan::new(recorded.graph.clone()).map_err(Error::into_mlx)?;
                let shadows: Vec<Array> = recorded.captures.iter().map(Array::shadow).collect();
                let all: Vec<&Array> = inputs.iter().chain(&shadows).collect();
                let outputs = plan.run(&all)?;
                *slot.borrow_mut() = Some(recorded);
                Ok(outputs)
            };
            Rc::new(probe) as Rc<FlatFunction>
        })
        .collect();
    let shadows: Vec<Array> = call.inputs.iter().map(|input| input.shadow()).collect();
    let inputs: Vec<&Array> = shadows.iter().collect();
    let types_only = TypesOnly::new(true);
    let outputs = without_recording(|| apply_at(call.transform, &functions, &inputs, call.at))?;
    drop(types_only);
    if let (Transform::CustomVjp, Some(rule)) = (call.transform, call.functions.get(1)) {
        // MLX calls the rule only when a gradient is taken, so its types are put together here.
        let outputs: Vec<&Array> = outputs.iter().collect();
        let arguments = [inputs, outputs.clone(), outputs].concat();
        let types = arguments
            .iter()
            .map(|array| mlx::trace::type_of(array))
            .collect::<mlx::Result<Vec<_>>>()?;
        let recorded = record("function", &types, |arrays| {
            Ok((rule(arrays).map_err(Error::Mlx)?, ()))
        });
        *traced[1].borrow_mut() = Some(recorded.map_err(Error::into_mlx)?);
    }
    let mut recorded = Vec::new();
    for slot in traced {
        match slot.borrow_mut().take() {
            Some(one) => recorded.push(one),
            None => {
                let message = "wanted each function to be called, got one that was not";
                return Err(mlx::Error::op(call.transform.name(), message).at(call.at));
            }
        }
    }
    let (graphs, captures) = share_captures(recorded);
    let operation = Operation::Transform {
        transform: call.transform.clone(),
        functions: graphs.into_iter().map(Rc::new).collect(),
        n_captures: captures.len(),
    };
    let mut all = call.inputs.to_vec();
    all.extend(&captures);
    append(&recorder, operation, &all, &outputs, call.at).map_err(Error::into_mlx)
}

/// Applies a transform to functions that run their graphs.
pub(crate) fn run(
    transform: &Transform,
    inputs: &[&Array],
    n_captures: usize,
    plans: &[Rc<Plan>],
    at: At,
) -> mlx::Result<Vec<Array>> {
    let (inputs, captures) = inputs.split_at(inputs.len() - n_captures.min(inputs.len()));
    let captures: Rc<[Array]> = captures.iter().map(|array| (*array).clone()).collect();
    let functions: Vec<Rc<FlatFunction>> = plans
        .iter()
        .map(|plan| {
            let (plan, captures) = (Rc::clone(plan), Rc::clone(&captures));
            let function = move |arrays: &[Array]| {
                let all: Vec<&Array> = arrays.iter().chain(captures.iter()).collect();
                plan.run(&all)
            };
            Rc::new(function) as Rc<FlatFunction>
        })
        .collect();
    apply_at(transform, &functions, inputs, at)
}

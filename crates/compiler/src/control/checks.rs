//! What control flow requires of its functions: one `bool` as a condition, and states that keep their types.

use mlx::tree::{self, Structure};
use mlx::{Array, ArrayType, Dtype, Tree};

use crate::Result;
use crate::graph::CallSite;

/// Refuses what is not one truth value.
pub(super) fn check_predicate(
    op: &'static str,
    array_type: &ArrayType,
    at: CallSite,
) -> Result<()> {
    if array_type.dtype == Dtype::Bool && array_type.shape.iter().all(|size| *size == 1) {
        Ok(())
    } else {
        let message = format!("wanted one bool as the condition, got {array_type}");
        Err(mlx::Error::op(op, message).at(at).into())
    }
}

/// Structure and types of a state, which the body of a loop must keep.
pub(super) struct StateType {
    structure: Structure,
    pub(super) types: Vec<ArrayType>,
}

impl StateType {
    /// Returns those of a state.
    pub(super) fn of<State: Tree>(state: &State) -> Result<Self> {
        Ok(Self {
            structure: tree::structure(state),
            types: types_of(&tree::arrays(state))?,
        })
    }

    /// Refuses a next state of another structure or other types; `what` it is called, for the message.
    pub(super) fn check<State: Tree>(
        &self,
        op: &'static str,
        what: &str,
        next: &State,
        at: CallSite,
    ) -> Result<()> {
        let got = types_of(&tree::arrays(next))?;
        if tree::structure(next) == self.structure && got == self.types {
            return Ok(());
        }
        let message = format!(
            "the body must give a {what} of the same types, ({}), got ({})",
            type_list(&self.types),
            type_list(&got)
        );
        Err(mlx::Error::op(op, message).at(at).into())
    }
}

/// Returns the types of arrays.
pub(super) fn types_of(arrays: &[&Array]) -> mlx::Result<Vec<ArrayType>> {
    arrays
        .iter()
        .map(|array| mlx::compiler_api::type_of(array))
        .collect()
}

/// Returns types separated by commas.
pub(super) fn type_list(types: &[ArrayType]) -> String {
    let texts: Vec<String> = types.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

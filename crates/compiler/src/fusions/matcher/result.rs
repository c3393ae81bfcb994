//! What matching a formula at a value gives: a match, a refusal, or nothing.

use mlx::Array;

use crate::fusions::refusal::Refusal;
use crate::graph::Value;

/// A formula that was found in a graph.
pub(crate) struct Match {
    /// The inputs of the formula.
    pub(crate) inputs: Vec<Value>,
    /// Its result.
    pub(crate) output: Value,
    /// Intermediate values that others may use too: they depend on positions only, not on the data.
    pub(crate) shared: Vec<Value>,
    /// The fused form, from the inputs. It is traced with their types.
    pub(crate) kernel: Box<Kernel>,
}

/// A fused form, from its inputs.
pub(crate) type Kernel = dyn Fn(&[Array]) -> Array;

impl Match {
    pub(crate) fn new(
        inputs: Vec<Value>,
        output: Value,
        kernel: impl Fn(&[Array]) -> Array + 'static,
    ) -> Self {
        Self {
            inputs,
            output,
            shared: Vec::new(),
            kernel: Box::new(kernel),
        }
    }
}

/// The result of matching a formula at a value.
pub(crate) type MatchResult = Option<Result<Match, Refusal>>;

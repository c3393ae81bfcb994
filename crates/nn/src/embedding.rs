//! Embedding tables.

use mlx::{Array, Op, bind, fast};

use crate::layer_error::{axis_size, in_layer};
use crate::linear::{is_shorter, linear_mismatch};
use crate::{Init, Module, ParameterVisitor};

/// A table of embeddings, one vector for each token: `mlx.nn.Embedding`.
#[derive(Clone)]
pub struct Embedding {
    /// `[num_embeddings, dims]`.
    pub weight: Array,
}

impl Embedding {
    /// Returns a table with normally distributed values of variance `1 / dims`.
    pub fn new(num_embeddings: i32, dims: i32, init: &mut Init) -> Self {
        #[allow(clippy::cast_precision_loss)]
        let scale = (1.0 / dims.max(1) as f32).sqrt();
        Self {
            weight: init.normal(&[num_embeddings, dims], scale),
        }
    }

    /// Maps integers `[..]` to vectors `[.., dims]`; an index outside of the table is an error.
    #[track_caller]
    pub fn forward(&self, tokens: &Array) -> Array {
        let rows = bind(Op::Take { axis: 0 }, &[&self.weight, tokens]);
        in_layer("Embedding", rows, [tokens, &self.weight], || {
            tokens_mismatch(tokens)
        })
    }

    /// Maps vectors `[.., dims]` to logits `[.., num_embeddings]`: the table as a linear layer.
    #[track_caller]
    pub fn as_linear(&self, x: &Array) -> Array {
        let scores = if is_shorter(&self.weight, x) {
            fast::linear(x, &self.weight)
        } else {
            x.matmul(&self.weight.t())
        };
        in_layer("Embedding", scores, [x, &self.weight], || {
            linear_mismatch(x, &self.weight, axis_size(&self.weight, -1), None)
        })
    }
}

/// Returns what is wrong with the dtype of tokens.
pub(crate) fn tokens_mismatch(tokens: &Array) -> Option<String> {
    let dtype = tokens.dtype().ok()?;
    (!dtype.is_integer()).then(|| format!("tokens must be integers, got {dtype}"))
}

impl Module for Embedding {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.parameter("weight", &mut self.weight);
    }
}

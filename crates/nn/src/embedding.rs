//! Rows of a table by number.

use mlx::{Array, Op, bind, fast};

use crate::linear::is_shorter;
use crate::{Init, Module, Parts};

/// A vector for each token.
#[derive(Clone)]
pub struct Embedding {
    /// `[num_embeddings, dims]`.
    pub weight: Array,
}

impl Embedding {
    /// Returns a table with normal values of variance `1 / dims`.
    pub fn new(num_embeddings: i32, dims: i32, init: &mut Init) -> Self {
        #[allow(clippy::cast_precision_loss)]
        let scale = (1.0 / dims.max(1) as f32).sqrt();
        Self {
            weight: init.normal(&[num_embeddings, dims], scale),
        }
    }

    /// Maps whole numbers `[..]` to vectors `[.., dims]`; one that is not in the table is an error.
    #[track_caller]
    pub fn forward(&self, tokens: &Array) -> Array {
        bind(Op::Take { axis: 0 }, &[&self.weight, tokens])
    }

    /// Maps vectors `[.., dims]` to scores `[.., num_embeddings]`: the table as a linear layer.
    #[track_caller]
    pub fn as_linear(&self, x: &Array) -> Array {
        if is_shorter(&self.weight, x) {
            return fast::linear(x, &self.weight);
        }
        x.matmul(&self.weight.t())
    }
}

impl Module for Embedding {
    fn parts<'a>(&'a mut self, parts: &mut Parts<'a>) {
        parts.parameter("weight", &mut self.weight);
    }
}

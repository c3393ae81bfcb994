//! A matrix product with a bias.

use mlx::{Array, addmm};

use crate::{Init, Module, Parts};

/// `y = x @ weight.T + bias`.
#[derive(Clone)]
pub struct Linear {
    /// `[output_dims, input_dims]`.
    pub weight: Array,
    /// `[output_dims]`.
    pub bias: Option<Array>,
}

impl Linear {
    /// Returns a layer with values drawn evenly from `-1 / sqrt(input_dims)` to `1 / sqrt(input_dims)`.
    pub fn new(input_dims: i32, output_dims: i32, bias: bool, init: &mut Init) -> Self {
        #[allow(clippy::cast_precision_loss)]
        let scale = (1.0 / input_dims.max(1) as f32).sqrt();
        Self {
            weight: init.uniform(&[output_dims, input_dims], scale),
            bias: bias.then(|| init.uniform(&[output_dims], scale)),
        }
    }

    /// Maps `[.., input_dims]` to `[.., output_dims]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let weight = self.weight.t();
        match &self.bias {
            Some(bias) => addmm(bias, x, &weight, 1.0, 1.0),
            None => x.matmul(&weight),
        }
    }
}

impl Module for Linear {
    fn parts<'a>(&'a mut self, parts: &mut Parts<'a>) {
        parts.parameter("weight", &mut self.weight);
        parts.optional("bias", &mut self.bias);
    }
}

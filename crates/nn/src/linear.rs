//! A matrix product with a bias.

use mlx::{Array, Dtype, addmm, fast};

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
        match &self.bias {
            // Weights that are stored shorter are read as they are.
            Some(bias) if is_shorter(&self.weight, x) => fast::linear(x, &self.weight) + bias,
            None if is_shorter(&self.weight, x) => fast::linear(x, &self.weight),
            Some(bias) => addmm(bias, x, &self.weight.t(), 1.0, 1.0),
            None => x.matmul(&self.weight.t()),
        }
    }
}

/// Whether weights are half precision and what they meet is not.
pub(crate) fn is_shorter(weight: &Array, x: &Array) -> bool {
    let is =
        |array: &Array, dtypes: &[Dtype]| array.dtype().is_ok_and(|dtype| dtypes.contains(&dtype));
    is(weight, &[Dtype::Float16, Dtype::Bfloat16]) && is(x, &[Dtype::Float32])
}

impl Module for Linear {
    fn parts<'a>(&'a mut self, parts: &mut Parts<'a>) {
        parts.parameter("weight", &mut self.weight);
        parts.optional("bias", &mut self.bias);
    }
}

//! The linear layer.

use mlx::{Array, Dtype, addmm, fast};

use crate::layer_error::{Size, Wanted, axis_size, first_mismatch, in_layer};
use crate::{Init, Module, ParameterVisitor};

/// A linear layer, `y = x @ weight.T + bias`: `mlx.nn.Linear`.
#[derive(Clone)]
pub struct Linear {
    /// `[output_dims, input_dims]`.
    pub weight: Array,
    /// `[output_dims]`.
    pub bias: Option<Array>,
}

impl Linear {
    /// Returns a layer with values uniformly distributed from `-1 / sqrt(input_dims)` to `1 / sqrt(input_dims)`.
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
        let y = match &self.bias {
            // Half precision weights are read directly by a `float32` product.
            Some(bias) if is_shorter(&self.weight, x) => fast::linear(x, &self.weight) + bias,
            None if is_shorter(&self.weight, x) => fast::linear(x, &self.weight),
            Some(bias) => addmm(bias, x, &self.weight.t(), 1.0, 1.0),
            None => x.matmul(&self.weight.t()),
        };
        let operands = [x, &self.weight].into_iter().chain(&self.bias);
        in_layer("Linear", y, operands, || {
            linear_mismatch(
                x,
                &self.weight,
                axis_size(&self.weight, -1),
                self.bias.as_ref(),
            )
        })
    }
}

/// Returns what is wrong with the shapes of a linear layer of `input_dims`, whose weight has a row for each output.
pub(crate) fn linear_mismatch(
    x: &Array,
    weight: &Array,
    input_dims: i32,
    bias: Option<&Array>,
) -> Option<String> {
    let matrix = [Size::Any("output_dims"), Size::Any("input_dims")];
    let inputs = [Size::Leading, Size::Exactly(input_dims)];
    let outputs = [Size::Exactly(axis_size(weight, 0))];
    let wanted = |name, array, shape| Wanted { name, array, shape };
    first_mismatch(&[wanted("weight", weight, &matrix), wanted("x", x, &inputs)])
        .or_else(|| first_mismatch(&[wanted("bias", bias?, &outputs)]))
}

/// Returns whether the weights are half precision and `x` is `float32`.
pub(crate) fn is_shorter(weight: &Array, x: &Array) -> bool {
    let is =
        |array: &Array, dtypes: &[Dtype]| array.dtype().is_ok_and(|dtype| dtypes.contains(&dtype));
    is(weight, &[Dtype::Float16, Dtype::Bfloat16]) && is(x, &[Dtype::Float32])
}

impl Module for Linear {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.parameter("weight", &mut self.weight);
        visitor.optional("bias", &mut self.bias);
    }
}

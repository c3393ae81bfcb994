//! Bilinear layers.

use mlx::{Array, Integer};

use crate::conv::biased;
use crate::layer_error::{Size, Wanted, axis_size, first_mismatch, in_layer};
use crate::{Forward, Init, Module, ModuleState};

/// A bilinear layer, `mlx.nn.Bilinear`: `y[i] = x2^T weight[i] x1 + bias[i]`.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let layer = mlx_nn::Bilinear::new(4, 3, 2);
/// let (x1, x2) = (mlx::array!([1.0, 2.0, 3.0, 4.0]), mlx::array!([1.0, 0.0, 2.0]));
/// assert_eq!(layer.forward(&x1, &x2).shape()?, [2]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Module)]
pub struct Bilinear {
    /// `[output_dims, input2_dims, input1_dims]`.
    pub weight: Array,
    /// `[output_dims]`.
    pub bias: Option<Array>,
    /// What is frozen.
    pub state: ModuleState,
}

impl Bilinear {
    /// Returns a layer with a bias, and values uniformly distributed from `-1 / sqrt(input1_dims)` to
    /// `1 / sqrt(input1_dims)`.
    pub fn new(
        input1_dims: impl Integer,
        input2_dims: impl Integer,
        output_dims: impl Integer,
    ) -> Self {
        let (input1_dims, input2_dims, output_dims) = (
            input1_dims.to_i32(),
            input2_dims.to_i32(),
            output_dims.to_i32(),
        );
        let dims = [input1_dims, input2_dims, output_dims];
        Self::with_init(dims, true, &mut Init::default())
    }

    /// Returns a layer of `[input1_dims, input2_dims, output_dims]` with initial values from `init`.
    pub fn with_init(
        [input1_dims, input2_dims, output_dims]: [i32; 3],
        bias: bool,
        init: &mut Init,
    ) -> Self {
        #[allow(clippy::cast_precision_loss)]
        let scale = (1.0 / input1_dims.max(1) as f32).sqrt();
        Self {
            weight: init.uniform(&[output_dims, input2_dims, input1_dims], scale),
            bias: bias.then(|| init.uniform(&[output_dims], scale)),
            state: ModuleState::default(),
        }
    }

    /// Returns the layer with or without bias; a new one is 0.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = biased(&self.weight, self.bias, bias);
        self
    }

    /// Maps `[.., input1_dims]` and `[.., input2_dims]` to `[.., output_dims]`.
    ///
    /// Inputs of other shapes give an array that carries the error.
    #[track_caller]
    pub fn forward(&self, x1: &Array, x2: &Array) -> Array {
        let (outputs, inputs2) = (axis_size(&self.weight, 0), axis_size(&self.weight, 1));
        // The matrices of all outputs as one: [output_dims * input2_dims, input1_dims].
        let products = x1
            .matmul(&self.weight.flatten(0, 1).t())
            .unflatten(-1, [outputs, inputs2]);
        let y = products.matmul(&x2.expand_dims(-1)).squeeze(-1);
        let y = match &self.bias {
            Some(bias) => y + bias,
            None => y,
        };
        let operands = [x1, x2, &self.weight].into_iter().chain(&self.bias);
        in_layer("Bilinear", y, operands, || {
            let exactly = |axis| [Size::Leading, Size::Exactly(axis_size(&self.weight, axis))];
            let (first, second) = (exactly(-1), exactly(1));
            let bias = [Size::Exactly(outputs)];
            let wanted = |name, array, shape| Wanted { name, array, shape };
            first_mismatch(&[wanted("x1", x1, &first), wanted("x2", x2, &second)])
                .or_else(|| first_mismatch(&[wanted("bias", self.bias.as_ref()?, &bias)]))
                .or_else(|| {
                    let (first, second) = (x1.shape().ok()?, x2.shape().ok()?);
                    Some(format!(
                        "x1 and x2 must have the same leading axes, got {first:?} and {second:?}"
                    ))
                })
        })
    }
}

impl Forward<(Array, Array)> for Bilinear {
    #[track_caller]
    fn forward(&self, (x1, x2): &(Array, Array)) -> Array {
        Self::forward(self, x1, x2)
    }
}

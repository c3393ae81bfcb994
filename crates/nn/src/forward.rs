//! What a module computes, as a trait, so that layers can be put in a row and generic code can call them.

use mlx::Array;

/// What a layer or model computes: `forward` from an input to an output, by default from an array to an array.
///
/// ```
/// use mlx::Array;
/// use mlx_nn::{Forward, Linear, Module, relu};
///
/// #[derive(Clone, Module)]
/// struct Mlp {
///     up: Linear,
///     down: Linear,
/// }
///
/// impl Forward for Mlp {
///     fn forward(&self, x: &Array) -> Array {
///         self.down.forward(&relu(&self.up.forward(x)))
///     }
/// }
///
/// fn twice(layer: &impl Forward, x: &Array) -> Array {
///     layer.forward(&layer.forward(x))
/// }
///
/// # fn main() -> mlx::Result<()> {
/// let mlp = Mlp { up: Linear::new(2, 8), down: Linear::new(8, 2) };
/// assert_eq!(twice(&mlp, &mlx::array!([[1.0, 2.0]])).shape()?, [1, 2]);
/// # Ok(())
/// # }
/// ```
///
/// A layer of several inputs takes a tuple of arrays, `impl Forward<(Array, Array)>`; one with another result names
/// it second: `impl Forward<Array, (Array, Array)>`, or `impl Forward<Array, mlx::Result<Array>>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no `forward` from `{Input}` to `{Output}`",
    label = "no such `forward`",
    note = "write `impl Forward for {Self} {{ fn forward(&self, x: &Array) -> Array {{ .. }} }}`",
    note = "for several inputs or another output: `impl Forward<(Array, Array), (Array, Array)> for {Self}`"
)]
pub trait Forward<Input: ?Sized = Array, Output = Array> {
    /// Computes the output.
    fn forward(&self, input: &Input) -> Output;
}

/// Implements [`Forward`] for layers by their own method of that name.
macro_rules! forwards {
    ($($layer:ty),* $(,)?) => {$(
        impl Forward for $layer {
            #[track_caller]
            fn forward(&self, input: &Array) -> Array {
                <$layer>::forward(self, input)
            }
        }
    )*};
}

forwards! {
    crate::Conv1d, crate::Conv2d, crate::Embedding, crate::LayerNorm, crate::Linear,
    crate::QuantizedEmbedding, crate::QuantizedLinear, crate::RmsNorm,
}

/// Attention of queries to keys and values, without a mask.
impl Forward<(Array, Array, Array)> for crate::MultiHeadAttention {
    #[track_caller]
    fn forward(&self, (queries, keys, values): &(Array, Array, Array)) -> Array {
        let mask = mlx::fast::AttentionMask::none();
        crate::MultiHeadAttention::forward(self, queries, keys, values, &mask)
    }
}

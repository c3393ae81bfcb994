//! What an encoder and a decoder have alike.

/// Gives a stack its constructors of layers, and the options that go to each layer.
macro_rules! stack {
    ($stack:ident of $layer:ident, $one:literal, $name:literal) => {
        impl $stack {
            #[doc = concat!(" Returns ", $one, " over `dims` with `num_heads` heads, `4 * dims` hidden features, no dropout, ReLU, norms first.")]
            pub fn new(num_layers: usize, dims: impl Integer, num_heads: impl Integer) -> Self {
                let (dims, num_heads) = (dims.to_i32(), num_heads.to_i32());
                Self::with_init(num_layers, dims, num_heads, None, &mut Init::default())
            }

            #[doc = concat!(" Returns ", $one, " with this number of hidden features, `4 * dims` if none, and initial values from `init`.")]
            pub fn with_init(
                num_layers: usize,
                dims: i32,
                num_heads: i32,
                mlp_dims: impl Into<Option<i32>>,
                init: &mut Init,
            ) -> Self {
                let settings = Settings::new(dims, num_heads, mlp_dims.into());
                Self {
                    layers: (0..num_layers)
                        .map(|_| $layer::of(&settings, init))
                        .collect(),
                    ln: LayerNorm::new(dims),
                    checkpoint: false,
                    settings,
                }
            }

            #[doc = concat!(" Returns the ", $name, " with another number of layers; those that are added get new initial values.")]
            #[must_use]
            pub fn num_layers(mut self, num_layers: usize) -> Self {
                let (settings, init) = (&self.settings, &mut Init::default());
                self.layers
                    .resize_with(num_layers, || $layer::of(settings, init));
                self
            }

            #[doc = concat!(" Returns the ", $name, " with another number of hidden features; the linear layers get new initial values.")]
            #[must_use]
            pub fn mlp_dims(mut self, mlp_dims: impl Integer) -> Self {
                let mlp_dims = mlp_dims.to_i32();
                self.settings.mlp_dims = Some(mlp_dims);
                self.each(|layer| layer.mlp_dims(mlp_dims))
            }

            #[doc = concat!(" Returns the ", $name, " with dropout of this probability.")]
            #[must_use]
            pub fn dropout(mut self, dropout: f32) -> Self {
                self.settings.dropout = dropout;
                self.each(|layer| layer.dropout(dropout))
            }

            #[doc = concat!(" Returns the ", $name, " with another activation of the hidden features: a module or a function of arrays.")]
            #[must_use]
            pub fn activation<Kind>(mut self, activation: impl IntoLayer<Kind>) -> Self {
                let activation = activation.into_layer();
                self.settings.activation = activation.clone();
                self.each(|layer| layer.activation(activation.clone()))
            }

            #[doc = concat!(" Returns the ", $name, " with norms before attention and MLP, or after.")]
            #[must_use]
            pub fn norm_first(mut self, norm_first: bool) -> Self {
                self.settings.norm_first = norm_first;
                self.each(|layer| layer.norm_first(norm_first))
            }

            #[doc = concat!(" Returns the ", $name, " whose gradient computes each layer again instead of keeping what it computed, or not.")]
            #[must_use]
            pub fn checkpoint(mut self, checkpoint: bool) -> Self {
                self.checkpoint = checkpoint;
                self
            }

            fn each(
                mut self,
                change: impl FnMut($layer) -> $layer,
            ) -> Self {
                self.layers = self.layers.into_iter().map(change).collect();
                self
            }
        }
    };
}
pub(super) use stack;

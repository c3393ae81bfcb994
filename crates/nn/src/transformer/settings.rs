//! What the layers of an encoder or a decoder have in common.

use mlx::{Array, Result};

use crate::init::thread_key;
use crate::{AnyLayer, Dropout, Init, Linear, ReLU};

/// The settings of new layers.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) dims: i32,
    pub(super) num_heads: i32,
    /// The number of hidden features; `4 * dims` if not set.
    pub(super) mlp_dims: Option<i32>,
    pub(super) dropout: f32,
    pub(super) activation: AnyLayer,
    pub(super) norm_first: bool,
}

impl Settings {
    pub(super) fn new(dims: i32, num_heads: i32, mlp_dims: Option<i32>) -> Self {
        Self {
            dims,
            num_heads,
            mlp_dims,
            dropout: 0.0,
            activation: AnyLayer::new(ReLU::new()),
            norm_first: true,
        }
    }

    /// Returns the two linear layers of the MLP.
    pub(super) fn linears(&self, init: &mut Init) -> (Linear, Linear) {
        let hidden = self.mlp_dims.unwrap_or_else(|| self.dims.saturating_mul(4));
        (
            Linear::with_init(self.dims, hidden, true, init),
            Linear::with_init(hidden, self.dims, true, init),
        )
    }
}

/// Applies dropouts one after the other, each by a key of its own where one is given.
pub(super) struct Drops {
    /// A key for each dropout, the next one last; without them this thread's numbers are used.
    keys: Option<Vec<Array>>,
}

impl Drops {
    /// Returns keys for `n` dropouts, made of this one.
    #[track_caller]
    pub(super) fn new(n: i32, key: Option<&Array>) -> Result<Self> {
        let keys = match key {
            Some(key) => Some(mlx::random::split_with(key, n).unstack(0)?),
            None => None,
        };
        Ok(Self { keys })
    }

    #[track_caller]
    pub(super) fn apply(&mut self, dropout: &Dropout, x: &Array) -> Array {
        match self.keys.as_mut().and_then(Vec::pop) {
            Some(key) => dropout.forward_with_key(x, &key),
            None => dropout.forward(x),
        }
    }
}

/// Returns a key if one of the dropouts draws numbers: a layer that is computed again must drop the same values.
#[track_caller]
pub(super) fn key_of<'a>(dropouts: impl IntoIterator<Item = &'a Dropout>) -> Option<Array> {
    match dropouts.into_iter().any(Dropout::is_active) {
        true => Some(thread_key()),
        false => None,
    }
}

//! Which formulas are recognized. One file each; a new one fails to compile until every match here knows it.
//!
//! A file of a fusion has `find`: it is given a value, and says whether that is the result of the formula or, where a
//! formula ends in optional steps, its core. `None` is a value that does not look like it; a [`Refusal`] one that
//! does and is not. What it finds is checked further by the pass: no value in between may be used elsewhere.

mod attention;
mod cross_entropy;
mod gelu;
mod layer_norm;
mod linear;
pub(crate) mod matcher;
mod quantized_linear;
mod refusal;
mod rms_norm;
mod rope;
mod silu;
mod softmax;

use mlx::Array;

use crate::graph::Value;
use matcher::Look;
pub use refusal::{Refusal, RefusalKind};

/// A formula that was found in a graph.
pub(crate) struct Match {
    /// What goes into the formula.
    pub(crate) inputs: Vec<Value>,
    /// Its result.
    pub(crate) output: Value,
    /// Values inside that others may use too: they depend on positions only, not on the data.
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

/// What a matcher says of a value.
pub(crate) type Found = Option<Result<Match, Refusal>>;

/// A formula that the compiler recognizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fusion {
    /// `x * rsqrt(mean(x^2) + eps) * weight`.
    RmsNorm,
    /// `(x - mean(x)) * rsqrt(var(x) + eps) * weight + bias`.
    LayerNorm,
    /// Pairs of features turned by their position.
    Rope,
    /// `softmax(q @ k.T * scale + mask) @ v`.
    Attention,
    /// `x * (1 + erf(x / sqrt(2))) / 2`.
    Gelu,
    /// `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2`.
    GeluApprox,
    /// `x * sigmoid(x)`.
    Silu,
    /// `gate * sigmoid(gate) * up`.
    SwiGlu,
    /// `exp(x - max(x)) / sum(exp(x - max(x)))`.
    Softmax,
    /// `logsumexp(logits) - logits[target]`.
    CrossEntropy,
    /// `x @ weight + bias`.
    Linear,
    /// `x @ dequantize(weight).T`.
    QuantizedLinear,
}

impl Fusion {
    /// All fusions, in the order in which they are tried.
    pub const ALL: [Fusion; 12] = [
        Fusion::QuantizedLinear,
        Fusion::Attention,
        Fusion::Rope,
        Fusion::RmsNorm,
        Fusion::LayerNorm,
        Fusion::CrossEntropy,
        Fusion::Softmax,
        Fusion::GeluApprox,
        Fusion::Gelu,
        Fusion::SwiGlu,
        Fusion::Silu,
        Fusion::Linear,
    ];

    /// Returns the name: `rms_norm`.
    pub fn name(self) -> &'static str {
        &self.node_name()["fused.".len()..]
    }

    /// Returns the name of a node of this formula in a graph: `fused.rms_norm`.
    pub(crate) fn node_name(self) -> &'static str {
        match self {
            Fusion::RmsNorm => "fused.rms_norm",
            Fusion::LayerNorm => "fused.layer_norm",
            Fusion::Rope => "fused.rope",
            Fusion::Attention => "fused.scaled_dot_product_attention",
            Fusion::Gelu => "fused.gelu",
            Fusion::GeluApprox => "fused.gelu_approx",
            Fusion::Silu => "fused.silu",
            Fusion::SwiGlu => "fused.swiglu",
            Fusion::Softmax => "fused.softmax",
            Fusion::CrossEntropy => "fused.cross_entropy",
            Fusion::Linear => "fused.linear",
            Fusion::QuantizedLinear => "fused.quantized_linear",
        }
    }

    /// Looks whether a value is the result of this formula.
    pub(crate) fn find(self, look: &Look<'_>, value: Value) -> Found {
        match self {
            Fusion::RmsNorm => rms_norm::find(look, value),
            Fusion::LayerNorm => layer_norm::find(look, value),
            Fusion::Rope => rope::find(look, value),
            Fusion::Attention => attention::find(look, value),
            Fusion::Gelu => gelu::find_exact(look, value),
            Fusion::GeluApprox => gelu::find_approx(look, value),
            Fusion::Silu => silu::find(look, value),
            Fusion::SwiGlu => silu::find_gated(look, value),
            Fusion::Softmax => softmax::find(look, value),
            Fusion::CrossEntropy => cross_entropy::find(look, value),
            Fusion::Linear => linear::find(look, value),
            Fusion::QuantizedLinear => quantized_linear::find(look, value),
        }
    }

    pub(crate) fn from_node_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|fusion| fusion.node_name() == name)
    }
}

impl std::fmt::Display for Fusion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

//! Names of the formulas that the compiler recognizes.

use std::fmt;

/// A formula that the compiler recognizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fusion {
    /// `x * rsqrt(mean(x^2) + eps) * weight`.
    RmsNorm,
    /// `(x - mean(x)) * rsqrt(var(x) + eps) * weight + bias`.
    LayerNorm,
    /// Rotary position embedding: pairs of features rotated by their position.
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

    /// Returns the formula of a node of this name.
    pub(crate) fn from_node_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|fusion| fusion.node_name() == name)
    }
}

impl fmt::Display for Fusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

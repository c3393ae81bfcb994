//! The fusions: formulas that are recognized, one file each. A new one fails to compile until every `match` has it.
//!
//! A file of a fusion has `match_at`, which tests whether a value is the result of the formula or, where a formula ends
//! in optional steps, its core. `None` is a value that does not resemble it; a [`Refusal`] one that does and is not
//! fused. A match is checked further by the pass: no intermediate value may be used elsewhere.

mod attention;
mod cross_entropy;
mod gelu;
mod layer_norm;
mod linear;
mod matcher;
mod quantized_linear;
mod refusal;
mod rms_norm;
mod rope;
mod silu;
mod softmax;

use crate::graph::{Fusion, Value};
pub(crate) use matcher::{Match, MatchResult, Matcher};
pub use refusal::{Refusal, RefusalKind};

impl Fusion {
    /// Tests whether a value is the result of this formula.
    pub(crate) fn match_at(self, matcher: &Matcher<'_>, value: Value) -> MatchResult {
        match self {
            Fusion::RmsNorm => rms_norm::match_at(matcher, value),
            Fusion::LayerNorm => layer_norm::match_at(matcher, value),
            Fusion::Rope => rope::match_at(matcher, value),
            Fusion::Attention => attention::match_at(matcher, value),
            Fusion::Gelu => gelu::match_exact(matcher, value),
            Fusion::GeluApprox => gelu::match_approx(matcher, value),
            Fusion::Silu => silu::match_at(matcher, value),
            Fusion::SwiGlu => silu::match_gated(matcher, value),
            Fusion::Softmax => softmax::match_at(matcher, value),
            Fusion::CrossEntropy => cross_entropy::match_at(matcher, value),
            Fusion::Linear => linear::match_at(matcher, value),
            Fusion::QuantizedLinear => quantized_linear::match_at(matcher, value),
        }
    }
}

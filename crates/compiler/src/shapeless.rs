//! Which functions can be compiled once for all sizes: those into whose graph no size is frozen.

use mlx::Op;

use crate::graph::{Graph, Operation};
use crate::trace::SizeRead;
use crate::{Error, Result};

/// Refuses a graph that holds only for the sizes it was traced with.
pub(crate) fn check(graph: &Graph, size_read: Option<SizeRead>) -> Result<()> {
    if let Some(SizeRead { op, at }) = size_read {
        return Err(Error::Shapeless(format!(
            "wanted a function that asks for no sizes, got {op} at {}:{}, whose answer would be frozen",
            at.file(),
            at.line()
        )));
    }
    for node in &graph.nodes {
        let frozen = match &node.operation {
            Operation::Op(op) => freezes_sizes(op),
            Operation::Fused(fused) => {
                check(&fused.body, None)?;
                check(&fused.kernel, None)?;
                false
            }
            Operation::Region(body) => {
                check(body, None)?;
                false
            }
            _ => true,
        };
        if frozen {
            return Err(Error::Shapeless(format!(
                "wanted operations that hold for all sizes, got {} at {}, into which a size is frozen",
                node.operation.name(),
                node.site
            )));
        }
    }
    Ok(())
}

/// Whether an operation's attributes say sizes, or places that depend on them.
fn freezes_sizes(op: &Op) -> bool {
    if op.is_elementwise() {
        return false;
    }
    !matches!(
        op,
        Op::All { .. }
            | Op::Any { .. }
            | Op::CountNonzero { .. }
            | Op::Logsumexp { .. }
            | Op::Max { .. }
            | Op::Mean { .. }
            | Op::Median { .. }
            | Op::Min { .. }
            | Op::Prod { .. }
            | Op::Std { .. }
            | Op::Sum { .. }
            | Op::Var { .. }
            | Op::Softmax { .. }
            | Op::Argmax { .. }
            | Op::Argmin { .. }
            | Op::Argsort { .. }
            | Op::Sort { .. }
            | Op::Cummax { .. }
            | Op::Cummin { .. }
            | Op::Cumprod { .. }
            | Op::Cumsum { .. }
            | Op::Logcumsumexp { .. }
            | Op::Matmul
            | Op::Addmm { .. }
            | Op::Inner
            | Op::Outer
            | Op::Vecdot { .. }
            | Op::Tensordot { .. }
            | Op::Einsum { .. }
            | Op::QuantizedMatmul { .. }
            | Op::Dequantize { .. }
            | Op::Conv { .. }
            | Op::Transpose { .. }
            | Op::Swapaxes { .. }
            | Op::Moveaxis { .. }
            | Op::Squeeze { .. }
            | Op::ExpandDims { .. }
            | Op::Flatten { .. }
            | Op::Atleast1d
            | Op::Atleast2d
            | Op::Atleast3d
            | Op::Contiguous { .. }
            | Op::BroadcastArrays
            | Op::Concatenate { .. }
            | Op::Stack { .. }
            | Op::Tile { .. }
            | Op::Repeat { .. }
            | Op::Flip { .. }
            | Op::Roll { .. }
            | Op::Take { .. }
            | Op::TakeAlongAxis { .. }
            | Op::ZerosLike
            | Op::OnesLike
            | Op::FullLike { .. }
            | Op::Tril { .. }
            | Op::Triu { .. }
            | Op::Copy
            | Op::RmsNorm { .. }
            | Op::LayerNorm { .. }
            | Op::Rope { .. }
            | Op::ScaledDotProductAttention { .. }
            | Op::CrossEntropy
            | Op::Gelu
            | Op::GeluApprox
            | Op::Silu
            | Op::SwiGlu
            | Op::Linear
    )
}

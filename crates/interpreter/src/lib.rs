//! Graphs without MLX: in plain Rust `f64`, as a second backend, and saved functions on the kernels of the CPU.
//!
//! [`InferenceSession`] runs a saved function fast. All else here is a reference, written to be read and not to be fast.
//! It is the oracle that compiled functions are compared with, and the proof that a [`Graph`] is a program of its own.
//! It shares no code with the executor of `mlx-compiler`, not even the walk over the nodes, so that it cannot share its
//! faults.
//! Integers are exact and wrap as MLX's do. Reals are `f64` throughout ([`Rounding::Exact`]) or rounded to their dtype
//! after each operation ([`Rounding::PerOp`]).
//!
//! Where MLX leaves an order unspecified, one is chosen: `partition` and `argpartition` give the fully sorted order.
//! Operations without a formula here are refused by name: see [`REFUSED`].
#![forbid(unsafe_code)]

mod binary;
mod bits;
mod call;
mod complex;
mod conv;
mod convert;
mod create;
mod einsum;
mod evaluator;
mod fast;
mod fourier;
mod gradient;
mod host;
mod index;
mod linalg;
mod number;
mod order;
mod product;
mod quantized;
mod random;
mod ranks;
mod ranks_inside;
mod reduce;
mod saved;
mod saved_file;
mod session;
mod shape;
mod special;
mod tensor;
mod truncated_normal;
mod unary;

pub use convert::array_constants;
pub use evaluator::{Interpreter, interpret};
pub use mlx::cpu::HostArray;
pub use number::{Number, Rounding};
pub use ranks::{interpret_ranks, run_ranks};
pub use saved::SavedFunction;
pub use session::{InferenceSession, SessionOptions};
pub use tensor::Tensor;

use mlx::Op;
use mlx_compiler::graph::{Constant, Graph, ValueOrigin};
use mlx_compiler::{Error, Result};

use call::Call;

/// The operations of the table that the interpreter has no formula for.
pub const REFUSED: &[&str] = &[
    "linalg.eig",
    "linalg.eigvals",
    "linalg.svd",
    "linalg.pinv",
    "random.multivariate_normal",
];

/// Returns the error for what has no formula.
fn unknown(name: &str) -> Error {
    Error::Unsupported(format!(
        "interpret: wanted an operation that the interpreter knows, got {name}"
    ))
}

/// Applies one primitive.
fn apply(op: &Op, call: &Call<'_>) -> Result<Vec<Tensor>> {
    unary::apply(op, call)
        .or_else(|| binary::apply(op, call))
        .or_else(|| reduce::apply(op, call))
        .or_else(|| shape::apply(op, call))
        .or_else(|| create::apply(op, call))
        .or_else(|| product::apply(op, call))
        .or_else(|| index::apply(op, call))
        .or_else(|| order::apply(op, call))
        .or_else(|| fast::apply(op, call))
        .or_else(|| quantized::apply(op, call))
        .or_else(|| random::apply(op, call))
        .or_else(|| fourier::apply(op, call))
        .or_else(|| linalg::apply(op, call))
        .unwrap_or_else(|| Err(unknown(op.name())))
}

/// Returns how many arrays a graph and those inside it take as constants, in the order of the text.
fn n_arrays(graph: &Graph) -> usize {
    let own = graph.values().filter(|(_, source)| {
        matches!(
            source,
            ValueOrigin::Constant(Constant::Array(_) | Constant::Missing)
        )
    });
    let inner = graph
        .nodes()
        .iter()
        .flat_map(|node| node.operation.graphs());
    own.count() + inner.map(|(_, graph)| n_arrays(graph)).sum::<usize>()
}

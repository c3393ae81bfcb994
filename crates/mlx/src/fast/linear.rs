//! A product with weights that are stored shorter than the numbers they meet.

use crate::op::Op;
use crate::{Array, bind};

/// Returns `x @ transpose(weight)` in the dtype of both together: `x` is `[.., in]`, `weight` is `[out, in]`.
///
/// On the CPU, a few `float32` vectors meet `float16` or `bfloat16` weights as those are stored, which halves what is
/// read from memory; otherwise it is the plain product. Nothing runs until [`eval`](crate::eval()).
///
/// # Errors
/// The result carries an error when the shapes do not fit.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let weight = mlx::array!([[1.0, 2.0], [3.0, 4.0]]).astype(mlx::Dtype::Float16);
/// let y = mlx::fast::linear(&mlx::array!([1.0, 10.0]), &weight);
/// assert_eq!(y.to_vec::<f32>()?, [21.0, 43.0]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn linear(x: &Array, weight: &Array) -> Array {
    bind(Op::Linear, &[x, weight])
}

/// Returns `x @ transpose(weight)`, in plain operations: see [`linear`](super::linear).
#[track_caller]
pub fn composed(x: &Array, weight: &Array) -> Array {
    x.matmul(&weight.t())
}

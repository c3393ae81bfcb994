//! Activations in one pass: GELU, its form with `tanh`, SiLU and the gate of SwiGLU.

use std::f32::consts::{PI, SQRT_2};

use super::inputs::{check_floating, reject};
use crate::op::Op;
use crate::{Array, Result, bind};

/// Returns `x * (1 + erf(x / sqrt(2))) / 2`, the exact Gaussian error linear unit, in the shape and dtype of `x`.
///
/// One pass on the CPU; on a GPU its operations, which MLX's compile fuses. Nothing runs until [`eval`](crate::eval()).
///
/// # Errors
/// The result carries an error when `x` is not floating.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let y = mlx::fast::gelu(&mlx::array!([0.0, 1.0])).to_vec::<f32>()?;
/// assert!((y[1] - 0.841_345).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn gelu(x: &Array) -> Array {
    Array::from_result(of_one("fast.gelu", Op::Gelu, x))
}

/// Returns `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2`, in the shape and dtype of `x`.
///
/// # Errors
/// The result carries an error when `x` is not floating.
#[track_caller]
pub fn gelu_approx(x: &Array) -> Array {
    Array::from_result(of_one("fast.gelu_approx", Op::GeluApprox, x))
}

/// Returns `x * sigmoid(x)`, also called Swish, in the shape and dtype of `x`.
///
/// # Errors
/// The result carries an error when `x` is not floating.
#[track_caller]
pub fn silu(x: &Array) -> Array {
    Array::from_result(of_one("fast.silu", Op::Silu, x))
}

/// Returns `silu(gate) * x`, the inner part of SwiGLU; `gate` and `x` have one shape and dtype, and so has the result.
///
/// # Errors
/// The result carries an error when shapes or dtypes differ, or are not floating.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let y = mlx::fast::swiglu(&mlx::array!([0.0, 1.0]), &mlx::array!([5.0, 2.0])).to_vec::<f32>()?;
/// assert!((y[1] - 2.0 * 0.731_058_6).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn swiglu(gate: &Array, x: &Array) -> Array {
    let inputs = [gate, x];
    let result = (|| {
        let dtype = gate.dtype()?;
        if dtype != x.dtype()? || gate.sizes()? != x.sizes()? {
            let types = [gate.array_type()?, x.array_type()?];
            let message = format!(
                "gate and x must be alike, got {} and {}",
                types[0], types[1]
            );
            return reject("fast.swiglu", message, &inputs);
        }
        check_floating("fast.swiglu", &[dtype], &inputs)?;
        Ok(bind(Op::SwiGlu, &inputs))
    })();
    Array::from_result(result)
}

#[track_caller]
fn of_one(name: &'static str, op: Op, x: &Array) -> Result<Array> {
    check_floating(name, &[x.dtype()?], &[x])?;
    Ok(bind(op, &[x]))
}

/// What the functions above mean.
pub mod composed {
    use super::{Array, PI, SQRT_2};

    /// Returns `x * (1 + erf(x / sqrt(2))) / 2`, in plain operations.
    #[track_caller]
    pub fn gelu(x: &Array) -> Array {
        x * (1.0 + (x / SQRT_2).erf()) / 2.0
    }

    /// Returns `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2`, in plain operations.
    #[track_caller]
    pub fn gelu_approx(x: &Array) -> Array {
        let cubic = 0.044_715 * x.power(3.0);
        0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + cubic)).tanh())
    }

    /// Returns `x * sigmoid(x)`, in plain operations.
    #[track_caller]
    pub fn silu(x: &Array) -> Array {
        x * x.sigmoid()
    }

    /// Returns `silu(gate) * x`, in plain operations.
    #[track_caller]
    pub fn swiglu(gate: &Array, x: &Array) -> Array {
        silu(gate) * x
    }
}

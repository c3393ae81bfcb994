//! A product with quantized weights whose vectors are rounded to 8 bits, on the CPU.

use std::sync::OnceLock;

use super::inputs::reject;
use crate::cpu::{HostKernel, host_kernel, quantized_int8};
use crate::op::QuantizationMode;
use crate::{Array, ArrayType, Device, Dtype, Quantization, Quantized, Result};

const NAME: &str = "fast.quantized_matmul_int8";
const BITS: [i32; 2] = [4, 8];
const GROUP_SIZES: [i32; 3] = [32, 64, 128];

/// Returns `x @ transpose(weights)` with each group of numbers of `x` rounded to 8 bits, in the shape `[.., out]` and the
/// dtype of `x`: `x` is `[.., in]`, the weights are `[out, in]`.
///
/// A group of `group_size` numbers becomes multiples of `max|x| / 127`; what rounding changes in its sum is added back,
/// so the error is at most `sum over groups of max|x| / 254 * sum(|scale * (number - 2^(bits - 1))|)`. From 16 vectors on
/// nothing is rounded, because the exact product is as fast there. It makes decoding faster where the processor has
/// instructions for bytes; what it costs in quality depends on the model.
///
/// Gradients, tangents and `vmap` are those of the exact product. Nothing runs until [`eval`](crate::eval()).
///
/// # Errors
/// The result carries an error on a GPU, when the weights are not affine with 4 or 8 bits, when the dtypes of `x`, scales
/// and biases differ, or when shapes do not fit.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let weights = mlx::ones([2, 64]).quantize(mlx::Quantization::default())?;
/// # if mlx::Device::current()? == mlx::Device::Gpu { return Ok(()); }
/// let y = mlx::fast::quantized_matmul_int8(&mlx::ones([1, 64]), &weights);
/// assert!((y - 64.0).abs().max(()).item::<f32>()? < 1e-3);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn quantized_matmul_int8(x: &Array, weights: &Quantized) -> Array {
    Array::from_result(apply(x, weights))
}

#[track_caller]
fn apply(x: &Array, weights: &Quantized) -> Result<Array> {
    let Quantized {
        weight,
        scales,
        biases,
        quantization,
    } = weights;
    let mut inputs = vec![x, weight, scales];
    inputs.extend(biases);
    if Device::current()? == Device::Gpu {
        return reject(NAME, "wanted the CPU, got a GPU".to_owned(), &inputs);
    }
    let Some(kernel) = slot(*quantization).filter(|_| biases.is_some()) else {
        let Quantization {
            group_size,
            bits,
            mode,
        } = quantization;
        let message = format!(
            "wanted affine weights of 4 or 8 bits in groups of 32, 64 or 128, got {mode:?} with {bits} bits in groups of {group_size}"
        );
        return reject(NAME, message, &inputs);
    };
    let types: Result<Vec<ArrayType>> = inputs.iter().map(|input| input.array_type()).collect();
    if let Err(message) = output_type(&types?, *quantization) {
        return reject(NAME, message, &inputs);
    }
    let kernel = match kernel.get() {
        Some(kernel) => kernel,
        None => {
            let made = make(*quantization)?;
            kernel.get_or_init(|| made)
        }
    };
    Ok(kernel.apply_one(&inputs))
}

/// Returns where the kernel for a layout of weights is kept: compiled functions know a kernel by its identity.
fn slot(quantization: Quantization) -> Option<&'static OnceLock<HostKernel>> {
    static KERNELS: [[OnceLock<HostKernel>; GROUP_SIZES.len()]; BITS.len()] =
        [const { [const { OnceLock::new() }; GROUP_SIZES.len()] }; BITS.len()];
    if quantization.mode != QuantizationMode::Affine {
        return None;
    }
    let place = |all: &[i32], one: i32| all.iter().position(|&other| other == one);
    let bits = place(&BITS, quantization.bits)?;
    Some(&KERNELS[bits][place(&GROUP_SIZES, quantization.group_size)?])
}

#[track_caller]
fn make(quantization: Quantization) -> Result<HostKernel> {
    let Quantization {
        group_size, bits, ..
    } = quantization;
    let kernel = host_kernel(
        NAME,
        move |inputs| Ok(vec![output_type(inputs, quantization)?]),
        move |inputs, outputs| quantized_int8(group_size, bits, inputs, outputs),
    )?;
    let exact = move |inputs: &[Array]| {
        let [x, weight, scales, biases] = inputs else {
            return Vec::new();
        };
        let weights = Quantized {
            weight: weight.clone(),
            scales: scales.clone(),
            biases: Some(biases.clone()),
            quantization,
        };
        vec![x.quantized_matmul(&weights, true)]
    };
    Ok(kernel.joining_programs().composed(exact))
}

/// The type of the result, or why the inputs do not fit.
fn output_type(
    inputs: &[ArrayType],
    quantization: Quantization,
) -> std::result::Result<ArrayType, String> {
    let [x, weight, scales, biases] = inputs else {
        return Err(format!("wanted 4 inputs, got {}", inputs.len()));
    };
    let is_stored = matches!(x.dtype, Dtype::Float32 | Dtype::Float16 | Dtype::Bfloat16);
    if !is_stored || scales.dtype != x.dtype || biases.dtype != x.dtype {
        return Err(format!(
            "x, scales and biases must be float32, float16 or bfloat16 together, got {}, {} and {}",
            x.dtype, scales.dtype, biases.dtype
        ));
    }
    let (&[out, words], Some(&dim)) = (weight.shape.as_slice(), x.shape.last()) else {
        return Err(format!(
            "wanted x [.., in] and weights [out, in], got {x} and {weight}"
        ));
    };
    let groups = [out, dim / quantization.group_size];
    let fits = dim % quantization.group_size == 0
        && i64::from(words) * 32 == i64::from(dim) * i64::from(quantization.bits);
    if !fits || weight.dtype != Dtype::Uint32 || scales.shape != groups || biases.shape != groups {
        return Err(format!(
            "weights must be packed rows of {dim} numbers to match x, got {weight} with scales {scales} and biases {biases}"
        ));
    }
    let mut shape = x.shape.clone();
    if let Some(last) = shape.last_mut() {
        *last = out;
    }
    Ok(ArrayType {
        shape,
        dtype: x.dtype,
    })
}

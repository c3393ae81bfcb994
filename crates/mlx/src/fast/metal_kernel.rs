//! Kernels in the Metal shading language as operations, with a composed form for other devices.

use super::gpu_kernel::{GpuKernel, Language};

/// Metal source as an operation on arrays; made by [`metal_kernel`].
///
/// Plain text and a function: `Send` and `Sync`, and made without a GPU.
pub type MetalKernel = GpuKernel<Metal>;

/// Names the Metal shading language in the type of a [`GpuKernel`].
#[derive(Clone, Copy, Debug)]
pub enum Metal {}

/// Makes an operation of Metal source.
///
/// `source` is the body of a Metal function, as for `mx.fast.metal_kernel` in Python: inputs and outputs are pointers with
/// these names, `x_shape`, `x_strides` and `x_ndim` are there for an input `x`, and Metal's attributes such as
/// `thread_position_in_grid` by their names.
/// MLX compiles it at the first evaluation and keeps it for the process. It is trusted: it may read and write any memory
/// of the GPU that it has an address of.
///
/// Where this thread's stream is not on a Metal GPU, the [composed form](MetalKernel::composed) runs instead.
///
/// ```
/// use mlx::fast::{Launch, metal_kernel};
///
/// # fn main() -> mlx::Result<()> {
/// let exp = metal_kernel("my_exp", &["x"], &["y"], "uint i = thread_position_in_grid.x; y[i] = metal::exp(x[i]);")
///     .composed(|inputs| vec![inputs[0].exp()]);
/// let x = mlx::array!([0.0, 1.0]);
/// let launch = Launch { grid: [2, 1, 1], outputs: vec![x.array_type()?], ..Default::default() };
/// let y = exp.apply_one(&[&x], &launch);
/// # y.eval()
/// # }
/// ```
pub fn metal_kernel(
    name: &str,
    input_names: &[&str],
    output_names: &[&str],
    source: &str,
) -> MetalKernel {
    let language = Language::Metal {
        atomic_outputs: false,
    };
    GpuKernel::new(name, input_names, output_names, source, language)
}

impl MetalKernel {
    /// Sets whether outputs are atomic, so that several threads may add to one element. Not by default.
    pub fn atomic_outputs(mut self, atomic_outputs: bool) -> Self {
        self.definition.language = Language::Metal { atomic_outputs };
        self
    }
}

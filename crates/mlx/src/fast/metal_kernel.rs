//! Kernels in the Metal shading language as operations, with a composed form for other devices.

use std::sync::Arc;

use super::gpu_kernel::{GpuKernel, Language, Launch};
use crate::{Array, Error, Result};

/// Metal source as an operation on arrays; made by [`metal_kernel`].
///
/// Plain text and a function: `Send` and `Sync`, and made without a GPU.
#[derive(Clone)]
pub struct MetalKernel {
    kernel: GpuKernel,
}

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
    MetalKernel {
        kernel: GpuKernel::new(name, input_names, output_names, source, language),
    }
}

impl MetalKernel {
    /// Sets source that comes before the function: includes and helper functions.
    pub fn header(mut self, header: &str) -> Self {
        self.kernel.header = header.to_owned();
        self
    }

    /// Sets whether inputs are made row-contiguous first. By default they are.
    pub fn ensure_row_contiguous(mut self, ensure: bool) -> Self {
        self.kernel.ensure_row_contiguous = ensure;
        self
    }

    /// Sets whether outputs are atomic, so that several threads may add to one element. Not by default.
    pub fn atomic_outputs(mut self, atomic_outputs: bool) -> Self {
        self.kernel.language = Language::Metal { atomic_outputs };
        self
    }

    /// Sets the same computation in MLX's operations, which runs where there is no Metal GPU.
    pub fn composed(
        mut self,
        form: impl Fn(&[Array]) -> Vec<Array> + Send + Sync + 'static,
    ) -> Self {
        self.kernel.composed = Some(Arc::new(form));
        self
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.kernel.name
    }

    /// Applies the kernel and returns all its outputs. Nothing runs until [`eval`](crate::eval()).
    ///
    /// # Errors
    /// When inputs, outputs or sizes of the launch do not fit the kernel; when there is neither a Metal GPU nor a
    /// composed form; or an input carries an error. Source that does not compile is an error of `eval`.
    #[track_caller]
    pub fn apply(&self, inputs: &[&Array], launch: &Launch) -> Result<Vec<Array>> {
        self.kernel.apply(inputs, launch)
    }

    /// Applies a kernel that has one output. Nothing runs until [`eval`](crate::eval()).
    ///
    /// The result carries what [`apply`](Self::apply) would return as an error.
    #[track_caller]
    pub fn apply_one(&self, inputs: &[&Array], launch: &Launch) -> Array {
        let one = |mut outputs: Vec<Array>| match outputs.len() {
            1 => outputs.remove(0),
            n => Array::failed(Error::op(
                self.name(),
                format!("wanted one output, got {n}"),
            )),
        };
        self.apply(inputs, launch).map_or_else(Array::failed, one)
    }
}

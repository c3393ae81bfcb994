//! How the native library asks the CPU backend: operations as bytes, three questions, and what has been patched.

use std::ffi::c_int;

use mlx_sys as sys;
use mlx_sys::Api;

use super::call::{api, check, loaded};
use super::host::{HostInput, HostOutput, Layout, run_over, slice};
use crate::Dtype;
use crate::error::NativeError;
use crate::op::{Op, OpFlags};

/// The most inputs that an operation with a kernel has, the gradient of its result among them.
pub(crate) const MAX_INPUTS: usize = sys::MLX_NATIVE_MAX_INPUTS as usize;

/// How a kernel takes the inputs of an operation that is being applied.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Prepared {
    /// What each input is cast to.
    pub(crate) dtypes: [Dtype; MAX_INPUTS],
    /// An input that is then broadcast, and to what.
    pub(crate) broadcast: Option<(usize, [i32; 4])>,
    pub(crate) output_dtype: Dtype,
    /// The input whose shape the output has, but for the size of its last axis where one is given.
    pub(crate) output_like: usize,
    pub(crate) output_last: Option<i32>,
    /// The gradient has a kernel, which gives that of the first `n` inputs; 0 for none.
    pub(crate) n_gradients: usize,
    /// `vmap` over axis 0 of exactly these inputs, a bit each, is the kernel on them; 0 for never.
    pub(crate) batched_inputs: u32,
}

/// What computes on CPU streams.
pub(crate) trait Backend {
    /// Returns how a kernel takes inputs of these types; `None` if none computes this.
    fn prepare(op: &Op, inputs: &[Layout<'_>]) -> Option<Prepared>;
    /// Returns whether a kernel computes an operation of MLX's that is being evaluated.
    fn supports(op: &Op, inputs: &[Layout<'_>], output: Layout<'_>) -> bool;
    /// Computes an operation, or its gradient.
    fn run(
        op: &Op,
        is_gradient: bool,
        inputs: &[HostInput<'_>],
        outputs: &mut [HostOutput<'_>],
    ) -> Result<(), String>;
}

/// Installs a backend and returns how many of MLX's classes it evaluates; the first in the process counts.
pub(crate) fn install<B: Backend>(api: &Api) -> Result<i32, NativeError> {
    let backend = sys::mlx_native_cpu_backend {
        prepare: Some(prepare::<B>),
        supports: Some(supports::<B>),
        run: Some(run::<B>),
    };
    let mut hooked = 0;
    // SAFETY: the functions may be called from any thread for the life of the process; `hooked` is written before return.
    let status = unsafe { api.mlx_native_cpu_install(&mut hooked, backend) };
    check(api, status)?;
    Ok(hooked)
}

/// Makes MLX's own operations on the CPU keep sums in a wider type, and compute functions of doubles in double.
///
/// Returns for how many classes that was done. It comes before [`install`], whose kernels then fall back on it.
pub(crate) fn widen(api: &Api) -> Result<i32, NativeError> {
    let mut hooked = 0;
    // SAFETY: `hooked` is written before return.
    let status = unsafe { api.mlx_native_cpu_widen(&mut hooked) };
    check(api, status)?;
    Ok(hooked)
}

/// Puts the right rules of differentiation in the place of those that MLX has wrong, and returns how many.
pub(crate) fn replace_gradients(api: &Api) -> Result<i32, NativeError> {
    let mut hooked = 0;
    // SAFETY: `hooked` is written before return.
    let status = unsafe { api.mlx_native_replace_gradients(&mut hooked) };
    check(api, status)?;
    Ok(hooked)
}

/// Returns how many virtual functions of MLX's classes have been patched in this process.
pub(crate) fn vtable_hooks() -> Result<usize, NativeError> {
    // SAFETY: reads a counter.
    let hooks = unsafe { api()?.mlx_native_vtable_hooks() };
    Ok(usize::try_from(hooks).unwrap_or(0))
}

/// Returns how often the kernel of an operation, by its place in the table, or of its gradient has run in this process.
pub(crate) fn runs(place: usize, is_gradient: bool) -> u64 {
    let place = c_int::try_from(place).unwrap_or(-1);
    // SAFETY: reads a counter.
    api().map_or(0, |_| unsafe {
        loaded().mlx_native_cpu_runs(place, is_gradient)
    })
}

/// Reads an operation; `None` for bytes that are none.
///
/// # Safety
/// `op` and its bytes are alive for the call.
unsafe fn read(op: *const sys::mlx_native_op) -> Option<(Op, bool)> {
    // SAFETY: promised by the caller.
    let (bytes, is_gradient) = unsafe { (slice((*op).bytes, (*op).size), (*op).is_gradient) };
    Some((Op::decode(bytes)?, is_gradient))
}

/// Calls `ask` with the layouts of the inputs.
///
/// # Safety
/// `inputs` points to `n_inputs` descriptions that live for the call.
unsafe fn with_layouts<T>(
    inputs: *const sys::mlx_native_buffer,
    n_inputs: usize,
    ask: impl FnOnce(&[Layout<'_>]) -> Option<T>,
) -> Option<T> {
    // SAFETY: promised by the caller.
    let inputs = unsafe { slice(inputs, n_inputs) };
    let mut few = [Layout::new(Dtype::Bool, &[], &[]); MAX_INPUTS];
    match few.get_mut(..n_inputs) {
        Some(layouts) => {
            for (layout, input) in layouts.iter_mut().zip(inputs) {
                *layout = Layout::of(input);
            }
            ask(layouts)
        }
        // Arrays to be joined.
        None => ask(&inputs.iter().map(Layout::of).collect::<Vec<_>>()),
    }
}

unsafe extern "C" fn prepare<B: Backend>(
    op: *const sys::mlx_native_op,
    inputs: *const sys::mlx_native_buffer,
    n_inputs: usize,
    res: *mut sys::mlx_native_prepared,
) -> bool {
    let answer = std::panic::catch_unwind(|| {
        // SAFETY: the native library passes an operation that is alive for the call.
        let (op, is_gradient) = unsafe { read(op) }?;
        // A gradient is prepared with its operation.
        if is_gradient || super::exporting::is_exporting() {
            return None;
        }
        // SAFETY: the native library passes this many descriptions, alive for the call.
        unsafe { with_layouts(inputs, n_inputs, |inputs| B::prepare(&op, inputs)) }
    });
    let Ok(Some(prepared)) = answer else {
        return false;
    };
    let count = |number: usize| c_int::try_from(number).unwrap_or(c_int::MAX);
    let (broadcast_input, broadcast_shape) = prepared
        .broadcast
        .map_or((-1, [0; 4]), |(input, shape)| (count(input), shape));
    let prepared = sys::mlx_native_prepared {
        input_dtypes: prepared.dtypes.map(Dtype::raw),
        broadcast_input,
        broadcast_shape,
        output_dtype: prepared.output_dtype.raw(),
        output_like: count(prepared.output_like),
        output_last: prepared.output_last.unwrap_or(-1),
        n_gradients: prepared.n_gradients,
        batched_inputs: prepared.batched_inputs,
    };
    // SAFETY: `res` is a struct of the caller's, to be written.
    unsafe { res.write(prepared) };
    true
}

unsafe extern "C" fn supports<B: Backend>(
    op: *const sys::mlx_native_op,
    inputs: *const sys::mlx_native_buffer,
    n_inputs: usize,
    output: *const sys::mlx_native_buffer,
) -> bool {
    let answer = std::panic::catch_unwind(|| {
        // SAFETY: the native library passes an operation that is alive for the call.
        let (op, _) = unsafe { read(op) }?;
        // SAFETY: the native library passes this many descriptions, and one of the output, alive for the call.
        unsafe {
            let output = Layout::of(&*output);
            with_layouts(inputs, n_inputs, |inputs| {
                Some(B::supports(&op, inputs, output))
            })
        }
    });
    matches!(answer, Ok(Some(true)))
}

unsafe extern "C" fn run<B: Backend>(
    op: *const sys::mlx_native_op,
    inputs: *const sys::mlx_native_buffer,
    n_inputs: usize,
    outputs: *const sys::mlx_native_buffer,
    n_outputs: usize,
) -> c_int {
    // SAFETY: the native library passes an operation and this many descriptions, alive for the call.
    let (op, inputs, outputs) =
        unsafe { (read(op), slice(inputs, n_inputs), slice(outputs, n_outputs)) };
    // Functions of elements are written as bytes (`cpu/elementwise_typed.rs`).
    let is_of_elements = |(op, _): &(Op, bool)| op.flags().contains(OpFlags::ELEMENTWISE);
    let writes_bytes = op.as_ref().is_some_and(is_of_elements);
    run_over(inputs, outputs, (false, writes_bytes), |inputs, outputs| {
        let (op, is_gradient) = op.ok_or("cpu: no operation has these bytes")?;
        B::run(&op, is_gradient, inputs, outputs)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A class that MLX has renamed would silently keep its evaluation or its rules.
    #[cfg(target_os = "linux")]
    #[test]
    fn every_class_is_found() {
        let api = api().unwrap();
        assert_eq!(widen(api).unwrap(), 15);
        assert_eq!(replace_gradients(api).unwrap(), 17);
    }
}

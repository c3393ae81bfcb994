//! Functions with rules of their own for gradients, tangents and vectorization, as MLX calls them.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mlx_sys as sys;

use super::call::{api, check, loaded, loaded_to_free};
use super::closure::{Closure, LocalBody, STRANGER, give, guarded, thread_bound};
use super::handle::Handle;
use super::thread_bound::ThreadBound;
use super::vector::{Vector, handles_in};
use crate::error::NativeError;

/// Inputs, cotangents and outputs to gradients of the inputs.
pub(crate) type VjpRule = dyn Fn([Vec<Handle>; 3]) -> Result<Vector, NativeError>;

/// Inputs, tangents and which inputs those are of, to tangents of the outputs.
pub(crate) type JvpRule = dyn Fn([Vec<Handle>; 2], &[c_int]) -> Result<Vector, NativeError>;

/// Inputs and the axis of each, -1 for none, to outputs and the axis of each.
pub(crate) type VmapRule =
    dyn Fn(Vec<Handle>, &[c_int]) -> Result<(Vector, Vec<c_int>), NativeError>;

/// The rules of a function; MLX finds its own where there is none.
pub(crate) struct Rules {
    pub(crate) vjp: Option<Box<VjpRule>>,
    pub(crate) jvp: Option<Box<JvpRule>>,
    pub(crate) vmap: Option<Box<VmapRule>>,
}

/// Outputs of a function with rules of its own. `body` must give outputs, and the rules as many results as they should.
pub(crate) fn custom_function(
    body: Box<LocalBody>,
    rules: Rules,
    inputs: &Vector,
) -> Result<Vector, NativeError> {
    let (api, closure) = (api()?, Closure::local(body)?);
    let vjp = rules.vjp.map(VjpClosure::local).transpose()?;
    let jvp = rules.jvp.map(JvpClosure::local).transpose()?;
    let vmap = rules.vmap.map(VmapClosure::local).transpose()?;
    let mut with_rules = Closure::empty();
    let (slot, fun) = (with_rules.slot(), closure.raw());
    let (vjp, jvp, vmap) = (
        VjpClosure::raw(vjp.as_ref()),
        JvpClosure::raw(jvp.as_ref()),
        VmapClosure::raw(vmap.as_ref()),
    );
    // SAFETY: the closures are alive for the call or null, and MLX counts their further uses; the slot is empty and owned by this function.
    let status = unsafe { api.mlx_custom_function(slot, fun, vjp, jvp, vmap) };
    check(api, status)?;
    with_rules.call(inputs)
}

/// A closure of C's that runs a rule on this thread only, and whose captured values are dropped by it.
macro_rules! rule_closure {
    ($name:ident, $raw:ident, $rule:ident, $new:ident, $free:ident, $run:ident, $drop:ident) => {
        struct $name(sys::$raw);

        impl $name {
            fn local(rule: Box<$rule>) -> Result<Self, NativeError> {
                let api = api()?;
                let payload = thread_bound(rule)?;
                // SAFETY: `payload` is a `ThreadBound` that the callback reads and the destructor frees exactly once.
                let raw = unsafe { api.$new(Some($run), payload, Some($drop)) };
                Ok(Self(raw))
            }

            /// Returns the closure, borrowed for a call; null for none.
            fn raw(closure: Option<&Self>) -> sys::$raw {
                let ctx = std::ptr::null_mut();
                closure.map_or(sys::$raw { ctx }, |closure| closure.0)
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                if !self.0.ctx.is_null()
                    && let Some(api) = loaded_to_free()
                {
                    // SAFETY: this value owns the handle; MLX counts further uses of the closure itself.
                    let _ = unsafe { api.$free(self.0) };
                }
            }
        }

        unsafe extern "C" fn $drop(payload: *mut c_void) {
            // SAFETY: MLX calls this once, with the payload of `local`.
            let rule = unsafe { Box::from_raw(payload.cast::<ThreadBound<Box<$rule>>>()) };
            // A panic in a captured value's `Drop` must not reach C; there is no caller to return it to.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(rule)));
        }
    };
}

rule_closure!(
    VjpClosure,
    mlx_closure_custom,
    VjpRule,
    mlx_closure_custom_new_func_payload,
    mlx_closure_custom_free,
    run_vjp,
    drop_vjp
);
rule_closure!(
    JvpClosure,
    mlx_closure_custom_jvp,
    JvpRule,
    mlx_closure_custom_jvp_new_func_payload,
    mlx_closure_custom_jvp_free,
    run_jvp,
    drop_jvp
);
rule_closure!(
    VmapClosure,
    mlx_closure_custom_vmap,
    VmapRule,
    mlx_closure_custom_vmap_new_func_payload,
    mlx_closure_custom_vmap_free,
    run_vmap,
    drop_vmap
);

unsafe extern "C" fn run_vjp(
    results: *mut sys::mlx_vector_array,
    inputs: sys::mlx_vector_array,
    cotangents: sys::mlx_vector_array,
    outputs: sys::mlx_vector_array,
    payload: *mut c_void,
) -> c_int {
    guarded(|| {
        // SAFETY: MLX passes the payload of `VjpClosure::local`, alive as long as the closure is.
        let rule = unsafe { &*payload.cast::<ThreadBound<Box<VjpRule>>>() };
        let rule = rule.get().ok_or(NativeError::from(STRANGER))?;
        let lists = [
            handles_in(inputs)?,
            handles_in(cotangents)?,
            handles_in(outputs)?,
        ];
        give(results, &rule(lists)?)
    })
}

unsafe extern "C" fn run_jvp(
    results: *mut sys::mlx_vector_array,
    inputs: sys::mlx_vector_array,
    tangents: sys::mlx_vector_array,
    argnums: *const c_int,
    n_argnums: usize,
    payload: *mut c_void,
) -> c_int {
    guarded(|| {
        // SAFETY: MLX passes the payload of `JvpClosure::local`, alive as long as the closure is.
        let rule = unsafe { &*payload.cast::<ThreadBound<Box<JvpRule>>>() };
        let rule = rule.get().ok_or(NativeError::from(STRANGER))?;
        // SAFETY: MLX passes as many numbers as it says, alive for the call.
        let argnums = unsafe { numbers(argnums, n_argnums) };
        give(
            results,
            &rule([handles_in(inputs)?, handles_in(tangents)?], argnums)?,
        )
    })
}

unsafe extern "C" fn run_vmap(
    results: *mut sys::mlx_vector_array,
    result_axes: *mut sys::mlx_vector_int,
    inputs: sys::mlx_vector_array,
    axes: *const c_int,
    n_axes: usize,
    payload: *mut c_void,
) -> c_int {
    guarded(|| {
        // SAFETY: MLX passes the payload of `VmapClosure::local`, alive as long as the closure is.
        let rule = unsafe { &*payload.cast::<ThreadBound<Box<VmapRule>>>() };
        let rule = rule.get().ok_or(NativeError::from(STRANGER))?;
        // SAFETY: MLX passes as many numbers as it says, alive for the call.
        let axes = unsafe { numbers(axes, n_axes) };
        let (outputs, mut output_axes) = rule(handles_in(inputs)?, axes)?;
        give(results, &outputs)?;
        let (data, len) = (output_axes.as_mut_ptr(), output_axes.len());
        // SAFETY: `result_axes` is MLX's slot; the numbers are alive for the call, and C copies them.
        let status = unsafe { loaded().mlx_vector_int_set_data(result_axes, data, len) };
        check(loaded(), status)
    })
}

/// Returns numbers of C's as a slice; none where the pointer is null.
///
/// # Safety
/// There are `len` numbers at `data`, alive as long as the result is used.
unsafe fn numbers<'a>(data: *const c_int, len: usize) -> &'a [c_int] {
    if data.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: the caller promises it.
    unsafe { std::slice::from_raw_parts(data, len) }
}

#[cfg(test)]
mod tests;

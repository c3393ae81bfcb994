//! Kernels in Metal's and CUDA's languages, handed to MLX as text.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::NonNull;
use std::time::Duration;

use mlx_sys as sys;

use super::call::{api, check, loaded_to_free, take_error};
use super::handle::Handle;
use super::vector::Vector;
use crate::dtype::Dtype;
use crate::error::NativeError;
use crate::shape::ArrayType;

/// A kernel as text, with what MLX needs to make a whole function of it.
pub(crate) struct Source<'a> {
    pub(crate) name: &'a CStr,
    pub(crate) input_names: &'a [CString],
    pub(crate) output_names: &'a [CString],
    pub(crate) body: &'a CStr,
    pub(crate) header: &'a CStr,
    pub(crate) ensure_row_contiguous: bool,
}

/// How one application of a kernel runs. Sizes have been checked by the caller.
pub(crate) struct Launch<'a> {
    pub(crate) grid: [c_int; 3],
    pub(crate) threadgroup: [c_int; 3],
    pub(crate) outputs: &'a [ArrayType],
    pub(crate) template: &'a [(CString, TemplateValue)],
    pub(crate) init_value: Option<f32>,
    pub(crate) verbose: bool,
}

/// The value of a template argument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum TemplateValue {
    Dtype(Dtype),
    Int(c_int),
    Bool(bool),
}

/// An `mlx_vector_string` owned by this value.
struct Names(sys::mlx_vector_string);

impl Names {
    fn new(names: &[CString]) -> Result<Self, NativeError> {
        let api = api()?;
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        // SAFETY: `pointers` holds as many texts as told, alive for the call; C copies them.
        let raw = unsafe { api.mlx_vector_string_new_data(pointers.as_mut_ptr(), pointers.len()) };
        if raw.ctx.is_null() {
            return Err(take_error(api));
        }
        Ok(Self(raw))
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        if let Some(api) = loaded_to_free() {
            // SAFETY: this value owns the list, and nothing uses it after this.
            let _ = unsafe { api.mlx_vector_string_free(self.0) };
        }
    }
}

// Metal and CUDA have the same interface under two prefixes, so both are written once.
// SAFETY (of each block): texts and lists are alive for the call and copied by C; a handle is not null (checked
// when it is made), owned by one Rust value and freed once, by its `Drop`.
macro_rules! language {
    ($apply:ident, $kernel:ident, $config:ident, $option:ty,
        $is_available:ident / $c_is_available:ident, $kernel_new:ident, $kernel_free:ident, $kernel_apply:ident,
        $config_new:ident, $config_free:ident, $add_output:ident, $set_grid:ident, $set_threads:ident,
        $set_init:ident, $set_verbose:ident, $add_dtype:ident, $add_int:ident, $add_bool:ident) => {
        struct $kernel(sys::$kernel);

        impl Drop for $kernel {
            fn drop(&mut self) {
                if let Some(api) = loaded_to_free() {
                    // SAFETY: see above `language`.
                    unsafe { api.$kernel_free(self.0) };
                }
            }
        }

        struct $config(sys::$config);

        impl Drop for $config {
            fn drop(&mut self) {
                if let Some(api) = loaded_to_free() {
                    // SAFETY: see above `language`.
                    unsafe { api.$config_free(self.0) };
                }
            }
        }

        impl $kernel {
            fn new(source: &Source<'_>, option: $option) -> Result<Self, NativeError> {
                let api = api()?;
                let (inputs, outputs) = (
                    Names::new(source.input_names)?,
                    Names::new(source.output_names)?,
                );
                // SAFETY: see above `language`.
                let raw = unsafe {
                    api.$kernel_new(
                        source.name.as_ptr(),
                        inputs.0,
                        outputs.0,
                        source.body.as_ptr(),
                        source.header.as_ptr(),
                        source.ensure_row_contiguous,
                        option,
                    )
                };
                if raw.ctx.is_null() {
                    return Err(take_error(api));
                }
                Ok(Self(raw))
            }
        }

        impl $config {
            fn new(launch: &Launch<'_>) -> Result<Self, NativeError> {
                let api = api()?;
                // SAFETY: see above `language`.
                let config = Self(unsafe { api.$config_new() });
                if config.0.ctx.is_null() {
                    return Err(take_error(api));
                }
                for output in launch.outputs {
                    let (shape, len) = (output.shape.as_ptr(), output.shape.len());
                    let dtype = output.dtype.raw();
                    // SAFETY: see above `language`.
                    check(api, unsafe { api.$add_output(config.0, shape, len, dtype) })?;
                }
                let [x, y, z] = launch.grid;
                // SAFETY: see above `language`.
                check(api, unsafe { api.$set_grid(config.0, x, y, z) })?;
                let [x, y, z] = launch.threadgroup;
                // SAFETY: see above `language`.
                check(api, unsafe { api.$set_threads(config.0, x, y, z) })?;
                if let Some(value) = launch.init_value {
                    // SAFETY: see above `language`.
                    check(api, unsafe { api.$set_init(config.0, value) })?;
                }
                // SAFETY: see above `language`.
                check(api, unsafe { api.$set_verbose(config.0, launch.verbose) })?;
                for (name, value) in launch.template {
                    let name = name.as_ptr();
                    // SAFETY: see above `language`.
                    let status = unsafe {
                        match *value {
                            TemplateValue::Dtype(dtype) => {
                                api.$add_dtype(config.0, name, dtype.raw())
                            }
                            TemplateValue::Int(value) => api.$add_int(config.0, name, value),
                            TemplateValue::Bool(value) => api.$add_bool(config.0, name, value),
                        }
                    };
                    check(api, status)?;
                }
                Ok(config)
            }
        }

        /// Builds the (lazy) application of a kernel to `inputs` on the GPU stream `stream`.
        pub(crate) fn $apply(
            source: &Source<'_>,
            option: $option,
            launch: &Launch<'_>,
            inputs: &[sys::mlx_array],
            stream: sys::mlx_stream,
        ) -> Result<Vec<Handle>, NativeError> {
            let api = api()?;
            let (kernel, config) = ($kernel::new(source, option)?, $config::new(launch)?);
            let (inputs, mut results) = (Vector::of(inputs)?, Vector::new()?);
            // SAFETY: see above `language`; MLX copies what it needs of kernel and configuration.
            let status = unsafe {
                api.$kernel_apply(results.slot(), kernel.0, inputs.raw(), config.0, stream)
            };
            check(api, status)?;
            results.handles()
        }

        /// Returns whether the loaded MLX runs this language on this machine.
        pub(crate) fn $is_available() -> Result<bool, NativeError> {
            let api = api()?;
            let mut out = false;
            // SAFETY: `out` is a local bool.
            check(api, unsafe { api.$c_is_available(&mut out) })?;
            Ok(out)
        }
    };
}

#[allow(non_camel_case_types)]
mod metal {
    use super::*;
    language!(
        apply_metal,
        mlx_fast_metal_kernel,
        mlx_fast_metal_kernel_config,
        bool,
        is_metal_available / mlx_metal_is_available,
        mlx_fast_metal_kernel_new,
        mlx_fast_metal_kernel_free,
        mlx_fast_metal_kernel_apply,
        mlx_fast_metal_kernel_config_new,
        mlx_fast_metal_kernel_config_free,
        mlx_fast_metal_kernel_config_add_output_arg,
        mlx_fast_metal_kernel_config_set_grid,
        mlx_fast_metal_kernel_config_set_thread_group,
        mlx_fast_metal_kernel_config_set_init_value,
        mlx_fast_metal_kernel_config_set_verbose,
        mlx_fast_metal_kernel_config_add_template_arg_dtype,
        mlx_fast_metal_kernel_config_add_template_arg_int,
        mlx_fast_metal_kernel_config_add_template_arg_bool
    );
}

#[allow(non_camel_case_types)]
mod cuda {
    use super::*;
    language!(
        apply_cuda,
        mlx_fast_cuda_kernel,
        mlx_fast_cuda_kernel_config,
        c_int,
        is_cuda_available / mlx_cuda_is_available,
        mlx_fast_cuda_kernel_new,
        mlx_fast_cuda_kernel_free,
        mlx_fast_cuda_kernel_apply,
        mlx_fast_cuda_kernel_config_new,
        mlx_fast_cuda_kernel_config_free,
        mlx_fast_cuda_kernel_config_add_output_arg,
        mlx_fast_cuda_kernel_config_set_grid,
        mlx_fast_cuda_kernel_config_set_thread_group,
        mlx_fast_cuda_kernel_config_set_init_value,
        mlx_fast_cuda_kernel_config_set_verbose,
        mlx_fast_cuda_kernel_config_add_template_arg_dtype,
        mlx_fast_cuda_kernel_config_add_template_arg_int,
        mlx_fast_cuda_kernel_config_add_template_arg_bool
    );
}

/// Returns whether kernels of the native library compute on CUDA streams of this process.
pub(crate) fn has_cuda_kernels() -> bool {
    // SAFETY: takes nothing, and may be called on any thread.
    api().is_ok_and(|api| unsafe { api.mlx_native_cuda_kernels() })
}

/// Returns how often those kernels have computed in the place of the class of MLX's with this name.
pub(crate) fn cuda_kernel_runs(name: &CStr) -> Result<u64, NativeError> {
    // SAFETY: the text is alive for the call, which only reads it.
    Ok(unsafe { api()?.mlx_native_cuda_kernel_runs(name.as_ptr()) })
}

/// A moment on the GPU's clock.
pub(crate) struct Moment(NonNull<c_void>);

impl Moment {
    /// The moment at which the GPU has done what this thread gave to it so far; none where the GPU has no such clock.
    pub(crate) fn now() -> Result<Option<Self>, NativeError> {
        let api = api()?;
        let mut moment = std::ptr::null_mut();
        // SAFETY: the result is written before the call returns.
        let status = unsafe { api.mlx_native_gpu_moment(&mut moment) };
        let moment = NonNull::new(moment).map(Self);
        check(api, status)?;
        Ok(moment)
    }

    /// Waits for this moment and returns the time since an earlier one.
    pub(crate) fn since(&self, start: &Self) -> Result<Duration, NativeError> {
        let api = api()?;
        let mut microseconds = 0.0;
        // SAFETY: both moments are alive; the result is written before the call returns.
        let status = unsafe {
            api.mlx_native_gpu_time_between(&mut microseconds, start.0.as_ptr(), self.0.as_ptr())
        };
        check(api, status)?;
        Ok(Duration::from_secs_f64(microseconds.max(0.0) / 1e6))
    }
}

impl Drop for Moment {
    fn drop(&mut self) {
        if let Ok(api) = api() {
            // SAFETY: made by `now` and freed once.
            unsafe { api.mlx_native_gpu_moment_free(self.0.as_ptr()) };
        }
    }
}

pub(crate) use cuda::{apply_cuda, is_cuda_available};
pub(crate) use metal::{apply_metal, is_metal_available};

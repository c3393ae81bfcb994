//! Apple's MLX for Rust: lazy arrays, fused transformer kernels, on Metal, CUDA and CPU.
//!
//! ```
//! use mlx::{Array, array, fast, keepdims};
//!
//! # fn main() -> mlx::Result<()> {
//! let x = array!([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
//! let weight = array!([1.0, 1.0, 1.0]);
//! let composed = &x * (x.square().mean(keepdims(-1)) + 1e-6).rsqrt() * &weight;
//! let fused = fast::rms_norm(&x, &weight, 1e-6);
//! assert!((composed - fused).abs().max(()).item::<f32>()? < 1e-5);
//! # Ok(())
//! # }
//! ```
//!
//! Nothing is computed until [`eval`], [`Array::item`] or another call that needs values. Operations never panic:
//! one that rejects its inputs gives an [`Array`] that carries the error, which the next call returning [`Result`]
//! reports. Names and defaults are those of Python's `mlx.core`.
#![deny(unsafe_code)]

// The derive macro writes `::mlx`, in this crate too.
extern crate self as mlx;

mod array;
mod bind;
mod compiled;
#[doc(hidden)]
pub mod compiler_api;
#[doc(hidden)]
pub mod cpu;
mod device;
pub mod distributed;
#[cfg(feature = "dlpack")]
pub mod dlpack;
mod dtype;
mod dtype_names;
mod error;
mod eval;
mod export;
pub mod fast;
mod ffi;
pub mod fft;
pub mod index;
mod init;
pub mod io;
pub mod linalg;
mod local;
mod macros;
pub mod memory;
pub mod metal;
mod op;
mod ops;
#[doc(hidden)]
pub mod program;
mod qqmm;
pub mod random;
mod renamed;
mod shape;
mod shared;
/// The old name of [`compiler_api`], until the next version.
#[doc(hidden)]
#[deprecated(note = "renamed to `mlx::compiler_api`")]
pub mod trace {
    pub use crate::compiler_api::{
        OpCall as Call, Recorder, record_on, record_on_all, recorders, type_of, without_recording,
    };
}
pub mod transforms;
pub mod tree;
/// The functions of trees under Python's name of their module, `mlx.utils`.
pub mod utils {
    pub use crate::tree::{
        tree_flatten, tree_map, tree_map_with_path, tree_merge, tree_reduce, tree_unflatten,
    };
}
mod validate;
mod workaround;
mod worker;

/// Called once, before the first call into the native library. Here, because `ffi` is below everything that it sets up.
pub(crate) const SET_UP: fn(&'static mlx_sys::Api) = init::set_up;

pub use array::{Array, IntoArray, Operand, RowIter, Scalar};
pub use bind::{bind, bind_all};
#[doc(hidden)]
pub use compiled::compile;
pub use device::{
    Device, Device as DeviceType, DeviceInfo, Stream, default_device, default_stream, device_count,
    device_info, set_default_device, with_device, with_stream,
};
pub use dtype::{Complex64, Dtype, DtypeKind, Element, FromElement};
pub use dtype_names::*;
pub use error::{Error, OpError, Result};
pub use eval::{async_eval, depends, eval, synchronize};
/// Half precision as Rust types, for `to_vec::<mlx::f16>()`.
pub use half::{bf16, f16};
pub use index::{
    Ellipsis, Index, NewAxis, RangeExt, Slice, Unique, newaxis, put_along_axis, slice,
    slice_update, take, take_along_axis,
};
pub use io::{
    load, load_gguf, load_npy, load_npz, load_safetensors, save, save_gguf, save_safetensors,
    savez, savez_compressed,
};
pub use memory::{
    clear_cache, get_active_memory, get_cache_memory, get_peak_memory, reset_peak_memory,
    set_cache_limit, set_memory_limit, set_wired_limit,
};
/// Makes a struct or an enum a [`Tree`](trait@Tree) of arrays.
pub use mlx_derive::Tree;
pub use op::{FftNorm, MeshIndexing, Op, PadMode, QuantizationMode, SearchSide, Triangle};
pub use ops::where_ as r#where;
pub use ops::where_ as select;
pub use ops::*;
pub use qqmm::{QqmmOptions, QqmmWeights, gather_qqmm, qqmm};
#[doc(hidden)]
#[allow(deprecated)]
pub use renamed::*;
pub use shape::{
    ArrayType, Axes, Integer, Reduction, Shape, Size, VarianceOptions, axis_index, keepdims,
};
pub use shared::SharedArray;
pub use transforms::{
    checkpoint, custom_function, custom_vjp, grad, grad_of, jvp, value_and_grad, value_and_grad_of,
    vjp, vmap,
};
pub use tree::{
    ArrayList, Tree, tree_flatten, tree_map, tree_map_with_path, tree_map_with_rest, tree_merge,
    tree_merge_with, tree_reduce, tree_unflatten,
};
pub use worker::{Pending, Worker, WorkerPool};

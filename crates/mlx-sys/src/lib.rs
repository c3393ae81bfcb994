//! Bindings to mlx-c and to the native library of this workspace, and a loader that finds both at run time.
//!
//! [`api`] loads the libraries on its first call and returns every C function as a method of [`Api`].
//! Nothing is linked: a program starts without MLX and learns from [`LoadError`] what is missing and how to get it.
//!
//! The libraries are looked for in this order:
//! 1. `MLX_LIB_DIR`;
//! 2. the folder of the executable and `../lib` beside it;
//! 3. the stage folder `MLX_BUILD_DIR`, then the one this crate was built with;
//! 4. the user's cache.
//!
//! In a stage folder `MLX_BACKEND` selects among several builds of MLX; `MLX_DIR` replaces MLX's own library. On Linux
//! OpenBLAS is loaded before MLX, so that MLX calls it instead of the slow BLAS inside its wheel (`MLX_BLAS=bundled`
//! keeps that one).
//!
//! Every variable is described in [`mlx_provision::environment`].

mod bindings;
mod blas;
mod budgets;
mod cuda;
mod error;
mod load;
mod open;
mod search;
mod versions;

pub use bindings::*;
pub use blas::Blas;
pub use budgets::Budgets;
pub use error::{LoadError, SET_UP};
pub use load::{Loaded, Versions, api, loaded};
pub use open::open_library;

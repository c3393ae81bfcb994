//! Bindings to mlx-c and to the native library of this workspace, and a loader that finds both at run time.
//!
//! [`api`] loads the libraries on its first call and returns every C function as a method of [`Api`].
//! Nothing is linked: a program starts without MLX and learns from [`LoadError`] what is missing and how to get it.

mod bindings;
mod error;
mod layout;
mod load;
mod open;

pub use bindings::*;
pub use error::LoadError;
pub use load::{Loaded, api, loaded};

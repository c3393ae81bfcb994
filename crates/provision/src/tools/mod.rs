//! The programs and libraries that the native build and bindgen need.

pub(crate) mod cmake;
pub(crate) mod compiler;
pub(crate) mod libclang;

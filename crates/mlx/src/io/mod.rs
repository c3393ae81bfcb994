//! Arrays in files: safetensors, alone or sharded over a folder, NumPy's npy and npz, and GGUF.
//!
//! ```
//! use mlx::{array, io};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("weights.safetensors");
//! io::save_safetensors(&path, [("scale", &array!([1.0, 2.0]))])?;
//! let weights = io::load_safetensors(&path)?.arrays;
//! assert_eq!(weights["scale"].to_vec::<f32>()?, [1.0, 2.0]);
//! # Ok(())
//! # }
//! ```
//!
//! [`load`] tells the formats apart by the extension, [`load_from`] reads any of them from bytes or a [`Read`](std::io::Read);
//! [`save_npy_to`], [`save_npz_to`], [`save_safetensors_to`] and [`save_gguf_to`] write to a [`Write`](std::io::Write).
//!
//! # Loading
//! Headers are read and checked at once: names, types, shapes, and that the file is as long as they say. The elements
//! of safetensors, npy and GGUF files are read when the array is computed, each at its place in the file, which stays open
//! until then; what is never used is never read. The file is not mapped into memory: if it is cut short or
//! overwritten before an array is computed, `eval` says so, where a mapping would end the process. A member of an npz
//! is decompressed and checked against its checksum when it is loaded.
//!
//! A file that is missing, cut short, not of its format or claims what cannot be is an [`Error::Io`]
//! with the path, and never a large allocation.
//!
//! # Saving
//! A file is written under another name in the same folder and then renamed, so a reader sees the old one or the new
//! one whole, and arrays loaded from the old one can still be computed.

mod cursor;
mod formats;
pub mod gguf;
mod lazy;
mod named;
mod npy;
mod npz;
mod safetensors;
mod sharded;
mod source;
mod write;

pub use cursor::SourceCursor;
pub use formats::{Loaded, load, load_from};
pub use gguf::{GgufValue, LoadedGguf, load_gguf, save_gguf, save_gguf_to};
pub use named::NamedArray;
pub use npy::{load_npy, save_npy, save_npy as save, save_npy_to};
pub use npz::{
    load_npz, save_npz, save_npz as savez, save_npz_compressed,
    save_npz_compressed as savez_compressed, save_npz_to,
};
pub use safetensors::{
    Safetensors, load_safetensors, save_safetensors, save_safetensors_to, save_safetensors_with,
};
pub use sharded::{load_sharded, save_sharded};
pub use source::Source;

use std::path::Path;

use crate::Error;

/// Returns the error of reading or writing a file.
fn fault(op: &'static str, path: &Path, message: impl ToString) -> Error {
    Error::Io {
        op,
        path: path.to_owned(),
        message: message.to_string(),
    }
}

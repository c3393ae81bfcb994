//! MLX's own text of a lazy graph: which primitives will run, and on which arrays.

use std::ffi::{CString, c_char};

use mlx_sys as sys;

use super::call::{api, check, loaded_to_free};
use super::handle::Handle;
use super::vector::Vector;
use crate::error::NativeError;

/// Names of arrays in a text, owned by this value.
struct Namer(sys::mlx_node_namer);

impl Drop for Namer {
    fn drop(&mut self) {
        if let Some(api) = loaded_to_free() {
            // SAFETY: this value owns the names, and nothing uses them after this.
            let _ = unsafe { api.mlx_node_namer_free(self.0) };
        }
    }
}

/// A file of C in memory.
#[cfg(unix)]
struct Memory {
    file: *mut libc::FILE,
    text: Box<(*mut c_char, usize)>,
}

#[cfg(unix)]
impl Memory {
    fn new() -> Result<Self, NativeError> {
        let mut text = Box::new((std::ptr::null_mut(), 0));
        // SAFETY: both places are in a box that lives until the file is closed.
        let file = unsafe { libc::open_memstream(&raw mut text.0, &raw mut text.1) };
        match file.is_null() {
            true => Err(NativeError::from("no memory for a text")),
            false => Ok(Self { file, text }),
        }
    }

    /// Returns what was written so far.
    fn read(&self) -> String {
        // SAFETY: the file is open.
        let status = unsafe { libc::fflush(self.file) };
        if status != 0 || self.text.0.is_null() {
            return String::new();
        }
        // SAFETY: a flushed file in memory has this many bytes at this place until it is written to again.
        let bytes = unsafe { std::slice::from_raw_parts(self.text.0.cast::<u8>(), self.text.1) };
        String::from_utf8_lossy(bytes).into_owned()
    }
}

#[cfg(unix)]
impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: this value owns the file, which is open.
        let _ = unsafe { libc::fclose(self.file) };
        // SAFETY: the text was allocated by C, and belongs to the one that opened the file; null may be freed too.
        unsafe { libc::free(self.text.0.cast()) };
    }
}

/// Returns the graph that computes `outputs`, in MLX's words; `names` are those of arrays.
///
/// One line each: inputs, outputs, then every primitive with what it takes and gives.
#[cfg(unix)]
pub(crate) fn graph_text(
    outputs: &[&Handle],
    names: &[(&Handle, String)],
) -> Result<String, NativeError> {
    let api = api()?;
    // SAFETY: takes nothing; the new names are owned by `namer`.
    let namer = Namer(unsafe { api.mlx_node_namer_new() });
    for (handle, name) in names {
        let name = CString::new(name.as_str())
            .map_err(|_| NativeError::from("a name with a zero byte"))?;
        // SAFETY: names, array and text are alive for the call, which copies the text.
        let status = unsafe { api.mlx_node_namer_set_name(namer.0, handle.raw(), name.as_ptr()) };
        check(api, status)?;
    }
    let outputs = Vector::of_handles(outputs.iter().copied())?;
    let memory = Memory::new()?;
    // SAFETY: file, names and list are alive for the call, which writes to the file.
    let status = unsafe { api.mlx_print_graph(memory.file.cast(), namer.0, outputs.raw()) };
    check(api, status)?;
    Ok(memory.read())
}

/// As on Unix; elsewhere there are no files in memory.
#[cfg(not(unix))]
pub(crate) fn graph_text(_: &[&Handle], _: &[(&Handle, String)]) -> Result<String, NativeError> {
    Err(NativeError::from(
        "a graph's text needs a file in memory, which Unix has",
    ))
}

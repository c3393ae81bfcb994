//! Opening one library, with its names visible to later ones or not.

use std::path::Path;

use libloading::Library;

use crate::LoadError;

/// Whether later libraries see the names of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    Global,
    Local,
}

/// Opens the library at `path`, or the one of that name in the system's places when `path` has no folder.
pub(crate) fn open(path: &Path, names: Names) -> Result<Library, LoadError> {
    // SAFETY: only libraries of MLX, of what it needs and of MPI are opened here; what they run when they are loaded needs
    // nothing from the caller.
    let library = unsafe { open_with(path, names) };
    library.map_err(|error| LoadError::Open {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// Opens a library of the system that MLX's own code would open, as MPI, with its names visible to later ones.
///
/// # Errors
/// [`LoadError::Open`] when there is none.
pub fn open_library(path: &Path) -> Result<Library, LoadError> {
    open(path, Names::Global)
}

/// Opens a library that stays until the end of the process: what it exports is used by name from then on.
pub(crate) fn open_for_good(path: &Path, names: Names) -> Result<(), LoadError> {
    open(path, names).map(std::mem::forget)
}

#[cfg(unix)]
unsafe fn open_with(path: &Path, names: Names) -> Result<Library, libloading::Error> {
    use libloading::os::unix::{Library as UnixLibrary, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW};
    let visible = match names {
        Names::Global => RTLD_GLOBAL,
        Names::Local => RTLD_LOCAL,
    };
    // SAFETY: the caller's.
    unsafe { UnixLibrary::open(Some(path), RTLD_NOW | visible) }.map(Library::from)
}

#[cfg(not(unix))]
unsafe fn open_with(path: &Path, _: Names) -> Result<Library, libloading::Error> {
    // SAFETY: the caller's.
    unsafe { Library::new(path) }
}

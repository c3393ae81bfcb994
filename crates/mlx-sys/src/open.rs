//! Opening one library, with its names visible to later ones or not.

use std::path::Path;

use libloading::Library;
use libloading::os::unix::{Library as UnixLibrary, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW};

use crate::LoadError;

/// Whether later libraries see the names of this one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    Global,
    Local,
}

/// Opens `path` and never closes it.
pub(crate) fn open(path: &Path, names: Names) -> Result<Library, LoadError> {
    let flags = RTLD_NOW
        | if names == Names::Global {
            RTLD_GLOBAL
        } else {
            RTLD_LOCAL
        };
    // SAFETY: the libraries are ours or MLX's; their initialisers need nothing from the caller.
    let library = unsafe { UnixLibrary::open(Some(path), flags) };
    library.map(Library::from).map_err(|error| LoadError::Open {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

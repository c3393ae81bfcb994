//! What versions a loaded library says it has, and whether they are those of the bindings.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;

use libloading::Library;

use crate::LoadError;

/// The versions of what was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The version of MLX's library.
    pub mlx: String,
    /// The version of mlx-c.
    pub mlxc: String,
    /// The version of our own functions.
    pub native: u32,
}

/// `mlx_string` of mlx-c, declared here because the check comes before the bindings are trusted.
#[repr(C)]
struct Text {
    ctx: *mut c_void,
}

/// Reads the versions out of the library of mlx-c and compares them with the bindings.
pub(crate) fn check(library: &Library, path: &Path, mlx: &Path) -> Result<Versions, LoadError> {
    let found = read(library).map_err(|error| LoadError::Symbol {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    let differs = |what, wanted: &str, got: &str, path: &Path| LoadError::Version {
        what,
        wanted: wanted.to_owned(),
        got: got.to_owned(),
        path: path.to_owned(),
    };
    let wanted = (env!("MLX_SYS_MLX_VERSION"), env!("MLX_SYS_MLXC_VERSION"));
    if found.versions.mlx != wanted.0 {
        return Err(differs("MLX", wanted.0, &found.versions.mlx, mlx));
    }
    if found.compiled_mlx != wanted.0 {
        return Err(differs(
            "headers of MLX",
            wanted.0,
            &found.compiled_mlx,
            path,
        ));
    }
    if found.versions.mlxc != wanted.1 {
        return Err(differs("mlx-c", wanted.1, &found.versions.mlxc, path));
    }
    if found.versions.native != crate::MLX_NATIVE_VERSION {
        let (wanted, got) = (crate::MLX_NATIVE_VERSION, found.versions.native);
        return Err(differs(
            "native functions",
            &wanted.to_string(),
            &got.to_string(),
            path,
        ));
    }
    Ok(found.versions)
}

struct Read {
    versions: Versions,
    compiled_mlx: String,
}

fn read(library: &Library) -> Result<Read, libloading::Error> {
    type Name = unsafe extern "C" fn() -> *const c_char;
    // SAFETY: the types are those of `mlx_native.h` and of mlx-c's `version.h` and `string.h`, which have not changed
    // since the functions exist.
    let (compiled_mlx, compiled_mlxc, native, version, data, free) = unsafe {
        (
            *library.get::<Name>(b"mlx_native_compiled_mlx_version")?,
            *library.get::<Name>(b"mlx_native_compiled_mlxc_version")?,
            *library.get::<unsafe extern "C" fn() -> c_int>(b"mlx_native_version")?,
            *library.get::<unsafe extern "C" fn(*mut Text) -> c_int>(b"mlx_version")?,
            *library.get::<unsafe extern "C" fn(Text) -> *const c_char>(b"mlx_string_data")?,
            *library.get::<unsafe extern "C" fn(Text) -> c_int>(b"mlx_string_free")?,
        )
    };
    let mut text = Text {
        ctx: std::ptr::null_mut(),
    };
    // SAFETY: `text` is empty, so that the call allocates it; it is freed below after its characters were copied.
    let status = unsafe { version(&raw mut text) };
    let mlx = if status == 0 {
        // SAFETY: the call succeeded, so that `text` holds a string that ends with a zero.
        unsafe { copy(data(Text { ctx: text.ctx })) }
    } else {
        "of an unknown version".to_owned()
    };
    // SAFETY: `text` is ours and not used again; freeing an empty one is allowed.
    unsafe { free(text) };
    // SAFETY: both return string constants of the library, and the number has no conditions.
    let (compiled_mlx, mlxc, native) =
        unsafe { (copy(compiled_mlx()), copy(compiled_mlxc()), native()) };
    Ok(Read {
        versions: Versions {
            mlx,
            mlxc,
            native: native.unsigned_abs(),
        },
        compiled_mlx,
    })
}

/// Copies a C string.
///
/// # Safety
/// `text` points to characters that end with a zero.
unsafe fn copy(text: *const c_char) -> String {
    // SAFETY: the caller's.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

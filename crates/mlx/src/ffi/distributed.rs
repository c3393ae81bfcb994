//! Groups of processes by name, which the native library keeps, and communication as a Rust function.

use std::ffi::{CStr, CString, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mlx_sys as sys;

use super::call::{api, check};
use super::closure::{panic_text, set_error};
use crate::dtype::Dtype;
use crate::error::NativeError;

/// What is communicated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CollectiveKind {
    AllSum,
    AllMax,
    AllMin,
    AllGather,
    SumScatter,
    Send,
    Recv,
}

impl CollectiveKind {
    fn of(kind: sys::mlx_native_collective_kind) -> Option<Self> {
        Some(match kind {
            sys::mlx_native_collective_kind__MLX_NATIVE_ALL_SUM => Self::AllSum,
            sys::mlx_native_collective_kind__MLX_NATIVE_ALL_MAX => Self::AllMax,
            sys::mlx_native_collective_kind__MLX_NATIVE_ALL_MIN => Self::AllMin,
            sys::mlx_native_collective_kind__MLX_NATIVE_ALL_GATHER => Self::AllGather,
            sys::mlx_native_collective_kind__MLX_NATIVE_SUM_SCATTER => Self::SumScatter,
            sys::mlx_native_collective_kind__MLX_NATIVE_SEND => Self::Send,
            sys::mlx_native_collective_kind__MLX_NATIVE_RECV => Self::Recv,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AllSum => "all_sum",
            Self::AllMax => "all_max",
            Self::AllMin => "all_min",
            Self::AllGather => "all_gather",
            Self::SumScatter => "sum_scatter",
            Self::Send => "send",
            Self::Recv => "recv",
        }
    }
}

/// One communication.
pub(crate) struct CollectiveCall<'a> {
    pub(crate) kind: CollectiveKind,
    /// The other rank of `send` and `recv`.
    pub(crate) peer: usize,
    /// The type of the input, or of what is received.
    pub(crate) dtype: Dtype,
    pub(crate) shape: &'a [i32],
    /// What this rank gives; none of `recv`, and where the output starts as it.
    pub(crate) input: Option<&'a [u8]>,
    /// Empty of `send`.
    pub(crate) output: &'a mut [u8],
}

/// A group whose communication is written in Rust.
pub(crate) trait Collective: Send + Sync + 'static {
    /// Runs a communication on a CPU stream's thread.
    fn run(&self, call: CollectiveCall<'_>) -> Result<(), String>;
    /// Forms a part of the group with all ranks that give the same color, and returns its name.
    fn split(&self, color: i32, key: i32) -> Result<String, String>;
}

type Payload = Box<dyn Collective>;

/// Gives a name to a group that communicates by `collective`. Both live as long as the process.
pub(crate) fn register(
    name: &str,
    rank: usize,
    size: usize,
    collective: impl Collective,
) -> Result<(), NativeError> {
    let api = api()?;
    let name = c_name(name);
    let payload: Box<Payload> = Box::new(Box::new(collective));
    let payload = Box::into_raw(payload).cast::<c_void>();
    // SAFETY: the name is alive for the call and copied; the payload is the library's from here on, which frees it with
    // `free` and hands it to `run` only.
    let status = unsafe {
        api.mlx_native_group_new(
            name.as_ptr(),
            to_int(rank),
            to_int(size),
            Some(run),
            payload,
            Some(free),
        )
    };
    check(api, status)
}

/// Forms MLX's own group of a backend and returns its rank and size; it has the name if there are several ranks.
pub(crate) fn form_of_mlx(
    name: &str,
    backend: &str,
    strict: bool,
) -> Result<(usize, usize), NativeError> {
    let api = api()?;
    let (name, backend) = (c_name(name), c_name(backend));
    let (mut rank, mut size) = (0, 1);
    // SAFETY: texts are alive for the call; rank and size are written before it returns.
    let status = unsafe {
        api.mlx_native_group_of_mlx(
            name.as_ptr(),
            backend.as_ptr(),
            strict,
            &mut rank,
            &mut size,
        )
    };
    check(api, status)?;
    Ok((to_count(rank), to_count(size)))
}

/// Splits a group: one of Rust by its `split`, one of MLX's own by MLX's. Returns the name of this rank's part.
pub(crate) fn split(name: &str, part: &str, color: i32, key: i32) -> Result<String, NativeError> {
    let api = api()?;
    let (c_name, c_part) = (c_name(name), c_name(part));
    // SAFETY: the name is alive for the call.
    let payload = unsafe { api.mlx_native_group_payload(c_name.as_ptr()) };
    if payload.is_null() {
        // SAFETY: texts are alive for the call.
        let status =
            unsafe { api.mlx_native_group_split(c_name.as_ptr(), c_part.as_ptr(), color, key) };
        check(api, status)?;
        return Ok(part.to_owned());
    }
    // SAFETY: made by `register`, of which groups live as long as the process.
    let collective = unsafe { &*payload.cast::<Payload>() };
    collective.split(color, key).map_err(NativeError)
}

/// Returns the rank and size of the group with this name.
pub(crate) fn rank_and_size(name: &str) -> Result<Option<(usize, usize)>, NativeError> {
    let api = api()?;
    let group = handle(name);
    if group.ctx.is_null() {
        return Ok(None);
    }
    // SAFETY: a group lives as long as the process.
    let rank = unsafe { api.mlx_distributed_group_rank(group) };
    // SAFETY: as above.
    let size = unsafe { api.mlx_distributed_group_size(group) };
    Ok(Some((to_count(rank), to_count(size))))
}

/// Returns the group with this name, which is never freed; empty when there is none.
pub(crate) fn handle(name: impl AsRef<str>) -> sys::mlx_distributed_group {
    let name = c_name(name.as_ref());
    match api() {
        // SAFETY: the name is alive for the call.
        Ok(api) => unsafe { api.mlx_native_group(name.as_ptr()) },
        Err(_) => sys::mlx_distributed_group {
            ctx: std::ptr::null_mut(),
        },
    }
}

/// Returns the name of the group that a backend stands for.
pub(crate) fn current(backend: &str) -> Result<Option<String>, NativeError> {
    let api = api()?;
    let backend = c_name(backend);
    // SAFETY: the name is alive for the call.
    let name = unsafe { api.mlx_native_group_current(backend.as_ptr()) };
    if name.is_null() {
        return Ok(None);
    }
    // SAFETY: a text of the library that lives as long as the process.
    let name = unsafe { CStr::from_ptr(name) };
    Ok(Some(name.to_string_lossy().into_owned()))
}

/// Makes a backend stand for a group.
pub(crate) fn set_current(backend: &str, name: &str) -> Result<(), NativeError> {
    let (backend, name) = (c_name(backend), c_name(name));
    // SAFETY: texts are alive for the call and copied.
    unsafe { api()?.mlx_native_group_set_current(backend.as_ptr(), name.as_ptr()) };
    Ok(())
}

/// Makes no backend stand for the group any more.
pub(crate) fn retire(name: &str) {
    let name = c_name(name);
    if let Ok(api) = api() {
        // SAFETY: the name is alive for the call.
        unsafe { api.mlx_native_group_retire(name.as_ptr()) };
    }
}

/// Returns how many names were asked for before.
pub(crate) fn count() -> Result<u64, NativeError> {
    // SAFETY: counts.
    Ok(unsafe { api()?.mlx_native_group_count() })
}

/// Returns whether MLX has a backend.
pub(crate) fn is_available(backend: &str) -> Result<bool, NativeError> {
    let api = api()?;
    let backend = c_name(backend);
    // SAFETY: the name is alive for the call.
    Ok(unsafe { api.mlx_distributed_is_available(backend.as_ptr()) })
}

/// The name without zero bytes, which no name of a group or backend has.
fn c_name(name: &str) -> CString {
    CString::new(name.replace('\0', "")).unwrap_or_default()
}

fn to_int(number: usize) -> c_int {
    c_int::try_from(number).unwrap_or(c_int::MAX)
}

fn to_count(number: c_int) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// Frees the payload of a group that could not be registered.
extern "C" fn free(payload: *mut c_void) {
    if !payload.is_null() {
        // SAFETY: made by `register` from a box of this type, and freed once.
        let payload = unsafe { Box::from_raw(payload.cast::<Payload>()) };
        let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    }
}

/// Runs a communication for the native library.
extern "C" fn run(payload: *mut c_void, call: *const sys::mlx_native_collective_call) -> c_int {
    let ran = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: made by `register`, of which groups live as long as the process.
        let collective = unsafe { &*payload.cast::<Payload>() };
        // SAFETY: the library describes one call, which lives until this function returns.
        let call = unsafe { &*call };
        let Some(kind) = CollectiveKind::of(call.kind) else {
            return Err("distributed: a communication of an unknown kind".to_owned());
        };
        let is_separate = !call.input.is_null() && call.input != call.output.cast_const();
        // SAFETY: the call's shape has `ndim` sizes and lives as long as it.
        let shape = unsafe { slice(call.shape, call.ndim) };
        // SAFETY: this many bytes of an evaluated array that nobody writes meanwhile, and that are not the output's.
        let input = is_separate.then(|| unsafe { slice(call.input.cast(), call.input_size) });
        // SAFETY: this many bytes that nobody else touches meanwhile.
        let output = unsafe { slice_mut(call.output.cast::<u8>(), call.output_size) };
        collective.run(CollectiveCall {
            kind,
            peer: to_count(call.peer),
            dtype: Dtype::from_raw(call.dtype),
            shape,
            input,
            output,
        })
    }));
    match ran {
        Ok(Ok(())) => 0,
        Ok(Err(text)) => {
            set_error(&text);
            1
        }
        Err(panic) => {
            set_error(&format!("distributed: panicked: {}", panic_text(&*panic)));
            1
        }
    }
}

/// # Safety
/// `data` points to `len` elements that live and are not written for the lifetime, or is null.
unsafe fn slice<'a, T>(data: *const T, len: usize) -> &'a [T] {
    if data.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: promised by the caller.
    unsafe { std::slice::from_raw_parts(data, len) }
}

/// # Safety
/// `data` points to `len` elements that only the caller uses for the lifetime, or is null.
unsafe fn slice_mut<'a, T>(data: *mut T, len: usize) -> &'a mut [T] {
    if data.is_null() || len == 0 {
        return &mut [];
    }
    // SAFETY: promised by the caller.
    unsafe { std::slice::from_raw_parts_mut(data, len) }
}

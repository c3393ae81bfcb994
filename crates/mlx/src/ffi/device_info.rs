//! What MLX says of a device, how many there are, and the default one of the process.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};

use mlx_sys as sys;

use super::call::{api, check, loaded_to_free};
use super::stream::device;
use crate::error::NativeError;

/// A value that MLX gives of a device.
pub(crate) enum InfoValue {
    Text(String),
    Number(usize),
}

/// The names that MLX's backends give values under.
const KEYS: [&CStr; 8] = [
    c"device_name",
    c"architecture",
    c"memory_size",
    c"total_memory",
    c"max_buffer_length",
    c"max_recommended_working_set_size",
    c"resource_limit",
    c"compute_capability_major",
];

/// An `mlx_device_info` owned by this value.
struct Info(sys::mlx_device_info);

impl Drop for Info {
    fn drop(&mut self) {
        if let Some(api) = loaded_to_free() {
            // SAFETY: this value owns it, and nothing uses it after this.
            let _ = unsafe { api.mlx_device_info_free(self.0) };
        }
    }
}

/// Returns what MLX knows of the first device of a kind, by MLX's names.
pub(crate) fn info(gpu: bool) -> Result<BTreeMap<String, InfoValue>, NativeError> {
    let (api, device) = (api()?, device(gpu)?);
    // SAFETY: takes nothing; the new (empty) value is owned by `info`.
    let mut info = Info(unsafe { api.mlx_device_info_new() });
    // SAFETY: the device is alive for the call; the slot is a local value, which C fills.
    let status = unsafe { api.mlx_device_info_get(&mut info.0, device.raw()) };
    check(api, status)?;
    let mut values = BTreeMap::new();
    for key in KEYS {
        if let Some(value) = value(&info, key)? {
            values.insert(key.to_string_lossy().into_owned(), value);
        }
    }
    Ok(values)
}

/// Returns one value, if the backend has it.
fn value(info: &Info, key: &CStr) -> Result<Option<InfoValue>, NativeError> {
    let api = api()?;
    let key = CString::from(key);
    let mut is_there = false;
    // SAFETY: `info` and the text are alive for the call; the slot is a local bool.
    let status = unsafe { api.mlx_device_info_has_key(&mut is_there, info.0, key.as_ptr()) };
    check(api, status)?;
    if !is_there {
        return Ok(None);
    }
    let mut is_text = false;
    // SAFETY: as above.
    let status = unsafe { api.mlx_device_info_is_string(&mut is_text, info.0, key.as_ptr()) };
    check(api, status)?;
    if !is_text {
        let mut number = 0;
        // SAFETY: as above, with a local number as the slot.
        let status = unsafe { api.mlx_device_info_get_size(&mut number, info.0, key.as_ptr()) };
        check(api, status)?;
        return Ok(Some(InfoValue::Number(number)));
    }
    let mut text: *const c_char = std::ptr::null();
    // SAFETY: as above, with a local pointer as the slot.
    let status = unsafe { api.mlx_device_info_get_string(&mut text, info.0, key.as_ptr()) };
    check(api, status)?;
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: not null; the text belongs to `info`, ends with a zero, and is copied while `info` is alive.
    let text = unsafe { CStr::from_ptr(text) };
    Ok(Some(InfoValue::Text(text.to_string_lossy().into_owned())))
}

/// Returns how many devices of a kind there are.
pub(crate) fn count(gpu: bool) -> Result<usize, NativeError> {
    let kind = match gpu {
        true => sys::mlx_device_type__MLX_GPU,
        false => sys::mlx_device_type__MLX_CPU,
    };
    let (api, mut count): (_, c_int) = (api()?, 0);
    // SAFETY: takes a plain value; the slot is a local int.
    let status = unsafe { api.mlx_device_count(&mut count, kind) };
    check(api, status)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Sets the device that operations of all threads go to where no scope says otherwise.
pub(crate) fn set_default(gpu: bool) -> Result<(), NativeError> {
    let (api, device) = (api()?, device(gpu)?);
    // SAFETY: the device is alive for the call, and C copies it.
    let status = unsafe { api.mlx_set_default_device(device.raw()) };
    check(api, status)
}

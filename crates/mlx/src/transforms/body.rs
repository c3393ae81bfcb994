//! How a function over arrays becomes what C calls, and how its own error comes back through C.

use std::cell::RefCell;

use super::stack;
use crate::array::trace::without_recording;
use crate::ffi::closure::LocalBody;
use crate::ffi::vector::Vector;
use crate::ffi::{Handle, NativeError, thread_bound};
use crate::local::with_local;
use crate::{Array, Error, Result};

thread_local! {
    /// The error that a function returned, while C only knows that it failed.
    static PARKED: RefCell<Option<Error>> = const { RefCell::new(None) };
}

/// Returns what C calls to run `function`, under the name that errors give.
pub(crate) fn body(
    name: &'static str,
    function: impl Fn(&[Array]) -> Result<Vec<Array>> + 'static,
) -> Box<LocalBody> {
    Box::new(move |inputs| run(name, inputs, &function))
}

/// Runs a function over handles. Its error is kept for [`finish`].
pub(super) fn run(
    name: &'static str,
    inputs: Vec<Handle>,
    function: &dyn Fn(&[Array]) -> Result<Vec<Array>>,
) -> std::result::Result<Vector, NativeError> {
    let inputs: Vec<Array> = inputs.into_iter().map(Array::from_handle).collect();
    let outputs = without_recording(|| function(&inputs)).and_then(|outputs| {
        let handles: Result<Vec<&Handle>> = outputs
            .iter()
            .map(|output| output.handle(name).map(AsRef::as_ref))
            .collect();
        let handles = handles?;
        stack::check(name, &handles)?;
        Ok(Vector::of_handles(handles))
    });
    outputs.unwrap_or_else(|error| {
        let fault = NativeError(error.to_string());
        with_local(&PARKED, |parked| {
            parked.get_or_insert(error);
        });
        Err(fault)
    })
}

/// Makes a call into C that may run functions, and returns a function's own error if one failed.
///
/// Also drops what other threads have left for this one, and calls again with more stack if that was missing.
pub(crate) fn finish<T>(
    call: impl Fn() -> std::result::Result<T, NativeError>,
    wrong: impl FnOnce(NativeError) -> Error,
) -> Result<T> {
    thread_bound::run_deferred_drops();
    let attempt = || {
        // What an earlier call left means nothing here.
        with_local(&PARKED, Option::take);
        call()
    };
    stack::with_enough(attempt).map_err(|fault| match with_local(&PARKED, Option::take) {
        Some(error) => error,
        None => wrong(fault),
    })
}

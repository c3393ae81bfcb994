//! The default key of a thread: what functions draw with that are given no key.
//!
//! The sequence is Python MLX's: each draw splits the key into the next default key and the key of the draw. It is
//! computed here and not as a graph, so that it costs nothing, and kept by the native library, so that the cells of a
//! notebook share it. A function that is being compiled takes its keys from the compiled function's inputs instead: see
//! `compiler_api::with_random_keys`.

use std::any::Any;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::WithOp;
use crate::ffi::{NativeError, inspect, random_key};
use crate::{Array, Error, Result};

const NAME: &str = "random";

/// Seeds this thread's default key: what is drawn without a key after the same seed is the same.
///
/// The numbers are those of Python MLX after `mx.random.seed`. Each thread has a default key of its own, which begins with
/// the time of day. It works in compiled functions too: each call draws new numbers, and the same ones that the function
/// would draw if it were not compiled.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// use mlx::random;
/// random::seed(7);
/// let (a, b) = (random::normal([3]), random::normal([3]));
/// random::seed(7);
/// assert!(random::normal([3]).array_equal(&a).item::<bool>()?);
/// assert!(!a.array_equal(&b).item::<bool>()?);
/// # Ok(())
/// # }
/// ```
pub fn seed(seed: u64) {
    // Without the native library there is nothing to seed, and the first draw says so.
    let _ = random_key::set(seed);
}

/// Returns this thread's default key, `uint32[2]`: what [`set_state`] brings back.
///
/// # Errors
/// When the native libraries could not be loaded.
#[track_caller]
pub fn state() -> Result<Array> {
    Ok(super::key(current().with_op(NAME)?))
}

/// Sets this thread's default key.
///
/// # Errors
/// When `key` is no `uint32[2]`, or could not be computed.
#[track_caller]
pub fn set_state(key: &Array) -> Result<()> {
    match key.to_vec::<u32>()?.as_slice() {
        [high, low] => random_key::set(joined([*high, *low])).with_op(NAME),
        words => Err(Error::op(
            NAME,
            format!("wanted a key of 2 words, got {}", words.len()),
        )),
    }
}

/// Splits a key off this thread's default key and returns it: what a function draws with that is given none.
#[track_caller]
pub fn next_key() -> Array {
    let mut slot: Option<Array> = None;
    let found = random_key::fill(&mut slot);
    match (found, slot) {
        (Ok(true), Some(key)) => key,
        (Ok(true), None) => Array::failed(Error::op(NAME, "wanted a key, got none")),
        (Ok(false), _) => match split_off().with_op(NAME) {
            Ok(key) => super::key(key),
            Err(error) => Array::failed(error),
        },
        (Err(error), _) => Array::from_result(Err(error).with_op(NAME)),
    }
}

/// Returns the default key of this thread, made of the time of day where it has none.
fn current() -> std::result::Result<u64, NativeError> {
    if let Some(key) = random_key::get()? {
        return Ok(key);
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    #[allow(clippy::cast_possible_truncation)] // The low bits are the ones that differ.
    let time = since.map_or(0, |since| since.as_nanos() as u64);
    // Threads that begin at one time draw different numbers.
    let key = time ^ (inspect::next_id()? << 40);
    random_key::set(key)?;
    Ok(key)
}

/// Splits this thread's default key: the first half stays, the second is returned.
fn split_off() -> std::result::Result<u64, NativeError> {
    let key = current()?;
    let mut bytes = [0; 16];
    mlx_kernels::random_bits(words(key), &mut bytes);
    let word = |n: usize| {
        let word = [
            bytes[4 * n],
            bytes[4 * n + 1],
            bytes[4 * n + 2],
            bytes[4 * n + 3],
        ];
        u32::from_ne_bytes(word)
    };
    random_key::set(joined([word(0), word(1)]))?;
    Ok(joined([word(2), word(3)]))
}

/// Returns the two words of a key, the high one first.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn words(key: u64) -> [u32; 2] {
    [(key >> 32) as u32, key as u32]
}

fn joined([high, low]: [u32; 2]) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// Runs `work` with the keys of this thread taken from `source` where one is asked for.
///
/// # Errors
/// When the native libraries could not be loaded.
#[track_caller]
pub(crate) fn with_source<T>(source: &dyn Fn() -> Array, work: impl FnOnce() -> T) -> Result<T> {
    let fill = |slot: &mut dyn Any| {
        if let Some(slot) = slot.downcast_mut::<Option<Array>>() {
            *slot = Some(source());
        }
    };
    random_key::with_source(Some(&fill), work).with_op(NAME)
}

/// What a function drew with first, so that it draws the same when it runs again: a checkpoint.
#[derive(Default)]
pub(crate) struct Replay(std::cell::Cell<Option<u64>>);

impl Replay {
    /// Runs `work` with the default key that it was first run with; the thread's own goes on from the first run.
    pub(crate) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let Ok(now) = current() else { return work() };
        let Some(first) = self.0.get() else {
            self.0.set(Some(now));
            return work();
        };
        let _ = random_key::set(first);
        let _restore = RestoreKey(now);
        work()
    }
}

/// Puts the key back, also when the work panics.
struct RestoreKey(u64);

impl Drop for RestoreKey {
    fn drop(&mut self) {
        let _ = random_key::set(self.0);
    }
}

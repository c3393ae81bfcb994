//! Thread-local values that destructors of other thread-local values may use after they have been destroyed.

use std::cell::RefCell;
use std::thread::LocalKey;

/// Runs `work` on this thread's value, or on a fresh one while the thread's storage is being destroyed.
pub(crate) fn with_local<T: Default + 'static, R>(
    key: &'static LocalKey<RefCell<T>>,
    work: impl FnOnce(&mut T) -> R,
) -> R {
    if key.try_with(|_| ()).is_ok() {
        key.with_borrow_mut(work)
    } else {
        work(&mut T::default())
    }
}

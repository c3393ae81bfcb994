//! Values that belong to the thread that made them, where C may drop them on another.
//!
//! MLX keeps closures in lazy graphs and drops them wherever the last user of a graph is, also on a thread of its
//! own. What they capture (arrays, `Rc`) must not be touched there. So such a value is dropped by its home thread:
//! at once when that is where it happens, else when that thread next makes a call that may run functions; if the thread has exited, never.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A value that only its home thread reads and drops.
pub(crate) struct ThreadBound<T: 'static> {
    /// Taken when it is dropped.
    value: Option<Box<T>>,
    thread: u64,
    home: Arc<DropQueue>,
}

// SAFETY: the value is only reached by `get`, which compares threads, and by `Drop`, which hands it to its home
// thread; thread numbers are never used twice, so no later thread is taken for the home.
unsafe impl<T> Send for ThreadBound<T> {}
// SAFETY: as for `Send`: other threads cannot read through a shared reference.
unsafe impl<T> Sync for ThreadBound<T> {}

impl<T> ThreadBound<T> {
    /// Binds `value` to this thread; none when this thread is ending.
    pub(crate) fn new(value: T) -> Option<Self> {
        let home = HOME.try_with(|home| Arc::clone(&home.0)).ok()?;
        Some(Self {
            value: Some(Box::new(value)),
            thread: this_thread(),
            home,
        })
    }

    /// Returns the value, on its home thread.
    pub(crate) fn get(&self) -> Option<&T> {
        match &self.value {
            Some(value) if self.thread == this_thread() => Some(value),
            _ => None,
        }
    }
}

impl<T> Drop for ThreadBound<T> {
    fn drop(&mut self) {
        let Some(value) = self.value.take() else {
            return;
        };
        if self.thread == this_thread() && !HELD.get() {
            drop(value);
        } else {
            self.home.push(DeferredDrop { _value: value });
        }
    }
}

/// Runs `work`, and drops only after it what would be dropped on this thread meanwhile.
///
/// For calls in which MLX holds a lock while it drops closures: what those capture may need the same lock.
pub(crate) fn defer_drops<T>(work: impl FnOnce() -> T) -> T {
    struct Release(bool);
    impl Drop for Release {
        fn drop(&mut self) {
            HELD.set(self.0);
        }
    }
    let release = Release(HELD.replace(true));
    let result = work();
    drop(release);
    if !HELD.get() {
        run_deferred_drops();
    }
    result
}

/// Drops the values of this thread that were given up elsewhere. Costs a nanosecond when there are none.
pub(crate) fn run_deferred_drops() {
    // A thread that is ending has nothing left to drop.
    let _ = HOME.try_with(|home| {
        if home.0.waiting.load(Ordering::Relaxed) {
            drop_all(home.0.take());
        }
    });
}

/// The values that other threads gave up and this one has to drop.
struct DropQueue {
    waiting: AtomicBool,
    /// None when the thread has exited.
    drops: Mutex<Option<Vec<DeferredDrop>>>,
}

/// A value that its home thread will drop.
struct DeferredDrop {
    _value: Box<dyn Any>,
}

// SAFETY: the value is only moved; it is dropped by its home thread, which alone takes values out of its queue.
unsafe impl Send for DeferredDrop {}

impl DropQueue {
    fn push(&self, deferred: DeferredDrop) {
        let mut drops = self.drops.lock().unwrap_or_else(PoisonError::into_inner);
        match drops.as_mut() {
            Some(drops) => {
                drops.push(deferred);
                self.waiting.store(true, Ordering::Relaxed);
            }
            // No thread may drop it any more.
            None => std::mem::forget(deferred),
        }
    }

    fn take(&self) -> Vec<DeferredDrop> {
        let mut drops = self.drops.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.store(false, Ordering::Relaxed);
        drops.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn close(&self) -> Vec<DeferredDrop> {
        let mut drops = self.drops.lock().unwrap_or_else(PoisonError::into_inner);
        drops.take().unwrap_or_default()
    }
}

fn drop_all(drops: Vec<DeferredDrop>) {
    for deferred in drops {
        // A panic in a captured value's `Drop` must not stop the others; there is no caller to return it to.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(deferred)));
    }
}

/// The queue of a thread, closed when the thread ends.
struct Home(Arc<DropQueue>);

impl Drop for Home {
    fn drop(&mut self) {
        drop_all(self.0.close());
    }
}

thread_local! {
    static HOME: Home = Home(Arc::new(DropQueue {
        waiting: AtomicBool::new(false),
        drops: Mutex::new(Some(Vec::new())),
    }));
    // These two have no destructor, so they can be read while a thread ends.
    static THREAD: Cell<u64> = const { Cell::new(0) };
    static HELD: Cell<bool> = const { Cell::new(false) };
}

/// Returns a number of this thread that no other thread ever has.
fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    THREAD.with(|thread| {
        if thread.get() == 0 {
            thread.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        thread.get()
    })
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::thread;

    use super::*;

    struct Told(Rc<Cell<u64>>);

    impl Drop for Told {
        fn drop(&mut self) {
            self.0.set(this_thread());
        }
    }

    #[test]
    fn a_value_dropped_elsewhere_is_dropped_at_home() {
        let dropped_on = Rc::new(Cell::new(0));
        let value = ThreadBound::new(Told(Rc::clone(&dropped_on))).unwrap();
        thread::spawn(move || {
            assert!(value.get().is_none());
            drop(value);
        })
        .join()
        .unwrap();
        assert_eq!(dropped_on.get(), 0);
        run_deferred_drops();
        assert_eq!(dropped_on.get(), this_thread());
    }

    #[test]
    fn a_value_dropped_at_home_is_dropped_at_once_unless_held() {
        let dropped_on = Rc::new(Cell::new(0));
        drop(ThreadBound::new(Told(Rc::clone(&dropped_on))).unwrap());
        assert_eq!(dropped_on.replace(0), this_thread());
        let value = ThreadBound::new(Told(Rc::clone(&dropped_on))).unwrap();
        defer_drops(|| {
            drop(value);
            assert_eq!(dropped_on.get(), 0);
        });
        assert_eq!(dropped_on.get(), this_thread());
    }

    #[test]
    fn a_thread_that_ends_drops_what_waits_and_later_drops_nothing() {
        static DROPS: AtomicU64 = AtomicU64::new(0);
        struct Count;
        impl Drop for Count {
            fn drop(&mut self) {
                DROPS.fetch_add(1, Ordering::SeqCst);
            }
        }
        let (early, late) = thread::spawn(|| {
            let values = (
                ThreadBound::new(Count).unwrap(),
                ThreadBound::new(Count).unwrap(),
            );
            let (early, late) = values;
            thread::spawn(move || drop(early)).join().unwrap();
            (DROPS.load(Ordering::SeqCst), late)
        })
        .join()
        .unwrap();
        assert_eq!((early, DROPS.load(Ordering::SeqCst)), (0, 1));
        drop(late);
        assert_eq!(DROPS.load(Ordering::SeqCst), 1);
    }
}

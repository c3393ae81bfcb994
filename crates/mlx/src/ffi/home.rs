//! Values that belong to the thread that made them, where C may drop them on another.
//!
//! MLX keeps closures in lazy graphs and drops them wherever the last user of a graph is, also on a thread of its
//! own. What they capture (arrays, `Rc`) must not be touched there. So such a value is dropped by its home thread:
//! at once when that is where it happens, else when that thread next comes by; if the thread is gone, never.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A value that only its home thread reads and drops.
pub(crate) struct Homebound<T: 'static> {
    /// Taken when it is dropped.
    value: Option<Box<T>>,
    thread: u64,
    home: Arc<Mailbox>,
}

// SAFETY: the value is only reached by `get`, which compares threads, and by `Drop`, which hands it to its home
// thread; thread numbers are never used twice, so no later thread passes for the home.
unsafe impl<T> Send for Homebound<T> {}
// SAFETY: as for `Send`: other threads get nothing out of a shared reference.
unsafe impl<T> Sync for Homebound<T> {}

impl<T> Homebound<T> {
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

impl<T> Drop for Homebound<T> {
    fn drop(&mut self) {
        let Some(value) = self.value.take() else {
            return;
        };
        if self.thread == this_thread() && !HELD.get() {
            drop(value);
        } else {
            self.home.post(Letter { _value: value });
        }
    }
}

/// Runs `work`, and drops only after it what would be dropped on this thread meanwhile.
///
/// For calls in which MLX holds a lock while it drops closures: what those capture may need the same lock.
pub(crate) fn hold<T>(work: impl FnOnce() -> T) -> T {
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
        collect();
    }
    result
}

/// Drops the values of this thread that were given up elsewhere. Costs a nanosecond when there are none.
pub(crate) fn collect() {
    // A thread that is ending has nothing left to collect.
    let _ = HOME.try_with(|home| {
        if home.0.waiting.load(Ordering::Relaxed) {
            drop_all(home.0.take());
        }
    });
}

/// Where other threads leave what this one has to drop.
struct Mailbox {
    waiting: AtomicBool,
    /// None when the thread is gone.
    letters: Mutex<Option<Vec<Letter>>>,
}

/// A value on its way home.
struct Letter {
    _value: Box<dyn Any>,
}

// SAFETY: a letter is only carried; it is opened by its home thread, which alone takes letters out of its mailbox.
unsafe impl Send for Letter {}

impl Mailbox {
    fn post(&self, letter: Letter) {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        match letters.as_mut() {
            Some(letters) => {
                letters.push(letter);
                self.waiting.store(true, Ordering::Relaxed);
            }
            // Nobody may drop it any more.
            None => std::mem::forget(letter),
        }
    }

    fn take(&self) -> Vec<Letter> {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.store(false, Ordering::Relaxed);
        letters.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn close(&self) -> Vec<Letter> {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.take().unwrap_or_default()
    }
}

fn drop_all(letters: Vec<Letter>) {
    for letter in letters {
        // A panic in a captured value's `Drop` must not stop the others; there is nobody to tell.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(letter)));
    }
}

/// The mailbox of a thread, closed when the thread ends.
struct Home(Arc<Mailbox>);

impl Drop for Home {
    fn drop(&mut self) {
        drop_all(self.0.close());
    }
}

thread_local! {
    static HOME: Home = Home(Arc::new(Mailbox {
        waiting: AtomicBool::new(false),
        letters: Mutex::new(Some(Vec::new())),
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
        let value = Homebound::new(Told(Rc::clone(&dropped_on))).unwrap();
        thread::spawn(move || {
            assert!(value.get().is_none());
            drop(value);
        })
        .join()
        .unwrap();
        assert_eq!(dropped_on.get(), 0);
        collect();
        assert_eq!(dropped_on.get(), this_thread());
    }

    #[test]
    fn a_value_dropped_at_home_is_dropped_at_once_unless_held() {
        let dropped_on = Rc::new(Cell::new(0));
        drop(Homebound::new(Told(Rc::clone(&dropped_on))).unwrap());
        assert_eq!(dropped_on.replace(0), this_thread());
        let value = Homebound::new(Told(Rc::clone(&dropped_on))).unwrap();
        hold(|| {
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
                Homebound::new(Count).unwrap(),
                Homebound::new(Count).unwrap(),
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

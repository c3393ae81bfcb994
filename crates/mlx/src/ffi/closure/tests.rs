//! Closures of one thread that C runs or drops on another.

use std::cell::Cell;
use std::rc::Rc;
use std::thread;

use super::*;
use crate::error::NativeError;
use crate::ffi::thread_bound;

/// A closure on its way to another thread, as MLX takes it there.
struct Carried(Closure);

// SAFETY: what MLX does itself: the handle is run and freed by one thread at a time.
unsafe impl Send for Carried {}

impl Carried {
    fn call(&self) -> Result<Vector, NativeError> {
        self.0.call(&Vector::new()?)
    }
}

struct Told(Rc<Cell<usize>>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

fn telling(drops: &Rc<Cell<usize>>) -> Carried {
    let told = Told(Rc::clone(drops));
    let body = move |_| {
        let _ = &told;
        Vector::new()
    };
    Carried(Closure::local(Box::new(body)).unwrap())
}

#[test]
fn a_local_closure_runs_on_its_own_thread_only() {
    let closure = telling(&Rc::default());
    assert!(closure.call().is_ok());
    let said = thread::spawn(move || closure.call().map(drop).unwrap_err().0);
    let said = said.join().unwrap();
    assert!(said.contains("another thread"), "{said}");
}

#[test]
fn what_a_closure_captured_is_dropped_at_home() {
    let drops = Rc::new(Cell::new(0));
    let closure = telling(&drops);
    thread::spawn(move || drop(closure)).join().unwrap();
    assert_eq!(drops.get(), 0);
    thread_bound::run_deferred_drops();
    assert_eq!(drops.get(), 1);
    drop(telling(&drops));
    assert_eq!(drops.get(), 2);
}

#[test]
fn nothing_is_left_of_ten_thousand_closures_dropped_elsewhere() {
    let drops = Rc::new(Cell::new(0));
    for _ in 0..10 {
        let closures: Vec<Carried> = (0..1000).map(|_| telling(&drops)).collect();
        thread::spawn(move || drop(closures)).join().unwrap();
        thread_bound::run_deferred_drops();
    }
    assert_eq!(drops.get(), 10_000);
}

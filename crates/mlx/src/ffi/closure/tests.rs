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

#[test]
fn a_rule_gets_its_three_lists() {
    let arrays = |n: usize| -> Vec<Handle> {
        let one = || crate::Array::scalar(1.0_f32);
        let copy = |_| one().handle("test").unwrap().duplicate().unwrap();
        (0..n).map(copy).collect()
    };
    let seen = Rc::new(Cell::new([0; 3]));
    let tell = Rc::clone(&seen);
    let rule = RuleClosure::local(Box::new(move |lists: [Vec<Handle>; 3]| {
        tell.set(lists.map(|list| list.len()));
        Vector::new()
    }));
    let (rule, api) = (rule.unwrap(), api().unwrap());
    let lists = [1, 2, 3].map(|n| Vector::of_handles(&arrays(n)).unwrap());
    let mut results = Vector::empty();
    let (slot, raw) = (results.slot(), rule.raw());
    let [a, b, c] = lists.each_ref().map(Vector::raw);
    // SAFETY: the closure and the lists are alive for the call; the slot is empty and owned by this function.
    check(api, unsafe {
        api.mlx_closure_custom_apply(slot, raw, a, b, c)
    })
    .unwrap();
    assert_eq!(seen.get(), [1, 2, 3]);
}

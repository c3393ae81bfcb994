//! Rules as C calls them.

use std::cell::Cell;
use std::rc::Rc;

use super::*;

#[test]
fn a_rule_gets_its_three_lists() {
    let arrays = |n: usize| -> Vec<Handle> {
        let one = || crate::Array::scalar(1.0_f32);
        let copy = |_| one().handle("test").unwrap().duplicate().unwrap();
        (0..n).map(copy).collect()
    };
    let seen = Rc::new(Cell::new([0; 3]));
    let tell = Rc::clone(&seen);
    let rule = VjpClosure::local(Box::new(move |lists: [Vec<Handle>; 3]| {
        tell.set(lists.map(|list| list.len()));
        Vector::new()
    }));
    let (rule, api) = (rule.unwrap(), api().unwrap());
    let lists = [1, 2, 3].map(|n| Vector::of_handles(&arrays(n)).unwrap());
    let mut results = Vector::empty();
    let (slot, raw) = (results.slot(), VjpClosure::raw(Some(&rule)));
    let [a, b, c] = lists.each_ref().map(Vector::raw);
    // SAFETY: the closure and the lists are alive for the call; the slot is empty and owned by this function.
    check(api, unsafe {
        api.mlx_closure_custom_apply(slot, raw, a, b, c)
    })
    .unwrap();
    assert_eq!(seen.get(), [1, 2, 3]);
}

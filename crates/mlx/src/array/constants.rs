//! The numbers that stood beside an array last, as arrays of this thread: making one is a third of a small operation.

use std::cell::RefCell;

use super::Array;
use super::operand::Scalar;
use crate::Dtype;

/// How many are kept: the numbers of a formula.
const KEPT: usize = 8;

/// A number to the bit, so that `-0.0` is not `0.0`.
type Key = (u8, u64, Dtype);

#[derive(Default)]
struct Kept {
    numbers: Vec<(Key, Array)>,
    /// The one that gives way next.
    oldest: usize,
}

thread_local! {
    static LAST: RefCell<Kept> = RefCell::default();
}

/// What the number is known by; nothing for a complex one, which is not kept.
fn key(number: Scalar, dtype: Dtype) -> Option<Key> {
    match number {
        Scalar::Bool(value) => Some((0, u64::from(value), dtype)),
        Scalar::Int(value) => Some((1, value.cast_unsigned(), dtype)),
        Scalar::Float(value) => Some((2, value.to_bits(), dtype)),
        Scalar::Complex(_) => None,
    }
}

/// The array of a number, if it is kept. A thread that ends keeps none.
pub(super) fn kept(number: Scalar, dtype: Dtype) -> Option<Array> {
    let key = key(number, dtype)?;
    let find = |last: &RefCell<Kept>| {
        let last = last.borrow();
        let found = last.numbers.iter().find(|(one, _)| *one == key);
        found.map(|(_, array)| array.clone())
    };
    LAST.try_with(find).ok().flatten()
}

/// Keeps the array of a number, unless it is an error.
pub(super) fn keep(number: Scalar, dtype: Dtype, array: &Array) {
    let Some(key) = key(number, dtype).filter(|_| array.error().is_none()) else {
        return;
    };
    let put = |last: &RefCell<Kept>| {
        let last = &mut *last.borrow_mut();
        let new = (key, array.clone());
        if last.numbers.len() < KEPT {
            last.numbers.push(new);
            return None;
        }
        let place = last.oldest;
        last.oldest = (place + 1) % KEPT;
        Some(std::mem::replace(&mut last.numbers[place], new))
    };
    // What gives way is dropped when nothing is borrowed any more.
    drop(LAST.try_with(put));
}

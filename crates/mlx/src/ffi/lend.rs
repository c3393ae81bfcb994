//! A function that borrows what it uses, lent to a call that takes functions it could keep.

use std::cell::Cell;
use std::rc::Rc;

use crate::transforms::FlatFunction;
use crate::{Array, Error, Result};

type Lent<'a> = dyn Fn(&[Array]) -> Result<Vec<Array>> + 'a;

/// Runs `work` with a function that calls `function`, which it borrows.
///
/// MLX, or a recorder, may keep it: called after `work`, it returns an error.
pub(crate) fn lend<T>(function: &Lent<'_>, work: impl FnOnce(Rc<FlatFunction>) -> T) -> T {
    // SAFETY: only the lifetime changes; `_end` takes the reference away before `function` can go.
    let function = unsafe { std::mem::transmute::<&Lent<'_>, &'static Lent<'static>>(function) };
    let lent = Rc::new(Cell::new(Some(function)));
    let _end = End(Rc::clone(&lent));
    work(Rc::new(move |arrays: &[Array]| match lent.get() {
        Some(function) => function(arrays),
        None => Err(Error::op(
            "transform",
            "wanted to run a function during its transform, came after it",
        )),
    }))
}

/// Takes the function away, also when the work panics.
struct End(Rc<Cell<Option<&'static Lent<'static>>>>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lent_function_fails_when_it_comes_late() {
        let calls = Cell::new(0);
        let count = |_: &[Array]| {
            calls.set(calls.get() + 1);
            Ok(Vec::new())
        };
        let kept = lend(&count, |function| {
            assert!(function(&[]).is_ok());
            function
        });
        assert!(kept(&[]).is_err());
        assert_eq!(calls.get(), 1);
    }
}

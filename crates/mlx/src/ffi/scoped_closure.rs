//! A function that borrows what it uses, given to a call that takes functions it could keep.

use std::cell::Cell;
use std::rc::Rc;

/// Runs `work` with a function that calls `function`, which it borrows.
///
/// The function may be kept after `work`: called then, it returns `too_late()`.
pub(crate) fn with_scoped_closure<A: ?Sized + 'static, R: 'static, T>(
    function: &dyn Fn(&A) -> R,
    too_late: impl Fn() -> R + 'static,
    work: impl FnOnce(Rc<dyn Fn(&A) -> R>) -> T,
) -> T {
    // SAFETY: only the lifetime changes; `_end` takes the reference away before `function` can be dropped.
    let function = unsafe {
        std::mem::transmute::<&dyn Fn(&A) -> R, &'static (dyn Fn(&A) -> R + 'static)>(function)
    };
    let scoped = Rc::new(Cell::new(Some(function)));
    let _end = End(Rc::clone(&scoped));
    work(Rc::new(move |argument: &A| match scoped.get() {
        Some(function) => function(argument),
        None => too_late(),
    }))
}

type Scoped<A, R> = Option<&'static (dyn Fn(&A) -> R + 'static)>;

/// Takes the function away, also when the work panics.
struct End<A: ?Sized + 'static, R: 'static>(Rc<Cell<Scoped<A, R>>>);

impl<A: ?Sized, R> Drop for End<A, R> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scoped_closure_fails_when_it_is_called_late() {
        let calls = Cell::new(0);
        let count = |_: &[i32]| {
            calls.set(calls.get() + 1);
            Ok(())
        };
        let kept = with_scoped_closure(
            &count,
            || Err("late"),
            |function| {
                assert!(function(&[]).is_ok());
                function
            },
        );
        assert_eq!(kept(&[]), Err("late"));
        assert_eq!(calls.get(), 1);
    }

    #[test]
    fn a_scoped_closure_fails_late_also_after_a_panic() {
        type Kept = Rc<dyn Fn(&[i32]) -> Result<(), &'static str>>;
        let kept: Rc<Cell<Option<Kept>>> = Rc::default();
        let keep = Rc::clone(&kept);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            with_scoped_closure(
                &|_: &[i32]| Ok(()),
                || Err("late"),
                |function| {
                    keep.set(Some(function));
                    panic!("in the middle");
                },
            )
        }));
        assert!(panicked.is_err());
        assert_eq!(kept.take().unwrap()(&[]), Err("late"));
    }
}

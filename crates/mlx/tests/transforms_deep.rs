//! Graphs so long that MLX's recursion over them does not fit on a thread's stack.

use std::cell::Cell;

use mlx::compiler_api::CompiledClosure;
use mlx::{Array, Result, array, checkpoint, grad, jvp, vjp, vmap};
use rstest::rstest;

const LENGTH: usize = 25_000;

fn chain(x: &Array) -> Array {
    let mut y = x.clone();
    for _ in 0..LENGTH {
        y += 1.0;
    }
    y.sum(())
}

fn on_a_thread(stack: usize, work: impl FnOnce() -> Result<()> + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(stack).spawn(work);
    thread.unwrap().join().unwrap().unwrap();
}

#[rstest]
#[case::grad(|x: &Array| grad(chain).call(x)?.sum(()).item(), 2.0)]
#[case::vjp(|x: &Array| vjp(chain, x, &array!(1.0))?.1.sum(()).item(), 2.0)]
#[case::jvp(|x: &Array| jvp(chain, x, x)?.1.item(), 3.0)]
#[case::vmap(|x: &Array| vmap(chain).call(x)?.sum(()).item(), 3.0 + 2.0 * LENGTH as f32)]
#[case::kept(|x: &Array| grad(|x: &Array| checkpoint(chain).call(x)).call(x)?.sum(()).item(), 2.0)]
#[case::nested(|x: &Array| vmap(grad(chain)).call(x)?.sum(()).item(), 2.0)]
#[case::compiled(|x: &Array| CompiledClosure::new(|x| Ok(vec![chain(&x[0])]))?.call(&[x])?[0].item(), 3.0 + 2.0 * LENGTH as f32)]
fn long_graphs_are_transformed_on_small_stacks(
    #[case] work: fn(&Array) -> Result<f32>,
    #[case] want: f32,
) {
    on_a_thread(1 << 20, move || {
        let x = array!([1.0, 2.0]);
        assert_eq!(work(&x)?, want);
        // And again, now from a larger stack.
        assert_eq!(work(&x)?, want);
        Ok(())
    });
}

#[test]
fn a_long_history_of_what_a_function_uses_counts() {
    on_a_thread(1 << 20, || {
        let x = array!([1.0, 2.0]);
        let far = chain(&x);
        let gradient = grad(|x: &Array| (x * &far).sum(())).call(&x)?;
        assert_eq!(gradient.to_vec::<f32>()?, [3.0 + 2.0 * LENGTH as f32; 2]);
        Ok(())
    });
}

#[test]
fn only_the_first_long_graph_is_made_twice() {
    on_a_thread(1 << 20, || {
        let calls = Cell::new(0);
        let counted = |x: &Array| {
            calls.set(calls.get() + 1);
            chain(x)
        };
        let x = array!([1.0, 2.0]);
        for n_calls in [2, 3, 4] {
            let _gradient = grad(&counted).call(&x)?;
            assert_eq!(calls.get(), n_calls);
        }
        Ok(())
    });
}

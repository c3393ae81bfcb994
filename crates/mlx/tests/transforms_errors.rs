//! What transforms refuse, whose error comes first, panics, and what happens to what closures capture.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use mlx::compiler_api::CompiledClosure;
use mlx::transforms::{Arg, FlatFunction, Transform, apply};
use mlx::{
    Array, Dtype, Error, Result, array, checkpoint, custom_vjp, grad, grad_of, jvp, value_and_grad,
    vjp, vmap,
};
use rstest::rstest;

#[track_caller]
fn says<T>(result: Result<T>, message: &str) {
    let text = result.err().expect("an error").to_string();
    assert!(text.contains(message), "{text}");
    assert!(text.contains("transforms_errors.rs:"), "{text}");
}

fn square(x: &Array) -> Array {
    x.square()
}

#[test]
fn gradients_need_a_floating_scalar_of_floating_arrays() {
    let (x, n) = (array!([1.0, 2.0]), array!([1, 2]));
    says(
        grad(square).call(&x),
        "value_and_grad: the function must give a floating scalar, got float32[2]",
    );
    says(
        grad(|x: &Array| x.sum(keep())).call(&x),
        "must give a floating scalar, got float32[1]",
    );
    says(
        grad(|x: &Array| x.astype(Dtype::Int32).sum(())).call(&x),
        "must give a floating scalar, got int32[]",
    );
    says(
        grad(|x: &Array| x.sum(())).call(&n),
        "input 0 must be floating or complex to have a gradient, got int32; inputs int32[2]",
    );
    says(
        grad(|_: &Vec<Array>| array!(1.0)).call(&Vec::new()),
        "wanted at least one array to differentiate by, got none",
    );
    says(
        grad_of(|x: &Array| x.sum(()), (Arg::<0>, Arg::<0>)).call(&x),
        "inputs must be given once and in ascending order, got [0, 0]",
    );
}

fn keep() -> mlx::Reduction {
    mlx::keepdims(())
}

#[test]
fn products_need_fitting_cotangents_and_tangents() {
    let x = array!([1.0, 2.0]);
    let list = |x: &Array| vec![x.clone(), x * 2.0];
    says(
        vjp(list, &x, &vec![x.clone()]),
        "vjp: wanted one cotangent for each of 2 outputs, got 1",
    );
    says(
        vjp(list, &x, &vec![x.clone(), x.clone(), x.clone()]),
        "wanted one cotangent for each of 2 outputs, got 3",
    );
    says(
        vjp(square, &x, &array!([1.0])),
        "cotangent 0 must be [2] as the output is, got [1]",
    );
    says(
        vjp(square, &array!([1]), &array!([1])),
        "input 0 must be floating or complex to have a gradient, got int32",
    );
    says(
        jvp(square, &x, &array!([1.0])),
        "jvp: tangent 0 must be [2] as the primal is, got [1]",
    );
    let first = |x: &Vec<Array>| x[0].clone();
    let one = vec![x.clone()];
    says(
        jvp(first, &one, &vec![x.clone(), x.clone()]),
        "wanted as many tangents as primals, got 3 arrays in all",
    );
}

#[test]
fn vmap_needs_axes_that_exist_and_agree() {
    let (x, y) = (array!([[1.0, 2.0]]), array!([1.0, 2.0]));
    let add = |x: &Array, y: &Array| x + y;
    says(
        vmap(add).call((&x, &y)),
        "axes must be of one size, got 1 and 2 (input 1)",
    );
    says(
        vmap(add).in_axes([Some(0), None, None]).call((&x, &y)),
        "wanted an axis for each of 2 arguments, got 3",
    );
    says(
        vmap(add).in_axes([None, None]).call((&x, &y)),
        "wanted an axis of at least one input, got none",
    );
    says(
        vmap(square).in_axes([Some(1)]).call(&y),
        "input 0 has 1 dimensions, got axis 1",
    );
    says(
        vmap(square).in_axes([Some(i32::MIN)]).call(&y),
        "input 0 has 1 dimensions, got axis",
    );
    says(
        vmap(square).call(&array!(1.0)),
        "input 0 has 0 dimensions, got axis 0",
    );
    says(
        vmap(square).out_axes(1).call(&y),
        "output 0 has 1 dimensions, got axis 1",
    );
    says(
        vmap(square).out_axes([0, 0]).call(&y),
        "wanted an axis for each of 1 outputs, got 2",
    );
    let read = |x: &Array| x.item::<f32>().map(Array::scalar);
    assert!(vmap(read).call(&y).is_err());
}

#[test]
fn own_gradients_are_checked() {
    let x = array!([1.0, 2.0]);
    let of = |rule: fn(&Array, &Array, &Array) -> Array| {
        let f = custom_vjp(square, rule);
        grad(move |x: &Array| f.call(x).map(|y| y.sum(())))
    };
    says(
        of(|_, _, _| array!(1.0)).call(&x),
        "custom_vjp: gradient 0 must be [2] as the input is, got []",
    );
    let lists = custom_vjp(
        |x: &Vec<Array>| x[0].clone(),
        |_: &Vec<Array>, cotangent: &Array, _: &Array| vec![cotangent.clone(); 2],
    );
    let loss = move |x: &Vec<Array>| lists.call(x).map(|y| y.sum(()));
    says(
        grad(loss).call(&vec![x.clone()]),
        "wanted 1 gradients, got 2",
    );
    says(
        checkpoint(|_: &Array| Vec::<Array>::new()).call(&x),
        "checkpoint: the function must give at least one array, got none",
    );
    says(
        custom_vjp(|_: &Array| (), |x: &Array, _: &(), _: &()| x.clone()).call(&x),
        "custom_vjp: the function must give at least one array, got none",
    );
}

#[derive(Debug, thiserror::Error, PartialEq)]
#[error("no luck with {0}")]
struct NoLuck(i32);

#[test]
fn a_functions_own_error_comes_back_through_every_transform() {
    let x = array!([1.0, 2.0]);
    let fails = |_: &Array| -> std::result::Result<Array, NoLuck> { Err(NoLuck(7)) };
    let nested = |x: &Array| grad(fails).call(x);
    let kept = |x: &Array| checkpoint(fails).call(x);
    let results = [
        grad(fails).call(&x),
        value_and_grad(fails).call(&x).map(|(value, _)| value),
        vjp(fails, &x, &x).map(|(value, _)| value),
        jvp(fails, &x, &x).map(|(value, _)| value),
        vmap(fails).call(&x),
        checkpoint(fails).call(&x),
        custom_vjp(fails, |x: &Array, _: &Array, _: &Array| x.clone()).call(&x),
        vmap(nested).call(&x),
        grad(kept).call(&x),
    ];
    for result in results {
        let Some(Error::Closure(error)) = result.err() else {
            panic!("wanted the function's own error");
        };
        assert_eq!(error.downcast_ref::<NoLuck>(), Some(&NoLuck(7)));
    }
}

#[test]
fn the_error_of_a_rule_comes_back_when_the_gradient_is_taken() {
    let f = custom_vjp(
        |x: &Array| x.sum(()),
        |_: &Array, _: &Array, _: &Array| -> std::result::Result<Array, NoLuck> { Err(NoLuck(1)) },
    );
    let x = array!([1.0, 2.0]);
    assert_eq!(f.call(&x).unwrap().item::<f32>().unwrap(), 3.0);
    let error = grad(f).call(&x).err().unwrap();
    assert!(matches!(error, Error::Closure(_)), "{error}");
}

/// The line is the user's that made the function, not the library's that calls it.
#[test]
fn a_transform_called_by_another_names_the_line_where_it_was_made() {
    let x = array!([1.0, 2.0]);
    let empty = |_: &Array| Vec::<Array>::new();
    let first = line!() + 2;
    let errors = [
        vmap(checkpoint(empty)).call(&x).err(),
        vmap(custom_vjp(
            empty,
            |x: &Array, _: &Vec<Array>, _: &Vec<Array>| x.clone(),
        ))
        .call(&x)
        .err(),
    ];
    for (error, line) in errors.into_iter().zip(first..) {
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(
            text.contains(&format!("transforms_errors.rs:{line}:")),
            "{text}"
        );
    }
}

#[test]
fn the_first_error_is_kept_with_operation_and_line() {
    let loss = |x: &Array| {
        let bad = x.matmul(&array!([[1.0, 2.0, 3.0]]));
        (bad + 1.0).sum(())
    };
    let line = line!() - 3;
    let text = grad(loss)
        .call(&array!([[1.0]]))
        .err()
        .map(|e| e.to_string());
    assert_eq!(text, None, "1x1 by 1x3 is fine");
    let text = grad(loss)
        .call(&array!([[1.0, 2.0]]))
        .unwrap_err()
        .to_string();
    assert!(text.starts_with("matmul: "), "{text}");
    assert!(
        text.contains(&format!("transforms_errors.rs:{line}")),
        "{text}"
    );
    // Handled inside, it leaves nothing behind.
    let handled = |x: &Array| {
        let inner = grad(loss).call(x);
        assert!(inner.is_err());
        x.sum(())
    };
    let gradient = grad(handled).call(&array!([[1.0, 2.0]])).unwrap();
    assert_eq!(gradient.to_vec::<f32>().unwrap(), [1.0, 1.0]);
    says(
        grad(square).call(&array!([1.0, 2.0])),
        "must give a floating scalar",
    );
}

#[test]
fn an_argument_that_failed_is_the_error() {
    let failed = Array::failed(Error::op("here", "wanted this, got that"));
    says(
        grad(|x: &Array| x.sum(())).call(&failed),
        "here: wanted this, got that",
    );
    says(
        checkpoint(square).call(&failed),
        "here: wanted this, got that",
    );
    let compiled = CompiledClosure::new(|x| Ok(x.to_vec())).unwrap();
    says(compiled.call(&[&failed]), "here: wanted this, got that");
}

#[rstest]
#[case::grad(|x: &Array| grad(panics).call(x))]
#[case::vjp(|x: &Array| vjp(panics, x, x).map(|(y, _)| y))]
#[case::jvp(|x: &Array| jvp(panics, x, x).map(|(y, _)| y))]
#[case::vmap(|x: &Array| vmap(panics).call(x))]
#[case::checkpoint(|x: &Array| checkpoint(panics).call(x))]
#[case::nested(|x: &Array| grad(|x: &Array| checkpoint(panics).call(x)).call(x))]
#[case::compiled(|x: &Array| CompiledClosure::new(|x| Ok(vec![panics(&x[0])]))?.call(&[x]).map(|mut y| y.remove(0)))]
fn a_panic_goes_on_behind_the_call(#[case] call: fn(&Array) -> Result<Array>) {
    let x = array!([1.0, 2.0]);
    let panic = catch_unwind(AssertUnwindSafe(|| call(&x))).err().unwrap();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"over and out"));
    let gradient = grad(|x: &Array| x.sum(())).call(&x).unwrap();
    assert_eq!(gradient.to_vec::<f32>().unwrap(), [1.0, 1.0]);
}

fn panics(_: &Array) -> Array {
    panic!("over and out")
}

#[test]
fn flat_transforms_count_functions_and_inputs() {
    let f: Rc<FlatFunction> = Rc::new(|x| Ok(x.to_vec()));
    let x = array!(1.0);
    let own_gradient = Transform::CustomFunction {
        vjp: true,
        jvp: false,
        vmap: None,
    };
    says(
        apply(&own_gradient, &[Rc::clone(&f)], &[&x]),
        "wanted 2 functions, got 1",
    );
    says(
        apply(&Transform::Jvp, &[], &[&x, &x]),
        "wanted 1 functions, got 0",
    );
    let argnums = vec![3];
    says(
        apply(
            &Transform::ValueAndGrad { argnums },
            &[Rc::clone(&f)],
            &[&x],
        ),
        "there is no input 3, got 1",
    );
    says(
        apply(&Transform::Vjp { n_primals: 2 }, &[f], &[&x]),
        "wanted 2 primals, got 1",
    );
}

#[test]
fn known_limits_of_mlx_are_errors() {
    // MLX knows no gradient of these.
    let x = array!([[2.0, 1.0], [1.0, 2.0]]);
    let loss = |x: &Array| mlx::linalg::eigvalsh(x).sum(());
    let result = grad(loss).call(&x);
    if let Err(error) = result {
        assert!(error.to_string().starts_with("value_and_grad: "), "{error}");
    }
}

struct Told(Rc<Cell<usize>>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn what_closures_capture_is_dropped_with_the_last_graph() {
    let drops = Rc::new(Cell::new(0));
    let told = Told(Rc::clone(&drops));
    let block = checkpoint(move |x: &Array| {
        let _ = &told;
        x.exp()
    });
    let y = block.call(&array!([1.0])).unwrap();
    drop(block);
    assert_eq!(drops.get(), 0);
    drop(y);
    assert_eq!(drops.get(), 1);
}

#[test]
fn nothing_is_left_of_ten_thousand_closures() {
    let drops = Rc::new(Cell::new(0));
    let x = array!([1.0, 2.0]);
    for _ in 0..5_000 {
        let told = Told(Rc::clone(&drops));
        let block = checkpoint(move |x: &Array| {
            let _ = &told;
            x.exp()
        });
        let loss = |x: &Array| block.call(x).map(|y| y.sum(()));
        let _gradient = grad(loss).call(&x).unwrap();
    }
    assert_eq!(drops.replace(0), 5_000);
    for _ in 0..5_000 {
        let told = Told(Rc::clone(&drops));
        let compiled = CompiledClosure::new(move |x| {
            let _ = &told;
            Ok(vec![x[0].exp()])
        });
        let _y = compiled.unwrap().call(&[&x]).unwrap();
    }
    assert_eq!(drops.get(), 5_000);
}

#[test]
fn an_array_that_escaped_its_transform_has_no_value_and_crashes_nothing() {
    let escaped = Rc::new(std::cell::RefCell::new(Vec::new()));
    let keep = |x: &Array| {
        escaped.borrow_mut().push(x.clone());
        escaped.borrow_mut().push(x + 1.0);
        x.square()
    };
    let x = array!([1.0, 2.0]);
    assert!(vmap(keep).call(&x).is_ok());
    let held = Rc::clone(&escaped);
    let compiled = CompiledClosure::new(move |x| {
        held.borrow_mut().push(x[0].clone());
        held.borrow_mut().push(&x[0] * 2.0);
        Ok(vec![x[0].exp()])
    });
    assert!(compiled.unwrap().call(&[&x]).is_ok());
    for array in escaped.take() {
        // Without MLX's compile, the function got the array itself.
        if array.to_vec::<f32>().is_err() {
            assert!(array.share().is_err());
            assert!((&array + &x).sum(()).item::<f32>().is_err());
            assert!(!format!("{array:?}").is_empty());
        }
    }
}

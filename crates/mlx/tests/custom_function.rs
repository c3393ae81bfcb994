//! Functions with rules of their own, under every transform and nested; answers are those of Python MLX, or by hand.

use std::cell::Cell;
use std::rc::Rc;

use mlx::transforms::CustomFunction;
use mlx::{
    Array, Dtype, Result, array, custom_function, custom_vjp, grad, grad_of, jvp, value_and_grad,
    vjp, vmap,
};

fn list(array: &Array) -> Vec<f32> {
    array.to_vec::<f32>().unwrap()
}

fn sum(f: impl Fn(&Array) -> Result<Array> + 'static) -> impl Fn(&Array) -> Result<Array> {
    move |x: &Array| f(x).map(|y| y.sum(()))
}

/// `x * x`, whose gradient and tangents are plainly others: 10 and 100 times `x`.
fn marked() -> CustomFunction<(Array,), Array> {
    custom_function(|x: &Array| x * x)
        .vjp(|x: &Array, cotangent: &Array, _: &Array| cotangent * x * 10.0)
        .jvp(|x: &Array, tangent: &Array| tangent * x * 100.0)
}

#[test]
fn each_rule_is_used_by_its_transform() -> Result<()> {
    let f = marked();
    let x = array!([1.0, 2.0]);
    assert_eq!(list(&f.call(&x)?), [1.0, 4.0]);
    let g = f.clone();
    assert_eq!(list(&grad(sum(move |x| g.call(x))).call(&x)?), [10.0, 20.0]);
    let (y, tangent) = jvp(f.clone(), &x, &array!([1.0, 0.5]))?;
    assert_eq!(
        (list(&y), list(&tangent)),
        (vec![1.0, 4.0], vec![100.0, 100.0])
    );
    let along = f.vmap(|x: &Array, axes: &[Option<i32>]| (x * 7.0, [axes[0]]));
    assert_eq!(list(&vmap(along.clone()).call(&x)?), [7.0, 14.0]);
    assert_eq!(list(&along(&x)?), [1.0, 4.0]);
    Ok(())
}

#[test]
fn a_rule_that_is_not_there_is_that_of_mlx() -> Result<()> {
    let x = array!([1.0, 2.0]);
    let only_jvp = custom_function(|x: &Array| x * x).jvp(|x: &Array, t: &Array| t * x * 100.0);
    let g = only_jvp.clone();
    assert_eq!(list(&grad(sum(move |x| g.call(x))).call(&x)?), [2.0, 4.0]);
    assert_eq!(list(&jvp(only_jvp, &x, &x)?.1), [100.0, 400.0]);
    let only_vjp = custom_vjp(
        |x: &Array| x * x,
        |x: &Array, c: &Array, _: &Array| c * x * 10.0,
    );
    assert_eq!(list(&jvp(only_vjp, &x, &x)?.1), [2.0, 8.0]);
    let only_vmap = custom_function(|x: &Array| x * x)
        .vmap(|x: &Array, _: &[Option<i32>]| (x * 3.0, [Some(0)]));
    let (g, h) = (only_vmap.clone(), only_vmap.clone());
    assert_eq!(list(&grad(sum(move |x| g.call(x))).call(&x)?), [2.0, 4.0]);
    // A vectorized function is differentiated as the rule computes it.
    let along = grad(move |x: &Array| vmap(h.clone()).call(x).map(|y| y.sum(())));
    assert_eq!(list(&along.call(&x)?), [3.0, 3.0]);
    let none = custom_function(|x: &Array| x * x);
    assert_eq!(
        list(&grad(sum(move |x| none.call(x))).call(&x)?),
        [2.0, 4.0]
    );
    Ok(())
}

/// `exp` with a gradient that is wrong on purpose, of two arguments, one of which is the same for all elements.
fn scaled() -> CustomFunction<(Array, Array), Array> {
    custom_function(|x: &Array, w: &Array| (x * w).sum(()))
        .vjp(|(x, w): &(Array, Array), c: &Array, _: &Array| (c * w * 2.0, c * x * 3.0))
        .jvp(|(x, w): &(Array, Array), (dx, dw): &(Array, Array)| {
            (dx * w * 5.0 + dw * x * 7.0).sum(())
        })
}

#[test]
fn own_gradients_and_tangents_stay_along_an_axis() -> Result<()> {
    let (xs, w) = (
        array!([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
        array!([10.0, 20.0]),
    );
    for axis in [0, 1] {
        let f = scaled();
        let rows = if axis == 0 { xs.clone() } else { xs.t() };
        let along =
            move |x: &Array, w: &Array| vmap(f.clone()).in_axes([Some(axis), None]).call((x, w));
        assert_eq!(list(&along(&rows, &w)?), [50.0, 110.0, 170.0]);
        let loss = move |x: &Array, w: &Array| {
            along(x, w).map(|y| (y * array!([1.0, 10.0, 100.0])).sum(()))
        };
        let (by_x, by_w) = grad_of(loss, [0, 1])
            .call((&rows, &w))
            .map(|all: (Array, Array)| all)?;
        let by_x = if axis == 0 { by_x } else { by_x.t() };
        assert_eq!(list(&by_x), [20.0, 40.0, 200.0, 400.0, 2000.0, 4000.0]);
        // The sum over the elements: 3 * (1 + 30 + 500), 3 * (2 + 40 + 600).
        assert_eq!(list(&by_w), [1593.0, 1926.0]);
        let f = scaled();
        let along =
            move |x: &Array, w: &Array| vmap(f.clone()).in_axes([Some(axis), None]).call((x, w));
        let (_, tangents) = jvp(
            along,
            (&rows, &w),
            (&mlx::ones_like(&rows), &array!([0.0, 1.0])),
        )?;
        // 5 * (10 + 20) + 7 * x[1].
        assert_eq!(list(&tangents), [164.0, 178.0, 192.0]);
    }
    Ok(())
}

#[test]
fn vmap_of_grad_and_grad_of_vmap_agree_and_nest() -> Result<()> {
    let xs = array!([[1.0, 2.0], [3.0, 4.0]]);
    let each = grad(sum(|x| marked().call(x)));
    assert_eq!(list(&vmap(each).call(&xs)?), [10.0, 20.0, 30.0, 40.0]);
    let all = grad(|x: &Array| vmap(marked()).call(x).map(|y| y.sum(())));
    assert_eq!(list(&all.call(&xs)?), [10.0, 20.0, 30.0, 40.0]);
    // Two axes, and a rule that gets the second of them.
    let twice = grad(|x: &Array| vmap(vmap(marked())).call(x).map(|y| y.sum(())));
    assert_eq!(list(&twice.call(&xs)?), [10.0, 20.0, 30.0, 40.0]);
    let seen = Rc::new(Cell::new(0));
    let count = Rc::clone(&seen);
    let rule = marked().vmap(move |x: &Array, axes: &[Option<i32>]| {
        count.set(count.get() + 1);
        (x * x, [axes[0]])
    });
    assert_eq!(list(&vmap(vmap(rule)).call(&xs)?), [1.0, 4.0, 9.0, 16.0]);
    assert_eq!(seen.get(), 1);
    Ok(())
}

#[test]
fn second_derivatives_go_through_the_rules() -> Result<()> {
    // The gradient of 10 x is 10 for each, whatever the function is.
    let slope = |x: &Array| grad(sum(|x| marked().call(x))).call(x).map(|y| y.sum(()));
    let x = array!([1.0, 2.0]);
    assert_eq!(list(&grad(slope).call(&x)?), [10.0, 10.0]);
    assert_eq!(
        list(&vmap(grad(slope)).call(&array!([[1.0], [2.0]]))?),
        [10.0, 10.0]
    );
    // Of its outputs, as exp has its own derivative.
    let exp = || custom_vjp(|x: &Array| x.exp(), |_: &Array, c: &Array, y: &Array| c * y);
    let slope = move |x: &Array| grad(exp()).call(x);
    let third = grad(grad(slope));
    assert!((third.call(&array!(0.5))?.item::<f32>()? - 0.5_f32.exp()).abs() < 1e-5);
    let (_, tangent) = jvp(|x: &Array| grad(sum(|x| marked().call(x))).call(x), &x, &x)?;
    assert_eq!(list(&tangent), [10.0, 20.0]);
    Ok(())
}

#[test]
fn trees_keep_their_form_in_every_rule() -> Result<()> {
    type Pair = (Array, Array);
    let f = custom_function(|x: &Array, list: &Vec<Array>| (x * &list[0], x + &list[1]))
        .vjp(|(x, list): &(Array, Vec<Array>), c: &Pair, y: &Pair| {
            (&c.0 * &list[0] + &y.0 * 0.0, vec![&c.0 * x, &c.1 * 5.0])
        })
        .jvp(
            |(x, list): &(Array, Vec<Array>), (dx, by): &(Array, Vec<Array>)| -> Result<Pair> {
                Ok((dx * &list[0] + &by[0] * x, dx + &by[1] * 9.0))
            },
        )
        .vmap(|(x, list): &(Array, Vec<Array>), axes: &[Option<i32>]| {
            assert_eq!(axes, [Some(0), None, Some(0)]);
            (
                Ok::<_, mlx::Error>(((x * &list[0]), x + &list[1])),
                vec![Some(0), Some(-1)],
            )
        });
    let (x, both) = (array!([2.0]), vec![array!([3.0]), array!([4.0])]);
    let ones = (array!([1.0]), array!([1.0]));
    let (_, (by_x, by_list)) = vjp(f.clone(), (&x, &both), &ones)?;
    assert_eq!(
        (list(&by_x), list(&by_list[0]), list(&by_list[1])),
        (vec![3.0], vec![2.0], vec![5.0])
    );
    let tangents = (array!([1.0]), vec![array!([0.0]), array!([1.0])]);
    let (_, (a, b)) = jvp(f.clone(), (&x, &both), (&tangents.0, &tangents.1))?;
    assert_eq!((list(&a), list(&b)), (vec![3.0], vec![10.0]));
    let along =
        vmap(move |x: &Array, a: &Array, b: &Array| f.call((x, &vec![a.clone(), b.clone()])));
    let (a, b) =
        along
            .in_axes([Some(0), None, Some(0)])
            .call((&x, &array!(3.0), &array!([4.0])))?;
    assert_eq!((list(&a), list(&b)), (vec![6.0], vec![6.0]));
    Ok(())
}

#[test]
fn an_output_that_is_the_same_for_all_elements_needs_no_axis() -> Result<()> {
    let f = custom_function(|x: &Array| (x * 1.0, mlx::ones(2)))
        .vmap(|x: &Array, axes: &[Option<i32>]| ((x.clone(), mlx::ones(2)), [axes[0], None]));
    let (a, b) = vmap(f).call(&array!([1.0, 2.0, 3.0]))?;
    assert_eq!(list(&a), [1.0, 2.0, 3.0]);
    assert_eq!((b.shape()?, list(&b)), (vec![3, 2], vec![1.0; 6]));
    Ok(())
}

#[test]
fn tangents_come_from_the_rule_where_mlx_has_none() -> Result<()> {
    // MLX differentiates what a function computes on the way too, and has no tangents of an eigenvalue problem.
    let f = custom_function(|x: &Array| mlx::linalg::eigvals(x).real().sum(()))
        .vjp(|x: &Array, c: &Array, _: &Array| mlx::eye(x.dim(0).unwrap_or(0)) * c)
        .jvp(|_: &Array, t: &Array| t.trace());
    let x = array!([[2.0, 1.0], [0.0, 3.0]]);
    let (value, tangent) = jvp(f.clone(), &x, &array!([[1.0, 9.0], [9.0, 2.0]]))?;
    assert_eq!((value.item::<f32>()?, tangent.item::<f32>()?), (5.0, 3.0));
    let (_, gradient) = value_and_grad(f).call(&x)?;
    assert_eq!(list(&gradient), [1.0, 0.0, 0.0, 1.0]);
    Ok(())
}

#[test]
fn integers_among_the_arguments_have_no_tangent() -> Result<()> {
    let f = custom_function(|x: &Array, i: &Array| x.take(i, 0))
        .vjp(|(x, i): &(Array, Array), c: &Array, _: &Array| {
            (mlx::zeros_like(x).at(i).add(c * 2.0), mlx::zeros_like(i))
        })
        .jvp(|(_, i): &(Array, Array), (dx, di): &(Array, Array)| {
            assert_eq!(di.dtype().ok(), Some(Dtype::Int32));
            dx.take(i, 0) * 3.0
        });
    let i = array!([2, 0]);
    let (g, h) = (f.clone(), i.clone());
    let picked = move |x: &Array| g.call((x, &h)).map(|y| y.sum(()));
    assert_eq!(
        list(&grad(picked).call(&mlx::arange(3.0))?),
        [2.0, 0.0, 2.0]
    );
    let h = i.clone();
    let along = move |x: &Array| f.call((x, &h));
    assert_eq!(
        list(&jvp(along, &mlx::arange(3.0), &mlx::ones(3))?.1),
        [3.0, 3.0]
    );
    Ok(())
}

#[track_caller]
fn says<T>(result: Result<T>, text: &str) {
    let got = result
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(got.contains(text), "{got:?} says nothing of {text:?}");
}

#[test]
fn rules_that_give_something_else_are_refused() {
    let x = array!([1.0, 2.0]);
    let f = custom_function(|x: &Array| x * x);
    says(
        jvp(f.clone().jvp(|_: &Array, _: &Array| array!(1.0)), &x, &x),
        "custom_function: tangent 0 must be [2] as the output is, got []",
    );
    says(
        vmap(
            f.clone()
                .vmap(|x: &Array, _: &[Option<i32>]| (x.sum(()), [Some(0)])),
        )
        .call(&x),
        "custom_function: output 0 of the rule for vmap must have 2 elements along axis 0, got []",
    );
    says(
        vmap(
            f.clone()
                .vmap(|x: &Array, _: &[Option<i32>]| (x.clone(), vec![Some(0); 2])),
        )
        .call(&x),
        "the rule for vmap must give an axis for each of 1 outputs, got 2",
    );
    says(
        vmap(
            f.clone()
                .vmap(|x: &Array, _: &[Option<i32>]| (x.clone(), [Some(7)])),
        )
        .call(&x),
        "along axis 7",
    );
    let failing =
        f.vmap(|_: &Array, _: &[Option<i32>]| (Err::<Array, _>(std::fmt::Error), [None::<i32>]));
    says(vmap(failing).call(&x), "an error occurred when formatting");
    says(
        jvp(
            custom_function(|x: &Vec<Array>| vec![x[0].clone(); 2])
                .jvp(|x: &Vec<Array>, _: &Vec<Array>| x.clone()),
            &vec![x.clone()],
            &vec![x.clone()],
        ),
        "wanted 2 tangents, got 1",
    );
}

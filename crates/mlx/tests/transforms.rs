//! Gradients and products with Jacobians against hand formulas and finite differences, alone and nested; vmap;
//! checkpoints; own gradients.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use mlx::transforms::Arg;
use mlx::{
    Array, Dtype, Result, Tree, array, checkpoint, custom_vjp, fast, grad, grad_of, jvp, keepdims,
    value_and_grad, value_and_grad_of, vjp, vmap,
};
use mlx_testdata::needs;
use rstest::rstest;

fn one(array: &Array) -> f64 {
    f64::from(array.astype(Dtype::Float32).item::<f32>().unwrap())
}

fn list(array: &Array) -> Vec<f32> {
    array.to_vec::<f32>().unwrap()
}

#[track_caller]
fn close(got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{got:?} {want:?}");
    for (a, b) in got.iter().zip(want) {
        assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{got:?} {want:?}");
    }
}

type Scalar = fn(&Array) -> Array;

#[rstest]
#[case::square(|x: &Array| x.square(), 2.0 * 0.7)]
#[case::exp(|x: &Array| x.exp(), 0.7_f64.exp())]
#[case::sin(|x: &Array| x.sin(), 0.7_f64.cos())]
#[case::tanh(|x: &Array| x.tanh(), 1.0 - 0.7_f64.tanh().powi(2))]
#[case::sigmoid(|x: &Array| x.sigmoid(), 0.221_712_873_293_109)]
#[case::log(|x: &Array| x.log(), 1.0 / 0.7)]
#[case::sqrt(|x: &Array| x.sqrt(), 0.5 / 0.7_f64.sqrt())]
#[case::reciprocal(|x: &Array| 1.0 / x, -1.0 / 0.49)]
#[case::used_twice(|x: &Array| x * x * x.exp(), (1.4 + 0.49) * 0.7_f64.exp())]
#[case::unused(|x: &Array| x.stop_gradient() * 3.0, 0.0)]
#[case::stopped(|x: &Array| x.stop_gradient(), 0.0)]
fn gradients_are_those_of_the_formula(#[case] function: Scalar, #[case] want: f64) {
    let got = one(&grad(function).call(&array!(0.7)).unwrap());
    assert!((got - want).abs() < 1e-5, "{got} {want}");
}

/// MLX computes some functions of float64 in float32, and then a difference needs a larger step.
const SINGLE: f64 = 1e-2;
const DOUBLE: f64 = 1e-4;

#[rstest]
#[case::softmax(|x: &Array| (x.softmax(-1) * array!([1.0, -2.0, 3.0])).sum(()), SINGLE)]
#[case::norm(|x: &Array| (x * (x.square().mean(keepdims(-1)) + 1e-3).rsqrt()).square().sum(()) * x.sum(()), DOUBLE)]
#[case::logsumexp(|x: &Array| x.logsumexp(()), SINGLE)]
#[case::product(|x: &Array| x.prod(()), DOUBLE)]
#[case::matmul(|x: &Array| x.reshape([1, 3]).matmul(&x.reshape([3, 1])).sum(()), DOUBLE)]
#[case::rms_norm(|x: &Array| (fast::rms_norm(x, &array!([1.0, 2.0, 3.0]), 1e-5) * array!([1.0, -1.0, 0.5])).sum(()), SINGLE)]
#[case::layer_norm(|x: &Array| (fast::layer_norm(x, &array!([1.0, 2.0, 3.0]), None, 1e-1) * array!([1.0, -1.0, 0.5])).sum(()), SINGLE)]
#[case::checkpointed(|x: &Array| checkpoint(|x: &Array| x.exp().sin()).call(x).map_or_else(Array::failed, |y| y.sum(())), SINGLE)]
fn gradients_agree_with_finite_differences(#[case] function: Scalar, #[case] step: f64) {
    needs!(Float64);
    let at = [0.3, -0.8, 1.1];
    let got = list(
        &grad(function)
            .call(&Array::new(at.map(|value| value as f32)))
            .unwrap(),
    );
    for (k, got) in got.into_iter().enumerate() {
        let moved = |by: f64| {
            let mut moved = at;
            moved[k] += by;
            let moved = Array::from_slice(&moved, [3]).unwrap();
            let value = mlx::with_device(mlx::Device::Cpu, || function(&moved));
            value.unwrap().item::<f64>().unwrap()
        };
        let want = (moved(step) - moved(-step)) / (2.0 * step);
        // The error of a central difference grows with the square of the step.
        let tolerance = 1e-5 + 20.0 * step * step;
        assert!(
            (f64::from(got) - want).abs() < tolerance,
            "{k}: {got} {want}"
        );
    }
}

#[derive(Tree)]
struct Linear {
    weight: Array,
    bias: Option<Array>,
    #[tree(static)]
    scale: f32,
}

impl Linear {
    fn apply(&self, x: &Array) -> Array {
        let y = x.matmul(&self.weight.transpose(())) * self.scale;
        match &self.bias {
            Some(bias) => y + bias,
            None => y,
        }
    }
}

#[test]
fn gradients_of_a_struct_have_its_form() -> Result<()> {
    let layer = Linear {
        weight: array!([[1.0, 2.0]]),
        bias: Some(array!([0.5])),
        scale: 2.0,
    };
    let loss = |layer: &Linear, x: &Array| layer.apply(x).square().sum(());
    let x = array!([[1.0, 1.0]]);
    let (value, gradient) = value_and_grad(loss).call((&layer, &x))?;
    // y = 2 (1 + 2) + 0.5 = 6.5
    assert_eq!(one(&value), 42.25);
    assert_eq!(list(&gradient.weight), [26.0, 26.0]);
    assert_eq!(list(gradient.bias.as_ref().unwrap()), [13.0]);
    assert_eq!(gradient.scale, 2.0);
    let (by_x, layer_again) = grad_of(loss, (Arg::<1>, Arg::<0>)).call((&layer, &x))?;
    assert_eq!(list(&by_x), [26.0, 52.0]);
    assert_eq!(list(&layer_again.weight), [26.0, 26.0]);
    Ok(())
}

#[test]
fn gradients_of_a_map_have_its_keys() -> Result<()> {
    type Parameters = BTreeMap<String, Array>;
    let parameters: Parameters = [("b", 1.0_f32), ("w", 3.0)]
        .map(|(name, value)| (name.to_owned(), Array::scalar(value)))
        .into();
    let loss = |p: &Parameters, x: &Array| (&p["w"] * x + &p["b"]).square().sum(());
    let gradient = grad(loss).call((&parameters, &array!([1.0, 2.0])))?;
    assert_eq!(one(&gradient["w"]), 2.0 * 4.0 + 2.0 * 7.0 * 2.0);
    assert_eq!(one(&gradient["b"]), 22.0);
    Ok(())
}

#[test]
fn what_comes_beside_the_loss_has_no_part_in_the_gradient() -> Result<()> {
    let f = |x: &Array, y: &Array| -> std::result::Result<_, std::fmt::Error> {
        Ok((
            (x * y).sum(()),
            vec![x * 2.0, y.exp()],
            Some(x.astype(Dtype::Int32)),
        ))
    };
    let (x, y) = (array!([1.0, 2.0]), array!([3.0, 4.0]));
    let ((loss, aux, kept), by_y) = value_and_grad_of(f, Arg::<1>).call((&x, &y))?;
    assert_eq!((one(&loss), list(&by_y)), (11.0, vec![1.0, 2.0]));
    assert_eq!(list(&aux[0]), [2.0, 4.0]);
    assert_eq!(kept.unwrap().to_vec::<i32>()?, [1, 2]);
    Ok(())
}

#[test]
fn functions_borrow_what_they_use() -> Result<()> {
    let (x, calls) = (array!([1.0, 2.0]), Cell::new(0));
    let loss = |w: &Array| {
        calls.set(calls.get() + 1);
        (w * &x).sum(())
    };
    let gradient = grad(&loss).call(&array!(2.0))?;
    assert_eq!((one(&gradient), calls.get()), (3.0, 1));
    Ok(())
}

#[test]
fn transforms_nest() -> Result<()> {
    let x = array!(0.5);
    let f = |x: &Array| x * x * x * x;
    assert_eq!(one(&grad(grad(f)).call(&x)?), 3.0);
    assert_eq!(one(&grad(grad(grad(f))).call(&x)?), 12.0);
    let rows = array!([1.0, 2.0, 3.0]);
    assert_eq!(list(&vmap(grad(f)).call(&rows)?), [4.0, 32.0, 108.0]);
    let sum_of_vmap = |x: &Array| vmap(f).call(x).map(|y| y.sum(()));
    assert_eq!(list(&grad(sum_of_vmap).call(&rows)?), [4.0, 32.0, 108.0]);
    assert_eq!(
        list(&vmap(vmap(f)).call(&rows.reshape([1, 3]))?),
        [1.0, 16.0, 81.0]
    );
    // The slope of the slope, once forwards and once backwards.
    let (slope, curvature) = jvp(grad(f), &x, &array!(1.0))?;
    assert_eq!((one(&slope), one(&curvature)), (0.5, 3.0));
    let pushed = |x: &Array| jvp(f, x, &array!(1.0)).map(|(_, slope)| slope);
    assert_eq!(one(&grad(pushed).call(&x)?), 3.0);
    let pulled = |x: &Array| vjp(f, x, &array!(1.0)).map(|(_, slope)| slope);
    assert_eq!(one(&grad(pulled).call(&x)?), 3.0);
    Ok(())
}

#[test]
fn a_jacobian_is_a_vmap_of_vjp_and_of_jvp() -> Result<()> {
    let f = |x: &Array| x.square() * x.sum(());
    let x = array!([1.0, 2.0]);
    let unit = array!([[1.0, 0.0], [0.0, 1.0]]);
    let row = |cotangent: &Array| vjp(f, &x, cotangent).map(|(_, row)| row);
    let column = |tangent: &Array| jvp(f, &x, tangent).map(|(_, column)| column);
    // d/dx_j x_i^2 (x_0 + x_1) = 2 x_i (x_0 + x_1) [i = j] + x_i^2
    assert_eq!(list(&vmap(row).call(&unit)?), [7.0, 1.0, 4.0, 16.0]);
    let by_column = vmap(column).out_axes(1).call(&unit)?;
    assert_eq!(list(&by_column.contiguous()), [7.0, 1.0, 4.0, 16.0]);
    Ok(())
}

#[test]
fn vjp_gives_each_output_its_own_cotangent_also_beside_a_stopped_one() -> Result<()> {
    let f = |x: &Array| (x.stop_gradient(), x * 2.0, x * 5.0);
    let cotangents = (array!([1.0]), array!([10.0]), array!([100.0]));
    let (_, product) = vjp(f, &array!([1.0]), &cotangents)?;
    assert_eq!(list(&product), [520.0]);
    let kept = checkpoint(f);
    let (_, product) = vjp(kept, &array!([1.0]), &cotangents)?;
    assert_eq!(list(&product), [520.0]);
    Ok(())
}

#[test]
fn vmap_takes_and_places_axes() -> Result<()> {
    let x = mlx::iota(6).reshape([2, 3]).astype(Dtype::Float32);
    let y = array!([1.0, 10.0, 100.0]);
    let add = |x: &Array, y: &Array| x + y;
    let sum = vmap(add).in_axes([Some(-1), Some(0)]).call((&x, &y))?;
    assert_eq!(sum.shape()?, [3, 2]);
    assert_eq!(list(&sum), [1.0, 4.0, 11.0, 14.0, 102.0, 105.0]);
    let sum = vmap(add)
        .in_axes([Some(1), Some(0)])
        .out_axes(-1)
        .call((&x, &y))?;
    assert_eq!(sum.shape()?, [2, 3]);
    let pair = |x: &(Array, Array), y: &Array| (x.0.sum(()) + y, vec![x.1.clone()]);
    let (sums, same) = vmap(pair)
        .in_axes([Some(0), None])
        .out_axes([0, 1])
        .call((&(x.clone(), x.clone()), &array!(1.0)))?;
    assert_eq!(
        (list(&sums), same[0].shape()?),
        (vec![4.0, 13.0], vec![3, 2])
    );
    // An output that does not depend on the input is repeated.
    let constant = vmap(|_: &Array| array!(7.0)).call(&y)?;
    assert_eq!(list(&constant), [7.0, 7.0, 7.0]);
    Ok(())
}

#[test]
fn vmap_goes_through_fast_operations() -> Result<()> {
    let x = (mlx::iota(96).reshape([4, 3, 8]) * 0.7).sin();
    let weight = (mlx::iota(8) * 1.0).cos();
    let each = |x: &Array| fast::rms_norm(x, &weight, 1e-5);
    let got = list(&vmap(each).call(&x)?.contiguous());
    close(&got, &list(&fast::rms_norm(&x, &weight, 1e-5)));
    Ok(())
}

#[test]
fn a_checkpoint_runs_again_for_the_gradient() -> Result<()> {
    let calls = Rc::new(Cell::new(0));
    let counted = Rc::clone(&calls);
    let block = checkpoint(move |x: &Array, w: &Array| {
        counted.set(counted.get() + 1);
        (x * w).exp()
    });
    let (x, w) = (array!([0.1, 0.2]), array!(2.0));
    assert!(block.call((&x, &w))?.error().is_none());
    assert_eq!(calls.replace(0), 1);
    let again = block.clone();
    let loss = move |x: &Array, w: &Array| again.call((x, w)).map(|y| y.sum(()));
    let by_both = grad_of(loss, (Arg::<0>, Arg::<1>));
    let (by_x, by_w) = by_both.call((&x, &w))?;
    assert_eq!(calls.get(), 2);
    let e = [0.2_f32.exp(), 0.4_f32.exp()];
    close(&list(&by_x), &[2.0 * e[0], 2.0 * e[1]]);
    close(&[by_w.item::<f32>()?], &[0.1 * e[0] + 0.2 * e[1]]);
    Ok(())
}

#[test]
fn a_gradient_of_ones_own_replaces_that_of_mlx() -> Result<()> {
    // Of two arguments and two outputs, so that their order shows.
    let f = custom_vjp(
        |x: &Array, y: &Array| (x * y, x + y),
        |(x, y): &(Array, Array), cotangents: &(Array, Array), outputs: &(Array, Array)| {
            let by_x = &cotangents.0 * y + &outputs.1 * 0.0;
            (by_x, &cotangents.1 * x * 100.0)
        },
    );
    let (x, y) = (array!([2.0]), array!([3.0]));
    let (values, (by_x, by_y)) = vjp(f.clone(), (&x, &y), &(array!([1.0]), array!([10.0])))?;
    assert_eq!((list(&values.0), list(&values.1)), (vec![6.0], vec![5.0]));
    assert_eq!((list(&by_x), list(&by_y)), (vec![3.0], vec![2000.0]));
    // Used twice, in two places, and vectorized.
    let loss = |x: &Array| -> Result<Array> {
        let (product, _) = f.call((x, &y))?;
        let (product, _) = f.call((&product, &y))?;
        Ok(product.sum(()))
    };
    assert_eq!(list(&grad(loss).call(&x)?), [9.0]);
    let rows = array!([[2.0], [4.0]]);
    let (products, _) = vmap(f.clone()).in_axes([Some(0), None]).call((&rows, &y))?;
    assert_eq!(list(&products), [6.0, 12.0]);
    Ok(())
}

#[test]
fn a_gradient_of_ones_own_is_cast_to_the_dtype_of_its_argument() -> Result<()> {
    let f = custom_vjp(
        |x: &Array| x * 2.0,
        |_: &Array, cotangent: &Array, _: &Array| cotangent.astype(Dtype::Float32) * 2.0,
    );
    let x = array!([1.0, 2.0]).astype(Dtype::Float16);
    let gradient = grad(move |x: &Array| f.call(x).map(|y| y.sum(()))).call(&x)?;
    assert_eq!(gradient.dtype()?, Dtype::Float16);
    Ok(())
}

#[test]
fn training_steps_go_downhill() -> Result<()> {
    let x = array!([[1.0, 2.0], [3.0, -1.0], [0.0, 1.0]]);
    let target = array!([[5.0], [1.0], [2.0]]);
    let mut layer = Linear {
        weight: array!([[0.0, 0.0]]),
        bias: Some(array!([0.0])),
        scale: 1.0,
    };
    let loss = |layer: &Linear| (layer.apply(&x) - &target).square().mean(());
    let step = value_and_grad(loss);
    let mut last = f64::INFINITY;
    for _ in 0..20 {
        let (value, gradient) = step.call(&layer)?;
        assert!(one(&value) < last);
        last = one(&value);
        let gradients = mlx::tree::arrays(&gradient);
        let mut next = gradients.into_iter();
        layer = layer.map(&mut |p| p - next.next().unwrap() * 0.05);
    }
    assert!(last < 0.2, "{last}");
    Ok(())
}

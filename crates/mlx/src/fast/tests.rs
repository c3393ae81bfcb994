//! Gradients, tangents and vmap of kernels, asked of MLX itself.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::native_transforms::{jvp, vjp, vmap};
use super::{
    AttentionMask, AttentionOptions, HostKernel, RopeOptions, composed, cross_entropy, host_kernel,
    host_kernel_runs_of, layer_norm, rms_norm, rope, scaled_dot_product_attention_with,
};
use crate::ffi::NativeError;
use crate::{Array, ArrayType, Dtype, Result, arange_with, array};
use mlx_testdata::needs;

/// `x^2 * y` in Rust.
fn product(name: &str) -> HostKernel {
    let types = |inputs: &[ArrayType]| Ok(vec![inputs[0].clone()]);
    let kernel = host_kernel(name, types, |inputs, outputs| {
        let (x, y) = (inputs[0].as_slice::<f32>()?, inputs[1].as_slice::<f32>()?);
        let out = outputs[0].as_mut_slice::<f32>()?;
        for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
            *out = x * x * y;
        }
        Ok(())
    });
    kernel.unwrap()
}

fn differentiable(name: &str) -> HostKernel {
    product(name).composed(|inputs| vec![inputs[0].square() * &inputs[1]])
}

/// The kernel as a function.
fn applied(kernel: HostKernel) -> impl Fn(&[Array]) -> Result<Vec<Array>> + Send + Sync {
    move |inputs| kernel.apply(&inputs.iter().collect::<Vec<_>>())
}

fn values(arrays: &[Array]) -> Vec<Vec<f32>> {
    arrays.iter().map(|array| array.to_vec().unwrap()).collect()
}

#[test]
fn gradients_of_host_kernels_are_those_of_the_composed_form_and_values_those_of_rust() {
    needs!(CpuKernels);
    let (x, y, one) = (array!([2.0, 3.0]), array!([5.0, 7.0]), array!([1.0, 10.0]));
    let kernel = applied(differentiable("test.vjp"));
    let [results, gradients] = vjp(kernel, &[&x, &y], &[&one]).unwrap();
    assert_eq!(host_kernel_runs_of("test.vjp"), 0);
    assert_eq!(values(&results), [[20.0, 63.0]]);
    assert_eq!(host_kernel_runs_of("test.vjp"), 1);
    assert_eq!(values(&gradients), [[20.0, 420.0], [4.0, 90.0]]);
}

#[test]
fn tangents_of_host_kernels_are_those_of_the_composed_form() {
    let (x, y) = (array!([2.0, 3.0]), array!([5.0, 7.0]));
    let (dx, dy) = (array!([1.0, 0.0]), array!([0.0, 1.0]));
    let kernel = applied(differentiable("test.jvp"));
    let [_, tangents] = jvp(kernel, &[&x, &y], &[&dx, &dy]).unwrap();
    assert_eq!(values(&tangents), [[20.0, 9.0]]);
}

#[test]
fn vmap_of_host_kernels_goes_through_the_composed_form() {
    let (x, y) = (array!([[1.0, 2.0], [3.0, 4.0]]), array!([10.0, 100.0]));
    let mapped = |axes: &[i32]| {
        let kernel = applied(differentiable("test.vmap"));
        values(&vmap(kernel, &[&x, &y], axes).unwrap())
    };
    assert_eq!(mapped(&[0, -1]), [[10.0, 400.0, 90.0, 1600.0]]);
    assert_eq!(mapped(&[1, 0]), [[10.0, 90.0, 400.0, 1600.0]]);
    assert_eq!(host_kernel_runs_of("test.vmap"), 0);
}

#[test]
fn transforms_without_a_composed_form_say_what_is_missing() {
    let (x, y) = (array!([2.0]), array!([5.0]));
    let kernel = || applied(product("test.bare"));
    let faults: [(&str, Option<NativeError>); 3] = [
        ("a gradient", vjp(kernel(), &[&x, &y], &[&x]).err()),
        ("a tangent", jvp(kernel(), &[&x, &y], &[&x, &x]).err()),
        ("vmap", vmap(kernel(), &[&x, &y], &[0, 0]).err()),
    ];
    for (what, fault) in faults {
        let text = fault.unwrap().0;
        let want = format!("host kernel test.bare: {what} needs the composed form");
        assert!(text.starts_with(&want), "{text}");
    }
}

#[test]
fn an_error_in_a_composed_form_is_reported_and_a_panic_goes_on() {
    let (x, y) = (array!([2.0, 3.0]), array!([5.0, 7.0]));
    let bad = product("test.bad").composed(|inputs| vec![&inputs[0] + array!([1.0, 2.0, 3.0])]);
    let text = vjp(applied(bad), &[&x, &y], &[&x]).err().unwrap().0;
    assert!(text.contains("in the composed form: add: "), "{text}");
    let panics = product("test.panics").composed(|_| panic!("not today"));
    let derived = || vjp(applied(panics), &[&x, &y], &[&x]).is_ok();
    let panic = catch_unwind(AssertUnwindSafe(derived)).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"not today"));
}

/// Numbers from -1 to 1 that are not in a line.
fn numbers(seed: f32, shape: &[i32]) -> Array {
    let n: i32 = shape.iter().product();
    (arange_with(0.0, f64::from(n), 1.0, Dtype::Float32) * 0.7 + seed)
        .sin()
        .reshape(shape)
}

type Function = fn(&[Array]) -> Array;

/// Each kernel, fused and composed, as a function of all its floating inputs.
fn kernels() -> Vec<(&'static str, Vec<Array>, [Function; 2])> {
    fn turn() -> RopeOptions {
        RopeOptions {
            dims: Some(4),
            scale: 0.5,
            offset: 3.into(),
            ..Default::default()
        }
    }
    fn attend(inputs: &[Array]) -> AttentionOptions {
        let mask = AttentionMask::causal().and_additive(&inputs[3]);
        AttentionOptions {
            mask,
            sinks: Some(inputs[4].clone()),
            ..Default::default()
        }
    }
    let x = numbers(1.0, &[2, 3, 6]);
    let (w, b) = (numbers(2.0, &[6]), numbers(3.0, &[6]));
    let (q, k, v) = (
        numbers(4.0, &[1, 4, 3, 6]),
        numbers(5.0, &[1, 2, 5, 6]),
        numbers(6.0, &[1, 2, 5, 4]),
    );
    let (bias, sinks) = (numbers(7.0, &[4, 3, 5]), numbers(8.0, &[4]));
    vec![
        (
            "rms_norm",
            vec![x.clone(), w.clone()],
            [
                |i| rms_norm(&i[0], &i[1], 1e-5),
                |i| composed::rms_norm(&i[0], &i[1], 1e-5),
            ],
        ),
        (
            "layer_norm",
            vec![x.clone(), w, b],
            [
                |i| layer_norm(&i[0], &i[1], &i[2], 1e-5),
                |i| composed::layer_norm(&i[0], &i[1], &i[2], 1e-5),
            ],
        ),
        (
            "rope",
            vec![x.clone()],
            [|i| rope(&i[0], &turn()), |i| composed::rope(&i[0], &turn())],
        ),
        (
            "attention",
            vec![q, k, v, bias, sinks],
            [
                |i| scaled_dot_product_attention_with(&i[0], &i[1], &i[2], &attend(i)),
                |i| composed::scaled_dot_product_attention(&i[0], &i[1], &i[2], &attend(i)),
            ],
        ),
        (
            "cross_entropy",
            vec![x],
            [
                |i| cross_entropy(&i[0], &array!([[0, 5, 2], [1, 1, 3]])),
                |i| composed::cross_entropy(&i[0], &array!([[0, 5, 2], [1, 1, 3]])),
            ],
        ),
    ]
}

#[track_caller]
fn assert_near(what: &str, a: &Array, b: &Array) {
    let (a, b) = (a.to_vec::<f32>().unwrap(), b.to_vec::<f32>().unwrap());
    assert_eq!(a.len(), b.len(), "{what}");
    for (a, b) in a.into_iter().zip(b) {
        assert!(
            (a - b).abs() <= 1e-5 * (1.0 + b.abs()),
            "{what}: {a} and {b}"
        );
    }
}

#[test]
fn gradients_of_fused_and_composed_agree_in_every_input() {
    for (name, inputs, functions) in kernels() {
        let inputs: Vec<&Array> = inputs.iter().collect();
        let cotangent = numbers(
            9.0,
            &functions[0](&inputs.iter().map(|&x| x.clone()).collect::<Vec<_>>())
                .shape()
                .unwrap(),
        );
        let [fused, composed] = functions.map(|function| {
            let function = move |inputs: &[Array]| Ok(vec![function(inputs).checked()?]);
            vjp(function, &inputs, &[&cotangent]).unwrap()
        });
        assert_near(name, &fused[0][0], &composed[0][0]);
        for (k, (a, b)) in fused[1].iter().zip(&composed[1]).enumerate() {
            assert_near(&format!("{name}, gradient {k}"), a, b);
            assert!(
                a.abs().max(()).item::<f32>().unwrap() > 1e-3,
                "{name}: gradient {k} is nothing"
            );
        }
    }
}

#[test]
fn gradients_agree_with_differences_of_values() {
    for (name, inputs, functions) in kernels() {
        for function in functions {
            let total = |inputs: &[Array]| function(inputs).sum(()).item::<f32>().unwrap();
            let as_function = move |inputs: &[Array]| Ok(vec![function(inputs).sum(()).checked()?]);
            let refs: Vec<&Array> = inputs.iter().collect();
            let [_, gradients] = vjp(as_function, &refs, &[&array!(1.0)]).unwrap();
            for (k, gradient) in gradients.iter().enumerate() {
                let direction = numbers(10.0, &inputs[k].shape().unwrap());
                let moved = |by: f32| {
                    let mut inputs = inputs.clone();
                    inputs[k] = &inputs[k] + &direction * by;
                    total(&inputs)
                };
                let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                let want = (gradient * &direction).sum(()).item::<f32>().unwrap();
                assert!(
                    (slope - want).abs() < 2e-2 * (1.0 + want.abs()),
                    "{name}, input {k}: {slope} and {want}"
                );
            }
        }
    }
}

#[test]
fn a_query_that_sees_no_key_sends_back_zeros_and_no_nan() {
    let (q, k, v) = (
        numbers(1.0, &[1, 2, 3, 4]),
        numbers(2.0, &[1, 2, 3, 4]),
        numbers(3.0, &[1, 2, 3, 4]),
    );
    let masks: [fn() -> AttentionMask; 2] = [
        || AttentionMask::bool(&array!([[true], [false], [true]])),
        || AttentionMask::additive(&array!([[0.0], [f32::NEG_INFINITY], [0.0]])),
    ];
    for mask in masks {
        for function in [
            scaled_dot_product_attention_with,
            composed::scaled_dot_product_attention,
        ] {
            let attend = move |i: &[Array]| {
                let options = AttentionOptions {
                    mask: mask(),
                    ..Default::default()
                };
                Ok(vec![function(&i[0], &i[1], &i[2], &options).checked()?])
            };
            let one = crate::ones([1, 2, 3, 4]);
            let [_, gradients] = vjp(attend, &[&q, &k, &v], &[&one]).unwrap();
            for gradient in &gradients {
                assert!(gradient.isfinite().all(()).item::<bool>().unwrap());
            }
            let rows = gradients[0].abs().sum([0, 1, 3]).to_vec::<f32>().unwrap();
            assert!(rows[0] > 0.0 && rows[1] == 0.0 && rows[2] > 0.0, "{rows:?}");
        }
    }
}

#[test]
fn fused_kernels_map_over_an_axis() {
    let (x, w) = (numbers(1.0, &[3, 2, 6]), numbers(2.0, &[6]));
    let norm = |i: &[Array]| Ok(vec![rms_norm(&i[0], &i[1], 1e-5).checked()?]);
    let mapped = vmap(norm, &[&x, &w], &[0, -1]).unwrap();
    assert_near("rms_norm", &mapped[0], &rms_norm(&x, &w, 1e-5));
}

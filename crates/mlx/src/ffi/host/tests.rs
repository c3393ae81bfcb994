//! Gradients, tangents and vmap of host kernels, asked of MLX itself.

use super::*;
use crate::ArrayType;
use crate::fast::{HostKernel, host_kernel, host_kernel_runs_of};
use crate::{Array, array};
use mlx_testdata::needs;

/// `x^2 * y` in Rust, whose composed form is told apart by being in MLX's operations.
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

/// The kernel as MLX's transforms take functions.
fn closure(kernel: HostKernel) -> Closure {
    let body = move |inputs: Vec<Handle>| {
        let inputs: Vec<Array> = inputs.into_iter().map(Array::from_handle).collect();
        let inputs: Vec<&Array> = inputs.iter().collect();
        let outputs = kernel
            .apply(&inputs)
            .map_err(|error| NativeError(error.to_string()))?;
        outputs
            .iter()
            .map(|output| {
                output
                    .typed()
                    .map_err(|error| NativeError(error.to_string()))?
                    .duplicate()
            })
            .collect()
    };
    Closure::new(Box::new(body)).unwrap()
}

fn vector(arrays: &[&Array]) -> Vector {
    Vector::of_handles(arrays.iter().map(|array| array.typed().unwrap())).unwrap()
}

fn arrays(vector: &Vector) -> Vec<Vec<f32>> {
    let handles = vector.handles().unwrap().into_iter();
    handles
        .map(|handle| Array::from_handle(handle).to_vec().unwrap())
        .collect()
}

/// `mlx_vjp` and `mlx_jvp`: values, and what is carried back or forward.
fn derive(
    kernel: HostKernel,
    forward: bool,
    primals: &[&Array],
    carried: &[&Array],
) -> Result<[Vector; 2], NativeError> {
    let (api, fun) = (api()?, closure(kernel));
    let (primals, carried) = (vector(primals), vector(carried));
    let (mut values, mut results) = (Vector::new()?, Vector::new()?);
    let status = if forward {
        // SAFETY: closure and lists are alive for the call; the slots are lists owned here.
        unsafe {
            api.mlx_jvp(
                values.slot(),
                results.slot(),
                fun.raw(),
                primals.raw(),
                carried.raw(),
            )
        }
    } else {
        // SAFETY: closure and lists are alive for the call; the slots are lists owned here.
        unsafe {
            api.mlx_vjp(
                values.slot(),
                results.slot(),
                fun.raw(),
                primals.raw(),
                carried.raw(),
            )
        }
    };
    check(api, status)?;
    Ok([values, results])
}

fn vmap(kernel: HostKernel, inputs: &[&Array], axes: &[c_int]) -> Result<Vector, NativeError> {
    let (api, fun, inputs) = (api()?, closure(kernel), vector(inputs));
    let (mut traced_in, mut traced_out, mut results) =
        (Vector::new()?, Vector::new()?, Vector::new()?);
    // SAFETY: closure and lists are alive for the call; the slots are lists owned here.
    let status = unsafe {
        let (slots, len) = ((traced_in.slot(), traced_out.slot()), axes.len());
        api.mlx_detail_vmap_trace(
            slots.0,
            slots.1,
            fun.raw(),
            inputs.raw(),
            axes.as_ptr(),
            len,
        )
    };
    check(api, status)?;
    let (from, to, out_axes) = (traced_in.raw(), traced_out.raw(), [0]);
    let (axes, n_axes, n_out) = (axes.as_ptr(), axes.len(), out_axes.len());
    let slot = results.slot();
    // SAFETY: lists and axes are alive for the call; the slot is a list owned here.
    let status = unsafe {
        api.mlx_detail_vmap_replace(
            slot,
            inputs.raw(),
            from,
            to,
            axes,
            n_axes,
            out_axes.as_ptr(),
            n_out,
        )
    };
    check(api, status)?;
    Ok(results)
}

#[test]
fn gradients_go_through_the_composed_form_and_values_through_rust() {
    needs!(CpuKernels);
    let (x, y, one) = (array!([2.0, 3.0]), array!([5.0, 7.0]), array!([1.0, 10.0]));
    let [values, gradients] =
        derive(differentiable("test.vjp"), false, &[&x, &y], &[&one]).unwrap();
    let before = host_kernel_runs_of("test.vjp");
    assert_eq!(arrays(&values), [[20.0, 63.0]]);
    assert_eq!(host_kernel_runs_of("test.vjp"), before + 1);
    assert_eq!(arrays(&gradients), [[20.0, 420.0], [4.0, 90.0]]);
}

#[test]
fn tangents_go_through_the_composed_form() {
    let (x, y) = (array!([2.0, 3.0]), array!([5.0, 7.0]));
    let (dx, dy) = (array!([1.0, 0.0]), array!([0.0, 1.0]));
    let [_, tangents] = derive(differentiable("test.jvp"), true, &[&x, &y], &[&dx, &dy]).unwrap();
    assert_eq!(arrays(&tangents), [[20.0, 9.0]]);
}

#[test]
fn vmap_goes_through_the_composed_form() {
    let (x, y) = (array!([[1.0, 2.0], [3.0, 4.0]]), array!([10.0, 100.0]));
    let mapped = vmap(differentiable("test.vmap"), &[&x, &y], &[0, -1]).unwrap();
    assert_eq!(arrays(&mapped), [[10.0, 400.0, 90.0, 1600.0]]);
    let mapped = vmap(differentiable("test.vmap"), &[&x, &y], &[1, 0]).unwrap();
    assert_eq!(arrays(&mapped), [[10.0, 90.0, 400.0, 1600.0]]);
}

#[test]
fn transforms_without_a_composed_form_say_what_is_missing() {
    let (x, y) = (array!([2.0]), array!([5.0]));
    let missing = |fault: NativeError, what: &str| {
        let want = format!("host kernel test.bare: {what} needs the composed form");
        assert!(fault.0.starts_with(&want), "{}", fault.0);
    };
    let fault = derive(product("test.bare"), false, &[&x, &y], &[&x])
        .err()
        .unwrap();
    missing(fault, "a gradient");
    let fault = derive(product("test.bare"), true, &[&x, &y], &[&x, &x])
        .err()
        .unwrap();
    missing(fault, "a tangent");
    missing(
        vmap(product("test.bare"), &[&x, &y], &[0, 0])
            .err()
            .unwrap(),
        "vmap",
    );
}

#[test]
fn an_error_in_the_composed_form_is_reported_and_a_panic_goes_on() {
    let (x, y) = (array!([2.0, 3.0]), array!([5.0, 7.0]));
    let bad = product("test.bad").composed(|inputs| vec![&inputs[0] + array!([1.0, 2.0, 3.0])]);
    let fault = derive(bad, false, &[&x, &y], &[&x]).err().unwrap();
    assert!(
        fault.0.contains("in the composed form: add: "),
        "{}",
        fault.0
    );
    let panics = product("test.panics").composed(|_| panic!("not today"));
    let derived = || derive(panics, false, &[&x, &y], &[&x]).is_ok();
    let panic = catch_unwind(AssertUnwindSafe(derived));
    assert_eq!(
        panic.unwrap_err().downcast_ref::<&str>(),
        Some(&"not today")
    );
}

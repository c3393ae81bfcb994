//! Functions over raw slices as MLX primitives.

mod support;

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

use mlx_sys as sys;
use support::{Array, api, checked, cpu, item, list, text};

static FREED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn freed(_: *mut c_void) {
    FREED.fetch_add(1, Ordering::SeqCst);
}

/// `out = 2 * in`, whatever the strides of a 1-D input.
unsafe extern "C" fn double(
    _: *mut c_void,
    inputs: *const sys::mlx_native_buffer,
    n_inputs: usize,
    outputs: *const sys::mlx_native_buffer,
    n_outputs: usize,
) -> c_int {
    assert_eq!((n_inputs, n_outputs), (1, 1));
    // SAFETY: MLX passes one input and one output of `float32` with equal sizes.
    unsafe {
        let (input, output) = (&*inputs, &*outputs);
        for i in 0..output.size {
            let at = i as isize * *input.strides as isize;
            *output.data.cast::<f32>().add(i) = 2.0 * *input.data.cast::<f32>().offset(at);
        }
    }
    0
}

/// Fails after writing something that must not be seen.
unsafe extern "C" fn fail(
    _: *mut c_void,
    _: *const sys::mlx_native_buffer,
    _: usize,
    outputs: *const sys::mlx_native_buffer,
    _: usize,
) -> c_int {
    // SAFETY: the output has at least one element of 4 bytes.
    unsafe { *(*outputs).data.cast::<i32>() = 1 << 30 };
    let text = text("100% wrong");
    // SAFETY: the text lives during the call.
    unsafe { api().mlx_native_error_set(text.as_ptr()) };
    1
}

/// `x + x`, the composed form of `double`.
unsafe extern "C" fn composed(
    res: *mut sys::mlx_vector_array,
    inputs: sys::mlx_vector_array,
) -> c_int {
    let x = item(inputs, 0);
    let mut sum = Array::empty();
    // SAFETY: the handles are alive; `res` is MLX's slot.
    unsafe {
        let stream = cpu();
        if api().mlx_add(&raw mut sum.0, x.0, x.0, stream) != 0 {
            return 1;
        }
        api().mlx_vector_array_set(res, list(&[&sum]))
    }
}

struct Kernel {
    name: &'static str,
    run: sys::mlx_native_kernel,
    composed: bool,
    row_contiguous: bool,
    identity: u64,
    dtype: sys::mlx_dtype,
}

const DOUBLE: Kernel = Kernel {
    name: "double",
    run: Some(double),
    composed: true,
    row_contiguous: false,
    identity: 0,
    dtype: sys::mlx_dtype__MLX_FLOAT32,
};

fn no_closure() -> sys::mlx_closure {
    sys::mlx_closure {
        ctx: std::ptr::null_mut(),
    }
}

impl Kernel {
    /// Applies the kernel to a 1-D array; the result has its shape.
    fn apply_on(&self, x: &Array, stream: sys::mlx_stream) -> Result<Array, String> {
        let name = text(self.name);
        // SAFETY: the handles and lists live during the call; nothing is kept but the function pointers.
        unsafe {
            let shape = api().mlx_array_shape(x.0);
            let ndim = api().mlx_array_ndim(x.0);
            let mut results = api().mlx_vector_array_new();
            let closure = if self.composed {
                api().mlx_closure_new_func(Some(composed))
            } else {
                no_closure()
            };
            checked(api().mlx_native_host_kernel(
                &raw mut results,
                name.as_ptr(),
                list(&[x]),
                shape,
                &raw const ndim,
                &raw const self.dtype,
                1,
                self.run,
                std::ptr::null_mut(),
                Some(freed),
                closure,
                self.row_contiguous,
                std::ptr::null(),
                sys::mlx_vector_array {
                    ctx: std::ptr::null_mut(),
                },
                self.identity,
                stream,
            ))?;
            let result = item(results, 0);
            api().mlx_vector_array_free(results);
            Ok(result)
        }
    }

    fn apply(&self, x: &Array) -> Array {
        self.apply_on(x, cpu()).unwrap()
    }
}

fn runs(name: &str) -> u64 {
    let name = text(name);
    // SAFETY: the name lives during the call.
    unsafe { api().mlx_native_host_kernel_runs_of(name.as_ptr()) }
}

#[test]
fn runs_lazily_and_is_counted_by_name() {
    let kernel = Kernel {
        name: "counted",
        ..DOUBLE
    };
    let y = kernel.apply(&Array::vector(&[1.0, 2.0, 3.0]));
    assert_eq!(runs("counted"), 0);
    assert_eq!(y.values(), [2.0, 4.0, 6.0]);
    assert_eq!(runs("counted"), 1);
    // SAFETY: no conditions.
    assert!(unsafe { api().mlx_native_host_kernel_runs() } >= 1);
}

#[test]
fn sees_strides_or_a_contiguous_copy() {
    let x = Array::vector(&[1.0, 2.0, 3.0, 4.0]);
    let mut odd = Array::empty();
    // SAFETY: the handles are alive, the result slot is empty.
    checked(unsafe {
        api().mlx_slice(
            &raw mut odd.0,
            x.0,
            [0].as_ptr(),
            1,
            [4].as_ptr(),
            1,
            [2].as_ptr(),
            1,
            cpu(),
        )
    })
    .unwrap();
    assert_eq!(DOUBLE.apply(&odd).values(), [2.0, 6.0]);
    let contiguous = Kernel {
        row_contiguous: true,
        ..DOUBLE
    };
    assert_eq!(contiguous.apply(&odd).values(), [2.0, 6.0]);
}

#[test]
fn reports_its_error_at_eval_with_the_literal_text() {
    let kernel = Kernel {
        name: "failing",
        run: Some(fail),
        ..DOUBLE
    };
    let y = kernel.apply(&Array::vector(&[1.0]));
    assert_eq!(y.eval(), Err("100% wrong".to_owned()));
    // The stream goes on working.
    assert_eq!(DOUBLE.apply(&Array::vector(&[1.0])).values(), [2.0]);
}

#[test]
fn leaves_zeros_for_what_is_queued_behind_a_failure() {
    // The kernel writes an index far outside before it fails; taking with it would read foreign memory.
    let kernel = Kernel {
        name: "bad index",
        run: Some(fail),
        dtype: sys::mlx_dtype__MLX_INT32,
        ..DOUBLE
    };
    let index = kernel.apply(&Array::integers(&[0]));
    let values = Array::vector(&[5.0, 6.0]);
    let mut taken = Array::empty();
    // SAFETY: the handles are alive, the result slot is empty.
    checked(unsafe { api().mlx_take(&raw mut taken.0, values.0, index.0, cpu()) }).unwrap();
    assert!(taken.eval().unwrap_err().contains("100% wrong"));
}

#[test]
fn differentiates_through_the_composed_form() {
    let x = Array::vector(&[1.0, 2.0]);
    let ones = Array::vector(&[1.0, 1.0]);
    // SAFETY: the handles are alive, the result slots are lists.
    let (gradient, tangent) = unsafe {
        let closure = api().mlx_closure_new_func(Some(apply_double));
        let (mut values, mut gradients) =
            (api().mlx_vector_array_new(), api().mlx_vector_array_new());
        checked(api().mlx_vjp(
            &raw mut values,
            &raw mut gradients,
            closure,
            list(&[&x]),
            list(&[&ones]),
        ))
        .unwrap();
        let (mut values, mut tangents) =
            (api().mlx_vector_array_new(), api().mlx_vector_array_new());
        checked(api().mlx_jvp(
            &raw mut values,
            &raw mut tangents,
            closure,
            list(&[&x]),
            list(&[&ones]),
        ))
        .unwrap();
        (item(gradients, 0), item(tangents, 0))
    };
    assert_eq!(gradient.values(), [2.0, 2.0]);
    assert_eq!(tangent.values(), [2.0, 2.0]);
}

unsafe extern "C" fn apply_double(
    res: *mut sys::mlx_vector_array,
    inputs: sys::mlx_vector_array,
) -> c_int {
    let y = DOUBLE.apply(&item(inputs, 0));
    // SAFETY: `res` is MLX's slot.
    unsafe { api().mlx_vector_array_set(res, list(&[&y])) }
}

unsafe extern "C" fn apply_plain(
    res: *mut sys::mlx_vector_array,
    inputs: sys::mlx_vector_array,
) -> c_int {
    let kernel = Kernel {
        name: "plain",
        composed: false,
        ..DOUBLE
    };
    let y = kernel.apply(&item(inputs, 0));
    // SAFETY: `res` is MLX's slot.
    unsafe { api().mlx_vector_array_set(res, list(&[&y])) }
}

#[test]
fn refuses_a_gradient_without_a_composed_form() {
    let x = Array::vector(&[1.0]);
    // SAFETY: the handles are alive, the result slots are lists.
    let error = unsafe {
        let closure = api().mlx_closure_new_func(Some(apply_plain));
        let (mut values, mut gradients) =
            (api().mlx_vector_array_new(), api().mlx_vector_array_new());
        checked(api().mlx_vjp(
            &raw mut values,
            &raw mut gradients,
            closure,
            list(&[&x]),
            list(&[&x]),
        ))
        .unwrap_err()
    };
    assert!(
        error.contains("plain: a gradient needs the composed form"),
        "{error}"
    );
}

#[test]
fn vectorizes_through_the_composed_form() {
    let flat = Array::vector(&[1.0, 2.0, 3.0, 4.0]);
    let mut matrix = Array::empty();
    // SAFETY: the handles are alive, the result slots are lists or empty.
    let result = unsafe {
        checked(api().mlx_reshape(&raw mut matrix.0, flat.0, [2, 2].as_ptr(), 2, cpu())).unwrap();
        let closure = api().mlx_closure_new_func(Some(apply_double));
        let (mut traced, mut results) =
            (api().mlx_vector_array_new(), api().mlx_vector_array_new());
        let mut outputs = api().mlx_vector_array_new();
        let axes = [0];
        let inputs = list(&[&matrix]);
        checked(api().mlx_detail_vmap_trace(
            &raw mut traced,
            &raw mut results,
            closure,
            inputs,
            axes.as_ptr(),
            1,
        ))
        .unwrap();
        checked(api().mlx_detail_vmap_replace(
            &raw mut outputs,
            inputs,
            traced,
            results,
            axes.as_ptr(),
            1,
            axes.as_ptr(),
            1,
        ))
        .unwrap();
        item(outputs, 0)
    };
    assert_eq!(result.values(), [2.0, 4.0, 6.0, 8.0]);
}

fn compiled(
    function: unsafe extern "C" fn(*mut sys::mlx_vector_array, sys::mlx_vector_array) -> c_int,
    shapeless: bool,
) -> Result<Array, String> {
    let x = Array::vector(&[1.0, 2.0]);
    // SAFETY: the handles are alive, the result slots are empty.
    unsafe {
        let closure = api().mlx_closure_new_func(Some(function));
        let mut fast = no_closure();
        let id = api().mlx_native_next_id() as usize;
        checked(api().mlx_detail_compile(
            &raw mut fast,
            closure,
            id,
            shapeless,
            std::ptr::null(),
            0,
        ))?;
        let mut results = api().mlx_vector_array_new();
        checked(api().mlx_closure_apply(&raw mut results, fast, list(&[&x])))?;
        // Another shape, for which a shapeless function is not traced again.
        let x = Array::vector(&[1.0, 2.0, 3.0]);
        checked(api().mlx_closure_apply(&raw mut results, fast, list(&[&x])))?;
        Ok(item(results, 0))
    }
}

#[test]
fn runs_in_a_compiled_function() {
    assert_eq!(
        compiled(apply_double, false).unwrap().values(),
        [2.0, 4.0, 6.0]
    );
}

#[test]
fn runs_in_a_shapeless_function_whose_sizes_the_composed_form_tells() {
    assert_eq!(
        compiled(apply_double, true).unwrap().values(),
        [2.0, 4.0, 6.0]
    );
}

/// Adds two applications of one kernel to one input.
unsafe extern "C" fn twice_same(
    res: *mut sys::mlx_vector_array,
    inputs: sys::mlx_vector_array,
) -> c_int {
    let kernel = Kernel {
        name: "same",
        identity: 7,
        ..DOUBLE
    };
    add_two(res, inputs, &kernel)
}

unsafe extern "C" fn twice_different(
    res: *mut sys::mlx_vector_array,
    inputs: sys::mlx_vector_array,
) -> c_int {
    let kernel = Kernel {
        name: "different",
        identity: 0,
        ..DOUBLE
    };
    add_two(res, inputs, &kernel)
}

fn add_two(
    res: *mut sys::mlx_vector_array,
    inputs: sys::mlx_vector_array,
    kernel: &Kernel,
) -> c_int {
    let x = item(inputs, 0);
    let (a, b) = (kernel.apply(&x), kernel.apply(&x));
    let mut sum = Array::empty();
    // SAFETY: the handles are alive; `res` is MLX's slot.
    unsafe {
        checked(api().mlx_add(&raw mut sum.0, a.0, b.0, cpu())).unwrap();
        api().mlx_vector_array_set(res, list(&[&sum]))
    }
}

#[test]
fn merges_equal_applications_only_with_an_identity() {
    assert_eq!(
        compiled(twice_same, false).unwrap().values(),
        [4.0, 8.0, 12.0]
    );
    assert_eq!(runs("same"), 1);
    assert_eq!(
        compiled(twice_different, false).unwrap().values(),
        [4.0, 8.0, 12.0]
    );
    assert_eq!(runs("different"), 2);
}

#[test]
fn frees_its_payload_also_when_it_is_refused() {
    let before = FREED.load(Ordering::SeqCst);
    let missing = sys::mlx_stream {
        ctx: std::ptr::null_mut(),
    };
    let error = DOUBLE
        .apply_on(&Array::vector(&[1.0]), missing)
        .map(|_| ())
        .unwrap_err();
    assert!(!error.is_empty());
    assert!(FREED.load(Ordering::SeqCst) > before);
}

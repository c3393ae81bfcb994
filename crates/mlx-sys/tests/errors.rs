//! Error texts are literal, belong to their thread, and the first one stays.

mod support;

use support::{Array, api, checked, cpu, take_error, text};

#[test]
fn keeps_percent_signs_of_a_path() {
    let mut array = Array::empty();
    let path = text("/no%d%s%n/file.npy");
    // SAFETY: the path lives during the call, the result slot is empty.
    let error =
        checked(unsafe { api().mlx_load(&raw mut array.0, path.as_ptr(), cpu()) }).unwrap_err();
    assert!(error.contains("/no%d%s%n/file.npy"), "{error}");
    assert!(
        !error.contains(".cpp:"),
        "no place in the C source: {error}"
    );
}

#[test]
fn keeps_the_first_text_until_it_is_cleared() {
    let (first, second) = (text("first"), text("second"));
    // SAFETY: the texts live during the calls, which copy them.
    unsafe {
        api().mlx_native_error_clear();
        api().mlx_native_error_set(first.as_ptr());
        api().mlx_native_error_set(second.as_ptr());
    }
    assert_eq!(take_error().as_deref(), Some("first"));
    assert_eq!(take_error(), None);
}

#[test]
fn keeps_one_text_for_each_thread() {
    let mine = text("mine");
    // SAFETY: the text lives during the call.
    unsafe { api().mlx_native_error_set(mine.as_ptr()) };
    assert_eq!(std::thread::spawn(take_error).join().unwrap(), None);
    assert_eq!(take_error().as_deref(), Some("mine"));
}

#[test]
fn reports_mismatched_shapes_without_ending_the_process() {
    let (a, b) = (Array::vector(&[1.0, 2.0]), Array::vector(&[1.0, 2.0, 3.0]));
    let mut sum = Array::empty();
    // SAFETY: the handles are alive, the result slot is empty.
    let error = checked(unsafe { api().mlx_add(&raw mut sum.0, a.0, b.0, cpu()) }).unwrap_err();
    assert!(error.contains("broadcast"), "{error}");
    // Nothing of it is left for the next call.
    assert_eq!(take_error(), None);
}

#[test]
fn hands_out_each_id_once() {
    let draw = || -> Vec<u64> {
        // SAFETY: no conditions.
        (0..1000)
            .map(|_| unsafe { api().mlx_native_next_id() })
            .collect()
    };
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draw)).collect();
    let mut ids: Vec<u64> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4000);
    assert!(!ids.contains(&0));
}

#[test]
fn refuses_the_data_of_an_array_that_is_not_evaluated() {
    let a = Array::vector(&[1.0]);
    let mut b = Array::empty();
    // SAFETY: the handles are alive, the result slot is empty.
    unsafe {
        checked(api().mlx_exp(&raw mut b.0, a.0, cpu())).unwrap();
        assert!(api().mlx_native_data(b.0).is_null());
    }
    assert!(take_error().unwrap().contains("not evaluated"));
    b.eval().unwrap();
    // SAFETY: evaluated now.
    assert!(unsafe { !api().mlx_native_data(b.0).is_null() });
}

#[test]
fn sees_a_graph_without_running_it() {
    let a = Array::vector(&[1.0]);
    let (mut b, mut c) = (Array::empty(), Array::empty());
    let mut name = mlx_sys::mlx_string {
        ctx: std::ptr::null_mut(),
    };
    let mut size = 0;
    // SAFETY: the handles are alive, the result slots are empty; the text is read before it is freed.
    unsafe {
        checked(api().mlx_exp(&raw mut b.0, a.0, cpu())).unwrap();
        checked(api().mlx_multiply(&raw mut c.0, b.0, b.0, cpu())).unwrap();
        checked(api().mlx_native_graph_size(&raw mut size, c.0)).unwrap();
        checked(api().mlx_native_primitive_name(&raw mut name, c.0)).unwrap();
        let found = std::ffi::CStr::from_ptr(api().mlx_string_data(name)).to_str();
        assert_eq!(found, Ok("Multiply"));
        api().mlx_string_free(name);
    }
    assert_eq!(size, 2);
}

//! Two arrays are added through the loaded library.
#![allow(clippy::undocumented_unsafe_blocks)]

use mlx_sys as sys;

#[test]
fn adds_two_arrays() {
    let api = sys::api().unwrap_or_else(|error| panic!("{error}"));
    let null = std::ptr::null_mut();
    unsafe {
        let a = api.mlx_array_new_float(1.5);
        let b = api.mlx_array_new_float(2.0);
        let stream = api.mlx_default_cpu_stream_new();
        let mut sum = sys::mlx_array { ctx: null };
        assert_eq!(api.mlx_add(&mut sum, a, b, stream), 0);
        let mut value = 0.0f32;
        assert_eq!(api.mlx_array_item_float32(&mut value, sum), 0);
        assert_eq!(value, 3.5);
        for array in [a, b, sum] {
            assert_eq!(api.mlx_array_free(array), 0);
        }
        assert_eq!(api.mlx_stream_free(stream), 0);
    }
}

#[test]
fn multiplies_matrices_at_speed() {
    let api = sys::api().unwrap_or_else(|error| panic!("{error}"));
    let null = std::ptr::null_mut();
    unsafe {
        let stream = api.mlx_default_cpu_stream_new();
        let shape = [1024, 1024];
        let mut ones = sys::mlx_array { ctx: null };
        assert_eq!(
            api.mlx_ones(
                &mut ones,
                shape.as_ptr(),
                2,
                sys::mlx_dtype__MLX_FLOAT32,
                stream
            ),
            0
        );
        assert_eq!(api.mlx_array_eval(ones), 0);
        for _ in 0..5 {
            let start = std::time::Instant::now();
            let mut product = sys::mlx_array { ctx: null };
            assert_eq!(api.mlx_matmul(&mut product, ones, ones, stream), 0);
            assert_eq!(api.mlx_array_eval(product), 0);
            println!("{:?}", start.elapsed());
            api.mlx_array_free(product);
        }
        api.mlx_array_free(ones);
    }
}

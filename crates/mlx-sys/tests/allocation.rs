//! A failed allocation is an error. Each in its own process, because it used to be a crash.
#![cfg(target_os = "linux")]

mod support;

use support::{Array, api, checked, cpu, in_own_process};

#[test]
fn reports_an_allocation_that_fails() {
    let (ok, said) = in_own_process("allocate_too_much", &[]);
    assert!(ok, "{said}");
}

#[test]
fn allocate_too_much() {
    if !support::is_own_process() {
        return;
    }
    let shape = [1 << 20, 1 << 20];
    let dtype = mlx_sys::mlx_dtype__MLX_FLOAT32;
    let mut zeros = Array::empty();
    let a = Array::vector(&[1.0, 2.0]);
    let (mut big, mut sum) = (Array::empty(), Array::empty());
    let mut before = 0;
    // SAFETY: the handles are alive, the result slots are empty.
    unsafe {
        checked(api().mlx_get_active_memory(&raw mut before)).unwrap();
        // A broadcast value needs no memory by itself; adding one to it does.
        checked(api().mlx_zeros(&raw mut zeros.0, shape.as_ptr(), 2, dtype, cpu())).unwrap();
        checked(api().mlx_exp(&raw mut big.0, zeros.0, cpu())).unwrap();
        for _ in 0..3 {
            let error = big.eval().unwrap_err();
            assert!(
                error.contains("cannot allocate 4398046511104 bytes"),
                "{error}"
            );
        }
        // Nothing is counted that was not allocated, and MLX goes on.
        let mut after = 0;
        checked(api().mlx_get_active_memory(&raw mut after)).unwrap();
        assert!(after < before + 1024, "{before} {after}");
        checked(api().mlx_add(&raw mut sum.0, a.0, a.0, cpu())).unwrap();
    }
    assert_eq!(sum.values(), [2.0, 4.0]);
}

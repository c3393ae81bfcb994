//! Which path fused calls take on this device.

use mlx::fast::{
    self, AttentionMask, AttentionOptions, Backend, FastOp, RopeOptions, backend, composed, probe,
    trace_backends,
};
use mlx::{Device, array};

/// On the CPU kernels are ours, on Linux; on a GPU MLX has all five on CUDA and all but cross entropy on Metal.
fn expected(kernel: FastOp) -> Option<Backend> {
    match Device::current().unwrap() {
        Device::Cpu if !mlx::cpu::are_kernels_enabled() => Some(Backend::Composed),
        Device::Cpu => Some(Backend::Host),
        Device::Gpu if kernel == FastOp::CrossEntropy => None,
        // By dtype and size: CUDA has none for `float32`.
        Device::Gpu if kernel == FastOp::ScaledDotProductAttention => None,
        Device::Gpu => Some(Backend::Fused),
    }
}

#[test]
fn each_kernel_can_be_probed() {
    for kernel in FastOp::ALL {
        let path = probe(kernel).unwrap();
        println!("{kernel}: {path}");
        if let Some(want) = expected(kernel) {
            assert_eq!(path, want, "{kernel}");
        }
    }
}

#[test]
fn the_path_of_one_result_is_asked_before_it_is_computed() {
    let x = mlx::ones([1, 2, 3, 64]);
    let options = AttentionOptions::default();
    let results = [
        (FastOp::RmsNorm, fast::rms_norm(&x, None, 1e-5)),
        (FastOp::LayerNorm, fast::layer_norm(&x, None, None, 1e-5)),
        (FastOp::Rope, fast::rope(&x, &RopeOptions::default())),
        (
            FastOp::ScaledDotProductAttention,
            fast::scaled_dot_product_attention_with(&x, &x, &x, &options),
        ),
    ];
    for (kernel, result) in results {
        let path = backend(&result).unwrap();
        if let Some(want) = expected(kernel) {
            assert_eq!(path, want, "{kernel}");
        }
    }
    assert_eq!(
        backend(&composed::rms_norm(&x, None, 1e-5)).unwrap(),
        Backend::Composed
    );
    let text = backend(&array!([1.0])).unwrap_err().to_string();
    assert!(
        text.starts_with("fast.backend: the array has been computed, ask before eval; at "),
        "{text}"
    );
    let failed = array!([1.0, 2.0]) + array!([1.0, 2.0, 3.0]);
    assert!(
        backend(&failed)
            .unwrap_err()
            .to_string()
            .starts_with("add: ")
    );
}

#[test]
fn a_watch_sees_kernels_behind_masks_and_reshapes_and_in_nested_work() {
    let x = mlx::ones([1, 2, 3, 64]);
    let mask = AttentionMask::causal().and_bool(&array!([true, true, false]));
    let options = AttentionOptions {
        mask,
        ..Default::default()
    };
    let ((inner, result), outer) = trace_backends(|| {
        let (_, inner) = trace_backends(|| fast::rope(&x.squeeze(0), &RopeOptions::default()));
        (
            inner,
            fast::scaled_dot_product_attention_with(&x, &x, &x, &options),
        )
    });
    result.eval().unwrap();
    assert_eq!(
        inner.iter().map(|call| call.0).collect::<Vec<_>>(),
        [FastOp::Rope]
    );
    let kernels: Vec<FastOp> = outer.iter().map(|call| call.0).collect();
    assert_eq!(kernels, [FastOp::Rope, FastOp::ScaledDotProductAttention]);
    let (_, after) = trace_backends(|| composed::layer_norm(&x, None, None, 1e-5));
    assert!(after.is_empty());
}

#[test]
fn a_watch_ends_also_when_the_work_panics() {
    let panic = std::panic::catch_unwind(|| trace_backends(|| panic!("over")));
    assert!(panic.is_err());
    let (_, calls) = trace_backends(|| fast::rms_norm(&array!([1.0]), None, 1e-5));
    assert_eq!(calls.len(), 1);
}

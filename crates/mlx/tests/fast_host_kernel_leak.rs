//! Ten thousand applications of host kernels leave nothing behind. In its own process, because it looks at all memory.

use mlx::fast::host_kernel;
use mlx::{Array, memory};

fn apply_many(n: usize) {
    let kernel = host_kernel(
        "test.leak",
        |inputs| Ok(inputs.to_vec()),
        |inputs, outputs| {
            outputs[0]
                .as_mut_slice::<f32>()?
                .copy_from_slice(inputs[0].as_slice::<f32>()?);
            Ok(())
        },
    );
    let kernel = kernel.unwrap().composed(|inputs| vec![inputs[0].clone()]);
    let x = mlx::ones([256]);
    for k in 0..n {
        let y = kernel.apply_one(&[&x]);
        match k % 4 {
            0 => y.eval().unwrap(),
            1 => drop(y),
            2 => assert!(
                kernel
                    .apply(&[&Array::failed(mlx::Error::op("x", "y"))])
                    .is_err()
            ),
            _ => drop(kernel.apply_one(&[&y]).to_vec::<f32>().unwrap()),
        }
    }
    mlx::synchronize().unwrap();
}

/// Resident memory of this process in KiB, where the system tells it.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn ten_thousand_applications_leak_nothing() {
    apply_many(2_000);
    let (active, before) = (memory::usage().unwrap().active, resident());
    apply_many(10_000);
    assert_eq!(memory::usage().unwrap().active, active);
    if let (Some(before), Some(after)) = (before, resident()) {
        // A leak of one application, some hundred bytes, would be more than a MiB.
        assert!(
            after < before + 1024,
            "{before} KiB before, {after} KiB after"
        );
    }
}

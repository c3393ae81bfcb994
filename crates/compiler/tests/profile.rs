//! Profiles: what is measured of a call, and by which lines it is told.

use mlx::{Array, Device, keepdims, ones};
use mlx_compiler::{CompileOptions, KernelFusion, Profile, ScanOptions, jit, jit_with, scan};
use mlx_testdata::needs;

type Outcome = Result<(), mlx_compiler::Error>;

fn line_of(profile: &Profile, operation: &str) -> Option<u32> {
    let row = profile.rows.iter().find(|row| row.operation == operation);
    row?.site.at.map(std::panic::Location::line)
}

#[test]
fn the_parts_of_large_operations_make_up_the_whole() -> Outcome {
    let product = jit(|x: &Array, w: &Array| x.matmul(w).matmul(w).matmul(w));
    let n: i32 = if Device::current()? == Device::Cpu {
        512
    } else {
        8192
    };
    let (x, w) = (ones([n, n]), ones([n, n]));
    let n = u64::from(n.unsigned_abs());
    // Other processes may run beside this one: the best of some.
    let mut ratios = Vec::new();
    for _ in 0..8 {
        let profile = product.profile((&x, &w))?;
        let ratio = profile.sum().as_secs_f64() / profile.whole.as_secs_f64();
        ratios.push((ratio - 1.0).abs());
        assert_eq!(profile.rows.len(), 1, "{profile}");
        assert_eq!(profile.rows[0].count, 3, "{profile}");
        assert_eq!(profile.rows[0].operations, 3 * 2 * n.pow(3));
        assert_eq!(profile.rows[0].bytes, 3 * 3 * n.pow(2) * 4);
    }
    assert!(ratios.iter().any(|off| *off < 0.1), "{ratios:?}");
    Ok(())
}

#[test]
fn operations_are_told_by_line_also_inside_of_kernels() -> Outcome {
    let line = line!() + 2;
    let step = jit(|x: &Array, w: &Array| {
        let scaled = (x * 2.0 + 1.0).tanh();
        scaled.matmul(w)
    });
    let profile = step.profile((&ones([128, 128]), &ones([128, 128])))?;
    assert_eq!(line_of(&profile, "tanh"), Some(line), "{profile}");
    assert_eq!(line_of(&profile, "matmul"), Some(line + 1), "{profile}");
    if Device::current()? == Device::Cpu && mlx::cpu::are_kernels_enabled() {
        let grouped = profile.rows.iter().find(|row| row.operation == "tanh");
        let group = grouped.and_then(|row| row.group.as_deref());
        assert_eq!(group, Some("kernel of 3 operations"), "{profile}");
        assert!(
            profile
                .to_string()
                .contains("tanh in a kernel of 3 operations")
        );
    }
    let shares: f64 = profile.rows.iter().map(|row| profile.share(row)).sum();
    assert!((shares - 1.0).abs() < 1e-6);
    assert!(profile.to_string().contains("profile.rs:"), "{profile}");
    let svg: Vec<_> = profile.stacks();
    assert_eq!(svg.len(), profile.rows.len());
    assert!(
        svg.iter()
            .any(|(frames, _)| frames.last().is_some_and(|one| one == "matmul"))
    );
    Ok(())
}

#[test]
fn caches_are_written_in_place() -> Outcome {
    needs!(CpuKernels, Ok(()));
    let write = jit(|cache: &Array, row: &Array, at: &Array| cache.slice_update(row, at, 0));
    let (cache, row, at) = (ones([4096, 1024]), ones([1, 1024]), Array::new([3]));
    let reads = jit(|cache: &Array| cache.sum(()));
    let mut ratios = Vec::new();
    for _ in 0..5 {
        let written = write.profile((&cache, &row, &at))?.whole;
        ratios.push(written.as_secs_f64() / reads.profile(&cache)?.whole.as_secs_f64());
    }
    // A copy of the cache takes longer than to read it.
    assert!(ratios.iter().any(|ratio| *ratio < 0.5), "{ratios:?}");
    assert_eq!(cache.sum(()).item::<f32>()?, 4096.0 * 1024.0);
    Ok(())
}

/// The GPU's own clock: no operation is nearer to the limit than the device can be, and what the host does is not in it.
#[test]
fn a_gpu_is_measured_by_its_own_clock() -> Outcome {
    needs!(CudaKernels, Ok(()));
    let wide = jit(|x: &Array| (x.sum(keepdims(-1)), x.exp()));
    let profile = wide.profile(&ones([16384, 8192]))?;
    assert!(profile.is_gpu_clock);
    assert!(profile.whole < profile.waited, "{profile}");
    for row in &profile.rows {
        let share = profile.share_of_limit(row);
        assert!((0.3..1.3).contains(&share), "{share} of {row:?}: {profile}");
    }
    let text = profile.to_string();
    assert!(text.contains("on the GPU's clock"), "{text}");
    // A failed operation is an error of the profile.
    let bad = jit(|x: &Array| x.matmul(x));
    assert!(bad.profile(&ones([2, 3])).is_err());
    Ok(())
}

#[test]
fn json_and_html_have_the_rows() -> Outcome {
    let options = CompileOptions {
        kernel_fusion: KernelFusion::Off,
        ..CompileOptions::default()
    };
    let f = jit_with(|x: &Array| x.exp().sum(keepdims(-1)), options);
    let profile = f.profile(&ones([64, 64]))?;
    let value: serde_json::Value = serde_json::from_str(&profile.to_json()).unwrap();
    assert_eq!(value["rows"].as_array().map(Vec::len), Some(2));
    assert!(value["whole_us"].as_f64().unwrap() > 0.0);
    assert!(value["bytes_per_second"].as_f64().unwrap() > 1e8);
    let html = profile.to_html();
    assert_eq!(html.matches("<tr>").count(), 3, "{html}");
    Ok(())
}

#[test]
fn loops_are_one_row_and_a_call_is_a_hit_later() -> Outcome {
    let total = jit(|x: &Array| {
        let step = |c: &Array, x: &Array| (c + x, c * x);
        scan(&x.i(0), x, ScanOptions::default(), step).map(|(last, _)| last)
    });
    let x = ones([8, 16]);
    let profile = total.profile(&x)?;
    assert!(
        profile.rows.iter().any(|row| row.operation == "scan"),
        "{profile}"
    );
    assert_eq!(total.call(&x)?.i(0).item::<f32>()?, 9.0);
    assert_eq!(total.stats().misses, 1);
    Ok(())
}

#[test]
fn a_profile_inside_of_another_trace_and_of_wrong_inputs_is_an_error() -> Outcome {
    let outer = |x: &Array| -> Result<Array, mlx_compiler::Error> {
        jit(|x: &Array| x * 2.0).profile(x)?;
        Ok(x.clone())
    };
    let error = jit(outer).call(&ones([2])).unwrap_err().to_string();
    assert!(
        error.starts_with("profile: wanted a function that is compiled"),
        "{error}"
    );
    let compiled = jit(|x: &Array| x * 2.0).lower(&ones([2]))?.compile()?;
    let error = compiled.profile(&[&ones([3])]).unwrap_err().to_string();
    assert!(
        error.contains("wanted float32[2] as input 0, got float32[3]"),
        "{error}"
    );
    Ok(())
}

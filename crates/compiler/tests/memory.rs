//! Compiled functions and loops hold no more memory than they need, however often they run.

use mlx::{Array, array, keepdims};
use mlx_compiler::{CompileOptions, Error, ScanOptions, jit, jit_with, scan, while_loop};

/// Bytes of memory that this process has in use.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kilobytes.unwrap_or(0) * 1024
}

fn active() -> usize {
    mlx::memory::usage().unwrap().active
}

/// The name of a test of this file in this program, which may hold other files too.
fn in_this_file(name: &str) -> String {
    let file = module_path!().split_once("::");
    file.map_or(name.to_owned(), |(_, file)| format!("{file}::{name}"))
}

/// Runs this test alone in a process of its own: other tests allocate too.
fn alone(name: &str, work: impl FnOnce()) {
    const INNER: &str = "MLX_TEST_ALONE";
    if std::env::var_os(INNER).is_some_and(|inner| inner == name) {
        return work();
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            &in_this_file(name),
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(INNER, name)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

#[test]
fn ten_thousand_shapes_leave_nothing_behind() {
    alone("ten_thousand_shapes_leave_nothing_behind", || {
        let weight = mlx::ones([1, 1]);
        let norm = jit_with(
            move |x: &Array| x * (x.square().mean(keepdims(-1)) + 1e-6).rsqrt() * &weight,
            CompileOptions {
                cache_size: 16,
                ..CompileOptions::default()
            },
        );
        let call = |n: i32| {
            let x = mlx::ones([1 + n / 100, 1 + n % 100]);
            norm.call(&x).unwrap().eval().unwrap();
        };
        (0..500).for_each(call);
        let (before, values) = (resident(), active());
        (500..10_500).for_each(call);
        let stats = norm.stats();
        assert_eq!((stats.entries, stats.evictions), (16, 10_500 - 16));
        let grown = resident().saturating_sub(before);
        assert!(grown < 24 << 20, "the process grew by {grown} bytes");
        assert!(
            active() <= values + (4 << 20),
            "{} bytes of values",
            active()
        );
    });
}

#[test]
fn dropping_a_compiled_function_drops_its_constants() {
    alone("dropping_a_compiled_function_drops_its_constants", || {
        let before = active();
        for _ in 0..20 {
            let weight = mlx::ones([1 << 20]);
            weight.eval().unwrap();
            let f = jit(move |x: &Array| x * &weight);
            f.call(&array!([2.0])).unwrap().eval().unwrap();
        }
        let held = active().saturating_sub(before);
        assert!(held < 8 << 20, "{held} bytes are still held");
    });
}

#[test]
fn loops_keep_no_steps() {
    alone("loops_keep_no_steps", || {
        let many = jit(|x: &Array| -> Result<Array, Error> {
            let (x, _) = while_loop(
                &(x.clone(), array!(0)),
                |(_, n): &(Array, Array)| n.less(2_000),
                |(x, n): &(Array, Array)| ((x * 1.0001).sin(), n + 1),
            )?;
            let ones = mlx::ones([2_000]);
            let step = |x: &Array, one: &Array| ((x + one).sin(), x.sum(()));
            let (x, _) = scan(&x, &ones, ScanOptions::default(), step)?;
            Ok(x)
        });
        let x = mlx::ones([1 << 16]);
        mlx::memory::reset_peak().unwrap();
        let before = active();
        many.call(&x).unwrap().eval().unwrap();
        let peak = mlx::memory::usage().unwrap().peak.saturating_sub(before);
        // A state has a quarter of a megabyte; four thousand of them would have a gigabyte.
        assert!(peak < 24 << 20, "{peak} bytes at the peak");
    });
}

//! A device that is full, and one that processes share: an array larger than its memory is an error after which the next
//! call works, two processes compute beside each other, and one that is killed in the middle does not disturb the other.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mlx::{Array, Dtype, Result, arange, fast, memory, softmax, zeros_with};

/// One round of mixed work; the same numbers every time.
fn round() -> Result<Vec<f32>> {
    let x = (arange(512 * 256).astype(Dtype::Float32) * 0.37)
        .sin()
        .reshape([512, 256]);
    let weight = x.i((..256, ..)).t();
    let y = fast::layer_norm(&x.matmul(&weight), None, None, 1e-5).exp();
    softmax(&y, -1).sum(0).to_vec()
}

/// What does not fit is not asked of the system by this test where it would be given: the limit is what MLX says it is.
#[test]
fn an_array_larger_than_the_memory_is_an_error() {
    let wanted = round().unwrap();
    let limit = memory::usage().unwrap().limit as f64;
    // 200 GB, or more where there is more.
    let bytes = (1.5 * limit).max(2e11);
    let rows = (bytes / f64::from(1 << 30)).ceil() as i32;
    for _ in 0..3 {
        let all = zeros_with([rows, 1 << 28], Dtype::Float32);
        let error = all.eval().unwrap_err().to_string();
        assert!(
            error.contains("memory") || error.contains("allocate"),
            "{error}"
        );
        let sum = (&all + 1.0).eval();
        assert!(sum.is_err());
        assert_eq!(round().unwrap(), wanted);
    }
}

/// Starts this program's test `child_computes` for some time, or without an end.
fn start(seconds: f64) -> Child {
    let around = module_path!().split("::").skip(1).collect::<Vec<_>>();
    let name = [&around[..], &["child_computes"]].concat().join("::");
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--ignored", "--nocapture"])
        .env("COMPUTE_SECONDS", seconds.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

fn is_passed(child: Child) -> bool {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success() && text.contains("1 passed")
}

#[test]
#[ignore = "run by the tests of two processes"]
fn child_computes() {
    let seconds = std::env::var("COMPUTE_SECONDS").unwrap();
    let end = Instant::now() + Duration::from_secs_f64(seconds.parse().unwrap());
    let wanted = round().unwrap();
    while Instant::now() < end {
        assert_eq!(round().unwrap(), wanted);
    }
}

#[test]
fn two_processes_compute_beside_each_other() {
    let wanted = round().unwrap();
    let children = [start(2.0), start(2.0)];
    for _ in 0..20 {
        assert_eq!(round().unwrap(), wanted);
    }
    for child in children {
        assert!(is_passed(child));
    }
}

#[test]
fn a_process_killed_in_the_middle_does_not_disturb_the_other() {
    let wanted = round().unwrap();
    let other = start(3.0);
    for k in 0..4 {
        let mut killed = start(60.0);
        std::thread::sleep(Duration::from_millis(400 + 150 * k));
        killed.kill().unwrap();
        assert!(!killed.wait().unwrap().success());
        assert_eq!(round().unwrap(), wanted);
    }
    assert!(is_passed(other));
    let next: Array = zeros_with([1 << 20], Dtype::Float32) + 1.0;
    assert_eq!(next.sum(()).item::<f32>().unwrap(), f32::powi(2.0, 20));
}

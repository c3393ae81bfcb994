//! Fake runners: shell scripts that speak the protocol, each with its own way of failing.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::Path;
use std::time::Duration;

use mlx_bench::harness::check::Check;
use mlx_bench::harness::inputs::{Draw, Input};
use mlx_bench::harness::limits::Limits;
use mlx_bench::harness::measure::Settings;
use mlx_bench::harness::npy::{self, Values};
use mlx_bench::harness::process::Spec;
use mlx_bench::harness::rows::{Benchmark, Cost, Group, Target};

pub const ID: &str = "add/float32/4/cpu";

/// A runner that answers each request with the lines of a shell `case`; `$out` is the file for the result, `$n` the
/// number of runs, `$ms` a list of that many times.
pub fn spec(folder: &Path, name: &str, cases: &str) -> Spec {
    let script = format!(
        r#"while read -r line; do
id='"id":"{ID}"'
out=$(printf %s "$line" | sed 's/.*"output":"\([^"]*\)".*/\1/')
n=$(printf %s "$line" | sed 's/.*"run":\([0-9]*\).*/\1/')
case "$line" in
*hello*) echo '{{"name":"{name}","version":"1"}}';;
{cases}
*load*) cp {folder}/result.npy "$out"; echo "{{$id,\"loaded\":true}}";;
*run*) ms=$(yes "${{time:-2}}" | head -n "$n" | paste -sd, -); echo "{{$id,\"ms\":[$ms]}}";;
*drop*) echo "{{$id,\"dropped\":true}}";;
esac
done"#,
        folder = folder.display(),
    );
    Spec {
        name: name.to_owned(),
        command: vec!["sh".to_owned(), "-c".to_owned(), script],
        environment: Vec::new(),
        log: folder.join(format!("{name}.log")),
    }
}

/// A folder with the right result, `[1, 2, 3, 4]`, and a wrong one.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, last) in [("result", 4.0), ("wrong", 5.0)] {
        let values = Values::F32(vec![1.0, 2.0, 3.0, last]);
        npy::write(&folder.path().join(format!("{name}.npy")), &[4], &values).unwrap();
    }
    folder
}

pub fn row() -> Benchmark {
    Benchmark {
        id: ID.to_owned(),
        op: "add",
        shape: "4".to_owned(),
        dtype: "float32",
        group: Group::Kernels,
        params: serde_json::json!({}),
        inputs: vec![Input::new(&[4], Draw::Normal(1.0))],
        check: Check::close(1e-3, 1e-3),
        cost: Cost {
            read: 1e9,
            written: 1e9,
            flops: 0.0,
        },
        target: Target::ratio(1.0),
        rivals: &["fast", "slow"],
        forms: &[],
        left_out: &[],
        quick: true,
        note: "",
    }
}

pub fn settings() -> Settings {
    Settings {
        threads: 1,
        rounds: 3,
        budget: Duration::from_millis(8),
        longest: Duration::from_secs(10),
        max_runs_per_round: 10,
        timeout: Duration::from_secs(5),
        own_timeout: Duration::from_secs(600),
        slow: Duration::from_secs(100),
        pause: Duration::ZERO,
    }
}

pub const LIMITS: Limits = Limits {
    copy_gb_s: 1000.0,
    read_gb_s: 1000.0,
    sgemm_gflop_s: 100.0,
    bf16_gflop_s: 0.0,
    pytorch_copy_gb_s: 0.0,
};

//! Python MLX's ranks and ours in one group.

use std::process::{Command, Stdio};

use mlx::distributed;
use mlx::{Array, Dtype};
use rstest::rstest;

use super::ranks::{self, Ranks};

/// What a Python rank does: the same as `child::beside_python`.
const PROGRAM: &str = r#"
import os
import mlx.core as mx
group = mx.distributed.init(strict=True, backend=os.environ.get("MLX_TEST_RANKS", "ring"))
rank, size = group.rank(), group.size()
for dtype in [mx.float32, mx.float16, mx.bfloat16, mx.int32, mx.uint8]:
    for n in [1, 2, 5, 1000, 100003, 1500001]:
        x = ((mx.arange(n) * 7 + rank * 3) % 10).astype(dtype)
        all = [((mx.arange(n) * 7 + r * 3) % 10).astype(dtype) for r in range(size)]
        total, top, low = all[0], all[0], all[0]
        for other in all[1:]:
            total, top, low = total + other, mx.maximum(top, other), mx.minimum(low, other)
        assert mx.array_equal(mx.distributed.all_sum(x), total), (dtype, n)
        assert mx.array_equal(mx.distributed.all_max(x), top), (dtype, n)
        assert mx.array_equal(mx.distributed.all_min(x), low), (dtype, n)
        assert mx.array_equal(mx.distributed.all_gather(x), mx.concatenate(all)), (dtype, n)
        right, left = (rank + 1) % size, (rank + size - 1) % size
        if rank % 2 == 0:
            mx.eval(mx.distributed.send(x, right))
            got = mx.distributed.recv_like(x, left)
            mx.eval(got)
        else:
            got = mx.distributed.recv_like(x, left)
            mx.eval(got)
            mx.eval(mx.distributed.send(x, right))
        assert mx.array_equal(got, all[left]), (dtype, n)
print("python is done")
"#;

/// A Python that has MLX: that of `MLX_TEST_PYTHON`, or `python3`.
fn python() -> Option<String> {
    let named = std::env::var("MLX_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has_mlx = Command::new(&named)
        .args(["-c", "import mlx.core"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    has_mlx.then_some(named)
}

#[rstest]
#[case(&[0], &[1], 1)]
#[case(&[1], &[0], 1)]
#[case(&[0, 2], &[1, 3], 1)]
#[case(&[1, 2], &[0], 2)]
fn python_and_rust_ranks_share_a_group(
    #[case] ours: &[usize],
    #[case] theirs: &[usize],
    #[case] connections: usize,
) {
    let Some(python) = python() else {
        eprintln!("skipped: neither MLX_TEST_PYTHON nor python3 has MLX");
        return;
    };
    let n = ours.len() + theirs.len();
    let ranks = Ranks::start("python::child::beside_python", n, connections, ours);
    let start = |&rank: &usize| {
        let child = Command::new(&python)
            .args(["-c", PROGRAM])
            .env("MLX_HOSTFILE", ranks.folder().join("hosts.json"))
            .env("MLX_RANK", rank.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        (rank, child)
    };
    let others: Vec<_> = theirs.iter().map(start).collect();
    for (rank, child) in others {
        let output = ranks::wait(rank, child);
        assert!(output.contains("python is done"), "rank {rank}: {output}");
    }
    ranks.pass();
}

#[test]
fn python_and_rust_ranks_share_a_group_of_mpi() {
    let Some(python) = python() else {
        eprintln!("skipped: neither MLX_TEST_PYTHON nor python3 has MLX");
        return;
    };
    let Some(mut command) = ranks::mpirun() else {
        return;
    };
    command
        .args(["-n", "1", &python, "-c", PROGRAM, ":", "-n", "2"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &ranks::full_name("python::child::beside_python")])
        .args(["--ignored", "--nocapture"])
        .args([":", "-n", "1", &python, "-c", PROGRAM]);
    let output = ranks::wait(0, command.spawn().unwrap());
    assert_eq!(output.matches("python is done").count(), 2, "{output}");
    assert_eq!(output.matches("1 passed").count(), 2, "{output}");
}

mod child {
    use super::super::{assert_equal, world};
    use super::*;

    fn of(rank: usize, n: i32, dtype: Dtype) -> Array {
        let numbers: Vec<f32> = (0..n)
            .map(|i| ((i * 7 + rank as i32 * 3) % 10) as f32)
            .collect();
        Array::from_slice(&numbers, [n]).unwrap().astype(dtype)
    }

    #[test]
    #[ignore = "run by `python_and_rust_ranks_share_a_group`"]
    fn beside_python() {
        let group = world();
        let (rank, size) = (group.rank(), group.size());
        let (right, left) = ((rank + 1) % size, (rank + size - 1) % size);
        let dtypes = [
            Dtype::Float32,
            Dtype::Float16,
            Dtype::Bfloat16,
            Dtype::Int32,
            Dtype::Uint8,
        ];
        for dtype in dtypes {
            for n in [1, 2, 5, 1000, 100_003, 1_500_001] {
                let what = format!("{dtype}[{n}]");
                let x = of(rank, n, dtype);
                let all: Vec<Array> = (0..size).map(|rank| of(rank, n, dtype)).collect();
                let fold =
                    |with: fn(Array, &Array) -> Array| all[1..].iter().fold(all[0].clone(), with);
                assert_equal(&distributed::all_sum(&x, None), &fold(|a, b| a + b), &what);
                assert_equal(
                    &distributed::all_max(&x, None),
                    &fold(|a, b| a.maximum(b)),
                    &what,
                );
                assert_equal(
                    &distributed::all_min(&x, None),
                    &fold(|a, b| a.minimum(b)),
                    &what,
                );
                assert_equal(
                    &distributed::all_gather(&x, None),
                    &mlx::concatenate(&all, 0),
                    &what,
                );
                if rank.is_multiple_of(2) {
                    distributed::send(&x, right, None).eval().unwrap();
                }
                let got = distributed::recv_like(&x, left, None);
                got.eval().unwrap();
                if rank % 2 == 1 {
                    distributed::send(&x, right, None).eval().unwrap();
                }
                assert_equal(&got, &all[left], &what);
            }
        }
    }
}

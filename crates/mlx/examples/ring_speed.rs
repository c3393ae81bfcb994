//! How fast a ring on this machine is, beside that of a Python with MLX, in the same run.
//!
//! `cargo run --release -p mlx --example ring_speed -- RANKS [PYTHON] [MEGABYTES]`: the time of an `all_sum` of one element,
//! of 4 MB and of as many megabytes, by default 1000. Ranks of both take turns, so that what else the machine does meets
//! both.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Instant;

use mlx::{Array, distributed, eval};

/// What a rank of Python does: the same as [`rank`].
const PYTHON: &str = r#"
import sys, time
import mlx.core as mx
group = mx.distributed.init(strict=True, backend="ring")
for size, calls in [tuple(map(int, each.split("x"))) for each in sys.argv[1:]]:
    x = mx.ones((size,))
    mx.eval(x)
    mx.eval(mx.distributed.all_sum(x))
    start = time.perf_counter()
    for _ in range(calls):
        mx.eval(mx.distributed.all_sum(x))
    if group.rank() == 0:
        print((time.perf_counter() - start) / calls)
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if std::env::var_os("MLX_RANK").is_some() {
        return rank(&arguments);
    }
    let ranks: usize = arguments.first().map_or(Ok(2), |text| text.parse())?;
    let python = arguments.get(1);
    let megabytes: usize = arguments.get(2).map_or(Ok(1000), |text| text.parse())?;
    let plan = [(1, 1000), (1_000_000, 20), (megabytes * 250_000, 2)];
    let plan: Vec<String> = plan
        .iter()
        .map(|(size, calls)| format!("{size}x{calls}"))
        .collect();
    let me = std::env::current_exe()?.display().to_string();
    let mut best: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..3 {
        keep_best(&mut best[0], run(&me, &[], &plan, ranks)?);
        if let Some(python) = python {
            keep_best(&mut best[1], run(python, &["-c", PYTHON], &plan, ranks)?);
        }
    }
    println!(
        "{ranks} ranks on this machine, float32, best of 3 runs; GB/s are bytes of the array by time"
    );
    for (index, name) in ["1 element", "4 MB", &format!("{megabytes} MB")]
        .iter()
        .enumerate()
    {
        let bytes = [4.0, 4e6, megabytes as f64 * 1e6][index];
        let text = |times: &Vec<f64>| {
            times.get(index).map_or_else(String::new, |time| {
                format!("{:10.1} us {:6.3} GB/s", time * 1e6, bytes / time / 1e9)
            })
        };
        print!("{name:>10}  Rust {}", text(&best[0]));
        if let Some(other) = best[1].get(index) {
            print!(
                "  Python {}  ratio {:.2}",
                text(&best[1]),
                other / best[0][index]
            );
        }
        println!();
    }
    Ok(())
}

fn keep_best(best: &mut Vec<f64>, times: Vec<f64>) {
    match best.is_empty() {
        true => *best = times,
        false => best
            .iter_mut()
            .zip(times)
            .for_each(|(best, time)| *best = best.min(time)),
    }
}

/// Times calls, and prints seconds for each on rank 0.
fn rank(plan: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let group = distributed::init("ring", true)?;
    for each in plan {
        let (size, calls) = each.split_once('x').ok_or("wanted SIZExCALLS")?;
        let (size, calls): (i32, u32) = (size.parse()?, calls.parse()?);
        let x: Array = mlx::ones([size]);
        eval(&x)?;
        eval(&distributed::all_sum(&x, &group))?;
        let start = Instant::now();
        for _ in 0..calls {
            eval(&distributed::all_sum(&x, &group))?;
        }
        if group.rank() == 0 {
            println!("{}", start.elapsed().as_secs_f64() / f64::from(calls));
        }
    }
    Ok(())
}

/// Runs a program as ranks, and returns what rank 0 prints.
fn run(
    program: &str,
    before: &[&str],
    plan: &[String],
    ranks: usize,
) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
    let listeners: Vec<TcpListener> = (0..ranks)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    let hosts: Vec<String> = listeners
        .iter()
        .map(|listener| Ok(format!("[\"{}\"]", listener.local_addr()?)))
        .collect::<Result<_, std::io::Error>>()?;
    drop(listeners);
    let file = std::env::temp_dir().join(format!("ring_speed.{}.json", std::process::id()));
    std::fs::write(&file, format!("[{}]", hosts.join(",")))?;
    let mut children = Vec::new();
    for rank in 0..ranks {
        let mut command = Command::new(program);
        command.args(before).args(plan);
        command
            .env("MLX_HOSTFILE", &file)
            .env("MLX_RANK", rank.to_string());
        children.push(command.stdout(Stdio::piped()).spawn()?);
    }
    let mut times = Vec::new();
    for (rank, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output()?;
        if rank == 0 {
            let text = String::from_utf8(output.stdout)?;
            times = text.lines().map(str::parse).collect::<Result<_, _>>()?;
        }
    }
    std::fs::remove_file(&file)?;
    Ok(times)
}

//! Random operations on random arrays: an error is fine, a crash or a hang never is.
//!
//! The operations run in a process of their own, so that a crash is told with the case that caused it.
//! `MLX_FUZZ_SEED` changes the seed, `MLX_FUZZ_SECONDS` the time (10), `MLX_FUZZ_START` and `MLX_FUZZ_COUNT` run only
//! some cases, `MLX_FUZZ_OP` only operations whose name contains it, `MLX_FUZZ_LOUD` prints
//! every case. To look for reads beyond buffers: `MLX_FUZZ_CHILD=log valgrind <test> --nocapture`.

mod cases;
mod fitting;
mod random;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use half::{bf16, f16};
use mlx::{Array, Complex64, Dtype, Op, Result, bind_all, eval};
use random::Random;

const SEED: u64 = 20_260_901;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[test]
fn no_operation_crashes_or_hangs() {
    watched("no_operation_crashes_or_hangs", one_operation);
}

/// The name of a test of this file in this program, which may hold other files too.
fn in_this_file(name: &str) -> String {
    let file = module_path!().split_once("::");
    file.map_or(name.to_owned(), |(_, file)| format!("{file}::{name}"))
}

/// Runs a test in a process of its own, which stops when it hangs and is told of by its last case when it fails.
fn watched(test: &str, one: One) {
    if let Ok(log) = std::env::var("MLX_FUZZ_CHILD") {
        run(PathBuf::from(log), one);
        return;
    }
    let log = std::env::temp_dir().join(format!("mlx-fuzz-{test}-{}.txt", std::process::id()));
    let exe = std::env::current_exe().unwrap();
    let mut child = Command::new(exe)
        .args([
            &in_this_file(test),
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("MLX_FUZZ_CHILD", &log)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let patience = Duration::from_secs(number("MLX_FUZZ_SECONDS", 10) * 2 + 60);
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if begin.elapsed() > patience {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let last = std::fs::read_to_string(&log).unwrap_or_default();
    let _ = std::fs::remove_file(&log);
    let what = match status {
        Some(status) if status.success() && last.starts_with("done") => {
            println!("{last}");
            return;
        }
        Some(status) => format!("ended with {status}"),
        None => String::from("hangs"),
    };
    panic!("{what} at {last}");
}

/// Runs cases until the time is over, writing down each before it runs.
fn run(log: PathBuf, one: One) {
    let (seed, start) = (number("MLX_FUZZ_SEED", SEED), number("MLX_FUZZ_START", 0));
    let count = number("MLX_FUZZ_COUNT", u64::MAX);
    let time = Duration::from_secs(number("MLX_FUZZ_SECONDS", 10));
    let wanted = std::env::var("MLX_FUZZ_OP").unwrap_or_default();
    let names: Vec<&str> = Op::NAMES
        .iter()
        .copied()
        .filter(|name| name.contains(&wanted))
        .collect();
    mlx::memory::set_memory_limit(1 << 28).unwrap();
    // Every buffer is as large as asked for, so that valgrind and the system see what goes beyond.
    mlx::memory::set_cache_limit(0).unwrap();
    let loud = std::env::var_os("MLX_FUZZ_LOUD").is_some();
    let mut file = std::fs::File::create(&log).unwrap();
    let mut write = |text: String| {
        use std::io::Seek;
        file.seek(std::io::SeekFrom::Start(0)).unwrap();
        file.set_len(0).unwrap();
        if loud {
            eprint!("{text}");
        }
        file.write_all(text.as_bytes()).unwrap();
    };
    let begin = Instant::now();
    let (mut ran, mut worked) = (0_u64, 0_u64);
    for index in start..start.saturating_add(count) {
        if begin.elapsed() > time {
            break;
        }
        let mut random = Random::new(seed, index);
        let name = random.pick(&names);
        ran += 1;
        worked += one(&mut random, name, &mut |what| {
            write(format!("seed {seed}, case {index}: {name}, {what}\n"));
        });
    }
    write(format!("done: {ran} cases, {worked} times a result\n"));
}

/// Runs a case of the operation of this name, and returns how many times it gave a result.
type One = fn(&mut Random, &str, &mut dyn FnMut(&str)) -> u64;

fn one_operation(random: &mut Random, name: &str, write: &mut dyn FnMut(&str)) -> u64 {
    write("making inputs");
    let Some(case) = cases::case(random, name) else {
        return 0;
    };
    let lazy = random.chance(30);
    write(&describe(&case, lazy));
    u64::from(apply(&case, lazy).is_ok())
}

fn apply(case: &cases::Case, lazy: bool) -> Result<()> {
    if !lazy {
        // Inputs that could not be made are an error of this case.
        eval(&case.inputs)?;
    }
    let outputs = bind_all(case.op.clone(), &case.inputs.iter().collect::<Vec<_>>())?;
    eval(&outputs)?;
    outputs.iter().try_for_each(look_at)
}

/// Reads every element, as far as there are not millions of them.
fn look_at(array: &Array) -> Result<()> {
    if array.size()? > 1 << 20 {
        return Ok(());
    }
    fn sum<T: mlx::Element>(array: &Array) -> Result<()> {
        let values = array.to_vec::<T>()?;
        assert_eq!(values.len(), array.size()?);
        std::hint::black_box(format!("{:?}", values.last()));
        Ok(())
    }
    match array.dtype()? {
        Dtype::Bool => sum::<bool>(array),
        Dtype::Uint8 => sum::<u8>(array),
        Dtype::Uint16 => sum::<u16>(array),
        Dtype::Uint32 => sum::<u32>(array),
        Dtype::Uint64 => sum::<u64>(array),
        Dtype::Int8 => sum::<i8>(array),
        Dtype::Int16 => sum::<i16>(array),
        Dtype::Int32 => sum::<i32>(array),
        Dtype::Int64 => sum::<i64>(array),
        Dtype::Float16 => sum::<f16>(array),
        Dtype::Float32 => sum::<f32>(array),
        Dtype::Float64 => sum::<f64>(array),
        Dtype::Bfloat16 => sum::<bf16>(array),
        Dtype::Complex64 => sum::<Complex64>(array),
    }
}

fn describe(case: &cases::Case, lazy: bool) -> String {
    let types: Vec<String> = case
        .inputs
        .iter()
        .map(|input| {
            input
                .array_type()
                .map_or_else(|error| error.to_string(), |ty| ty.to_string())
        })
        .collect();
    format!(
        "{} {{{:?}}} on {}{}",
        case.op.name(),
        case.op,
        types.join(", "),
        if lazy { ", lazy" } else { "" }
    )
}

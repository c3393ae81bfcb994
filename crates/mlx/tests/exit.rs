//! A process ends when it is told to, with the code it was told, whatever its threads are doing; and it starts when the
//! system gives it few threads.
//!
//! Without the usual harness, so that what is tested has its own `main`. The program starts itself for each case.

use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use mlx::{Array, ConvOptions, random};

/// The code that children exit with.
const CODE: u8 = 7;
/// How often each case is tried: what goes wrong once in three times is found.
const RUNS: usize = 4;
/// A child takes less than a second, on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the other threads do when the process ends.
const WORK: [&str; 9] = [
    "matmul", "product", "svd", "eigh", "inverse", "kernel", "conv", "streams", "load",
];
/// Who ends it.
const WAYS: [&str; 4] = ["main", "exit", "thread", "worker"];

fn main() -> ExitCode {
    let variable = |name| std::env::var(name).ok();
    if let Some(work) = variable("MLX_TEST_WORK") {
        return end_during(&work, &variable("MLX_TEST_WAY").unwrap_or_default());
    }
    if variable("MLX_TEST_SHORT").is_some() {
        return with_few_threads();
    }
    let mut failed = 0;
    let mut case = |name: String, result: Result<(), String>| match result {
        Ok(()) => println!("test {name} ... ok"),
        Err(text) => {
            failed += 1;
            println!("test {name} ... FAILED\n{text}");
        }
    };
    for work in WORK {
        for way in WAYS {
            case(format!("ends_during_{work}_by_{way}"), ends(work, way));
        }
    }
    for threads in [3, 4, 6] {
        case(format!("starts_with_{threads}_threads"), starts(threads));
    }
    ExitCode::from(u8::from(failed > 0))
}

fn myself() -> Command {
    let program = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null());
    command
}

/// Waits for a child that must end, and returns its code.
fn code_of(command: &mut Command) -> Result<i32, String> {
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let since = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return status.code().ok_or_else(|| status.to_string());
        }
        if since.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("it has not ended after {PATIENCE:?}"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn ends(work: &str, way: &str) -> Result<(), String> {
    for run in 0..RUNS {
        let mut command = myself();
        command.envs([("MLX_TEST_WORK", work), ("MLX_TEST_WAY", way)]);
        // At another moment of the work each time.
        command.env("MLX_TEST_DELAY", (7 * run).to_string());
        match code_of(&mut command) {
            Ok(code) if code == i32::from(CODE) => {}
            Ok(code) => return Err(format!("run {run}: wanted code {CODE}, got {code}")),
            Err(text) => return Err(format!("run {run}: {text}")),
        }
    }
    Ok(())
}

/// Keeps four threads at work and ends meanwhile.
fn end_during(work: &str, way: &str) -> ExitCode {
    let (started, has_started) = channel();
    let mut threads = Vec::new();
    for _ in 0..4 {
        let (work, started) = (work.to_owned(), started.clone());
        threads.push(std::thread::spawn(move || {
            keep_at(&work, || started.send(()).unwrap_or(()))
        }));
    }
    if work != "load" {
        for _ in 0..4 {
            has_started.recv().expect("work that starts");
        }
    }
    let delay = std::env::var("MLX_TEST_DELAY").map_or(0, |text| text.parse().unwrap_or(0));
    std::thread::sleep(Duration::from_millis(delay));
    match way {
        "exit" => std::process::exit(CODE.into()),
        "thread" => {
            let other = std::thread::spawn(|| std::process::exit(CODE.into()));
            let _ = other.join();
        }
        "worker" => {
            let worker = mlx::Worker::new("ends").expect("a worker");
            let _ = worker.run(|| {
                let _ = square(64).matmul(&square(64)).eval();
                std::process::exit(CODE.into())
            });
        }
        _ => {}
    }
    ExitCode::from(CODE)
}

/// Multiplies for ever, a hundred milliseconds and more each time, and says when it begins.
fn keep_multiplying(begun: impl Fn()) -> ! {
    let x = mlx::ones([2048, 2048]);
    x.eval().expect("memory for a matrix");
    loop {
        begun();
        x.matmul(&x).eval().expect("a product that does not fail");
    }
}

/// Works for ever, and says when the first piece has been done.
fn keep_at(work: &str, first: impl Fn()) {
    if work == "product" {
        keep_multiplying(&first);
    }
    let cpu = |work: &dyn Fn() -> Array| work().eval().expect("work that does not fail");
    loop {
        match work {
            "matmul" | "load" => cpu(&|| square(512).matmul(&square(512))),
            "svd" => cpu(&|| mlx::linalg::svd(&square(200)).expect("a decomposition").1),
            "eigh" => cpu(&|| {
                let x = square(200);
                mlx::linalg::eigh(&(&x + x.t())).expect("a decomposition").0
            }),
            "inverse" => cpu(&|| mlx::linalg::inv(&square(300))),
            "kernel" => cpu(&|| mlx::fast::rms_norm(&square(1024), None, 1e-5).exp().sum(())),
            "conv" => cpu(&|| {
                let x = square(256).reshape([4, 32, 32, 16]);
                let weight = square(48).reshape([16, 3, 3, 16]);
                x.conv2d(&weight, ConvOptions::default())
            }),
            // A thread of its own each time, with a stream that comes and goes.
            _ => drop(std::thread::spawn(|| mlx::ones([256]).exp().eval()).join()),
        }
        first();
    }
}

fn square(n: i32) -> Array {
    random::normal_with([n, n], &random::key(n as u64))
}

/// Starts a child whose user may have only so many threads: a number that all users but root are held to.
fn starts(threads: u32) -> Result<(), String> {
    let program = std::env::current_exe().expect("the path of this program");
    let limited = format!("ulimit -u {threads} && exec \"$0\"");
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=54321", "--regid=54321", "--clear-groups"])
        .args(["bash", "-c", &limited])
        .arg(program)
        .env("MLX_TEST_SHORT", "1")
        .stdout(Stdio::null());
    match code_of(&mut command) {
        Ok(code) if code == i32::from(CODE) => Ok(()),
        // Not root, or no `setpriv`.
        Ok(127 | 1 | 126) | Err(_) if !can_limit() => {
            println!("skipped: only root can start a child as another user here");
            Ok(())
        }
        Ok(code) => Err(format!("wanted code {CODE}, got {code}")),
        Err(text) => Err(text),
    }
}

fn can_limit() -> bool {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=54321", "--regid=54321", "--clear-groups", "true"]);
    matches!(code_of(&mut command), Ok(0))
}

/// Computes with whatever threads there are: a right value, or an error that says what is missing.
fn with_few_threads() -> ExitCode {
    let ones = mlx::ones([600, 600]);
    let sum = ones.matmul(&ones).sum(()).item::<f32>();
    let is_right = match sum {
        Ok(sum) => sum == 600.0 * 600.0 * 600.0,
        Err(error) => {
            let text = error.to_string();
            eprintln!("{text}");
            text.contains("thread") || text.contains("resource temporarily unavailable")
        }
    };
    // One that cannot be made is an error as well.
    let many: Vec<_> = (0..10).map(|k| mlx::Worker::new(&k.to_string())).collect();
    let is_told = many.iter().any(Result::is_err);
    drop(many);
    ExitCode::from(if is_right && is_told { CODE } else { 1 })
}

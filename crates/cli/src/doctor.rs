//! `mlx doctor`: what this machine has, which path each fused kernel takes, and how to fix what is missing.

mod staging;

use std::borrow::Cow;
use std::process::ExitCode;

use anyhow::Result;
use mlx::{Array, Device, fast, memory};
use mlx_provision::environment;
use mlx_sys::SET_UP;
use serde::Serialize;

use crate::arguments::DoctorArguments;
use crate::output;

/// How a check ended.
#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    /// Works, but not as well as it could.
    Warn,
    Fail,
    /// Needs something that failed before.
    Skipped,
}

/// One check and its result.
#[derive(Serialize)]
struct Check {
    name: Cow<'static, str>,
    status: Status,
    found: String,
    /// What to do about it; empty when it is fine.
    fix: String,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            status: Status::Ok,
            found: found.into(),
            fix: String::new(),
        }
    }

    fn bad(
        name: &'static str,
        status: Status,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            status,
            found: found.into(),
            fix: fix.into(),
        }
    }
}

/// Runs all checks and prints them; the exit code is 1 when something failed.
pub fn run(arguments: &DoctorArguments) -> Result<ExitCode> {
    let json = arguments.json;
    let checks = checks();
    if json {
        output::line(format_args!("{}", serde_json::to_string_pretty(&checks)?));
    } else {
        checks.iter().for_each(print);
    }
    let failed = checks
        .iter()
        .filter(|check| check.status == Status::Fail)
        .count();
    if !json {
        output::line(format_args!(
            "\n{}",
            if failed == 0 {
                "everything works"
            } else {
                "something is missing: see the lines marked FAIL"
            }
        ));
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(check: &Check) {
    let mark = match check.status {
        Status::Ok => "ok",
        Status::Warn => "WARN",
        Status::Fail => "FAIL",
        Status::Skipped => "--",
    };
    output::line(format_args!("{mark:<5} {:<28} {}", check.name, check.found));
    if !check.fix.is_empty() {
        output::line(format_args!("{:<5} {:<28} fix: {}", "", "", check.fix));
    }
}

fn checks() -> Vec<Check> {
    let mut checks = vec![platform()];
    checks.extend(staging::checks(mlx_sys::loaded().ok()));
    checks.extend(libraries());
    let loaded = checks.iter().all(|check| check.status != Status::Fail);
    if !loaded {
        let skipped = |name| Check::bad(name, Status::Skipped, "needs the libraries", "");
        checks.extend(["device", "computation", "fused kernels", "memory"].map(skipped));
        return checks;
    }
    checks.push(device());
    checks.push(computation());
    checks.extend(fast::FastOp::ALL.map(kernel));
    checks.extend(cpu_kernels());
    checks.push(vtable_patching());
    checks.push(limits());
    checks.push(autotuning());
    checks
}

fn platform() -> Check {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let found = format!("{os} {arch}, {cores} cores");
    match (os, arch) {
        ("linux", "x86_64" | "aarch64") | ("macos", "aarch64") => Check::ok("platform", found),
        _ => Check::bad(
            "platform",
            Status::Fail,
            found,
            "MLX has builds for Linux on x86-64 and arm64 and for macOS on Apple silicon; point MLX_DIR at one of your own",
        ),
    }
}

/// The libraries: where they are, which versions, which BLAS.
fn libraries() -> Vec<Check> {
    let loaded = match mlx_sys::loaded() {
        Ok(loaded) => loaded,
        Err(error) => {
            return vec![Check::bad(
                "libraries",
                Status::Fail,
                error.to_string(),
                format!("run `{SET_UP}`"),
            )];
        }
    };
    let mut checks = vec![
        Check::ok("backend", format!("{} ({})", loaded.backend, loaded.place)),
        Check::ok(
            "MLX",
            format!("{} at {}", loaded.versions.mlx, loaded.mlx.display()),
        ),
        Check::ok(
            "mlx-c",
            format!("{} at {}", loaded.versions.mlxc, loaded.mlxc.display()),
        ),
        blas(&loaded.blas),
    ];
    checks.extend(loaded.budgets.as_ref().map(cuda_graphs));
    checks.extend(
        loaded
            .notes
            .iter()
            .map(|note| Check::bad("note", Status::Warn, note, "")),
    );
    checks
}

/// How much MLX gathers in one CUDA graph.
fn cuda_graphs(budgets: &mlx_sys::Budgets) -> Check {
    let text = |limit: &Option<String>| {
        limit
            .clone()
            .unwrap_or_else(|| "MLX's number of".to_owned())
    };
    let (operations, megabytes) = (text(&budgets.operations), text(&budgets.megabytes));
    let found = format!(
        "{operations} operations, {megabytes} Mi elements ({})",
        budgets.why
    );
    Check::ok("CUDA graphs", found)
}

fn blas(blas: &mlx_sys::Blas) -> Check {
    match blas {
        mlx_sys::Blas::OpenBlas { path, config } => {
            Check::ok("BLAS", format!("{config} at {}", path.display()))
        }
        mlx_sys::Blas::Accelerate => Check::ok("BLAS", "Accelerate"),
        mlx_sys::Blas::Bundled => Check::bad(
            "BLAS",
            Status::Warn,
            "the reference BLAS inside MLX's wheel",
            format!("run `{SET_UP}`: with OpenBLAS matrix products are 25 to 50 times faster"),
        ),
    }
}

fn device() -> Check {
    match Device::current() {
        Ok(device) => Check::ok("device", device.to_string()),
        Err(error) => Check::bad(
            "device",
            Status::Fail,
            error.to_string(),
            format!("run `{SET_UP}`"),
        ),
    }
}

/// What to do when the libraries load and compute wrongly.
fn stage_again() -> String {
    let place = mlx_sys::loaded().map_or_else(
        |_| String::new(),
        |loaded| loaded.mlxc.display().to_string(),
    );
    format!("delete the folder of {place} and run `{SET_UP}`")
}

/// A matrix product, a reduction and an error, each compared with what is right.
fn computation() -> Check {
    let compute = || -> mlx::Result<bool> {
        let x = Array::new([[1.0_f32, 2.0], [3.0, 4.0]]);
        let product = x.matmul(&x).sum(()).item::<f32>()?;
        let refused = x.matmul(&Array::new([1.0_f32, 2.0, 3.0])).eval().is_err();
        Ok(product == 54.0 && refused)
    };
    match compute() {
        Ok(true) => Check::ok(
            "computation",
            "a product, a sum and a refused shape come out right",
        ),
        Ok(false) => Check::bad("computation", Status::Fail, "wrong result", stage_again()),
        Err(error) => Check::bad(
            "computation",
            Status::Fail,
            error.to_string(),
            stage_again(),
        ),
    }
}

/// Which path a fused kernel takes on this device.
fn kernel(kernel: fast::FastOp) -> Check {
    match fast::probe(kernel) {
        Ok(path) => Check::ok(kernel.name(), path.to_string()),
        Err(error) => Check::bad(
            kernel.name(),
            Status::Fail,
            error.to_string(),
            "report this with the text above",
        ),
    }
}

/// On the CPU: whether the kernels of `mlx-kernels` compute MLX's own operations.
fn cpu_kernels() -> Option<Check> {
    const NAME: &str = "cpu kernels";
    if Device::current().ok()? != Device::Cpu {
        return None;
    }
    let ran = |operation| {
        fast::cpu_kernel_runs()
            .iter()
            .any(|(name, _)| *name == operation)
    };
    if let Err(error) = mlx::ones([64, 64]).exp().eval() {
        let hint = "report this with the text above";
        return Some(Check::bad(NAME, Status::Fail, error.to_string(), hint));
    }
    let found = if ran("exp") {
        "compute MLX's operations"
    } else if environment::flag(environment::HOST_KERNELS) == Some(false) {
        "switched off by MLX_HOST_KERNELS"
    } else {
        "only fused operations: this MLX is laid out in another way"
    };
    Some(Check::ok(NAME, found.to_owned()))
}

/// How many virtual functions of MLX's classes are replaced, what protects that, and how to switch it off.
fn vtable_patching() -> Check {
    const NAME: &str = "vtable patching";
    match fast::vtable_hooks() {
        Ok(0) => Check::ok(
            NAME,
            "none: MLX's classes are laid out in another way here, and are left as they are",
        ),
        Ok(hooks) => Check::ok(
            NAME,
            format!(
                "{hooks} virtual functions of MLX's classes replaced, once, after the layout of their tables was compared \
                 with functions that libmlx exports; MLX_HOST_KERNELS=0 leaves out those that run CPU kernels, and fixes \
                 of sums, doubles and derivatives stay"
            ),
        ),
        Err(error) => Check::bad(
            NAME,
            Status::Fail,
            error.to_string(),
            "report this with the text above",
        ),
    }
}

/// Where measurements of forms are kept, and how many there are.
fn autotuning() -> Check {
    const NAME: &str = "autotune cache";
    match mlx_compiler::autotune_cache(None) {
        Ok(cache) => Check::ok(
            NAME,
            format!(
                "{} entries, {} of this machine, in {}",
                cache.entries,
                cache.usable,
                cache.path.display()
            ),
        ),
        Err(error) => Check::bad(
            NAME,
            Status::Warn,
            error.to_string(),
            "delete the file, or name another one by MLX_AUTOTUNE_CACHE",
        ),
    }
}

fn limits() -> Check {
    let mb = |bytes: usize| bytes / 1_000_000;
    match memory::usage() {
        Ok(usage) => Check::ok(
            "memory",
            format!(
                "limit {} MB, in use {} MB, kept for reuse {} MB",
                mb(usage.limit),
                mb(usage.active),
                mb(usage.cache)
            ),
        ),
        Err(error) => Check::bad(
            "memory",
            Status::Fail,
            error.to_string(),
            format!("run `{SET_UP}`"),
        ),
    }
}

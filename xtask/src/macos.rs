//! `cargo xtask macos`: mlx-c and the C++ of `mlx-sys` compiled and linked for macOS on Linux, against the libraries that Macs get.
//!
//! Nothing is run: this says whether clang and libc++ accept the sources, and whether every symbol that they need is in
//! `libmlx.dylib`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use mlx_provision::{Os, Platform, Settings, pins, setup, stage_archive};

use crate::cargo::root;
use crate::setup::native_source;

const TARGET: &str = "aarch64-macos.14.0";

/// Compiles and links; on a Mac there is nothing to do, as the build itself does that.
pub fn check() -> Result<()> {
    let settings = Settings::from_env(&native_source());
    if !matches!(settings.platform.os, Os::Linux) {
        println!("left out: this is not Linux");
        return Ok(());
    }
    let mac = Platform {
        os: Os::Macos(14),
        arch: "aarch64".to_owned(),
    };
    let staged = |role: &str, platform: &Platform| -> Result<PathBuf> {
        let pin = pins::find(role, platform).with_context(|| format!("no {role} is pinned"))?;
        Ok(stage_archive(&settings, &pin)?)
    };
    let build = Build {
        zig: staged("zig", &settings.platform)?.join("ziglang/zig"),
        mlx: staged("mlx:metal", &mac)?.join("mlx"),
        mlxc: setup(&settings)?.mlxc,
        out: root().join("target/macos"),
        cache: settings.root.path.join("zig-cache"),
    };
    std::fs::create_dir_all(&build.out)?;
    let objects = build.compile(settings.jobs)?;
    build.link(&objects)?;
    println!("{} files compiled and linked for {TARGET}", objects.len());
    Ok(())
}

struct Build {
    zig: PathBuf,
    mlx: PathBuf,
    mlxc: PathBuf,
    out: PathBuf,
    cache: PathBuf,
}

impl Build {
    /// Every source of mlx-c but its error.cpp, which one of `native/` replaces, and all of `native/`.
    fn sources(&self) -> Result<Vec<PathBuf>> {
        let mut sources = cpp_in(&self.mlxc.join("mlx/c"))?;
        sources.retain(|source| !source.ends_with("error.cpp"));
        sources.extend(cpp_in(&native_source())?);
        Ok(sources)
    }

    fn compile(&self, jobs: usize) -> Result<Vec<PathBuf>> {
        let sources = self.sources()?;
        let left = Mutex::new(sources.iter().enumerate());
        let work = || -> Result<Vec<PathBuf>> {
            let mut objects = Vec::new();
            loop {
                let next = left.lock().ok().and_then(|mut left| left.next());
                let Some((number, source)) = next else {
                    return Ok(objects);
                };
                objects.push(self.compile_one(number, source)?);
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
            let mut objects = Vec::new();
            for worker in workers {
                match worker.join() {
                    Ok(made) => objects.extend(made?),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok(objects)
        })
    }

    fn compile_one(&self, number: usize, source: &Path) -> Result<PathBuf> {
        let native = native_source();
        let object = self.out.join(format!("{number}.o"));
        let mut zig = self.zig();
        zig.args(["-std=c++20", "-O0", "-fPIC", "-include", "format"])
            .arg("-include")
            .arg(native.join("compat/gather_qmm.h"))
            .arg("-I")
            .arg(native.join("include"))
            .arg("-I")
            .arg(&self.mlxc)
            .arg("-isystem")
            .arg(self.mlx.join("include"))
            .arg(format!(
                "-DMLX_NATIVE_MLXC_VERSION=\"{}\"",
                pins::MLXC_VERSION
            ))
            .arg("-c")
            .arg(source)
            .arg("-o")
            .arg(&object);
        finish(zig, &source.display().to_string())?;
        Ok(object)
    }

    fn link(&self, objects: &[PathBuf]) -> Result<()> {
        let mut zig = self.zig();
        zig.args(["-shared", "-o"])
            .arg(self.out.join("libmlxc.dylib"))
            .args(objects)
            .arg(self.mlx.join("lib/libmlx.dylib"));
        finish(zig, "libmlxc.dylib")
    }

    fn zig(&self) -> Command {
        let mut zig = Command::new(&self.zig);
        zig.args(["c++", "-target", TARGET])
            .env("ZIG_GLOBAL_CACHE_DIR", &self.cache)
            .env("ZIG_LOCAL_CACHE_DIR", &self.cache);
        zig
    }
}

fn cpp_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let list = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let mut paths: Vec<PathBuf> = list.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "cpp"));
    paths.sort();
    Ok(paths)
}

fn finish(mut command: Command, what: &str) -> Result<()> {
    let output = command.output().context("zig could not be started")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{what} is not accepted for {TARGET}:\n{errors}"
    );
    Ok(())
}

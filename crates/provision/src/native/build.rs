//! Building the native library with CMake, in a process of its own.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{child, log};
use crate::backend::Backend;
use crate::layout::{self, Layout, library_on};
use crate::mlx::Mlx;
use crate::pins::MLXC_VERSION;
use crate::tools::cmake::Cmake;
use crate::tools::compiler::Compiler;
use crate::{Error, Platform, Result, Settings, process, progress, stage_with};

/// What the native library is made of and with.
pub(crate) struct BuildInputs {
    pub(crate) backend: Backend,
    pub(crate) mlx: Mlx,
    /// The source of mlx-c.
    pub(crate) mlxc: PathBuf,
    /// OpenBLAS's staged folder.
    pub(crate) openblas: Option<PathBuf>,
    pub(crate) compiler: Compiler,
    pub(crate) cmake: Cmake,
}

const OPENBLAS: &str = "scipy_openblas32/lib/libscipy_openblas.so";

/// Builds the native library into the folder `name`, unless it is there.
pub(crate) fn build(settings: &Settings, name: &str, inputs: &BuildInputs) -> Result<PathBuf> {
    stage_with(settings, name, |temp, out| {
        check_host(settings)?;
        let label = format!(
            "building mlx-c {MLXC_VERSION} and native/ with {}",
            inputs.compiler.version
        );
        settings.progress.step(&label);
        let defines = defines(settings, inputs, temp, out)?;
        run_cmake(settings, inputs, name, temp, &defines)?;
        let file = out.join(layout::FILE);
        std::fs::write(&file, layout_of(settings, inputs).text())
            .map_err(|error| Error::io("write", &file, error))
    })
}

fn check_host(settings: &Settings) -> Result<()> {
    let host = Platform::host();
    if (settings.platform.os_name(), &settings.platform.arch) == (host.os_name(), &host.arch) {
        return Ok(());
    }
    Err(Error::CrossCompiling {
        target: settings.platform.to_string(),
        host: host.to_string(),
    })
}

/// Returns what `native/CMakeLists.txt` is told.
fn defines(
    settings: &Settings,
    inputs: &BuildInputs,
    temp: &Path,
    out: &Path,
) -> Result<Vec<(&'static str, OsString)>> {
    let format_compat = !inputs.compiler.has_format(settings, temp)?;
    let on_off = |on: bool| OsString::from(if on { "ON" } else { "OFF" });
    let lib = inputs
        .mlx
        .library
        .parent()
        .unwrap_or(Path::new(""))
        .to_owned();
    let mlx_rpath = match &inputs.mlx.folder {
        Some(folder) => beside(settings, &format!("{folder}/mlx/lib")),
        None => lib.into_os_string(),
    };
    let mut defines = vec![
        ("CMAKE_INSTALL_PREFIX", out.as_os_str().to_owned()),
        (
            "CMAKE_CXX_COMPILER",
            inputs
                .compiler
                .as_one_program(settings, temp)?
                .into_os_string(),
        ),
        // Those of `CXXFLAGS` are in the program.
        ("CMAKE_CXX_FLAGS", OsString::new()),
        ("CMAKE_CXX_FLAGS_RELEASE", "-O2".into()),
        ("MLX_INCLUDE", inputs.mlx.include.as_os_str().to_owned()),
        ("MLX_LIBRARY", inputs.mlx.library.as_os_str().to_owned()),
        ("MLX_RPATH", mlx_rpath),
        ("MLXC_SOURCE", inputs.mlxc.as_os_str().to_owned()),
        ("MLXC_VERSION", MLXC_VERSION.into()),
        ("MLX_FORMAT_COMPAT", on_off(format_compat)),
        ("MLX_GUARD", on_off(guards(settings, inputs))),
    ];
    if let Some(openblas) = &inputs.openblas {
        let folder = file_name(openblas);
        let rpath = beside(settings, &format!("{folder}/scipy_openblas32/lib"));
        defines.push(("OPENBLAS_LIBRARY", openblas.join(OPENBLAS).into_os_string()));
        defines.push(("OPENBLAS_RPATH", rpath));
    }
    if let Some(ninja) = &inputs.cmake.ninja {
        defines.push(("CMAKE_MAKE_PROGRAM", ninja.as_os_str().to_owned()));
    }
    Ok(defines)
}

/// Returns whether allocations need guarding: MLX's CPU allocator does not check what `malloc` returns.
fn guards(settings: &Settings, inputs: &BuildInputs) -> bool {
    inputs.backend == Backend::Cpu && settings.platform.os_name() == "linux"
}

/// Returns a run-time search path from the built library to another staged folder.
fn beside(settings: &Settings, path: &str) -> OsString {
    let here = match settings.platform.os_name() {
        "macos" => "@loader_path",
        _ => "$ORIGIN",
    };
    format!("{here}/../../{path}").into()
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Runs CMake in a child process, with a bar on a terminal and the whole log in a file.
fn run_cmake(
    settings: &Settings,
    inputs: &BuildInputs,
    name: &str,
    temp: &Path,
    defines: &[(&'static str, OsString)],
) -> Result<()> {
    let logs = settings.root.path.join("logs");
    std::fs::create_dir_all(&logs).map_err(|error| Error::io("create", &logs, error))?;
    let path = logs.join(format!("{name}.log"));
    let failed = |error| Error::io("write", &path, error);
    let mut file = File::create(&path).map_err(failed)?;

    let (reader, writer) = std::io::pipe().map_err(failed)?;
    let mut command = child_command(settings, inputs, &temp.join("cmake"), defines);
    let program = PathBuf::from(command.get_program());
    command
        .stdout(writer.try_clone().map_err(failed)?)
        .stderr(writer);
    let mut child = command
        .spawn()
        .map_err(|reason| Error::Run { program, reason })?;
    // The command holds the writing end; without it the reading end sees the end when the child exits.
    drop(command);
    let bar = settings.progress.bar("building", 100);
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.map_err(failed)?;
        let text = String::from_utf8_lossy(&line);
        writeln!(file, "{text}").map_err(failed)?;
        if let Some(percent) = progress::percent(&text) {
            bar.set(percent);
        }
    }
    drop(bar);
    let status = child.wait().map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    Err(log::error(&path, settings))
}

/// Returns the child's command: this program again, which sees the marker in [`child::run_cmake_child_if_requested`].
fn child_command(
    settings: &Settings,
    inputs: &BuildInputs,
    work: &Path,
    defines: &[(&'static str, OsString)],
) -> Command {
    let program = settings.child.clone().unwrap_or_default();
    let mut command = process::command(&program, settings);
    child::prepare(&mut command, settings.jobs, &inputs.cmake);
    command.arg(&settings.native_source).arg(work);
    for (key, value) in defines {
        command.arg(key).arg(value);
    }
    command
}

/// Returns the layout of the built folder, with paths relative to it wherever that is possible.
fn layout_of(settings: &Settings, inputs: &BuildInputs) -> Layout {
    let os = settings.platform.os_name();
    let own = |name: &str| PathBuf::from("lib").join(library_on(name, os));
    let of_mlx = |path: &Path| match &inputs.mlx.folder {
        Some(folder) => PathBuf::from(format!("../{folder}/mlx/lib")).join(file_name(path)),
        None => path.to_owned(),
    };
    let openblas = inputs.openblas.as_ref();
    Layout {
        backend: inputs.backend,
        mlx: of_mlx(&inputs.mlx.library),
        mlxc: own("mlxc"),
        openblas: openblas.map(|dir| PathBuf::from(format!("../{}/{OPENBLAS}", file_name(dir)))),
        blas: openblas.map(|_| own("mlxblas")),
        guard: guards(settings, inputs).then(|| own("mlxguard")),
        metallib: inputs.mlx.metallib.as_deref().map(of_mlx),
    }
}

#[cfg(test)]
mod tests;

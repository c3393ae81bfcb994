//! What a program takes along when it is shipped: its libraries and their licences, in one folder.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::layout::{self, Layout, library_on};
use crate::{Error, Result, Staged};

/// Copies programs into `to/bin`, and what they load at run time into `to/lib`, which the loader searches beside a program.
///
/// CUDA compiles kernels at run time, with MLX's headers in `to/include`. Returns every file that was written.
///
/// # Errors
/// When a file cannot be read or written, or two programs have one name.
pub fn bundle(staged: &Staged, programs: &[PathBuf], to: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let bin = to.join("bin");
    for program in programs {
        let name = program.file_name().unwrap_or_default();
        if files.contains(&bin.join(name)) {
            return Err(Error::Setting {
                name: "bundle",
                value: program.display().to_string(),
                reason: "another program has this name".to_owned(),
                fix: "rename one of them".to_owned(),
            });
        }
        copy(program, &bin.join(name), &mut files)?;
    }
    let lib = to.join("lib");
    for (file, name) in libraries(&staged.layout)? {
        copy(&file, &lib.join(name), &mut files)?;
    }
    // It says which build this is, so that the loader need not guess.
    let file = lib.join(layout::FILE);
    fs::write(&file, beside(&staged.layout).text())
        .map_err(|error| Error::io("write", &file, error))?;
    files.push(file);
    if staged.layout.backend.is_cuda()
        && let Some(prefix) = staged.layout.mlx.parent().and_then(Path::parent)
    {
        copy_tree(&prefix.join("include"), &to.join("include"), &mut files)?;
    }
    for (file, name) in licences(staged) {
        copy(&file, &to.join("licences").join(name), &mut files)?;
    }
    Ok(files)
}

/// The layout of one folder with all libraries.
fn beside(layout: &Layout) -> Layout {
    let name = |name| PathBuf::from(library_on(name, std::env::consts::OS));
    Layout {
        backend: layout.backend,
        mlx: name("mlx"),
        mlxc: name("mlxc"),
        openblas: layout.openblas.as_ref().map(|_| name("scipy_openblas")),
        blas: layout.blas.as_ref().map(|_| name("mlxblas")),
        guard: layout.guard.as_ref().map(|_| name("mlxguard")),
        metallib: layout.metallib.as_ref().map(|_| "mlx.metallib".into()),
    }
}

/// The libraries, with the names under which the loader finds them in one folder.
fn libraries(layout: &Layout) -> Result<Vec<(PathBuf, String)>> {
    let os = std::env::consts::OS;
    let mut all = vec![
        (layout.mlx.clone(), library_on("mlx", os)),
        (layout.mlxc.clone(), library_on("mlxc", os)),
    ];
    let optional = [
        (&layout.openblas, library_on("scipy_openblas", os)),
        (&layout.blas, library_on("mlxblas", os)),
        (&layout.guard, library_on("mlxguard", os)),
        (&layout.metallib, "mlx.metallib".to_owned()),
    ];
    for (file, name) in optional {
        all.extend(file.clone().map(|file| (file, name)));
    }
    // What a wheel brings along for MLX: beside it, and in its folder `mlx_cpu.libs`.
    let mut folders: Vec<PathBuf> = layout
        .mlx
        .parent()
        .map(Path::to_owned)
        .into_iter()
        .collect();
    let wheel = layout.mlx.ancestors().nth(3);
    for entry in wheel.map(entries).transpose()?.into_iter().flatten() {
        if entry.extension() == Some(OsStr::new("libs")) {
            folders.push(entry);
        }
    }
    for file in folders
        .iter()
        .map(|dir| entries(dir))
        .collect::<Result<Vec<_>>>()?
        .concat()
    {
        let Some(name) = file.file_name().and_then(OsStr::to_str) else {
            continue;
        };
        let is_library = name.contains(".so") || name.ends_with(".dylib");
        if is_library && file.is_file() && all.iter().all(|(_, taken)| taken != name) {
            let name = name.to_owned();
            all.push((file, name));
        }
    }
    Ok(all)
}

/// Licence texts in the folders of the libraries' packages, named after the package.
fn licences(staged: &Staged) -> Vec<(PathBuf, String)> {
    let layout = &staged.layout;
    let packages = [Some(&layout.mlx), layout.openblas.as_ref()];
    let mut found = Vec::new();
    for package in packages
        .into_iter()
        .flatten()
        .filter_map(|file| file.ancestors().nth(3))
    {
        for info in entries(package).unwrap_or_default() {
            if info.extension() != Some(OsStr::new("dist-info")) {
                continue;
            }
            let package = info
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            for text in entries(&info.join("licenses")).unwrap_or_default() {
                let name = text.file_name().unwrap_or_default().to_string_lossy();
                let name = format!("{package}-{name}");
                if text.is_file() {
                    found.push((text, name));
                }
            }
        }
    }
    found
}

/// The paths in a folder, in order; none when it is not there.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let list = fs::read_dir(dir).map_err(|error| Error::io("read", dir, error))?;
    let mut paths: Vec<PathBuf> = list.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    Ok(paths)
}

fn copy(from: &Path, to: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir).map_err(|error| Error::io("create", dir, error))?;
    }
    // A library that a running program has opened must not change under it.
    let _ = fs::remove_file(to);
    fs::copy(from, to).map_err(|error| Error::io("copy", from, error))?;
    files.push(to.to_owned());
    Ok(())
}

fn copy_tree(from: &Path, to: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in entries(from)? {
        let to = to.join(entry.file_name().unwrap_or_default());
        if entry.is_dir() {
            copy_tree(&entry, &to, files)?;
        } else {
            copy(&entry, &to, files)?;
        }
    }
    Ok(())
}

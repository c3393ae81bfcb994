//! Which MLX is used: the wheel for this machine and backend, or the one that `MLX_DIR` points to.

use std::path::{Path, PathBuf};

use crate::backend::{self, Backend, Choice};
use crate::layout::library_on;
use crate::pins::{self, MLX_VERSION, Pin};
use crate::{Error, Result, Settings, stage_archive};

/// Where MLX will come from, before anything is staged.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Wheel(Pin),
    Existing(PathBuf),
}

/// An MLX whose files are there.
#[derive(Clone, Debug)]
pub(crate) struct Mlx {
    pub(crate) include: PathBuf,
    pub(crate) library: PathBuf,
    pub(crate) metallib: Option<PathBuf>,
    /// The name of the staged folder that holds it, when it is a staged one.
    pub(crate) folder: Option<String>,
}

/// Chooses the backend and where MLX comes from.
pub(crate) fn choose(settings: &Settings) -> Result<(Choice, Source)> {
    let platform = &settings.platform;
    let requested = settings.backend.as_deref();
    if let Some(dir) = &settings.mlx_dir {
        let backend = existing_backend(dir, requested)?;
        let why = "MLX_DIR points to it".to_owned();
        return Ok((Choice { backend, why }, Source::Existing(dir.clone())));
    }
    let choice =
        backend::choose(platform.os_name(), &platform.arch, requested).map_err(Error::NoBackend)?;
    let pin = pins::mlx(choice.backend, platform).ok_or_else(|| {
        let text = format!(
            "no {} build of MLX is pinned for {platform}",
            choice.backend
        );
        Error::NoBackend(text)
    })?;
    Ok((choice, Source::Wheel(pin)))
}

impl Source {
    /// Returns what tells one MLX from another, for the key of the native build.
    pub(crate) fn identity(&self, settings: &Settings) -> Result<String> {
        match self {
            Source::Wheel(pin) => Ok(pin.sha256.clone()),
            Source::Existing(dir) => {
                let mlx = in_prefix(dir, settings, None);
                let data = std::fs::metadata(&mlx.library)
                    .map_err(|error| Error::io("read", &mlx.library, error))?;
                let modified = data.modified().ok();
                Ok(format!("{} {} {modified:?}", dir.display(), data.len()))
            }
        }
    }

    /// Stages MLX, or checks the existing one.
    pub(crate) fn ready(&self, settings: &Settings) -> Result<Mlx> {
        match self {
            Source::Wheel(pin) => {
                let dir = stage_archive(settings, pin)?;
                Ok(in_prefix(&dir.join("mlx"), settings, Some(pin.folder())))
            }
            Source::Existing(dir) => {
                let mlx = in_prefix(dir, settings, None);
                check_existing(dir, &mlx)?;
                Ok(mlx)
            }
        }
    }
}

fn in_prefix(prefix: &Path, settings: &Settings, folder: Option<String>) -> Mlx {
    let lib = prefix.join("lib");
    Mlx {
        include: prefix.join("include"),
        library: lib.join(library_on("mlx", settings.platform.os_name())),
        metallib: Some(lib.join("mlx.metallib")).filter(|path| path.is_file()),
        folder,
    }
}

/// Returns the backend of an existing MLX: the one asked for, or what its files tell.
fn existing_backend(dir: &Path, requested: Option<&str>) -> Result<Backend> {
    if let Some(name) = requested {
        return Backend::from_name(name)
            .ok_or_else(|| Error::NoBackend(format!("unknown backend `{name}`")));
    }
    let has_metal = dir.join("lib/mlx.metallib").is_file();
    Ok(if has_metal {
        Backend::Metal
    } else {
        Backend::Cpu
    })
}

fn check_existing(dir: &Path, mlx: &Mlx) -> Result<()> {
    let refuse = |reason: String| Error::MlxDir {
        path: dir.to_owned(),
        reason,
    };
    if !mlx.library.is_file() {
        return Err(refuse(format!("it has no {}", mlx.library.display())));
    }
    let header = mlx.include.join("mlx/version.h");
    let text = std::fs::read_to_string(&header)
        .map_err(|error| refuse(format!("cannot read {}: {error}", header.display())))?;
    let version = version_in(&text);
    if version != MLX_VERSION {
        let reason = format!("it is version {version}, but {MLX_VERSION} is needed");
        return Err(refuse(reason));
    }
    Ok(())
}

/// Returns the version that MLX's `version.h` defines.
fn version_in(header: &str) -> String {
    let part = |name: &str| {
        header
            .lines()
            .filter_map(|line| line.strip_prefix("#define MLX_VERSION_"))
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .map_or("?", str::trim)
    };
    [part("MAJOR"), part("MINOR"), part("PATCH")].join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_of_a_header() {
        let text = "#define MLX_VERSION_MAJOR 0\n#define MLX_VERSION_MINOR 32\n#define MLX_VERSION_PATCH 2\n\
            #define MLX_VERSION_NUMERIC \\\n";
        assert_eq!(version_in(text), "0.32.2");
        assert_eq!(version_in(""), "?.?.?");
    }
}

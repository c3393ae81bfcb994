//! Which MLX is used: the wheel for this machine and backend, or the one that `MLX_DIR` points to.

use std::path::{Path, PathBuf};

use crate::backend::{self, Backend, BackendChoice};
use crate::layout::library_on;
use crate::pins::{self, MLX_VERSION, Pin};
use crate::shell_words::quoted;
use crate::{Error, Platform, Result, Settings, environment, stage_archive};

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
pub(crate) fn choose(settings: &Settings) -> Result<(BackendChoice, Source)> {
    let platform = &settings.platform;
    let choice = chosen_backend(settings)?;
    if let Some(dir) = &settings.mlx_dir {
        check_existing(dir, &in_prefix(dir, settings, None), platform)?;
        let backend = match settings.backend {
            Some(_) => choice.backend,
            None => existing_backend(dir),
        };
        let why = "MLX_DIR points to it".to_owned();
        return Ok((
            BackendChoice { backend, why },
            Source::Existing(dir.clone()),
        ));
    }
    let pin = pins::mlx(choice.backend, platform).ok_or_else(|| {
        let text = format!(
            "no {} build of MLX is pinned for {platform}",
            choice.backend
        );
        Error::NoBackend(text)
    })?;
    Ok((choice, Source::Wheel(pin)))
}

/// Returns the backend that is asked for, or the machine's default.
fn chosen_backend(settings: &Settings) -> Result<BackendChoice> {
    let platform = &settings.platform;
    let (os, arch) = (platform.os_name(), platform.arch.as_str());
    let default = backend::choose(os, arch, None).map_err(Error::NoBackend)?;
    let Some(name) = settings.backend.as_deref() else {
        return Ok(default);
    };
    backend::choose(os, arch, Some(name)).map_err(|reason| Error::Setting {
        name: match environment::value(environment::BACKEND) {
            Some(value) if value == *name => environment::BACKEND,
            _ => "--backend",
        },
        value: name.to_owned(),
        reason,
        fix: format!("choose one of those, or none for {}", default.backend),
    })
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
                // Checked when it was chosen.
                Ok(in_prefix(dir, settings, None))
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

/// Returns the backend of an existing MLX, as its files tell.
fn existing_backend(dir: &Path) -> Backend {
    match dir.join("lib/mlx.metallib").is_file() {
        true => Backend::Metal,
        false => Backend::Cpu,
    }
}

fn check_existing(dir: &Path, mlx: &Mlx, platform: &Platform) -> Result<()> {
    let refuse = |reason: String| Error::Setting {
        name: environment::MLX_DIR,
        value: dir.to_string_lossy().into_owned(),
        reason,
        fix: match meant(dir, platform) {
            Some(other) => format!("set it to {}", quoted(&other)),
            None => format!(
                "set it to the folder with `lib/` and `include/` of an MLX {MLX_VERSION} (of Python's package: \
                 `site-packages/mlx`), or unset it to have that fetched"
            ),
        },
    };
    if !dir.is_dir() {
        let what = match dir.exists() {
            true => "it is no folder",
            false => "there is no such folder",
        };
        return Err(refuse(what.to_owned()));
    }
    let header = mlx.include.join("mlx/version.h");
    for file in [&mlx.library, &header] {
        if !file.is_file() {
            return Err(refuse(format!("it has no {}", within(file, dir))));
        }
    }
    let text = std::fs::read_to_string(&header)
        .map_err(|error| refuse(format!("cannot read {}: {error}", within(&header, dir))))?;
    let version = version_in(&text);
    if version != MLX_VERSION {
        let reason = format!("it is version {version}, but {MLX_VERSION} is needed");
        return Err(refuse(reason));
    }
    Ok(())
}

/// Returns the folder near `dir` that was probably meant: the one above `lib/`, or Python's `mlx` below.
fn meant(dir: &Path, platform: &Platform) -> Option<PathBuf> {
    let library = Path::new("lib").join(library_on("mlx", platform.os_name()));
    let near = dir.ancestors().skip(1).take(2).map(Path::to_owned);
    let below = ["mlx", "site-packages/mlx", "build/install"].map(|name| dir.join(name));
    near.chain(below)
        .find(|dir| dir.join(&library).is_file() && dir.join("include/mlx/version.h").is_file())
}

/// Returns a file's name as seen from a folder.
fn within(file: &Path, dir: &Path) -> String {
    file.strip_prefix(dir).unwrap_or(file).display().to_string()
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
        let text = "#define MLX_VERSION_MAJOR 0\n#define MLX_VERSION_MINOR 32\n#define MLX_VERSION_PATCH 4\n\
            #define MLX_VERSION_NUMERIC \\\n";
        assert_eq!(version_in(text), "0.32.4");
        assert_eq!(version_in(""), "?.?.?");
    }
}

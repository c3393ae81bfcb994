//! Where the libraries are: the first complete set, in the order that the crate's documentation gives.

use std::path::{Path, PathBuf};

use mlx_provision::backend::Backend;
use mlx_provision::environment::{self, value};
use mlx_provision::layout::{self, Layout, library};
use mlx_provision::places;

use crate::LoadError;

/// Everything that the search depends on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// `MLX_LIB_DIR`.
    pub(crate) lib_dir: Option<PathBuf>,
    /// `MLX_DIR`.
    pub(crate) mlx_dir: Option<PathBuf>,
    /// `MLX_BACKEND`.
    pub(crate) backend: Option<String>,
    /// The folder of the executable.
    pub(crate) executable: Option<PathBuf>,
    /// `MLX_BUILD_DIR`.
    pub(crate) build_dir: Option<PathBuf>,
    /// The stage folder this crate was built with, and the native folder in it.
    pub(crate) baked: Option<(PathBuf, PathBuf)>,
    /// The user's cache.
    pub(crate) cache: Option<PathBuf>,
    /// Whether an NVIDIA driver is there.
    pub(crate) has_nvidia: bool,
}

/// A set of libraries and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) layout: Layout,
    pub(crate) place: &'static str,
}

impl Places {
    /// Reads the environment of this process.
    pub(crate) fn of_process() -> Self {
        let path = |name| value(name).map(PathBuf::from);
        let (root, native) = (env!("MLX_SYS_STAGE_ROOT"), env!("MLX_SYS_NATIVE"));
        Self {
            lib_dir: path(environment::LIB_DIR),
            mlx_dir: path(environment::MLX_DIR),
            backend: value(environment::BACKEND).map(|name| name.to_string_lossy().into_owned()),
            executable: std::env::current_exe()
                .ok()
                .and_then(|file| file.parent().map(Path::to_owned)),
            build_dir: path(environment::BUILD_DIR),
            baked: (!native.is_empty()).then(|| (root.into(), native.into())),
            cache: Some(places::user_cache()),
            has_nvidia: crate::cuda::has_driver(),
        }
    }

    /// Returns the first complete set of libraries.
    pub(crate) fn find(&self) -> Result<Found, LoadError> {
        let backend = match &self.backend {
            Some(name) => Some(
                Backend::from_name(name)
                    .ok_or_else(|| LoadError::Backend { name: name.clone() })?,
            ),
            None => None,
        };
        let mut tried = Vec::new();
        let mut found = self
            .candidates(backend)
            .into_iter()
            .find_map(|(dir, place)| {
                let layout = in_folder(&dir, backend);
                tried.push(dir);
                layout.map(|layout| Found { layout, place })
            })
            .ok_or_else(|| LoadError::NotFound {
                backend: self.backend.clone(),
                tried,
            })?;
        if let Some(dir) = &self.mlx_dir {
            found.layout.mlx = dir.join("lib").join(library("mlx"));
        }
        Ok(found)
    }

    /// Returns the folders to look in, with what to call them.
    fn candidates(&self, backend: Option<Backend>) -> Vec<(PathBuf, &'static str)> {
        if let Some(dir) = &self.lib_dir {
            // Said explicitly: another place would surprise.
            return vec![(dir.clone(), "MLX_LIB_DIR")];
        }
        let mut places = Vec::new();
        if let Some(dir) = &self.executable {
            places.push((dir.clone(), "beside the executable"));
            places.push((dir.join("../lib"), "beside the executable"));
        }
        if let Some(root) = &self.build_dir {
            if let Some((_, native)) = &self.baked {
                // The same build, staged elsewhere.
                places.extend(
                    native
                        .file_name()
                        .map(|name| (root.join(name), "MLX_BUILD_DIR")),
                );
            }
            places.extend(self.staged(root, backend, "MLX_BUILD_DIR"));
        }
        if let Some((root, native)) = &self.baked {
            let place = "the build's stage folder";
            let mut staged = self.staged(root, backend, place);
            // The very build of this program, unless CUDA was staged since, which is then meant to be used.
            let at = staged.iter().take_while(|(dir, _)| is_cuda(dir)).count();
            staged.insert(at, (native.clone(), place));
            places.extend(staged);
        }
        if let Some(root) = &self.cache {
            let staged = self.staged(root, backend, "the user's cache");
            if staged.is_empty() {
                // Nothing there: named all the same in the error.
                places.push((root.clone(), "the user's cache"));
            }
            places.extend(staged);
        }
        places
    }

    /// Returns the native folders in a stage folder, the most capable backend first.
    fn staged(
        &self,
        root: &Path,
        backend: Option<Backend>,
        place: &'static str,
    ) -> Vec<(PathBuf, &'static str)> {
        Backend::ALL
            .into_iter()
            .filter(|candidate| match backend {
                Some(backend) => *candidate == backend,
                None => self.has_nvidia || !candidate.is_cuda(),
            })
            .filter_map(|candidate| layout::current(root, candidate))
            .map(|dir| (dir, place))
            .collect()
    }
}

fn is_cuda(native: &Path) -> bool {
    Layout::read(native).is_some_and(|layout| layout.backend.is_cuda())
}

/// Returns the libraries of a folder: a staged one with its layout, or all lying in it.
fn in_folder(dir: &Path, backend: Option<Backend>) -> Option<Layout> {
    if let Some(layout) = Layout::read(dir) {
        let wanted = backend.is_none_or(|backend| backend == layout.backend);
        return (wanted && layout.mlxc.is_file()).then_some(layout);
    }
    let guess = if dir.join("mlx.metallib").is_file() {
        Backend::Metal
    } else {
        Backend::Cpu
    };
    Layout::flat(dir, backend.unwrap_or(guess))
}

#[cfg(test)]
mod tests;

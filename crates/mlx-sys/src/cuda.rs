//! NVIDIA's libraries, which MLX's CUDA builds need and the system's loader does not find in Python's places.

use std::path::{Path, PathBuf};

use mlx_provision::backend::Backend;

use crate::open::{Names, open};

/// Returns whether an NVIDIA driver is installed.
pub(crate) fn has_driver() -> bool {
    cfg!(target_os = "linux") && open(Path::new("libcuda.so.1"), Names::Local).is_ok()
}

/// Returns the libraries to load before MLX, as far as they are found in `cuda_dir` or beside `mlx`.
///
/// What is not found is left to the system's loader.
pub(crate) fn libraries(backend: Backend, mlx: &Path, cuda_dir: Option<&Path>) -> Vec<PathBuf> {
    let dirs = folders(mlx, cuda_dir);
    names(backend)
        .iter()
        .filter_map(|name| {
            dirs.iter()
                .map(|dir| dir.join(name))
                .find(|file| file.is_file())
        })
        .collect()
}

/// Returns the names that MLX's library lists as needed, each after those it needs itself (cuSOLVER three more).
fn names(backend: Backend) -> &'static [&'static str] {
    match backend {
        Backend::Cuda13 => &[
            "libcublasLt.so.13",
            "libcufft.so.12",
            "libnvJitLink.so.13",
            "libcusparse.so.12",
            "libcublas.so.13",
            "libcusolver.so.12",
            "libnvrtc.so.13",
            "libcudnn.so.9",
            "libnccl.so.2",
        ],
        Backend::Cuda12 => &[
            "libcublasLt.so.12",
            "libcufft.so.11",
            "libnvJitLink.so.12",
            "libcusparse.so.12",
            "libcublas.so.12",
            "libcusolver.so.11",
            "libnvrtc.so.12",
            "libcudnn.so.9",
            "libnccl.so.2",
        ],
        Backend::Cpu | Backend::Metal => &[],
    }
}

/// Returns the folders that may hold them: a toolkit's `lib64` and `lib`, and the `*/lib` of Python's `nvidia` folder.
fn folders(mlx: &Path, cuda_dir: Option<&Path>) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    // `mlx/lib/libmlx.so` beside `nvidia/`, as in site-packages.
    let beside = mlx.ancestors().nth(3).map(|dir| dir.join("nvidia"));
    for root in cuda_dir.map(Path::to_owned).into_iter().chain(beside) {
        dirs.extend([root.join("lib64"), root.join("lib"), root.clone()]);
        let Ok(entries) = std::fs::read_dir(&root) else {
            continue;
        };
        let mut parts: Vec<_> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.path().join("lib"))
            .collect();
        parts.sort();
        dirs.extend(parts);
    }
    dirs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_parts_of_a_python_installation_and_of_a_toolkit() {
        let dir = tempfile::tempdir().unwrap();
        let site = dir.path().join("site-packages");
        let toolkit = dir.path().join("cuda");
        for file in [
            site.join("mlx/lib/libmlx.so"),
            site.join("nvidia/cu13/lib/libnvrtc.so.13"),
            site.join("nvidia/cudnn/lib/libcudnn.so.9"),
            toolkit.join("lib64/libnvrtc.so.13"),
        ] {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
        let mlx = site.join("mlx/lib/libmlx.so");
        let found = libraries(Backend::Cuda13, &mlx, None);
        assert_eq!(
            found,
            [
                site.join("nvidia/cu13/lib/libnvrtc.so.13"),
                site.join("nvidia/cudnn/lib/libcudnn.so.9")
            ]
        );
        let found = libraries(Backend::Cuda13, &mlx, Some(&toolkit));
        assert_eq!(found[0], toolkit.join("lib64/libnvrtc.so.13"));
        assert!(libraries(Backend::Cpu, &mlx, Some(&toolkit)).is_empty());
    }
}

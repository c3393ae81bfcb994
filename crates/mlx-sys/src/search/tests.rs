//! The order of the places, with empty files for libraries.

use super::*;

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn flat(&self, name: &str) -> PathBuf {
        let dir = self.dir(name);
        for file in [library("mlx"), library("mlxc")] {
            touch(&dir.join(file));
        }
        dir
    }

    /// A stage folder with one native folder that is its backend's current one.
    fn staged(&self, name: &str, backend: Backend) -> (PathBuf, PathBuf) {
        let root = self.dir(name);
        let native = root.join(format!("native-{backend}-1"));
        touch(&native.join("lib").join(library("mlxc")));
        let layout = Layout {
            backend,
            mlx: "../mlx/lib/libmlx.so".into(),
            mlxc: PathBuf::from("lib").join(library("mlxc")),
            openblas: None,
            blas: None,
            guard: None,
            metallib: None,
        };
        std::fs::write(native.join(layout::FILE), layout.text()).unwrap();
        layout::set_current(&root, backend, &format!("native-{backend}-1")).unwrap();
        (root, native)
    }
}

fn touch(file: &Path) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, "").unwrap();
}

#[test]
fn looks_in_the_documented_order() {
    let scratch = Scratch::new();
    let mut places = Places {
        lib_dir: Some(scratch.flat("said")),
        executable: Some(scratch.flat("exe")),
        build_dir: Some(scratch.staged("build", Backend::Cpu).0),
        baked: Some(scratch.staged("baked", Backend::Cpu)),
        cache: Some(scratch.staged("cache", Backend::Cpu).0),
        ..Places::default()
    };
    let mut found = Vec::new();
    found.push(places.find().unwrap().place);
    places.lib_dir = None;
    found.push(places.find().unwrap().place);
    places.executable = None;
    found.push(places.find().unwrap().place);
    places.build_dir = None;
    found.push(places.find().unwrap().place);
    places.baked = None;
    found.push(places.find().unwrap().place);
    assert_eq!(
        found,
        [
            "MLX_LIB_DIR",
            "beside the executable",
            "MLX_BUILD_DIR",
            "the build's stage folder",
            "the user's cache"
        ]
    );
}

#[test]
fn finds_libraries_in_lib_beside_the_folder_of_the_executable() {
    let scratch = Scratch::new();
    scratch.flat("lib");
    std::fs::create_dir(scratch.dir("bin")).unwrap();
    let places = Places {
        executable: Some(scratch.dir("bin")),
        ..Places::default()
    };
    assert_eq!(
        places.find().unwrap().layout.mlx.file_name().unwrap(),
        library("mlx").as_str()
    );
}

#[test]
fn selects_the_backend_that_is_asked_for() {
    let scratch = Scratch::new();
    let (root, native) = scratch.staged("build", Backend::Cpu);
    scratch.staged("build", Backend::Cuda13);
    let mut places = Places {
        baked: Some((root, native)),
        ..Places::default()
    };
    assert_eq!(places.find().unwrap().layout.backend, Backend::Cpu);
    places.backend = Some("cuda13".into());
    assert_eq!(places.find().unwrap().layout.backend, Backend::Cuda13);
    places.backend = Some("cuda12".into());
    let error = places.find().unwrap_err().to_string();
    assert!(error.contains("MLX_BACKEND=cuda12"), "{error}");
    places.backend = Some("tpu".into());
    assert!(places.find().unwrap_err().to_string().contains("tpu"));
}

#[test]
fn takes_cuda_by_itself_only_where_there_is_a_driver() {
    let scratch = Scratch::new();
    scratch.staged("cache", Backend::Cpu);
    let (cache, _) = scratch.staged("cache", Backend::Cuda13);
    let mut places = Places {
        cache: Some(cache),
        ..Places::default()
    };
    assert_eq!(places.find().unwrap().layout.backend, Backend::Cpu);
    places.has_nvidia = true;
    assert_eq!(places.find().unwrap().layout.backend, Backend::Cuda13);
    places.baked = Some(scratch.staged("cache", Backend::Cpu));
    assert_eq!(places.find().unwrap().layout.backend, Backend::Cuda13);
}

#[test]
fn replaces_only_the_library_of_mlx_by_mlx_dir() {
    let scratch = Scratch::new();
    let (root, native) = scratch.staged("build", Backend::Cpu);
    let places = Places {
        baked: Some((root, native.clone())),
        mlx_dir: Some("/opt/mlx".into()),
        ..Places::default()
    };
    let layout = places.find().unwrap().layout;
    assert_eq!(layout.mlx, Path::new("/opt/mlx/lib").join(library("mlx")));
    assert_eq!(layout.mlxc, native.join("lib").join(library("mlxc")));
}

#[test]
fn names_every_place_and_the_fix_when_nothing_is_there() {
    let scratch = Scratch::new();
    let places = Places {
        executable: Some(scratch.dir("bin")),
        baked: Some((scratch.dir("build"), scratch.dir("build/native-1"))),
        cache: Some(scratch.dir("cache")),
        ..Places::default()
    };
    let error = places.find().unwrap_err().to_string();
    for part in [
        "bin\n",
        "bin/../lib",
        "build/native-1",
        "cache",
        "cargo xtask setup",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    let places = Places {
        lib_dir: Some(scratch.dir("nowhere")),
        ..places
    };
    let error = places.find().unwrap_err().to_string();
    assert!(
        error.contains("nowhere") && !error.contains("cache"),
        "{error}"
    );
}

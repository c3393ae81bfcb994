//! What other systems' builds would look like, as far as that shows without building.

use super::*;
use crate::mlx::{self, Source};
use crate::pins;
use crate::places::StagingRoot;
use crate::{Os, Progress, stage_archive};

fn settings(root: &Path, platform: Platform) -> Settings {
    let native = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mlx-sys/native");
    Settings {
        root: StagingRoot {
            path: root.to_owned(),
            why: "a test",
        },
        platform,
        backend: None,
        mlx_dir: None,
        progress: Progress::quiet(),
        ..Settings::from_env(&native)
    }
}

fn parts(settings: &Settings, source: &Source, mlx: Mlx) -> BuildInputs {
    let (choice, _) = mlx::choose(settings).unwrap();
    assert!(matches!(source, Source::Wheel(_)));
    let openblas = pins::find("openblas", &settings.platform);
    BuildInputs {
        backend: choice.backend,
        mlx,
        mlxc: settings.root.path.join("mlx-c"),
        openblas: openblas.map(|pin| settings.root.path.join(pin.folder())),
        compiler: Compiler {
            path: "/usr/bin/c++".into(),
            args: Vec::new(),
            version: "c++ 0".into(),
        },
        cmake: Cmake {
            program: "cmake".into(),
            ninja: None,
        },
    }
}

/// Fetches 42 MB with the real client.
#[test]
fn stages_metal_where_the_loader_looks() {
    let dir = tempfile::tempdir().unwrap();
    let platform = Platform {
        os: Os::Macos(14),
        arch: "aarch64".into(),
    };
    let settings = settings(dir.path(), platform);
    if let Some(name) = settings.offline {
        eprintln!("skipped: {name} forbids the network");
        return;
    }
    let (choice, source) = mlx::choose(&settings).unwrap();
    assert_eq!(choice.backend, Backend::Metal);
    let mlx = source.ready(&settings).unwrap();
    let layout = layout_of(&settings, &parts(&settings, &source, mlx));

    // As the loader reads it, from the native folder beside the wheel's.
    let native = dir.path().join("native-metal-1");
    std::fs::create_dir(&native).unwrap();
    std::fs::write(native.join(layout::FILE), layout.text()).unwrap();
    let found = Layout::read(&native).unwrap();
    assert_eq!(found.backend, Backend::Metal);
    assert!(found.mlx.ends_with("mlx/lib/libmlx.dylib"));
    assert!(found.mlx.metadata().unwrap().len() > 1 << 20);
    let metallib = found.metallib.unwrap();
    assert_eq!(metallib.parent(), found.mlx.parent());
    assert!(metallib.metadata().unwrap().len() > 1 << 20);
    assert_eq!(found.mlxc, native.join("lib/libmlxc.dylib"));
    assert_eq!(
        (found.openblas, found.blas, found.guard),
        (None, None, None)
    );
}

#[test]
fn gives_linux_openblas_and_guards_the_cpu_build_only() {
    let dir = tempfile::tempdir().unwrap();
    for (backend, guarded) in [("cpu", true), ("cuda13", false)] {
        let mut settings = settings(dir.path(), Platform::named("linux", "x86_64"));
        settings.backend = Some(backend.into());
        let (_, source) = mlx::choose(&settings).unwrap();
        let mlx = Mlx {
            include: dir.path().join("include"),
            library: dir.path().join("x/mlx/lib/libmlx.so"),
            metallib: None,
            folder: Some("x".into()),
        };
        let inputs = parts(&settings, &source, mlx);
        let layout = layout_of(&settings, &inputs);
        assert_eq!(layout.mlx, Path::new("../x/mlx/lib/libmlx.so"));
        assert_eq!(layout.blas.as_deref(), Some(Path::new("lib/libmlxblas.so")));
        assert!(
            layout
                .openblas
                .unwrap()
                .ends_with("scipy_openblas32/lib/libscipy_openblas.so")
        );
        assert_eq!(layout.guard.is_some(), guarded, "{backend}");
    }
}

#[test]
fn refuses_to_build_for_another_machine() {
    let dir = tempfile::tempdir().unwrap();
    let other = match std::env::consts::ARCH {
        "x86_64" => "aarch64",
        _ => "x86_64",
    };
    let settings = settings(dir.path(), Platform::named("linux", other));
    let error = check_host(&settings).unwrap_err();
    assert!(error.to_string().contains("MLX_BUILD_DIR"), "{error}");
    // Fetching for it is possible all the same: the pins are those of the other machine.
    let pin = pins::mlx(Backend::Cpu, &settings.platform).unwrap();
    assert!(pin.file.contains(other));
    let offline = Settings {
        offline: Some("MLX_OFFLINE"),
        ..settings
    };
    assert!(matches!(
        stage_archive(&offline, &pin),
        Err(Error::Offline { .. })
    ));
}

//! Everything from nothing to the built native library, in the order that fails earliest.

use std::path::{Path, PathBuf};

use crate::backend::{Backend, BackendChoice};
use crate::layout::{self, Layout};
use crate::mlx::{self, Source};
use crate::native::{self, BuildInputs};
use crate::pins::{self, Pin};
use crate::stage::in_scratch;
use crate::tools::compiler::Compiler;
use crate::tools::{cmake, compiler, libclang};
use crate::{Error, Result, Settings, download, stage_archive, stamp, sweep, system};

/// What is staged, and where.
#[derive(Clone, Debug)]
pub struct Staged {
    /// The folder that holds everything.
    pub root: PathBuf,
    /// The build of MLX, and why this one.
    pub choice: BackendChoice,
    /// The folder of the built native library.
    pub native: PathBuf,
    /// The libraries, with absolute paths.
    pub layout: Layout,
    /// The source of mlx-c, which is also the include folder of its headers.
    pub mlxc: PathBuf,
    /// The folder of libclang.
    pub libclang: Option<PathBuf>,
    /// The compiler's own C headers, which a staged libclang lacks.
    pub c_headers: Option<PathBuf>,
    /// Files whose change or absence means that staging must run again.
    pub watch: Vec<PathBuf>,
}

/// Stages everything that is not there yet, and builds the native library.
///
/// Nothing is fetched when all is there, and nothing at all happens on the network when [`Settings::offline`] says so.
///
/// # Errors
/// Each with its way out; whatever was complete before stays, and nothing half done is left.
pub fn setup(settings: &Settings) -> Result<Staged> {
    let plan = Plan::new(settings)?;
    plan.check(settings)?;
    if !plan.is_staged(settings) {
        sweep::leftovers(&settings.root.path);
    }
    let mlx = plan.source.ready(settings)?;
    let mlxc = stage_archive(settings, &plan.mlxc)?;
    let openblas = plan
        .openblas
        .map(|pin| stage_archive(settings, &pin))
        .transpose()?;
    let has_own_libclang = libclang::own(settings).is_some();
    let libclang = libclang::ready(settings)?;
    let c_headers = plan.compiler.as_ref().and_then(|compiler| {
        // A system's libclang finds its own headers.
        (!has_own_libclang).then(|| compiler.include_dir(settings))?
    });
    let staged = [Some(&mlxc), openblas.as_ref()];
    let mut watch: Vec<_> = staged
        .into_iter()
        .flatten()
        .map(|dir| stamp::path(dir))
        .collect();
    watch.push(mlx.library.clone());
    let native = match (plan.native, plan.compiler) {
        (Native::ToBuild(name), Some(compiler)) => {
            let inputs = BuildInputs {
                backend: plan.choice.backend,
                mlx,
                mlxc: mlxc.clone(),
                openblas,
                compiler,
                cmake: cmake::ready(settings)?,
            };
            native::build(settings, &name, &inputs)?
        }
        (Native::Built(dir), _) => dir,
        (Native::ToBuild(_), None) => return Err(no_compiler(settings)),
    };
    watch.push(stamp::path(&native));
    let layout = announce(settings, plan.choice.backend, &native)?;
    Ok(Staged {
        root: settings.root.path.clone(),
        choice: plan.choice,
        native,
        layout,
        mlxc,
        libclang,
        c_headers,
        watch,
    })
}

/// Makes the native folder the one that programs elsewhere find, and reads its layout.
fn announce(settings: &Settings, backend: Backend, native: &Path) -> Result<Layout> {
    let root = &settings.root.path;
    let name = native.file_name().unwrap_or_default().to_string_lossy();
    layout::set_current(root, backend, &name)
        .map_err(|error| Error::io("write the pointer in", root, error))?;
    Layout::read(native).ok_or_else(|| {
        let missing = std::io::Error::from(std::io::ErrorKind::InvalidData);
        Error::io("read", &native.join(layout::FILE), missing)
    })
}

enum Native {
    Built(PathBuf),
    ToBuild(String),
}

/// What is needed, known before anything is fetched.
struct Plan {
    choice: BackendChoice,
    source: Source,
    mlxc: Pin,
    openblas: Option<Pin>,
    compiler: Option<Compiler>,
    native: Native,
}

impl Plan {
    fn new(settings: &Settings) -> Result<Self> {
        let (choice, source) = mlx::choose(settings)?;
        let mlxc = pins::find("mlx-c", &settings.platform)
            .ok_or_else(|| Error::NoBackend("no mlx-c is pinned".into()))?;
        let openblas = pins::find("openblas", &settings.platform);
        let mut hashes = vec![source.identity(settings)?, mlxc.sha256.clone()];
        hashes.extend(openblas.iter().map(|pin| pin.sha256.clone()));
        let compiler = compiler::find(settings).ok();
        let names = native::names(settings, choice.backend.name(), &hashes, compiler.as_ref())?;
        let built = |dir: PathBuf| stamp::is_complete(&dir).then_some(dir);
        let native = match names.folder() {
            Some(name) => match built(settings.root.path.join(&name)) {
                Some(dir) => Native::Built(dir),
                None => Native::ToBuild(name),
            },
            None => Native::Built(
                native::built_by_any_compiler(settings, &names)
                    .ok_or_else(|| no_compiler(settings))?,
            ),
        };
        Ok(Self {
            choice,
            source,
            mlxc,
            openblas,
            compiler,
            native,
        })
    }

    /// Fails now for what would fail late: a C library that is too old, no network, no Python, an old compiler, a
    /// folder that cannot be written.
    fn check(&self, settings: &Settings) -> Result<()> {
        let pins = self.pins(settings);
        system::check_libc(settings, &pins.iter().collect::<Vec<_>>())?;
        cmake::check_given(settings)?;
        libclang::check_given(settings)?;
        if self.is_staged(settings) {
            // Not one file is written, so that a stage folder which is complete may be read-only.
            return Ok(());
        }
        system::check_temp_dir()?;
        download::check_offline(settings, &pins)?;
        if pins.iter().any(|pin| download::needs_python(settings, pin)) {
            download::find_python(settings)?;
        }
        self.check_folder(settings)?;
        match (&self.native, &self.compiler) {
            (Native::ToBuild(_), Some(compiler)) => in_scratch(settings, "probe", |temp| {
                compiler.check_cxx20(settings, temp)
            }),
            _ => Ok(()),
        }
    }

    /// Returns whether everything is there.
    fn is_staged(&self, settings: &Settings) -> bool {
        let is_there = |pin: &Pin| stamp::is_complete(&settings.root.path.join(pin.folder()));
        matches!(self.native, Native::Built(_)) && self.pins(settings).iter().all(is_there)
    }

    /// Fails when the stage folder cannot be written.
    fn check_folder(&self, settings: &Settings) -> Result<()> {
        let temp = settings.root.path.join(".tmp");
        let file = temp.join(format!("write.{}", std::process::id()));
        let made = std::fs::create_dir_all(&temp).and_then(|()| std::fs::write(&file, ""));
        let _ = std::fs::remove_file(&file);
        made.map_err(|source| match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Error::io("write", &file, source)
            }
            _ => Error::StageFolder {
                path: settings.root.path.clone(),
                why: settings.root.why,
                reason: source,
            },
        })
    }

    /// Returns every file that must be staged for this plan.
    fn pins(&self, settings: &Settings) -> Vec<Pin> {
        let mut pins = Vec::new();
        if let Source::Wheel(pin) = &self.source {
            pins.push(pin.clone());
        }
        pins.push(self.mlxc.clone());
        pins.extend(self.openblas.clone());
        pins.extend(libclang::lacking(settings));
        if matches!(self.native, Native::ToBuild(_)) {
            pins.extend(cmake::lacking(settings));
        }
        pins
    }
}

fn no_compiler(settings: &Settings) -> Error {
    match compiler::find(settings) {
        Err(error) => error,
        Ok(_) => Error::NoCompiler { tried: Vec::new() },
    }
}

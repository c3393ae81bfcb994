//! The environments of the rivals, under `build/bench/`: made once from pinned versions.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use mlx_provision::{PythonEnvironment, Settings, is_made_from, make_in_place};

use super::process::Spec;

/// A rival and what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rival {
    /// The name in the table and for `--against`.
    pub name: &'static str,
    /// Its environment.
    pub home: Home,
    /// Whether it is only set up when it is asked for, as that takes long.
    pub on_demand: bool,
    /// Whether OpenBLAS takes the place of the BLAS inside its package.
    pub preload_blas: bool,
}

/// The kind of environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// A virtual environment, `rivals/requirements/NAME.txt`, and a script of `rivals/` that runs in it.
    Python {
        /// The environment.
        environment: &'static str,
        /// The script.
        script: &'static str,
    },
    /// A script that runs in the Python that [`GIVEN_PYTHON`] names, as nothing is pinned for it.
    Given {
        /// The script.
        script: &'static str,
        /// Its arguments.
        arguments: &'static [&'static str],
    },
    /// A Cargo workspace of its own.
    Candle,
}

/// The Python that runs every rival in Python, in the place of environments made from pins.
pub const GIVEN_PYTHON: &str = "MLX_BENCH_PYTHON";
/// The folder that has `rivals/`, in the place of `benches/` of the checkout.
pub const BENCH_HOME: &str = "MLX_BENCH_HOME";

const fn python(name: &'static str, environment: &'static str, script: &'static str) -> Rival {
    Rival {
        name,
        home: Home::Python {
            environment,
            script,
        },
        on_demand: false,
        preload_blas: false,
    }
}

/// Every rival, in the order of the table.
pub const RIVALS: [Rival; 11] = [
    python("python-mlx", "mlx", "run_mlx.py"),
    Rival {
        preload_blas: true,
        ..python("python-mlx-openblas", "mlx", "run_mlx.py")
    },
    python("numpy", "arrays", "run_numpy.py"),
    python("jax", "arrays", "run_jax.py"),
    python("onnxruntime", "arrays", "run_onnxruntime.py"),
    Rival {
        // With the CUDA packages that it does not start without, 4 GB.
        on_demand: true,
        ..python("pytorch", "pytorch", "run_pytorch.py")
    },
    python("faster-whisper", "faster-whisper", "run_faster_whisper.py"),
    Rival {
        on_demand: true,
        ..python("llama-cpp", "llama-cpp", "run_llama_cpp.py")
    },
    Rival {
        name: "candle",
        home: Home::Candle,
        on_demand: true,
        preload_blas: false,
    },
    given("mlx-lm", "run_mlx_lm.py", &[]),
    given("pytorch-compiled", "run_pytorch.py", &["compiled"]),
];

const fn given(
    name: &'static str,
    script: &'static str,
    arguments: &'static [&'static str],
) -> Rival {
    Rival {
        name,
        home: Home::Given { script, arguments },
        on_demand: false,
        preload_blas: false,
    }
}

/// The folders of this checkout.
#[derive(Clone, Debug)]
pub struct Folders {
    /// `benches/`.
    pub benches: PathBuf,
    /// `build/bench/`.
    pub build: PathBuf,
    /// What Python MLX is given as `LD_PRELOAD` to use OpenBLAS.
    pub preload: Option<String>,
    /// What [`GIVEN_PYTHON`] names.
    pub python: Option<String>,
    /// Whether this is a bundle, which has no checkout around it.
    pub is_bundle: bool,
}

impl Folders {
    /// Returns the folders, as `cargo xtask bench` names them, as they are in a bundle, or as they are in the checkout.
    pub fn find() -> Self {
        let packed = packed();
        let is_bundle = packed.is_some();
        let benches = packed.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        let root = benches.parent().unwrap_or(&benches).to_path_buf();
        let build = std::env::var_os("MLX_BENCH_DIR");
        Self {
            build: build.map_or_else(|| root.join("build/bench"), PathBuf::from),
            preload: std::env::var("MLX_BENCH_PRELOAD").ok(),
            python: std::env::var(GIVEN_PYTHON)
                .ok()
                .filter(|path| !path.is_empty()),
            benches,
            is_bundle,
        }
    }

    /// Returns a virtual environment, `rivals/requirements/NAME.txt`; `rival` names the log of its set-up.
    fn environment(&self, name: &str, rival: &str) -> PythonEnvironment {
        let requirements = self.benches.join("rivals/requirements");
        PythonEnvironment {
            folder: self.build.join(name),
            requirements: requirements.join(format!("{name}.txt")),
            arguments: Vec::new(),
            variables: vec![("CMAKE_ARGS".to_owned(), "-DGGML_NATIVE=ON".to_owned())],
            log: self.build.join(format!("{rival}-set-up.log")),
        }
    }

    /// Returns the target folder of candle's runner.
    fn candle(&self) -> PathBuf {
        self.build.join("candle")
    }

    fn settings(&self) -> Settings {
        Settings::from_env(&self.benches.join("../crates/mlx-sys/native"))
    }
}

impl Rival {
    /// Makes the rival ready, setting it up when it is not or when its pins have changed, and says how to start it.
    ///
    /// `asked` is whether it was named with `--against`.
    ///
    /// # Errors
    /// Why it is absent: that is a line of the table.
    pub fn ready(&self, folders: &Folders, asked: bool, threads: usize) -> Result<Spec> {
        if self.preload_blas {
            let why = "OpenBLAS for it is staged on Linux only";
            folders.preload.as_ref().context(why)?;
        }
        if let (Home::Given { .. }, None) = (self.home, &folders.python) {
            anyhow::bail!("{GIVEN_PYTHON} names no Python");
        }
        let is_ready = self.is_ready(folders)?;
        ensure!(
            is_ready || asked || !self.on_demand,
            "not built, which takes long: `cargo xtask bench --against {}` builds it",
            self.name
        );
        if !is_ready {
            let started = std::time::Instant::now();
            eprintln!("setting up {} in {}", self.name, folders.build.display());
            self.set_up(folders)?;
            eprintln!("    took {:.0} s", started.elapsed().as_secs_f64());
        }
        fs::create_dir_all(folders.build.join("logs"))?;
        let mut environment = threads_of_everyone(threads);
        if self.preload_blas {
            let preload = folders.preload.clone().unwrap_or_default();
            environment.push(("LD_PRELOAD".into(), preload));
            environment.push(("MLX_BENCH_CACHE".into(), "1".into()));
        }
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let command = match self.home {
            Home::Python {
                environment,
                script,
            } => {
                let made = || text(folders.environment(environment, self.name).python());
                let python = folders.python.clone().unwrap_or_else(made);
                vec![
                    python,
                    "-u".to_owned(),
                    text(folders.benches.join("rivals").join(script)),
                ]
            }
            Home::Given { script, arguments } => {
                let python = folders.python.clone().unwrap_or_default();
                let script = text(folders.benches.join("rivals").join(script));
                let arguments = arguments.iter().map(|one| (*one).to_owned());
                [python, "-u".to_owned(), script]
                    .into_iter()
                    .chain(arguments)
                    .collect()
            }
            Home::Candle => vec![text(folders.candle().join("release/candle-runner"))],
        };
        Ok(Spec {
            name: self.name.to_owned(),
            command,
            environment,
            log: folders
                .build
                .join("logs")
                .join(format!("{}.log", self.name)),
        })
    }

    fn is_ready(&self, folders: &Folders) -> Result<bool> {
        match self.home {
            Home::Python { .. } | Home::Given { .. } if folders.python.is_some() => Ok(true),
            Home::Python { environment, .. } => {
                Ok(folders.environment(environment, self.name).is_made()?)
            }
            Home::Given { .. } => Ok(false),
            Home::Candle => Ok(is_made_from(&folders.candle(), &candle_inputs(folders)?)),
        }
    }

    fn set_up(&self, folders: &Folders) -> Result<()> {
        let settings = folders.settings();
        match self.home {
            Home::Python { environment, .. } => {
                folders
                    .environment(environment, self.name)
                    .make(&settings)?;
                Ok(())
            }
            Home::Given { .. } => Ok(()),
            Home::Candle => {
                let inputs = candle_inputs(folders)?;
                let log = folders.build.join("candle-set-up.log");
                make_in_place(&settings, &folders.candle(), &inputs, || {
                    build_candle(folders, &File::create(log)?)
                })
            }
        }
    }
}

/// The folder of a bundle that has the rivals' scripts: what [`BENCH_HOME`] names, or `benches` beside `bin`.
fn packed() -> Option<PathBuf> {
    if let Some(home) = std::env::var_os(BENCH_HOME) {
        return Some(PathBuf::from(home));
    }
    let program = std::env::current_exe().ok()?;
    let benches = program.parent()?.parent()?.join("benches");
    benches
        .join("rivals/protocol.py")
        .is_file()
        .then_some(benches)
}

/// What candle's runner is made from: when it changes, the runner is built again.
fn candle_inputs(folders: &Folders) -> Result<String> {
    let folder = folders.benches.join("rivals/candle");
    ["Cargo.lock", "Cargo.toml", "src/main.rs", "src/models.rs"]
        .map(|name| folder.join(name))
        .into_iter()
        .map(|path| {
            fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
        })
        .collect()
}

fn build_candle(folders: &Folders, log: &File) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--manifest-path"]);
    cargo.arg(folders.benches.join("rivals/candle/Cargo.toml"));
    cargo.env("CARGO_TARGET_DIR", folders.candle());
    cargo.env("RUSTFLAGS", "-C target-cpu=native");
    cargo.stdout(log.try_clone()?).stderr(log.try_clone()?);
    let status = cargo.status().context("cargo could not be started")?;
    ensure!(
        status.success(),
        "set-up failed: cargo ended with {status}; its log is beside the environment"
    );
    Ok(())
}

/// Every library has its own name for the number of threads; all of them get the same one.
pub fn threads_of_everyone(threads: usize) -> Vec<(String, String)> {
    let names = [
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "RAYON_NUM_THREADS",
        "MLX_NUM_THREADS",
    ];
    let name = |name: &str| (name.to_owned(), threads.to_string());
    names.into_iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::options::RIVAL_NAMES;

    #[test]
    fn the_command_line_knows_every_rival() {
        assert_eq!(RIVALS.map(|rival| rival.name), RIVAL_NAMES);
    }
}

//! Where do the rivals live? In environments under `build/bench/`, made once from pinned versions.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::process::Spec;

/// A rival and what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rival {
    /// The name in the table and for `--against`.
    pub name: &'static str,
    /// The environment it lives in.
    pub home: Home,
    /// Whether it is only set up when it is asked for, as that takes long.
    pub on_demand: bool,
    /// Whether OpenBLAS takes the place of the BLAS inside its package.
    pub preload_blas: bool,
}

/// The kind of environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// A virtual environment, `rivals/requirements/NAME.txt`, and a script of ours in it.
    Python {
        /// The environment.
        environment: &'static str,
        /// The script.
        script: &'static str,
    },
    /// A Cargo workspace of its own.
    Candle,
}

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
pub const RIVALS: [Rival; 8] = [
    python("python-mlx", "mlx", "run_mlx.py"),
    Rival {
        preload_blas: true,
        ..python("python-mlx-openblas", "mlx", "run_mlx.py")
    },
    python("numpy", "arrays", "run_numpy.py"),
    python("jax", "arrays", "run_jax.py"),
    python("onnxruntime", "arrays", "run_onnxruntime.py"),
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
];

/// The folders of this checkout.
#[derive(Clone, Debug)]
pub struct Places {
    /// `benches/`.
    pub benches: PathBuf,
    /// `build/bench/`.
    pub build: PathBuf,
    /// What Python MLX is given as `LD_PRELOAD` to use OpenBLAS.
    pub preload: Option<String>,
}

impl Places {
    /// Returns the folders, as `cargo xtask bench` names them or as they lie in the checkout.
    pub fn find() -> Self {
        let benches = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let root = benches.parent().unwrap_or(&benches).to_path_buf();
        let build = std::env::var_os("MLX_BENCH_DIR");
        Self {
            build: build.map_or_else(|| root.join("build/bench"), PathBuf::from),
            preload: std::env::var("MLX_BENCH_PRELOAD").ok(),
            benches,
        }
    }
}

impl Rival {
    /// Makes the rival ready, setting it up when it is not or when its pins have changed, and says how to start it.
    ///
    /// `asked` is whether it was named with `--against`.
    ///
    /// # Errors
    /// Why it is absent: that is a line of the table.
    pub fn ready(&self, places: &Places, asked: bool, threads: usize) -> Result<Spec> {
        if self.preload_blas {
            let why = "OpenBLAS for it is staged on Linux only";
            places.preload.as_ref().context(why)?;
        }
        let is_ready = self.is_ready(places)?;
        ensure!(
            is_ready || asked || !self.on_demand,
            "not built, which takes long: `cargo xtask bench --against {}` builds it",
            self.name
        );
        if !is_ready {
            let started = std::time::Instant::now();
            eprintln!("setting up {} in {}", self.name, places.build.display());
            self.set_up(places)?;
            eprintln!("    took {:.0} s", started.elapsed().as_secs_f64());
        }
        fs::create_dir_all(places.build.join("logs"))?;
        let mut environment = threads_of_everyone(threads);
        if self.preload_blas {
            let preload = places.preload.clone().unwrap_or_default();
            environment.push(("LD_PRELOAD".into(), preload));
            environment.push(("MLX_BENCH_CACHE".into(), "1".into()));
        }
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let command = match self.home {
            Home::Python { script, .. } => vec![
                text(self.python(places)),
                "-u".to_owned(),
                text(places.benches.join("rivals").join(script)),
            ],
            Home::Candle => vec![text(places.build.join("candle/release/candle-runner"))],
        };
        Ok(Spec {
            name: self.name.to_owned(),
            command,
            environment,
            log: places.build.join("logs").join(format!("{}.log", self.name)),
        })
    }

    fn folder(&self, places: &Places) -> PathBuf {
        match self.home {
            Home::Python { environment, .. } => places.build.join(environment),
            Home::Candle => places.build.join("candle"),
        }
    }

    fn python(&self, places: &Places) -> PathBuf {
        let folder = self.folder(places);
        if cfg!(windows) {
            folder.join("Scripts/python.exe")
        } else {
            folder.join("bin/python")
        }
    }

    /// What the environment is made from: when it changes, the environment is made again.
    fn pins(&self, places: &Places) -> Result<String> {
        let rivals = places.benches.join("rivals");
        let read = |path: PathBuf| {
            fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
        };
        match self.home {
            Home::Python { environment, .. } => read(
                rivals
                    .join("requirements")
                    .join(format!("{environment}.txt")),
            ),
            Home::Candle => Ok(read(rivals.join("candle/Cargo.lock"))?
                + &read(rivals.join("candle/Cargo.toml"))?
                + &read(rivals.join("candle/src/main.rs"))?
                + &read(rivals.join("candle/src/models.rs"))?),
        }
    }

    fn is_ready(&self, places: &Places) -> Result<bool> {
        let made_from = fs::read_to_string(self.folder(places).join(".made-from"));
        Ok(made_from.is_ok_and(|text| self.pins(places).is_ok_and(|pins| pins == text)))
    }

    fn set_up(&self, places: &Places) -> Result<()> {
        let folder = self.folder(places);
        fs::create_dir_all(&folder)?;
        let stamp = folder.join(".made-from");
        // Without the stamp it is made again, should this be broken off.
        if stamp.exists() {
            fs::remove_file(&stamp)?;
        }
        let log = File::create(places.build.join(format!("{}-set-up.log", self.name)))?;
        match self.home {
            Home::Python { environment, .. } => {
                let python = self.python(places);
                if !python.exists() {
                    let mut venv = Command::new("python3");
                    quietly(venv.args(["-m", "venv"]).arg(&folder), &log)?;
                }
                let list = places.benches.join("rivals/requirements");
                let list = list.join(format!("{environment}.txt"));
                // The list is complete, and what it leaves out is left out on purpose.
                let mut pip = Command::new(python);
                pip.args([
                    "-m",
                    "pip",
                    "install",
                    "--disable-pip-version-check",
                    "--no-deps",
                    "-r",
                ]);
                pip.arg(list).env("CMAKE_ARGS", "-DGGML_NATIVE=ON");
                quietly(&mut pip, &log)?;
            }
            Home::Candle => {
                let mut cargo = Command::new("cargo");
                cargo.args(["build", "--release", "--locked", "--manifest-path"]);
                cargo.arg(places.benches.join("rivals/candle/Cargo.toml"));
                cargo.env("CARGO_TARGET_DIR", &folder);
                cargo.env("RUSTFLAGS", "-C target-cpu=native");
                quietly(&mut cargo, &log)?;
            }
        }
        fs::write(&stamp, self.pins(places)?)?;
        Ok(())
    }
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

fn quietly(command: &mut Command, log: &File) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        .status()
        .with_context(|| format!("{} could not be started", shown))?;
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or_default().to_string_lossy();
    ensure!(
        status.success(),
        "set-up failed: {program} ended with {status}; its log is beside the environment"
    );
    Ok(())
}

//! Which build of MLX a machine uses: CPU, Metal or CUDA.

use std::fmt;

/// A build of MLX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// Linux on the CPU.
    Cpu,
    /// Apple silicon; also runs on the CPU.
    Metal,
    /// NVIDIA with CUDA 12; also runs on the CPU.
    Cuda12,
    /// NVIDIA with CUDA 13; also runs on the CPU.
    Cuda13,
}

impl Backend {
    /// Every backend, the most capable first.
    pub const ALL: [Backend; 4] = [
        Backend::Metal,
        Backend::Cuda13,
        Backend::Cuda12,
        Backend::Cpu,
    ];

    /// Returns the name used in `MLX_BACKEND`, `--backend` and the names of staged folders.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Backend::Cpu => "cpu",
            Backend::Metal => "metal",
            Backend::Cuda12 => "cuda12",
            Backend::Cuda13 => "cuda13",
        }
    }

    /// Returns the backend with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.name() == name)
    }

    /// Returns whether MLX loads NVIDIA's libraries.
    #[must_use]
    pub fn is_cuda(self) -> bool {
        matches!(self, Backend::Cuda12 | Backend::Cuda13)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A backend and the reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendChoice {
    /// What to use.
    pub backend: Backend,
    /// Why, for people.
    pub why: String,
}

/// A backend and why it was chosen.
#[deprecated(note = "renamed to BackendChoice")]
pub type Choice = BackendChoice;

/// Returns the backend for an operating system and processor as Rust names them, or why there is none.
///
/// `requested` is the value of `--backend` or `MLX_BACKEND`.
///
/// # Errors
/// When MLX has no build for the machine, or not the requested one.
pub fn choose(os: &str, arch: &str, requested: Option<&str>) -> Result<BackendChoice, String> {
    let offered: &[Backend] = match (os, arch) {
        ("linux", "x86_64" | "aarch64") => &[Backend::Cpu, Backend::Cuda13, Backend::Cuda12],
        ("macos", "aarch64") => &[Backend::Metal],
        ("macos", _) => {
            return Err("MLX has builds for Apple silicon only, not for Intel Macs".into());
        }
        _ => return Err(format!("MLX has no build for {os} on {arch}")),
    };
    let names = || {
        offered
            .iter()
            .map(|b| b.name())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let Some(name) = requested.filter(|name| !name.is_empty()) else {
        return Ok(BackendChoice {
            backend: offered[0],
            why: format!("the default for {os} on {arch}"),
        });
    };
    let Some(backend) = Backend::from_name(name) else {
        return Err(format!("unknown backend `{name}`, known here: {}", names()));
    };
    if !offered.contains(&backend) {
        let hint = match (os, backend) {
            ("macos", Backend::Cpu) => "; the metal build also runs on the CPU",
            _ => "",
        };
        return Err(format!(
            "backend `{name}` does not exist for {os} on {arch}, which has: {}{hint}",
            names()
        ));
    }
    Ok(BackendChoice {
        backend,
        why: "asked for".into(),
    })
}

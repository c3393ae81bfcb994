//! Groups of processes: how they are found and formed.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mlx_provision::environment;

use super::mpi;
use super::ring::{self, Members};
use crate::ffi::{NativeError, distributed as ffi};
use crate::{Error, Result};

/// How long a rank waits for another one, unless told otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);
/// The group of one.
const ALONE: &str = "alone";
/// As in MLX.
const BACKENDS: [&str; 5] = ["any", "ring", "mpi", "nccl", "jaccl"];

/// A group of processes that communicate; each has a rank.
///
/// A value is a name for the group. The group itself lives as long as the process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    name: Arc<str>,
    rank: usize,
    size: usize,
}

impl Group {
    /// Returns this process's place in the group, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Returns the number of processes in the group.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns the group's name, which operations print. All ranks call it the same.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Splits the group: processes that give the same `color` form a group, in the order of their `key`, or of their
    /// ranks where the key is negative. All ranks must call it, after what was communicated before is evaluated.
    ///
    /// # Errors
    /// When the group has one rank, or a part cannot be formed.
    pub fn split(&self, color: i32, key: i32) -> Result<Group> {
        if self.size == 1 {
            return Err(refused("split", "a group of 1 rank cannot be split"));
        }
        let number = ffi::count().map_err(|error| refused("split", error.0))?;
        let part = format!("{}/{number}:{color}", self.name);
        let name =
            ffi::split(&self.name, &part, color, key).map_err(|error| refused("split", error.0))?;
        named(&name)
    }
}

/// How a group is formed.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// `any`, `ring`, `mpi`, `nccl` or `jaccl`.
    pub backend: String,
    /// Whether it is an error when the environment names no group, instead of a group of one.
    pub strict: bool,
    /// How long a ring waits for a rank: for its connection, and in a communication without any progress. At first what
    /// `MLX_RING_TIMEOUT` says, in seconds, or 300 seconds.
    pub timeout: Duration,
    /// The addresses of a ring, `"host:port"`: a list for each rank. Otherwise those of the file that `MLX_HOSTFILE` names.
    /// A group is formed anew for hosts that are given.
    pub hosts: Option<Vec<Vec<String>>>,
    /// The rank of this process in a ring; otherwise `MLX_RANK`.
    pub rank: Option<usize>,
}

impl Default for InitOptions {
    fn default() -> Self {
        Self {
            backend: "any".to_owned(),
            strict: false,
            timeout: timeout_of_environment(),
            hosts: None,
            rank: None,
        }
    }
}

fn timeout_of_environment() -> Duration {
    let seconds = environment::value(environment::RING_TIMEOUT)
        .and_then(|text| text.to_str()?.parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds
        .filter(|timeout| !timeout.is_zero())
        .unwrap_or(DEFAULT_TIMEOUT)
}

/// Returns whether a backend can be used: whether there is a group is not asked.
///
/// # Errors
/// When the native library cannot be loaded.
pub fn is_available(backend: &str) -> Result<bool> {
    match backend {
        "any" | "ring" => return Ok(true),
        "mpi" => return Ok(mpi::is_available()),
        _ => {}
    }
    ffi::is_available(backend).map_err(|error| refused("is_available", error.0))
}

/// Returns the group of all processes that the environment names, which is formed at the first call.
///
/// Python's defaults are `"any"` and `false`.
///
/// # Errors
/// As [`init_with`].
pub fn init(backend: &str, strict: bool) -> Result<Group> {
    init_with(&InitOptions {
        backend: backend.to_owned(),
        strict,
        ..InitOptions::default()
    })
}

/// Returns the group that the options and the environment name, which is formed at the first call.
///
/// # Errors
/// When there is no such backend, a rank cannot be reached or heard of in time, a port is taken, or the host file or rank
/// is wrong; and in strict mode when no group is named.
pub fn init_with(options: &InitOptions) -> Result<Group> {
    let backend = options.backend.as_str();
    if !BACKENDS.contains(&backend) {
        return Err(refused(
            "init",
            format!(
                "the backend must be one of {}, got {backend:?}",
                BACKENDS.join(", ")
            ),
        ));
    }
    if options.hosts.is_none()
        && let Some(name) = ffi::current(backend).map_err(|error| refused("init", error.0))?
    {
        return named(&name);
    }
    let file = std::env::var_os("MLX_HOSTFILE").filter(|file| !file.is_empty());
    let is_ring = match backend {
        "ring" => true,
        "any" => options.hosts.is_some() || (file.is_some() && rank_text(options).is_some()),
        _ => false,
    };
    if is_ring {
        return form_ring(options, file);
    }
    match backend {
        "any" => form_any(options),
        "mpi" => form_mpi(options),
        _ => form_of_mlx(backend, options.strict)?.map_or_else(alone, Ok),
    }
}

/// Forms the group of the first backend that finds one, in MLX's order.
fn form_any(options: &InitOptions) -> Result<Group> {
    for backend in ["nccl", "mpi", "jaccl"] {
        let group = match backend {
            // MPI takes its time to find out that nobody has started it.
            "mpi" if mpi::is_launched() && mpi::is_available() => Some(form_mpi(options)?),
            "mpi" => None,
            _ if is_available(backend)? => form_of_mlx(backend, false)?,
            _ => None,
        };
        if let Some(group) = group.filter(|group| group.size() > 1) {
            return Ok(group);
        }
    }
    if options.strict {
        return Err(refused(
            "init",
            "no backend finds a group in the environment",
        ));
    }
    alone()
}

fn form_mpi(options: &InitOptions) -> Result<Group> {
    let failed = |error: String| refused("init", error);
    if !mpi::is_launched() {
        if options.strict {
            return Err(failed(
                "no launcher of MPI has started this process: start it with mlx launch --backend mpi, or mpirun".to_owned(),
            ));
        }
        return alone();
    }
    let name = fresh_name("mpi")?;
    if mpi::form(&name).map_err(failed)? > 1 {
        keep("mpi", &name)?;
        return named(&name);
    }
    if options.strict {
        return Err(failed(
            "the launcher of MPI has started one rank".to_owned(),
        ));
    }
    alone()
}

fn rank_text(options: &InitOptions) -> Option<String> {
    let given = options.rank.map(|rank| rank.to_string());
    given.or_else(|| std::env::var("MLX_RANK").ok())
}

fn form_ring(options: &InitOptions, file: Option<OsString>) -> Result<Group> {
    let rank = rank_text(options);
    let (Some(rank), true) = (rank, options.hosts.is_some() || file.is_some()) else {
        if options.strict {
            return Err(refused(
                "init",
                "a ring needs the rank of this process and a host file: MLX_RANK and MLX_HOSTFILE are not both set",
            ));
        }
        return alone();
    };
    let failed = |error: String| refused("init", error);
    let members = Members::new(
        options.hosts.as_deref(),
        file.as_deref().map(Path::new),
        &rank,
    )
    .map_err(failed)?;
    if members.size() == 1 {
        return alone();
    }
    let name = fresh_name("ring")?;
    members.form(&name, options.timeout).map_err(failed)?;
    keep("ring", &name)?;
    named(&name)
}

/// Forms MLX's own group of a backend, if it has several ranks.
fn form_of_mlx(backend: &str, strict: bool) -> Result<Option<Group>> {
    let name = fresh_name(backend)?;
    let (_, size) =
        ffi::form_of_mlx(&name, backend, strict).map_err(|error| refused("init", error.0))?;
    if size == 1 {
        return Ok(None);
    }
    keep(backend, &name)?;
    named(&name).map(Some)
}

/// Makes a backend stand for a group that was formed, and the global group too if there is none.
fn keep(backend: &str, name: &str) -> Result<()> {
    let failed = |error: NativeError| refused("init", error.0);
    ffi::set_current(backend, name).map_err(failed)?;
    if ffi::current("any").map_err(failed)?.is_none() {
        ffi::set_current("any", name).map_err(failed)?;
    }
    Ok(())
}

/// The first group of a backend has its name; a number follows in those that are formed after it.
fn fresh_name(backend: &str) -> Result<String> {
    let taken = |name: &str| {
        ffi::rank_and_size(name)
            .map(|found| found.is_some())
            .map_err(|error| refused("init", error.0))
    };
    if !taken(backend)? {
        return Ok(backend.to_owned());
    }
    let mut number = 2;
    while taken(&format!("{backend}.{number}"))? {
        number += 1;
    }
    Ok(format!("{backend}.{number}"))
}

/// Returns the group of one.
fn alone() -> Result<Group> {
    let failed = |error: NativeError| refused("init", error.0);
    if ffi::rank_and_size(ALONE).map_err(failed)?.is_none() {
        // Another thread may have been first.
        let _ = ffi::register(ALONE, 0, 1, ring::Alone);
    }
    named(ALONE)
}

fn named(name: &str) -> Result<Group> {
    let found = ffi::rank_and_size(name).map_err(|error| refused("init", error.0))?;
    let (rank, size) = found.ok_or_else(|| {
        refused(
            "init",
            format!("there is no group with the name {name:?} in this process"),
        )
    })?;
    Ok(Group {
        name: name.into(),
        rank,
        size,
    })
}

#[track_caller]
fn refused(function: &str, why: impl Into<String>) -> Error {
    Error::op(format!("distributed.{function}"), why)
}

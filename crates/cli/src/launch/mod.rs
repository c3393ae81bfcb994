//! `mlx launch`: starts the ranks of a distributed program here or over ssh, as Python's `mlx.launch` does.
//!
//! Ranks find each other by variables of their environment, which are those of Python's launcher: Python and Rust
//! programs can be ranks of one group.

mod hosts;
mod process;
mod script;

use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use crate::arguments::{LaunchArguments, LaunchBackend};
use crate::output;
use hosts::{Host, Hosts};
use script::Rank;

pub fn run(arguments: &LaunchArguments) -> Result<ExitCode> {
    let hosts = match &arguments.hostfile {
        Some(file) => hosts::from_file(file)?,
        None => hosts::from_list(&arguments.hosts, usize::from(arguments.repeat_hosts))?,
    };
    let mut env = hosts.env.clone();
    for pair in &arguments.env {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        env.push((checked_name(name)?, value.to_owned()));
    }
    match arguments
        .backend
        .or(hosts.backend)
        .unwrap_or(LaunchBackend::Ring)
    {
        LaunchBackend::Ring => ring(arguments, &hosts, env),
        LaunchBackend::Nccl => nccl(arguments, &hosts, env),
        LaunchBackend::Mpi => mpi(arguments, &hosts, &env),
    }
}

type Env = Vec<(String, String)>;

/// A name that a shell takes as a variable.
fn checked_name(name: &str) -> Result<String> {
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        bail!("--env: {name:?} is no name of a variable");
    }
    Ok(name.to_owned())
}

fn ring(arguments: &LaunchArguments, hosts: &Hosts, mut env: Env) -> Result<ExitCode> {
    let addresses = hosts::ring_addresses(
        &hosts.hosts,
        usize::from(arguments.connections_per_ip),
        arguments.starting_port,
    )?;
    let text = serde_json::to_string(&addresses).context("writing the host file")?;
    if arguments.verbose {
        env.push(("MLX_RING_VERBOSE".to_owned(), "1".to_owned()));
    }
    let ranks = ranks(&hosts.hosts, &env, |_| Vec::new());
    // One rank is a group by itself.
    let files = vec![(
        "MLX_HOSTFILE",
        if addresses.len() > 1 {
            text
        } else {
            String::new()
        },
    )];
    start(arguments, ranks, &files)
}

fn nccl(arguments: &LaunchArguments, hosts: &Hosts, mut env: Env) -> Result<ExitCode> {
    let Some(first) = hosts.hosts.first().and_then(|host| host.ips.first()) else {
        bail!("rank 0 must have an address that all other ranks reach");
    };
    let number = |name: &str, value: String| (name.to_owned(), value);
    if arguments.verbose {
        env.push(number("NCCL_DEBUG", "INFO".to_owned()));
    }
    env.push(number("NCCL_HOST_IP", first.clone()));
    env.push(number("NCCL_PORT", arguments.nccl_port.to_string()));
    env.push(number("MLX_WORLD_SIZE", hosts.hosts.len().to_string()));
    let per_host = usize::from(arguments.repeat_hosts);
    let ranks = ranks(&hosts.hosts, &env, |rank| {
        vec![number(
            "CUDA_VISIBLE_DEVICES",
            (rank % per_host).to_string(),
        )]
    });
    start(arguments, ranks, &[])
}

/// Leaves starting to mpirun.
fn mpi(arguments: &LaunchArguments, hosts: &Hosts, env: &Env) -> Result<ExitCode> {
    let mut file = NamedTempFile::new().context("making a host file for mpirun")?;
    for (host, slots) in hosts.slots() {
        writeln!(file, "{host} slots={slots}").context("writing the host file for mpirun")?;
    }
    let mut command = Command::new("mpirun");
    command.arg("--hostfile").arg(file.path());
    if let Some(folder) = &arguments.cwd {
        command.arg("-wdir").arg(folder);
    }
    for (name, value) in env {
        command.arg("-x").arg(format!("{name}={value}"));
    }
    let more = arguments
        .mpi_arg
        .iter()
        .flat_map(|text| text.split_whitespace());
    command.args(more).args(&arguments.program);
    if arguments.verbose {
        output::note(format_args!("running {command:?}"));
    }
    let status = command.status().context("mpirun cannot be started")?;
    Ok(process::exit_code(status))
}

fn ranks(hosts: &[Host], env: &Env, own: impl Fn(usize) -> Env) -> Vec<Rank> {
    let rank = |(number, host): (usize, &Host)| {
        let mut env = env.clone();
        env.extend(own(number));
        env.push(("MLX_RANK".to_owned(), number.to_string()));
        Rank {
            host: host.ssh.clone(),
            env,
        }
    };
    hosts.iter().enumerate().map(rank).collect()
}

/// Starts all ranks and waits for them. Files are written on each rank's machine; a variable names each.
fn start(
    arguments: &LaunchArguments,
    ranks: Vec<Rank>,
    files: &[(&'static str, String)],
) -> Result<ExitCode> {
    let mut kept = Vec::new();
    let mut here = Vec::new();
    for (name, text) in files {
        let mut file = NamedTempFile::new().context("making a host file")?;
        file.write_all(text.as_bytes())
            .context("writing a host file")?;
        here.push(((*name).to_owned(), file.path().display().to_string()));
        kept.push(file);
    }
    let folder = arguments.cwd.as_deref();
    let mut commands = Vec::with_capacity(ranks.len());
    for rank in &ranks {
        let command = if rank.is_local() {
            local(&arguments.program, rank, &here, folder)
        } else {
            rank.over_ssh(&arguments.program, files, folder)?
        };
        commands.push(command);
    }
    process::run_all(commands, arguments.verbose, !arguments.no_prefix)
}

fn local(program: &[String], rank: &Rank, files: &Env, folder: Option<&Path>) -> Command {
    let mut command = Command::new(&program[0]);
    command.args(&program[1..]);
    let env = rank.env.iter().chain(files);
    command.envs(env.map(|(name, value)| (name, value)));
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    command
}

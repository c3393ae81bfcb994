//! Which machines ranks run on: a list or a file of hosts, and the addresses of a ring.

use std::collections::BTreeSet;
use std::net::{IpAddr, TcpListener};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::arguments::LaunchBackend;

/// As in Python's launcher.
const STARTING_PORT: u16 = 32323;

/// A rank's machine.
#[derive(Clone, Debug, Deserialize)]
pub struct Host {
    /// What ssh is given; `127.0.0.1` is this machine.
    pub ssh: String,
    /// Addresses for communication.
    #[serde(default)]
    pub ips: Vec<String>,
}

/// The machines of all ranks, and what a file of hosts says besides.
#[derive(Debug, Default)]
pub struct Hosts {
    pub hosts: Vec<Host>,
    pub backend: Option<LaunchBackend>,
    pub env: Vec<(String, String)>,
}

impl Hosts {
    /// How many ranks each host has, in the order of hosts.
    pub fn slots(&self) -> Vec<(&str, usize)> {
        let mut slots: Vec<(&str, usize)> = Vec::new();
        for host in &self.hosts {
            match slots.iter_mut().find(|(name, _)| *name == host.ssh) {
                Some((_, count)) => *count += 1,
                None => slots.push((&host.ssh, 1)),
            }
        }
        slots
    }
}

/// A file of hosts: the list alone, or with a backend and an environment.
#[derive(Deserialize)]
#[serde(untagged)]
enum File {
    List(Vec<Host>),
    Full {
        #[serde(default)]
        backend: String,
        #[serde(default)]
        envs: Vec<String>,
        hosts: Vec<Host>,
    },
}

pub fn from_file(path: &Path) -> Result<Hosts> {
    let read = || format!("the host file {}", path.display());
    let text = std::fs::read_to_string(path).with_context(read)?;
    match serde_json::from_str(&text).with_context(read)? {
        File::List(hosts) => checked(Hosts {
            hosts,
            ..Hosts::default()
        }),
        File::Full {
            backend,
            envs,
            hosts,
        } => {
            let backend = match backend.as_str() {
                "" => None,
                "ring" => Some(LaunchBackend::Ring),
                "mpi" => Some(LaunchBackend::Mpi),
                "nccl" => Some(LaunchBackend::Nccl),
                other => bail!(
                    "{}: the backend must be ring, mpi or nccl, got {other:?}",
                    read()
                ),
            };
            let pair = |text: &String| {
                let (name, value) = text.split_once('=').unwrap_or((text, ""));
                Ok((super::checked_name(name)?, value.to_owned()))
            };
            checked(Hosts {
                hosts,
                backend,
                env: envs.iter().map(pair).collect::<Result<_>>()?,
            })
        }
    }
}

fn checked(hosts: Hosts) -> Result<Hosts> {
    if hosts.hosts.is_empty() {
        bail!("wanted at least one host, got none");
    }
    Ok(hosts)
}

/// Each host of the list `repeats` times. An address is what ranks communicate by, too.
pub fn from_list(list: &[String], repeats: usize) -> Result<Hosts> {
    let mut hosts = Vec::new();
    for name in list {
        if name.is_empty() {
            bail!("--hosts: a host has no name");
        }
        let host = Host {
            ssh: name.clone(),
            ips: name
                .parse::<IpAddr>()
                .map(|_| vec![name.clone()])
                .unwrap_or_default(),
        };
        hosts.extend(std::iter::repeat_n(host, repeats));
    }
    checked(Hosts {
        hosts,
        ..Hosts::default()
    })
}

/// Where each rank of a ring listens: on ports that count up, or on free ones when all ranks are on this machine.
pub fn ring_addresses(
    hosts: &[Host],
    connections: usize,
    starting_port: Option<u16>,
) -> Result<Vec<Vec<String>>> {
    let per_rank: Vec<usize> = hosts
        .iter()
        .map(|host| host.ips.len() * connections)
        .collect();
    if let Some(rank) = per_rank.iter().position(|&count| count == 0) {
        bail!(
            "a ring needs an address of each host, got {:?} for rank {rank}: name its addresses as \"ips\" of --hostfile",
            hosts[rank].ssh
        );
    }
    let is_here = |host: &Host| host.ips.iter().all(|ip| ip == "127.0.0.1");
    let total = per_rank.iter().sum();
    let mut ports = match starting_port {
        None if hosts.iter().all(is_here) => free_ports(total)?,
        first => count_up(first.unwrap_or(STARTING_PORT), total)?,
    }
    .into_iter();
    let mut addresses = Vec::with_capacity(hosts.len());
    for host in hosts {
        let mut node = Vec::new();
        for ip in &host.ips {
            let colon = ip.contains(':');
            let ip = if colon { format!("[{ip}]") } else { ip.clone() };
            node.extend(
                ports
                    .by_ref()
                    .take(connections)
                    .map(|port| format!("{ip}:{port}")),
            );
        }
        addresses.push(node);
    }
    Ok(addresses)
}

fn count_up(first: u16, total: usize) -> Result<Vec<u16>> {
    let ports: Vec<u16> = (first..=u16::MAX).take(total).collect();
    if ports.len() < total {
        bail!("--starting-port: {first} leaves no {total} ports");
    }
    Ok(ports)
}

/// Ports that nobody listens at now.
fn free_ports(total: usize) -> Result<Vec<u16>> {
    let mut kept = Vec::new();
    let mut ports = BTreeSet::new();
    while ports.len() < total {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("finding a free port")?;
        ports.insert(listener.local_addr().context("finding a free port")?.port());
        // Held until all are found, so that none is found twice.
        kept.push(listener);
    }
    Ok(ports.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str], repeats: usize) -> Hosts {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        from_list(&names, repeats).unwrap()
    }

    #[test]
    fn ports_count_up_over_ranks_and_connections() {
        let hosts = list(&["10.0.0.1", "10.0.0.2"], 1);
        let addresses = ring_addresses(&hosts.hosts, 2, None).unwrap();
        assert_eq!(addresses[0], ["10.0.0.1:32323", "10.0.0.1:32324"]);
        assert_eq!(addresses[1], ["10.0.0.2:32325", "10.0.0.2:32326"]);
    }

    #[test]
    fn ranks_on_this_machine_have_ports_of_their_own() {
        let hosts = list(&["127.0.0.1"], 4);
        let addresses = ring_addresses(&hosts.hosts, 1, None).unwrap();
        let distinct: BTreeSet<_> = addresses.iter().flatten().collect();
        assert_eq!((addresses.len(), distinct.len()), (4, 4));
        assert_eq!(hosts.slots(), [("127.0.0.1", 4)]);
    }

    #[test]
    fn a_ring_needs_addresses() {
        let hosts = list(&["front", "back"], 1);
        let error = ring_addresses(&hosts.hosts, 1, None).unwrap_err();
        assert!(
            error.to_string().contains("\"front\" for rank 0"),
            "{error}"
        );
    }

    #[test]
    fn host_files_are_those_of_python() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts.json");
        std::fs::write(
            &path,
            r#"[{"ssh": "a", "ips": ["10.0.0.1"]}, {"ssh": "b"}]"#,
        )
        .unwrap();
        let hosts = from_file(&path).unwrap();
        assert_eq!(hosts.hosts[0].ips, ["10.0.0.1"]);
        assert!(hosts.hosts[1].ips.is_empty());
        let full = r#"{"backend": "nccl", "envs": ["A=b"], "hosts": [{"ssh": "a", "ips": [], "rdma": [null]}]}"#;
        std::fs::write(&path, full).unwrap();
        let hosts = from_file(&path).unwrap();
        assert_eq!(hosts.backend, Some(LaunchBackend::Nccl));
        assert_eq!(hosts.env, [("A".to_owned(), "b".to_owned())]);
        std::fs::write(&path, "[]").unwrap();
        assert!(
            from_file(&path)
                .unwrap_err()
                .to_string()
                .contains("got none")
        );
    }
}

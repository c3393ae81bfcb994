//! Who is in a ring: the host file, as `mlx.launch` writes it, and this process's rank.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

/// The addresses of each rank, of which a rank may have several.
pub(super) type Hosts = Vec<Vec<SocketAddr>>;

/// Reads a host file: a list with a list of `"host:port"` for each rank.
pub(super) fn read(path: &Path) -> Result<Vec<Vec<String>>, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("the host file {} cannot be read: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| {
        format!(
            "the host file {} must be a list with a list of \"host:port\" for each rank: {error}",
            path.display()
        )
    })
}

/// Finds the addresses of all ranks.
pub(super) fn resolve(hosts: &[Vec<String>]) -> Result<Hosts, String> {
    let connections = hosts.first().map_or(0, Vec::len);
    hosts
        .iter()
        .enumerate()
        .map(|(rank, addresses)| {
            if addresses.is_empty() || addresses.len() != connections {
                return Err(format!(
                    "every rank must have as many addresses as rank 0, which has {connections}, got {} for rank {rank}",
                    addresses.len()
                ));
            }
            addresses.iter().map(|address| resolve_one(rank, address)).collect()
        })
        .collect()
}

fn resolve_one(rank: usize, address: &str) -> Result<SocketAddr, String> {
    let of_rank = |why: String| format!("the address {address:?} of rank {rank} {why}");
    let mut found = address
        .to_socket_addrs()
        .map_err(|error| of_rank(format!("cannot be resolved as host:port: {error}")))?;
    found
        .next()
        .ok_or_else(|| of_rank("belongs to no host".to_owned()))
}

/// Reads a rank, which must be one of `size`.
pub(super) fn rank_from(text: &str, size: usize) -> Result<usize, String> {
    text.trim()
        .parse()
        .ok()
        .filter(|&rank| rank < size)
        .ok_or_else(|| {
            format!(
                "the rank must be from 0 to {}, got {text:?}",
                size.saturating_sub(1)
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_ranks_outside_of_the_group() {
        assert_eq!(rank_from("1", 2), Ok(1));
        for wrong in ["2", "-1", "one", ""] {
            assert!(rank_from(wrong, 2).unwrap_err().contains("from 0 to 1"));
        }
    }

    #[test]
    fn refuses_addresses_that_are_none() {
        let hosts = |text: &str| vec![vec![text.to_owned()]];
        assert!(resolve(&hosts("127.0.0.1:5000")).is_ok());
        assert!(
            resolve(&hosts("127.0.0.1"))
                .unwrap_err()
                .contains("of rank 0")
        );
        assert!(resolve(&[vec![]]).unwrap_err().contains("rank 0"));
        let uneven = [vec!["127.0.0.1:1".to_owned()], vec![]];
        assert!(resolve(&uneven).unwrap_err().contains("got 0 for rank 1"));
    }
}

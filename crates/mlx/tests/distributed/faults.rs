//! What goes wrong: every rank gets an error within the limit, and can form a new group.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mlx::distributed::{self, InitOptions};
use mlx::{Array, Result, array};
use rstest::rstest;

use super::ranks::{self, Ranks, free_hosts};

fn options(hosts: Vec<Vec<String>>, rank: usize) -> InitOptions {
    InitOptions {
        backend: "ring".to_owned(),
        strict: true,
        timeout: Duration::from_millis(800),
        hosts: Some(hosts),
        rank: Some(rank),
    }
}

#[track_caller]
fn refused(options: &InitOptions, wanted: &str) {
    let start = Instant::now();
    let text = distributed::init_with(options).unwrap_err().to_string();
    assert!(text.contains(wanted), "{text} does not say {wanted}");
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_missing_rank_is_an_error_in_time() {
    let hosts = free_hosts(2, 1);
    refused(&options(hosts.clone(), 0), "rank 0 cannot reach rank 1");
    refused(&options(hosts, 1), "rank 1 cannot reach rank 0");
}

#[test]
fn a_port_that_is_taken_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut hosts = free_hosts(2, 1);
    hosts[0][0] = taken.local_addr().unwrap().to_string();
    refused(&options(hosts, 0), "rank 0 cannot listen at 127.0.0.1:");
}

#[test]
fn hosts_and_ranks_that_are_wrong_are_errors() {
    let hosts = free_hosts(2, 1);
    refused(
        &options(hosts.clone(), 2),
        "the rank must be from 0 to 1, got \"2\"",
    );
    refused(
        &options(vec![vec!["nowhere".to_owned()]; 2], 0),
        "cannot be resolved",
    );
    refused(
        &options(vec![hosts[0].clone(), vec![]], 0),
        "got 0 for rank 1",
    );
    let mut no_backend = options(hosts, 0);
    no_backend.backend = "telegraph".to_owned();
    refused(
        &no_backend,
        "must be one of any, ring, mpi, nccl, jaccl, got \"telegraph\"",
    );
}

/// A process that is no rank of a ring takes the place of one.
#[test]
fn a_stranger_at_the_address_of_a_rank_is_an_error() {
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut hosts = free_hosts(2, 1);
    hosts[1][0] = stranger.local_addr().unwrap().to_string();
    // It accepts connections and says nothing.
    refused(&options(hosts, 0), "rank 1");
}

#[rstest]
#[case("wrong_host_files", 1)]
#[case("different_shapes", 2)]
#[case("different_shapes", 4)]
#[case("different_dtypes", 2)]
#[case("different_kinds", 4)]
#[case("one_that_leaves", 4)]
#[case("one_that_stops", 3)]
fn is_an_error_on_every_rank(#[case] case: &str, #[case] n: usize) {
    ranks::run(&format!("faults::child::{case}"), n, 1);
}

/// Rounds of [`kills`] in continuous integration.
#[test]
fn a_rank_that_is_killed_is_an_error_on_all_others() {
    for round in 0..5 {
        kills(round, 4);
    }
}

#[test]
#[ignore = "takes minutes: 50 rounds with 8 ranks"]
fn a_rank_that_is_killed_is_an_error_on_all_others_50_times() {
    for round in 0..50 {
        kills(round, 8);
    }
}

/// Kills one of `n` ranks at some moment; the others report that and form a new group.
fn kills(round: u64, n: usize) {
    let all: Vec<usize> = (0..n).collect();
    let mut ranks = Ranks::start("faults::child::until_one_is_killed", n, 1, &all);
    let folder = ranks.folder().to_owned();
    let until = Instant::now() + Duration::from_secs(30);
    while (0..n).any(|rank| !folder.join(format!("ready.{rank}")).exists()) {
        assert!(Instant::now() < until, "no group was formed");
        std::thread::sleep(Duration::from_millis(5));
    }
    let time = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    let random = (u64::from(time) ^ round).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    std::thread::sleep(Duration::from_micros((random >> 40) % 100_000));
    let victim = (random >> 20) as usize % n;
    let (_, mut killed) = ranks.children.remove(victim);
    killed.kill().unwrap();
    killed.wait().unwrap();
    let hosts = serde_json::to_string(&(victim, free_hosts(n - 1, 1))).unwrap();
    // Whole or not at all.
    std::fs::write(folder.join("next.new"), hosts).unwrap();
    std::fs::rename(folder.join("next.new"), folder.join("next.json")).unwrap();
    ranks.pass();
}

mod child {
    use super::super::world;
    use super::*;

    /// The error of an evaluation, which is there within `limit`, and again whenever the group is used.
    #[track_caller]
    fn failure(array: &Array, limit: Duration) -> String {
        let start = Instant::now();
        let text = array.eval().expect_err("wanted an error").to_string();
        assert!(
            start.elapsed() < limit,
            "{text} after {:?}",
            start.elapsed()
        );
        let start = Instant::now();
        let again = distributed::all_sum(&array!([1.0]), &world_before());
        let again = again.eval().unwrap_err().to_string();
        assert!(again.contains("has failed"), "{again}");
        assert!(start.elapsed() < Duration::from_secs(1));
        text
    }

    /// The group that has failed, by its name.
    fn world_before() -> distributed::Group {
        FORMED.with(|formed| formed.borrow().clone().unwrap())
    }

    thread_local! {
        static FORMED: std::cell::RefCell<Option<distributed::Group>> = const { std::cell::RefCell::new(None) };
    }

    fn formed() -> distributed::Group {
        let group = world();
        FORMED.with(|formed| *formed.borrow_mut() = Some(group.clone()));
        group
    }

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    #[ignore = "run by `is_an_error_on_every_rank`"]
    fn wrong_host_files() {
        let file = std::env::var("MLX_HOSTFILE").unwrap();
        let refused = |wanted: &str| {
            let text = distributed::init("ring", true).unwrap_err().to_string();
            assert!(text.contains(wanted), "{text}");
        };
        std::fs::write(&file, "nonsense").unwrap();
        refused("must be a list with a list of \"host:port\" for each rank");
        std::fs::write(&file, "[]").unwrap();
        refused("at least one rank among the hosts, got none");
        std::fs::remove_file(&file).unwrap();
        refused("cannot be read");
    }

    #[test]
    #[ignore = "run by `is_an_error_on_every_rank`"]
    fn different_shapes() {
        let group = formed();
        let size = if group.rank() == 0 { 4 } else { 6 };
        let sum = distributed::all_sum(&mlx::ones([size]), &group);
        let text = failure(&sum, SOON);
        assert!(
            text.contains("all_sum of float32[4]") && text.contains("all_sum of float32[6]"),
            "{text}"
        );
    }

    #[test]
    #[ignore = "run by `is_an_error_on_every_rank`"]
    fn different_dtypes() {
        let group = formed();
        let x = if group.rank() == 0 {
            array!([1.0])
        } else {
            array!([1])
        };
        let text = failure(&distributed::all_gather(&x, &group), SOON);
        assert!(
            text.contains("float32[1]") && text.contains("int32[1]"),
            "{text}"
        );
    }

    #[test]
    #[ignore = "run by `is_an_error_on_every_rank`"]
    fn different_kinds() {
        let group = formed();
        let x = array!([1.0, 2.0, 3.0, 4.0]);
        let y = match group.rank() {
            0 => distributed::all_max(&x, &group),
            _ => distributed::all_sum(&x, &group),
        };
        let text = failure(&y, SOON);
        assert!(
            text.contains("all_max of") && text.contains("all_sum of"),
            "{text}"
        );
    }

    #[test]
    #[ignore = "run by `is_an_error_on_every_rank`"]
    fn one_that_leaves() {
        let group = formed();
        if group.rank() == 2 {
            return;
        }
        let text = failure(&distributed::all_sum(&mlx::ones([100_000]), &group), SOON);
        assert!(text.contains("the connection to rank 2 was lost"), "{text}");
    }

    #[test]
    #[ignore = "run by `is_an_error_on_every_rank`"]
    fn one_that_stops() {
        let mut options = InitOptions {
            backend: "ring".to_owned(),
            timeout: Duration::from_secs(1),
            ..InitOptions::default()
        };
        options.strict = true;
        let group = distributed::init_with(&options).unwrap();
        if group.rank() == 1 {
            std::thread::sleep(Duration::from_secs(8));
            return;
        }
        let start = Instant::now();
        let text = distributed::all_sum(&array!([1.0]), &group)
            .eval()
            .unwrap_err()
            .to_string();
        assert!(text.contains("rank 1 for 1s"), "{text}");
        assert!(
            start.elapsed() < Duration::from_secs(6),
            "{:?}",
            start.elapsed()
        );
    }

    #[test]
    #[ignore = "run by `kills`"]
    fn until_one_is_killed() {
        let folder = PathBuf::from(std::env::var("MLX_TEST_FOLDER").unwrap());
        let group = world();
        let mut calls = 0_u32;
        let failed = loop {
            let size = [1, 1000, 300_000][calls as usize % 3];
            let start = Instant::now();
            let sum = distributed::all_sum(&mlx::ones([size]), &group);
            match sum.eval() {
                Ok(()) => calls += 1,
                Err(error) => break (error.to_string(), start.elapsed()),
            }
            if calls == 3 {
                std::fs::write(folder.join(format!("ready.{}", group.rank())), "").unwrap();
            }
        };
        assert!(failed.0.contains("was lost"), "{}", failed.0);
        assert!(failed.1 < SOON, "{failed:?}");
        regroup(&folder, &group).unwrap();
    }

    /// Forms a group of those that are left.
    fn regroup(folder: &Path, before: &distributed::Group) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(20);
        let text = loop {
            match std::fs::read_to_string(folder.join("next.json")) {
                Ok(text) => break text,
                Err(_) => assert!(Instant::now() < until, "nobody says who is left"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let (victim, hosts): (usize, Vec<Vec<String>>) = serde_json::from_str(&text).unwrap();
        let rank = before.rank() - usize::from(before.rank() > victim);
        let size = hosts.len();
        let group = distributed::init_with(&InitOptions {
            hosts: Some(hosts),
            rank: Some(rank),
            timeout: Duration::from_secs(20),
            ..InitOptions::default()
        })?;
        assert_eq!((group.rank(), group.size()), (rank, size));
        let sum = distributed::all_sum(&mlx::ones([1000]), &group).sum(());
        assert_eq!(sum.item::<f32>()?, 1000.0 * size as f32);
        // It is the global group from now on.
        assert_eq!(distributed::init("any", true)?, group);
        Ok(())
    }
}

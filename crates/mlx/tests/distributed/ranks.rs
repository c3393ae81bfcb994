//! Ranks as processes of this test program: an ignored test that each of them runs.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ranks that run, and the folder with their host file.
pub struct Ranks {
    pub children: Vec<(usize, Child)>,
    folder: tempfile::TempDir,
}

/// Addresses of this machine that nobody uses: `connections` for each of `n` ranks.
pub fn free_hosts(n: usize, connections: usize) -> Vec<Vec<String>> {
    let mut held = Vec::new();
    let mut address = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        held.push(listener);
        address
    };
    let mut node = || (0..connections).map(|_| address()).collect();
    (0..n).map(|_| node()).collect()
}

/// Writes a host file and returns its path.
pub fn host_file(folder: &tempfile::TempDir, hosts: &[Vec<String>]) -> PathBuf {
    let path = folder.path().join("hosts.json");
    std::fs::write(&path, serde_json::to_string(hosts).unwrap()).unwrap();
    path
}

impl Ranks {
    /// Starts these of `n` ranks with an ignored test of this program.
    pub fn start(case: &str, n: usize, connections: usize, ranks: &[usize]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hosts = host_file(&folder, &free_hosts(n, connections));
        let start = |&rank: &usize| {
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", &full_name(case), "--ignored", "--nocapture"])
                .env("MLX_HOSTFILE", &hosts)
                .env("MLX_RANK", rank.to_string())
                .env("MLX_RING_TIMEOUT", "10")
                .env("MLX_TEST_FOLDER", folder.path())
                // Many processes on few cores.
                .env("MLX_NUM_THREADS", "1")
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            (rank, child)
        };
        Self {
            children: ranks.iter().map(start).collect(),
            folder,
        }
    }

    /// The folder with the host file, which ranks are told too.
    #[allow(dead_code)]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until all have passed.
    pub fn pass(self) {
        for (rank, child) in self.children {
            let output = wait(rank, child);
            assert!(output.contains("1 passed"), "rank {rank}: {output}");
        }
    }
}

/// Runs an ignored test as all of `n` ranks.
pub fn run(case: &str, n: usize, connections: usize) {
    let ranks: Vec<usize> = (0..n).collect();
    Ranks::start(case, n, connections, &ranks).pass();
}

/// Runs an ignored test as all of `n` ranks that Open MPI starts, if it can be had.
#[allow(dead_code)]
pub fn run_by_mpi(case: &str, n: usize) {
    let Some(mut command) = mpirun() else { return };
    command
        .args(["-n", &n.to_string()])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &full_name(case), "--ignored", "--nocapture"]);
    let output = wait(0, command.spawn().unwrap());
    assert_eq!(output.matches("1 passed").count(), n, "{output}");
    // A rank that MPI does not hear the end of is reported.
    assert!(!output.contains("prterun has exited"), "{output}");
}

/// `mpirun` of a pinned Open MPI with an environment for its ranks, if this machine can have it.
#[allow(dead_code)]
pub fn mpirun() -> Option<Command> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        eprintln!("skipped: the pinned Open MPI is for Linux on x86-64");
        return None;
    }
    let folder = mlx_testdata::if_available(mlx_testdata::assets::open_mpi())?;
    let mut command = Command::new(folder.join("bin/mpirun"));
    command
        .arg("--oversubscribe")
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .env("MLX_MPI_LIBNAME", folder.join("lib/libmpi.so.40"))
        .env("MLX_TEST_RANKS", "mpi")
        // Many processes on few cores.
        .env("MLX_NUM_THREADS", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Some(command)
}

/// The name of a test with the modules around this one.
pub fn full_name(case: &str) -> String {
    let around: Vec<&str> = module_path!().split("::").skip(1).collect();
    let mut name = around[..around.len() - 1].to_vec();
    name.push(case);
    name.join("::")
}

/// Waits for a process and returns what it wrote; one that hangs is ended and fails.
pub fn wait(rank: usize, mut child: Child) -> String {
    let until = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            let text = [output.stdout, output.stderr].concat();
            panic!("rank {rank} hangs: {}", String::from_utf8_lossy(&text));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

//! The ranks as processes: their output, their input, and what happens when one fails.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::output;

/// How long a rank may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two checks of processes that are asked to end.
const PAUSE: Duration = Duration::from_millis(20);

/// Runs commands until all have ended, or one has failed: then the others are ended too. Returns that one's status.
pub fn run_all(commands: Vec<Command>, verbose: bool, prefix: bool) -> Result<ExitCode> {
    let mut ranks = Ranks::default();
    let (ended, ends) = channel();
    for (rank, mut command) in commands.into_iter().enumerate() {
        if verbose {
            output::note(format_args!("rank {rank}: {command:?}"));
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn();
        match child.with_context(|| format!("rank {rank} cannot be started: {command:?}")) {
            Ok(child) => ranks.add(rank, child, prefix, &ended),
            Err(error) => {
                ranks.end();
                return Err(error);
            }
        }
    }
    drop(ended);
    ranks.pass_input_on();
    let mut failure = None;
    while let Some((rank, status)) = next_end(&ranks, &ends) {
        if verbose || !status.success() {
            output::note(format_args!("rank {rank} ended: {status}"));
        }
        if !status.success() {
            failure = Some(exit_code(status));
            break;
        }
    }
    ranks.end();
    Ok(failure.unwrap_or(ExitCode::SUCCESS))
}

/// Waits until a rank ends.
fn next_end(ranks: &Ranks, ends: &std::sync::mpsc::Receiver<usize>) -> Option<(usize, ExitStatus)> {
    loop {
        match ends.recv_timeout(Duration::from_secs(3600)) {
            Ok(rank) => return ranks.children[rank].wait().map(|status| (rank, status)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// The status of a process as this one's: 128 and the number of the signal that ended it.
pub fn exit_code(status: ExitStatus) -> ExitCode {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    let code = status.code().or(signal.map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// A process that one thread waits for and another one may end.
struct Shared(Mutex<Child>);

impl Shared {
    fn poll(&self) -> Option<ExitStatus> {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        child.try_wait().ok().flatten()
    }

    /// Waits for a process whose output has ended.
    fn wait(&self) -> Option<ExitStatus> {
        loop {
            if let Some(status) = self.poll() {
                return Some(status);
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn ask_to_end(&self) {
        let id = self.0.lock().unwrap_or_else(PoisonError::into_inner).id();
        // The number belongs to this process until it has been waited for.
        let _ = Command::new("kill").arg(id.to_string()).status();
    }

    fn kill(&self) {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[derive(Default)]
struct Ranks {
    children: Vec<Arc<Shared>>,
    inputs: Vec<ChildStdin>,
    printers: Vec<JoinHandle<()>>,
}

impl Ranks {
    fn add(&mut self, rank: usize, mut child: Child, prefix: bool, ended: &Sender<usize>) {
        let prefix = if prefix {
            format!("[{rank}] ")
        } else {
            String::new()
        };
        let (out, errors) = (child.stdout.take(), child.stderr.take());
        self.inputs.extend(child.stdin.take());
        let child = Arc::new(Shared(Mutex::new(child)));
        let watched = Arc::clone(&child);
        self.children.push(child);
        if let Some(out) = out {
            let prefix = prefix.clone();
            self.printers.push(std::thread::spawn(move || {
                each_line(out, |line| {
                    print(&mut std::io::stdout().lock(), &prefix, line)
                });
            }));
        }
        if let Some(errors) = errors {
            self.printers.push(std::thread::spawn(move || {
                each_line(errors, |line| {
                    print(&mut std::io::stderr().lock(), &prefix, line)
                });
            }));
        }
        let ended = ended.clone();
        std::thread::spawn(move || {
            watched.wait();
            // Nobody waits any more when another one has failed.
            let _ = ended.send(rank);
        });
    }

    /// Gives every rank what this process reads.
    fn pass_input_on(&mut self) {
        let mut inputs = std::mem::take(&mut self.inputs);
        // It ends with the process: a read of a terminal cannot be given up.
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            let mut input = std::io::stdin().lock();
            while let Ok(count @ 1..) = input.read(&mut buffer) {
                for rank in &mut inputs {
                    let _ = rank.write_all(&buffer[..count]).and_then(|()| rank.flush());
                }
            }
        });
    }

    /// Ends all that still run, and prints what they had to say.
    fn end(self) {
        let running: Vec<_> = self
            .children
            .iter()
            .filter(|child| child.poll().is_none())
            .collect();
        running.iter().for_each(|child| child.ask_to_end());
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && running.iter().any(|child| child.poll().is_none()) {
            std::thread::sleep(PAUSE);
        }
        for child in running {
            if child.poll().is_none() {
                child.kill();
            }
        }
        // A child of a rank may keep its output open.
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && self.printers.iter().any(|printer| !printer.is_finished()) {
            std::thread::sleep(PAUSE);
        }
    }
}

/// Calls `print` with each line, its end included; the last one may have none.
fn each_line(from: impl Read, mut print: impl FnMut(&[u8])) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while let Ok(1..) = from.read_until(b'\n', &mut line) {
        print(&line);
        line.clear();
    }
}

fn print(to: &mut impl Write, prefix: &str, line: &[u8]) {
    let end: &[u8] = if line.ends_with(b"\n") { b"" } else { b"\n" };
    let parts = [
        prefix.as_bytes(),
        line,
        if prefix.is_empty() { b"" } else { end },
    ];
    // Ranks run on when nobody reads what they print.
    let _ = to.write_all(&parts.concat()).and_then(|()| to.flush());
}

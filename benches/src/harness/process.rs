//! The process of a runner: a line of JSON in and a line of JSON out.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::protocol::{Reply, Request, Verb};

/// How a runner is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The name in the table.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Variables beside those of this process.
    pub environment: Vec<(String, String)>,
    /// Where its messages go.
    pub log: PathBuf,
}

/// Why a runner gave no answer. It is not running any more then.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// It could not be started.
    NotStarted(String),
    /// It ended; with the last lines it wrote.
    Ended(String),
    /// What it wrote is not a reply.
    Garbage(String),
    /// It answered about another row.
    WrongRow(String),
    /// It took longer than it may.
    TimedOut(Duration),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotStarted(why) => write!(f, "could not be started: {why}"),
            Fault::Ended(last) => write!(f, "ended without an answer: {last}"),
            Fault::Garbage(line) => write!(f, "answered what is not a reply: {line}"),
            Fault::WrongRow(row) => write!(f, "answered about another row: {row}"),
            Fault::TimedOut(limit) => write!(f, "took longer than {} s", limit.as_secs()),
        }
    }
}

/// A running process.
#[derive(Debug)]
pub struct Runner {
    child: Child,
    requests: ChildStdin,
    replies: Receiver<String>,
    log: PathBuf,
    /// What it said of itself.
    pub hello: Reply,
}

impl Runner {
    /// Starts a runner and lets it say who it is.
    ///
    /// # Errors
    /// When it cannot be started or does not answer.
    pub fn start(spec: &Spec, threads: usize, limit: Duration) -> Result<Self, Fault> {
        let start = |error: std::io::Error| Fault::NotStarted(error.to_string());
        let Some((program, arguments)) = spec.command.split_first() else {
            return Err(Fault::NotStarted("there is no command".into()));
        };
        let log = File::create(&spec.log).map_err(start)?;
        let mut child = Command::new(program)
            .args(arguments)
            .envs(spec.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(start)?;
        let (Some(requests), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Fault::NotStarted("its pipes are missing".into()));
        };
        let (sender, replies) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut runner = Self {
            child,
            requests,
            replies,
            log: spec.log.clone(),
            hello: Reply::default(),
        };
        runner.hello = runner.ask(None, Verb::Hello { threads }, limit)?;
        Ok(runner)
    }

    /// Sends a request about a row and waits for the answer, at most for `limit`.
    ///
    /// # Errors
    /// When there is none that makes sense; the process is ended then.
    pub fn ask(&mut self, id: Option<&str>, verb: Verb, limit: Duration) -> Result<Reply, Fault> {
        let answer = self.exchange(id, verb, limit);
        if answer.is_err() {
            self.end();
        }
        answer
    }

    fn exchange(&mut self, id: Option<&str>, verb: Verb, limit: Duration) -> Result<Reply, Fault> {
        let id = id.map(str::to_owned);
        let request = Request { id, verb };
        let line = serde_json::to_string(&request).map_err(|e| Fault::Garbage(e.to_string()))?;
        let sent = writeln!(self.requests, "{line}").and_then(|()| self.requests.flush());
        if sent.is_err() {
            return Err(Fault::Ended(last_words(&self.log)));
        }
        let line = match self.replies.recv_timeout(limit) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => return Err(Fault::TimedOut(limit)),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Fault::Ended(last_words(&self.log)));
            }
        };
        let garbage = |_| Fault::Garbage(line.chars().take(200).collect());
        let reply: Reply = serde_json::from_str(&line).map_err(garbage)?;
        if reply.id != request.id {
            return Err(Fault::WrongRow(reply.id.unwrap_or_default()));
        }
        Ok(reply)
    }

    fn end(&mut self) {
        // It may have ended by itself; either way nothing is left of it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.end();
    }
}

/// The end of a log, on one line.
fn last_words(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<&str> = text.lines().rev().take(3).collect();
    lines.reverse();
    let words: String = lines.join("; ").chars().take(400).collect();
    if words.trim().is_empty() {
        return "it wrote nothing".to_owned();
    }
    words
}

//! One process of a test program, followed by the events that it prints.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::SuiteArguments;
use super::group::Group;
use super::report::{Outcome, Test, file_name, tail};

/// What a process did before it ended.
pub struct Ran {
    /// The tests that ended.
    pub tests: Vec<Test>,
    /// Those that had begun and did not end.
    pub running: Vec<String>,
    /// What that means for them.
    pub end: Outcome,
    /// The end of what the process said.
    pub message: String,
}

/// A program, in the folder of its crate, as cargo starts tests.
pub fn command(crates: &Path, program: &Path) -> Command {
    let name = file_name(program);
    let crate_name = name.split('-').next().unwrap_or_default();
    let package = crates.join(crate_name);
    let mut command = Command::new(program);
    command.env("CARGO_MANIFEST_DIR", &package);
    if package.is_dir() {
        command.current_dir(package);
    }
    command
}

/// Runs a group of tests until all have ended, the process has died, nothing ends within the limit, or the time is over.
pub fn run(crates: &Path, group: &Group, arguments: &SuiteArguments, deadline: Instant) -> Ran {
    let mut command = command(crates, &group.program);
    command
        .args([
            "-Z",
            "unstable-options",
            "--format",
            "json",
            "--report-time",
        ])
        .args(["--show-output", "--exact"])
        .arg(format!("--test-threads={}", arguments.threads))
        .args(&group.tests)
        // Events and times are for the nightly toolchain otherwise.
        .env("RUSTC_BOOTSTRAP", "1")
        .envs(exact_products())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    match command.spawn() {
        Ok(child) => {
            let limit = Duration::from_secs(arguments.limit);
            follow(child, group, limit, deadline)
        }
        Err(error) => Ran {
            tests: Vec::new(),
            running: Vec::new(),
            end: Outcome::Aborted,
            message: format!("could not be started: {error}"),
        },
    }
}

/// Tolerances are those of `float32`: NVIDIA's TF32, 10 bits of precision, is switched off where nobody has chosen.
fn exact_products() -> Option<(&'static str, &'static str)> {
    const TF32: &str = "MLX_ENABLE_TF32";
    std::env::var_os(TF32).is_none().then_some((TF32, "0"))
}

fn follow(mut child: Child, group: &Group, limit: Duration, deadline: Instant) -> Ran {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let said = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stderr.map(|mut stderr| stderr.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let (sender, events) = channel();
    std::thread::spawn(move || {
        for line in stdout
            .into_iter()
            .flat_map(|out| BufReader::new(out).lines())
        {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let mut ran = Ran {
        tests: Vec::new(),
        running: Vec::new(),
        end: Outcome::Aborted,
        message: String::new(),
    };
    let mut last = Instant::now();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match events.recv_timeout(limit.saturating_sub(last.elapsed()).min(left)) {
            Ok(line) => {
                if ran.event(&line, group) {
                    last = Instant::now();
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                ran.end = if Instant::now() >= deadline {
                    Outcome::NotRun
                } else {
                    Outcome::TimedOut
                };
                let _ = child.kill();
                break;
            }
        }
    }
    let status = child.wait();
    let said = said.join().unwrap_or_default();
    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    ran.message = format!("{status}\n{}", tail(&said));
    ran
}

impl Ran {
    /// Takes in a line; returns whether a test has begun or ended.
    fn event(&mut self, line: &str, group: &Group) -> bool {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            return false;
        };
        let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
        if text("type") != "test" {
            return false;
        }
        let name = text("name").to_owned();
        let said = text("stdout");
        let skipped = said.lines().find_map(|line| line.strip_prefix("skipped: "));
        let (outcome, message) = match (text("event"), skipped) {
            ("started", _) => {
                self.running.push(name);
                return true;
            }
            ("ok", Some(reason)) => (Outcome::Skipped, reason.to_owned()),
            ("ok", None) => (Outcome::Passed, String::new()),
            ("ignored", _) => (Outcome::Ignored, text("message").to_owned()),
            ("failed", _) => (Outcome::Failed, tail(said)),
            _ => return false,
        };
        self.running.retain(|running| *running != name);
        let seconds = event.get("exec_time").and_then(Value::as_f64);
        self.tests.push(Test {
            program: file_name(&group.program),
            name,
            outcome,
            seconds: seconds.unwrap_or_default(),
            message,
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn ran(lines: &[&str]) -> Ran {
        let group = Group {
            program: PathBuf::from("/b/tests/mlx-suite"),
            tests: Vec::new(),
        };
        let mut ran = Ran {
            tests: Vec::new(),
            running: Vec::new(),
            end: Outcome::Aborted,
            message: String::new(),
        };
        for line in lines {
            ran.event(line, &group);
        }
        ran
    }

    #[test]
    fn follows_the_events_of_libtest() {
        let ran = ran(&[
            r#"{ "type": "suite", "event": "started", "test_count": 4 }"#,
            r#"{ "type": "test", "event": "started", "name": "a::passes" }"#,
            r#"{ "type": "test", "name": "a::passes", "event": "ok", "exec_time": 0.5 }"#,
            r#"{ "type": "test", "event": "started", "name": "a::skips" }"#,
            r#"{ "type": "test", "name": "a::skips", "event": "ok", "exec_time": 0.1, "stdout": "skipped: no doubles\n" }"#,
            r#"{ "type": "test", "event": "started", "name": "a::fails" }"#,
            r#"{ "type": "test", "name": "a::fails", "event": "failed", "exec_time": 0.1, "stdout": "left: 1" }"#,
            r#"{ "type": "test", "event": "started", "name": "a::dies" }"#,
            "a line that is no event",
        ]);
        let ends: Vec<_> = ran
            .tests
            .iter()
            .map(|test| (test.name.as_str(), test.outcome, test.message.as_str()))
            .collect();
        assert_eq!(
            ends,
            [
                ("a::passes", Outcome::Passed, ""),
                ("a::skips", Outcome::Skipped, "no doubles"),
                ("a::fails", Outcome::Failed, "left: 1"),
            ]
        );
        assert_eq!(ran.running, ["a::dies"]);
        assert_eq!(ran.tests[0].seconds, 0.5);
    }
}

//! `cargo xtask suite`: test programs, each group of tests in a process of its own, and one JSON file of what came.
//!
//! It needs neither cargo nor the sources, so it is the runner of a bundle (`cargo xtask bundle --tests`) too.

mod group;
mod process;
mod report;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;

use self::group::Group;
pub use self::report::Report;
use self::report::{Lost, Outcome, Test};

/// What `cargo xtask suite` is told.
#[derive(Args, Clone)]
pub struct SuiteArguments {
    /// The folder of a bundle, with `tests/` and `crates/`
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// The folder of the crates, whose tests read files in it; `FOLDER/crates` otherwise
    #[arg(long, value_name = "FOLDER")]
    pub crates: Option<PathBuf>,
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "results.json")]
    pub out: PathBuf,
    /// Only tests whose program and name contain this, as in `mlx-suite fast_rope::`
    #[arg(long, value_name = "TEXT")]
    pub only: Vec<String>,
    /// Processes at a time; the number of processors otherwise
    #[arg(long, value_name = "N")]
    pub processes: Option<usize>,
    /// Threads of each process
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: usize,
    /// Seconds that one test may take
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub limit: u64,
    /// Seconds after which nothing runs any more
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    pub deadline: u64,
}

/// What the workers share.
struct Work {
    arguments: SuiteArguments,
    crates: PathBuf,
    start: Instant,
    deadline: Instant,
    groups: Mutex<VecDeque<Group>>,
    tests: Mutex<Vec<Test>>,
    lost: Mutex<Vec<Lost>>,
}

/// Runs the command: every test of the folder's programs; fails when a test does.
pub fn run(arguments: &SuiteArguments) -> Result<()> {
    let report = run_folder(arguments)?;
    let file = std::fs::File::create(&arguments.out)
        .with_context(|| format!("{} could not be written", arguments.out.display()))?;
    serde_json::to_writer_pretty(file, &report)?;
    print!("{}", report.summary());
    println!("written to {}", arguments.out.display());
    ensure!(report.is_green(), "some tests did not pass");
    Ok(())
}

/// Runs the tests, several processes at a time, the longest groups first.
fn run_folder(arguments: &SuiteArguments) -> Result<Report> {
    let folder = std::path::absolute(&arguments.folder)?;
    let crates = arguments
        .crates
        .clone()
        .unwrap_or_else(|| folder.join("crates"));
    let start = Instant::now();
    let mut groups = Vec::new();
    for program in programs(&folder.join("tests"))? {
        groups.extend(group::groups(&crates, &program, &arguments.only)?);
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.tests.len()));
    let processes = arguments
        .processes
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let work = Work {
        arguments: arguments.clone(),
        crates,
        start,
        deadline: start + Duration::from_secs(arguments.deadline),
        groups: Mutex::new(groups.into()),
        tests: Mutex::default(),
        lost: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for _ in 0..processes.max(1) {
            scope.spawn(|| work.take_groups());
        }
    });
    let mut tests = work.tests.into_inner().unwrap_or_default();
    tests.sort_by(|a, b| (&a.program, &a.name).cmp(&(&b.program, &b.name)));
    let lost = work.lost.into_inner().unwrap_or_default();
    Ok(Report::new(tests, lost, start.elapsed()))
}

/// The programs in a folder, in order.
fn programs(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("{} could not be read", folder.display()))?;
    let mut programs: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file())
        .collect();
    programs.sort();
    Ok(programs)
}

impl Work {
    /// Runs groups until there are none.
    fn take_groups(&self) {
        while let Some(group) = self.next() {
            let program = group.program.clone();
            let tests = self.run_group(group);
            let n_bad = tests.iter().filter(|test| test.outcome.is_bad()).count();
            if let Some(first) = tests.first() {
                let place = first.name.split("::").next().unwrap_or_default();
                eprintln!(
                    "{:6.1} s  {} {place}: {} tests, {n_bad} bad",
                    self.start.elapsed().as_secs_f64(),
                    report::file_name(&program),
                    tests.len(),
                );
            }
            if let Ok(mut all) = self.tests.lock() {
                all.extend(tests);
            }
        }
    }

    fn next(&self) -> Option<Group> {
        self.groups.lock().ok()?.pop_front()
    }

    /// Runs a group in one process, and what did not end there one by one: a process that dies says not why.
    fn run_group(&self, group: Group) -> Vec<Test> {
        let mut done = Vec::new();
        let mut left = VecDeque::from([group]);
        while let Some(group) = left.pop_front() {
            if Instant::now() >= self.deadline {
                done.extend(group.all(Outcome::NotRun, "the deadline has passed"));
                continue;
            }
            let ran = process::run(&self.crates, &group, &self.arguments, self.deadline);
            let lost: Vec<String> = group
                .tests
                .iter()
                .filter(|name| ran.tests.iter().all(|test| &test.name != *name))
                .cloned()
                .collect();
            done.extend(ran.tests);
            if lost.is_empty() {
                continue;
            }
            if group.tests.len() == 1 {
                done.extend(group.all(ran.end, &ran.message));
                continue;
            }
            if let Ok(mut all) = self.lost.lock() {
                all.push(Lost {
                    program: report::file_name(&group.program),
                    running: ran.running.clone(),
                    outcome: ran.end,
                    message: ran.message.clone(),
                });
            }
            // What ran when the process ended goes alone, the rest together again.
            let (running, rest): (Vec<_>, Vec<_>) = lost
                .into_iter()
                .partition(|name| ran.running.contains(name));
            let alone = if running.is_empty() { &rest } else { &running };
            left.extend(alone.iter().map(|name| group.only(vec![name.clone()])));
            if !running.is_empty() && !rest.is_empty() {
                left.push_back(group.only(rest));
            }
        }
        done
    }
}

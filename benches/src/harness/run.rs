//! One run of the harness, from the command line to the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::compare::{compare, is_worse, report};
use super::device;
use super::environment::{Folders, GIVEN_PYTHON, RIVALS, threads_of_everyone};
use super::limits::Limits;
use super::machine::{Machine, TOO_BUSY, busy_share};
use super::measure::{self, Participant, Settings};
use super::options::{JIT_VS_EAGER, Options};
use super::plan::{Plan, humanize};
use super::process::Spec;
use super::protocol::Verb;
use super::results::{Results, RowResult};
use super::rows::{self, Benchmark};
use super::sweep_summary::Summary;
use super::{gpu_summary, jit_vs_eager, plots, table};

/// Our own forms beside the usual one.
const FORMS: [&str; 4] = ["composed", "compiled", "eager", rows::ONE_THREAD];

/// Runs the command; returns whether a comparison, or the gate of compiled functions, found nothing worse.
///
/// # Errors
/// When options make no sense, files cannot be written, or our own runner does not start.
pub fn run(options: &Options) -> Result<bool> {
    let folders = Folders::find();
    if options.list {
        for row in rows_of(options) {
            println!("{}", row.id);
        }
        if options.is_of_gpu() {
            return Ok(true);
        }
        for formula in jit_vs_eager::formulas() {
            println!("{}{}", JIT_VS_EAGER, formula.name);
        }
        return Ok(true);
    }
    if options.names_gate() {
        return jit_vs_eager::run(|row| options.wants_row(row));
    }
    if let Some(path) = &options.render {
        let results = Results::read(path)?;
        println!("{}", render(&results, path)?.display());
        return Ok(true);
    }
    let old = options.compare.as_deref().map(Results::read).transpose()?;
    let new = match &options.with {
        Some(path) => Results::read(path)?,
        None => match measure_all(options, &folders)? {
            Some(results) => results,
            None => return Ok(true),
        },
    };
    let Some(old) = old else { return Ok(true) };
    let changes = compare(&old, &new);
    print!("{}", report(&changes));
    Ok(!is_worse(&changes))
}

/// Returns the rows of the device.
fn rows_of(options: &Options) -> Vec<Benchmark> {
    match options.is_of_gpu() {
        true => rows::of_gpu(options.quick, device::size()),
        false => rows::all(options.quick),
    }
}

/// Sets all participants up, measures every row, and writes the files; `None` when only set-up was asked for.
fn measure_all(options: &Options, folders: &Folders) -> Result<Option<Results>> {
    let machine = Machine::here();
    let settings = match options.is_of_gpu() {
        true => device::settings(options.quick, machine.threads),
        false => settings(options.quick, machine.threads),
    };
    std::fs::create_dir_all(folders.build.join("logs"))?;
    let mut absent = BTreeMap::new();
    let mut rows = rows_of(options);
    rows.retain(|row| options.wants_row(&row.id));
    let rivals = rivals(options, folders, machine.threads, &rows, &mut absent);
    if options.set_up {
        return Ok(None);
    }
    let mut participants = Participants::new(options, folders, machine.threads, rivals)?;
    let has_models = rows.iter().any(|row| row.group == rows::Group::Models);
    let assets = has_models.then(|| assets(folders)).transpose()?;
    let assets = assets.unwrap_or_default();
    let busy = warn_if_busy();
    eprintln!("measuring the machine");
    let limits = match options.is_of_gpu() {
        true => device::limits(&mut participants.ours, &mut participants.rivals, &settings),
        false => limits(&mut participants.ours, &settings)?,
    };
    let mut results = Results {
        busy,
        absent,
        ..empty(options, machine, limits, &participants.ours)
    };
    if let Some(path) = &options.resume {
        device::take_over(&mut results, &mut rows, Results::read(path)?);
    }
    let mut plan = Plan::default();
    for row in &rows {
        plan.push(row, participants.count(row, options.quick), &settings);
    }
    eprintln!("{} rows, about {}", rows.len(), humanize(plan.whole()));
    let started = Instant::now();
    let path = results_path(options, folders, &results)?;
    for row in rows {
        let elapsed = started.elapsed();
        if let Some(seconds) = options.deadline.filter(|most| elapsed.as_secs() >= *most) {
            eprintln!(
                "{seconds} s are over: {} of the rows are measured",
                results.rows.len()
            );
            break;
        }
        let (place, left) = (plan.place(), humanize(plan.left(elapsed)));
        let seconds = elapsed.as_secs_f64();
        eprintln!("{seconds:>5.0} s  {place}, {left} left  {}", row.id);
        let row = device::with_folder(with_paths(row, &assets), &folders.build);
        let result = participants.measure(&row, options.quick, &limits, settings)?;
        if let (Some(ms), Some(best), Some(ratio)) =
            (result.ours_ms, &result.best_rival, result.ratio)
        {
            eprintln!("         {} ms, {ratio:.2} x {best}", table::number(ms));
        }
        results.rows.push(result);
        plan.advance();
        // An interrupted run leaves what it has.
        results.write(&path)?;
    }
    results.pins = pins(folders, participants.with_versions());
    results.write(&path)?;
    let page = render(&results, &path)?;
    if let Some(summary) = Summary::of(&results) {
        print!("{summary}");
    }
    print!("{}", gpu_summary::text(&results));
    let seconds = started.elapsed().as_secs_f64();
    eprintln!("{seconds:>5.0} s  {}", page.display());
    Ok(Some(results))
}

/// Returns the results of a run on a machine, without rows yet.
fn empty(options: &Options, mut machine: Machine, limits: Limits, ours: &Participant) -> Results {
    if options.is_of_gpu() {
        machine.gpu.clone_from(&ours.device);
    }
    Results {
        date: output("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]).unwrap_or_default(),
        mode: device::mode(options).to_owned(),
        machine,
        limits,
        ..Results::default()
    }
}

/// All that compute rows.
struct Participants {
    ours: Participant,
    /// Our other forms.
    forms: Vec<Participant>,
    rivals: Vec<Participant>,
}

impl Participants {
    fn new(
        options: &Options,
        folders: &Folders,
        threads: usize,
        rivals: Vec<Participant>,
    ) -> Result<Self> {
        Ok(Self {
            ours: Participant::new("ours", Ok(ours(options, folders, "fast", threads)?)),
            forms: forms(options, folders, threads)?,
            rivals,
        })
    }

    /// Returns how many take part in a row.
    fn count(&self, row: &Benchmark, quick: bool) -> usize {
        let forms = FORMS.iter().filter(|form| row.wants_form(form, quick));
        let rivals = self.rivals.iter();
        let rivals = rivals.filter(|rival| rival.is_here() && is_rival_of(rival, row));
        1 + forms.count() + rivals.count()
    }

    fn measure(
        &mut self,
        row: &Benchmark,
        quick: bool,
        limits: &Limits,
        mut settings: Settings,
    ) -> Result<RowResult> {
        let forms = self.forms.iter_mut();
        let mut forms: Vec<&mut Participant> = forms
            .filter(|form| row.wants_form(&form.name, quick))
            .collect();
        let rivals = self.rivals.iter_mut();
        let mut rivals: Vec<&mut Participant> =
            rivals.filter(|rival| is_rival_of(rival, row)).collect();
        if row.group == rows::Group::Models && quick {
            settings.rounds = 3;
        }
        measure::row(
            row,
            &mut self.ours,
            &mut forms,
            &mut rivals,
            limits,
            &settings,
        )
    }

    /// Returns the participants with versions of their own: our forms have the same one.
    fn with_versions(&self) -> impl Iterator<Item = &Participant> {
        std::iter::once(&self.ours).chain(&self.rivals)
    }
}

fn is_rival_of(participant: &Participant, row: &Benchmark) -> bool {
    row.rivals.contains(&participant.name.as_str())
}

/// Returns our other forms.
fn forms(options: &Options, folders: &Folders, threads: usize) -> Result<Vec<Participant>> {
    FORMS
        .into_iter()
        .map(|form| {
            let threads = if form == rows::ONE_THREAD { 1 } else { threads };
            Ok(Participant::new(
                form,
                Ok(ours(options, folders, form, threads)?),
            ))
        })
        .collect()
}

/// Returns how much of the machine others use, and warns when that is too much.
fn warn_if_busy() -> Option<f64> {
    let busy = busy_share();
    if let Some(busy) = busy.filter(|busy| *busy > TOO_BUSY) {
        let percent = busy * 100.0;
        eprintln!("warning: others use {percent:.0} % of this machine: do not trust the numbers");
    }
    busy
}

fn settings(quick: bool, threads: usize) -> Settings {
    Settings {
        threads,
        rounds: if quick { 5 } else { 7 },
        budget: Duration::from_millis(if quick { 60 } else { 120 }),
        longest: Duration::from_secs(if quick { 5 } else { 8 }),
        max_runs_per_round: if quick { 50 } else { 100 },
        timeout: Duration::from_secs(if quick { 60 } else { 120 }),
        own_timeout: Duration::from_secs(600),
        slow: Duration::from_secs(if quick { 3 } else { 5 }),
        pause: Duration::from_millis(20),
    }
}

/// Sets up the rivals of the rows. One that cannot be is in the table with the reason, unless it was not wanted.
fn rivals(
    options: &Options,
    folders: &Folders,
    threads: usize,
    rows: &[Benchmark],
    absent: &mut BTreeMap<String, String>,
) -> Vec<Participant> {
    let mut participants = Vec::new();
    for rival in RIVALS {
        let is_needed = rows.iter().any(|row| row.rivals.contains(&rival.name));
        if !is_needed && !options.set_up {
            continue;
        }
        let spec = if options.is_of_gpu() && folders.python.is_none() {
            Err(anyhow::anyhow!(
                "{GIVEN_PYTHON} names no Python, and none is set up for a GPU"
            ))
        } else if options.wants_rival(rival.name) {
            rival.ready(folders, options.names(rival.name), threads)
        } else {
            Err(anyhow::anyhow!("not asked for"))
        };
        let spec = spec.map_err(|error| format!("{error:#}"));
        if let Err(why) = &spec {
            eprintln!("{}: {why}", rival.name);
            absent.insert(rival.name.to_owned(), why.clone());
        }
        participants.push(Participant::new(rival.name, spec));
    }
    participants
}

/// Returns how our own runner is started, which is beside this program.
fn ours(options: &Options, folders: &Folders, form: &str, threads: usize) -> Result<Spec> {
    let here = std::env::current_exe()?;
    let runner = here.with_file_name(format!("mlx-bench-runner{}", std::env::consts::EXE_SUFFIX));
    Ok(Spec {
        name: form.to_owned(),
        command: vec![runner.to_string_lossy().into_owned(), form.to_owned()],
        environment: match options.is_of_gpu() {
            true => device::environment(threads),
            false => threads_of_everyone(threads),
        },
        log: folders.build.join("logs").join(format!("ours-{form}.log")),
    })
}

fn limits(ours: &mut Participant, settings: &Settings) -> Result<Limits> {
    let runner = ours
        .runner(settings)
        .map_err(|why| anyhow::anyhow!("our runner {why}"))?;
    let reply = runner
        .ask(None, Verb::Limits { gpu: false }, Duration::from_secs(300))
        .map_err(|fault| anyhow::anyhow!("our runner {fault}"))?;
    reply
        .limits
        .context("our runner did not measure the machine")
}

/// The files of models, as parameters for every runner.
fn assets(folders: &Folders) -> Result<Map<String, Value>> {
    use mlx_testdata::assets;
    let ct2 = assets::whisper_tiny_en()?;
    let speech = assets::speech()?;
    let exported = super::export::whisper(&ct2, &speech.path, &folders.build.join("models"))?;
    let params = json!({
        "whisper_ct2": ct2,
        "whisper_hf": exported.weights,
        "mel": exported.mel,
        "audio": speech.path,
        "gguf": assets::smollm2()?,
        "prompt": rows::prompt(),
    });
    match params {
        Value::Object(params) => Ok(params),
        _ => Ok(Map::new()),
    }
}

/// Adds the files to a row of a model; what the row itself says stays.
fn with_paths(mut row: Benchmark, assets: &Map<String, Value>) -> Benchmark {
    if row.group == rows::Group::Models
        && let Value::Object(params) = &mut row.params
    {
        for (name, value) in assets {
            params.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    row
}

fn results_path(options: &Options, folders: &Folders, results: &Results) -> Result<PathBuf> {
    let folder = options.out.clone();
    let folder = folder.unwrap_or_else(|| match folders.is_bundle {
        true => PathBuf::from("bench-results"),
        false => folders.benches.join("results"),
    });
    std::fs::create_dir_all(&folder)?;
    let day = results.date.get(..10).unwrap_or("undated");
    let slug = results.machine.slug();
    // Only whole runs have the plain name: a part never takes the place of one.
    let suffix = match results.mode.as_str() {
        "full" => String::new(),
        mode => format!("-{mode}"),
    };
    Ok(folder.join(format!("{day}-{slug}{suffix}.json")))
}

/// Writes the page and the plots beside a results file.
fn render(results: &Results, path: &Path) -> Result<PathBuf> {
    let folder = path.with_extension("");
    std::fs::create_dir_all(&folder)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut links = Vec::new();
    for plot in plots::all(results) {
        std::fs::write(folder.join(&plot.file), &plot.svg)?;
        links.push((plot.caption, format!("{name}/{}", plot.file)));
    }
    let page = path.with_extension("md");
    std::fs::write(&page, table::page(results, &links))?;
    Ok(page)
}

fn pins<'a>(
    folders: &Folders,
    participants: impl Iterator<Item = &'a Participant>,
) -> BTreeMap<String, String> {
    let mut pins = BTreeMap::new();
    for one in participants {
        if let Some(version) = &one.version {
            pins.insert(one.name.clone(), version.clone());
        }
    }
    let folder = folders.benches.to_string_lossy().into_owned();
    let commit = output("git", &["-C", &folder, "rev-parse", "HEAD"]);
    let packed = || std::fs::read_to_string(folders.benches.join("commit")).ok();
    let commit = commit
        .or_else(packed)
        .map(|commit| commit.trim().to_owned());
    pins.extend(commit.map(|commit| ("commit".to_owned(), commit)));
    let rust = output("rustc", &["--version"]);
    pins.extend(rust.map(|rust| ("rust".to_owned(), rust)));
    pins
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

//! One run of the harness, from the command line to the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::compare::{compare, is_worse, report};
use super::environment::{Places, RIVALS, threads_of_everyone};
use super::limits::Limits;
use super::machine::{Machine, TOO_BUSY, busy_share};
use super::measure::{self, Contestant, Settings};
use super::options::{HELP, Options};
use super::plan::{Plan, words};
use super::process::Spec;
use super::protocol::Verb;
use super::results::Results;
use super::rows::{self, Row};
use super::{jit_vs_eager, plots, table};

/// Our own forms beside the usual one.
const FORMS: [&str; 4] = ["composed", "compiled", "eager", rows::ONE_THREAD];

/// Runs the command; returns whether a comparison, or the gate of compiled functions, found nothing worse.
///
/// # Errors
/// When options make no sense, files cannot be written, or our own runner does not start.
pub fn run(options: &Options) -> Result<bool> {
    let places = Places::find();
    if options.help {
        print!("{HELP}");
        return Ok(true);
    }
    if options.list {
        for row in rows::all(options.quick) {
            println!("{}", row.id);
        }
        for formula in jit_vs_eager::formulas() {
            println!("{}{}", jit_vs_eager::PREFIX, formula.name);
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
        None => match measure_all(options, &places)? {
            Some(results) => results,
            None => return Ok(true),
        },
    };
    let Some(old) = old else { return Ok(true) };
    let changes = compare(&old, &new);
    print!("{}", report(&changes));
    Ok(!is_worse(&changes))
}

/// Sets everyone up, measures every row, and writes the files.
fn measure_all(options: &Options, places: &Places) -> Result<Option<Results>> {
    let machine = Machine::here();
    let settings = settings(options.quick, machine.threads);
    std::fs::create_dir_all(places.build.join("logs"))?;
    let mut absent = BTreeMap::new();
    let mut rivals = rivals(options, places, machine.threads, &mut absent);
    if options.set_up {
        return Ok(None);
    }
    let mut ours = Contestant::new("ours", Ok(ours(places, "fast", machine.threads)?));
    let mut forms = Vec::new();
    for form in FORMS {
        let threads = if form == rows::ONE_THREAD {
            1
        } else {
            machine.threads
        };
        forms.push(Contestant::new(
            form,
            Ok(self::ours(places, form, threads)?),
        ));
    }
    let assets = assets(places)?;
    let busy = busy_share();
    if let Some(busy) = busy.filter(|busy| *busy > TOO_BUSY) {
        let percent = busy * 100.0;
        eprintln!("warning: others use {percent:.0} % of this machine: do not trust the numbers");
    }
    eprintln!("measuring the machine");
    let limits = limits(&mut ours, &settings)?;
    let mut results = Results {
        date: output("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]).unwrap_or_default(),
        mode: mode(options).to_owned(),
        busy,
        machine,
        limits,
        absent,
        ..Results::default()
    };
    let mut rows = rows::all(options.quick);
    rows.retain(|row| options.wants_row(&row.id));
    let mut plan = Plan::default();
    for row in &rows {
        let forms = FORMS
            .iter()
            .filter(|form| row.wants_form(form, options.quick));
        let rivals = rivals
            .iter()
            .filter(|rival| rival.is_here() && row.rivals.contains(&rival.name.as_str()));
        plan.push(row, 1 + forms.count() + rivals.count(), &settings);
    }
    eprintln!("{} rows, about {}", rows.len(), words(plan.whole()));
    let started = Instant::now();
    let path = results_path(options, places, &results)?;
    for row in rows {
        let (place, left) = (plan.place(), words(plan.left(started.elapsed())));
        eprintln!(
            "{:>5.0} s  {place}, {left} left  {}",
            started.elapsed().as_secs_f64(),
            row.id
        );
        let row = with_paths(row, &assets);
        let mut beside: Vec<&mut Contestant> = forms
            .iter_mut()
            .filter(|form| row.wants_form(&form.name, options.quick))
            .collect();
        let mut against: Vec<&mut Contestant> = rivals
            .iter_mut()
            .filter(|rival| row.rivals.contains(&rival.name.as_str()))
            .collect();
        let mut settings = settings;
        if row.group == rows::Group::Models && options.quick {
            settings.rounds = 3;
        }
        let line = measure::row(
            &row,
            &mut ours,
            &mut beside,
            &mut against,
            &limits,
            &settings,
        )?;
        if let (Some(ms), Some(best), Some(ratio)) = (line.ours_ms, &line.best_rival, line.ratio) {
            eprintln!("         {} ms, {ratio:.2} x {best}", table::number(ms));
        }
        results.rows.push(line);
        plan.advance();
        // A run that is broken off leaves what it has.
        results.write(&path)?;
    }
    results.pins = pins(places, std::iter::once(&ours).chain(&rivals));
    results.write(&path)?;
    let page = render(&results, &path)?;
    eprintln!(
        "{:>5.0} s  {}",
        started.elapsed().as_secs_f64(),
        page.display()
    );
    Ok(Some(results))
}

fn mode(options: &Options) -> &'static str {
    match (options.quick, options.only.is_empty()) {
        (_, false) => "partial",
        (true, true) => "quick",
        (false, true) => "full",
    }
}

fn settings(quick: bool, threads: usize) -> Settings {
    Settings {
        threads,
        rounds: if quick { 5 } else { 7 },
        budget: Duration::from_millis(if quick { 60 } else { 120 }),
        longest: Duration::from_secs(if quick { 5 } else { 8 }),
        most: if quick { 50 } else { 100 },
        patience: Duration::from_secs(if quick { 60 } else { 120 }),
        slow: Duration::from_secs(if quick { 3 } else { 5 }),
        pause: Duration::from_millis(20),
    }
}

/// Sets rivals up. One that cannot be is in the table with the reason, unless it was not wanted.
fn rivals(
    options: &Options,
    places: &Places,
    threads: usize,
    absent: &mut BTreeMap<String, String>,
) -> Vec<Contestant> {
    let mut contestants = Vec::new();
    for rival in RIVALS {
        let spec = if options.wants_rival(rival.name) {
            rival.ready(places, options.names(rival.name), threads)
        } else {
            Err(anyhow::anyhow!("not asked for"))
        };
        let spec = spec.map_err(|error| format!("{error:#}"));
        if let Err(why) = &spec {
            eprintln!("{}: {why}", rival.name);
            absent.insert(rival.name.to_owned(), why.clone());
        }
        contestants.push(Contestant::new(rival.name, spec));
    }
    contestants
}

/// How our own runner is started; it lies beside this program.
fn ours(places: &Places, form: &str, threads: usize) -> Result<Spec> {
    let here = std::env::current_exe()?;
    let runner = here.with_file_name(format!("mlx-bench-runner{}", std::env::consts::EXE_SUFFIX));
    Ok(Spec {
        name: form.to_owned(),
        command: vec![runner.to_string_lossy().into_owned(), form.to_owned()],
        environment: threads_of_everyone(threads),
        log: places.build.join("logs").join(format!("ours-{form}.log")),
    })
}

fn limits(ours: &mut Contestant, settings: &Settings) -> Result<Limits> {
    let runner = ours
        .runner(settings)
        .map_err(|why| anyhow::anyhow!("our runner {why}"))?;
    let reply = runner
        .ask(None, Verb::Limits(true), Duration::from_secs(300))
        .map_err(|fault| anyhow::anyhow!("our runner {fault}"))?;
    reply
        .limits
        .context("our runner did not measure the machine")
}

/// The files of models, as parameters for every runner.
fn assets(places: &Places) -> Result<Map<String, Value>> {
    use mlx_testdata::assets;
    let ct2 = assets::whisper_tiny_en()?;
    let speech = assets::speech()?;
    let exported = super::export::whisper(&ct2, &speech.path, &places.build.join("models"))?;
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
fn with_paths(mut row: Row, assets: &Map<String, Value>) -> Row {
    if row.group == rows::Group::Models
        && let Value::Object(params) = &mut row.params
    {
        for (name, value) in assets {
            params.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    row
}

fn results_path(options: &Options, places: &Places, results: &Results) -> Result<PathBuf> {
    let folder = options.out.clone();
    let folder = folder.unwrap_or_else(|| places.benches.join("results"));
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
    places: &Places,
    contestants: impl Iterator<Item = &'a Contestant>,
) -> BTreeMap<String, String> {
    let mut pins = BTreeMap::new();
    for one in contestants {
        if let Some(version) = &one.version {
            pins.insert(one.name.clone(), version.clone());
        }
    }
    let folder = places.benches.to_string_lossy().into_owned();
    let commit = output("git", &["-C", &folder, "rev-parse", "HEAD"]);
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

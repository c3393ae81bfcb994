//! Measuring a row: all participants prepare and are checked, then rounds are interleaved: ours, a rival, the next, ours again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::check::Outcome;
use super::inputs;
use super::limits::Limits;
use super::process::{Fault, Runner, Spec};
use super::protocol::{Load, Verb};
use super::results::{Measured, RowResult};
use super::rows::Benchmark;
use super::statistics::Samples;

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The threads that participants may use.
    pub threads: usize,
    /// The number of rounds.
    pub rounds: usize,
    /// How long a runner runs in a round; at least once.
    pub budget: Duration,
    /// How long all rounds of a runner together may take before there are fewer of them; at least three.
    pub longest: Duration,
    /// The maximum number of runs in a round.
    pub max_runs_per_round: usize,
    /// How long a rival may take to prepare a row, or for one round of it.
    pub timeout: Duration,
    /// How long we may take: a row without us says nothing.
    pub own_timeout: Duration,
    /// Above this, one call is all that is measured of a rival.
    pub slow: Duration,
    /// How long to wait between two runners, until the threads of the first sleep.
    pub pause: Duration,
}

/// A participant, and its process, which is started when it is first needed.
#[derive(Debug)]
pub struct Participant {
    /// The name in the table.
    pub name: String,
    spec: std::result::Result<Spec, String>,
    runner: Option<Runner>,
    /// Its versions, once it has said them.
    pub version: Option<String>,
    /// The device that it computes on, once it has said so.
    pub device: Option<String>,
}

/// The state of a participant on one row.
enum Status {
    /// Ready: how many runs make a round, and the samples so far.
    Ready {
        runs: usize,
        rounds: usize,
        samples: Samples,
    },
    /// Out, and why.
    Out(String),
}

impl Participant {
    /// Returns a participant that is started like this, or is absent for a reason.
    pub fn new(name: &str, spec: std::result::Result<Spec, String>) -> Self {
        Self {
            name: name.to_owned(),
            spec,
            runner: None,
            version: None,
            device: None,
        }
    }

    /// Returns the running process.
    ///
    /// # Errors
    /// Why there is none.
    pub fn runner(&mut self, settings: &Settings) -> std::result::Result<&mut Runner, String> {
        if self.runner.is_none() {
            let spec = self.spec.as_ref().map_err(Clone::clone)?;
            let runner = Runner::start(spec, settings.threads, Duration::from_secs(120));
            let runner = runner.map_err(|fault| fault.to_string())?;
            self.version.clone_from(&runner.hello.version);
            self.device.clone_from(&runner.hello.device);
            self.runner = Some(runner);
        }
        self.runner
            .as_mut()
            .ok_or_else(|| "is not running".to_owned())
    }

    /// Whether it is there at all.
    pub fn is_here(&self) -> bool {
        self.spec.is_ok()
    }

    fn ask(
        &mut self,
        id: &str,
        verb: Verb,
        settings: &Settings,
    ) -> std::result::Result<super::protocol::Reply, String> {
        let runner = self.runner(settings)?;
        match runner.ask(Some(id), verb, settings.timeout) {
            Ok(reply) => match (reply.unsupported, reply.failed) {
                (Some(why), _) => Err(why),
                (_, Some(why)) => Err(format!("failed: {why}")),
                _ => Ok(super::protocol::Reply {
                    unsupported: None,
                    failed: None,
                    ..reply
                }),
            },
            Err(fault) => {
                // The process has ended; the next row starts a new one.
                self.runner = None;
                Err(self.say(&fault))
            }
        }
    }

    fn say(&self, fault: &Fault) -> String {
        fault.to_string()
    }
}

/// Measures a row with us, our other forms, and the rivals that are here; all of it is judged in the result.
///
/// # Errors
/// When the inputs cannot be written.
pub fn row(
    row: &Benchmark,
    ours: &mut Participant,
    forms: &mut [&mut Participant],
    rivals: &mut [&mut Participant],
    limits: &Limits,
    settings: &Settings,
) -> Result<RowResult> {
    let folder = tempfile::tempdir()?;
    let inputs = inputs::write_all(folder.path(), &row.id, &row.inputs)?;
    let n_forms = forms.len();
    let mut participants: Vec<&mut Participant> = Vec::with_capacity(1 + n_forms + rivals.len());
    participants.push(ours);
    participants.extend(forms.iter_mut().map(|form| &mut **form));
    participants.extend(rivals.iter_mut().map(|rival| &mut **rival));
    let with_longer_timeout = Settings {
        timeout: settings.timeout.max(settings.own_timeout),
        // Nor does a call of a minute go around nine times.
        slow: (settings.slow * 5).min(Duration::from_secs(20)),
        ..*settings
    };
    let settings_of = |idx: usize| {
        if idx == 0 {
            &with_longer_timeout
        } else {
            settings
        }
    };

    let mut reference: Option<Outcome> = None;
    let mut statuses = Vec::new();
    for (idx, participant) in participants.iter_mut().enumerate() {
        let output = folder.path().join(format!("output-{idx}.npy"));
        let status = prepare(
            row,
            participant,
            &inputs,
            output,
            &mut reference,
            settings_of(idx),
        );
        if let Status::Out(why) = &status
            // Absences were reported at the start.
            && participant.spec.is_ok()
        {
            eprintln!("    {}: {why}", participant.name);
        }
        statuses.push(status);
    }
    for round in 0..settings.rounds {
        for place in 0..participants.len() {
            // Each round begins with another one, so that none always follows the same neighbour.
            let idx = (place + round) % participants.len();
            if let (Some(participant), Some(status)) =
                (participants.get_mut(idx), statuses.get_mut(idx))
            {
                run(row, participant, status, round, settings_of(idx));
            }
        }
    }
    for (participant, status) in participants.iter_mut().zip(&statuses) {
        if matches!(status, Status::Ready { .. }) {
            // This fails only for a process that has ended.
            let _ = participant.ask(&row.id, Verb::Drop(true), settings);
        }
    }
    let names: Vec<String> = participants.iter().map(|one| one.name.clone()).collect();
    let mut measured = names.into_iter().zip(statuses.into_iter().map(finish));
    let ours = measured
        .next()
        .map_or(Err("did not run".to_owned()), |(_, ours)| ours);
    let forms: BTreeMap<String, Measured> = measured.by_ref().take(n_forms).collect();
    let mut rivals: BTreeMap<String, Measured> = measured.collect();
    let left_out = row.left_out.iter();
    rivals.extend(left_out.map(|(name, why)| ((*name).to_owned(), Err((*why).to_owned()))));
    Ok(RowResult::new(row, limits, ours, rivals, forms))
}

/// Has a participant load a row, compares its result with ours, and finds out how many runs make a round.
fn prepare(
    row: &Benchmark,
    participant: &mut Participant,
    inputs: &[PathBuf],
    output: PathBuf,
    reference: &mut Option<Outcome>,
    settings: &Settings,
) -> Status {
    let load = Load {
        op: row.op.to_owned(),
        params: row.params.clone(),
        inputs: inputs.to_vec(),
        output: output.clone(),
    };
    let reply = match participant.ask(&row.id, Verb::Load(load), settings) {
        Ok(reply) => reply,
        Err(why) => return Status::Out(why),
    };
    let peak_bytes = reply.peak_bytes;
    let outcome = match row.check.outcome(&output, reply.text.as_deref()) {
        Ok(outcome) => outcome,
        Err(error) => return Status::Out(format!("failed: {error:#}")),
    };
    // The files are large: none stays longer than it is needed.
    let _ = std::fs::remove_file(output);
    match reference {
        None => *reference = Some(outcome),
        Some(ours) => {
            if let Some(difference) = row.check.difference(ours, &outcome) {
                return Status::Out(difference);
            }
        }
    }
    let started = Instant::now();
    let reply = participant.ask(&row.id, Verb::Run(1), settings);
    let waited = started.elapsed().as_secs_f64();
    match reply {
        Err(why) => Status::Out(why),
        Ok(reply) => {
            let ms = reply.ms.as_deref().and_then(<[f64]>::first).copied();
            let Some(ms) = ms.filter(|ms| ms.is_finite() && *ms >= 0.0) else {
                return Status::Out("failed: gave no time".to_owned());
            };
            // The time of a token is a part of the call that it was measured in; below a tenth of a second the
            // difference is the way to the runner and back.
            let waited = Some(waited).filter(|seconds| *seconds > 0.1);
            let call = waited.unwrap_or(0.0).max(ms / 1e3).max(1e-6);
            let runs = (settings.budget.as_secs_f64() / call) as usize;
            let runs = runs.clamp(1, settings.max_runs_per_round);
            let mut samples = Samples::with_peak(peak_bytes);
            let is_slow = call > settings.slow.as_secs_f64();
            if is_slow {
                samples.push(vec![ms]);
            }
            let rounds = settings.longest.as_secs_f64() / (call * runs as f64);
            Status::Ready {
                runs,
                rounds: if is_slow { 0 } else { (rounds as usize).max(3) },
                samples,
            }
        }
    }
}

/// Has a participant run one round.
fn run(
    row: &Benchmark,
    participant: &mut Participant,
    status: &mut Status,
    round: usize,
    settings: &Settings,
) {
    let Status::Ready {
        runs,
        rounds,
        samples,
    } = status
    else {
        return;
    };
    if round >= *rounds {
        return;
    }
    sleep(settings.pause);
    match participant.ask(&row.id, Verb::Run(*runs), settings) {
        Err(why) => *status = Status::Out(why),
        Ok(reply) => match reply.ms {
            Some(ms) if ms.len() == *runs && ms.iter().all(|ms| ms.is_finite() && *ms >= 0.0) => {
                samples.push(ms);
            }
            _ => *status = Status::Out(format!("failed: wanted {runs} times, got others")),
        },
    }
}

fn finish(status: Status) -> Measured {
    match status {
        Status::Out(why) => Err(why),
        Status::Ready { samples, .. } => samples.summary().ok_or_else(|| "did not run".to_owned()),
    }
}

//! Autotuning: which form of a site runs is measured once, and kept in a cache.
//!
//! A form is chosen before the default only where it is faster beyond the noise: see `rule`.

mod cache;
mod key;
mod measure;
mod rule;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mlx::Op;

use cache::{Entries, Entry};
use key::Machine;

use super::{Context, Pass, run};
use crate::graph::{Graph, GraphRewriter, SourceLocation, Value};
use crate::report::{FormTiming, Report, TimingSource, TunedSite};
use crate::{Autotune, CompileOptions, Result};

/// What is known of forms while a function is lowered.
pub(crate) struct Tuner {
    machine: Machine,
    path: PathBuf,
    /// Of this machine.
    known: BTreeMap<String, Entry>,
    new: Entries,
    measures: bool,
}

/// A part of a graph with the forms in which it can run, all of the same inputs.
pub(super) struct Site {
    pub(super) what: String,
    pub(super) at: SourceLocation,
    pub(super) forms: Vec<(&'static str, Graph)>,
    pub(super) default: usize,
    /// The passes that a form goes through before it runs.
    pub(super) passes: &'static [Pass],
}

impl Tuner {
    /// Returns a tuner if the options, or the environment in their place, ask for one.
    pub(crate) fn of(options: &CompileOptions, report: &mut Report) -> Option<Self> {
        let choice = options.autotune.resolved();
        if choice == Autotune::Off || options.shapeless {
            return None;
        }
        if options.memory_limit.is_some() || options.rematerialize {
            let warning = "nothing is timed with a memory_limit or rematerialize: forms are chosen for time alone";
            report.autotune_warnings.push(warning.to_owned());
            return None;
        }
        let machine = Machine::current().ok()?;
        let path = options
            .autotune_cache
            .clone()
            .unwrap_or_else(cache::default_path);
        let read = cache::read(&path).unwrap_or_else(|error| {
            let warning = format!("cache {} is not used: {error}", path.display());
            report.autotune_warnings.push(warning);
            Entries::new()
        });
        let mut known = BTreeMap::new();
        // What was measured here is newer than what was read.
        for ((of, key), entry) in read.into_iter().chain(cache::measured(&path)) {
            if of == machine {
                known.insert(key, entry);
            }
        }
        Some(Self {
            machine,
            path,
            known,
            new: Entries::new(),
            measures: choice == Autotune::Measure,
        })
    }

    /// Writes what was measured.
    pub(crate) fn finish(self, report: &mut Report) {
        if self.new.is_empty() {
            return;
        }
        if let Err(error) = cache::add(&self.path, &self.new) {
            let warning = format!("cache {} is not written: {error}", self.path.display());
            report.autotune_warnings.push(warning);
        }
    }
}

/// Returns which form of a site runs: as the cache has it, as it is measured, or the default.
pub(super) fn choose(site: &Site, context: &mut Context<'_>) -> usize {
    let Some(mut tuner) = context.tuner.take() else {
        return site.default;
    };
    let chosen = tuner.choose(site, context);
    context.tuner = Some(tuner);
    chosen
}

impl Tuner {
    fn choose(&mut self, site: &Site, context: &mut Context<'_>) -> usize {
        let key = key::site_key(&site.what, &site.forms);
        let same = |tuned: &&mut TunedSite| tuned.key == key && tuned.site == site.at;
        if let Some(tuned) = context.report.autotuned.iter_mut().find(same) {
            tuned.count += 1;
            return site.number_of(&tuned.chosen);
        }
        let (entry, source) = match self.known.get(&key).filter(|entry| site.takes(entry)) {
            Some(entry) => (Ok(entry.clone()), TimingSource::Cache),
            None if !self.measures => (Err("not in the cache".to_owned()), TimingSource::Cache),
            None => (self.measure(site, &key, context), TimingSource::Measured),
        };
        let (forms, chosen, source) = match entry {
            Ok(entry) => (entry.forms, site.number_of(&entry.chosen), source),
            Err(reason) => (Vec::new(), site.default, TimingSource::Untimed(reason)),
        };
        context.report.autotuned.push(TunedSite {
            what: site.what.clone(),
            site: site.at,
            key,
            forms,
            default: site.forms[site.default].0.to_owned(),
            chosen: site.forms[chosen].0.to_owned(),
            source,
            count: 1,
        });
        chosen
    }

    fn measure(
        &mut self,
        site: &Site,
        key: &str,
        context: &Context<'_>,
    ) -> std::result::Result<Entry, String> {
        let entry = site.measure(context.options)?;
        self.known.insert(key.to_owned(), entry.clone());
        let key = (self.machine.clone(), key.to_owned());
        self.new.insert(key, entry.clone());
        Ok(entry)
    }
}

impl Site {
    /// Returns the number of the form of this name, or of the default.
    fn number_of(&self, name: &str) -> usize {
        let named = self.forms.iter().position(|(form, _)| *form == name);
        named.unwrap_or(self.default)
    }

    /// Whether a measurement is of these forms.
    fn takes(&self, entry: &Entry) -> bool {
        let timed = |name: &str| entry.forms.iter().any(|timing| timing.form == name);
        let has_all = self.forms.iter().all(|(form, _)| timed(form));
        has_all && self.forms.iter().any(|(form, _)| *form == entry.chosen)
    }

    /// Times the forms, on this thread's device, and chooses.
    fn measure(&self, options: &CompileOptions) -> std::result::Result<Entry, String> {
        /// Threads that measured at the same time would measure each other.
        static MEASURING: Mutex<()> = Mutex::new(());
        if let Some(reason) = self.forms.iter().find_map(|(_, graph)| untimeable(graph)) {
            return Err(reason);
        }
        let lowered = self.forms.iter().map(|(_, graph)| {
            let options = CompileOptions {
                keep_passes: false,
                ..options.clone()
            };
            let mut report = Report::default();
            let mut context = Context::new(&options, &mut report);
            run(self.passes, graph, &mut context).map_err(|error| error.to_string())
        });
        let _one_at_a_time = MEASURING.lock().unwrap_or_else(PoisonError::into_inner);
        let times = mlx::compiler_api::without_recording(|| {
            let graphs: Vec<Graph> = lowered.collect::<std::result::Result<_, _>>()?;
            let graphs: Vec<&Graph> = graphs.iter().collect();
            measure::measure(&graphs, options, &measure::LIMITS)
        })?;
        let names = self.forms.iter().map(|(name, _)| *name);
        let timings: Vec<FormTiming> = names
            .zip(&times)
            .map(|(name, times)| rule::timing(name, times))
            .collect();
        let chosen = rule::choose(self.default, &timings);
        Ok(Entry {
            forms: timings,
            chosen: self.forms[chosen].0.to_owned(),
        })
    }
}

/// Why a graph must not run more often than its program asks for it, if it must not.
fn untimeable(graph: &Graph) -> Option<String> {
    graph.nodes().iter().find_map(|node| {
        if node.operation.communicates() {
            return Some("other ranks would have to run it as often".to_owned());
        }
        if let Some(Op::Custom(_)) = node.operation.op() {
            let name = node.operation.name();
            return Some(format!("{name} is an operation of the program's own"));
        }
        if let Some(device) = node.site.device {
            return Some(format!("the program puts it on the {device}"));
        }
        let inner = node.operation.graphs();
        inner.into_iter().find_map(|(_, graph)| untimeable(graph))
    })
}

/// Returns a part of a graph as a graph of its own: `build` is told its inputs and gives its outputs. Constants stay what they
/// are.
pub(super) fn site_graph(
    graph: &Graph,
    inputs: &[Value],
    build: impl FnOnce(&mut Graph, &[Value]) -> Option<Vec<Value>>,
) -> Option<Graph> {
    let mut site = Graph::new("site");
    let mut rewriter = GraphRewriter::new(graph);
    let mut seen = std::collections::BTreeSet::new();
    for &input in inputs {
        if graph.constant(input).is_none() && seen.insert(input) {
            let new = site.add_input(graph.array_type(input).clone());
            rewriter.map(input, new);
        }
    }
    let inputs = rewriter.lookup_all(&mut site, inputs)?;
    let outputs = build(&mut site, &inputs)?;
    site.outputs = outputs;
    Some(site)
}

/// Returns the forms of a group of nodes: one kernel named `kernel`, or its operations.
pub(super) fn group_forms(
    graph: &Graph,
    inputs: &[Value],
    body: &Graph,
    kernel: &'static str,
) -> Option<Vec<(&'static str, Graph)>> {
    use crate::graph::Operation;
    let grouped = site_graph(graph, inputs, |site, inputs| {
        let operation = Operation::FusedGroup(std::rc::Rc::new(body.clone()));
        let site_of = body.nodes().first()?.site;
        Some(site.add_node(operation, inputs.to_vec(), body.output_types(), site_of))
    })?;
    let plain = site_graph(graph, inputs, |site, inputs| {
        GraphRewriter::new(body).inline(site, inputs)
    })?;
    Some(vec![(kernel, grouped), ("operations", plain)])
}

/// Where measurements are kept, and how many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutotuneCache {
    /// The file.
    pub path: PathBuf,
    /// How many measurements it has.
    pub entries: usize,
    /// How many of them are of this machine and these versions.
    pub usable: usize,
}

/// Returns where measurements of [`CompileOptions::autotune`] are kept, and how many there are; of another file where `path`
/// names one.
///
/// # Errors
/// When the file is not one of measurements, or cannot be read.
pub fn autotune_cache(path: Option<&Path>) -> Result<AutotuneCache> {
    let path = path.map_or_else(cache::default_path, Path::to_owned);
    let entries = cache::read(&path).map_err(|error| {
        let text = format!("autotune_cache: {}: {error}", path.display());
        crate::Error::Unsupported(text)
    })?;
    let machine = Machine::current()?;
    let usable = entries.keys().filter(|(of, _)| *of == machine).count();
    Ok(AutotuneCache {
        path,
        entries: entries.len(),
        usable,
    })
}

#[cfg(test)]
mod tests;

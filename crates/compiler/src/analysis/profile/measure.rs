//! How a profile is measured: whole calls, and in turn with them each node evaluated by itself.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use mlx::{Array, Device};

use super::clock::Clock;
use super::{MachineLimits, Profile, ProfileRow};
use crate::analysis::lint::cost::{node_weight, node_work};
use crate::execute::{Executor, in_own_memory};
use crate::graph::{Graph, Node, Operation, SourceLocation};
use crate::{Error, Result};

/// The number of calls that are measured, unless they take longer than [`MAX_TIME`].
const CALLS: usize = 7;

/// Measuring ends after this time, with two calls at least.
const MAX_TIME: Duration = Duration::from_secs(4);

/// The times of nodes in all runs, by their places.
type Parts = HashMap<Vec<usize>, Vec<Duration>>;

/// The time of each node, by its place.
type Times = HashMap<Vec<usize>, Duration>;

thread_local! {
    static LIMITS: Cell<Option<(Device, MachineLimits)>> = const { Cell::new(None) };
}

/// Runs a graph as a whole by `call` and node by node.
pub(crate) fn profile(
    (graph, shapeless): (&Graph, bool),
    inputs: &[&Array],
    call: &dyn Fn(&[&Array]) -> mlx::Result<Vec<Array>>,
) -> Result<Profile> {
    if let Some(node) = graph
        .nodes()
        .iter()
        .find(|node| node.operation.communicates())
    {
        return Err(Error::Unsupported(format!(
            "profile: wanted a function of this process alone, got {} at {}, for which other ranks must run as often",
            node.operation.name(),
            node.site
        )));
    }
    let executor = match shapeless {
        true => Executor::for_all_sizes(graph.clone())?,
        false => Executor::new(graph.clone())?,
    };
    mlx::compiler_api::without_recording(|| measure(graph, &executor, inputs, call))
}

fn measure(
    graph: &Graph,
    executor: &Executor,
    inputs: &[&Array],
    call: &dyn Fn(&[&Array]) -> mlx::Result<Vec<Array>>,
) -> Result<Profile> {
    let clock = Clock::new()?;
    let limits = limits(&clock)?;
    let empty = clock.empty()?;
    for _ in 0..clock.calls_before() {
        time_of_a_call((&Clock::Host, Duration::ZERO), inputs, call)?;
    }
    let (mut whole, mut waited) = (Vec::new(), Vec::new());
    let mut parts = Parts::new();
    let started = Instant::now();
    // The first call of each kind is not counted.
    while whole.len() <= CALLS && (whole.len() < 3 || started.elapsed() < MAX_TIME) {
        let host = time_of_a_call((&Clock::Host, Duration::ZERO), inputs, call)?;
        waited.push(host);
        whole.push(match clock {
            Clock::Gpu(..) => time_of_a_call((&clock, host), inputs, call)?,
            Clock::Host => host,
        });
        let mut evaluate = |place: &[usize], outputs: &[Array]| {
            let time = clock.time(|| Ok(outputs.to_vec()))?;
            let times = parts.entry(place.to_vec()).or_default();
            times.push(time.saturating_sub(empty));
            Ok(())
        };
        executor.run_stepwise(copies(inputs)?, &mut Vec::new(), &mut evaluate)?;
    }
    whole.remove(0);
    waited.remove(0);
    for times in parts.values_mut() {
        times.remove(0);
    }
    let of_nodes = |run: usize| -> Duration {
        let nodes = parts.iter().filter(|(place, _)| place.len() == 1);
        nodes.map(|(_, times)| times[run]).sum()
    };
    let fast = faster_half(&(0..whole.len()).map(of_nodes).collect::<Vec<_>>());
    let times = parts
        .into_iter()
        .map(|(place, times)| (place, mean(&times, &fast)));
    let times: Times = times.collect();
    let mut rows = Vec::new();
    for (index, node) in graph.nodes().iter().enumerate() {
        let time = times.get([index].as_slice()).copied().unwrap_or_default();
        let mut place = vec![index];
        add_rows(&mut rows, (graph, node), time, &mut place, &times, None);
    }
    rows.sort_by_key(|row| Reverse(row.time));
    Ok(Profile {
        calls: whole.len(),
        whole: mean(&whole, &faster_half(&whole)),
        waited: mean(&waited, &faster_half(&waited)),
        is_gpu_clock: matches!(clock, Clock::Gpu(..)),
        rows,
        limits,
    })
}

/// Measures one call that takes the host no longer than this, with inputs that nothing else holds while it is evaluated.
fn time_of_a_call(
    (clock, prepared): (&Clock, Duration),
    inputs: &[&Array],
    call: &dyn Fn(&[&Array]) -> mlx::Result<Vec<Array>>,
) -> mlx::Result<Duration> {
    let own = copies(inputs)?;
    clock.time_prepared(prepared, move || call(&own.iter().collect::<Vec<_>>()))
}

/// Returns the limits of the device, measured once for a thread.
fn limits(clock: &Clock) -> mlx::Result<MachineLimits> {
    let device = Device::current()?;
    if let Some((_, limits)) = LIMITS.get().filter(|(of, _)| *of == device) {
        return Ok(limits);
    }
    let limits = clock.limits()?;
    LIMITS.set(Some((device, limits)));
    Ok(limits)
}

/// Returns copies of arrays, in memory of their own.
fn copies(inputs: &[&Array]) -> mlx::Result<Vec<Array>> {
    let copies: Vec<Array> = inputs.iter().map(|input| in_own_memory(input)).collect();
    mlx::eval(&copies)?;
    Ok(copies)
}

/// Returns the places of the shorter half of times: what other processes disturbed is in the other.
fn faster_half(times: &[Duration]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..times.len()).collect();
    order.sort_by_key(|run| times[*run]);
    order.truncate(times.len().div_ceil(2));
    order
}

/// Returns the mean of some of these times.
fn mean(times: &[Duration], places: &[usize]) -> Duration {
    let n = u32::try_from(places.len().max(1)).unwrap_or(u32::MAX);
    places.iter().map(|place| times[*place]).sum::<Duration>() / n
}

/// Adds the time of a node to the row of its operation and line, or divides it among what is inside of a group: by their
/// times one by one, or if they were not measured by what they read, write and compute.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn add_rows(
    rows: &mut Vec<ProfileRow>,
    (graph, node): (&Graph, &Node),
    time: Duration,
    place: &mut Vec<usize>,
    times: &Times,
    group: Option<&str>,
) {
    if let Operation::FusedGroup(body) = &node.operation {
        let name = format!("kernel of {} operations", body.op_count());
        let mut weights = Vec::new();
        for (index, node) in body.nodes().iter().enumerate() {
            place.push(index);
            weights.push(match times.get(place) {
                Some(time) => time.as_secs_f64(),
                None => node_weight(body, node),
            });
            place.pop();
        }
        if weights.iter().sum::<f64>() == 0.0 {
            // Each is shorter than an evaluation of nothing.
            let nodes = body.nodes().iter();
            weights = nodes.map(|node| node_weight(body, node) + 1.0).collect();
        }
        let total = weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        for ((index, node), weight) in body.nodes().iter().enumerate().zip(weights) {
            let (name, time) = (group.unwrap_or(&name), time.mul_f64(weight / total));
            place.push(index);
            add_rows(rows, (body, node), time, place, times, Some(name));
            place.pop();
        }
        return;
    }
    let (bytes, operations) = node_work(graph, node);
    let (bytes, operations) = (bytes as u64, operations as u64);
    let operation = node.operation.name();
    let line = |site: SourceLocation| (site.at.map(|at| (at.file(), at.line())), site.device);
    let same = |row: &&mut ProfileRow| {
        let is_line = line(row.site) == line(node.site);
        is_line && row.operation == operation && row.group.as_deref() == group
    };
    match rows.iter_mut().find(same) {
        Some(row) => {
            row.count += 1;
            row.time += time;
            row.bytes += bytes;
            row.operations += operations;
        }
        None => rows.push(ProfileRow {
            operation: operation.to_owned(),
            site: node.site,
            group: group.map(str::to_owned),
            count: 1,
            time,
            bytes,
            operations,
        }),
    }
}

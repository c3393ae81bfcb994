//! Traces: functions that are traced again and again, and values that keep one from being replayed.

use mlx::Op;

use crate::analysis::lint::cost::graph_weight;
use crate::analysis::lint::scope::{Found, Scope};
use crate::graph::{Graph, Operation, SourceLocation};
use crate::report::RetraceCause;
use crate::trace::SizeRead;

/// Traces from which on a function is traced too often, if half of its calls are.
const MANY: u64 = 4;

/// Branches that are cheaper than this together may both be computed.
const CHEAP: f64 = 262_144.0;

/// Traces for other sizes, at the line that read one, or that compiled the function.
pub(super) fn frozen_size(scope: &Scope<'_>) -> Vec<Found> {
    let size_read = scope.form.size_read;
    let at = size_read.map(|SizeRead { at, .. }| at);
    let by = size_read.map_or(String::new(), |read| format!("; {} reads one", read.op));
    retraced(scope, RetraceCause::Size, "other sizes", at, &by)
}

/// Traces for another number or structure among the arguments.
pub(super) fn changing_argument(scope: &Scope<'_>) -> Vec<Found> {
    let what = "another number or structure among the arguments";
    retraced(scope, RetraceCause::Setting, what, None, "")
}

fn retraced(
    scope: &Scope<'_>,
    cause: RetraceCause,
    why: &str,
    at: Option<&'static std::panic::Location<'static>>,
    by: &str,
) -> Vec<Found> {
    let Some(history) = scope
        .form
        .history
        .as_ref()
        .filter(|_| scope.around.is_none())
    else {
        return Vec::new();
    };
    let same = history.retraces.iter().filter(|one| one.cause == cause);
    let n = same.clone().count();
    let is_main = 2 * n > history.retraces.len();
    if history.traces < MANY || 2 * history.traces < history.calls || !is_main {
        return Vec::new();
    }
    let last = same.clone().next_back().map_or("", |one| one.text.as_str());
    let (traces, calls) = (history.traces, history.calls);
    let what = format!("{traces} of {calls} calls were traced, for {why}: {last}{by}");
    let site = SourceLocation {
        at: at.or(Some(history.made_at)),
        ..SourceLocation::default()
    };
    let mut found = Found::new(site, graph_weight(scope.graph), what);
    #[allow(clippy::cast_precision_loss)]
    let share = traces as f64 / calls.max(1) as f64;
    found.share = Some(share);
    vec![found]
}

/// Conditions that are read in each call although both branches are cheap.
pub(super) fn value_read(scope: &Scope<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for node in scope.nodes() {
        let Operation::Cond { then, otherwise } = &node.operation else {
            continue;
        };
        let both = graph_weight(then) + graph_weight(otherwise);
        if both > CHEAP || !is_plain(then) || !is_plain(otherwise) {
            continue;
        }
        let what = "cond reads its condition in each call, and nothing around it is replayed";
        found.push(Found::new(node.site, both, what.to_owned()));
    }
    found
}

/// Whether a graph has only operations that may be computed in vain.
fn is_plain(graph: &Graph) -> bool {
    graph.nodes().iter().all(|node| match &node.operation {
        Operation::Op(op) => !matches!(op, Op::Custom(_)) && !node.operation.communicates(),
        Operation::Fused(_) => true,
        _ => false,
    })
}

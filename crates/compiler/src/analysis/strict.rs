//! Strict compilation: what does not run as the options ask for is an error with the report in it.

use crate::execute::reads_values;
use crate::graph::{Graph, Node, Operation};
use crate::report::{Choice, Report};
use crate::{Error, RefusalKind, Result};

/// Returns the nodes because of which MLX does not replay a graph, with their lines.
pub(crate) fn interpreted(graph: &Graph) -> Vec<String> {
    let reads = |node: &&Node| match &node.operation {
        Operation::Cond { .. } | Operation::While { .. } | Operation::Scan { .. } => true,
        operation => operation
            .graphs()
            .iter()
            .any(|(_, inner)| reads_values(inner)),
    };
    let nodes = graph.nodes().iter().filter(reads);
    nodes
        .map(|node| format!("{} at {}", node.operation.name(), node.site))
        .collect()
}

/// Refuses a function of which a formula is left composed, or that is not replayed.
pub(crate) fn check_strict(report: &Report) -> Result<()> {
    let mut reasons: Vec<String> = report
        .refused
        .iter()
        .map(|refused| format!("wanted {} fused, got it {refused}", refused.fusion))
        .collect();
    for fired in &report.fired {
        if let Choice::Body(refusal) = &fired.choice
            && !matches!(refusal.kind, RefusalKind::Joined | RefusalKind::Autotuned)
        {
            let (fusion, site) = (fired.fusion, &fired.site);
            reasons.push(format!(
                "wanted {fusion} fused, got it composed at {site}: {refusal}"
            ));
        }
    }
    for node in &report.interpreted {
        reasons.push(format!(
            "wanted a function that is replayed, got one that runs node by node because of {node}"
        ));
    }
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Error::Strict {
        reasons,
        report: report.to_string(),
    })
}

//! Formulas: those that are nearly fused, and a logarithm that belongs into one.

use mlx::Op;

use crate::analysis::lint::scope::{Found, Scope};
use crate::graph::{Fusion, Operation};
use crate::{RefusalKind, Report};

/// Formulas of which one thing keeps the fused form away. They are listed once, with the graph around all others.
pub(super) fn near_miss(scope: &Scope<'_>) -> Vec<Found> {
    // A report of several parts lists the refusals of all of them, and belongs to the first.
    let is_first = |report: &Report| {
        let first = report.forms.first();
        first.is_some_and(|first| std::ptr::eq(first, scope.form))
    };
    if scope.around.is_some() || !is_first(scope.report) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for refused in &scope.report.refused {
        let is_formula = !matches!(
            refused.fusion,
            Fusion::Linear | Fusion::Softmax | Fusion::Silu | Fusion::SwiGlu
        );
        // A loss of half precision is summed in it, as in Python, unless the logits are cast.
        let is_meant =
            refused.fusion == Fusion::CrossEntropy && refused.refusal.kind == RefusalKind::Dtype;
        let is_one_thing = matches!(
            refused.refusal.kind,
            RefusalKind::Reused
                | RefusalKind::Output
                | RefusalKind::Dtype
                | RefusalKind::Eps
                | RefusalKind::Mask
        );
        if !is_formula || !is_one_thing || is_meant {
            continue;
        }
        let forms = scope.report.forms.iter();
        let weight: f64 = forms
            .flat_map(|form| form.optimized.nodes().iter().map(move |node| (form, node)))
            .filter(|(_, node)| node.site == refused.site)
            .map(|(form, node)| super::super::cost::node_weight(&form.optimized, node))
            .sum();
        let what = format!("{} is not fused: {}", refused.fusion, refused.refusal);
        found.push(Found::new(refused.site, weight, what));
    }
    found
}

/// A logarithm of a softmax.
pub(super) fn log_of_softmax(scope: &Scope<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (op, node) in scope.ops() {
        let input = node.inputs.first().map(|input| scope.strip_casts(*input));
        let producer = input.and_then(|input| scope.graph.producer(input));
        let is_softmax = producer.is_some_and(|made| match &made.operation {
            Operation::Op(op) => matches!(op, Op::Softmax { .. }),
            Operation::Fused(fused) => fused.fusion == Fusion::Softmax,
            _ => false,
        });
        if !matches!(op, Op::Log) || !is_softmax {
            continue;
        }
        let made = scope.type_text(node.outputs[0]);
        let what = format!("log of softmax, {made}: -inf where a probability rounds to 0");
        found.push(Found::new(node.site, scope.weight(node), what));
    }
    found
}

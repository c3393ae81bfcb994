//! What rules ask: one graph of a function, top or inner, with users, constants and costs.

use std::ops::Deref;

use mlx::{Dtype, Op};

use super::cost::{is_free, node_weight, value_bytes};
use super::finding::{Cost, Finding, FindingKind};
use crate::fusions::Matcher;
use crate::graph::{Graph, Node, Operation, SourceLocation, Value};
use crate::report::{Form, Report};

/// A graph that rules are applied to. It dereferences to the matcher of fusions, which has further queries.
pub(super) struct Scope<'g> {
    matcher: Matcher<'g>,
    pub(super) report: &'g Report,
    pub(super) form: &'g Form,
    /// The node that the graph is inside of.
    pub(super) around: Option<&'g Node>,
    /// How often the graph runs in a call, as far as is known.
    rounds: f64,
    /// The weight of a call.
    total: f64,
}

/// What a rule found, before it is known what that costs in a call.
pub(super) struct Found {
    pub(super) site: SourceLocation,
    pub(super) what: String,
    /// The weight of one round.
    pub(super) weight: f64,
    /// The part of a call, when it does not follow from the weight.
    pub(super) share: Option<f64>,
}

impl Found {
    pub(super) fn new(site: SourceLocation, weight: f64, what: String) -> Self {
        Self {
            site,
            what,
            weight,
            share: None,
        }
    }
}

impl<'g> Deref for Scope<'g> {
    type Target = Matcher<'g>;

    fn deref(&self) -> &Matcher<'g> {
        &self.matcher
    }
}

impl<'g> Scope<'g> {
    /// Calls `work` for a graph and for those inside its nodes, except inside formulas and fused groups.
    pub(super) fn visit(
        report: &'g Report,
        form: &'g Form,
        graph: &'g Graph,
        total: f64,
        work: &mut dyn FnMut(&Scope<'g>),
    ) {
        Self::enter((report, form, total), graph, None, 1.0, work);
    }

    fn enter(
        about: (&'g Report, &'g Form, f64),
        graph: &'g Graph,
        around: Option<&'g Node>,
        rounds: f64,
        work: &mut dyn FnMut(&Scope<'g>),
    ) {
        let (report, form, total) = about;
        work(&Scope {
            matcher: Matcher::new(graph, false),
            report,
            form,
            around,
            rounds,
            total,
        });
        for node in graph.nodes() {
            #[allow(clippy::cast_precision_loss)]
            let rounds = match &node.operation {
                Operation::Fused(_) | Operation::FusedGroup(_) => continue,
                Operation::Scan { length, .. } => rounds * *length as f64,
                _ => rounds,
            };
            for (_, inner) in node.operation.graphs() {
                Self::enter(about, inner, Some(node), rounds, work);
            }
        }
    }

    /// Returns what was found with its cost in a call.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn finding(
        &self,
        kind: FindingKind,
        instead: &'static str,
        found: Found,
    ) -> Finding {
        let weight = found.weight * self.rounds;
        Finding {
            kind,
            site: found.site,
            what: found.what,
            cost: Cost {
                bytes: weight as u64,
                share: found.share.unwrap_or(weight / self.total).clamp(0.0, 1.0),
            },
            instead,
            count: 1,
        }
    }

    pub(super) fn nodes(&self) -> &'g [Node] {
        self.graph.nodes()
    }

    /// Returns the nodes that are primitives, with their operations.
    pub(super) fn ops(&self) -> impl Iterator<Item = (&'g Op, &'g Node)> {
        let nodes = self.graph.nodes().iter();
        nodes.filter_map(|node| Some((node.operation.op()?, node)))
    }

    /// Returns the operation that gives a value, when it is a primitive, and its node.
    pub(super) fn made_by(&self, value: Value) -> Option<(&'g Op, &'g Node)> {
        let node = self.graph.producer(value)?;
        Some((node.operation.op()?, node))
    }

    /// Returns the nodes that use a value.
    pub(super) fn users(&self, value: Value) -> impl Iterator<Item = &'g Node> {
        let graph = self.graph;
        self.consumers(value).iter().map(move |id| graph.node(*id))
    }

    pub(super) fn bytes(&self, value: Value) -> f64 {
        value_bytes(self.graph, value)
    }

    pub(super) fn elements(&self, value: Value) -> usize {
        crate::graph::element_count(self.shape(value))
    }

    pub(super) fn weight(&self, node: &Node) -> f64 {
        node_weight(self.graph, node)
    }

    /// Returns what a value is all elements of, in another shape.
    pub(super) fn strip_views(&self, value: Value) -> Value {
        match self.made_by(value) {
            Some((Op::Slice { .. } | Op::AsStrided { .. }, _)) => value,
            Some((op, node)) if is_free(op) && node.inputs.len() == 1 => {
                self.strip_views(node.inputs[0])
            }
            _ => value,
        }
    }

    /// Whether a value is an input of the graph, perhaps in another shape.
    pub(super) fn input_of(&self, value: Value) -> Option<usize> {
        let value = self.strip_views(value);
        self.graph.inputs().iter().position(|input| *input == value)
    }

    /// Returns the type of a value as it prints.
    pub(super) fn type_text(&self, value: Value) -> String {
        self.array_type(value).to_string()
    }

    pub(super) fn is_half(&self, value: Value) -> bool {
        matches!(self.dtype(value), Dtype::Float16 | Dtype::Bfloat16)
    }

    /// Whether an operation multiplies matrices.
    pub(super) fn is_product(op: &Op) -> bool {
        matches!(
            op,
            Op::Matmul
                | Op::Addmm { .. }
                | Op::Inner
                | Op::Tensordot { .. }
                | Op::Einsum { .. }
                | Op::Conv { .. }
                | Op::Linear
        )
    }
}

//! What a graph says of sizes: attributes that follow from axes of its values, and comparisons that must come out as they did.

use std::collections::HashMap;
use std::fmt;

use mlx::compiler_api::{Relation, SizeOp};

use super::print::ValueNames;
use super::{CallSite, Graph, Value};

/// A number that follows from axes of values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SizeTerm {
    Number(i64),
    Axis(Value, usize),
    Of(SizeOp, Box<SizeTerm>, Box<SizeTerm>),
}

/// What a comparison of sizes gave when the function was traced. For other sizes the graph is the function only where it gives
/// the same.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    /// The number of nodes that were recorded before it.
    pub(crate) before: usize,
    pub(crate) left: SizeTerm,
    pub(crate) relation: Relation,
    pub(crate) right: SizeTerm,
    pub(crate) at: CallSite,
}

/// What a trace knows of sizes. A pass that makes a new graph leaves it out: it is of the graph as it was traced.
#[derive(Clone, Debug, Default)]
pub(crate) struct SizeFacts {
    /// In the order of the trace.
    pub(crate) guards: Vec<Guard>,
    /// Attributes of nodes that are sizes, with their places: see [`mlx::Op::set_sizes`].
    pub(crate) attributes: HashMap<usize, Vec<(usize, SizeTerm)>>,
}

impl SizeTerm {
    /// Returns the number, by a function that knows the sizes of values; `None` where it does not.
    pub(crate) fn number(&self, size: &dyn Fn(Value, usize) -> Option<i64>) -> Option<i64> {
        match self {
            SizeTerm::Number(number) => Some(*number),
            SizeTerm::Axis(value, axis) => size(*value, *axis),
            SizeTerm::Of(op, a, b) => Some(op.of(a.number(size)?, b.number(size)?)),
        }
    }

    /// Calls `visit` with each value that the number depends on.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(Value)) {
        match self {
            SizeTerm::Number(_) => {}
            SizeTerm::Axis(value, _) => visit(*value),
            SizeTerm::Of(_, a, b) => {
                a.visit(visit);
                b.visit(visit);
            }
        }
    }

    fn text(&self, names: &ValueNames) -> String {
        match self {
            SizeTerm::Number(number) => number.to_string(),
            SizeTerm::Axis(value, axis) => format!("{}.dim({axis})", names.get(*value)),
            SizeTerm::Of(op, a, b) => {
                format!("({} {} {})", a.text(names), op.sign(), b.text(names))
            }
        }
    }
}

impl Guard {
    /// Returns whether it holds; `None` where a size is not known.
    pub(crate) fn holds(&self, size: &dyn Fn(Value, usize) -> Option<i64>) -> Option<bool> {
        let (left, right) = (self.left.number(size)?, self.right.number(size)?);
        Some(self.relation.holds(left, right))
    }
}

impl SizeFacts {
    pub(crate) fn is_empty(&self) -> bool {
        self.guards.is_empty() && self.attributes.is_empty()
    }
}

impl Graph {
    /// Returns the guards as text, with their lines; those of functions inside after those of the graph.
    pub(crate) fn guard_texts(&self) -> Vec<String> {
        let names = ValueNames::of(self);
        let own = self.sizes.guards.iter().map(|guard| {
            let (left, right) = (guard.left.text(&names), guard.right.text(&names));
            let (sign, at) = (guard.relation.sign(), Site(guard.at));
            format!("{left} {sign} {right} at {at}")
        });
        let mut texts: Vec<String> = own.collect();
        for (_, inner) in self.nodes.iter().flat_map(|node| node.operation.graphs()) {
            texts.extend(inner.guard_texts());
        }
        texts
    }
}

struct Site(CallSite);

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.file(), self.0.line())
    }
}

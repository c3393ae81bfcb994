//! Dtypes: arrays that become wider than was meant, and casts without a purpose.

use std::collections::HashSet;

use mlx::{Dtype, Op};

use crate::analysis::lint::scope::{Found, Scope};
use crate::graph::{Node, Operation, Value};

/// An operand is a vector when the other side has at least this many times its elements.
const BROADCAST: usize = 8;

/// An elementwise operation whose result is wider than its large operand because of a constant or a vector.
pub(super) fn silent_widening(scope: &Scope<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for (op, node) in scope.ops() {
        if !op.is_elementwise() || matches!(op, Op::Astype { .. }) || node.inputs.len() < 2 {
            continue;
        }
        let output = node.outputs[0];
        let wide = scope.dtype(output);
        if !matches!(wide, Dtype::Float32 | Dtype::Float64) || seen.contains(&output) {
            continue;
        }
        let floating = |value: &&Value| scope.dtype(**value).is_floating();
        let (wider, narrow): (Vec<Value>, Vec<Value>) = node
            .inputs
            .iter()
            .filter(floating)
            .partition(|value| scope.dtype(**value) == wide);
        let Some(data) = narrow.iter().copied().find(|value| is_data(scope, *value)) else {
            continue;
        };
        if !wider.iter().all(|value| is_small(scope, *value, data)) || wider.is_empty() {
            continue;
        }
        let Some(region) = widened(scope, output, scope.dtype(data)) else {
            continue;
        };
        let spared = |value: &Value| {
            scope.bytes(*value) - scope.bytes(*value) * size(scope, data) / size(scope, output)
        };
        let weight = 2.0 * region.iter().map(spared).sum::<f64>();
        seen.extend(region);
        let what = format!(
            "{} of {} and {} {} gives {}",
            op.name(),
            scope.type_text(data),
            if scope.is_constant(wider[0]) {
                "the constant"
            } else {
                "the vector"
            },
            scope.type_text(wider[0]),
            scope.type_text(output)
        );
        found.push(Found::new(node.site, weight, what));
    }
    found
}

#[allow(clippy::cast_precision_loss)]
fn size(scope: &Scope<'_>, value: Value) -> f64 {
    scope.dtype(value).size() as f64
}

fn is_data(scope: &Scope<'_>, value: Value) -> bool {
    let is_candidate = scope.is_half(value) || scope.dtype(value) == Dtype::Float32;
    is_candidate && !scope.is_constant(value)
}

/// Whether a value is a constant, or an argument that is broadcast.
fn is_small(scope: &Scope<'_>, value: Value, data: Value) -> bool {
    let (n, all) = (scope.elements(value), scope.elements(data));
    if scope.is_constant(value) {
        return n <= all;
    }
    scope.input_of(value).is_some() && n.saturating_mul(BROADCAST) <= all
}

/// Returns the values that are wide because of `value`; none when all of it is cast back, so that it is meant.
fn widened(scope: &Scope<'_>, value: Value, narrow: Dtype) -> Option<Vec<Value>> {
    let mut seen = HashSet::from([value]);
    let (mut open, mut region, mut escapes) = (vec![value], Vec::new(), false);
    while let Some(value) = open.pop() {
        region.push(value);
        escapes |= scope.is_output(value);
        for user in scope.users(value) {
            match &user.operation {
                Operation::Op(Op::Astype { dtype }) => {
                    escapes |= dtype.is_floating() && dtype.size() > narrow.size();
                }
                operation if is_carried(scope, user, operation) => {
                    let outputs = user.outputs.iter();
                    open.extend(outputs.filter(|output| seen.insert(**output)));
                }
                _ => escapes = true,
            }
        }
    }
    escapes.then_some(region)
}

/// Whether a node gives values as wide as its input, of which each element comes from few others.
fn is_carried(scope: &Scope<'_>, node: &Node, operation: &Operation) -> bool {
    let is_wide = |value: &Value| scope.dtype(*value).is_floating();
    node.outputs.iter().all(is_wide)
        && match operation {
            Operation::Op(op) => !Scope::is_product(op),
            Operation::Fused(_) => true,
            _ => false,
        }
}

/// A product of two floating dtypes, of which MLX converts one in each call.
pub(super) fn mixed_dtypes(scope: &Scope<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (op, node) in scope.ops() {
        // `fast.linear` reads weights of half precision as they are.
        let takes_both = matches!(op, Op::Linear);
        let [a, b, ..] = *node.inputs.as_slice() else {
            continue;
        };
        let (x, y) = (scope.dtype(a), scope.dtype(b));
        if !Scope::is_product(op) || takes_both || x == y || !x.is_floating() || !y.is_floating() {
            continue;
        }
        let wide = size(scope, node.outputs[0]);
        let converted = |value: Value| match size(scope, value) < wide {
            true => scope.bytes(value) * (1.0 + wide / size(scope, value)),
            false => 0.0,
        };
        let (first, second) = (scope.type_text(a), scope.type_text(b));
        let what = format!("{} of {first} and {second} converts one of them", op.name());
        found.push(Found::new(node.site, converted(a) + converted(b), what));
    }
    found
}

/// A cast to another floating dtype whose only purpose is the cast back.
pub(super) fn cast_round_trip(scope: &Scope<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (op, node) in scope.ops() {
        let Op::Astype { dtype } = op else { continue };
        let middle = node.inputs[0];
        let Some((Op::Astype { dtype: other }, inner)) = scope.made_by(scope.strip_views(middle))
        else {
            continue;
        };
        let source = inner.inputs[0];
        let all_floating = dtype.is_floating() && other.is_floating();
        if scope.dtype(source) != *dtype || !all_floating || scope.is_constant(source) {
            continue;
        }
        let what = format!(
            "{} is cast to {other} at {} and back to {dtype}",
            scope.type_text(source),
            inner.site
        );
        let weight = scope.weight(node) + scope.weight(inner);
        found.push(Found::new(node.site, weight, what));
    }
    found
}

//! Selection: elements that are picked by a product, and extremes that are found by sorting.

use mlx::{Op, axis_index};

use crate::analysis::lint::scope::{Found, Scope};
use crate::graph::{Node, Value};

/// The most classes of a one-hot array that is looked for.
const MAX_CLASSES: usize = 1 << 18;

/// Products and sums with a one-hot array.
pub(super) fn one_hot(scope: &Scope<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (op, node) in scope.ops() {
        let [a, b, ..] = *node.inputs.as_slice() else {
            continue;
        };
        let what = match op {
            Op::Matmul if is_one_hot(scope, a) => format!(
                "matmul with one-hot rows {} picks rows of {}",
                scope.type_text(a),
                scope.type_text(b)
            ),
            Op::Multiply => {
                let (hot, other) = match (is_one_hot(scope, a), is_one_hot(scope, b)) {
                    (true, _) => (a, b),
                    (_, true) => (b, a),
                    _ => continue,
                };
                if !is_summed(scope, node.outputs[0]) {
                    continue;
                }
                format!(
                    "the sum of {} by one-hot rows {} picks elements",
                    scope.type_text(other),
                    scope.type_text(hot)
                )
            }
            _ => continue,
        };
        found.push(Found::new(node.site, scope.weight(node), what));
    }
    found
}

/// Whether all that uses a value sums it along its last axis, perhaps negated.
fn is_summed(scope: &Scope<'_>, value: Value) -> bool {
    let last = scope.ndim(value).checked_sub(1);
    let sums = |user: &Node| match user.operation.op() {
        Some(Op::Sum { axes, .. }) => {
            let mut places = axes.iter().map(|axis| axis_index(*axis, scope.ndim(value)));
            places.any(|axis| axis == last)
        }
        Some(Op::Negative) => is_summed(scope, user.outputs[0]),
        _ => false,
    };
    let mut users = scope.users(value).peekable();
    users.peek().is_some() && users.all(sums) && !scope.is_output(value)
}

/// Whether the rows of a value have a one at an index and zeros elsewhere.
fn is_one_hot(scope: &Scope<'_>, value: Value) -> bool {
    if scope.is_constant(value) {
        return false;
    }
    match scope.made_by(value) {
        Some((Op::Astype { .. }, node)) => is_one_hot(scope, node.inputs[0]),
        Some((Op::Where, node)) => {
            let number = |place: usize| scope.number(node.inputs[place]);
            number(1) == Some(1.0) && number(2) == Some(0.0) && is_one_hot(scope, node.inputs[0])
        }
        Some((Op::Equal, node)) => {
            let (a, b) = (node.inputs[0], node.inputs[1]);
            is_index_of(scope, a, b) || is_index_of(scope, b, a)
        }
        // The axis is that of the rows.
        Some((Op::Take { axis: 0 }, node)) => {
            let made = scope.made_by(node.inputs[0]);
            made.is_some_and(|(op, _)| matches!(op, Op::Eye { n, m, k: 0, .. } if n == m))
        }
        _ => false,
    }
}

/// Whether `classes` counts from 0 along the last axis, and `index` is an integer for each row.
fn is_index_of(scope: &Scope<'_>, index: Value, classes: Value) -> bool {
    let n = scope.elements(classes);
    let is_row = scope.shape(classes).last().copied() == i32::try_from(n).ok();
    let is_one = scope.shape(index).last() == Some(&1);
    if !is_row || !is_one || n < 2 || !scope.dtype(index).is_integer() {
        return false;
    }
    let values = scope.constant_values(classes, MAX_CLASSES);
    #[allow(clippy::cast_precision_loss)]
    values.is_some_and(|values| values.iter().enumerate().all(|(at, v)| *v == at as f64))
}

/// Sorts of which only the first or last element is used.
pub(super) fn sorted_extreme(scope: &Scope<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (op, node) in scope.ops() {
        let (Op::Sort { axis } | Op::Argsort { axis }) = op else {
            continue;
        };
        let output = node.outputs[0];
        let shape = scope.shape(output);
        let Some(axis) = axis_index(*axis, shape.len()) else {
            continue;
        };
        let is_end = |user: &Node| takes_end(scope, user, axis, shape[axis]);
        let mut users = scope.users(output).peekable();
        if shape[axis] < 3 || users.peek().is_none() || scope.is_output(output) {
            continue;
        }
        if !users.all(is_end) {
            continue;
        }
        let what = format!(
            "{} of {} for one end of it",
            op.name(),
            scope.type_text(output)
        );
        found.push(Found::new(node.site, scope.weight(node), what));
    }
    found
}

/// Whether a node takes the first or the last element of `size` along an axis.
fn takes_end(scope: &Scope<'_>, user: &Node, axis: usize, size: i32) -> bool {
    match user.operation.op() {
        Some(Op::Slice { start, stop, .. }) => {
            let ends = [(0, 1), (size - 1, size)];
            start.len() > axis && ends.contains(&(start[axis], stop[axis]))
        }
        Some(Op::Take { axis: along }) => {
            let at = scope.number(user.inputs[1]);
            let n = scope.elements(user.inputs[1]);
            axis_index(*along, scope.ndim(user.inputs[0])) == Some(axis)
                && n == 1
                && at.is_some_and(|at| at == 0.0 || at == -1.0 || at == f64::from(size - 1))
        }
        _ => false,
    }
}

//! Copies: transposed and repeated elements that operations read in place.

use mlx::Op;

use crate::analysis::lint::scope::{Found, Scope};
use crate::graph::{Fusion, Node, Operation, Value};

/// What is below this many bytes is no finding.
const SMALL: f64 = 4096.0;

/// A transposed array that is copied for a product, which reads it where it is.
pub(super) fn transposed_copy(scope: &Scope<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (op, node) in scope.ops() {
        let output = node.outputs[0];
        let is_copy = matches!(op, Op::Contiguous { .. }) && scope.bytes(output) >= SMALL;
        let is_transposed = || {
            let made = scope.made_by(node.inputs[0]);
            made.is_some_and(|(op, _)| matches!(op, Op::Transpose { axes } if swaps_last(axes)))
        };
        if !is_copy || !is_transposed() || scope.is_output(output) {
            continue;
        }
        let mut users = scope.users(output).peekable();
        if users.peek().is_none() || !users.all(multiplies) {
            continue;
        }
        let what = format!("{} is copied for a product", scope.type_text(output));
        found.push(Found::new(node.site, scope.weight(node), what));
    }
    found
}

/// Whether only the last two axes change places.
fn swaps_last(axes: &[i32]) -> bool {
    let n = axes.len();
    let place = |axis: usize| usize::try_from(axes[axis]).unwrap_or(usize::MAX);
    n >= 2
        && (0..n - 2).all(|axis| place(axis) == axis)
        && (place(n - 2), place(n - 1)) == (n - 1, n - 2)
}

fn multiplies(node: &Node) -> bool {
    match &node.operation {
        Operation::Op(op) => matches!(op, Op::Matmul | Op::Addmm { .. } | Op::Linear),
        Operation::Fused(fused) => fused.fusion == Fusion::Linear,
        _ => false,
    }
}

/// Repeated elements that only operations read which broadcast, or attention, which takes fewer heads of keys.
pub(super) fn repeated_copy(scope: &Scope<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (op, node) in scope.ops() {
        let output = node.outputs[0];
        if scope.is_constant(output) || scope.bytes(output) < SMALL || scope.is_output(output) {
            continue;
        }
        let Some(repeated) = repeated(scope, op, node) else {
            continue;
        };
        let mut users = scope.users(output).peekable();
        let reads_in_place = |user: &Node| match repeated {
            Repeated::Ones => is_elementwise(scope, user, output),
            Repeated::Heads => is_attention(user, output),
        };
        if users.peek().is_none() || !users.all(reads_in_place) {
            continue;
        }
        let (from, made) = (scope.type_text(node.inputs[0]), scope.type_text(output));
        let what = format!("{} makes {made} of {from}", op.name());
        found.push(Found::new(node.site, scope.weight(node), what));
    }
    found
}

/// What is repeated.
#[derive(Clone, Copy)]
enum Repeated {
    /// Axes of size 1, as broadcasting does.
    Ones,
    /// Heads of keys or values.
    Heads,
}

fn repeated(scope: &Scope<'_>, op: &Op, node: &Node) -> Option<Repeated> {
    let shape = scope.shape(*node.inputs.first()?);
    match op {
        Op::Repeat { axis, .. } => {
            let axis = mlx::axis_index(*axis, shape.len())?;
            match shape[axis] {
                1 => Some(Repeated::Ones),
                _ => (shape.len() == 4 && axis == 1).then_some(Repeated::Heads),
            }
        }
        Op::Tile { reps } => {
            let padded = reps.len().max(shape.len());
            let size = |axis: usize| match (axis + shape.len()).checked_sub(padded) {
                Some(axis) => shape[axis],
                None => 1,
            };
            let missing = padded - reps.len();
            let tiles = reps.iter().enumerate();
            let only_ones = tiles
                .clone()
                .all(|(at, n)| *n == 1 || size(at + missing) == 1);
            only_ones.then_some(Repeated::Ones)
        }
        Op::Contiguous { .. } => {
            let (made, _) = scope.made_by(node.inputs[0])?;
            matches!(made, Op::BroadcastTo { .. }).then_some(Repeated::Ones)
        }
        _ => None,
    }
}

/// Whether an operation broadcasts this operand to what comes out anyway.
fn is_elementwise(scope: &Scope<'_>, user: &Node, value: Value) -> bool {
    let op = user.operation.op();
    let others = user.inputs.iter().filter(|input| **input != value);
    op.is_some_and(Op::is_elementwise)
        && others
            .map(|input| scope.shape(*input))
            .any(|shape| shape == scope.shape(user.outputs[0]))
}

/// Whether an attention reads a value as keys or values.
fn is_attention(user: &Node, value: Value) -> bool {
    let is_attention = match &user.operation {
        Operation::Op(op) => matches!(op, Op::ScaledDotProductAttention { .. }),
        Operation::Fused(fused) => fused.fusion == Fusion::Attention,
        _ => false,
    };
    is_attention
        && user
            .inputs
            .iter()
            .take(3)
            .skip(1)
            .any(|input| *input == value)
}

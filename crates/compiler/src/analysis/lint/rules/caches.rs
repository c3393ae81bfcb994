//! Caches that grow: each call copies them, and is traced for another length.

use mlx::Op;

use crate::analysis::lint::scope::{Found, Scope};

/// Inputs that are joined with something, read, and returned.
pub(super) fn growing_cache(scope: &Scope<'_>) -> Vec<Found> {
    if scope.around.is_some() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (op, node) in scope.ops() {
        let Op::Concatenate { axis } = op else {
            continue;
        };
        let output = node.outputs[0];
        let cache = node.inputs.iter().find_map(|value| scope.input_of(*value));
        let is_read = !scope.consumers(output).is_empty();
        let Some(input) = cache.filter(|_| is_read && scope.is_output(output)) else {
            continue;
        };
        let what = format!(
            "input {input} grows along axis {axis} to {}, which is returned",
            scope.type_text(output)
        );
        found.push(Found::new(node.site, scope.weight(node), what));
    }
    found
}

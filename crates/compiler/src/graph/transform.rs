//! The settings of function transforms, as a printed graph has them.

use mlx::Value as Attribute;
use mlx::transforms::Transform;

/// Returns the settings of a transform with their names.
pub(super) fn attributes(transform: &Transform) -> Vec<(&'static str, Attribute)> {
    match transform {
        Transform::ValueAndGrad { argnums } => vec![("argnums", counts(argnums))],
        _ => Vec::new(),
    }
}

/// Returns the transform of this name with these settings, if there is one.
pub(super) fn from_parts(
    name: &str,
    find: impl Fn(&str) -> Option<Attribute>,
) -> Option<Transform> {
    match name {
        "value_and_grad" => Some(Transform::ValueAndGrad {
            argnums: from_counts(&find("argnums")?)?,
        }),
        _ => None,
    }
}

fn counts(numbers: &[usize]) -> Attribute {
    let whole = |n: &usize| i64::try_from(*n).unwrap_or(i64::MAX);
    Attribute::Ints(numbers.iter().map(whole).collect())
}

fn from_counts(value: &Attribute) -> Option<Vec<usize>> {
    match value {
        Attribute::Ints(numbers) => numbers.iter().map(|n| usize::try_from(*n).ok()).collect(),
        _ => None,
    }
}

//! The settings of function transforms, as a printed graph has them.

use mlx::compiler_api::AttrValue as Attribute;
use mlx::transforms::Transform;

/// How an axis that is not there is written among axes.
const NO_AXIS: i64 = i64::MIN;

/// Returns the settings of a transform with their names.
pub(super) fn attributes(transform: &Transform) -> Vec<(&'static str, Attribute)> {
    match transform {
        Transform::ValueAndGrad { argnums } => vec![("argnums", counts(argnums))],
        Transform::Vjp { n_primals } => vec![("n_primals", count(*n_primals))],
        Transform::Vmap { in_axes, out_axes } => {
            let axis = |axis: &Option<i32>| axis.map_or(NO_AXIS, i64::from);
            vec![
                (
                    "in_axes",
                    Attribute::Ints(in_axes.iter().map(axis).collect()),
                ),
                (
                    "out_axes",
                    Attribute::Ints(out_axes.iter().copied().map(i64::from).collect()),
                ),
            ]
        }
        Transform::CustomFunction { vjp, jvp, vmap } if transform.name() != "custom_vjp" => vec![
            ("vjp", Attribute::Bool(*vjp)),
            ("jvp", Attribute::Bool(*jvp)),
            ("vmap", Attribute::Bool(vmap.is_some())),
        ],
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
            argnums: integers(&find("argnums")?)?,
        }),
        "vjp" => match find("n_primals")? {
            Attribute::Int(n) => Some(Transform::Vjp {
                n_primals: usize::try_from(n).ok()?,
            }),
            _ => None,
        },
        "jvp" => Some(Transform::Jvp),
        "vmap" => Some(Transform::Vmap {
            in_axes: integers::<i64>(&find("in_axes")?)?
                .into_iter()
                .map(|axis| match axis {
                    NO_AXIS => Some(None),
                    axis => i32::try_from(axis).ok().map(Some),
                })
                .collect::<Option<_>>()?,
            out_axes: integers(&find("out_axes")?)?,
        }),
        "checkpoint" => Some(Transform::Checkpoint),
        "custom_vjp" => Some(Transform::CustomFunction {
            vjp: true,
            jvp: false,
            vmap: None,
        }),
        // A rule for vmap is not in the text.
        "custom_function" if find("vmap")? != Attribute::Bool(true) => {
            Some(Transform::CustomFunction {
                vjp: find("vjp")? == Attribute::Bool(true),
                jvp: find("jvp")? == Attribute::Bool(true),
                vmap: None,
            })
        }
        _ => None,
    }
}

fn count(n: usize) -> Attribute {
    Attribute::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

fn counts(numbers: &[usize]) -> Attribute {
    let whole = |n: &usize| i64::try_from(*n).unwrap_or(i64::MAX);
    Attribute::Ints(numbers.iter().map(whole).collect())
}

fn integers<T: TryFrom<i64>>(value: &Attribute) -> Option<Vec<T>> {
    match value {
        Attribute::Ints(numbers) => numbers.iter().map(|n| T::try_from(*n).ok()).collect(),
        _ => None,
    }
}

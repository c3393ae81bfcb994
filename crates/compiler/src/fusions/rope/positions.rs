//! Angles that depend on an offset: seen as consecutive positions, a known run of numbers plus the offset, times known
//! speeds.

use mlx::Op;

use super::angles::{Angles, MOST, axis_of_one, same_last, unproven};
use crate::fusions::matcher::Look;
use crate::fusions::{Refusal, RefusalKind};
use crate::graph::{Value, element_count};

/// Sees angles as a product of positions and speeds.
pub(super) fn by_structure(
    look: &Look<'_>,
    angles: Value,
    axis: Option<usize>,
    shape: &[i32],
) -> Result<Angles, Refusal> {
    let unknown = || unproven("the angles are no product of positions and known speeds");
    let spread = spread(look, angles).ok_or_else(unknown)?;
    check_exact(look, spread.product, "angles")?;
    let Some(axis) = axis else {
        return Err(unproven("positions differ between rows of the batch"));
    };
    let run = positions_of(look, spread.positions)?;
    let axis = if run.length == 1 {
        axis_of_one(shape).unwrap_or(axis)
    } else {
        axis
    };
    let length = shape
        .len()
        .checked_sub(1 + axis)
        .and_then(|place| shape.get(place));
    if length != Some(&run.length) {
        return Err(unproven("there are not as many positions as elements"));
    }
    if Some(spread.speeds.len()) != shape.last().and_then(|half| usize::try_from(*half).ok()) {
        return Err(unproven("there are not as many speeds as pairs"));
    }
    let speeds = spread.speeds.iter().map(|speed| speed * run.scale);
    Ok(Angles {
        speeds: speeds.collect(),
        start: run.start,
        offset: run.offset,
        axis,
    })
}

/// Refuses a value that holds whole numbers, or products of them, only roughly.
fn check_exact(look: &Look<'_>, value: Value, what: &str) -> Result<(), Refusal> {
    let dtype = look.dtype(value);
    if dtype.size() >= 4 {
        return Ok(());
    }
    let reason = format!("{what} are computed in {dtype}");
    Err(Refusal::new(RefusalKind::Dtype, reason))
}

/// Positions, which vary along any axis but that of features, times speeds, which vary along that.
struct Spread {
    product: Value,
    positions: Value,
    speeds: Vec<f64>,
}

/// Sees angles as a product, an outer product or a product of matrices, of positions and known speeds.
fn spread(look: &Look<'_>, angles: Value) -> Option<Spread> {
    let (op, node) = look.node(angles)?;
    let inner = *node.inputs.first()?;
    match op {
        Op::Reshape { .. } if same_last(look, angles, inner) => spread(look, inner),
        Op::Astype { dtype } if dtype.size() >= 4 => spread(look, look.cast(angles)?),
        Op::Transpose { axes } => {
            let n = i32::try_from(axes.len()).ok()?;
            let swaps = (0..n).rev().zip(axes.iter().rev()).all(|(place, axis)| {
                *axis
                    == match n - place {
                        1 => place - 1,
                        2 => place + 1,
                        _ => place,
                    }
            });
            swaps.then(|| product_of(look, inner, 2))?
        }
        _ => product_of(look, angles, 1),
    }
}

/// The same, of a value whose features are along the axis `features`, counted from the end from 1.
fn product_of(look: &Look<'_>, product: Value, features: usize) -> Option<Spread> {
    let (op, node) = look.node(product)?;
    let inputs = node.inputs.as_slice();
    let (positions, speeds, along) = match op {
        Op::Multiply | Op::Divide => return elementwise(look, product, features),
        Op::Outer => match (features, inputs) {
            (1, [positions, speeds]) | (_, [speeds, positions]) => {
                return Some(Spread {
                    product,
                    positions: *positions,
                    speeds: look.known_values(*speeds, MOST)?,
                });
            }
            _ => return None,
        },
        Op::Einsum { subscripts } if is_outer(&subscripts.to_string()) => {
            let (positions, speeds) = (inputs.first()?, inputs.get(1)?);
            (*positions, *speeds, 1)
        }
        // A column of positions times a row of speeds, or the other way.
        Op::Matmul if features == 1 => (*inputs.first()?, *inputs.get(1)?, 1),
        Op::Matmul => (*inputs.get(1)?, *inputs.first()?, 2),
        _ => return None,
    };
    if *op == Op::Matmul {
        let from_end = |value: Value, axis: usize| look.shape(value).iter().rev().nth(axis - 1);
        if from_end(*inputs.first()?, 1) != Some(&1) || from_end(*inputs.get(1)?, 2) != Some(&1) {
            return None;
        }
    }
    varies_only_along(look, speeds, along).then_some(Spread {
        product,
        positions,
        speeds: look.known_values(speeds, MOST)?,
    })
}

fn elementwise(look: &Look<'_>, product: Value, features: usize) -> Option<Spread> {
    let parts = look.product(product);
    let (mut positions, mut speeds) = (None, None);
    for (value, divides) in parts
        .factors
        .iter()
        .map(|value| (*value, false))
        .chain(parts.divisors.iter().map(|value| (*value, true)))
    {
        let place = if look.is_known(value) {
            speeds.replace((value, divides)).is_some()
        } else {
            divides || positions.replace(value).is_some()
        };
        if place {
            return None;
        }
    }
    let (positions, (speeds, divides)) = (positions?, speeds?);
    let of_features = look.shape(positions).iter().rev().nth(features - 1);
    if of_features.is_some_and(|n| *n != 1) || !varies_only_along(look, speeds, features) {
        return None;
    }
    let values = look.known_values(speeds, MOST)?;
    let turned = |v: f64| parts.number * if divides { 1.0 / v } else { v };
    Some(Spread {
        product,
        positions,
        speeds: values.into_iter().map(turned).collect(),
    })
}

/// Whether all axes but one, counted from the end from 1, have one element.
fn varies_only_along(look: &Look<'_>, value: Value, axis: usize) -> bool {
    let shape = look.shape(value).iter().rev();
    shape
        .enumerate()
        .all(|(place, n)| place + 1 == axis || *n == 1)
}

/// Whether subscripts are those of an outer product: `i,j->ij`.
fn is_outer(subscripts: &str) -> bool {
    let plain: Vec<char> = subscripts
        .chars()
        .filter(|c| !matches!(c, ' ' | '"'))
        .collect();
    match plain.as_slice() {
        [a, ',', b, '-', '>', c, d] => {
            a.is_alphabetic() && b.is_alphabetic() && a != b && a == c && b == d
        }
        _ => false,
    }
}

/// A run of positions `(t + start + offset) * scale`.
struct Run {
    start: i32,
    offset: Option<Value>,
    scale: f64,
    length: i32,
}

/// Proves that positions are consecutive.
fn positions_of(look: &Look<'_>, value: Value) -> Result<Run, Refusal> {
    let value = whole(look, value);
    check_exact(look, value, "positions")?;
    let product = look.product(value);
    if product.number != 1.0 && product.factors.len() == 1 && product.divisors.is_empty() {
        let mut run = positions_of(look, product.factors[0])?;
        run.scale *= product.number;
        return Ok(run);
    }
    for [known, offset] in look.orders(value, &Op::Add) {
        let Some(steps) = look
            .known_values(known, MOST)
            .filter(|_| !look.is_known(offset))
        else {
            continue;
        };
        let offset = offset_of(look, offset)?;
        let first = steps.first().copied().unwrap_or(f64::NAN);
        #[allow(clippy::cast_possible_truncation)]
        let start = first as i32;
        let even = (0_i32..)
            .zip(&steps)
            .all(|(t, step)| *step == f64::from(start) + f64::from(t));
        if !even || steps.is_empty() {
            return Err(unproven("the positions are not consecutive"));
        }
        return Ok(Run {
            start,
            offset: Some(offset),
            scale: 1.0,
            length: i32::try_from(steps.len()).unwrap_or(i32::MAX),
        });
    }
    Ok(Run {
        start: 0,
        offset: Some(offset_of(look, value)?),
        scale: 1.0,
        length: 1,
    })
}

/// Behind changes of shape, broadcasts, and casts that keep whole numbers as they are.
fn whole(look: &Look<'_>, value: Value) -> Value {
    match look.node(value) {
        Some((Op::Reshape { .. } | Op::BroadcastTo { .. }, node)) => whole(look, node.inputs[0]),
        Some((Op::Astype { dtype }, node)) => {
            let inner = node.inputs[0];
            let from = look.dtype(inner);
            let keeps = dtype.size() >= 4
                && (from.is_integer()
                    || from == *dtype
                    || from.is_floating() && dtype.is_floating());
            if keeps { whole(look, inner) } else { value }
        }
        _ => value,
    }
}

/// One whole number that is known when the function runs.
fn offset_of(look: &Look<'_>, value: Value) -> Result<Value, Refusal> {
    let value = whole(look, value);
    if element_count(look.shape(value)) != 1 {
        return Err(unproven(
            "positions are an input, which may not be consecutive",
        ));
    }
    if !look.dtype(value).is_integer() {
        return Err(unproven("the offset is no whole number"));
    }
    Ok(value)
}

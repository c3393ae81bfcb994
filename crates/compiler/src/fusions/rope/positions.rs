//! Angles that depend on an offset: consecutive positions, a constant range plus the offset, times constant inverse
//! frequencies.

use mlx::Op;

use super::angles::{MAX_TABLE_ELEMENTS, RopeAngles, axis_of_one, same_last, unproven};
use crate::fusions::matcher::Matcher;
use crate::fusions::{Refusal, RefusalKind};
use crate::graph::{Value, element_count};

/// Matches angles as a product of positions and inverse frequencies.
pub(super) fn match_product(
    matcher: &Matcher<'_>,
    angles: Value,
    axis: Option<usize>,
    shape: &[i32],
) -> Result<RopeAngles, Refusal> {
    let unknown = || unproven("the angles are no product of positions and known speeds");
    let angle_product = angle_product(matcher, angles).ok_or_else(unknown)?;
    check_exact(matcher, angle_product.product, "angles")?;
    let Some(axis) = axis else {
        return Err(unproven("positions differ between rows of the batch"));
    };
    let range = positions_of(matcher, angle_product.positions)?;
    let axis = if range.length == 1 {
        axis_of_one(shape).unwrap_or(axis)
    } else {
        axis
    };
    let length = shape
        .len()
        .checked_sub(1 + axis)
        .and_then(|place| shape.get(place));
    if length != Some(&range.length) {
        return Err(unproven("there are not as many positions as elements"));
    }
    if Some(angle_product.inv_freq.len())
        != shape.last().and_then(|half| usize::try_from(*half).ok())
    {
        return Err(unproven("there are not as many speeds as pairs"));
    }
    let inv_freq = angle_product
        .inv_freq
        .iter()
        .map(|frequency| frequency * range.scale);
    Ok(RopeAngles {
        inv_freq: inv_freq.collect(),
        start: range.start,
        offset: range.offset,
        axis,
    })
}

/// Refuses a dtype that does not represent whole numbers, or products of them, exactly.
fn check_exact(matcher: &Matcher<'_>, value: Value, what: &str) -> Result<(), Refusal> {
    let dtype = matcher.dtype(value);
    if dtype.size() >= 4 {
        return Ok(());
    }
    let reason = format!("{what} are computed in {dtype}");
    Err(Refusal::new(RefusalKind::Dtype, reason))
}

/// Positions, which vary along any axis but that of features, times inverse frequencies, which vary along that.
struct AngleProduct {
    product: Value,
    positions: Value,
    inv_freq: Vec<f64>,
}

/// Matches angles as a product, an outer product or a matrix product, of positions and constant inverse frequencies.
fn angle_product(matcher: &Matcher<'_>, angles: Value) -> Option<AngleProduct> {
    let (op, node) = matcher.node(angles)?;
    let inner = *node.inputs.first()?;
    match op {
        Op::Reshape { .. } if same_last(matcher, angles, inner) => angle_product(matcher, inner),
        Op::Astype { dtype } if dtype.size() >= 4 => angle_product(matcher, matcher.cast(angles)?),
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
            swaps.then(|| product_of(matcher, inner, 2))?
        }
        _ => product_of(matcher, angles, 1),
    }
}

/// The same, of a value whose features are along the axis `features`, counted from the end from 1.
fn product_of(matcher: &Matcher<'_>, product: Value, features: usize) -> Option<AngleProduct> {
    let (op, node) = matcher.node(product)?;
    let inputs = node.inputs.as_slice();
    let (positions, inv_freq, along) = match op {
        Op::Multiply | Op::Divide => return elementwise(matcher, product, features),
        Op::Outer => match (features, inputs) {
            (1, [positions, inv_freq]) | (_, [inv_freq, positions]) => {
                return Some(AngleProduct {
                    product,
                    positions: *positions,
                    inv_freq: matcher.constant_values(*inv_freq, MAX_TABLE_ELEMENTS)?,
                });
            }
            _ => return None,
        },
        Op::Einsum { subscripts } if is_outer(&subscripts.to_string()) => {
            let (positions, inv_freq) = (inputs.first()?, inputs.get(1)?);
            (*positions, *inv_freq, 1)
        }
        // A column of positions times a row of inverse frequencies, or the other way round.
        Op::Matmul if features == 1 => (*inputs.first()?, *inputs.get(1)?, 1),
        Op::Matmul => (*inputs.get(1)?, *inputs.first()?, 2),
        _ => return None,
    };
    if *op == Op::Matmul {
        let from_end = |value: Value, axis: usize| matcher.shape(value).iter().rev().nth(axis - 1);
        if from_end(*inputs.first()?, 1) != Some(&1) || from_end(*inputs.get(1)?, 2) != Some(&1) {
            return None;
        }
    }
    varies_only_along(matcher, inv_freq, along).then_some(AngleProduct {
        product,
        positions,
        inv_freq: matcher.constant_values(inv_freq, MAX_TABLE_ELEMENTS)?,
    })
}

fn elementwise(matcher: &Matcher<'_>, product: Value, features: usize) -> Option<AngleProduct> {
    let parts = matcher.product(product);
    let (mut positions, mut inv_freq) = (None, None);
    for (value, divides) in parts
        .factors
        .iter()
        .map(|value| (*value, false))
        .chain(parts.divisors.iter().map(|value| (*value, true)))
    {
        let place = if matcher.is_constant(value) {
            inv_freq.replace((value, divides)).is_some()
        } else {
            divides || positions.replace(value).is_some()
        };
        if place {
            return None;
        }
    }
    let (positions, (inv_freq, divides)) = (positions?, inv_freq?);
    let of_features = matcher.shape(positions).iter().rev().nth(features - 1);
    if of_features.is_some_and(|n| *n != 1) || !varies_only_along(matcher, inv_freq, features) {
        return None;
    }
    let values = matcher.constant_values(inv_freq, MAX_TABLE_ELEMENTS)?;
    let scaled = |v: f64| parts.number * if divides { 1.0 / v } else { v };
    Some(AngleProduct {
        product,
        positions,
        inv_freq: values.into_iter().map(scaled).collect(),
    })
}

/// Whether all axes but one, counted from the end from 1, have one element.
fn varies_only_along(matcher: &Matcher<'_>, value: Value, axis: usize) -> bool {
    let shape = matcher.shape(value).iter().rev();
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

/// A range of positions `(t + start + offset) * scale`.
struct PositionRange {
    start: i32,
    offset: Option<Value>,
    scale: f64,
    length: i32,
}

/// Proves that positions are consecutive.
fn positions_of(matcher: &Matcher<'_>, value: Value) -> Result<PositionRange, Refusal> {
    let value = whole(matcher, value);
    check_exact(matcher, value, "positions")?;
    let product = matcher.product(value);
    if product.number != 1.0 && product.factors.len() == 1 && product.divisors.is_empty() {
        let mut range = positions_of(matcher, product.factors[0])?;
        range.scale *= product.number;
        return Ok(range);
    }
    for [known, offset] in matcher.both_orders(value, &Op::Add) {
        let Some(steps) = matcher
            .constant_values(known, MAX_TABLE_ELEMENTS)
            .filter(|_| !matcher.is_constant(offset))
        else {
            continue;
        };
        let offset = offset_of(matcher, offset)?;
        let first = steps.first().copied().unwrap_or(f64::NAN);
        #[allow(clippy::cast_possible_truncation)]
        let start = first as i32;
        let even = (0_i32..)
            .zip(&steps)
            .all(|(t, step)| *step == f64::from(start) + f64::from(t));
        if !even || steps.is_empty() {
            return Err(unproven("the positions are not consecutive"));
        }
        return Ok(PositionRange {
            start,
            offset: Some(offset),
            scale: 1.0,
            length: i32::try_from(steps.len()).unwrap_or(i32::MAX),
        });
    }
    Ok(PositionRange {
        start: 0,
        offset: Some(offset_of(matcher, value)?),
        scale: 1.0,
        length: 1,
    })
}

/// Strips changes of shape, broadcasts, and casts that preserve whole numbers.
fn whole(matcher: &Matcher<'_>, value: Value) -> Value {
    match matcher.node(value) {
        Some((Op::Reshape { .. } | Op::BroadcastTo { .. }, node)) => whole(matcher, node.inputs[0]),
        Some((Op::Astype { dtype }, node)) => {
            let inner = node.inputs[0];
            let from = matcher.dtype(inner);
            let keeps = dtype.size() >= 4
                && (from.is_integer()
                    || from == *dtype
                    || from.is_floating() && dtype.is_floating());
            if keeps { whole(matcher, inner) } else { value }
        }
        _ => value,
    }
}

/// One whole number that is known when the function runs.
fn offset_of(matcher: &Matcher<'_>, value: Value) -> Result<Value, Refusal> {
    let value = whole(matcher, value);
    if element_count(matcher.shape(value)) != 1 {
        return Err(unproven(
            "positions are an input, which may not be consecutive",
        ));
    }
    if !matcher.dtype(value).is_integer() {
        return Err(unproven("the offset is no whole number"));
    }
    Ok(value)
}

//! The angles of rotary embedding: how fast each pair turns, and from which position on.
//!
//! Tables that depend on no input are proven by their values, however they were made: sines and cosines of
//! `(t + start) * speed`. Of others, positions must be seen to be consecutive: a known run of numbers plus an offset.

use mlx::Op;

use super::look::{Look, close};
use super::rope::concatenated;
use super::{Refusal, RefusalKind};
use crate::graph::Value;

/// Angles `(t + start + offset) * speed`.
#[derive(Clone, Debug)]
pub(super) struct Angles {
    /// Radians that each pair turns for a step.
    pub(super) speeds: Vec<f64>,
    /// The position of the first element.
    pub(super) start: i32,
    /// A whole number that is added to it, known only when the function runs.
    pub(super) offset: Option<Value>,
    /// The axis of positions, counted from the end, of the arrays that are turned.
    pub(super) axis: usize,
}

/// The most elements of a table that are looked at one by one.
const MOST: usize = 1 << 23;

/// Cosines and sines as the formula has them.
pub(super) struct Tables {
    pub(super) cos: Value,
    pub(super) sin: Value,
    /// Whether each angle is there twice along the last axis.
    pub(super) doubled: bool,
}

/// Reads the angles of tables, for parts of shape `[.., half]`.
///
/// `None` when they are no such tables.
pub(super) fn read(
    look: &Look<'_>,
    tables: &Tables,
    shape: &[i32],
) -> Option<Result<Angles, Refusal>> {
    let (cos, sin) = (strip(look, tables.cos), strip(look, tables.sin));
    let width = *shape.last()? * if tables.doubled { 2 } else { 1 };
    let mut wide = shape.to_vec();
    *wide.last_mut()? = width;
    let axis = position_axis(look.shape(cos), &wide);
    if look.is_known(cos) && look.is_known(sin) {
        return by_values(look, cos, sin, shape, width, axis?);
    }
    let angles = angle_of(look, cos, &Op::Cos, tables.doubled)?;
    if angle_of(look, sin, &Op::Sin, tables.doubled)? != angles {
        return None;
    }
    Some(by_structure(look, angles, axis, shape))
}

/// Behind casts and broadcasts.
fn strip(look: &Look<'_>, value: Value) -> Value {
    match look.node(value) {
        Some((Op::Astype { .. } | Op::BroadcastTo { .. }, node)) => strip(look, node.inputs[0]),
        _ => value,
    }
}

/// The argument of a sine or cosine, behind changes of shape; one of two copies when it is doubled.
fn angle_of(look: &Look<'_>, value: Value, op: &Op, doubled: bool) -> Option<Value> {
    let value = strip(look, value);
    if doubled && let Some(one) = one_of_two(look, value) {
        return angle_of(look, one, op, false);
    }
    match look.node(value)? {
        (found, node) if found == op => {
            if doubled {
                one_of_two(look, look.keeps_axis(node.inputs[0]))
            } else {
                Some(node.inputs[0])
            }
        }
        (Op::Reshape { .. }, node) => angle_of(look, node.inputs[0], op, doubled),
        _ => None,
    }
}

/// What a value holds twice along the last axis.
fn one_of_two(look: &Look<'_>, value: Value) -> Option<Value> {
    match *concatenated(look, value)?.as_slice() {
        [a, b] if a == b => Some(a),
        _ => None,
    }
}

/// The axis of positions, counted from the end, of a table that is broadcast to `shape`.
fn position_axis(table: &[i32], shape: &[i32]) -> Option<usize> {
    if table.last() != shape.last() || table.len() > shape.len() {
        return None;
    }
    let wide: Vec<usize> = table
        .iter()
        .rev()
        .enumerate()
        .skip(1)
        .filter(|(_, n)| **n != 1)
        .map(|(axis, _)| axis)
        .collect();
    match wide.as_slice() {
        [] => Some(1),
        [axis] => Some(*axis),
        _ => None,
    }
}

/// Proves a table by its values; rows of it are `width` long.
fn by_values(
    look: &Look<'_>,
    cos: Value,
    sin: Value,
    shape: &[i32],
    width: i32,
    axis: usize,
) -> Option<Result<Angles, Refusal>> {
    if look.shape(cos) != look.shape(sin) {
        return None;
    }
    let width = usize::try_from(width).ok()?;
    let half = usize::try_from(*shape.last()?)
        .ok()
        .filter(|half| *half > 0)?;
    let (cos, sin) = (look.known_values(cos, MOST)?, look.known_values(sin, MOST)?);
    let length = cos.len() / width;
    let wanted = usize::try_from(*shape.get(shape.len().checked_sub(1 + axis)?)?).ok()?;
    if length == 0 || (length != wanted && length != 1) {
        return None;
    }
    if length == 1 && wanted != 1 {
        return Some(Err(unproven("one position is used for all elements")));
    }
    let angle = |t: usize, i: usize| sin[t * width + i].atan2(cos[t * width + i]);
    let on_circle = |t: usize, i: usize| {
        let (c, s) = (cos[t * width + i], sin[t * width + i]);
        (c * c + s * s - 1.0).abs() < 1e-3
    };
    if !(0..length).all(|t| (0..half).all(|i| on_circle(t, i))) {
        return None;
    }
    let copies_agree = |table: &[f64]| {
        (0..length)
            .all(|t| (half..width).all(|i| table[t * width + i] == table[t * width + i - half]))
    };
    if !(copies_agree(&cos) && copies_agree(&sin)) {
        return None;
    }
    let speeds: Vec<f64> = (0..half).map(|i| speed(length, |t| angle(t, i))).collect();
    let start = if length == 1 {
        1
    } else {
        start(&speeds, |i| angle(0, i))?
    };
    let speeds: Vec<f64> = if length == 1 {
        (0..half).map(|i| angle(0, i)).collect()
    } else {
        speeds
    };
    for t in 0..length {
        for (i, speed) in speeds.iter().enumerate() {
            #[allow(clippy::cast_precision_loss)]
            let wanted = (t as f64 + f64::from(start)) * speed;
            // float32 rounds the angle itself before the sine is taken.
            let tolerance = 4e-6 + 4e-7 * wanted.abs();
            let (c, s) = (cos[t * width + i], sin[t * width + i]);
            if (c - wanted.cos()).abs() > tolerance || (s - wanted.sin()).abs() > tolerance {
                return Some(Err(unproven(
                    "the angles do not grow evenly with the position",
                )));
            }
        }
    }
    Some(Ok(Angles {
        speeds,
        start,
        offset: None,
        axis,
    }))
}

/// The angle between neighbouring positions, ever more precisely from positions further apart.
#[allow(clippy::cast_precision_loss)]
fn speed(length: usize, angle: impl Fn(usize) -> f64) -> f64 {
    use std::f64::consts::TAU;
    let mut speed = 0.0;
    let mut distance = 1;
    while distance < length {
        let measured = angle(distance) - angle(0);
        let guess = speed * distance as f64;
        let turns = ((guess - measured) / TAU).round();
        speed = (measured + turns * TAU) / distance as f64;
        distance *= 2;
    }
    speed
}

/// The first position, from the pair whose angle is the clearest.
fn start(speeds: &[f64], first: impl Fn(usize) -> f64) -> Option<i32> {
    use std::f64::consts::TAU;
    // The slowest pair that has turned measurably has turned less than once, if any has; others then agree.
    let candidates = (0..speeds.len()).rev().filter(|i| speeds[*i].abs() > 1e-7);
    let mut start: Option<f64> = None;
    for i in candidates {
        let angle = first(i);
        start = Some(match start {
            None => angle / speeds[i],
            Some(known) => {
                let turns = ((known * speeds[i] - angle) / TAU).round();
                (angle + turns * TAU) / speeds[i]
            }
        });
    }
    let start = start?.round();
    #[allow(clippy::cast_possible_truncation)]
    let whole = start as i32;
    (f64::from(whole) == start).then_some(whole)
}

/// Sees angles as a product of positions and speeds.
fn by_structure(
    look: &Look<'_>,
    angles: Value,
    axis: Option<usize>,
    shape: &[i32],
) -> Result<Angles, Refusal> {
    if !matches!(
        look.dtype(angles),
        mlx::Dtype::Float32 | mlx::Dtype::Float64
    ) {
        let reason = format!("angles are computed in {}", look.dtype(angles));
        return Err(Refusal::new(RefusalKind::Dtype, reason));
    }
    let (positions, speeds) = factors(look, angles)
        .ok_or_else(|| unproven("the angles are no product of positions and known speeds"))?;
    let Some(axis) = axis else {
        return Err(unproven("positions differ between rows of the batch"));
    };
    let run = positions_of(look, positions)?;
    let length = shape[shape.len() - 1 - axis];
    if run.length != 1 && run.length != length || run.length == 1 && length != 1 {
        return Err(unproven("there are not as many positions as elements"));
    }
    if Some(speeds.len()) != usize::try_from(*shape.last().unwrap_or(&0)).ok() {
        return Err(unproven("there are not as many speeds as pairs"));
    }
    Ok(Angles {
        speeds: speeds.into_iter().map(|speed| speed * run.scale).collect(),
        start: run.start,
        offset: run.offset,
        axis,
    })
}

/// Positions and speeds, in either order, of a product, an outer product or a product of matrices.
fn factors(look: &Look<'_>, angles: Value) -> Option<(Value, Vec<f64>)> {
    let inner = look.unshaped(angles);
    let (op, node) = look.node(inner)?;
    let pair = match op {
        Op::Multiply | Op::Divide => {
            let product = look.product(inner);
            let known = |values: &[Value]| values.iter().copied().find(|v| look.is_known(*v));
            let unknown: Vec<Value> = product
                .factors
                .iter()
                .copied()
                .filter(|v| !look.is_known(*v))
                .collect();
            let [positions] = *unknown.as_slice() else {
                return None;
            };
            let (speeds, divides) = match (known(&product.factors), known(&product.divisors)) {
                (Some(speeds), None) => (speeds, false),
                (None, Some(freqs)) => (freqs, true),
                _ => return None,
            };
            if product.factors.len() + product.divisors.len() != 2 {
                return None;
            }
            let values = look.known_values(speeds, MOST)?;
            let turned = |v: f64| product.number * if divides { 1.0 / v } else { v };
            return Some((positions, values.into_iter().map(turned).collect()));
        }
        Op::Outer => [node.inputs[0], node.inputs[1]],
        // A column of positions times a row of speeds.
        Op::Matmul if look.shape(node.inputs[1]).iter().rev().nth(1) == Some(&1) => {
            [node.inputs[0], node.inputs[1]]
        }
        _ => return None,
    };
    let speeds = look.known_values(pair[1], MOST)?;
    Some((pair[0], speeds))
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
    let value = look.unshaped(strip(look, value));
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
        let mut run = match offset_of(look, offset) {
            Ok(offset) => Run {
                start: 0,
                offset: Some(offset),
                scale: 1.0,
                length: 1,
            },
            Err(refusal) => return Err(refusal),
        };
        #[allow(clippy::cast_possible_truncation)]
        let start = steps[0] as i32;
        let even = (0_i32..)
            .zip(&steps)
            .all(|(t, step)| *step == f64::from(start) + f64::from(t));
        if !even {
            return Err(unproven("the positions are not consecutive"));
        }
        run.start = start;
        run.length = i32::try_from(steps.len()).unwrap_or(i32::MAX);
        return Ok(run);
    }
    Ok(Run {
        start: 0,
        offset: Some(offset_of(look, value)?),
        scale: 1.0,
        length: 1,
    })
}

/// One whole number that is known when the function runs.
fn offset_of(look: &Look<'_>, value: Value) -> Result<Value, Refusal> {
    let value = look.unshaped(strip(look, value));
    if super::look::size(look.shape(value)) != 1 {
        return Err(unproven(
            "positions are an input, which may not be consecutive",
        ));
    }
    if !look.dtype(value).is_integer() {
        return Err(unproven("the offset is no whole number"));
    }
    Ok(value)
}

fn unproven(reason: &str) -> Refusal {
    Refusal::new(RefusalKind::Formula, reason)
}

/// The base with which all speeds are `base^(-2 i / dims)`, if there is one.
pub(super) fn base_of(speeds: &[f64]) -> Option<f64> {
    #[allow(clippy::cast_precision_loss)]
    let half = speeds.len() as f64;
    let [first, second, ..] = speeds else {
        return None;
    };
    if !close(*first, 1.0) || *second <= 0.0 {
        return None;
    }
    // The slowest pair tells the base best; a base is a round number more often than not.
    let last = *speeds.last()?;
    let base = last.powf(-half / (half - 1.0));
    let round = base.round();
    let base = if (base - round).abs() < 1e-4 * base {
        round
    } else {
        base
    };
    let fits = (0_i32..)
        .zip(speeds)
        .all(|(i, speed)| close(*speed, base.powf(-f64::from(i) / half)));
    fits.then_some(base)
}

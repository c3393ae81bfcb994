//! The angles of rotary embedding: how fast each pair turns, and from which position on.
//!
//! Tables that depend on no input are proven by their values, however they were made: sines and cosines of
//! `(t + start) * speed`. Of others, positions must be seen to be consecutive: a known run of numbers plus an offset.

use mlx::{Dtype, Op};

use super::look::{Look, close};
use super::rope_parts::{concatenated, stacked_pair};
use super::rope_positions::by_structure;
use super::rope_tables::Known;
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
pub(super) const MOST: usize = 1 << 23;

/// How tables hold the angles of pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Copies {
    /// Each angle once.
    One,
    /// All angles, then all of them again.
    Halves,
    /// Each angle twice in a row.
    Neighbours,
}

/// Cosines and sines as the formula has them.
pub(super) struct Tables {
    pub(super) cos: Value,
    pub(super) sin: Value,
    pub(super) copies: Copies,
    /// The dtype of what is turned; tables may be rounded to that.
    pub(super) dtype: Dtype,
}

/// Reads the angles of tables, for parts of shape `[.., half]`.
///
/// `None` when they are no such tables.
pub(super) fn read(
    look: &Look<'_>,
    tables: &Tables,
    shape: &[i32],
) -> Option<Result<Angles, Refusal>> {
    let strip = |table: Value| strip(look, table, tables.dtype);
    let (cos, sin) = match (strip(tables.cos), strip(tables.sin)) {
        (Ok(cos), Ok(sin)) => (cos, sin),
        (Err(refusal), _) | (_, Err(refusal)) => return Some(Err(refusal)),
    };
    let copies = tables.copies;
    let width = *shape.last()? * if copies == Copies::One { 1 } else { 2 };
    let mut wide = shape.to_vec();
    *wide.last_mut()? = width;
    let axis = position_axis(look.shape(cos), &wide);
    if look.is_known(cos) && look.is_known(sin) {
        let values = Known::read(look, [cos, sin], shape, copies, axis?)?;
        return values.angles();
    }
    let angles = angle_of(look, cos, &Op::Cos, tables)?;
    if angle_of(look, sin, &Op::Sin, tables)? != angles {
        return None;
    }
    Some(by_structure(look, angles, axis, shape))
}

/// Behind broadcasts, and casts that round no more than the kernel does.
fn strip(look: &Look<'_>, value: Value, to: Dtype) -> Result<Value, Refusal> {
    match look.node(value) {
        Some((Op::BroadcastTo { .. }, node)) => strip(look, node.inputs[0], to),
        Some((Op::Astype { dtype }, _)) => match look.cast(value) {
            Some(inner) if *dtype == to || dtype.size() >= Dtype::Float32.size() => {
                strip(look, inner, to)
            }
            Some(_) => {
                let reason =
                    format!("sines and cosines are rounded to {dtype}, and {to} is turned");
                Err(Refusal::new(RefusalKind::Dtype, reason))
            }
            None => Ok(value),
        },
        _ => Ok(value),
    }
}

/// The argument of a sine or cosine, behind changes of shape; one of its copies when there are two.
fn angle_of(look: &Look<'_>, value: Value, op: &Op, tables: &Tables) -> Option<Value> {
    let single = |value: Value| match tables.copies {
        Copies::One => None,
        copies => one_of_two(look, value, copies),
    };
    let value = strip(look, value, tables.dtype).ok()?;
    if let Some(one) = single(value) {
        let one_table = Tables {
            copies: Copies::One,
            ..*tables
        };
        return angle_of(look, one, op, &one_table);
    }
    let (found, node) = look.node(value)?;
    let inner = node.inputs.first().copied()?;
    if found == op {
        return match tables.copies {
            Copies::One => Some(inner),
            _ => single(look.keeps_axis(inner)),
        };
    }
    (matches!(found, Op::Reshape { .. }) && same_last(look, value, inner))
        .then(|| angle_of(look, inner, op, tables))?
}

pub(super) fn same_last(look: &Look<'_>, a: Value, b: Value) -> bool {
    look.shape(a).last() == look.shape(b).last()
}

/// What a value holds twice along the last axis.
fn one_of_two(look: &Look<'_>, value: Value, copies: Copies) -> Option<Value> {
    if copies == Copies::Halves {
        return match *concatenated(look, value)?.as_slice() {
            [a, b] if a == b => Some(a),
            _ => None,
        };
    }
    let last = i32::try_from(look.ndim(value)).ok()? - 1;
    if let (Op::Repeat { repeats: 2, axis }, node) = look.node(value)?
        && (*axis == last || *axis == -1)
    {
        return Some(node.inputs[0]);
    }
    match stacked_pair(look, value)? {
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

/// The axis of positions for elements of this shape, when tables have one position: any axis of one element.
pub(super) fn axis_of_one(shape: &[i32]) -> Option<usize> {
    (1..shape.len()).find(|axis| shape[shape.len() - 1 - axis] == 1)
}

pub(super) fn unproven(reason: &str) -> Refusal {
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
    (fits && base > 0.0 && base < f64::from(f32::MAX)).then_some(base)
}

//! The angles of rotary embedding: the inverse frequency of each pair, and the first position.
//!
//! Tables that depend on no input are proven by their values, however they were computed: sines and cosines of
//! `(t + start) * inv_freq`. Of others, positions must be proven consecutive: a constant range plus an offset.

use mlx::{Dtype, Op};

use super::positions::match_product;
use super::tables::TableValues;
use crate::fusions::matcher::last_axis::{concatenated, stacked_pair};
use crate::fusions::matcher::{Matcher, approx_eq};
use crate::fusions::{Refusal, RefusalKind};
use crate::graph::Value;

/// Angles `(t + start + offset) * inv_freq`.
#[derive(Clone, Debug)]
pub(super) struct RopeAngles {
    /// The inverse frequency of each pair: radians per position.
    pub(super) inv_freq: Vec<f64>,
    /// The position of the first element.
    pub(super) start: i32,
    /// A whole number that is added to it, known only when the function runs.
    pub(super) offset: Option<Value>,
    /// The axis of positions, counted from the end, of the arrays that are rotated.
    pub(super) axis: usize,
}

/// The maximum number of elements of a table whose values are read.
pub(super) const MAX_TABLE_ELEMENTS: usize = 1 << 23;

/// How tables store the angles of pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum PairLayout {
    /// Each angle once.
    One,
    /// All angles, then all of them again.
    Halves,
    /// Each angle twice in a row.
    Neighbours,
}

/// Cosines and sines as the formula has them.
pub(super) struct RotaryTables {
    pub(super) cos: Value,
    pub(super) sin: Value,
    pub(super) pair_layout: PairLayout,
    /// The dtype of what is rotated; tables may be rounded to that.
    pub(super) dtype: Dtype,
}

/// Reads the angles of tables, for parts of shape `[.., half]`.
pub(super) fn read(
    matcher: &Matcher<'_>,
    tables: &RotaryTables,
    shape: &[i32],
) -> Result<RopeAngles, Refusal> {
    let strip_broadcasts_and_casts =
        |table: Value| strip_broadcasts_and_casts(matcher, table, tables.dtype);
    let (cos, sin) = (
        strip_broadcasts_and_casts(tables.cos)?,
        strip_broadcasts_and_casts(tables.sin)?,
    );
    let pair_layout = tables.pair_layout;
    let half = shape.last().copied().unwrap_or(0);
    let mut table_shape = shape.to_vec();
    if let Some(width) = table_shape.last_mut() {
        *width = half * if pair_layout == PairLayout::One { 1 } else { 2 };
    }
    let axis = position_axis(matcher.shape(cos), &table_shape);
    if matcher.is_constant(cos) && matcher.is_constant(sin) {
        let axis =
            axis.ok_or_else(|| unproven("the tables vary along another axis than positions"))?;
        // As they were before they were rounded to the dtype of what is rotated.
        let values = [
            exact(matcher, cos, tables.dtype)?,
            exact(matcher, sin, tables.dtype)?,
        ];
        let found = TableValues::read(matcher, values, shape, pair_layout, axis)
            .and_then(|known| known.angles());
        return found.unwrap_or_else(|| Err(reject_tables(matcher, cos, sin)));
    }
    let angles = angle_of(matcher, cos, &Op::Cos, tables);
    match angles.filter(|angles| angle_of(matcher, sin, &Op::Sin, tables) == Some(*angles)) {
        Some(angles) => match_product(matcher, angles, axis, shape),
        None => Err(reject_tables(matcher, cos, sin)),
    }
}

/// Strips changes of shape too, none of which moves an element.
fn exact(matcher: &Matcher<'_>, value: Value, to: Dtype) -> Result<Value, Refusal> {
    let inner = strip_casts(matcher, value, to)?;
    let kept = matcher.strip_keepdims(inner);
    if kept != inner && same_last(matcher, kept, inner) {
        return exact(matcher, kept, to);
    }
    Ok(inner)
}

/// Why tables in the place of sines and cosines are rejected.
fn reject_tables(matcher: &Matcher<'_>, cos: Value, sin: Value) -> Refusal {
    let [(cos_from, cos_scale), (sin_from, sin_scale)] =
        [table_origin(matcher, cos), table_origin(matcher, sin)];
    let reason = match (matcher.node(cos_from), matcher.node(sin_from)) {
        _ if cos_scale != 1.0 && cos_scale == sin_scale => format!(
            "sines and cosines are multiplied with {cos_scale}, which the kernel does not do"
        ),
        (None, None) if !matcher.is_constant(cos_from) => {
            "the tables are inputs, which may hold anything but sines and cosines of consecutive positions"
                .to_owned()
        }
        (Some((Op::Take { .. } | Op::Gather { .. } | Op::TakeAlongAxis { .. }, node)), Some(_)) => {
            let at = matcher.graph.producer(cos_from).map(|node| node.site);
            let known = if matcher.is_constant(node.inputs[0]) {
                "tables"
            } else {
                "tables that are inputs"
            };
            format!(
                "{known} are indexed at {} by positions known only when the function runs, which may not be \
                 consecutive",
                at.unwrap_or_default()
            )
        }
        (Some((Op::SliceDynamic { .. }, node)), Some(_)) => {
            let at = matcher.graph.producer(cos_from).map(|node| node.site);
            let known = if matcher.is_constant(node.inputs[0]) {
                "tables"
            } else {
                "tables that are inputs"
            };
            format!(
                "{known} are cut at {} where an input says, which may lie beyond their end, where the kernel goes on",
                at.unwrap_or_default()
            )
        }
        _ => "the tables are not sines and cosines of one product of positions and speeds".to_owned(),
    };
    unproven(&reason)
}

/// The origin of a table, without changes of shape, casts and concatenated copies, and the number that it is
/// multiplied with.
fn table_origin(matcher: &Matcher<'_>, value: Value) -> (Value, f64) {
    let Some((op, node)) = matcher.node(value) else {
        return (value, 1.0);
    };
    let inner = node.inputs.first().copied();
    match (op, inner) {
        (
            Op::Reshape { .. }
            | Op::BroadcastTo { .. }
            | Op::Astype { .. }
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Repeat { .. },
            Some(inner),
        ) => table_origin(matcher, inner),
        (Op::Concatenate { .. } | Op::Stack { .. }, Some(inner))
            if node.inputs.iter().all(|other| *other == inner) =>
        {
            table_origin(matcher, inner)
        }
        (Op::Multiply | Op::Divide, _) => {
            let product = matcher.product(value);
            match (product.factors.as_slice(), product.divisors.as_slice()) {
                ([inner], []) if *inner != value => {
                    let (from, scale) = table_origin(matcher, *inner);
                    (from, scale * product.number)
                }
                _ => (value, 1.0),
            }
        }
        _ => (value, 1.0),
    }
}

/// Strips broadcasts, and casts that round no more than the kernel does.
fn strip_broadcasts_and_casts(
    matcher: &Matcher<'_>,
    value: Value,
    to: Dtype,
) -> Result<Value, Refusal> {
    match matcher.node(value) {
        Some((Op::BroadcastTo { .. }, node)) => {
            strip_broadcasts_and_casts(matcher, node.inputs[0], to)
        }
        _ => {
            let inner = strip_casts(matcher, value, to)?;
            match inner == value {
                true => Ok(value),
                false => strip_broadcasts_and_casts(matcher, inner, to),
            }
        }
    }
}

fn strip_casts(matcher: &Matcher<'_>, value: Value, to: Dtype) -> Result<Value, Refusal> {
    match matcher.node(value) {
        Some((Op::Astype { dtype }, _)) => match matcher.cast(value) {
            Some(inner) if *dtype == to || dtype.size() >= Dtype::Float32.size() => {
                strip_casts(matcher, inner, to)
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

/// The argument of a sine or cosine, without changes of shape; one of its copies when there are two.
fn angle_of(matcher: &Matcher<'_>, value: Value, op: &Op, tables: &RotaryTables) -> Option<Value> {
    let single = |value: Value| match tables.pair_layout {
        PairLayout::One => None,
        pair_layout => one_of_two(matcher, value, pair_layout),
    };
    let value = strip_broadcasts_and_casts(matcher, value, tables.dtype).ok()?;
    if let Some(one) = single(value) {
        let one_table = RotaryTables {
            pair_layout: PairLayout::One,
            ..*tables
        };
        return angle_of(matcher, one, op, &one_table);
    }
    let (found, node) = matcher.node(value)?;
    let inner = node.inputs.first().copied()?;
    if found == op {
        return match tables.pair_layout {
            PairLayout::One => Some(inner),
            _ => single(matcher.strip_keepdims(inner)),
        };
    }
    (matches!(found, Op::Reshape { .. }) && same_last(matcher, value, inner))
        .then(|| angle_of(matcher, inner, op, tables))?
}

pub(super) fn same_last(matcher: &Matcher<'_>, a: Value, b: Value) -> bool {
    matcher.shape(a).last() == matcher.shape(b).last()
}

/// What a value contains twice along the last axis.
fn one_of_two(matcher: &Matcher<'_>, value: Value, pair_layout: PairLayout) -> Option<Value> {
    if pair_layout == PairLayout::Halves {
        return match *concatenated(matcher, value)?.as_slice() {
            [a, b] if a == b => Some(a),
            _ => None,
        };
    }
    let last = i32::try_from(matcher.ndim(value)).ok()? - 1;
    if let (Op::Repeat { repeats: 2, axis }, node) = matcher.node(value)?
        && (*axis == last || *axis == -1)
    {
        return Some(node.inputs[0]);
    }
    match stacked_pair(matcher, value)? {
        [a, b] if a == b => Some(a),
        _ => None,
    }
}

/// The axis of positions, counted from the end, of a table that is broadcast to `shape`.
fn position_axis(table: &[i32], shape: &[i32]) -> Option<usize> {
    if table.last() != shape.last() || table.len() > shape.len() {
        return None;
    }
    let varying: Vec<usize> = table
        .iter()
        .rev()
        .enumerate()
        .skip(1)
        .filter(|(_, n)| **n != 1)
        .map(|(axis, _)| axis)
        .collect();
    match varying.as_slice() {
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

/// The base with which all inverse frequencies are `base^(-2 i / dims)`, if there is one.
pub(super) fn base_of(inv_freq: &[f64]) -> Option<f64> {
    #[allow(clippy::cast_precision_loss)]
    let half = inv_freq.len() as f64;
    let [first, second, ..] = inv_freq else {
        return None;
    };
    if !approx_eq(*first, 1.0) || *second <= 0.0 {
        return None;
    }
    // The slowest pair determines the base best; a base is usually a round number.
    let last = *inv_freq.last()?;
    let base = last.powf(-half / (half - 1.0));
    let round = base.round();
    let base = if (base - round).abs() < 1e-4 * base {
        round
    } else {
        base
    };
    let fits = (0_i32..)
        .zip(inv_freq)
        .all(|(i, frequency)| approx_eq(*frequency, base.powf(-f64::from(i) / half)));
    (fits && base > 0.0 && base < f64::from(f32::MAX)).then_some(base)
}

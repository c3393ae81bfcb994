//! The angles of rotary embedding: how fast each pair turns, and from which position on.
//!
//! Tables that depend on no input are proven by their values, however they were made: sines and cosines of
//! `(t + start) * speed`. Of others, positions must be seen to be consecutive: a known run of numbers plus an offset.

use mlx::{Dtype, Op};

use super::look::{Look, close, size};
use super::rope::{concatenated, stacked_pair};
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

fn same_last(look: &Look<'_>, a: Value, b: Value) -> bool {
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
fn axis_of_one(shape: &[i32]) -> Option<usize> {
    (1..shape.len()).find(|axis| shape[shape.len() - 1 - axis] == 1)
}

/// Tables by their values.
struct Known {
    cos: Vec<f64>,
    sin: Vec<f64>,
    dtype: Dtype,
    /// The number of positions, and of pairs.
    length: usize,
    half: usize,
    copies: Copies,
    axis: usize,
    /// Whether one position stands for several elements.
    is_spread: bool,
}

impl Known {
    fn read(
        look: &Look<'_>,
        [cos, sin]: [Value; 2],
        shape: &[i32],
        copies: Copies,
        axis: usize,
    ) -> Option<Self> {
        if look.shape(cos) != look.shape(sin) {
            return None;
        }
        let half = usize::try_from(*shape.last()?)
            .ok()
            .filter(|half| *half > 0)?;
        let dtype = look.dtype(cos);
        let (cos, sin) = (look.known_values(cos, MOST)?, look.known_values(sin, MOST)?);
        let width = if copies == Copies::One {
            half
        } else {
            2 * half
        };
        let length = cos.len() / width;
        let axis = if length == 1 {
            axis_of_one(shape).unwrap_or(axis)
        } else {
            axis
        };
        let wanted = usize::try_from(*shape.get(shape.len().checked_sub(1 + axis)?)?).ok()?;
        let known = Self {
            cos,
            sin,
            dtype,
            length,
            half,
            copies,
            axis,
            is_spread: length == 1 && wanted != 1,
        };
        let fits = length > 0 && (length == wanted || length == 1);
        (fits && known.is_on_circle() && known.copies_agree()).then_some(known)
    }

    /// The places of the angle of a pair.
    fn places(&self, t: usize, i: usize) -> [usize; 2] {
        let half = self.half;
        match self.copies {
            Copies::One => [t * half + i; 2],
            Copies::Halves => [t * 2 * half + i, t * 2 * half + half + i],
            Copies::Neighbours => [t * 2 * half + 2 * i, t * 2 * half + 2 * i + 1],
        }
    }

    fn all(&self, holds: impl Fn(usize, usize) -> bool) -> bool {
        (0..self.length).all(|t| (0..self.half).all(|i| holds(t, i)))
    }

    fn is_on_circle(&self) -> bool {
        let tolerance = if self.dtype.size() < 4 { 2e-2 } else { 1e-3 };
        self.all(|t, i| {
            let (c, s) = self.point(t, i);
            (c * c + s * s - 1.0).abs() < tolerance
        })
    }

    fn copies_agree(&self) -> bool {
        self.all(|t, i| {
            let [a, b] = self.places(t, i);
            self.cos[a] == self.cos[b] && self.sin[a] == self.sin[b]
        })
    }

    fn point(&self, t: usize, i: usize) -> (f64, f64) {
        let [place, _] = self.places(t, i);
        (self.cos[place], self.sin[place])
    }

    fn angle(&self, t: usize, i: usize) -> f64 {
        let (c, s) = self.point(t, i);
        s.atan2(c)
    }

    /// Proves that the tables are sines and cosines of `(t + start) * speed`.
    fn angles(&self) -> Option<Result<Angles, Refusal>> {
        if self.dtype.size() < Dtype::Float32.size() {
            let reason = format!(
                "the tables are {}, too coarse to prove angles by",
                self.dtype
            );
            return Some(Err(Refusal::new(RefusalKind::Dtype, reason)));
        }
        if self.is_spread {
            return Some(Err(unproven("one position is used for all elements")));
        }
        let (speeds, start) = if self.length == 1 {
            ((0..self.half).map(|i| self.angle(0, i)).collect(), 1)
        } else {
            self.speeds()?
        };
        let fits = self.all(|t, i| {
            #[allow(clippy::cast_precision_loss)]
            let wanted = (t as f64 + f64::from(start)) * speeds[i];
            // float32 rounds the angle itself before the sine is taken.
            let tolerance = 4e-6 + 4e-7 * wanted.abs();
            let (c, s) = self.point(t, i);
            (c - wanted.cos()).abs() <= tolerance && (s - wanted.sin()).abs() <= tolerance
        });
        Some(if fits {
            Ok(Angles {
                speeds,
                start,
                offset: None,
                axis: self.axis,
            })
        } else {
            Err(unproven("the angles do not grow evenly with the position"))
        })
    }

    /// Speeds and the first position, as the values have them; whether they fit all values is to be seen.
    fn speeds(&self) -> Option<(Vec<f64>, i32)> {
        use std::f64::consts::TAU;
        let mut speeds: Vec<f64> = (0..self.half)
            .map(|i| speed(self.length, |t| self.angle(t, i)))
            .collect();
        let start = start(&speeds, |i| self.angle(0, i))?;
        // The position furthest from 0 tells a speed best.
        let last = self.length - 1;
        #[allow(clippy::cast_precision_loss)]
        let (t, position) = [
            (0, f64::from(start)),
            (last, last as f64 + f64::from(start)),
        ]
        .into_iter()
        .max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))?;
        for (i, speed) in speeds.iter_mut().enumerate() {
            let turns = ((*speed * position - self.angle(t, i)) / TAU).round();
            *speed = (self.angle(t, i) + turns * TAU) / position;
        }
        Some((speeds, start))
    }
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
    if size(look.shape(value)) != 1 {
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
    (fits && base > 0.0 && base < f64::from(f32::MAX)).then_some(base)
}

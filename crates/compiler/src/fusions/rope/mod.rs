//! Rotary position embedding: pairs of features turned by their position become one kernel.
//!
//! Recognized: pairs half of the features apart, as two halves or by a "rotate half"; pairs of neighbours, by strided
//! slices, a last axis of 2 or a "rotate every two"; a part of the features turned and the rest passed on; positions
//! that are constants, or a run of numbers plus an offset known only when the function runs; any frequencies. Refused:
//! positions that are an input as a whole, since nothing proves that they are consecutive; tables, angles or positions
//! in less precision than what is turned.

mod angles;
mod positions;
mod tables;

use mlx::fast::{self, Offset, RopeFrequencies, RopeOptions};
use mlx::{Array, Dtype, Op};

use self::angles::{Angles, Copies, Tables, base_of, read};
use crate::fusions::matcher::Look;
use crate::fusions::matcher::last_axis::{concatenated, stacked_pair};
use crate::fusions::{Found, Match, Refusal, RefusalKind};
use crate::graph::{Value, nodes_between};

/// A formula that turns pairs.
struct Turned {
    /// What is turned, with all its features.
    x: Value,
    /// How many of its features turn.
    dims: i32,
    traditional: bool,
    cos: Value,
    sin: Value,
    /// The shape of one half of the pairs.
    half_shape: Vec<i32>,
    copies: Copies,
    /// Whether features of `x` behind `dims` are passed on in the result.
    passes: bool,
}

/// Finds the formula by the value that has all turned features.
pub(crate) fn find(look: &Look<'_>, value: Value) -> Found {
    let turned = halves(look, value)
        .or_else(|| rotate_half(look, value))
        .or_else(|| neighbours(look, value))?;
    let dtype = look.dtype(turned.x);
    if !dtype.is_floating() {
        return None;
    }
    // Computed in a wider dtype and cast back.
    let value = match look.cast_after(value) {
        Some((cast, to)) if to == dtype && look.dtype(value) != dtype => cast,
        _ => value,
    };
    if look.open_sizes {
        let reason = "tables hold for the number of positions that they were traced with";
        return Some(Err(Refusal::new(RefusalKind::Shape, reason)));
    }
    let dims = turned.dims;
    let Some((turned, output)) = with_rest(look, value, turned) else {
        let reason = format!("{dims} features turn, and the others are not passed on behind them");
        return Some(Err(Refusal::new(RefusalKind::Shape, reason)));
    };
    let tables = Tables {
        cos: turned.cos,
        sin: turned.sin,
        copies: turned.copies,
        dtype: look.dtype(output),
    };
    let angles = match read(look, &tables, &turned.half_shape) {
        Ok(angles) => angles,
        Err(refusal) => return Some(Err(refusal)),
    };
    if look.dtype(output) == Dtype::Float64 || look.dtype(output).size() < dtype.size() {
        let reason = format!("{dtype} is turned, the kernel computes in float32");
        return Some(Err(Refusal::new(RefusalKind::Dtype, reason)));
    }
    Some(assemble(look, output, &turned, angles))
}

/// One feature of each pair after turning: `first * cos - second * sin`, or `second * cos + first * sin`.
struct Terms {
    first: Value,
    second: Value,
    cos: Value,
    sin: Value,
}

/// `concatenate([a cos - b sin, b cos + a sin])` with `a` and `b` the halves of the features.
fn halves(look: &Look<'_>, value: Value) -> Option<Turned> {
    let parts = concatenated(look, value)?;
    let [first, second, ..] = *parts.as_slice() else {
        return None;
    };
    let terms = turned_pair(look, first, second)?;
    let (a, b) = (look.part(terms.first)?, look.part(terms.second)?);
    let half = *look.shape(terms.first).last()?;
    let fits = a.x == b.x && a.step == 1 && b.step == 1 && a.start == 0 && b.start == half;
    let rest = match parts.as_slice() {
        [_, _] => false,
        [_, _, rest] => look.is_rest(*rest, a.x, 2 * half),
        _ => return None,
    };
    let whole = 2 * half == *look.shape(a.x).last()?;
    (fits && (parts.len() == 2 || rest)).then(|| Turned {
        x: a.x,
        dims: 2 * half,
        traditional: false,
        cos: terms.cos,
        sin: terms.sin,
        half_shape: look.shape(terms.first).to_vec(),
        copies: Copies::One,
        passes: rest || whole,
    })
}

/// `x * cos + concatenate([-b, a]) * sin`, with tables that hold each angle twice.
fn rotate_half(look: &Look<'_>, value: Value) -> Option<Turned> {
    for [straight, crossed] in look.orders(value, &Op::Add) {
        for [x, cos] in look.orders(straight, &Op::Multiply) {
            for [rotated, sin] in look.orders(crossed, &Op::Multiply) {
                let Some(traditional) = quarter_turn(look, rotated, look.unwidened(x)) else {
                    continue;
                };
                let mut half_shape = look.shape(x).to_vec();
                let dims = half_shape.last_mut()?;
                let whole = *dims;
                *dims /= 2;
                if look.shape(value) != look.shape(x) {
                    continue;
                }
                // The features may themselves be a part of something larger.
                let part = look
                    .part(x)
                    .filter(|part| part.start == 0 && part.step == 1);
                return Some(Turned {
                    x: part.map_or(look.unwidened(x), |part| part.x),
                    dims: whole,
                    traditional,
                    cos,
                    sin,
                    half_shape,
                    copies: if traditional {
                        Copies::Neighbours
                    } else {
                        Copies::Halves
                    },
                    passes: false,
                });
            }
        }
    }
    None
}

/// Whether a value is `x` with each pair `(a, b)` made `(-b, a)`, and then whether pairs are neighbours.
fn quarter_turn(look: &Look<'_>, value: Value, x: Value) -> Option<bool> {
    let dims = *look.shape(x).last()?;
    let value = look.unwidened(value);
    let pair = |negated: Value, a: Value| {
        let b = look.part(look.unary(look.unwidened(negated), &Op::Negative)?)?;
        let a = look.part(a)?;
        let is_x = |part: Value| look.unwidened(part) == x;
        (is_x(a.x) && is_x(b.x) && a.start == 0 && a.step == b.step).then_some((a.step, b.start))
    };
    if let Some(parts) = concatenated(look, value)
        && let [negated, a] = *parts.as_slice()
        && look.shape(a).last() == Some(&(dims / 2))
        && pair(negated, a) == Some((1, dims / 2))
    {
        return (dims % 2 == 0).then_some(false);
    }
    let [negated, a] = stacked_pair(look, value)?;
    (pair(negated, a) == Some((2, 1))).then_some(true)
}

/// Pairs of neighbours: `stack([a cos - b sin, b cos + a sin], -1)`, the last two axes then one.
fn neighbours(look: &Look<'_>, value: Value) -> Option<Turned> {
    let [first, second] = stacked_pair(look, value)?;
    let terms = turned_pair(look, first, second)?;
    let (a, b) = (look.part(terms.first)?, look.part(terms.second)?);
    let fits = a.x == b.x && a.step == 2 && b.step == 2 && a.start == 0 && b.start == 1;
    let half = *look.shape(terms.first).last()?;
    fits.then(|| Turned {
        x: a.x,
        dims: 2 * half,
        traditional: true,
        cos: terms.cos,
        sin: terms.sin,
        half_shape: look.shape(terms.first).to_vec(),
        copies: Copies::One,
        passes: false,
    })
}

/// Goes on to the value that has also the features that are passed on.
fn with_rest(look: &Look<'_>, value: Value, turned: Turned) -> Option<(Turned, Value)> {
    let all = *look.shape(turned.x).last()?;
    if turned.passes || turned.dims == all {
        return Some((turned, value));
    }
    let user = look.only_user(value)?;
    let output = user.outputs.first().copied()?;
    let parts = concatenated(look, output)?;
    let fits =
        parts.len() == 2 && parts[0] == value && look.is_rest(parts[1], turned.x, turned.dims);
    fits.then_some((turned, output))
}

fn assemble(
    look: &Look<'_>,
    output: Value,
    turned: &Turned,
    angles: Angles,
) -> Result<Match, Refusal> {
    let mut inputs = vec![turned.x];
    inputs.extend(angles.offset);
    let shared = independent(look, &inputs, output, turned.x);
    let (dims, traditional) = (turned.dims, turned.traditional);
    let base = base_of(&angles.speeds);
    let dtype = look.dtype(output);
    let kernel = move |inputs: &[Array]| {
        let x = &inputs[0];
        let ndim = x.ndim().unwrap_or(0);
        // Positions are the last axis but one for the kernel.
        let (last, axis) = (ndim.wrapping_sub(2), ndim.wrapping_sub(1 + angles.axis));
        let mut order: Vec<i32> = (0..i32::try_from(ndim).unwrap_or(0)).collect();
        let mut x = match x.dtype() {
            Ok(same) if same == dtype => x.clone(),
            _ => x.astype(dtype),
        };
        if angles.axis != 1 && axis < ndim {
            order.swap(last, axis);
            x = x.transpose(order.clone());
        }
        let flat = (ndim == 2).then(|| x.expand_dims(0));
        let offset = match inputs.get(1) {
            None => Offset::Int(angles.start),
            Some(offset) if angles.start == 0 => Offset::Array(offset.reshape(())),
            Some(offset) => Offset::Array(offset.reshape(()) + i64::from(angles.start)),
        };
        #[allow(clippy::cast_possible_truncation)]
        let frequencies = match base {
            Some(base) => RopeFrequencies::Base(base as f32),
            None => {
                let freqs: Vec<f32> = angles.speeds.iter().map(|s| (1.0 / s) as f32).collect();
                let n = i32::try_from(freqs.len()).unwrap_or(0);
                RopeFrequencies::Freqs(Array::from_result(Array::from_slice(&freqs, [n])))
            }
        };
        let options = RopeOptions {
            dims: Some(dims),
            traditional,
            frequencies,
            scale: 1.0,
            offset,
        };
        let mut y = fast::rope(flat.as_ref().unwrap_or(&x), &options);
        if flat.is_some() {
            y = y.squeeze(0);
        }
        if angles.axis != 1 && axis < ndim {
            y = y.transpose(order);
        }
        y
    };
    let mut found = Match::new(inputs, output, move |inputs| kernel.clone()(inputs));
    found.shared = shared;
    Ok(found)
}

/// Values inside that do not depend on what is turned.
fn independent(look: &Look<'_>, inputs: &[Value], output: Value, x: Value) -> Vec<Value> {
    nodes_between(look.graph, inputs, &[output])
        .into_iter()
        .flat_map(|id| look.graph.node(id).outputs.iter().copied())
        .filter(|value| !look.depends(*value, x))
        .collect()
}

/// Sees `first cos - second sin` beside `second cos + first sin`.
fn turned_pair(look: &Look<'_>, minus: Value, plus: Value) -> Option<Terms> {
    let [left, right] = look.binary(minus, &Op::Subtract)?;
    for [first, cos] in look.orders(left, &Op::Multiply) {
        for [second, sin] in look.orders(right, &Op::Multiply) {
            let is_product = |value: Value, a: Value, b: Value| {
                look.orders(value, &Op::Multiply)
                    .into_iter()
                    .any(|[x, y]| x == a && y == b)
            };
            let fits = look
                .orders(plus, &Op::Add)
                .into_iter()
                .any(|[a, b]| is_product(a, second, cos) && is_product(b, first, sin));
            if fits
                && look.shape(first) == look.shape(second)
                && look.shape(first) == look.shape(minus)
            {
                return Some(Terms {
                    first,
                    second,
                    cos,
                    sin,
                });
            }
        }
    }
    None
}

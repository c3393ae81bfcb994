//! Parts of the last axis: halves, every other element, the rest; and how they are joined again.

use mlx::Op;

use super::Matcher;
use crate::graph::{Value, ValueOrigin};

/// The two values that are interleaved along the last axis of a third.
pub(crate) fn stacked_pair(matcher: &Matcher<'_>, value: Value) -> Option<[Value; 2]> {
    let (parts, shape) = reshaped_pair(matcher, value)?;
    (shape == matcher.shape(value)).then_some(parts)
}

/// The two values that are interleaved along the last axis of an array, and that array's shape, of which `value` is a
/// reshape: two reshapes in a row are one in canonical form.
pub(crate) fn reshaped_pair(matcher: &Matcher<'_>, value: Value) -> Option<([Value; 2], Vec<i32>)> {
    let (Op::Reshape { .. }, node) = matcher.node(value)? else {
        return None;
    };
    let stacked = node.inputs[0];
    let (op, node) = matcher.node(stacked)?;
    let last = i32::try_from(matcher.ndim(stacked)).ok()? - 1;
    let parts: Vec<Value> = match op {
        Op::Stack { axis } if *axis == -1 || *axis == last => node.inputs.clone(),
        Op::Concatenate { axis } if *axis == -1 || *axis == last => node
            .inputs
            .iter()
            .map(|part| matcher.without_last_one(*part))
            .collect::<Option<_>>()?,
        _ => return None,
    };
    let [first, second] = *parts.as_slice() else {
        return None;
    };
    let mut shape = matcher.shape(first).to_vec();
    *shape.last_mut()? *= 2;
    Some(([first, second], shape))
}

/// The parts of a concatenation along the last axis.
pub(crate) fn concatenated(matcher: &Matcher<'_>, value: Value) -> Option<Vec<Value>> {
    let last = i32::try_from(matcher.ndim(value)).ok()? - 1;
    let (Op::Concatenate { axis }, node) = matcher.node(value)? else {
        return None;
    };
    if *axis != last && *axis != -1 {
        return None;
    }
    // `concatenate([concatenate([a, b]), rest])` is one list.
    let mut parts = Vec::new();
    for part in &node.inputs {
        match concatenated(matcher, *part) {
            Some(inner)
                if matcher.sole_consumer(*part).is_some()
                    && inner.len() == 2
                    && parts.is_empty()
                    && node.inputs.len() == 2 =>
            {
                parts.extend(inner);
            }
            _ => parts.push(*part),
        }
    }
    Some(parts)
}

/// A part of the last axis.
pub(crate) struct Part {
    pub(crate) x: Value,
    pub(crate) start: i32,
    pub(crate) step: i32,
    /// The shape of `x`, or the one it was given before the part was taken.
    pub(crate) shape: Vec<i32>,
}

impl Matcher<'_> {
    /// Matches a value as a part of the last axis of another, behind a cast to a wider dtype.
    pub(crate) fn part(&self, value: Value) -> Option<Part> {
        let value = self.strip_upcasts(value);
        if let ValueOrigin::Node(id, index) = self.graph.origin(value) {
            let node = self.graph.node(*id);
            let x = *node.inputs.first()?;
            let last = i32::try_from(self.ndim(x)).ok()? - 1;
            match node.operation.op()? {
                Op::Split { num_splits, axis } if *axis == -1 || *axis == last => {
                    let size = self.shape(x).last()? / num_splits;
                    return Some(self.part_of(x, size * i32::try_from(*index).ok()?, 1));
                }
                Op::SplitSections { indices, axis } if *axis == -1 || *axis == last => {
                    let start = if *index == 0 {
                        0
                    } else {
                        *indices.get(index - 1)?
                    };
                    return Some(self.part_of(x, start, 1));
                }
                Op::Unstack { axis } if *axis == -1 || *axis == last => {
                    return self.pair_of(x, i32::try_from(*index).ok()?);
                }
                Op::Slice {
                    start,
                    stop,
                    strides,
                } => {
                    return self.sliced(x, start, stop, strides);
                }
                Op::Reshape { .. } => {
                    // One of the two along a last axis of pairs.
                    let inner = self.without_last_one_of(value, x)?;
                    let part = self.part(inner)?;
                    if part.step == 1
                        && self.shape(part.x).last() == Some(&2)
                        && self.shape(inner).last() == Some(&1)
                    {
                        return self.pair_of(part.x, part.start);
                    }
                    return None;
                }
                Op::Take { axis }
                    if (*axis == -1 || *axis == last) && self.shape(x).last() == Some(&2) =>
                {
                    let place = self.number(node.inputs[1])?;
                    #[allow(clippy::cast_possible_truncation)]
                    return self.pair_of(x, place as i32);
                }
                _ => return None,
            }
        }
        None
    }

    fn part_of(&self, x: Value, start: i32, step: i32) -> Part {
        Part {
            x,
            start,
            step,
            shape: self.shape(x).to_vec(),
        }
    }

    /// The first or second of each pair, of features that were given an axis of pairs.
    fn pair_of(&self, pairs: Value, place: i32) -> Option<Part> {
        let (Op::Reshape { .. }, node) = self.node(pairs)? else {
            return None;
        };
        let x = node.inputs[0];
        let (last, rest) = self.shape(pairs).split_last()?;
        let mut shape = rest.to_vec();
        *shape.last_mut()? *= last;
        (*last == 2).then_some(Part {
            x,
            start: place,
            step: 2,
            shape,
        })
    }

    fn sliced(&self, x: Value, start: &[i32], stop: &[i32], strides: &[i32]) -> Option<Part> {
        let shape = self.shape(x);
        if start.len() != shape.len() {
            return None;
        }
        let end = shape.len() - 1;
        let whole = (0..end)
            .all(|axis| start[axis] == 0 && stop[axis] >= shape[axis] && strides[axis] == 1);
        let start = if start[end] < 0 {
            start[end] + shape[end]
        } else {
            start[end]
        };
        let takes_all = strides[end] == 1 || stop[end] >= shape[end];
        (whole && takes_all && start >= 0).then(|| self.part_of(x, start, strides[end]))
    }

    /// Whether a value is all features of `x` from `from` on.
    pub(crate) fn is_rest(&self, value: Value, x: Value, from: i32) -> bool {
        let all = self.shape(x).last().copied().unwrap_or(0);
        let width = self.shape(value).last().copied().unwrap_or(0);
        self.part(value).is_some_and(|part| {
            part.x == x && part.step == 1 && part.start == from && width == all - from
        })
    }

    /// Strips a reshape that adds a last axis of 1.
    fn without_last_one(&self, value: Value) -> Option<Value> {
        let (Op::Reshape { .. }, node) = self.node(value)? else {
            return None;
        };
        let inner = node.inputs[0];
        let (last, rest) = self.shape(value).split_last()?;
        (*last == 1 && rest == self.shape(inner)).then_some(inner)
    }

    /// `inner`, when `value` is it without a last axis of 1.
    fn without_last_one_of(&self, value: Value, inner: Value) -> Option<Value> {
        let (last, rest) = self.shape(inner).split_last()?;
        (*last == 1 && rest == self.shape(value)).then_some(inner)
    }
}

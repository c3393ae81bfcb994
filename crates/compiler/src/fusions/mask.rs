//! What a mask of attention means: nothing, causal, truth values, or numbers that are added.
//!
//! A mask that depends on no input is proven by its values, however it was made. Of others, what is known is how they
//! are applied: a kernel is given the same values in the same way.

use mlx::{Array, Dtype, where_};

use super::look::{Look, size};
use super::{Refusal, RefusalKind};
use crate::graph::Value;

/// A mask as the formula applies it to the scores.
#[derive(Clone, Copy)]
pub(super) struct Applied {
    pub(super) value: Value,
    pub(super) how: How,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum How {
    /// Added to the scores.
    Added,
    /// Scores become `fill` where it is false, or, if `hides`, where it is true.
    Selects { hides: bool, fill: f64 },
}

/// A mask as the kernel takes it.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Mask {
    None,
    Causal,
    /// True where a key is seen, or, if `hides`, where it is not.
    Bool {
        value: Value,
        hides: bool,
    },
    /// The same, as numbers: 0, and what leaves a row that sees no key as the formula has it: minus infinity, which
    /// gives NaN, or the least finite number, which gives all keys the same weight.
    BoolAdded {
        value: Value,
        hides: bool,
        infinite: bool,
    },
    Added(Value),
}

/// The most elements of a mask that are looked at one by one.
const MOST: usize = 1 << 24;

impl Mask {
    pub(super) fn value(self) -> Option<Value> {
        match self {
            Mask::None | Mask::Causal => None,
            Mask::Bool { value, .. } | Mask::BoolAdded { value, .. } | Mask::Added(value) => {
                Some(value)
            }
        }
    }

    /// The array that the kernel is given, from the value.
    pub(super) fn array(self, value: &Array, dtype: Dtype) -> Array {
        let seen = |hides: bool| {
            let is_bool = value.dtype().is_ok_and(|dtype| dtype == Dtype::Bool);
            match (hides, is_bool) {
                (true, _) => value.logical_not(),
                (false, true) => value.clone(),
                (false, false) => value.astype(Dtype::Bool),
            }
        };
        match self {
            Mask::Bool { hides, .. } => seen(hides),
            Mask::BoolAdded {
                hides, infinite, ..
            } => {
                let hidden = if infinite {
                    f64::NEG_INFINITY
                } else {
                    least(dtype)
                };
                let zero = mlx::zeros((), dtype);
                where_(&seen(hides), zero, hidden).astype(dtype)
            }
            _ => value.clone(),
        }
    }
}

/// Finds out what a mask means for queries of `dtype` and scores of which the last two axes are `[queries, keys]`.
pub(super) fn resolve(
    look: &Look<'_>,
    applied: Applied,
    dtype: Dtype,
    [queries, keys]: [i32; 2],
) -> Result<Mask, Refusal> {
    let proven =
        seen(look, applied, dtype).and_then(|seen| proven(look, applied, &seen, [queries, keys]));
    if let Some(mask) = proven {
        return Ok(mask);
    }
    match applied.how {
        How::Added if look.dtype(applied.value) == dtype => Ok(Mask::Added(applied.value)),
        How::Added => Err(Refusal::new(
            RefusalKind::Dtype,
            format!(
                "the mask that is added is {}, the queries are {dtype}",
                look.dtype(applied.value)
            ),
        )),
        How::Selects { hides, fill } => {
            let value = applied.value;
            if hides_fully(fill, dtype) {
                // A row may see no key.
                Ok(Mask::BoolAdded {
                    value,
                    hides,
                    infinite: fill == f64::NEG_INFINITY,
                })
            } else {
                Err(Refusal::new(
                    RefusalKind::Mask,
                    format!(
                        "masked scores become {fill:?}, which is not low enough to hide them surely"
                    ),
                ))
            }
        }
    }
}

/// Whether a score of this value counts for nothing beside any other of the dtype.
fn hides_fully(score: f64, dtype: Dtype) -> bool {
    score <= if dtype == Dtype::Float16 { -3e4 } else { -1e9 }
}

/// The least finite number of a dtype.
fn least(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::Float16 => half::f16::MIN.to_f64(),
        Dtype::Bfloat16 => half::bf16::MIN.to_f64(),
        _ => f64::from(f32::MIN),
    }
}

/// Which keys are seen, when the values of the mask are known and say just that.
fn seen(look: &Look<'_>, applied: Applied, dtype: Dtype) -> Option<Vec<bool>> {
    let values = look.known_values(applied.value, MOST)?;
    match applied.how {
        How::Added => values
            .iter()
            .map(|value| match *value {
                0.0 => Some(true),
                value if hides_fully(value, dtype) => Some(false),
                _ => None,
            })
            .collect(),
        How::Selects { hides, fill } => {
            hides_fully(fill, dtype).then(|| values.iter().map(|v| (*v != 0.0) != hides).collect())
        }
    }
}

/// The simplest mask that is proven to be this one.
fn proven(
    look: &Look<'_>,
    applied: Applied,
    seen: &[bool],
    [queries, keys]: [i32; 2],
) -> Option<Mask> {
    if seen.iter().all(|seen| *seen) {
        return Some(Mask::None);
    }
    let shape = look.shape(applied.value);
    let whole = shape.len() >= 2 && shape[shape.len() - 2..] == [queries, keys];
    let (n_queries, n_keys) = (usize::try_from(queries).ok()?, usize::try_from(keys).ok()?);
    if whole && size(shape) == n_queries * n_keys && queries <= keys {
        let shift = n_keys - n_queries;
        let causal = seen.iter().enumerate().all(|(index, seen)| {
            let (query, key) = (index / n_keys, index % n_keys);
            *seen == (key <= query + shift)
        });
        if causal {
            return Some(Mask::Causal);
        }
    }
    // Every row sees a key, so that no row is left to what a kernel makes of nothing.
    let last = usize::try_from(*shape.last()?).ok()?;
    let alive = last > 0 && seen.chunks_exact(last).all(|row| row.contains(&true));
    match applied.how {
        How::Selects { hides, .. } if alive => Some(Mask::Bool {
            value: applied.value,
            hides,
        }),
        _ => None,
    }
}

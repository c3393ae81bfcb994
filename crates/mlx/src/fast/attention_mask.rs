//! Which keys a query may attend to: one typed mask for causal, windows, arrays and all of them together.

use super::inputs::{cast, reject};
use super::offset::Offset;
use crate::dtype::DtypeKind;
use crate::ops::iota_with;
use crate::{Array, Dtype, Error, Result, Size, Tree, where_};

const NAME: &str = "fast.scaled_dot_product_attention";

/// Which keys each query may attend to; a key must be allowed by every part.
///
/// Query `i` has position `i + offset`, key `j` has position `j`. Without an offset the last query is level with the
/// last key, `offset = keys - queries`: so a single new query beside a cache sees all of it. With a cache of fixed
/// size of which the first `n` are filled, before `q` new ones are put in, the offset is `n` (or one for each batch
/// row).
///
/// A query that may attend to no key at all gives zeros, whichever way it was masked.
///
/// ```
/// use mlx::fast::AttentionMask;
///
/// // Each query sees itself and the 3 keys before it, among those that are no padding.
/// let real = mlx::array!([true, true, true, true, false]);
/// let mask = AttentionMask::causal().and_window(3, None).and_bool(&real);
/// # let _ = mask;
/// ```
///
/// A mask is a tree of its arrays: an argument of `jit`, `grad` and `checkpoint`.
#[derive(Clone, Default, Tree)]
#[must_use = "a mask does nothing until it is put into the options"]
pub struct AttentionMask {
    /// How many keys before its own position a query sees.
    #[tree(static)]
    left: Option<i32>,
    /// How many keys after its own position a query sees.
    #[tree(static)]
    right: Option<i32>,
    offset: Option<Offset>,
    bools: Vec<Array>,
    additives: Vec<Array>,
}

impl AttentionMask {
    /// Returns the mask that hides nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Returns the mask that hides keys after the query's position.
    pub fn causal() -> Self {
        Self::none().and_causal()
    }

    /// Returns the mask that hides keys more than `left` before or more than `right` after the query's position;
    /// `None` does not limit that side.
    pub fn window(left: impl Into<Option<i32>>, right: impl Into<Option<i32>>) -> Self {
        Self::none().and_window(left, right)
    }

    /// Returns the mask that hides keys where `keep` is false; broadcasts to `[batch, heads, queries, keys]`.
    pub fn bool(keep: &Array) -> Self {
        Self::none().and_bool(keep)
    }

    /// Returns the mask that adds `bias` to the scaled scores; broadcasts to `[batch, heads, queries, keys]`.
    ///
    /// It is cast to the dtype of the queries. Where it is minus infinity or the smallest finite number of that dtype, or
    /// below, the key is hidden.
    pub fn additive(bias: &Array) -> Self {
        Self::none().and_additive(bias)
    }

    /// Hides keys after the query's position as well.
    pub fn and_causal(self) -> Self {
        self.and_window(None, 0)
    }

    /// Hides keys more than `left` before or more than `right` after the query's position as well.
    pub fn and_window(
        mut self,
        left: impl Into<Option<i32>>,
        right: impl Into<Option<i32>>,
    ) -> Self {
        let narrower = |old: Option<i32>, new: Option<i32>| match (old, new) {
            (Some(old), Some(new)) => Some(old.min(new)),
            (old, new) => old.or(new),
        };
        self.left = narrower(self.left, left.into());
        self.right = narrower(self.right, right.into());
        self
    }

    /// Hides keys where `keep` is false as well.
    pub fn and_bool(mut self, keep: &Array) -> Self {
        self.bools.push(keep.clone());
        self
    }

    /// Adds `bias` to the scaled scores as well.
    pub fn and_additive(mut self, bias: &Array) -> Self {
        self.additives.push(bias.clone());
        self
    }

    /// Sets the position of the first query, one for all or one for each batch row.
    pub fn offset(mut self, offset: impl Into<Offset>) -> Self {
        self.offset = Some(offset.into());
        self
    }
}

/// `"causal"`, as Python MLX has it; another text is an error.
impl From<&str> for AttentionMask {
    fn from(name: &str) -> Self {
        if name == "causal" {
            return Self::causal();
        }
        let text = format!("wanted \"causal\" or an array as the mask, got {name:?}");
        Self::additive(&Array::failed(Error::op(NAME, text)))
    }
}

impl From<&AttentionMask> for AttentionMask {
    fn from(mask: &AttentionMask) -> Self {
        mask.clone()
    }
}

/// Whether keys are kept, of `bool`; what is added to the scores, of any other dtype.
impl From<&Array> for AttentionMask {
    fn from(mask: &Array) -> Self {
        match mask.dtype() {
            Ok(Dtype::Bool) => Self::bool(mask),
            _ => Self::additive(mask),
        }
    }
}

impl From<Array> for AttentionMask {
    fn from(mask: Array) -> Self {
        Self::from(&mask)
    }
}

/// `None` hides nothing.
impl From<Option<&Array>> for AttentionMask {
    fn from(mask: Option<&Array>) -> Self {
        mask.map_or_else(Self::none, Self::from)
    }
}

/// What scores are masked: `[batch, heads, queries, keys]`, in this dtype.
pub(super) struct Scores {
    pub(super) shape: [Size; 4],
    pub(super) dtype: Dtype,
}

/// A mask in the three forms that MLX takes.
pub(super) enum Resolved {
    /// Every query sees every key.
    None,
    /// Every query sees the keys up to its own position, the last being level, and at least one.
    Causal,
    /// An array that hides no row entirely.
    Array {
        /// `bool`, true where seen, or additive in the dtype of the scores.
        mask: Array,
        /// Where a query sees any key, `[.., queries or 1, 1]`; nothing when all do. The others see all keys in
        /// `mask`, so that no NaN arises, and are to be made zero.
        alive: Option<Array>,
    },
}

impl AttentionMask {
    /// Returns the simplest form that means the same for these scores.
    #[track_caller]
    pub(super) fn resolve(&self, scores: &Scores) -> Result<Resolved> {
        self.check(scores)?;
        let band = self.band(scores)?;
        if self.bools.is_empty() && self.additives.is_empty() {
            return Ok(match band {
                CausalBand::Full => Resolved::None,
                CausalBand::Causal => Resolved::Causal,
                CausalBand::Array { keep, all_alive } => bool_mask(keep, all_alive),
            });
        }
        let keep = match band {
            CausalBand::Full => None,
            CausalBand::Causal => Some(causal(scores)),
            CausalBand::Array { keep, .. } => Some(keep),
        };
        let keep = self.bools.iter().cloned().chain(keep);
        let keep = keep.reduce(|a, b| a.logical_and(b));
        let additives = self.additives.iter().map(|bias| cast(bias, scores.dtype));
        match (keep, additives.reduce(|a, b| a + b)) {
            (keep, Some(bias)) => Ok(additive_mask(keep, &bias, scores.dtype)),
            (Some(keep), None) => Ok(bool_mask(keep, false)),
            (None, None) => Ok(Resolved::None),
        }
    }

    #[track_caller]
    fn check(&self, scores: &Scores) -> Result<()> {
        for (side, size) in [("left", self.left), ("right", self.right)] {
            if let Some(size) = size.filter(|&size| size < 0) {
                let message = format!("{side} side of the window must be at least 0, got {size}");
                return reject(NAME, message, &[]);
            }
        }
        for mask in self.bools.iter().chain(&self.additives) {
            let shape = mask.sizes()?;
            let mut from_end = shape.iter().rev().zip(scores.shape.iter().rev());
            let fits = from_end.all(|(got, want)| got.broadcasts_to(want));
            if shape.len() > 4 || !fits {
                let message = format!("mask must broadcast to {:?}, got {shape:?}", scores.shape);
                return reject(NAME, message, &[mask]);
            }
        }
        for mask in &self.bools {
            let dtype = mask.dtype()?;
            if dtype != Dtype::Bool {
                let message = format!("a keep mask must be bool, got {dtype}");
                return reject(NAME, message, &[mask]);
            }
        }
        for mask in &self.additives {
            let dtype = mask.dtype()?;
            if matches!(dtype.kind(), DtypeKind::Bool | DtypeKind::Complex) {
                let message = format!("an additive mask must be real numbers, got {dtype}");
                return reject(NAME, message, &[mask]);
            }
        }
        Ok(())
    }

    /// Causal and window together, as a band around the diagonal.
    #[track_caller]
    fn band(&self, scores: &Scores) -> Result<CausalBand> {
        let [batch, _, n_queries, n_keys] = &scores.shape;
        let level = n_keys - n_queries;
        if self.left.is_none() && self.right.is_none() && self.offset.is_none() {
            return Ok(CausalBand::Full);
        }
        let offset = match &self.offset {
            None => level.clone(),
            Some(Offset::Int(offset)) => Size::from(*offset),
            Some(offset @ Offset::Array(_)) => {
                let offset = offset.to_array(NAME, batch)?;
                if self.left.is_none() && self.right.is_none() {
                    return Ok(CausalBand::Full);
                }
                let offset = offset.reshape([-1, 1, 1, 1]).astype(Dtype::Int64);
                let keep = within(offset, scores, self.left, self.right);
                return Ok(CausalBand::Array {
                    keep,
                    all_alive: false,
                });
            }
        };
        // A side that reaches every key from every query does not limit.
        let last = &offset + n_queries - 1;
        let left = self.left.filter(|&left| &last - left > 0);
        let last_key = n_keys - 1;
        let right = self.right.filter(|&right| &offset + right < last_key);
        match (left, right) {
            (None, None) => Ok(CausalBand::Full),
            (None, Some(0)) if offset == level && level >= 0 => Ok(CausalBand::Causal),
            (left, right) => {
                let reaches_back = left.is_none_or(|left| &last - left <= last_key);
                let reaches_on = right.is_none_or(|right| &offset + right >= 0);
                let keep = within(position(&offset), scores, left, right);
                let all_alive = reaches_back && reaches_on;
                Ok(CausalBand::Array { keep, all_alive })
            }
        }
    }
}

enum CausalBand {
    Full,
    Causal,
    Array { keep: Array, all_alive: bool },
}

/// True up to the diagonal that ends at the last query and the last key.
#[track_caller]
pub(super) fn causal(scores: &Scores) -> Array {
    let [_, _, n_queries, n_keys] = &scores.shape;
    within(position(&(n_keys - n_queries)), scores, None, Some(0))
}

/// Returns a position as a number of the graph, by which masks are recognized; so it is the same for all sizes.
#[track_caller]
fn position(size: &Size) -> Array {
    Array::scalar(i64::from(size.fixed()))
}

/// True where a key is at most `left` before and `right` after the query's position.
#[track_caller]
fn within(offset: Array, scores: &Scores, left: Option<i32>, right: Option<i32>) -> Array {
    let [_, _, n_queries, n_keys] = &scores.shape;
    let queries = iota_with(n_queries, Dtype::Int64).reshape((n_queries, 1)) + offset;
    let keys = iota_with(n_keys, Dtype::Int64).reshape((1, n_keys));
    let not_before = left.map(|left| keys.greater_equal(&queries - i64::from(left)));
    let not_after = right.map(|right| keys.less_equal(&queries + i64::from(right)));
    match (not_before, not_after) {
        (Some(a), Some(b)) => a.logical_and(b),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => crate::ones_with((n_queries, n_keys), Dtype::Bool),
    }
}

/// The mask of true and false, with rows that see nothing made to see all.
#[track_caller]
fn bool_mask(keep: Array, all_alive: bool) -> Resolved {
    if all_alive {
        return Resolved::Array {
            mask: keep,
            alive: None,
        };
    }
    let keep = keep.atleast_1d();
    let alive = keep.any(crate::keepdims(-1));
    let mask = keep.logical_or(alive.logical_not());
    Resolved::Array {
        mask,
        alive: Some(alive),
    }
}

/// The additive mask, minus infinity where `keep` is false, with rows that see nothing made to see all.
#[track_caller]
fn additive_mask(keep: Option<Array>, bias: &Array, dtype: Dtype) -> Resolved {
    // Written so that NaN counts as seen, and reaches the result.
    let hidden = bias.less_equal(least(dtype));
    let hidden = match keep {
        Some(keep) => hidden.logical_or(keep.logical_not()),
        None => hidden,
    };
    let hidden = hidden.atleast_1d();
    let alive = hidden.all(crate::keepdims(-1)).logical_not();
    let mask = where_(&hidden, f32::NEG_INFINITY, bias);
    let mask = where_(&alive, mask, 0);
    Resolved::Array {
        mask,
        alive: Some(alive),
    }
}

/// The smallest finite number of a floating dtype.
fn least(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::Float16 => half::f16::MIN.to_f64(),
        Dtype::Bfloat16 => half::bf16::MIN.to_f64(),
        Dtype::Float64 => f64::MIN,
        _ => f64::from(f32::MIN),
    }
}

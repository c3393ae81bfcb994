//! The combined mask of attention: none, causal, booleans, or numbers that are added.
//!
//! A mask that depends on no input is proven by its values, however it was made. Of others, what is known is how they
//! are applied: the kernel is given the same values in the same way. A finite number that takes the place of scores
//! hides a key only if no score can be as low, so it must be near the minimum of the dtype.

use mlx::{Array, Device, Dtype, keepdims, where_, zeros_with};

use crate::fusions::matcher::Matcher;
use crate::fusions::{Refusal, RefusalKind};
use crate::graph::{Value, element_count};

/// A mask as the formula applies it to the scores.
#[derive(Clone, Copy)]
pub(super) struct AppliedMask {
    pub(super) value: Value,
    pub(super) encoding: MaskEncoding,
    /// The dtype of the scores that it makes.
    pub(super) dtype: Dtype,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum MaskEncoding {
    /// Added to the scores.
    Added,
    /// Scores become `fill` where it is false, or, if `hides`, where it is true.
    Selects { hides: bool, fill: f64 },
}

/// All masks as the kernel takes them.
#[derive(Clone, PartialEq)]
pub(super) enum Mask {
    None,
    Causal,
    Layers {
        layers: Vec<MaskLayer>,
        form: MaskForm,
    },
}

/// One mask, the innermost first.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct MaskLayer {
    pub(super) value: Value,
    kind: LayerKind,
}

#[derive(Clone, Copy, PartialEq)]
enum LayerKind {
    Added,
    /// Hides keys where it is false, or, if `hides`, where it is true; by minus infinity or by a finite number.
    Hides {
        hides: bool,
        infinite: bool,
    },
}

/// How layers are put together.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum MaskForm {
    /// Booleans; every row has a visible key.
    Bool,
    /// Booleans, and a fully masked row gives the mean of all values.
    BoolOrMean,
    /// Numbers: a fully masked row becomes NaN or a mean as in the formula.
    Numbers,
    /// Numbers in half precision, which absorb the formula's scores where they do not absorb the kernel's: a row of
    /// one large number gives the mean of all values.
    NumbersOrMean,
}

/// What the kernel is given, and where its result is the mean of the values.
pub(super) struct BuiltMask {
    pub(super) mask: Array,
    pub(super) mean_rows: Option<Array>,
}

/// The maximum number of elements of a mask whose values are read.
const MAX_ELEMENTS: usize = 1 << 24;

impl Mask {
    /// The same where rows have a sink: a fully masked row then gives nearly zeros, with the formula and the kernel.
    pub(super) fn with_sinks(self) -> Self {
        match self {
            Mask::Layers { layers, form } => Mask::Layers {
                layers,
                form: match form {
                    MaskForm::BoolOrMean => MaskForm::Bool,
                    MaskForm::NumbersOrMean => MaskForm::Numbers,
                    form => form,
                },
            },
            mask => mask,
        }
    }

    pub(super) fn values(&self) -> Vec<Value> {
        match self {
            Mask::None | Mask::Causal => Vec::new(),
            Mask::Layers { layers, .. } => layers.iter().map(|layer| layer.value).collect(),
        }
    }

    /// The array that the kernel is given, from the values of its layers.
    pub(super) fn build(&self, values: &[Array], dtype: Dtype) -> Option<BuiltMask> {
        let Mask::Layers { layers, form } = self else {
            return None;
        };
        let layers = layers.iter().zip(values);
        Some(match form {
            MaskForm::Bool | MaskForm::BoolOrMean => {
                let keep = layers
                    .map(|(layer, value)| layer.keeps(value))
                    .reduce(|a, b| a.logical_and(b))?;
                if *form == MaskForm::Bool {
                    return Some(BuiltMask {
                        mask: keep,
                        mean_rows: None,
                    });
                }
                let fully_masked = keep.atleast_1d().any(keepdims(-1)).logical_not();
                BuiltMask {
                    mask: keep.logical_or(&fully_masked),
                    mean_rows: Some(fully_masked),
                }
            }
            MaskForm::Numbers | MaskForm::NumbersOrMean => {
                let mut sum: Option<Array> = None;
                for (layer, value) in layers {
                    sum = Some(layer.applied(sum, value, dtype));
                }
                let mask = sum?;
                let mean_rows = (*form == MaskForm::NumbersOrMean).then(|| {
                    let rows = mask.atleast_1d();
                    let (row_max, row_min) = (rows.max(keepdims(-1)), rows.min(keepdims(-1)));
                    row_max
                        .equal(row_min)
                        .logical_and(row_max.abs().greater_equal(absorption_threshold(dtype)))
                        .logical_and(row_max.isfinite())
                });
                BuiltMask { mask, mean_rows }
            }
        })
    }
}

impl MaskLayer {
    /// The numbers that are added to scores, after this layer.
    fn applied(&self, sum: Option<Array>, value: &Array, dtype: Dtype) -> Array {
        match (self.kind, sum) {
            (LayerKind::Added, Some(sum)) => sum + value,
            (LayerKind::Added, None) => value.clone(),
            (LayerKind::Hides { infinite, .. }, sum) => {
                let hidden = if infinite {
                    f64::NEG_INFINITY
                } else {
                    dtype_min(dtype)
                };
                let sum = sum.unwrap_or_else(|| zeros_with((), dtype));
                where_(&self.keeps(value), sum, hidden).astype(dtype)
            }
        }
    }

    /// True where a key is visible.
    fn keeps(&self, value: &Array) -> Array {
        let is_bool = value.dtype().is_ok_and(|dtype| dtype == Dtype::Bool);
        match self.kind {
            LayerKind::Hides { hides: true, .. } => value.logical_not(),
            _ if is_bool => value.clone(),
            _ => value.astype(Dtype::Bool),
        }
    }
}

/// Combines masks, the innermost first, for queries of `dtype` and scores of which the last two axes are
/// `[queries, keys]`.
pub(super) fn resolve(
    matcher: &Matcher<'_>,
    applied: &[AppliedMask],
    dtype: Dtype,
    sizes: [i32; 2],
) -> Result<Mask, Refusal> {
    let mut layers = Layers::default();
    for mask in applied {
        layers.push(matcher, *mask, dtype, sizes)?;
    }
    layers.combine(dtype)
}

/// The masks that hide or change something, and what they have in common.
struct Layers {
    layers: Vec<MaskLayer>,
    /// What hidden scores become, for each layer that hides.
    fills: Vec<f64>,
    all_causal: bool,
    /// Whether every row has a visible key in each layer.
    all_rows_alive: bool,
    /// Whether numbers that are added may absorb scores.
    absorbs_scores: bool,
}

impl Default for Layers {
    fn default() -> Self {
        Self {
            layers: Vec::new(),
            fills: Vec::new(),
            all_causal: true,
            all_rows_alive: true,
            absorbs_scores: false,
        }
    }
}

impl Layers {
    /// Adds a mask, unless it hides nothing.
    fn push(
        &mut self,
        matcher: &Matcher<'_>,
        mask: AppliedMask,
        dtype: Dtype,
        sizes: [i32; 2],
    ) -> Result<(), Refusal> {
        let visible = visible(matcher, mask, dtype);
        let shape = matcher.shape(mask.value);
        let keys = visible.as_ref().map(|(keys, _)| keys.as_slice());
        if keys.is_some_and(|keys| keys.iter().all(|visible| *visible)) {
            return Ok(());
        }
        self.all_causal &= keys.is_some_and(|keys| is_causal(shape, keys, sizes));
        self.all_rows_alive &= keys.is_some_and(|keys| every_row_has_key(shape, keys));
        let (kind, fill) = match (mask.encoding, visible) {
            (MaskEncoding::Added, None) if matcher.dtype(mask.value) == dtype => {
                self.absorbs_scores |=
                    mask.dtype.size() < 4 && !absorbs_no_score(matcher, mask.value, dtype);
                (LayerKind::Added, None)
            }
            (MaskEncoding::Added, None) => {
                let reason = format!(
                    "the mask that is added is {}, the queries are {dtype}",
                    matcher.dtype(mask.value)
                );
                return Err(Refusal::new(RefusalKind::Dtype, reason));
            }
            // Numbers that are added hide where they are not 0.
            (MaskEncoding::Added, Some((_, fill))) => (hidden_by(true, fill), Some(fill)),
            (MaskEncoding::Selects { hides, fill }, _) if hides_fully(fill, dtype) => {
                (hidden_by(hides, fill), Some(fill))
            }
            (MaskEncoding::Selects { fill, .. }, _) => {
                let reason = format!(
                    "masked scores become {fill:?}, which does not hide a key surely: other scores may be as low"
                );
                return Err(Refusal::new(RefusalKind::Mask, reason));
            }
        };
        self.layers.push(MaskLayer {
            value: mask.value,
            kind,
        });
        self.fills.extend(fill);
        Ok(())
    }

    /// The mask that all layers are together.
    fn combine(self, dtype: Dtype) -> Result<Mask, Refusal> {
        let (layers, fills) = (self.layers, self.fills);
        if layers.is_empty() {
            return Ok(Mask::None);
        }
        let only_hides = fills.len() == layers.len();
        if only_hides && self.all_causal {
            return Ok(Mask::Causal);
        }
        let infinite = |fill: &&f64| **fill == f64::NEG_INFINITY;
        let same = fills.windows(2).all(|pair| pair[0] == pair[1]);
        let n_infinite = fills.iter().filter(infinite).count();
        let alive = only_hides && layers.len() == 1 && self.all_rows_alive;
        let finite_in_half = dtype == Dtype::Float16 && n_infinite < fills.len();
        if !alive && !same && (finite_in_half || n_infinite == 0) {
            let reason = "several masks hide keys by different numbers, so that a row that sees none differs";
            return Err(Refusal::new(RefusalKind::Mask, reason));
        }
        let form = match () {
            () if alive => MaskForm::Bool,
            () if only_hides && finite_in_half => MaskForm::BoolOrMean,
            () if self.absorbs_scores || finite_in_half => MaskForm::NumbersOrMean,
            () => MaskForm::Numbers,
        };
        let is_in_half = matches!(dtype, Dtype::Float16 | Dtype::Bfloat16);
        let is_number = matches!(form, MaskForm::Numbers | MaskForm::NumbersOrMean);
        if is_number && is_in_half && !fills.is_empty() && is_on_cuda() {
            let reason = "in half precision CUDA's kernel gives zeros for a row that sees no key, which the formula does not";
            return Err(Refusal::new(RefusalKind::Mask, reason));
        }
        Ok(Mask::Layers { layers, form })
    }
}

/// Whether what is traced will run on an NVIDIA GPU.
fn is_on_cuda() -> bool {
    cfg!(target_os = "linux") && Device::current().is_ok_and(|device| device == Device::Gpu)
}

fn hidden_by(hides: bool, fill: f64) -> LayerKind {
    LayerKind::Hides {
        hides,
        infinite: fill == f64::NEG_INFINITY,
    }
}

/// Whether no other score of the dtype can be as low as this one, unless it is about to overflow.
fn hides_fully(score: f64, dtype: Dtype) -> bool {
    score <= 0.49 * dtype_min(dtype)
}

/// The minimum finite number of a dtype.
fn dtype_min(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::Float16 => half::f16::MIN.to_f64(),
        Dtype::Bfloat16 => half::bf16::MIN.to_f64(),
        _ => f64::from(f32::MIN),
    }
}

/// The magnitude from which on a number in half precision absorbs the scores it is added to.
fn absorption_threshold(dtype: Dtype) -> f64 {
    if dtype == Dtype::Float16 { 2e4 } else { 1e4 }
}

/// Whether numbers that are added are constant, and absorb no score.
fn absorbs_no_score(matcher: &Matcher<'_>, value: Value, dtype: Dtype) -> bool {
    matcher
        .constant_values(value, MAX_ELEMENTS)
        .is_some_and(|values| values.iter().all(|v| v.abs() < absorption_threshold(dtype)))
}

/// Which keys are visible, when the mask is constant and means only that, and what hidden scores become.
fn visible(matcher: &Matcher<'_>, applied: AppliedMask, dtype: Dtype) -> Option<(Vec<bool>, f64)> {
    let values = matcher.constant_values(applied.value, MAX_ELEMENTS)?;
    match applied.encoding {
        MaskEncoding::Added => {
            let fill = values.iter().copied().fold(0.0, f64::min);
            let says_so = |value: &f64| *value == 0.0 || *value == fill;
            let hides = fill == 0.0 || hides_fully(fill, dtype);
            (hides && values.iter().all(says_so))
                .then(|| (values.iter().map(|v| *v == 0.0).collect(), fill))
        }
        MaskEncoding::Selects { hides, fill } => {
            Some((values.iter().map(|v| (*v != 0.0) != hides).collect(), fill))
        }
    }
}

/// Whether exactly the keys after the query are hidden, the last query being aligned with the last key.
fn is_causal(shape: &[i32], visible: &[bool], [queries, keys]: [i32; 2]) -> bool {
    let (Ok(n_queries), Ok(n_keys)) = (usize::try_from(queries), usize::try_from(keys)) else {
        return false;
    };
    let whole = shape.len() >= 2 && shape[shape.len() - 2..] == [queries, keys];
    if !whole || element_count(shape) != n_queries * n_keys || queries > keys {
        return false;
    }
    let shift = n_keys - n_queries;
    visible.iter().enumerate().all(|(index, visible)| {
        let (query, key) = (index / n_keys, index % n_keys);
        *visible == (key <= query + shift)
    })
}

/// Whether every row has a visible key.
fn every_row_has_key(shape: &[i32], visible: &[bool]) -> bool {
    match shape.last().map(|last| usize::try_from(*last)) {
        Some(Ok(last)) if last > 0 => visible.chunks_exact(last).all(|row| row.contains(&true)),
        _ => false,
    }
}

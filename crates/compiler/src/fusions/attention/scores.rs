//! Scores of attention: what is done to the product of queries and keys before the softmax.

use mlx::{Dtype, Op};

use super::mask::{AppliedMask, MaskEncoding};
use crate::fusions::matcher::Matcher;
use crate::fusions::{Refusal, RefusalKind};
use crate::graph::Value;

/// What is done to the product of queries and keys before the softmax.
#[derive(Clone, Default)]
pub(super) struct Scores {
    pub(super) scale: Option<f64>,
    pub(super) masks: Vec<AppliedMask>,
    /// One more score for each row, whose weight is dropped.
    pub(super) sinks: Option<Value>,
    /// The dtypes of scores and weights on their way to the product with the values.
    dtypes: Vec<Dtype>,
    pub(super) product: Option<Value>,
}

impl Scores {
    /// Strips casts, and records their dtypes.
    pub(super) fn strip_casts(&mut self, matcher: &Matcher<'_>, value: Value) -> Value {
        self.dtypes.push(matcher.dtype(value));
        match matcher.cast(value) {
            Some(inner) => self.strip_casts(matcher, inner),
            None => value,
        }
    }

    /// Reads scores from the outside in and returns queries and transposed keys.
    pub(super) fn read(
        &mut self,
        matcher: &Matcher<'_>,
        value: Value,
    ) -> Option<Result<(Value, Value), Refusal>> {
        self.dtypes.push(matcher.dtype(value));
        let (op, node) = matcher.node(value)?;
        match op {
            Op::Matmul => {
                self.product = Some(value);
                Some(Ok((node.inputs[0], node.inputs[1])))
            }
            Op::Astype { .. } => self.read(matcher, matcher.cast(value)?),
            Op::Negative => self.scaled(matcher, node.inputs[0], -1.0),
            Op::Multiply => matcher
                .both_orders(value, op)
                .into_iter()
                .find_map(|[scores, number]| self.scaled(matcher, scores, matcher.number(number)?)),
            Op::Divide => self.scaled(
                matcher,
                node.inputs[0],
                1.0 / matcher.number(node.inputs[1])?,
            ),
            Op::Add => self.masked(matcher, value),
            Op::Where => {
                let [condition, a, b] = *node.inputs.as_slice() else {
                    return None;
                };
                let (scores, fill, hides) = match (matcher.number(a), matcher.number(b)) {
                    (None, Some(fill)) => (a, fill, false),
                    (Some(fill), None) => (b, fill, true),
                    _ => return None,
                };
                self.masks.push(AppliedMask {
                    value: condition,
                    encoding: MaskEncoding::Selects { hides, fill },
                    dtype: matcher.dtype(value),
                });
                self.read(matcher, scores)
            }
            Op::Tanh => {
                let product = matcher.product(node.inputs[0]);
                let [scores] = *product.factors.as_slice() else {
                    return None;
                };
                self.read(matcher, scores)?.ok()?;
                let reason = "the scores are capped by tanh";
                Some(Err(Refusal::new(RefusalKind::Formula, reason)))
            }
            _ => None,
        }
    }

    /// Reads scores to which a mask is added. When both sides are products, such as with relative positions, scores
    /// are the one of which both factors have a batch.
    fn masked(
        &mut self,
        matcher: &Matcher<'_>,
        sum: Value,
    ) -> Option<Result<(Value, Value), Refusal>> {
        let sides = matcher.both_orders(sum, &Op::Add).into_iter();
        let mut found: Vec<_> = sides
            .filter_map(|[scores, mask]| {
                let mut inner = self.clone();
                inner.masks.push(AppliedMask {
                    value: mask,
                    encoding: MaskEncoding::Added,
                    dtype: matcher.dtype(sum),
                });
                let product = inner.read(matcher, scores)?;
                Some((inner, product))
            })
            .collect();
        let of_batches = |product: &Result<(Value, Value), Refusal>| match product {
            Ok((q, k_t)) => matcher.ndim(*q) == matcher.ndim(*k_t),
            Err(_) => false,
        };
        let place = found.iter().position(|(_, product)| of_batches(product));
        let place = place.unwrap_or(0);
        (place < found.len()).then(|| {
            let (inner, product) = found.swap_remove(place);
            *self = inner;
            product
        })
    }

    /// Reads scores that are multiplied with a number.
    fn scaled(
        &mut self,
        matcher: &Matcher<'_>,
        scores: Value,
        factor: f64,
    ) -> Option<Result<(Value, Value), Refusal>> {
        self.scale = Some(self.scale.unwrap_or(1.0) * factor);
        let masks = self.masks.len();
        let inner = self.read(matcher, scores)?;
        if self.masks.len() > masks && factor != 1.0 {
            let reason = "the mask is scaled with the scores";
            return Some(Err(Refusal::new(RefusalKind::Mask, reason)));
        }
        Some(inner)
    }

    /// Checks that scores and weights are nowhere rounded to less than the queries have.
    pub(super) fn check_dtypes(&self, dtype: Dtype) -> Result<(), Refusal> {
        let exact = |other: &&Dtype| **other == dtype || **other == Dtype::Float32;
        match self.dtypes.iter().find(|other| !exact(other)) {
            None => Ok(()),
            Some(other) => {
                let reason = format!("queries are {dtype}, scores or weights {other} in between");
                Err(Refusal::new(RefusalKind::Dtype, reason))
            }
        }
    }
}

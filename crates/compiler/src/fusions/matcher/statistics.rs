//! Means, roots and quotients in all their spellings, and whether a reduced value is broadcast along the right axis.

use mlx::{Op, axis_index};

use super::{Matcher, approx_eq};
use crate::graph::Value;

impl Matcher<'_> {
    /// What a mean is of; the result may keep the axes or not.
    pub(crate) fn mean_of(&self, value: Value) -> Option<Mean> {
        let value = self.strip_keepdims(value);
        let (op, node) = self.node(value)?;
        match op {
            Op::Mean { axes, .. } => Some(Mean {
                of: node.inputs[0],
                axes: axes.clone(),
            }),
            // The number of elements is frozen into such a mean.
            Op::Multiply | Op::Divide if !self.shapeless => {
                let product = self.product(value);
                let ([sum], []) = (product.factors.as_slice(), product.divisors.as_slice()) else {
                    return None;
                };
                let sum = self.strip_keepdims(*sum);
                let (Op::Sum { axes, .. }, node) = self.node(sum)? else {
                    return None;
                };
                let of = node.inputs[0];
                let n: f64 = axes
                    .iter()
                    .filter_map(|axis| self.shape(of).get(usize::try_from(*axis).ok()?))
                    .map(|n| f64::from(*n))
                    .product();
                approx_eq(product.number, 1.0 / n).then(|| Mean {
                    of,
                    axes: axes.clone(),
                })
            }
            _ => None,
        }
    }

    /// Whether these axes are the last one of a value.
    pub(crate) fn is_last_axis(&self, of: Value, axes: &[i32]) -> bool {
        let last = i32::try_from(self.ndim(of)).unwrap_or(i32::MAX) - 1;
        axes == [last] || axes == [-1]
    }

    /// Whether a value that was reduced over `axes` of another is broadcast against that as with `keepdims`.
    ///
    /// Without it, the results of rows may be broadcast along a column of as many elements.
    pub(crate) fn is_keepdims_aligned(&self, reduced: Value, of: Value, axes: &[i32]) -> bool {
        let mut kept = self.shape(of).to_vec();
        for axis in axes {
            let Some(axis) = axis_index(*axis, kept.len()) else {
                return false;
            };
            kept[axis] = 1;
        }
        if self.shapeless {
            return self.shape(reduced) == kept;
        }
        without_leading_ones(self.shape(reduced)) == without_leading_ones(&kept)
    }

    /// Strips a reshape that only adds or drops axes of size 1.
    pub(crate) fn strip_keepdims(&self, value: Value) -> Value {
        match self.node(value) {
            Some((Op::Reshape { .. } | Op::ExpandDims { .. }, node)) => {
                let without_ones = |shape: &[i32]| -> Vec<i32> {
                    shape.iter().copied().filter(|n| *n != 1).collect()
                };
                let inner = node.inputs[0];
                if without_ones(self.shape(inner)) == without_ones(self.shape(value)) {
                    inner
                } else {
                    value
                }
            }
            _ => value,
        }
    }

    /// What is squared: `square(x)`, `x * x`, `power(x, 2)`.
    pub(crate) fn square_of(&self, value: Value) -> Option<Value> {
        let (op, node) = self.node(value)?;
        match op {
            Op::Square => Some(node.inputs[0]),
            Op::Multiply if node.inputs[0] == node.inputs[1] => Some(node.inputs[0]),
            Op::Power if self.number(node.inputs[1]) == Some(2.0) => Some(node.inputs[0]),
            _ => None,
        }
    }

    /// What the square root is of that a value is: `sqrt(x)`, `power(x, 0.5)`.
    pub(crate) fn sqrt_of(&self, value: Value) -> Option<Value> {
        let (op, node) = self.node(value)?;
        match op {
            Op::Sqrt => Some(node.inputs[0]),
            Op::Power if self.number(node.inputs[1]) == Some(0.5) => Some(node.inputs[0]),
            _ => None,
        }
    }

    /// What the inverse square root is of that a value is: `rsqrt(x)`, `1 / sqrt(x)`, `power(x, -0.5)`.
    pub(crate) fn rsqrt_of(&self, value: Value) -> Option<Value> {
        let (op, node) = self.node(value)?;
        match op {
            Op::Rsqrt => Some(node.inputs[0]),
            Op::Power if self.number(node.inputs[1]) == Some(-0.5) => Some(node.inputs[0]),
            Op::Reciprocal => self.sqrt_of(node.inputs[0]),
            Op::Divide if self.number(node.inputs[0]) == Some(1.0) => self.sqrt_of(node.inputs[1]),
            _ => None,
        }
    }

    /// Every match of a value as `numerator * rsqrt(radicand)` or `numerator / sqrt(radicand)`, with a weight on either
    /// operand.
    pub(crate) fn div_by_sqrt(&self, value: Value) -> Vec<DivBySqrt> {
        let mut found = Vec::new();
        for [numerator, root] in self.both_orders(value, &Op::Multiply) {
            found.extend(self.times_rsqrt(numerator, root, None));
            // `above * (rsqrt(under) * weight)`, as in Flax.
            for [root, weight] in self.both_orders(root, &Op::Multiply) {
                found.extend(self.times_rsqrt(numerator, root, Some(weight)));
            }
        }
        if let Some([numerator, root]) = self.binary(value, &Op::Divide) {
            let plain = self.strip_casts(self.strip_keepdims(root));
            let radicand = self.sqrt_of(plain);
            found.extend(radicand.map(|radicand| self.div(numerator, root, radicand, None)));
        }
        // `(above * weight) * rsqrt(under)`.
        let plain: Vec<DivBySqrt> = std::mem::take(&mut found);
        for one in plain {
            if one.weight.is_none() {
                for [numerator, weight] in self.both_orders(one.numerator, &Op::Multiply) {
                    if self.is_weight(weight, numerator) {
                        found.push(DivBySqrt {
                            numerator,
                            weight: Some(self.strip_broadcast(weight)),
                            ..one
                        });
                    }
                }
            }
            found.push(one);
        }
        found
    }

    fn times_rsqrt(
        &self,
        numerator: Value,
        root: Value,
        weight: Option<Value>,
    ) -> Option<DivBySqrt> {
        if weight.is_some_and(|weight| !self.is_weight(weight, numerator)) {
            return None;
        }
        let radicand = self.rsqrt_of(self.strip_casts(self.strip_keepdims(root)))?;
        Some(self.div(
            numerator,
            root,
            radicand,
            weight.map(|weight| self.strip_broadcast(weight)),
        ))
    }

    fn div(
        &self,
        numerator: Value,
        root: Value,
        radicand: Value,
        weight: Option<Value>,
    ) -> DivBySqrt {
        let kept = self.strip_keepdims(root);
        DivBySqrt {
            numerator,
            radicand,
            root,
            is_cast: self.strip_casts(kept) != kept,
            weight,
        }
    }

    /// Whether a value is a vector over the last axis that is independent of the other operand.
    fn is_weight(&self, value: Value, beside: Value) -> bool {
        let vector = self.strip_broadcast(value);
        self.is_vector_for(vector, beside)
            && self.dtype(vector).is_floating()
            && self.shape(vector).last() != Some(&1)
            && !self.depends(beside, vector)
            && !self.depends(vector, beside)
    }

    /// Whether `narrow` is `wide`, or `wide` is a cast of it to a wider dtype.
    pub(crate) fn upcasts_to(&self, narrow: Value, without_ones: Value) -> bool {
        narrow == without_ones || self.strip_upcasts(without_ones) == narrow
    }

    /// Every match of a value as `numerator / denominator` or `numerator * (1 / denominator)`.
    pub(crate) fn quotients(&self, value: Value) -> Vec<(Value, Value)> {
        let mut found = Vec::new();
        for [numerator, inverse] in self.both_orders(value, &Op::Multiply) {
            if let Some(denominator) = self.unary(inverse, &Op::Reciprocal) {
                found.push((numerator, denominator));
            }
            if let Some([one, denominator]) = self.binary(inverse, &Op::Divide)
                && self.number(one) == Some(1.0)
            {
                found.push((numerator, denominator));
            }
        }
        if let Some([numerator, denominator]) = self.binary(value, &Op::Divide) {
            found.push((numerator, denominator));
        }
        found
    }
}

/// A mean that was found.
pub(crate) struct Mean {
    pub(crate) of: Value,
    pub(crate) axes: Vec<i32>,
}

/// Something over a square root.
#[derive(Clone, Copy)]
pub(crate) struct DivBySqrt {
    pub(crate) numerator: Value,
    /// What the root is of.
    pub(crate) radicand: Value,
    /// The root, or its inverse, with the axes with which it is used.
    pub(crate) root: Value,
    /// Whether the root is cast to another dtype before it is used.
    pub(crate) is_cast: bool,
    /// A vector over the last axis with which it is multiplied.
    pub(crate) weight: Option<Value>,
}

pub(crate) fn without_leading_ones(shape: &[i32]) -> &[i32] {
    let ones = shape.iter().take_while(|n| **n == 1).count();
    &shape[ones..]
}

//! A network over the ranks of a group: each has some of the heads and of the feed-forward features.
//!
//! Two sums for each layer put the shares together. Heads that share a key and a value stay together; where ranks do not
//! divide them, some ranks have one more, and with few of them some have none.

use std::ops::Range;

use mlx::distributed::Group;
use mlx::{Array, Quantized};
use mlx_nn::{Linear, QuantizedLinear};

use super::quantizable::LinearLayer;
use crate::{Error, Result};

/// Which side of a matrix is cut.
#[derive(Clone, Copy)]
pub(super) enum Side {
    /// Outputs: rows, and the bias.
    Outputs,
    /// Inputs: columns. The first rank has the bias.
    Inputs,
}

/// Returns this rank's part of `n` things, of which ranks have equal numbers or one more.
pub(super) fn share(n: usize, group: &Group) -> Range<usize> {
    let (rank, size) = (group.rank(), group.size());
    n * rank / size..n * (rank + 1) / size
}

/// Returns `range` times `factor`.
pub(super) fn times(range: &Range<usize>, factor: usize) -> Range<usize> {
    range.start * factor..range.end * factor
}

/// Returns the number of features that may not be parted, because they share a scale.
pub(super) fn unit(layer: &LinearLayer) -> usize {
    match layer {
        LinearLayer::Plain(_) => 1,
        LinearLayer::Packed(layer) => usize::try_from(layer.quantization.group_size).unwrap_or(1),
    }
}

/// Returns the layer of a range of outputs or inputs.
pub(super) fn cut(
    layer: &LinearLayer,
    side: Side,
    range: &Range<usize>,
    group: &Group,
) -> Result<LinearLayer> {
    let bias = |bias: &Option<Array>| match (side, bias) {
        (Side::Outputs, Some(bias)) => slice(bias, 0, range).map(Some),
        (Side::Inputs, bias) => Ok(bias.clone().filter(|_| group.rank() == 0)),
        (Side::Outputs, None) => Ok(None),
    };
    Ok(match layer {
        LinearLayer::Plain(plain) => {
            let axis = match side {
                Side::Outputs => 0,
                Side::Inputs => 1,
            };
            let weight = slice(&plain.weight, axis, range)?;
            LinearLayer::Plain(Linear::from_weights(weight, bias(&plain.bias)?))
        }
        LinearLayer::Packed(packed) => {
            let mut cut = QuantizedLinear::from_weights(
                cut_packed(&packed.weights(), side, range)?,
                bias(&packed.bias)?,
            );
            cut.kernels = packed.kernels;
            cut.activations = packed.activations;
            LinearLayer::Packed(cut)
        }
    })
}

fn cut_packed(weights: &Quantized, side: Side, range: &Range<usize>) -> Result<Quantized> {
    let quantization = weights.quantization;
    let number = |number: i32| usize::try_from(number).unwrap_or(1);
    let (group_size, bits) = (number(quantization.group_size), number(quantization.bits));
    let (axis, words, scales) = match side {
        Side::Outputs => (0, range.clone(), range.clone()),
        Side::Inputs => {
            if !(range.start.is_multiple_of(group_size) && range.end.is_multiple_of(group_size)) {
                return Err(Error::Config(format!(
                    "shard: wanted inputs in groups of {group_size}, which share a scale, got {range:?}"
                )));
            }
            let words = range.start * bits / 32..range.end * bits / 32;
            (1, words, range.start / group_size..range.end / group_size)
        }
    };
    let biases = weights.biases.as_ref();
    Ok(Quantized {
        weight: slice(&weights.weight, axis, &words)?,
        scales: slice(&weights.scales, axis, &scales)?,
        biases: biases
            .map(|biases| slice(biases, axis, &scales))
            .transpose()?,
        quantization,
    })
}

fn slice(array: &Array, axis: i32, range: &Range<usize>) -> Result<Array> {
    let at = |index: usize| i32::try_from(index).unwrap_or(i32::MAX);
    let parts = array
        .split_at([at(range.start), at(range.end)], axis)
        .map_err(Error::model)?;
    Ok(parts[1].contiguous())
}

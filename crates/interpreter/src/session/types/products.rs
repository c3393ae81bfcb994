//! Products, convolutions and fused operations.

use mlx::{ArrayType, Dtype, Op};

use super::{Types, broadcast, like, one};
use crate::number::{inexact, promote};

pub(super) fn multiplied(op: &Op, inputs: &[ArrayType]) -> Option<Types> {
    let x = inputs.first()?;
    Some(match op {
        Op::Matmul => product(x, &inputs[1], inexact(promote(x.dtype, inputs[1].dtype))),
        Op::Addmm { .. } => {
            let dtype = promote(promote(x.dtype, inputs[1].dtype), inputs[2].dtype);
            product(&inputs[1], &inputs[2], dtype).and_then(|made| {
                let both = broadcast(&[x.clone(), made[0].clone()])?;
                match both == made[0].shape {
                    true => Ok(made),
                    false => Err(format!("wanted an addend that fits {}, got {x}", made[0])),
                }
            })
        }
        Op::Conv { .. } => convolved(op, x, &inputs[1]),
        Op::Linear => {
            let transposed = match inputs[1].shape.as_slice() {
                &[n, k] => ArrayType::new(vec![k, n], inputs[1].dtype),
                _ => return Some(Err(format!("wanted a matrix, got {}", inputs[1]))),
            };
            product(x, &transposed, promote(x.dtype, inputs[1].dtype))
        }
        Op::QuantizedMatmul {
            transpose: true,
            bits,
            ..
        } => {
            let (Some(&k), &[n, words]) = (x.shape.last(), inputs[1].shape.as_slice()) else {
                return None;
            };
            let fits = i64::from(words) * 32 == i64::from(k) * i64::from(*bits)
                && inputs[1].dtype == Dtype::Uint32;
            let mut shape = x.shape.clone();
            *shape.last_mut()? = n;
            match fits {
                true => one(shape, x.dtype),
                false => Err(format!("wanted weights for {x}, got {}", inputs[1])),
            }
        }
        _ => return None,
    })
}

fn product(a: &ArrayType, b: &ArrayType, dtype: Dtype) -> Types {
    let unfit = || format!("wanted matrices that fit, got {a} and {b}");
    let (mut left, mut right) = (a.shape.clone(), b.shape.clone());
    let (is_row, is_column) = (left.len() == 1, right.len() == 1);
    if is_row {
        left.insert(0, 1);
    }
    if is_column {
        right.push(1);
    }
    let (Some((outer, &[rows, depth])), Some((other, &[inner, columns]))) =
        (left.split_last_chunk(), right.split_last_chunk())
    else {
        return Err(unfit());
    };
    if depth != inner {
        return Err(unfit());
    }
    let batch = [outer, other].map(|shape| ArrayType::new(shape.to_vec(), dtype));
    let mut shape = broadcast(&batch)?;
    if !is_row {
        shape.push(rows);
    }
    if !is_column {
        shape.push(columns);
    }
    one(shape, dtype)
}

fn convolved(op: &Op, x: &ArrayType, weight: &ArrayType) -> Types {
    let Op::Conv {
        stride,
        padding_lo,
        padding_hi,
        kernel_dilation,
        input_dilation,
        groups,
        ..
    } = op
    else {
        return Err("wanted conv_general".to_owned());
    };
    let unfit = || format!("wanted a weight that fits {x}, got {weight}");
    let (&[batch, ref input @ .., channels], &[outputs, ref kernel @ .., depth]) =
        (x.shape.as_slice(), weight.shape.as_slice())
    else {
        return Err(unfit());
    };
    let steps = [stride, kernel_dilation, input_dilation];
    let fits = input.len() == kernel.len()
        && steps.into_iter().flatten().all(|&step| step > 0)
        && *groups > 0
        && i64::from(depth) * i64::from(*groups) == i64::from(channels)
        && outputs % groups == 0;
    if !fits {
        return Err(unfit());
    }
    let at = |list: &[i32], axis: usize, default: i32| {
        i64::from(list.get(axis).copied().unwrap_or(default))
    };
    let mut shape = vec![batch];
    for axis in 0..input.len() {
        let dilated = |n: i32, by: i64| {
            if n > 0 {
                (i64::from(n) - 1) * by + 1
            } else {
                0
            }
        };
        let padding = at(padding_lo, axis, 0) + at(padding_hi, axis, 0);
        let length = dilated(input[axis], at(input_dilation, axis, 1)) + padding;
        let window = dilated(kernel[axis], at(kernel_dilation, axis, 1));
        let step = at(stride, axis, 1);
        if step < 1 || length < window || window < 1 {
            return Err(unfit());
        }
        shape.push(i32::try_from((length - window) / step + 1).unwrap_or(i32::MAX));
    }
    shape.push(outputs);
    one(shape, inexact(promote(x.dtype, weight.dtype)))
}

pub(super) fn fused(op: &Op, inputs: &[ArrayType]) -> Option<Types> {
    let x = inputs.first()?;
    Some(match op {
        Op::Gelu | Op::GeluApprox | Op::Silu if x.dtype.is_inexact() => like(x),
        Op::SwiGlu if *x == inputs[1] && x.dtype.is_inexact() => like(x),
        Op::Rope { .. } if x.dtype.is_inexact() => like(x),
        Op::RmsNorm { .. } | Op::LayerNorm { .. } => {
            let alike = inputs.iter().all(|other| other.dtype == x.dtype);
            let fits =
                |vector: &ArrayType| vector.shape.as_slice() == &x.shape[x.shape.len() - 1..];
            if x.shape.is_empty() || !inputs[1..].iter().all(fits) {
                return Some(Err(format!("wanted vectors along the last axis of {x}")));
            }
            return alike.then(|| like(x));
        }
        Op::ScaledDotProductAttention { .. } => {
            let alike = inputs[..3].iter().all(|other| other.dtype == x.dtype);
            let (&[batch, heads, queries, _], &[.., dim]) =
                (x.shape.as_slice(), inputs[2].shape.as_slice())
            else {
                return Some(Err(format!("wanted four axes, got {x} and {}", inputs[2])));
            };
            let (keys, values) = (&inputs[1], &inputs[2]);
            let fits = match (keys.shape.as_slice(), values.shape.as_slice()) {
                (&[key_batch, key_heads, n, size], &[value_batch, value_heads, n_values, _]) => {
                    let is_shared = key_heads > 0 && heads % key_heads == 0;
                    [key_batch, value_batch] == [batch; 2]
                        && [value_heads, n_values] == [key_heads, n]
                        && x.shape.last() == Some(&size)
                        && (is_shared || heads == 0)
                }
                _ => false,
            };
            if !fits {
                return Some(Err(format!(
                    "wanted keys and values that fit queries {x}, got {keys} and {values}"
                )));
            }
            return alike.then(|| one(vec![batch, heads, queries, dim], x.dtype));
        }
        Op::CrossEntropy => {
            let (_, outer) = x.shape.split_last()?;
            return (outer == inputs[1].shape).then(|| one(outer.to_vec(), Dtype::Float32));
        }
        _ => return None,
    })
}

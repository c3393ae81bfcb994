//! The types that operations give, for those that kernels compute: no type in a file is believed.

use mlx::{ArrayType, Dtype, DtypeKind, Op};

use crate::number::{inexact, promote};
use crate::tensor::{axes, axis, broadcast_shape, sizes};

type Types = Result<Vec<ArrayType>, String>;

/// Returns the types of the results of an operation; `None` for those that only the interpreter computes, whose results it
/// makes of the types in the graph.
pub(super) fn output_types(op: &Op, inputs: &[ArrayType]) -> Option<Types> {
    let (min, max) = op.arity();
    if !(min..=max).contains(&inputs.len()) {
        let got = inputs.len();
        return Some(Err(format!("wanted {min} to {max} inputs, got {got}")));
    }
    elementwise(op, inputs)
        .or_else(|| moved(op, inputs))
        .or_else(|| indexed(op, inputs))
        .or_else(|| reduced(op, inputs))
        .or_else(|| multiplied(op, inputs))
        .or_else(|| fused(op, inputs))
}

fn one(shape: Vec<i32>, dtype: Dtype) -> Types {
    Ok(vec![ArrayType { shape, dtype }])
}

fn like(x: &ArrayType) -> Types {
    Ok(vec![x.clone()])
}

fn size(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// The shape that all broadcast to.
fn broadcast(inputs: &[ArrayType]) -> Result<Vec<i32>, String> {
    let shapes: Vec<Vec<usize>> = inputs
        .iter()
        .map(|x| sizes(&x.shape).map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    let shape = broadcast_shape(shapes.iter().map(Vec::as_slice));
    let shape = shape.map_err(|error| error.to_string())?;
    Ok(shape.into_iter().map(size).collect())
}

fn axis_of(number: i32, x: &ArrayType) -> Result<usize, String> {
    axis(number, x.shape.len()).map_err(|error| error.to_string())
}

fn count(shape: &[i32]) -> i64 {
    shape
        .iter()
        .fold(1, |n: i64, &size| n.saturating_mul(size.into()))
}

fn elementwise(op: &Op, inputs: &[ArrayType]) -> Option<Types> {
    let common = || inputs.iter().map(|x| x.dtype).reduce(promote);
    let dtype = match op {
        Op::Negative
        | Op::Square
        | Op::Positive
        | Op::StopGradient
        | Op::BitwiseInvert
        | Op::Ceil
        | Op::Floor
        | Op::Trunc
        | Op::Sign => inputs.first()?.dtype,
        Op::Abs => match inputs.first()?.dtype {
            Dtype::Complex64 => Dtype::Float32,
            other => other,
        },
        Op::Round { decimals: 0 } => inputs.first()?.dtype,
        Op::Arccos
        | Op::Arccosh
        | Op::Arcsin
        | Op::Arcsinh
        | Op::Arctan
        | Op::Arctanh
        | Op::Cos
        | Op::Cosh
        | Op::Erf
        | Op::Erfinv
        | Op::Exp
        | Op::Expm1
        | Op::Log
        | Op::Log10
        | Op::Log1p
        | Op::Log2
        | Op::Reciprocal
        | Op::Rsqrt
        | Op::Sigmoid
        | Op::Sin
        | Op::Sinh
        | Op::Sqrt
        | Op::Tan
        | Op::Tanh => inexact(inputs.first()?.dtype),
        Op::Divide | Op::Arctan2 | Op::Logaddexp => inexact(common()?),
        Op::Add
        | Op::Subtract
        | Op::Multiply
        | Op::Maximum
        | Op::Minimum
        | Op::Power
        | Op::FloorDivide
        | Op::Remainder
        | Op::BitwiseAnd
        | Op::BitwiseOr
        | Op::BitwiseXor
        | Op::Clip { .. } => common()?,
        Op::LeftShift | Op::RightShift => match common()? {
            Dtype::Bool => Dtype::Uint8,
            other => other,
        },
        Op::Equal
        | Op::NotEqual
        | Op::Less
        | Op::LessEqual
        | Op::Greater
        | Op::GreaterEqual
        | Op::LogicalAnd
        | Op::LogicalOr
        | Op::LogicalXor
        | Op::LogicalNot
        | Op::Isnan => Dtype::Bool,
        Op::Where => promote(inputs.get(1)?.dtype, inputs.get(2)?.dtype),
        Op::Astype { dtype } => *dtype,
        _ => return None,
    };
    Some(broadcast(inputs).and_then(|shape| one(shape, dtype)))
}

/// Operations that move elements.
fn moved(op: &Op, inputs: &[ArrayType]) -> Option<Types> {
    let x = inputs.first()?;
    Some(match op {
        Op::Copy | Op::Contiguous { .. } => like(x),
        Op::Reshape { .. }
        | Op::Flatten { .. }
        | Op::Unflatten { .. }
        | Op::Squeeze { .. }
        | Op::ExpandDims { .. } => reshaped(op, x).and_then(|shape| one(shape, x.dtype)),
        Op::Transpose { .. } | Op::Swapaxes { .. } | Op::Moveaxis { .. } => order(op, x)
            .map(|order| order.iter().map(|&axis| x.shape[axis]).collect())
            .and_then(|shape| one(shape, x.dtype)),
        Op::BroadcastTo { shape } => {
            let wanted = ArrayType::new(shape.clone(), x.dtype);
            broadcast(&[x.clone(), wanted]).and_then(|both| match both == *shape {
                true => one(both, x.dtype),
                false => Err(format!("wanted a shape that fits {shape:?}, got {x}")),
            })
        }
        Op::BroadcastArrays => broadcast(inputs).map(|shape| {
            let of = |x: &ArrayType| ArrayType::new(shape.clone(), x.dtype);
            inputs.iter().map(of).collect()
        }),
        Op::Slice {
            start,
            stop,
            strides,
        } if strides.iter().all(|&step| step > 0) => {
            sliced(x, [start, stop, strides]).and_then(|shape| one(shape, x.dtype))
        }
        Op::Concatenate { axis } => joined(*axis, inputs),
        Op::Stack { axis } => stacked(*axis, inputs),
        Op::Split { .. } | Op::SplitSections { .. } | Op::Unstack { .. } => {
            return super::apply::parts(op, x).map(|parts| {
                let of = |(_, shape): &(usize, Vec<i32>)| ArrayType::new(shape.clone(), x.dtype);
                let parts: Vec<ArrayType> = parts?.1.iter().map(of).collect();
                match op {
                    Op::Unstack { axis } => {
                        let axis = axis_of(*axis, x)?;
                        Ok(parts
                            .into_iter()
                            .map(|mut part| {
                                part.shape.remove(axis);
                                part
                            })
                            .collect())
                    }
                    _ => Ok(parts),
                }
            });
        }
        Op::ZerosLike | Op::OnesLike => like(x),
        _ => return None,
    })
}

fn reshaped(op: &Op, x: &ArrayType) -> Result<Vec<i32>, String> {
    let ndim = x.shape.len();
    let of = |error: mlx_compiler::Error| error.to_string();
    let shape = match op {
        Op::Reshape { shape } => filled(shape, count(&x.shape)),
        Op::Flatten {
            start_axis,
            end_axis,
        } => {
            if ndim == 0 {
                return Ok(vec![1]);
            }
            let wrap = |axis: i32| if axis < 0 { axis + size(ndim) } else { axis };
            let start = usize::try_from(wrap(*start_axis).max(0)).unwrap_or(0);
            let end = usize::try_from(wrap(*end_axis).min(size(ndim) - 1)).unwrap_or(0);
            if start > end || start >= ndim {
                return Err(format!(
                    "wanted axes of {x}, got {start_axis} to {end_axis}"
                ));
            }
            let mut shape = x.shape[..start].to_vec();
            shape.push(i32::try_from(count(&x.shape[start..=end])).unwrap_or(i32::MAX));
            shape.extend(&x.shape[end + 1..]);
            shape
        }
        Op::Unflatten { axis: at, shape } => {
            let at = axis_of(*at, x)?;
            let inner = filled(shape, x.shape[at].into());
            let (before, after) = (&x.shape[..at], &x.shape[at + 1..]);
            [before, &inner, after].concat()
        }
        Op::Squeeze { axes: list } => {
            let gone = axes(list, ndim).map_err(of)?;
            let is_kept = |(axis, _): &(usize, &i32)| !gone.contains(axis);
            x.shape
                .iter()
                .enumerate()
                .filter(is_kept)
                .map(|(_, &n)| n)
                .collect()
        }
        Op::ExpandDims { axes: list } => {
            let mut new = axes(list, ndim + list.len()).map_err(of)?;
            new.sort_unstable();
            let mut shape = x.shape.clone();
            for axis in new {
                shape.insert(axis.min(shape.len()), 1);
            }
            shape
        }
        _ => return Err("wanted a shape".to_owned()),
    };
    match count(&shape) == count(&x.shape) && shape.iter().all(|&n| n >= 0) {
        true => Ok(shape),
        false => Err(format!("wanted as many elements as {x} has, got {shape:?}")),
    }
}

/// A shape with its size of -1 found.
fn filled(shape: &[i32], elements: i64) -> Vec<i32> {
    let known = shape.iter().filter(|&&n| n != -1);
    let known = known.fold(1_i64, |all, &n| all.saturating_mul(n.into()));
    let rest = i32::try_from(elements.checked_div(known).unwrap_or(0)).unwrap_or(-2);
    shape
        .iter()
        .map(|&n| if n == -1 { rest } else { n })
        .collect()
}

/// The order of axes that a view puts them into.
fn order(op: &Op, x: &ArrayType) -> Result<Vec<usize>, String> {
    let ndim = x.shape.len();
    let mut order: Vec<usize> = (0..ndim).collect();
    match op {
        Op::Transpose { axes: list } => {
            let of = |error: mlx_compiler::Error| error.to_string();
            order = axes(list, ndim).map_err(of)?;
        }
        Op::Swapaxes { axis1, axis2 } => order.swap(axis_of(*axis1, x)?, axis_of(*axis2, x)?),
        Op::Moveaxis {
            source,
            destination,
        } => {
            let moved = order.remove(axis_of(*source, x)?);
            order.insert(axis_of(*destination, x)?, moved);
        }
        _ => {}
    }
    let mut sorted = order.clone();
    sorted.sort_unstable();
    match sorted.into_iter().eq(0..ndim) {
        true => Ok(order),
        false => Err(format!("wanted each axis of {x} once, got {order:?}")),
    }
}

/// The shape of a slice by steps above zero, cut to the array as NumPy does.
fn sliced(x: &ArrayType, [start, stop, strides]: [&[i32]; 3]) -> Result<Vec<i32>, String> {
    let ndim = x.shape.len();
    if [start.len(), stop.len(), strides.len()] != [ndim; 3] {
        return Err(format!("wanted {ndim} axes, got {start:?}, {stop:?}"));
    }
    let axis = |axis: usize| {
        let n = i64::from(x.shape[axis]);
        let wrap = |k: i32| if k < 0 { i64::from(k) + n } else { k.into() }.clamp(0, n);
        let covered = (wrap(stop[axis]) - wrap(start[axis])).max(0);
        let step = i64::from(strides[axis]);
        i32::try_from((covered + step - 1) / step).unwrap_or(i32::MAX)
    };
    Ok((0..ndim).map(axis).collect())
}

fn joined(along: i32, inputs: &[ArrayType]) -> Types {
    let first = &inputs[0];
    let axis = axis_of(along, first)?;
    let mut shape = first.shape.clone();
    let mut dtype = first.dtype;
    for part in &inputs[1..] {
        let differs = |k: usize| k != axis && part.shape[k] != shape[k];
        if part.shape.len() != shape.len() || (0..shape.len()).any(differs) {
            return Err(format!("wanted arrays that fit {first}, got {part}"));
        }
        shape[axis] = shape[axis].saturating_add(part.shape[axis]);
        dtype = promote(dtype, part.dtype);
    }
    one(shape, dtype)
}

fn stacked(along: i32, inputs: &[ArrayType]) -> Types {
    let first = &inputs[0];
    let ndim = first.shape.len() + 1;
    let at = axis(along, ndim).map_err(|error| error.to_string())?;
    if let Some(other) = inputs.iter().find(|x| x.shape != first.shape) {
        return Err(format!("wanted arrays like {first}, got {other}"));
    }
    let dtype = inputs.iter().map(|x| x.dtype).reduce(promote);
    let mut shape = first.shape.clone();
    shape.insert(at, size(inputs.len()));
    one(shape, dtype.unwrap_or(first.dtype))
}

/// Operations that read or write elements at indices.
fn indexed(op: &Op, inputs: &[ArrayType]) -> Option<Types> {
    let x = inputs.first()?;
    let are_indices = |list: &[ArrayType]| {
        let is_index =
            |x: &ArrayType| matches!(x.dtype.kind(), DtypeKind::Signed | DtypeKind::Unsigned);
        match list.iter().find(|x| !is_index(x)) {
            Some(other) => Err(format!("wanted whole numbers as indices, got {other}")),
            None => Ok(()),
        }
    };
    Some(match op {
        Op::Take { axis } => are_indices(&inputs[1..]).and_then(|()| {
            let at = axis_of(*axis, x)?;
            let (before, after) = (&x.shape[..at], &x.shape[at + 1..]);
            one([before, &inputs[1].shape, after].concat(), x.dtype)
        }),
        Op::Gather {
            axes: list,
            slice_sizes,
        } => are_indices(&inputs[1..]).and_then(|()| {
            let fits = slice_sizes.len() == x.shape.len()
                && list.len() == inputs.len() - 1
                && slice_sizes
                    .iter()
                    .zip(&x.shape)
                    .all(|(part, n)| (0..=*n).contains(part));
            if !fits {
                return Err(format!("wanted slices of {x}, got {slice_sizes:?}"));
            }
            let outer = broadcast(&inputs[1..])?;
            one([outer, slice_sizes.clone()].concat(), x.dtype)
        }),
        Op::TakeAlongAxis { axis } => are_indices(&inputs[1..]).and_then(|()| {
            let (at, index) = (axis_of(*axis, x)?, &inputs[1].shape);
            if index.len() != x.shape.len() {
                return Err(format!("wanted as many axes as {x} has, got {index:?}"));
            }
            let mut others = [x.shape.clone(), index.clone()];
            others.iter_mut().for_each(|shape| shape[at] = 1);
            let others = others.map(|shape| ArrayType::new(shape, x.dtype));
            let mut shape = broadcast(&others)?;
            shape[at] = index[at];
            one(shape, x.dtype)
        }),
        Op::SliceDynamic {
            axes: list,
            slice_size,
        } => are_indices(&inputs[1..]).and_then(|()| {
            let n = axes(list, x.shape.len())
                .map_err(|error| error.to_string())?
                .len();
            let fits = slice_size.len() == x.shape.len()
                && count(&inputs[1].shape) == i64::from(size(n))
                && slice_size
                    .iter()
                    .zip(&x.shape)
                    .all(|(part, n)| (0..=*n).contains(part));
            match fits {
                true => one(slice_size.clone(), x.dtype),
                false => Err(format!("wanted a part of {x}, got {slice_size:?}")),
            }
        }),
        Op::SliceUpdate { .. }
        | Op::SliceUpdateAdd { .. }
        | Op::SliceUpdateProd { .. }
        | Op::SliceUpdateMax { .. }
        | Op::SliceUpdateMin { .. } => like(x),
        Op::SliceUpdateDynamic { .. } => are_indices(&inputs[2..]).and_then(|()| like(x)),
        Op::Scatter { .. }
        | Op::ScatterAdd { .. }
        | Op::ScatterProd { .. }
        | Op::ScatterMax { .. }
        | Op::ScatterMin { .. } => are_indices(&inputs[2..]).and_then(|()| like(x)),
        Op::PutAlongAxis { .. } | Op::ScatterAddAxis { .. } => {
            are_indices(&inputs[1..2]).and_then(|()| like(x))
        }
        _ => return None,
    })
}

/// Reductions, scans and orders.
fn reduced(op: &Op, inputs: &[ArrayType]) -> Option<Types> {
    let x = inputs.first()?;
    let whole = match x.dtype.kind() {
        DtypeKind::Bool => Dtype::Int32,
        DtypeKind::Signed if x.dtype.size() < 4 => Dtype::Int32,
        DtypeKind::Unsigned if x.dtype.size() < 4 => Dtype::Uint32,
        _ => x.dtype,
    };
    let over = |list: &[i32], keepdims: bool, dtype: Dtype| {
        let gone = axes(list, x.shape.len()).map_err(|error| error.to_string())?;
        let kept = x.shape.iter().enumerate().filter_map(|(axis, &n)| {
            match (gone.contains(&axis), keepdims) {
                (false, _) => Some(n),
                (true, true) => Some(1),
                (true, false) => None,
            }
        });
        one(kept.collect(), dtype)
    };
    Some(match op {
        Op::Sum { axes, keepdims } | Op::Prod { axes, keepdims } => over(axes, *keepdims, whole),
        Op::Max { axes, keepdims } | Op::Min { axes, keepdims } => over(axes, *keepdims, x.dtype),
        Op::All { axes, keepdims } | Op::Any { axes, keepdims } => {
            over(axes, *keepdims, Dtype::Bool)
        }
        Op::Var { axes, keepdims, .. } | Op::Std { axes, keepdims, .. }
            if x.dtype != Dtype::Complex64 =>
        {
            over(axes, *keepdims, inexact(x.dtype))
        }
        Op::Mean { axes, keepdims } | Op::Logsumexp { axes, keepdims } => {
            over(axes, *keepdims, inexact(x.dtype))
        }
        Op::Argmax { axis, keepdims } | Op::Argmin { axis, keepdims } => {
            over(&[*axis], *keepdims, Dtype::Uint32)
        }
        Op::Softmax { axes: list, .. } if x.dtype.is_inexact() => {
            over(list, true, x.dtype).and_then(|_| one(x.shape.clone(), inexact(x.dtype)))
        }
        Op::Sort { axis } => axis_of(*axis, x).and_then(|_| like(x)),
        Op::Argsort { axis } => axis_of(*axis, x).and_then(|_| one(x.shape.clone(), Dtype::Uint32)),
        _ => return None,
    })
}

fn multiplied(op: &Op, inputs: &[ArrayType]) -> Option<Types> {
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
    let fits = input.len() == kernel.len()
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

fn fused(op: &Op, inputs: &[ArrayType]) -> Option<Types> {
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
            return alike.then(|| one(vec![batch, heads, queries, dim], x.dtype));
        }
        Op::CrossEntropy => {
            let (_, outer) = x.shape.split_last()?;
            return (outer == inputs[1].shape).then(|| one(outer.to_vec(), Dtype::Float32));
        }
        _ => return None,
    })
}

//! Formulas that the compiler recognizes, as textbooks have them, and with a flaw now and then.

use std::f64::consts::{PI, SQRT_2};

use mlx::{Dtype, Op};
use mlx_interpreter::Tensor;

use super::generate::Builder;

/// Those that must have fired some times.
pub const PLANTED: [&str; 10] = [
    "rms_norm",
    "layer_norm",
    "softmax",
    "gelu",
    "gelu_approx",
    "silu",
    "scaled_dot_product_attention",
    "linear",
    "rope",
    "cross_entropy",
];

/// Adds a formula on some value.
pub fn plant(g: &mut Builder) -> Option<usize> {
    let result = match g.random.below(12) {
        0 => rms_norm(g),
        1 => layer_norm(g),
        2 => softmax(g),
        3 => gelu(g),
        4 => gelu_approx(g),
        5 => silu(g),
        6 => swiglu(g),
        7 | 8 => attention(g),
        9 => rope(g),
        10 => cross_entropy(g),
        _ => linear(g),
    };
    // One more user of what is inside keeps a fusion from being profitable, or makes it wrong if it is not seen.
    if g.random.percent(15) && result.is_some_and(|k| k > 2) {
        let inside = result? - 1 - g.random.below(2);
        g.program.outputs.push(inside);
    }
    if g.random.percent(40) {
        g.program.outputs.extend(result);
    }
    result
}

/// A floating value with at least one axis, whose last one is longer than 1; a new one if there is none.
fn x(g: &mut Builder) -> usize {
    let found = g
        .floating_value()
        .filter(|&x| g.shape(x).last().is_some_and(|&n| n > 1));
    match found {
        Some(x) => x,
        None => {
            let dtype = g.floating();
            g.fresh(&[2, 3, 4], dtype)
        }
    }
}

/// The last axis, or, as a flaw, the first.
fn axes(g: &mut Builder, x: usize) -> Vec<i32> {
    let ndim = g.shape(x).len() as i32;
    if g.random.percent(8) {
        vec![0]
    } else if g.random.percent(50) {
        vec![-1]
    } else {
        vec![ndim - 1]
    }
}

/// The value in `float32`, as careful programs take statistics.
fn wide(g: &mut Builder, x: usize) -> Option<usize> {
    if g.dtype(x) == Dtype::Float32 || g.random.percent(30) {
        return Some(x);
    }
    g.apply(
        Op::Astype {
            dtype: Dtype::Float32,
        },
        &[x],
    )
}

fn mean(g: &mut Builder, x: usize, axes: &[i32]) -> Option<usize> {
    if g.random.percent(75) {
        return g.apply(
            Op::Mean {
                axes: axes.to_vec(),
                keepdims: true,
            },
            &[x],
        );
    }
    let shape = g.shape(x);
    let place = if axes[0] < 0 {
        shape.len() - 1
    } else {
        axes[0] as usize
    };
    let sum = g.apply(
        Op::Sum {
            axes: axes.to_vec(),
            keepdims: true,
        },
        &[x],
    )?;
    g.with_number(Op::Divide, sum, f64::from(shape[place]))
}

fn square(g: &mut Builder, x: usize) -> Option<usize> {
    match g.random.below(3) {
        0 => g.apply(Op::Square, &[x]),
        1 => g.apply(Op::Multiply, &[x, x]),
        _ => g.with_number(Op::Power, x, 2.0),
    }
}

/// `x / sqrt(y + eps)`.
fn over_root(g: &mut Builder, x: usize, y: usize) -> Option<usize> {
    let eps = *g.random.pick(&[1e-5, 1e-6, 1e-2]);
    let sum = if g.random.percent(80) {
        g.with_number(Op::Add, y, eps)?
    } else {
        g.number_with(Op::Add, eps, y)?
    };
    if g.random.percent(70) {
        let root = g.apply(Op::Rsqrt, &[sum])?;
        g.apply(Op::Multiply, &[x, root])
    } else {
        let root = g.apply(Op::Sqrt, &[sum])?;
        g.apply(Op::Divide, &[x, root])
    }
}

fn scaled(g: &mut Builder, x: usize, op: Op) -> Option<usize> {
    let (n, dtype) = (*g.shape(x).last()?, g.dtype(x));
    let weight = g.fresh(&[n], dtype);
    if g.random.percent(50) {
        g.apply(op, &[x, weight])
    } else {
        g.apply(op, &[weight, x])
    }
}

fn rms_norm(g: &mut Builder) -> Option<usize> {
    let given = x(g);
    let axes = axes(g, given);
    let x = wide(g, given)?;
    let squared = square(g, x)?;
    let mean = mean(g, squared, &axes)?;
    let mut result = over_root(g, x, mean)?;
    if g.dtype(given) != g.dtype(result) && g.random.percent(70) {
        let dtype = g.dtype(given);
        result = g.apply(Op::Astype { dtype }, &[result])?;
    }
    if g.random.percent(80) {
        scaled(g, result, Op::Multiply)
    } else {
        Some(result)
    }
}

fn layer_norm(g: &mut Builder) -> Option<usize> {
    let given = x(g);
    let axes = axes(g, given);
    let x = wide(g, given)?;
    let middle = mean(g, x, &axes)?;
    let centred = g.apply(Op::Subtract, &[x, middle])?;
    let variance = if g.dtype(x) == Dtype::Float32 && g.random.percent(50) {
        let ddof = i32::from(g.random.percent(10));
        g.apply(
            Op::Var {
                axes,
                keepdims: true,
                ddof,
            },
            &[x],
        )?
    } else {
        let squared = square(g, centred)?;
        mean(g, squared, &axes)?
    };
    let mut result = over_root(g, centred, variance)?;
    if g.random.percent(80) {
        result = scaled(g, result, Op::Multiply)?;
    }
    if g.random.percent(70) {
        scaled(g, result, Op::Add)
    } else {
        Some(result)
    }
}

fn softmax(g: &mut Builder) -> Option<usize> {
    let x = x(g);
    let axes = axes(g, x);
    let most = g.apply(
        Op::Max {
            axes: axes.clone(),
            keepdims: true,
        },
        &[x],
    )?;
    let shifted = g.apply(Op::Subtract, &[x, most])?;
    let powers = g.apply(Op::Exp, &[shifted])?;
    let total = g.apply(
        Op::Sum {
            axes,
            keepdims: true,
        },
        &[powers],
    )?;
    g.apply(Op::Divide, &[powers, total])
}

fn gelu(g: &mut Builder) -> Option<usize> {
    let x = x(g);
    let inside = if g.random.percent(50) {
        g.with_number(Op::Divide, x, SQRT_2)?
    } else {
        g.with_number(Op::Multiply, x, 1.0 / SQRT_2)?
    };
    let erf = g.apply(Op::Erf, &[inside])?;
    let one = g.with_number(Op::Add, erf, 1.0)?;
    halved(g, x, one)
}

/// `x * y / 2`, in one of its orders.
fn halved(g: &mut Builder, x: usize, y: usize) -> Option<usize> {
    match g.random.below(3) {
        0 => {
            let product = g.apply(Op::Multiply, &[x, y])?;
            g.with_number(Op::Divide, product, 2.0)
        }
        1 => {
            let half = g.with_number(Op::Multiply, x, 0.5)?;
            g.apply(Op::Multiply, &[half, y])
        }
        _ => {
            let product = g.apply(Op::Multiply, &[x, y])?;
            g.number_with(Op::Multiply, 0.5, product)
        }
    }
}

fn gelu_approx(g: &mut Builder) -> Option<usize> {
    let x = x(g);
    let squared = square(g, x)?;
    let cubed = g.apply(Op::Multiply, &[squared, x])?;
    let part = g.with_number(Op::Multiply, cubed, 0.044_715)?;
    let sum = g.apply(Op::Add, &[x, part])?;
    let inside = g.with_number(Op::Multiply, sum, (2.0 / PI).sqrt())?;
    let tanh = g.apply(Op::Tanh, &[inside])?;
    let one = g.number_with(Op::Add, 1.0, tanh)?;
    halved(g, x, one)
}

fn sigmoid(g: &mut Builder, x: usize) -> Option<usize> {
    if g.random.percent(70) {
        return g.apply(Op::Sigmoid, &[x]);
    }
    let negative = g.apply(Op::Negative, &[x])?;
    let power = g.apply(Op::Exp, &[negative])?;
    let sum = g.number_with(Op::Add, 1.0, power)?;
    g.number_with(Op::Divide, 1.0, sum)
}

fn silu(g: &mut Builder) -> Option<usize> {
    let x = x(g);
    let gate = sigmoid(g, x)?;
    if g.random.percent(50) {
        g.apply(Op::Multiply, &[x, gate])
    } else {
        g.apply(Op::Multiply, &[gate, x])
    }
}

fn swiglu(g: &mut Builder) -> Option<usize> {
    let x = silu(g)?;
    let up = {
        let (shape, dtype) = (g.shape(x), g.dtype(x));
        g.fresh(&shape, dtype)
    };
    g.apply(Op::Multiply, &[x, up])
}

fn linear(g: &mut Builder) -> Option<usize> {
    let x = x(g);
    if g.shape(x).len() < 2 {
        return None;
    }
    let (inner, n) = (*g.shape(x).last()?, *g.random.pick(&[2, 3, 4]));
    let dtype = g.dtype(x);
    let product = if g.random.percent(50) {
        let w = g.fresh(&[n, inner], dtype);
        let turned = g.apply(Op::Transpose { axes: vec![1, 0] }, &[w])?;
        g.apply(Op::Matmul, &[x, turned])?
    } else {
        let w = g.fresh(&[inner, n], dtype);
        g.apply(Op::Matmul, &[x, w])?
    };
    scaled(g, product, Op::Add)
}

fn attention(g: &mut Builder) -> Option<usize> {
    let dtype = g.floating();
    let (heads, length, keys, dim) = (2, *g.random.pick(&[1, 3]), *g.random.pick(&[3, 4]), 4);
    let q = g.fresh(&[1, heads, length, dim], dtype);
    let k = g.fresh(&[1, heads, keys, dim], dtype);
    let v = g.fresh(&[1, heads, keys, dim], dtype);
    let turned = match g.random.below(2) {
        0 => g.apply(
            Op::Swapaxes {
                axis1: -1,
                axis2: -2,
            },
            &[k],
        )?,
        _ => g.apply(
            Op::Transpose {
                axes: vec![0, 1, 3, 2],
            },
            &[k],
        )?,
    };
    let before = g.random.percent(40);
    let q = if before {
        g.with_number(Op::Multiply, q, 0.5)?
    } else {
        q
    };
    let mut scores = g.apply(Op::Matmul, &[q, turned])?;
    if !before {
        scores = match g.random.below(2) {
            0 => g.with_number(Op::Multiply, scores, 0.5)?,
            _ => g.with_number(Op::Divide, scores, 2.0)?,
        };
    }
    if g.random.percent(40) {
        let mask = g.fresh(&[length, keys], dtype);
        scores = g.apply(Op::Add, &[scores, mask])?;
    }
    let weights = if g.random.percent(70) {
        let precise = g.random.percent(50);
        g.apply(
            Op::Softmax {
                axes: vec![-1],
                precise,
            },
            &[scores],
        )?
    } else {
        let most = g.apply(
            Op::Max {
                axes: vec![-1],
                keepdims: true,
            },
            &[scores],
        )?;
        let shifted = g.apply(Op::Subtract, &[scores, most])?;
        let powers = g.apply(Op::Exp, &[shifted])?;
        let total = g.apply(
            Op::Sum {
                axes: vec![-1],
                keepdims: true,
            },
            &[powers],
        )?;
        g.apply(Op::Divide, &[powers, total])?
    };
    g.apply(Op::Matmul, &[weights, v])
}

/// Two halves of the features turned by tables of cosines and sines.
fn rope(g: &mut Builder) -> Option<usize> {
    let (length, half) = (*g.random.pick(&[2, 3]), *g.random.pick(&[2, 4]));
    let dtype = g.floating();
    let x = g.fresh(&[1, 2, length, 2 * half], dtype);
    let base: f64 = *g.random.pick(&[10_000.0, 100.0]);
    let first = g.random.below(3) as f64;
    let angles: Vec<f64> = (0..length * half)
        .map(|k| (first + f64::from(k / half)) * base.powf(-f64::from(k % half) / f64::from(half)))
        .collect();
    let shape = [length as usize, half as usize];
    let table = |g: &mut Builder, of: fn(f64) -> f64| {
        let values: Vec<f64> = angles.iter().copied().map(of).collect();
        g.given(Tensor::from_f64(&shape, dtype, &values).unwrap(), true)
    };
    let (cos, sin) = (table(g, f64::cos), table(g, f64::sin));
    let part = |g: &mut Builder, from: i32| {
        let (start, stop) = (vec![0, 0, 0, from], vec![1, 2, length, from + half]);
        g.apply(
            Op::Slice {
                start,
                stop,
                strides: vec![1; 4],
            },
            &[x],
        )
    };
    let (a, b) = (part(g, 0)?, part(g, half)?);
    let mut product = |x: usize, y: usize| g.apply(Op::Multiply, &[x, y]);
    let (a_cos, b_sin, b_cos, a_sin) = (
        product(a, cos)?,
        product(b, sin)?,
        product(b, cos)?,
        product(a, sin)?,
    );
    let left = g.apply(Op::Subtract, &[a_cos, b_sin])?;
    let right = g.apply(Op::Add, &[b_cos, a_sin])?;
    g.apply(Op::Concatenate { axis: -1 }, &[left, right])
}

/// The logarithm of the sum, less the logit of the target; or its negative, after the logarithm of the softmax.
fn cross_entropy(g: &mut Builder) -> Option<usize> {
    let n = *g.random.pick(&[1, 3]);
    let logits = g.fresh(&[n, 8], Dtype::Float32);
    let targets = g.fresh(&[n, 1], Dtype::Uint32);
    let total = g.apply(
        Op::Logsumexp {
            axes: vec![-1],
            keepdims: true,
        },
        &[logits],
    )?;
    let result = if g.random.percent(60) {
        let chosen = g.apply(Op::TakeAlongAxis { axis: -1 }, &[logits, targets])?;
        g.apply(Op::Subtract, &[total, chosen])?
    } else {
        let shifted = g.apply(Op::Subtract, &[logits, total])?;
        let chosen = g.apply(Op::TakeAlongAxis { axis: -1 }, &[shifted, targets])?;
        g.apply(Op::Negative, &[chosen])?
    };
    g.apply(Op::Squeeze { axes: vec![-1] }, &[result])
}

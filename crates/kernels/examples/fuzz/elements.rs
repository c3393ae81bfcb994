//! Random calls of kernels that work on elements and rows.

use half::{bf16, f16};
use mlx_kernels::*;

use crate::cases::{Checked, close, went};
use crate::dice::{Dice, Guarded};

const GUARD: f32 = 12_345.0;

pub fn unary_case(dice: &mut Dice) -> Checked {
    let function = dice.pick(&[
        UnaryOp::Exp,
        UnaryOp::Log,
        UnaryOp::Sin,
        UnaryOp::Cos,
        UnaryOp::Tanh,
        UnaryOp::Sigmoid,
        UnaryOp::Silu,
    ]);
    let of = |x: f64| match function {
        UnaryOp::Exp => x.exp(),
        UnaryOp::Log => x.ln(),
        UnaryOp::Sin => x.sin(),
        UnaryOp::Cos => x.cos(),
        UnaryOp::Tanh => x.tanh(),
        UnaryOp::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        _ => x / (1.0 + (-x).exp()),
    };
    let count = dice.length(70_000);
    let x: Vec<f32> = dice.numbers(count).iter().map(|x| x * 5.0).collect();
    let what = format!("{function:?} of {count}");
    let wanted: Vec<f64> = x.iter().map(|x| of(f64::from(*x))).collect();
    let mut out = Guarded::new(dice, count, GUARD);
    went(unary(function, &x, out.get()), &what)?;
    close(out.checked()?, &wanted, 1e-6, &what)?;
    let narrow: Vec<f16> = x.iter().map(|x| f16::from_f32(*x)).collect();
    let mut out = Guarded::new(dice, count, f16::MAX);
    went(unary(function, &narrow, out.get()), &what)?;
    let wanted: Vec<f64> = narrow.iter().map(|x| of(x.to_f64())).collect();
    let got: Vec<f32> = out.checked()?.iter().map(|x| x.to_f32()).collect();
    close(&got, &wanted, 1e-3, &format!("{what} of f16"))
}

/// An input of a program: which dtype it is stored in, its elements, and its strides.
type Stored = (usize, Vec<f32>, Vec<usize>);

fn stored_input(dice: &mut Dice, shape: &[usize]) -> Stored {
    let (mut next, mut strides) = (dice.pick(&[1, 1, 1, 2]), vec![0; shape.len()]);
    for (axis, stride) in strides.iter_mut().enumerate().rev() {
        if !dice.chance(3) {
            *stride = next;
            next *= shape[axis].max(1) + usize::from(dice.chance(5));
        }
    }
    let reach: usize = shape
        .iter()
        .zip(&strides)
        .map(|(size, stride)| size.saturating_sub(1) * stride)
        .sum();
    let values = dice.numbers(reach + 1);
    (dice.below(3), values, strides)
}

pub fn program_case(dice: &mut Dice) -> Checked {
    let ndim = dice.below(5);
    let shape: Vec<usize> = (0..ndim).map(|_| dice.length(30)).collect();
    let mut shape = shape;
    if let Some(last) = shape.last_mut() {
        *last = dice.length(700);
    }
    let count: usize = shape.iter().product();
    let n_inputs = 1 + dice.below(4);
    let stored: Vec<Stored> = (0..n_inputs).map(|_| stored_input(dice, &shape)).collect();
    let halves: Vec<Vec<f16>> = stored
        .iter()
        .map(|(_, values, _)| values.iter().map(|x| f16::from_f32(*x)).collect())
        .collect();
    let brains: Vec<Vec<bf16>> = stored
        .iter()
        .map(|(_, values, _)| values.iter().map(|x| bf16::from_f32(*x)).collect())
        .collect();
    let inputs: Vec<StridedInput<'_>> = (0..n_inputs)
        .map(|i| StridedInput {
            values: match stored[i].0 {
                0 => TypedSlice::F16(&halves[i]),
                1 => TypedSlice::Bf16(&brains[i]),
                _ => TypedSlice::F32(&stored[i].1),
            },
            strides: &stored[i].2,
        })
        .collect();
    // One function over all inputs, and twice that.
    let function = dice.pick(&[BinaryOp::Add, BinaryOp::Multiply, BinaryOp::Maximum]);
    let mut steps: Vec<Instruction> = (0..n_inputs).map(Instruction::Input).collect();
    let mut total = 0;
    for input in 1..n_inputs {
        steps.push(Instruction::Binary(function, total, input));
        total = steps.len() - 1;
    }
    steps.push(Instruction::Binary(BinaryOp::Add, total, total));
    let outputs = [total, steps.len() - 1];
    let program = went(
        ElementwiseProgram::new(n_inputs, &steps, &outputs),
        "program",
    )?;
    let element = |index: usize| -> f64 {
        let of_input = |i: usize| {
            let (mut rest, mut place) = (index, 0);
            for (size, stride) in shape.iter().zip(&stored[i].2).rev() {
                place += rest % size * stride;
                rest /= size;
            }
            match stored[i].0 {
                0 => halves[i][place].to_f64(),
                1 => brains[i][place].to_f64(),
                _ => f64::from(stored[i].1[place]),
            }
        };
        let inputs = (0..n_inputs).map(of_input);
        match function {
            BinaryOp::Add => inputs.sum(),
            BinaryOp::Multiply => inputs.product(),
            _ => inputs.fold(f64::NEG_INFINITY, f64::max),
        }
    };
    let wanted: Vec<f64> = (0..count).map(element).collect();
    let mut outs = [(); 2].map(|()| Guarded::new(dice, count, GUARD));
    let what = format!(
        "{function:?} {shape:?} {:?}",
        stored.iter().map(|one| &one.2).collect::<Vec<_>>()
    );
    let [first, second] = &mut outs;
    let mut outputs = [
        TypedSliceMut::F32(first.get()),
        TypedSliceMut::F32(second.get()),
    ];
    went(program.run(&shape, &inputs, &mut outputs), &what)?;
    close(outs[0].checked()?, &wanted, 1e-6, &what)?;
    let wanted: Vec<f64> = wanted.iter().map(|x| 2.0 * x).collect();
    close(outs[1].checked()?, &wanted, 1e-6, &what)?;
    refuses_short_input(dice, &program, &shape, &inputs)
}

/// An input with one element too few is refused, and nothing is written.
fn refuses_short_input(
    dice: &mut Dice,
    program: &ElementwiseProgram,
    shape: &[usize],
    inputs: &[StridedInput<'_>],
) -> Checked {
    let mut short = inputs.to_vec();
    short[0].values = match short[0].values {
        TypedSlice::F32(values) => TypedSlice::F32(&values[..values.len() - 1]),
        TypedSlice::F16(values) => TypedSlice::F16(&values[..values.len() - 1]),
        TypedSlice::Bf16(values) => TypedSlice::Bf16(&values[..values.len() - 1]),
        other => other,
    };
    let count: usize = shape.iter().product();
    let mut out = Guarded::new(dice, count, GUARD);
    let mut again = Guarded::new(dice, count, GUARD);
    let mut outputs = [
        TypedSliceMut::F32(out.get()),
        TypedSliceMut::F32(again.get()),
    ];
    if program.run(shape, &short, &mut outputs).is_ok() && count > 0 {
        return Err(format!("{shape:?}: read an input that is too short"));
    }
    out.untouched()
}

pub fn rows_case(dice: &mut Dice) -> Checked {
    let dim = dice.size(5000);
    let rows = dice.length(100_000 / dim);
    let shape = RowMajorShape { rows, dim };
    let x: Vec<f32> = dice.numbers(rows * dim).iter().map(|x| x * 8.0).collect();
    let weight = dice.numbers(dim);
    let which = dice.below(5);
    let what = format!("{which} of {shape:?}");
    let mut wanted = Vec::new();
    let targets: Vec<u32> = (0..rows).map(|_| dice.below(dim) as u32).collect();
    for (row, x) in x.chunks_exact(dim).enumerate() {
        let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = x.iter().map(|x| (x - most).exp()).sum();
        let mean = x.iter().sum::<f64>() / dim as f64;
        let squares = x.iter().map(|x| x * x).sum::<f64>() / dim as f64;
        let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / dim as f64;
        let target = targets[row] as usize;
        match which {
            0 => wanted.extend(x.iter().map(|x| (x - most).exp() / total)),
            1 => wanted.push(most + total.ln()),
            2 => wanted.extend(
                x.iter()
                    .zip(&weight)
                    .map(|(x, w)| x / (squares + 1e-5).sqrt() * f64::from(*w)),
            ),
            3 => wanted.extend(
                x.iter()
                    .zip(&weight)
                    .map(|(x, w)| (x - mean) / (variance + 1e-5).sqrt() * f64::from(*w)),
            ),
            _ => wanted.extend(
                x.iter()
                    .enumerate()
                    .map(|(i, x)| (x - most).exp() / total - f64::from(u8::from(i == target))),
            ),
        }
    }
    let mut out = Guarded::new(dice, if which == 1 { rows } else { rows * dim }, GUARD);
    let result = match which {
        0 => softmax(shape, &x, out.get()),
        1 => logsumexp(shape, &x, out.get()),
        2 => rms_norm(shape, &x, Some(&weight), 1e-5, out.get()),
        3 => layer_norm(shape, &x, Some(&weight), None, 1e-5, out.get()),
        _ => cross_entropy_gradient(shape, &x, &targets, &vec![1.0; rows], out.get()),
    };
    went(result, &what)?;
    // The variance of a single element is 0, and its normalization magnifies any error.
    let bound = if dim < 3 { 1e-3 } else { 1e-5 };
    close(out.checked()?, &wanted, bound, &what)
}

pub fn reduce_case(dice: &mut Dice) -> Checked {
    let inner = if dice.chance(2) { 1 } else { dice.length(5000) };
    let reduced = dice.size(200_000 / inner.max(1));
    let outer = dice.length(200_000 / (inner.max(1) * reduced));
    let shape = ReduceShape {
        outer,
        reduced,
        inner,
    };
    let x = dice.numbers(outer * reduced * inner);
    let reduction = dice.pick(&[
        Reduction::Sum,
        Reduction::Mean,
        Reduction::Max,
        Reduction::Min,
    ]);
    let element = |index: usize| {
        let (o, i) = (index / inner, index % inner);
        let column = (0..reduced).map(|r| f64::from(x[(o * reduced + r) * inner + i]));
        match reduction {
            Reduction::Sum => column.sum(),
            Reduction::Mean => column.sum::<f64>() / reduced as f64,
            Reduction::Max => column.fold(f64::NEG_INFINITY, f64::max),
            _ => column.fold(f64::INFINITY, f64::min),
        }
    };
    let wanted: Vec<f64> = (0..outer * inner).map(element).collect();
    let mut out = Guarded::new(dice, outer * inner, GUARD);
    let what = format!("{reduction:?} {shape:?}");
    went(reduce(reduction, shape, &x, out.get()), &what)?;
    // Sums cancel: the bound is of the sum of magnitudes.
    close(
        out.checked()?,
        &wanted,
        1e-5 * (reduced as f64).sqrt(),
        &what,
    )
}

//! Graphs inside of nodes on all ranks at once: branches, loops, and functions of transforms that communicate.

use mlx::transforms::Transform;
use mlx_compiler::graph::Operation;
use mlx_compiler::sharding::Mesh;
use mlx_compiler::{Error, Result};

use crate::evaluator::{PreparedGraph, stacked};
use crate::number::{Number, Rounding};
use crate::ranks::{differs, run_all};
use crate::shape::select;
use crate::tensor::{Tensor, axis};

type Parts = Vec<Vec<Tensor>>;

/// Runs a node with graphs inside that communicate; `graphs[rank]` are those of a rank.
pub(crate) fn run_inside(
    mesh: &Mesh,
    operation: &Operation,
    graphs: &[&[PreparedGraph<'_>]],
    inputs: &[Vec<&Tensor>],
) -> Result<Parts> {
    let graph = |k: usize| graphs.iter().map(|of_rank| &of_rank[k]).collect::<Vec<_>>();
    match operation {
        Operation::Cond { .. } => {
            let holds = agreed(inputs.iter().map(|inputs| inputs[0]))?;
            let arguments: Vec<Vec<&Tensor>> = inputs.iter().map(|all| all[1..].to_vec()).collect();
            run_all(mesh, &graph(usize::from(!holds)), &arguments)
        }
        Operation::While { n_state, .. } => {
            let mut state: Parts = first(inputs, *n_state);
            loop {
                let arguments = with_rest(&state, inputs, *n_state);
                let holds = run_all(mesh, &graph(0), &arguments)?;
                if !agreed(holds.iter().map(|outputs| &outputs[0]))? {
                    return Ok(state);
                }
                state = run_all(mesh, &graph(1), &arguments)?;
            }
        }
        Operation::Scan {
            n_carry,
            n_sequences,
            length,
            reverse,
            ..
        } => {
            let rows: Vec<usize> = match reverse {
                true => (0..*length).rev().collect(),
                false => (0..*length).collect(),
            };
            scan(mesh, &graph(0), inputs, (*n_carry, *n_sequences), &rows)
        }
        Operation::Transform {
            transform,
            n_captures,
            ..
        } => match transform {
            Transform::Checkpoint | Transform::CustomFunction { .. } => {
                run_all(mesh, &graph(0), inputs)
            }
            Transform::ValueAndGrad { argnums } => gradients(mesh, &graph(0), inputs, argnums),
            Transform::Jvp => along(mesh, &graph(0), inputs, *n_captures),
            Transform::Vmap { in_axes, out_axes } => {
                vmap(mesh, &graph(0), inputs, (in_axes, out_axes))
            }
            other => Err(Error::Unsupported(format!(
                "interpret_ranks: wanted a transform that communicates and is known, got {}",
                other.name()
            ))),
        },
        other => Err(differs(0, other.name())),
    }
}

/// What all ranks decide; an error if they differ.
fn agreed<'t>(mut predicates: impl Iterator<Item = &'t Tensor>) -> Result<bool> {
    let first = predicates.next().is_some_and(|one| one.at(0).is_true());
    match predicates.all(|one| one.at(0).is_true() == first) {
        true => Ok(first),
        false => Err(differs(0, "conditions that differ")),
    }
}

fn first(inputs: &[Vec<&Tensor>], n: usize) -> Parts {
    let of = |inputs: &Vec<&Tensor>| inputs[..n].iter().map(|&x| x.clone()).collect();
    inputs.iter().map(of).collect()
}

/// The given arrays of each rank, then its inputs from the `n`-th on.
fn with_rest<'t>(
    given: &'t [Vec<Tensor>],
    inputs: &[Vec<&'t Tensor>],
    n: usize,
) -> Vec<Vec<&'t Tensor>> {
    let of = |(given, inputs): (&'t Vec<Tensor>, &Vec<&'t Tensor>)| {
        given.iter().chain(inputs[n..].iter().copied()).collect()
    };
    given.iter().zip(inputs).map(of).collect()
}

fn scan(
    mesh: &Mesh,
    body: &[&PreparedGraph<'_>],
    inputs: &[Vec<&Tensor>],
    (n_carry, n_sequences): (usize, usize),
    rows: &[usize],
) -> Result<Parts> {
    let mut carry = first(inputs, n_carry);
    let mut made: Vec<(usize, Parts)> = Vec::new();
    for &row in rows {
        let mut given = carry;
        for (given, inputs) in given.iter_mut().zip(inputs) {
            for sequence in &inputs[n_carry..n_carry + n_sequences] {
                given.push(element(sequence, 0, row)?);
            }
        }
        let mut outputs = run_all(
            mesh,
            body,
            &with_rest(&given, inputs, n_carry + n_sequences),
        )?;
        let results = outputs.iter_mut().map(|outputs| outputs.split_off(n_carry));
        made.push((row, results.collect()));
        carry = outputs;
    }
    made.sort_by_key(|(row, _)| *row);
    for (rank, carry) in carry.iter_mut().enumerate() {
        let n_results = made.first().map_or(0, |(_, parts)| parts[rank].len());
        for k in 0..n_results {
            let steps: Vec<&Tensor> = made.iter().map(|(_, parts)| &parts[rank][k]).collect();
            carry.push(stacked(&steps)?);
        }
    }
    Ok(carry)
}

/// One element along an axis, without it.
fn element(x: &Tensor, along: usize, at: usize) -> Result<Tensor> {
    let mut shape = x.shape().to_vec();
    shape.remove(along);
    select(x, along, &[at])?.reshaped(&shape)
}

fn vmap(
    mesh: &Mesh,
    function: &[&PreparedGraph<'_>],
    inputs: &[Vec<&Tensor>],
    (in_axes, out_axes): (&[Option<i32>], &[i32]),
) -> Result<Parts> {
    let along = |k: usize, x: &Tensor| -> Result<Option<usize>> {
        let given = in_axes.get(k).copied().flatten();
        given.map(|along| axis(along, x.ndim())).transpose()
    };
    // Ranks of another axis may have fewer elements: those do the last one again.
    let size = |inputs: &[&Tensor]| -> Result<usize> {
        for (k, x) in inputs.iter().enumerate() {
            if let Some(along) = along(k, x)? {
                return Ok(x.shape()[along]);
            }
        }
        Err(crate::unknown("vmap without an axis"))
    };
    let sizes = inputs.iter().map(|inputs| size(inputs));
    let sizes = sizes.collect::<Result<Vec<_>>>()?;
    let mut steps: Vec<Parts> = Vec::new();
    for at in 0..sizes.iter().copied().max().unwrap_or(0) {
        let mut given = Parts::new();
        for (inputs, size) in inputs.iter().zip(&sizes) {
            let one = |(k, x): (usize, &&Tensor)| match along(k, x)? {
                Some(along) => element(x, along, at.min(size - 1)),
                None => Ok((*x).clone()),
            };
            given.push(inputs.iter().enumerate().map(one).collect::<Result<_>>()?);
        }
        steps.push(run_all(
            mesh,
            function,
            &with_rest(&given, inputs, inputs[0].len()),
        )?);
    }
    let of_rank = |rank: usize| -> Result<Vec<Tensor>> {
        let n_outputs = steps.first().map_or(0, |step| step[rank].len());
        let output = |k: usize| -> Result<Tensor> {
            let own = steps.iter().take(sizes[rank]);
            let parts: Vec<&Tensor> = own.map(|step| &step[rank][k]).collect();
            let all = stacked(&parts)?;
            let to = out_axes.get(k).or(out_axes.first()).copied().unwrap_or(0);
            let mut order: Vec<usize> = (1..all.ndim()).collect();
            order.insert(axis(to, all.ndim())?, 0);
            all.transposed(&order)
        };
        (0..n_outputs).map(output).collect()
    };
    (0..inputs.len()).map(of_rank).collect()
}

/// The outputs, then slopes of the first one for each element of inputs.
fn gradients(
    mesh: &Mesh,
    function: &[&PreparedGraph<'_>],
    inputs: &[Vec<&Tensor>],
    argnums: &[usize],
) -> Result<Parts> {
    let mut results = run_all(mesh, function, inputs)?;
    for &argnum in argnums {
        let slopes = slopes(mesh, function, inputs, argnum)?;
        for (results, slope) in results.iter_mut().zip(slopes) {
            results.push(slope);
        }
    }
    Ok(results)
}

/// The slopes of the first output on each rank, for an input; elements that ranks have alike are moved together.
fn slopes(
    mesh: &Mesh,
    function: &[&PreparedGraph<'_>],
    inputs: &[Vec<&Tensor>],
    argnum: usize,
) -> Result<Vec<Tensor>> {
    let n = inputs.len();
    let same = |a: usize, b: usize| {
        let (a, b) = (inputs[a][argnum], inputs[b][argnum]);
        a.shape() == b.shape() && a.to_f64() == b.to_f64()
    };
    let mut made: Vec<Option<Tensor>> = vec![None; n];
    for rank in 0..n {
        if made[rank].is_some() {
            continue;
        }
        let alike: Vec<usize> = (0..n).filter(|other| same(rank, *other)).collect();
        let input = inputs[rank][argnum];
        let mut numbers = Vec::new();
        for flat_index in 0..input.size() {
            let value = |by: f64| -> Result<f64> {
                let moved = moved(input, |k, x| if k == flat_index { x + by } else { x })?;
                let mut all = inputs.to_vec();
                for other in &alike {
                    all[*other][argnum] = &moved;
                }
                Ok(run_all(mesh, function, &all)?[0][0].at(0).to_f64())
            };
            let step = 1e-4 * input.at(flat_index).to_f64().abs().max(1.0);
            numbers.push(Number::Float(difference(step, value)?));
        }
        let slope = Tensor::rounded(input.shape(), input.dtype(), numbers, Rounding::Exact)?;
        for other in alike {
            made[other] = Some(slope.clone());
        }
    }
    Ok(made.into_iter().flatten().collect())
}

/// A central difference; Richardson's extrapolation takes away the error of second order.
fn difference(step: f64, value: impl Fn(f64) -> Result<f64>) -> Result<f64> {
    let near = (value(step)? - value(-step)?) / (2.0 * step);
    let far = (value(2.0 * step)? - value(-2.0 * step)?) / (4.0 * step);
    Ok((4.0 * near - far) / 3.0)
}

fn moved(x: &Tensor, by: impl Fn(usize, f64) -> f64) -> Result<Tensor> {
    let numbers = x.to_f64().into_iter().enumerate();
    let numbers = numbers.map(|(k, x)| Number::Float(by(k, x))).collect();
    Tensor::rounded(x.shape(), x.dtype(), numbers, Rounding::Exact)
}

/// The outputs, then their slopes in the direction of the tangents.
fn along(
    mesh: &Mesh,
    function: &[&PreparedGraph<'_>],
    inputs: &[Vec<&Tensor>],
    n_captures: usize,
) -> Result<Parts> {
    let n = (inputs[0].len() - n_captures) / 2;
    let value = |by: f64| -> Result<Parts> {
        let mut given = Parts::new();
        for inputs in inputs {
            let one = |k: usize| {
                let tangent = inputs[n + k].to_f64();
                moved(inputs[k], |at, x| x + by * tangent[at])
            };
            given.push((0..n).map(one).collect::<Result<_>>()?);
        }
        run_all(mesh, function, &with_rest(&given, inputs, 2 * n))
    };
    let step = 1e-4;
    let mut results = value(0.0)?;
    let values = [
        value(step)?,
        value(-step)?,
        value(2.0 * step)?,
        value(-2.0 * step)?,
    ];
    for (rank, results) in results.iter_mut().enumerate() {
        for k in 0..results.len() {
            let at =
                |which: usize, flat_index: usize| values[which][rank][k].at(flat_index).to_f64();
            let slope = moved(&results[k], |flat_index, _| {
                let near = (at(0, flat_index) - at(1, flat_index)) / (2.0 * step);
                let far = (at(2, flat_index) - at(3, flat_index)) / (4.0 * step);
                (4.0 * near - far) / 3.0
            })?;
            results.push(slope);
        }
    }
    Ok(results)
}

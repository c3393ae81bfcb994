//! Compares a sharded graph, on simulated ranks, with the whole one.

use mlx::Array;
use mlx_compiler::graph::Graph;
use mlx_compiler::sharding::{ShardedGraph, Sharding};
use mlx_interpreter::{Interpreter, Tensor, array_constants, interpret_ranks, run_ranks};

/// Reals are `f64`, so that only the order of sums differs.
const TOLERANCE: f64 = 1e-9;

/// Says how ranks differ from the whole graph, if they do.
pub fn check(graph: &Graph, sharded: &ShardedGraph, inputs: &[Array]) -> Result<(), String> {
    check_within(graph, sharded, inputs, TOLERANCE)
}

/// As [`check`], with another tolerance: gradients are measured.
pub fn check_within(
    graph: &Graph,
    sharded: &ShardedGraph,
    inputs: &[Array],
    tolerance: f64,
) -> Result<(), String> {
    let parts = parts(sharded, inputs)?;
    let outputs = interpret_ranks(sharded, &parts).map_err(|error| error.to_string())?;
    compare((graph, sharded), inputs, &outputs, tolerance)
}

/// As [`check`], of graphs that are not those that were made.
pub fn check_graphs(
    graph: &Graph,
    sharded: &ShardedGraph,
    graphs: &[Graph],
    inputs: &[Array],
) -> Result<(), String> {
    let parts = parts(sharded, inputs)?;
    let outputs = run_ranks(sharded.mesh(), graphs, &parts).map_err(|error| error.to_string())?;
    compare((graph, sharded), inputs, &outputs, TOLERANCE)
}

fn parts(sharded: &ShardedGraph, inputs: &[Array]) -> Result<Vec<Vec<Tensor>>, String> {
    let inputs: Vec<&Array> = inputs.iter().collect();
    let of = |rank: usize| -> Result<Vec<Tensor>, String> {
        let parts = sharded
            .shard_inputs(rank, &inputs)
            .map_err(|error| error.to_string())?;
        Ok(parts.iter().map(|part| Tensor::of(part).unwrap()).collect())
    };
    (0..sharded.mesh().size()).map(of).collect()
}

fn compare(
    (graph, sharded): (&Graph, &ShardedGraph),
    inputs: &[Array],
    outputs: &[Vec<Tensor>],
    tolerance: f64,
) -> Result<(), String> {
    let interpreter = Interpreter {
        constants: array_constants(graph).unwrap(),
        ..Interpreter::default()
    };
    let inputs: Vec<Tensor> = inputs
        .iter()
        .map(|input| Tensor::of(input).unwrap())
        .collect();
    let wanted = interpreter
        .run(graph, &inputs)
        .map_err(|error| error.to_string())?;
    for (index, wanted) in wanted.iter().enumerate() {
        for (rank, got) in outputs.iter().enumerate() {
            let places = sharded.mesh().coordinates(rank);
            let mut wanted = (wanted.shape().to_vec(), wanted.to_f64());
            for (axis, sharding) in sharded.output_shardings(index).into_iter().enumerate() {
                if let Sharding::Sharded(dim) = sharding {
                    let layout = sharded.output_layout(index, axis).unwrap();
                    let runs = layout.runs(places[axis], sharded.mesh().axes()[axis].size);
                    wanted = part(wanted, dim, &runs);
                }
            }
            same(&got[index], &wanted, tolerance)
                .map_err(|message| format!("output {index} of rank {rank}: {message}"))?;
        }
    }
    Ok(())
}

/// Runs of an array along a dimension.
fn part(
    (mut shape, numbers): (Vec<usize>, Vec<f64>),
    dim: usize,
    runs: &[(usize, usize)],
) -> (Vec<usize>, Vec<f64>) {
    let inner: usize = shape[dim + 1..].iter().product();
    let mut made = Vec::new();
    for block in numbers.chunks((shape[dim] * inner).max(1)) {
        for (first, n) in runs {
            made.extend(&block[first * inner..(first + n) * inner]);
        }
    }
    shape[dim] = runs.iter().map(|(_, n)| n).sum();
    (shape, made)
}

fn same(
    got: &Tensor,
    (shape, wanted): &(Vec<usize>, Vec<f64>),
    tolerance: f64,
) -> Result<(), String> {
    if got.shape() != shape {
        return Err(format!("got {:?}, want {shape:?}", got.shape()));
    }
    // Of finite elements only: an infinite one would allow any error of the others.
    let finite = wanted.iter().filter(|x| x.is_finite());
    let scale = finite.fold(1.0_f64, |most, x| most.max(x.abs()));
    for (k, (got, want)) in got.to_f64().iter().zip(wanted).enumerate() {
        let is_near = want.is_finite() && (got - want).abs() <= tolerance * scale;
        if !(is_near || got.is_nan() && want.is_nan() || got == want) {
            return Err(format!("element {k}: got {got:e}, want {want:e}"));
        }
    }
    Ok(())
}

#[test]
fn an_infinite_element_hides_no_error() {
    let array = |numbers: &[f32]| Array::from_slice(numbers, [2]).unwrap();
    let got = Tensor::of(&array(&[f32::INFINITY, 2.0])).unwrap();
    same(&got, &(vec![2], vec![f64::INFINITY, 2.0]), TOLERANCE).unwrap();
    for wanted in [[f64::INFINITY, 1.0], [1.0, 2.0], [f64::NEG_INFINITY, 2.0]] {
        same(&got, &(vec![2], wanted.to_vec()), TOLERANCE).unwrap_err();
    }
}

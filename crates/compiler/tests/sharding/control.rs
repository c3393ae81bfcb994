//! Branches, loops and transforms: what is split goes in split, and what is sent is counted as often as it is sent.

use mlx::{Array, array, jvp, random, vmap};
use mlx_compiler::sharding::{Collective, Mesh, Rules, ShardedGraph};
use mlx_compiler::{ScanOptions, cond, scan, trace, while_loop};

use super::simulate;

const HIDDEN: i32 = 6;
const WIDE: i32 = 9;

/// A state or a sequence, and two matrices of a multilayer perceptron.
fn inputs(first: &[i32]) -> Vec<Array> {
    random::seed(4);
    let shapes = [first.to_vec(), vec![HIDDEN, WIDE], vec![WIDE, HIDDEN]];
    let of = |shape: Vec<i32>| {
        let values = random::normal(shape) * 0.5;
        values.eval().unwrap();
        values
    };
    shapes.map(of).to_vec()
}

/// Columns of the first matrix, and rows of the second.
fn rules() -> Rules {
    Rules::new()
        .input("0.1", [None, Some("model")])
        .input("0.2", [Some("model"), None])
}

fn mlp(x: &Array, w: &[Array]) -> Array {
    x.matmul(&w[1]).tanh().matmul(&w[2])
}

fn sharded<E>(
    function: impl Fn(&Vec<Array>) -> Result<Array, E>,
    inputs: &Vec<Array>,
    rules: &Rules,
) -> ShardedGraph
where
    E: std::fmt::Display,
{
    sharded_on(2, function, inputs, rules)
}

fn sharded_on<E>(
    ranks: usize,
    function: impl Fn(&Vec<Array>) -> Result<Array, E>,
    inputs: &Vec<Array>,
    rules: &Rules,
) -> ShardedGraph
where
    E: std::fmt::Display,
{
    let function = |inputs: &Vec<Array>| {
        function(inputs).map_err(|error| mlx::Error::op("test", error.to_string()))
    };
    let traced = trace(function, inputs).unwrap();
    let whole = traced.graph().clone();
    let mesh = Mesh::new(&[("model", ranks)]).unwrap();
    let (_, sharded) = traced.shard(&mesh, rules, 0).unwrap();
    println!("{}\n{}", sharded.report(), sharded.rank_graph(0).unwrap());
    simulate::check(&whole, &sharded, inputs).unwrap();
    sharded
}

fn kinds(sharded: &ShardedGraph) -> Vec<(&'static str, u64, bool)> {
    let of = |one: &Collective| (one.kind.name(), one.times, one.in_loop);
    sharded.report().collectives.iter().map(of).collect()
}

#[test]
fn a_sum_in_a_scan_is_counted_for_each_step() {
    let function = |x: &Vec<Array>| {
        let step = |carry: &Array, row: &Array| ((carry + mlp(row, x)).tanh(), row.sum(()));
        let start = mlx::zeros([2, HIDDEN]);
        scan(&start, &x[0], ScanOptions::default(), step).map(|(last, _): (Array, Array)| last)
    };
    let sharded = sharded(function, &inputs(&[5, 2, HIDDEN]), &rules());
    assert_eq!(kinds(&sharded), [("all_sum", 5, false)]);
    // Of two ranks each sends a whole array: to the other one, which gives half of it back.
    assert_eq!(sharded.report().wire_bytes(), 5 * (2 * 6 * 4));
    assert!(sharded.report().refusals.is_empty());
    assert!(
        sharded
            .report()
            .to_string()
            .contains(" 5 times by \"model\"")
    );
}

#[test]
fn a_state_goes_round_split() {
    let function = |x: &Vec<Array>| {
        let up = |row: &Array| row.matmul(&x[1]);
        let step = |carry: &Array, row: &Array| ((carry * 0.5 + up(row)).tanh(), carry.clone());
        let start = mlx::zeros([2, WIDE]);
        let (last, all): (Array, Array) = scan(&start, &x[0], ScanOptions::default(), step)?;
        Ok::<_, mlx_compiler::Error>(all.sum(0) + last)
    };
    let rules = rules().output("", [None, Some("model")]);
    let sharded = sharded(function, &inputs(&[3, 2, HIDDEN]), &rules);
    assert!(kinds(&sharded).is_empty());
    let graph = sharded.rank_graph(0).unwrap().to_string();
    assert!(graph.contains("float32[2, 5], "), "{graph}");
}

#[test]
fn a_sequence_that_is_split_along_its_steps_is_gathered_and_named() {
    let function = |x: &Vec<Array>| {
        let step = |carry: &Array, row: &Array| (carry + row, row.sum(()));
        let start = mlx::zeros([2, HIDDEN]);
        scan(&start, &x[0], ScanOptions::default(), step).map(|(last, _): (Array, Array)| last)
    };
    let rules = Rules::new().input("0.0", [Some("model")]);
    let sharded = sharded(function, &inputs(&[4, 2, HIDDEN]), &rules);
    assert_eq!(kinds(&sharded), [("all_gather", 1, false)]);
    let refusal = &sharded.report().refusals[0];
    assert_eq!(refusal.name, "scan");
    assert!(
        refusal.reason.contains("is split along 0"),
        "{}",
        refusal.reason
    );
    assert!(refusal.site.to_string().contains("control.rs"));
}

#[test]
fn a_sum_in_a_loop_is_of_each_round() {
    let function = |x: &Vec<Array>| {
        let state = (x[0].clone(), array!(0));
        let body = |(y, n): &(Array, Array)| ((y + mlp(y, x)).tanh(), n + 1);
        while_loop(&state, |(_, n): &(Array, Array)| n.less(4), body).map(|(last, _)| last)
    };
    let sharded = sharded(function, &inputs(&[2, HIDDEN]), &rules());
    assert_eq!(kinds(&sharded), [("all_sum", 1, true)]);
    assert!(
        sharded
            .report()
            .to_string()
            .contains("in a round of a loop")
    );
}

#[test]
fn of_branches_the_one_that_sends_more_is_counted() {
    let function = |x: &Vec<Array>| {
        let holds = x[0].sum(()).greater(0.0);
        let less = |y: &Array| mlp(&y.sum(mlx::keepdims(0)), x) + y;
        cond(&holds, &x[0], |y: &Array| mlp(y, x), less)
    };
    let sharded = sharded(function, &inputs(&[2, HIDDEN]), &rules());
    assert_eq!(
        kinds(&sharded),
        [("all_sum", 1, false), ("all_sum", 0, false)]
    );
    assert_eq!(sharded.report().wire_bytes(), 2 * 6 * 4);
}

#[test]
fn vmap_is_split_along_its_axis_or_inside() {
    let rows = |x: &Vec<Array>| vmap(|row: &Array| mlp(row, x)).call(&x[0]);
    let by_row = Rules::new()
        .input("0.0", [Some("model")])
        .output("", [Some("model")]);
    let along = sharded(rows, &inputs(&[5, HIDDEN]), &by_row);
    assert!(kinds(&along).is_empty() && along.report().refusals.is_empty());
    let inside = sharded(rows, &inputs(&[5, HIDDEN]), &rules());
    // One sum of all rows.
    assert_eq!(kinds(&inside), [("all_sum", 5, false)]);
    assert_eq!(inside.report().wire_bytes(), 5 * 6 * 4);
}

#[test]
fn products_with_tangents_are_split_as_the_function() {
    let function = |x: &Vec<Array>| {
        let (value, slope) = jvp(|y: &Array| mlp(y, x), &x[0], &(&x[0] * 0.5))?;
        Ok::<_, mlx::Error>(value + slope)
    };
    // Where derivatives are taken, ranks must divide what is split.
    let sharded = sharded_on(3, function, &inputs(&[2, HIDDEN]), &rules());
    assert_eq!(kinds(&sharded), [("all_sum", 2, false)]);
    assert!(sharded.report().refusals.is_empty());
}

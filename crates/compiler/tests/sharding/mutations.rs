//! The checks must be able to fail: without any one of the collectives, results differ.

use mlx_compiler::Graph;
use mlx_compiler::sharding::Mesh;
use mlx_compiler::trace;

use super::blocks::{arrays, inputs, llama, llama_rules};
use super::simulate;

/// Returns the graph with its `n`-th sum over ranks left out.
fn without_sum(graph: &Graph, n: usize) -> Option<Graph> {
    let text = graph.to_string();
    let (at, _) = text.match_indices("distributed.all_sum ").nth(n)?;
    let (head, tail) = text.split_at(at);
    let tail =
        tail.replacen("distributed.all_sum ", "copy ", 1)
            .replacen(" group=\"model\"", "", 1);
    Some(format!("{head}{tail}").parse().unwrap())
}

#[test]
fn a_missing_sum_is_found() {
    let all = inputs();
    let traced = trace(llama, (&all.0, &all.1, &all.2, &all.3)).unwrap();
    let whole = traced.graph().clone();
    let mesh = Mesh::new(&[("model", 2)]).unwrap();
    let (_, sharded) = traced.shard(&mesh, &llama_rules(), 0).unwrap();
    let graphs: Vec<Graph> = (0..2)
        .map(|rank| sharded.rank_graph(rank).unwrap())
        .collect();
    simulate::check_graphs(&whole, &sharded, &graphs, &arrays(&all)).unwrap();
    let mut found = 0;
    while let Some(first) = without_sum(&graphs[0], found) {
        let broken = [first, without_sum(&graphs[1], found).unwrap()];
        let message = simulate::check_graphs(&whole, &sharded, &broken, &arrays(&all));
        assert!(message.is_err(), "sum {found}");
        found += 1;
    }
    assert_eq!(found, 3);
}

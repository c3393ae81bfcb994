//! What the report says, as data and as text.

use mlx_compiler::sharding::{CollectiveKind, Mesh, Rules, shard};
use mlx_compiler::{Graph, trace};

const MLP: &str = "\
graph mlp(x0: float32[8, 16], x1: float32[16, 32], x2: float32[32, 16]) {
  %0: float32[8, 32] = matmul x0, x1
  %1: float32[8, 32] = tanh %0
  %2: float32[8, 16] = matmul %1, x2
  return %2
}";

fn rules() -> Rules {
    Rules::new()
        .input("1", [None, Some("model")])
        .input("2", [Some("model"), None])
}

#[test]
fn bytes_are_those_of_a_ring() {
    let kilobyte = |kind: CollectiveKind, ranks| kind.wire_bytes(1000, ranks);
    assert_eq!(kilobyte(CollectiveKind::AllSum, 1), 0);
    assert_eq!(kilobyte(CollectiveKind::AllSum, 4), 1500);
    assert_eq!(kilobyte(CollectiveKind::AllGather, 4), 750);
    assert_eq!(kilobyte(CollectiveKind::SumScatter, 4), 750);
}

#[test]
fn the_report_of_a_multilayer_perceptron() {
    let graph: Graph = MLP.parse().unwrap();
    let mesh = Mesh::new(&[("data", 2), ("model", 4)]).unwrap();
    let rules = rules()
        .input("0", [Some("data"), None])
        .output("0", [Some("data"), None]);
    let sharded = shard(&graph, &mesh, &rules).unwrap();
    let wanted = "\
8 ranks; inputs of 4608 bytes, 1280 on each rank
sharded:
  0: float32[8, 16] along 0, by \"data\", 256 bytes on each rank
  output 0: float32[8, 16] along 0, by \"data\", 256 bytes on each rank
  1: float32[16, 32] along 1, by \"model\", 512 bytes on each rank
  2: float32[32, 16] along 0, by \"model\", 512 bytes on each rank
on the wire: 384 bytes of each rank in a call
  all_sum by \"model\" of float32[4, 16] at an unknown line: 1 of 384 bytes, 384
refused: 0
";
    assert_eq!(sharded.report().to_string(), wanted);
    assert_eq!(sharded.report().wire_bytes_along("data"), 0);
}

/// The only output of a traced function has an empty name.
#[test]
fn a_name_is_written_as_a_rule_says_it() {
    let traced = trace(|x: &mlx::Array| x.tanh(), &mlx::ones([4, 1])).unwrap();
    let mesh = Mesh::new(&[("rows", 2), ("columns", 2)]).unwrap();
    let rules = Rules::new().output("", [Some("rows"), Some("columns")]);
    let (_, sharded) = traced.shard(&mesh, &rules, 0).unwrap();
    let report = sharded.report().to_string();
    assert!(
        report.contains("  output \"\": float32[4, 1] along 0"),
        "{report}"
    );
    assert!(
        report.contains("  \"\": 2 ranks are more than 1"),
        "{report}"
    );
}

#[test]
fn ranks_differ_in_their_slices_only() {
    let graph: Graph = MLP.parse().unwrap();
    let mesh = Mesh::new(&[("model", 2)]).unwrap();
    let rules = Rules::new().input("1", [None, Some("model")]);
    let sharded = shard(&graph, &mesh, &rules).unwrap();
    let of = |rank| sharded.rank_graph(rank).unwrap().to_string();
    assert!(
        of(0).contains("slice x2 start=[0, 0] stop=[16, 16]"),
        "{}",
        of(0)
    );
    assert!(
        of(1).contains("slice x2 start=[16, 0] stop=[32, 16]"),
        "{}",
        of(1)
    );
    let error = sharded.rank_graph(2).unwrap_err().to_string();
    assert_eq!(error, "shard: wanted one of 2 ranks, got 2");
}

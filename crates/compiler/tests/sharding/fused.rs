//! Matrices for several products in one, and heads that ranks do not divide: a block of a Llama as its checkpoints have it.

use std::collections::BTreeMap;

use mlx::fast::{self, AttentionMask, RopeOptions};
use mlx::{Array, random};
use mlx_compiler::sharding::{Mesh, Rules, ShardedGraph, ShardingReport};
use mlx_compiler::trace;
use rstest::rstest;

use super::simulate;

pub type Weights = BTreeMap<String, Array>;

const HIDDEN: i32 = 24;
const KV_HEADS: i32 = 3;
const HEADS: i32 = 3 * KV_HEADS;
const HEAD_DIM: i32 = 4;
const INTERMEDIATE: i32 = 21;
const TOKENS: i32 = 3;

/// One matrix for queries, keys and values, and one for gate and up.
pub fn weights() -> Weights {
    random::seed(8);
    let rows = (HEADS + 2 * KV_HEADS) * HEAD_DIM;
    let shapes = [
        ("qkv.weight", vec![rows, HIDDEN]),
        ("qkv.bias", vec![rows]),
        ("o.weight", vec![HIDDEN, HEADS * HEAD_DIM]),
        ("gate_up.weight", vec![2 * INTERMEDIATE, HIDDEN]),
        ("down.weight", vec![HIDDEN, INTERMEDIATE]),
        ("norm1.weight", vec![HIDDEN]),
        ("norm2.weight", vec![HIDDEN]),
    ];
    let of = |(name, shape): (&str, Vec<i32>)| {
        let values = random::normal(shape) * 0.3;
        values.eval().unwrap();
        (name.to_owned(), values)
    };
    shapes.into_iter().map(of).collect()
}

pub fn input() -> Array {
    random::seed(9);
    let x = random::normal([2, TOKENS, HIDDEN]);
    x.eval().unwrap();
    x
}

pub fn block(weights: &Weights, x: &Array) -> mlx::Result<Array> {
    let linear = |x: &Array, name: &str| x.matmul(&weights[&format!("{name}.weight")].t());
    let heads = |x: &Array, n: i32| x.unflatten(-1, [n, HEAD_DIM]).transpose([0, 2, 1, 3]);
    let rope = RopeOptions {
        dims: Some(HEAD_DIM),
        ..RopeOptions::default()
    };
    let y = fast::rms_norm(x, &weights["norm1.weight"], 1e-5);
    let qkv = linear(&y, "qkv") + &weights["qkv.bias"];
    let (q, kv) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
    let parts = qkv.split(vec![q, q + kv], -1)?;
    let q = fast::rope(&heads(&parts[0], HEADS), &rope);
    let k = fast::rope(&heads(&parts[1], KV_HEADS), &rope);
    let v = heads(&parts[2], KV_HEADS);
    let mixed = fast::scaled_dot_product_attention(&q, &k, &v, 0.5, AttentionMask::causal());
    let x = x + linear(&mixed.transpose([0, 2, 1, 3]).flatten(2, 3), "o");
    let y = fast::rms_norm(&x, &weights["norm2.weight"], 1e-5);
    let halves = linear(&y, "gate_up").split(2, -1)?;
    Ok(&x + linear(&fast::swiglu(&halves[0], &halves[1]), "down"))
}

/// Megatron's: rows of the first matrices, columns of the second.
pub fn rules(gradients: bool) -> Rules {
    let mut rules = Rules::new();
    let specs = [
        ("qkv.weight", [Some("model"), None]),
        ("gate_up.weight", [Some("model"), None]),
        ("o.weight", [None, Some("model")]),
        ("down.weight", [None, Some("model")]),
    ];
    for (name, spec) in specs {
        rules = rules.input(&format!("0.{name}"), spec);
        if gradients {
            rules = rules.output(&format!("1.{name}"), spec);
        }
    }
    rules = rules.input("0.qkv.bias", [Some("model")]);
    match gradients {
        true => rules.output("1.qkv.bias", [Some("model")]),
        false => rules,
    }
}

fn sharded(ranks: usize) -> ShardedGraph {
    let all = (weights(), input());
    let traced = trace(block, (&all.0, &all.1)).unwrap();
    let whole = traced.graph().clone();
    let mesh = Mesh::new(&[("model", ranks)]).unwrap();
    let (_, sharded) = traced.shard(&mesh, &rules(false), 0).unwrap();
    let inputs: Vec<Array> = mlx::tree::arrays(&all).into_iter().cloned().collect();
    println!("{}", sharded.report());
    simulate::check(&whole, &sharded, &inputs).unwrap();
    sharded
}

fn kinds(report: &ShardingReport) -> Vec<&'static str> {
    let all = report.collectives.iter();
    all.map(|one| one.kind.name()).collect()
}

/// A sum behind attention and one behind the feed-forward network, whether ranks divide the heads or not.
#[rstest]
#[case(2)]
#[case(3)]
fn each_rank_has_its_part_of_each_section(#[case] ranks: usize) {
    let sharded = sharded(ranks);
    let report = sharded.report();
    assert_eq!(kinds(report), ["all_sum", "all_sum"], "{report}");
    assert!(report.refusals.is_empty(), "{report}");
    // Two sums of the hidden state: what is sent.
    let bytes = 4 * u64::try_from(2 * TOKENS * HIDDEN).unwrap();
    let n = ranks as u64;
    assert_eq!(report.wire_bytes(), 2 * (2 * bytes * (n - 1)).div_ceil(n));
    let fused = report
        .values
        .iter()
        .find(|value| value.name == "0.qkv.weight")
        .unwrap();
    assert_eq!(fused.layout.sections(), [36, 12, 12]);
    let graph = sharded.rank_graph(ranks - 1).unwrap().to_string();
    assert!(
        graph.contains("float32[2, 3, 3, 4] = fast.scaled_dot_product_attention"),
        "{graph}"
    );
}

#[test]
fn the_report_says_how_a_fused_matrix_is_cut() {
    let report = sharded(2).report().to_string();
    let line = "0.qkv.weight: float32[60, 24] along 0 in sections of [36, 12, 12] in parts of [40, 20], by \"model\", 3840 bytes on the first rank";
    assert!(report.contains(line), "{report}");
    let line = "0.gate_up.weight: float32[42, 24] along 0 in sections of [21, 21] in parts of [22, 20], by \"model\", 2112 bytes on the first rank";
    assert!(report.contains(line), "{report}");
}

/// Three heads of keys are fewer than the ranks: attention is whole, and named; all else is split.
#[test]
fn fewer_heads_than_ranks_are_gathered_and_named() {
    let sharded = sharded(4);
    let report = sharded.report();
    let named = |name: &str| report.refusals.iter().any(|one| one.name == name);
    assert!(
        named("reshape") || named("fast.scaled_dot_product_attention"),
        "{report}"
    );
    assert!(
        report
            .values
            .iter()
            .any(|value| value.name == "0.qkv.weight"),
        "{report}"
    );
}

/// `[tokens, 3 * heads * dim]` as `[tokens, 3, heads, dim]`: heads are split, and the three are not.
#[rstest]
#[case(2)]
#[case(4)]
fn three_in_a_dimension_of_their_own_are_sections(#[case] ranks: usize) {
    let (heads, dim) = (4, 2);
    let function = |w: &Vec<Array>, x: &Array| {
        let all = x.matmul(&w[0].t()).unflatten(-1, [3, heads, dim]);
        let all = all.transpose([1, 2, 0, 3]);
        let [q, k, v] = [0, 1, 2].map(|n| all.take(mlx::array!(n), 0));
        let scores = q.matmul(&k.transpose([0, 2, 1])).softmax(-1);
        let mixed = scores.matmul(&v).transpose([1, 0, 2]).flatten(1, 2);
        mixed.matmul(&w[1].t())
    };
    let weights = vec![
        random::normal([3 * heads * dim, HIDDEN]),
        random::normal([HIDDEN, heads * dim]),
    ];
    let all = (weights, random::normal([TOKENS, HIDDEN]));
    let traced = trace(function, (&all.0, &all.1)).unwrap();
    let whole = traced.graph().clone();
    let mesh = Mesh::new(&[("model", ranks)]).unwrap();
    let rules = Rules::new()
        .input("0.0", [Some("model"), None])
        .input("0.1", [None, Some("model")]);
    let (_, sharded) = traced.shard(&mesh, &rules, 0).unwrap();
    let inputs: Vec<Array> = mlx::tree::arrays(&all).into_iter().cloned().collect();
    simulate::check(&whole, &sharded, &inputs).unwrap();
    let report = sharded.report();
    assert_eq!(kinds(report), ["all_sum"], "{report}");
    assert!(report.refusals.is_empty(), "{report}");
}

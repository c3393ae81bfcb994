//! Blocks of networks: multilayer perceptrons and a step of a Llama, split as one would.

use std::collections::BTreeMap;

use mlx::fast::{self, AttentionMask, RopeOptions};
use mlx::{Array, Dtype, Op, array, bind, keepdims, random};
use mlx_compiler::sharding::{Mesh, Rules, ShardedGraph};
use mlx_compiler::trace;
use rstest::rstest;

use super::simulate;

pub type Weights = BTreeMap<String, Array>;
pub type Cache = (Array, Array);

pub const HIDDEN: i32 = 32;
const HEADS: i32 = 8;
const KV_HEADS: i32 = 4;
const HEAD_DIM: i32 = 4;
const INTERMEDIATE: i32 = 24;
pub const VOCABULARY: i32 = 48;
const CAPACITY: i32 = 6;

/// The weights of a small Llama with one layer, and with biases of the products.
pub fn weights() -> Weights {
    random::seed(3);
    let mut weights = Weights::new();
    let mut add = |name: &str, shape: &[i32]| {
        let values = random::normal(shape.to_vec()) * 0.3;
        values.eval().unwrap();
        weights.insert(name.to_owned(), values);
    };
    let kv = KV_HEADS * HEAD_DIM;
    add("embed.weight", &[VOCABULARY, HIDDEN]);
    for (name, shape) in [
        ("q", [HEADS * HEAD_DIM, HIDDEN]),
        ("k", [kv, HIDDEN]),
        ("v", [kv, HIDDEN]),
        ("o", [HIDDEN, HEADS * HEAD_DIM]),
        ("gate", [INTERMEDIATE, HIDDEN]),
        ("up", [INTERMEDIATE, HIDDEN]),
        ("down", [HIDDEN, INTERMEDIATE]),
    ] {
        add(&format!("{name}.weight"), &shape);
        add(&format!("{name}.bias"), &shape[..1]);
    }
    for name in ["norm1", "norm2", "norm3"] {
        add(&format!("{name}.weight"), &[HIDDEN]);
    }
    weights
}

pub fn cache() -> Cache {
    let empty = || mlx::zeros([1, KV_HEADS, CAPACITY, HEAD_DIM]);
    (empty(), empty())
}

fn linear(weights: &Weights, name: &str, x: &Array) -> Array {
    let weight = &weights[&format!("{name}.weight")];
    let bias = &weights[&format!("{name}.bias")];
    let (alpha, beta) = (1.0, 1.0);
    bind(Op::Addmm { alpha, beta }, &[bias, x, &weight.t()])
}

fn norm(weights: &Weights, name: &str, x: &Array) -> Array {
    let scale = (x.square().mean(keepdims(-1)) + 1e-5).rsqrt();
    x * scale * &weights[&format!("{name}.weight")]
}

/// Logits of the tokens and the cache after them.
pub fn llama(
    weights: &Weights,
    tokens: &Array,
    cache: &Cache,
    start: &Array,
) -> mlx::Result<(Array, Cache)> {
    let heads = |x: Array, n: i32| x.unflatten(-1, [n, HEAD_DIM]).transpose([0, 2, 1, 3]);
    let mut x = weights["embed.weight"].take(tokens, 0);
    let y = norm(weights, "norm1", &x);
    let rope = RopeOptions {
        dims: Some(HEAD_DIM),
        offset: start.clone().into(),
        ..RopeOptions::default()
    };
    let q = fast::rope(&heads(linear(weights, "q", &y), HEADS), &rope);
    let k = fast::rope(&heads(linear(weights, "k", &y), KV_HEADS), &rope);
    let v = heads(linear(weights, "v", &y), KV_HEADS);
    let at = start.reshape([1]);
    let write = |rows: &Array, new: &Array| {
        bind(Op::SliceUpdateDynamic { axes: vec![2] }, &[rows, new, &at])
    };
    let cache = (write(&cache.0, &k), write(&cache.1, &v));
    let mask = AttentionMask::causal().offset(start.clone());
    let mixed = fast::scaled_dot_product_attention(&q, &cache.0, &cache.1, 0.5, &mask);
    let mixed = mixed.transpose([0, 2, 1, 3]).flatten(2, 3);
    x += linear(weights, "o", &mixed);
    let y = norm(weights, "norm2", &x);
    let gate = linear(weights, "gate", &y);
    let gated = &gate * gate.sigmoid() * linear(weights, "up", &y);
    x += linear(weights, "down", &gated);
    let logits = norm(weights, "norm3", &x).matmul(&weights["embed.weight"].t());
    Ok((logits, cache))
}

/// How one splits a Llama: heads and features, and the rows of the table.
pub fn llama_rules() -> Rules {
    let (rows, columns) = ([Some("model"), None], [None, Some("model")]);
    let mut rules = Rules::new().input("0.embed.weight", rows);
    for name in ["q", "k", "v", "gate", "up"] {
        rules = rules
            .input(&format!("0.{name}.weight"), rows)
            .input(&format!("0.{name}.bias"), [Some("model")]);
    }
    for name in ["o", "down"] {
        rules = rules.input(&format!("0.{name}.weight"), columns);
    }
    let by_head = [None, Some("model"), None, None];
    rules.input("2.*", by_head).output("1.*", by_head)
}

pub fn inputs() -> (Weights, Array, Cache, Array) {
    (weights(), array!([[3, 47, 11]]), cache(), array!(1))
}

pub fn arrays(inputs: &(Weights, Array, Cache, Array)) -> Vec<Array> {
    mlx::tree::arrays(inputs).into_iter().cloned().collect()
}

#[rstest]
#[case(2)]
#[case(3)]
#[case(4)]
fn a_llama_step_agrees(#[case] ranks: usize) {
    let all = inputs();
    let traced = trace(llama, (&all.0, &all.1, &all.2, &all.3)).unwrap();
    let whole = traced.graph().clone();
    let mesh = Mesh::new(&[("model", ranks)]).unwrap();
    let (_, sharded) = traced.shard(&mesh, &llama_rules(), 0).unwrap();
    println!("{}\n{}", sharded.report(), sharded.rank_graph(0).unwrap());
    simulate::check(&whole, &sharded, &arrays(&all)).unwrap();
    // Three ranks divide neither 8 heads nor 4: the first has two heads of keys, the others one.
    megatron(&sharded);
}

/// Sums of the embedding, of attention and of the feed-forward network, and the gathered logits; nothing else.
fn megatron(sharded: &ShardedGraph) {
    let report = sharded.report();
    let kinds: Vec<&str> = report
        .collectives
        .iter()
        .map(|one| one.kind.name())
        .collect();
    assert_eq!(
        kinds,
        ["all_sum", "all_sum", "all_sum", "all_gather"],
        "{report}"
    );
    assert!(report.refusals.is_empty(), "{report}");
    let graph = sharded.rank_graph(0).unwrap().to_string();
    let ranks = sharded.mesh().size() as i32;
    let part = HEADS / KV_HEADS * ((KV_HEADS + ranks - 1) / ranks);
    assert!(
        graph.contains(&format!(
            "float32[1, {part}, 3, 4] = fast.scaled_dot_product_attention"
        )),
        "{graph}"
    );
}

fn one_input(
    function: impl Fn(&Vec<Array>) -> Array,
    inputs: Vec<Array>,
    rules: &Rules,
    ranks: usize,
) -> ShardedGraph {
    let traced = trace(function, &inputs).unwrap();
    let whole = traced.graph().clone();
    let mesh = Mesh::new(&[("model", ranks)]).unwrap();
    let (_, sharded) = traced.shard(&mesh, rules, 0).unwrap();
    let message = simulate::check(&whole, &sharded, &inputs);
    assert!(
        message.is_ok(),
        "{message:?}\n{}\n{}",
        sharded.report(),
        sharded.rank_graph(0).unwrap()
    );
    sharded
}

fn kinds(sharded: &ShardedGraph) -> Vec<&'static str> {
    let collectives = &sharded.report().collectives;
    collectives.iter().map(|one| one.kind.name()).collect()
}

#[test]
fn two_partial_values_are_added_before_their_sum_is_made() {
    let split = [None, Some("model")];
    let rules = Rules::new()
        .input("0.0", split)
        .input("0.2", split)
        .input("0.1", [Some("model"), None])
        .input("0.3", [Some("model"), None]);
    let normal = |shape: [i32; 2]| random::normal(shape);
    let inputs = vec![
        normal([4, 6]),
        normal([6, 8]),
        normal([4, 6]),
        normal([6, 8]),
    ];
    let function =
        |x: &Vec<Array>| (x[0].matmul(&x[1]) + x[2].matmul(&x[3]) * 2.0).transpose([1, 0]);
    let sharded = one_input(function, inputs, &rules, 3);
    assert_eq!(kinds(&sharded), ["all_sum"]);
}

#[test]
fn a_sum_that_is_wanted_split_is_scattered() {
    let rules = Rules::new()
        .input("0.0", [None, Some("model")])
        .input("0.1", [Some("model"), None])
        .output("", [None, Some("model")]);
    let inputs = vec![random::normal([4, 6]), random::normal([6, 9])];
    let sharded = one_input(|x| x[0].matmul(&x[1]), inputs, &rules, 3);
    assert_eq!(kinds(&sharded), ["sum_scatter"]);
    assert_eq!(sharded.report().wire_bytes(), 2 * 4 * 9 * 4 / 3);
}

#[test]
fn what_is_replicated_stays_so_when_a_part_of_it_is_used_elsewhere() {
    let rules = Rules::new()
        .input("0.1", [Some("model"), None])
        .input("0.2", [None, Some("model")])
        .output("1", [None, Some("model")]);
    let inputs = vec![
        random::normal([2, 6]),
        random::normal([6, 5]),
        random::normal([6, 6]),
    ];
    let traced = trace(
        |x: &Vec<Array>| vec![x[0].matmul(&x[1]), x[0].tanh().matmul(&x[2])],
        &inputs,
    )
    .unwrap();
    let whole = traced.graph().clone();
    let mesh = Mesh::new(&[("model", 2)]).unwrap();
    let (_, sharded) = traced.shard(&mesh, &rules, 0).unwrap();
    simulate::check(&whole, &sharded, &inputs).unwrap();
    assert_eq!(kinds(&sharded), ["all_sum"], "{}", sharded.report());
}

#[test]
fn a_sum_that_is_scaled_by_numbers_is_made_once_at_the_end() {
    let split = [None, Some("model")];
    let rules = Rules::new().input("0.0", split).input("0.1", split);
    let inputs = vec![random::normal([4, 6]), random::normal([4, 9])];
    let function = |x: &Vec<Array>| x[0].sum(-1) / 6.0 + 0.5 * x[1].sum(-1);
    let sharded = one_input(function, inputs, &rules, 3);
    assert_eq!(kinds(&sharded), ["all_sum"], "{}", sharded.report());
}

#[test]
fn a_kernel_of_the_program_is_whole_whatever_its_name() {
    let types = |inputs: &[mlx::ArrayType]| Ok(vec![inputs[0].clone()]);
    let kernel = fast::host_kernel("clip", types, |_, _| Ok(())).unwrap();
    let inputs = vec![random::normal([4, 6])];
    let traced = trace(|x: &Vec<Array>| kernel.apply_one(&[&x[0]]), &inputs).unwrap();
    let mesh = Mesh::new(&[("model", 2)]).unwrap();
    let rules = Rules::new().input("0.0", [Some("model")]);
    let (_, sharded) = traced.shard(&mesh, &rules, 0).unwrap();
    assert_eq!(kinds(&sharded), ["all_gather"]);
    let refusal = &sharded.report().refusals[0];
    assert_eq!(refusal.name, "clip");
    assert!(
        refusal.reason.contains("a kernel of the program"),
        "{}",
        refusal.reason
    );
}

#[test]
fn a_function_that_communicates_along_the_axis_is_refused() {
    let graph: mlx_compiler::Graph = "\
graph f(x0: float32[4]) {
  %0: float32[4] = distributed.all_sum x0 group=\"model\"
  return %0
}"
    .parse()
    .unwrap();
    let rules = Rules::new();
    let shard = |axis: &str| {
        let mesh = Mesh::new(&[(axis, 2)]).unwrap();
        mlx_compiler::sharding::shard(&graph, &mesh, &rules)
    };
    shard("data").unwrap();
    let error = shard("model").unwrap_err().to_string();
    let wanted = "shard: wanted a function that does not communicate along \"model\", got distributed.all_sum";
    assert!(error.starts_with(wanted), "{error}");
}

#[test]
fn a_softmax_written_out_over_split_scores_needs_a_maximum_and_sums() {
    let rules = Rules::new().input("0.0", [None, Some("model")]);
    let softmax = |x: &Vec<Array>| {
        let shifted = (&x[0] - x[0].max(keepdims(-1))).exp();
        let sum = shifted.sum(keepdims(-1));
        (shifted / sum).square().sum(-1)
    };
    let sharded = one_input(softmax, vec![random::normal([3, 8])], &rules, 4);
    assert_eq!(kinds(&sharded), ["all_max", "all_sum", "all_sum"]);
}

#[test]
fn packed_weights_are_split_by_outputs_and_by_whole_groups() {
    let group = mlx::Quantization {
        group_size: 32,
        bits: 4,
        ..mlx::Quantization::default()
    };
    let packed = |shape: [i32; 2]| random::normal(shape).quantize(group).unwrap();
    let (up, down) = (packed([128, 64]), packed([32, 128]));
    let biases = |w: &mlx::Quantized| w.biases.clone().unwrap();
    let inputs = vec![
        random::normal([2, 64]),
        up.weight.clone(),
        up.scales.clone(),
        biases(&up),
        down.weight.clone(),
        down.scales.clone(),
        biases(&down),
    ];
    let function = |x: &Vec<Array>| {
        let product = |x: &Array, w: &[Array]| {
            let weights = mlx::Quantized {
                weight: w[0].clone(),
                scales: w[1].clone(),
                biases: Some(w[2].clone()),
                quantization: group,
            };
            x.quantized_matmul(&weights, true)
        };
        product(&product(&x[0], &x[1..4]).tanh(), &x[4..7])
    };
    let mut rules = Rules::new();
    for k in 1..4 {
        rules = rules
            .input(&format!("0.{k}"), [Some("model"), None])
            .input(&format!("0.{}", k + 3), [None, Some("model")]);
    }
    for ranks in [2, 4] {
        let sharded = one_input(function, inputs.clone(), &rules, ranks);
        assert_eq!(kinds(&sharded), ["all_sum"]);
        assert!(sharded.report().refusals.is_empty());
    }
}

#[test]
fn a_site_without_a_rule_is_whole_and_named() {
    let rules = Rules::new().input("0.0", [Some("model"), None]);
    let function = |x: &Vec<Array>| mlx::linalg::inv(&x[0]) * 2.0;
    let x = Array::from_slice(&[2.0_f32, 1.0, 0.5, 3.0], [2, 2]).unwrap();
    let sharded = one_input(function, vec![x], &rules, 2);
    let report = sharded.report();
    assert_eq!(kinds(&sharded), ["all_gather"]);
    assert_eq!(report.refusals[0].name, "linalg.inv");
    assert!(
        report.refusals[0]
            .reason
            .contains("mixes the elements of its matrices")
    );
    assert!(report.refusals[0].site.to_string().contains("blocks.rs"));
}

#[test]
fn sizes_smaller_than_the_number_of_ranks_are_whole_and_named() {
    let rules = Rules::new()
        .input("0.0", [Some("model")])
        .input("0.9", [Some("model")]);
    let sharded = one_input(|x| &x[0] * 2.0, vec![mlx::ones([3])], &rules, 4);
    let report = sharded.report().to_string();
    assert!(
        report.contains("4 ranks are more than 3, dimension 0 of float32[3]"),
        "{report}"
    );
    assert!(
        report.contains("no name fits the rule of \"0.9\""),
        "{report}"
    );
}

#[test]
fn sizes_that_ranks_do_not_divide_are_cut_into_parts_of_two_sizes() {
    let rules = Rules::new()
        .input("0.0", [None, Some("model")])
        .input("0.1", [Some("model"), None])
        .output("", [Some("model")]);
    let inputs = vec![random::normal([5, 7]), random::normal([7, 3])];
    let sharded = one_input(|x| x[0].matmul(&x[1]).mean(-1), inputs, &rules, 3);
    assert_eq!(kinds(&sharded), ["all_sum"]);
    let report = sharded.report().to_string();
    for line in [
        "0.*: float32[5, 7] along 1 in parts of [3, 2, 2], by \"model\", 60 bytes on the first rank",
        "output \"\": float32[5] along 0 in parts of [2, 2, 1], by \"model\", 8 bytes on the first rank",
    ] {
        assert!(report.contains(line), "{report}");
    }
}

/// Parts are gathered with the size of the greatest: three ranks send two rows each for five.
#[test]
fn what_is_gathered_of_parts_of_two_sizes_is_counted_as_it_is_sent() {
    let rules = Rules::new().input("0.0", [Some("model"), None]);
    let sharded = one_input(|x| x[0].tanh(), vec![random::normal([5, 2])], &rules, 3);
    assert_eq!(kinds(&sharded), ["all_gather"]);
    assert_eq!(sharded.report().wire_bytes(), 2 * (2 * 2 * 4));
}

/// Along an axis that is not the last one, ranks have graphs of one shape.
#[test]
fn only_along_the_last_axis_parts_differ_in_size() {
    let mesh = Mesh::new(&[("data", 2), ("model", 2)]).unwrap();
    let traced = trace(|x: &Array| x.tanh(), &mlx::ones([3, 3])).unwrap();
    let rules = Rules::new().input("0", [Some("data"), Some("model")]);
    let (_, sharded) = traced.shard(&mesh, &rules, 0).unwrap();
    let report = sharded.report().to_string();
    assert!(
        report.contains(
            "2 ranks do not divide 3, dimension 0 of float32[3, 3]: parts differ only along the last axis"
        ),
        "{report}"
    );
    assert!(
        report.contains("along 1 in parts of [2, 1], by \"model\""),
        "{report}"
    );
}

#[test]
fn integers_and_indices_from_the_end_are_taken_from_a_split_table() {
    let rules = Rules::new().input("0.0", [Some("model"), None]);
    for dtype in [Dtype::Float32, Dtype::Int32, Dtype::Uint8] {
        let table = mlx::arange(120).reshape([60, 2]).astype(dtype);
        let inputs = vec![table, array!([[0, 25, -1], [-60, 40, 39]])];
        let sharded = one_input(|x| x[0].take(&x[1], 0), inputs, &rules, 3);
        assert_eq!(kinds(&sharded), ["all_sum"]);
    }
}

//! Ranks as processes that meet in a ring: what they compute is what one computes by itself.

use std::collections::BTreeMap;

use mlx::distributed::{self, Group};
use mlx::{Array, value_and_grad};
use mlx_compiler::sharding::{Mesh, PartitionSpec, Rules, ShardedGraph};
use mlx_compiler::{CompileOptions, Compiled, Fusion, trace};
use rstest::rstest;

use super::{blocks, fused, random_networks, ranks};

#[rstest]
#[case("llama_step", 2)]
#[case("llama_step", 4)]
#[case("gradients_of_split_weights", 2)]
#[case("gradients_of_split_batches", 2)]
#[case("gradients_of_a_tied_table", 2)]
#[case("gradients_on_two_axes", 4)]
#[case("gradients_of_a_llama", 2)]
#[case("fused_block", 2)]
#[case("fused_block", 3)]
#[case("gradients_of_a_fused_block", 3)]
#[case("loops_and_branches", 2)]
#[case("gradients_of_random_networks", 2)]
fn over_a_ring(#[case] case: &str, #[case] n: usize) {
    ranks::run(&format!("real_ranks::child::{case}"), n, 1);
}

fn world() -> Group {
    distributed::init("ring", true).unwrap()
}

#[track_caller]
fn assert_close(name: &str, got: &Array, wanted: &Array) {
    assert_eq!(got.shape().unwrap(), wanted.shape().unwrap(), "{name}");
    let error = (got - wanted).abs().max(()).item::<f32>().unwrap();
    let scale = wanted.abs().max(()).item::<f32>().unwrap();
    assert!(error <= 2e-5 * scale.max(1.0), "{name}: {error} of {scale}");
}

/// Calls a rank's function with its parts, and compares with its parts of what is wanted.
fn compare<T: mlx::Tree>(
    sharded: &ShardedGraph,
    compiled: &Compiled<T>,
    inputs: &[Array],
    wanted: &[Array],
    rank: usize,
) {
    let inputs: Vec<&Array> = inputs.iter().collect();
    let parts = sharded.shard_inputs(rank, &inputs).unwrap();
    for _ in 0..2 {
        let got = compiled
            .call_flat(&parts.iter().collect::<Vec<_>>())
            .unwrap();
        mlx::eval(&got).unwrap();
        for (index, wanted) in wanted.iter().enumerate() {
            let wanted = sharded.shard_output(rank, index, wanted).unwrap();
            assert_close(&format!("output {index}"), &got[index], &wanted);
        }
    }
}

type Weights = BTreeMap<String, Array>;

fn mlp(weights: &Weights, x: &Array) -> Array {
    let y = (x.matmul(&weights["up"]) + &weights["bias"])
        .tanh()
        .matmul(&weights["down"]);
    (y * &weights["scale"]).square().mean(())
}

fn mlp_inputs() -> (Weights, Array) {
    mlx::random::seed(5);
    let normal = |shape: &[i32]| {
        let values = mlx::random::normal(shape.to_vec());
        values.eval().unwrap();
        values
    };
    let weights = [
        ("up", &[6, 8][..]),
        ("bias", &[8]),
        ("down", &[8, 4]),
        ("scale", &[4]),
    ];
    let weights = weights.map(|(name, shape)| (name.to_owned(), normal(shape)));
    (weights.into(), normal(&[12, 6]))
}

/// Compares loss and gradients of the multilayer perceptron, and returns the number of collectives.
fn gradients(axes: &[(&str, usize)], rules: &Rules) -> ShardedGraph {
    let group = world();
    let (weights, x) = mlp_inputs();
    let step = |weights: &Weights, x: &Array| value_and_grad(mlp).call((weights, x));
    let (loss, slopes) = step(&weights, &x).unwrap();
    let wanted: Vec<Array> = std::iter::once(loss).chain(slopes.into_values()).collect();
    let mesh = Mesh::of_group(&group, axes).unwrap();
    let traced = trace(step, (&weights, &x)).unwrap();
    let (traced, sharded) = traced.shard(&mesh, rules, group.rank()).unwrap();
    println!("{}\n{}", sharded.report(), traced.graph());
    let compiled = traced
        .lower(&CompileOptions::default())
        .unwrap()
        .compile()
        .unwrap();
    let inputs: Vec<Array> = weights.into_values().chain([x]).collect();
    compare(&sharded, &compiled, &inputs, &wanted, group.rank());
    sharded
}

/// The rules of the weights, of inputs and of gradients.
fn split_weights(mut rules: Rules, axis: &str) -> Rules {
    let specs: [(&str, PartitionSpec); 3] = [
        ("up", [None, Some(axis)].into()),
        ("bias", [Some(axis)].into()),
        ("down", [Some(axis), None].into()),
    ];
    for (name, spec) in specs {
        rules = rules
            .input(&format!("0.{name}"), spec.clone())
            .output(&format!("1.{name}"), spec);
    }
    rules
}

mod child {
    use super::*;

    #[test]
    #[ignore = "run by `over_a_ring`"]
    fn llama_step() {
        let group = world();
        let all = blocks::inputs();
        let traced = trace(blocks::llama, (&all.0, &all.1, &all.2, &all.3)).unwrap();
        let mesh = Mesh::of_group(&group, &[("model", group.size())]).unwrap();
        let (traced, sharded) = traced
            .shard(&mesh, &blocks::llama_rules(), group.rank())
            .unwrap();
        let lowered = traced.lower(&CompileOptions::default()).unwrap();
        // The formulas of what a rank computes are recognized.
        lowered
            .report()
            .expect([
                Fusion::RmsNorm,
                Fusion::RmsNorm,
                Fusion::RmsNorm,
                Fusion::SwiGlu,
            ])
            .unwrap();
        let compiled = lowered.compile().unwrap();
        let (logits, cache) = blocks::llama(&all.0, &all.1, &all.2, &all.3).unwrap();
        compare(
            &sharded,
            &compiled,
            &blocks::arrays(&all),
            &[logits, cache.0, cache.1],
            group.rank(),
        );
    }

    #[test]
    #[ignore = "run by `over_a_ring`"]
    fn gradients_of_split_weights() {
        let rules = split_weights(Rules::new(), "model");
        let sharded = gradients(&[("model", 2)], &rules);
        // One sum of the product, one of the gradient of `x`, which nothing needs.
        let n = sharded
            .report()
            .collectives
            .iter()
            .filter(|one| !one.is_gradient)
            .count();
        assert_eq!(n, 1, "{}", sharded.report());
    }

    #[test]
    #[ignore = "run by `over_a_ring`"]
    fn gradients_of_split_batches() {
        let rules = Rules::new().input("1", [Some("data"), None]);
        let sharded = gradients(&[("data", 2)], &rules);
        let n = |is_gradient| {
            let all = &sharded.report().collectives;
            all.iter()
                .filter(|one| one.is_gradient == is_gradient)
                .count()
        };
        assert_eq!((n(false), n(true)), (1, 4), "{}", sharded.report());
    }

    /// A table for tokens and for logits: its gradient is summed once for both.
    #[test]
    #[ignore = "run by `over_a_ring`"]
    fn gradients_of_a_tied_table() {
        let group = world();
        let (_, x) = mlp_inputs();
        let (table, tokens) = (x, mlx::array!([[0, 3, 11, 3], [5, 5, 1, 2]]));
        let loss = |table: &Array, tokens: &Array| {
            let logits = table.take(tokens, 0).tanh().matmul(&table.t());
            logits.logsumexp(-1).mean(()) - logits.square().mean(())
        };
        let step = |table: &Array, tokens: &Array| value_and_grad(loss).call((table, tokens));
        let (value, slope) = step(&table, &tokens).unwrap();
        let mesh = Mesh::of_group(&group, &[("data", 2)]).unwrap();
        let rules = Rules::new().input("1", [Some("data"), None]);
        let traced = trace(step, (&table, &tokens)).unwrap();
        let (traced, sharded) = traced.shard(&mesh, &rules, group.rank()).unwrap();
        let all = &sharded.report().collectives;
        let n = all.iter().filter(|one| one.is_gradient).count();
        assert_eq!(n, 1, "{}", traced.graph());
        let lowered = traced.lower(&CompileOptions::default()).unwrap();
        let inputs = [table, tokens];
        compare(
            &sharded,
            &lowered.compile().unwrap(),
            &inputs,
            &[value, slope],
            group.rank(),
        );
    }

    #[test]
    #[ignore = "run by `over_a_ring`"]
    fn gradients_on_two_axes() {
        let rules = Rules::new().input("1", [Some("data"), None]);
        gradients(&[("data", 2), ("model", 2)], &split_weights(rules, "model"));
    }

    #[test]
    #[ignore = "run by `over_a_ring`"]
    fn gradients_of_a_llama() {
        let group = world();
        let all = blocks::inputs();
        let loss = |weights: &Weights,
                    tokens: &Array,
                    cache: &blocks::Cache,
                    start: &Array|
         -> mlx::Result<Array> {
            let (logits, _) = blocks::llama(weights, tokens, cache, start)?;
            Ok(logits.logsumexp(-1).mean(()) - logits.square().mean(()))
        };
        let step = |weights: &Weights, tokens: &Array, cache: &blocks::Cache, start: &Array| {
            value_and_grad(loss).call((weights, tokens, cache, start))
        };
        let args = (&all.0, &all.1, &all.2, &all.3);
        let (value, slopes) = step(args.0, args.1, args.2, args.3).unwrap();
        let wanted: Vec<Array> = std::iter::once(value).chain(slopes.into_values()).collect();
        let mesh = Mesh::of_group(&group, &[("model", group.size())]).unwrap();
        let traced = trace(step, args).unwrap();
        let (traced, sharded) = traced
            .shard(&mesh, &blocks::llama_rules(), group.rank())
            .unwrap();
        println!("{}", sharded.report());
        let compiled = traced
            .lower(&CompileOptions::default())
            .unwrap()
            .compile()
            .unwrap();
        compare(
            &sharded,
            &compiled,
            &blocks::arrays(&all),
            &wanted,
            group.rank(),
        );
    }

    /// Heads that two ranks do not divide, in one matrix of queries, keys and values.
    #[test]
    #[ignore = "run by `over_a_ring`"]
    fn fused_block() {
        let group = world();
        let (weights, x) = (fused::weights(), fused::input());
        let wanted = fused::block(&weights, &x).unwrap();
        let traced = trace(fused::block, (&weights, &x)).unwrap();
        let inputs = weights.into_values().chain([x]).collect::<Vec<_>>();
        run(traced, &group, &fused::rules(false), &inputs, &[wanted]);
    }

    #[test]
    #[ignore = "run by `over_a_ring`"]
    fn gradients_of_a_fused_block() {
        let group = world();
        let (weights, x) = (fused::weights(), fused::input());
        let loss = |weights: &Weights, x: &Array| -> mlx::Result<Array> {
            Ok(fused::block(weights, x)?.square().mean(()))
        };
        let step = |weights: &Weights, x: &Array| value_and_grad(loss).call((weights, x));
        let (value, slopes) = step(&weights, &x).unwrap();
        let wanted: Vec<Array> = std::iter::once(value).chain(slopes.into_values()).collect();
        let traced = trace(step, (&weights, &x)).unwrap();
        let inputs = weights.into_values().chain([x]).collect::<Vec<_>>();
        let report = run(traced, &group, &fused::rules(true), &inputs, &wanted);
        assert!(report.refusals.is_empty(), "{report}");
    }

    /// Random networks, by the seeds at which they have loops and branches.
    #[test]
    #[ignore = "run by `over_a_ring`"]
    fn loops_and_branches() {
        let group = world();
        for seed in 0..12 {
            random_network(&group, seed, false);
        }
    }

    #[test]
    #[ignore = "run by `over_a_ring`"]
    fn gradients_of_random_networks() {
        let group = world();
        for seed in 0..40 {
            random_network(&group, seed, true);
        }
    }

    fn random_network(group: &Group, seed: u64, has_gradient: bool) {
        let (network, inputs, mut random) = random_networks::network(seed, has_gradient);
        let function = |inputs: &Vec<Array>| network.run(inputs);
        let wanted = function(&inputs).unwrap();
        let traced = trace(function, &inputs).unwrap();
        let mesh = Mesh::new(&[("model", group.size())]).unwrap();
        let rules = random_networks::rules(&mut random, &traced, &mesh);
        eprintln!("{seed}: {network:?}");
        run(traced, group, &rules, &inputs, &wanted);
    }

    /// Splits what was traced over the group, calls it, and compares.
    fn run<T: mlx::Tree>(
        traced: mlx_compiler::Traced<T>,
        group: &Group,
        rules: &Rules,
        inputs: &[Array],
        wanted: &[Array],
    ) -> mlx_compiler::sharding::ShardingReport {
        let mesh = Mesh::of_group(group, &[("model", group.size())]).unwrap();
        let (traced, sharded) = traced.shard(&mesh, rules, group.rank()).unwrap();
        // Not the graph: what many networks print fills the pipe, which is read at the end.
        let lowered = traced.lower(&CompileOptions::default()).unwrap();
        let compiled = lowered.compile().unwrap();
        compare(&sharded, &compiled, inputs, wanted, group.rank());
        sharded.report().clone()
    }
}

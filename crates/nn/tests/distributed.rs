//! Layers, gradients and parameters over the ranks of a group, against the whole ones.
//!
//! Every rank makes the whole model of the same seed, so that each can compare its share.

#[path = "../../mlx/tests/distributed/ranks.rs"]
mod ranks;

use mlx::distributed::{self, Group};
use mlx::{Array, Dtype, Quantization, array, random};
use mlx_compiler::jit;
use mlx_nn::distributed::{
    AverageOptions, Segments, ShardedLinear, Sharding, average_gradients, average_gradients_with,
    clip_grad_norm_sharded, fully_shard, shard_inplace, shard_linear,
};
use mlx_nn::optimizers::Adam;
use mlx_nn::{Forward, Linear, Module, QuantizedLinear, WeightMap, relu, value_and_grad};
use rstest::rstest;

#[rstest]
#[case("linear_layers", 2)]
#[case("linear_layers", 4)]
#[case("gradients_of_sharded_layers", 4)]
#[case("packed_layers", 2)]
#[case("fused_weights", 2)]
#[case("averages", 4)]
#[case("clipping", 2)]
#[case("fully_sharded", 4)]
#[case("traced", 2)]
fn over_ranks(#[case] case: &str, #[case] n: usize) {
    ranks::run(&format!("child::{case}"), n, 1);
}

#[test]
fn a_group_of_one_changes_nothing() {
    let group = distributed::init("ring", false).unwrap();
    let layer = Linear::new(4, 2);
    let sharded = shard_linear(&layer, Sharding::AllToSharded, 1, &group).unwrap();
    let x = mlx::ones([3, 4]);
    assert_close(&sharded.forward(&x), &layer.forward(&x), 0.0);
    let gradients = WeightMap::from([("a".to_owned(), array!([3.0, 4.0]))]);
    let same = average_gradients(&gradients, &group).unwrap();
    assert_eq!(same["a"].to_vec::<f32>().unwrap(), [3.0, 4.0]);
    let (_, norm) = clip_grad_norm_sharded(&gradients, 1.0, &group);
    assert_eq!(norm.item::<f32>().unwrap(), 5.0);
    let whole = fully_shard(&layer, &group, None).unwrap();
    assert_close(&whole.forward(&x), &layer.forward(&x), 0.0);
}

#[track_caller]
fn assert_close(got: &Array, wanted: &Array, tolerance: f32) {
    assert_eq!(got.shape().unwrap(), wanted.shape().unwrap());
    let error = (got - wanted).abs().max(()).item::<f32>().unwrap();
    assert!(error <= tolerance, "{error}: got {got}, wanted {wanted}");
}

/// The group, with the same random numbers on all ranks.
fn world() -> Group {
    random::seed(7);
    distributed::init("ring", true).unwrap()
}

/// This rank's part of an axis.
fn part(x: &Array, axis: i32, group: &Group) -> Array {
    x.split(group.size() as i32, axis)
        .unwrap()
        .swap_remove(group.rank())
}

#[derive(Clone, Module)]
struct Two {
    up: Linear,
    down: Linear,
}

impl Forward for Two {
    fn forward(&self, x: &Array) -> Array {
        self.down.forward(&relu(&self.up.forward(x)))
    }
}

#[derive(Clone, Module)]
struct ShardedTwo {
    up: ShardedLinear,
    down: ShardedLinear,
}

fn two() -> Two {
    Two {
        up: Linear::new(16, 32),
        down: Linear::new(32, 8),
    }
}

mod child {
    use super::*;

    #[test]
    #[ignore = "run by `over_ranks`"]
    fn linear_layers() {
        let group = world();
        let layer = Linear::new(64, 32);
        let x = random::normal([5, 64]);
        let y = layer.forward(&x);
        let out = shard_linear(&layer, Sharding::AllToSharded, 1, &group).unwrap();
        assert_close(&out.forward(&x), &part(&y, -1, &group), 1e-5);
        let sum = shard_linear(&layer, Sharding::ShardedToAll, 1, &group).unwrap();
        assert_close(&sum.forward(&part(&x, -1, &group)), &y, 1e-5);
        let rows = out.parameters()["weight"].shape().unwrap()[0];
        assert_eq!(rows, 32 / group.size() as i32);
        // Sizes that ranks do not divide.
        let odd = Linear::new(64, 33);
        let error = shard_linear(&odd, Sharding::AllToSharded, 1, &group)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("a segment of 33"), "{error}");
        let error = mlx_nn::distributed::AllToShardedLinear::new(4, 33, true, &group);
        assert!(
            error
                .err()
                .unwrap()
                .to_string()
                .contains("the output of 33 across")
        );
    }

    #[test]
    #[ignore = "run by `over_ranks`"]
    fn gradients_of_sharded_layers() {
        let group = world();
        let whole = two();
        let sharded = ShardedTwo {
            up: shard_linear(&whole.up, Sharding::AllToSharded, 1, &group).unwrap(),
            down: shard_linear(&whole.down, Sharding::ShardedToAll, 1, &group).unwrap(),
        };
        let (x, y) = (random::normal([6, 16]), random::normal([6, 8]));
        let loss = |model: &Two, x: &Array, y: &Array| (model.forward(x) * y).sum(());
        let sharded_loss = |model: &ShardedTwo, x: &Array, y: &Array| {
            (model.down.forward(&relu(&model.up.forward(x))) * y).sum(())
        };
        let (wanted, gradients) = value_and_grad(&whole, loss)(&whole, &x, &y).unwrap();
        let (got, shares) = value_and_grad(&sharded, sharded_loss)(&sharded, &x, &y).unwrap();
        assert_close(&got, &wanted, 1e-4);
        for (name, axis) in [("up.weight", 0), ("up.bias", 0), ("down.weight", 1)] {
            assert_close(&shares[name], &part(&gradients[name], axis, &group), 1e-4);
        }
        assert_close(&shares["down.bias"], &gradients["down.bias"], 1e-4);
    }

    #[test]
    #[ignore = "run by `over_ranks`"]
    fn packed_layers() {
        let group = world();
        let plain = Linear::new(256, 64);
        let layer = QuantizedLinear::from_linear_with(&plain, Quantization::default()).unwrap();
        let x = random::normal([3, 256]);
        let y = layer.forward(&x);
        let out = shard_linear(&layer, Sharding::AllToSharded, 1, &group).unwrap();
        assert_close(&out.forward(&x), &part(&y, -1, &group), 1e-4);
        let sum = shard_linear(&layer, Sharding::ShardedToAll, 1, &group).unwrap();
        assert_close(&sum.forward(&part(&x, -1, &group)), &y, 1e-3);
        assert!(out.trainable_parameters().is_empty());
    }

    #[test]
    #[ignore = "run by `over_ranks`"]
    fn fused_weights() {
        let group = world();
        // Queries, keys and values in one matrix: each of them is sharded.
        let layer = Linear::new(8, 24);
        let y = layer.forward(&mlx::ones([1, 8]));
        let thirds = y.split(3, -1).unwrap();
        let wanted: Vec<Array> = thirds.iter().map(|third| part(third, -1, &group)).collect();
        let wanted = mlx::concatenate(&wanted, -1);
        for segments in [
            Segments::Equal(3),
            Segments::At(vec![8, 16]),
            Segments::Fractions(vec![1.0 / 3.0, 2.0 / 3.0]),
        ] {
            let sharded = shard_linear(&layer, Sharding::AllToSharded, segments, &group).unwrap();
            assert_close(&sharded.forward(&mlx::ones([1, 8])), &wanted, 1e-5);
        }
        let mut inplace = two();
        let whole = inplace.parameters();
        shard_inplace(
            &mut inplace,
            |name: &str, _: &Array| (name == "up.weight").then_some((0, Segments::default())),
            &group,
        )
        .unwrap();
        assert_close(
            &inplace.up.weight,
            &part(&whole["up.weight"], 0, &group),
            0.0,
        );
        assert_close(&inplace.down.weight, &whole["down.weight"], 0.0);
    }

    #[test]
    #[ignore = "run by `over_ranks`"]
    fn averages() {
        let group = world();
        let rank = group.rank() as f32;
        let gradients = vec![
            mlx::ones([3, 2]) * rank,
            mlx::ones([5]) * (rank * 2.0),
            (mlx::ones([4]) * rank).astype(Dtype::Float16),
            array!(rank),
        ];
        let wanted = [1.5, 3.0, 1.5, 1.5];
        let half = AverageOptions {
            communication_dtype: Some(Dtype::Bfloat16),
            ..AverageOptions::default()
        };
        let each = AverageOptions {
            all_reduce_size: 0,
            ..AverageOptions::default()
        };
        for options in [AverageOptions::default(), each, half] {
            let means = average_gradients_with(&gradients, &group, &options).unwrap();
            for ((mean, gradient), wanted) in means.iter().zip(&gradients).zip(wanted) {
                assert_eq!(mean.shape().unwrap(), gradient.shape().unwrap());
                assert_eq!(mean.dtype().unwrap(), gradient.dtype().unwrap());
                let mean = mean.astype(Dtype::Float32);
                assert_close(&mean, &(mlx::ones_like(&mean) * wanted), 1e-2);
            }
        }
    }

    #[test]
    #[ignore = "run by `over_ranks`"]
    fn clipping() {
        let group = world();
        let gradients = vec![mlx::ones([4, 3]) * 3.0, mlx::ones([5]) * 3.0];
        let norm = (17.0 * group.size() as f32).sqrt() * 3.0;
        let (same, got) = clip_grad_norm_sharded(&gradients, 1e9, &group);
        assert_close(&got, &array!(norm), 1e-4);
        assert_close(&same[0], &gradients[0], 0.0);
        let (clipped, _) = clip_grad_norm_sharded(&gradients, 1.0, &group);
        assert_close(&clipped[1], &(&gradients[1] / norm), 1e-5);
    }

    /// Three steps of Adam over shards are those over the whole with the mean of all batches.
    #[test]
    #[ignore = "run by `over_ranks`"]
    fn fully_sharded() {
        let group = world();
        let mut whole = two();
        let mut sharded = fully_shard(&whole, &group, None).unwrap();
        assert_eq!(
            sharded.parameters()["up.weight"].shape().unwrap(),
            [32 / group.size() as i32, 16]
        );
        let (x, y) = (random::normal([8, 16]), random::normal([8, 8]));
        let (own_x, own_y) = (part(&x, 0, &group), part(&y, 0, &group));
        let loss = |model: &Two, x: &Array, y: &Array| (model.forward(x) - y).square().mean(());
        let sharded_loss =
            |model: &mlx_nn::distributed::FullyShardedModule<Two>, x: &Array, y: &Array| {
                (model.forward(x) - y).square().mean(())
            };
        let (mut one, mut many) = (Adam::new(0.01), Adam::new(0.01));
        for _ in 0..3 {
            let (_, gradients) = value_and_grad(&whole, loss)(&whole, &x, &y).unwrap();
            one.update(&mut whole, &gradients).unwrap();
            let (_, gradients) =
                value_and_grad(&sharded, sharded_loss)(&sharded, &own_x, &own_y).unwrap();
            many.update(&mut sharded, &gradients).unwrap();
            mlx::eval((&whole, &sharded)).unwrap();
        }
        let gathered = sharded.gathered().unwrap();
        for (name, wanted) in whole.parameters() {
            assert_close(&gathered.parameters()[&name], &wanted, 2e-5);
            assert_close(
                &sharded.parameters()[&name],
                &part(&wanted, 0, &group),
                2e-5,
            );
        }
        // What is gathered can be sharded for any number of ranks.
        let file = std::env::var("MLX_TEST_FOLDER").unwrap()
            + &format!("/weights.{}.safetensors", group.rank());
        gathered.save_weights(&file).unwrap();
        let mut loaded = two();
        loaded.load_weights(&file).unwrap();
        assert_close(&loaded.up.weight, &whole.up.weight, 2e-5);
        let half = fully_shard(&whole, &group, Some(Dtype::Bfloat16)).unwrap();
        assert_eq!(
            half.gathered().unwrap().up.weight.dtype().unwrap(),
            Dtype::Bfloat16
        );
        let scalar = array!(1.0);
        assert!(
            fully_shard(&scalar, &group, None)
                .err()
                .unwrap()
                .to_string()
                .contains("got a scalar")
        );
    }

    /// A traced function communicates once for each application, in calls and not when it is compiled.
    #[test]
    #[ignore = "run by `over_ranks`"]
    fn traced() {
        let group = world();
        let inside = group.clone();
        let function = jit(move |x: &Array| {
            let constant = distributed::all_sum(&array!([1.0, 2.0]), &inside);
            let (a, b) = (
                distributed::all_sum(x, &inside),
                distributed::all_sum(x, &inside),
            );
            (a + b) * constant
        });
        let rank = group.rank() as f32;
        let (one, ranks) = (array!([rank, 1.0]), group.size() as f32);
        let graph = function.trace(&one).unwrap().graph().to_string();
        assert_eq!(graph.matches("distributed.all_sum").count(), 3, "{graph}");
        for scale in [1.0, 2.0] {
            let y = function(&(&one * scale)).unwrap().to_vec::<f32>().unwrap();
            let sum: f32 = (0..group.size()).map(|rank| rank as f32).sum();
            assert_eq!(
                y,
                [2.0 * sum * scale * ranks, 2.0 * ranks * scale * 2.0 * ranks]
            );
        }
        let compiled = function
            .lower(&one)
            .unwrap()
            .compile()
            .unwrap()
            .graph()
            .to_string();
        assert_eq!(
            compiled.matches("distributed.all_sum").count(),
            3,
            "{compiled}"
        );
    }
}

//! SmolLM2 over the ranks of a group writes what it writes by itself.

#[path = "../../mlx/tests/distributed/ranks.rs"]
mod ranks;

use mlx::distributed;
use mlx_compiler::CompileOptions;
use mlx_models::llama::{Checkpoint, GenerateOptions, Generator, Network, NetworkOptions};
use mlx_nn::Module;
use mlx_testdata::{assets, if_available};
use rstest::rstest;

const GOLDEN: &str = include_str!("golden/smollm2.txt");

/// Three heads of keys and values: two ranks have one and two, and of four ranks one has none.
#[rstest]
#[case(2)]
#[case(4)]
fn the_same_64_tokens(#[case] n: usize) {
    if if_available(assets::smollm2()).is_some() {
        ranks::run("child::generates", n, 1);
    }
}

/// 30 layers: of two ranks each has 15, of four two have 7 and two 8.
#[rstest]
#[case(2)]
#[case(4)]
fn the_same_64_tokens_by_layers(#[case] n: usize) {
    if if_available(assets::smollm2()).is_some() {
        ranks::run("child::generates_by_layers", n, 1);
    }
}

fn golden(name: &str) -> Vec<u32> {
    let line = GOLDEN.lines().find_map(|line| line.strip_prefix(name));
    let numbers = line.unwrap().split_whitespace();
    numbers.map(|number| number.parse().unwrap()).collect()
}

/// The bytes of the parameters of all layers.
fn layer_bytes(network: &Network) -> usize {
    let parameters = network.parameters();
    let layers = parameters
        .iter()
        .filter(|(name, _)| name.starts_with("model.layers."));
    layers.map(|(_, array)| array.nbytes().unwrap()).sum()
}

mod child {
    use super::*;

    /// The 64 tokens that a network writes after the prompt.
    fn tokens_of(network: &Network, checkpoint: &Checkpoint) -> Vec<u32> {
        let options = GenerateOptions {
            max_tokens: 64,
            ..GenerateOptions::default()
        };
        let mut generator = Generator::new(network, checkpoint).unwrap();
        generator
            .generate(&golden("prompt:"), &options, |_| ())
            .unwrap()
            .tokens
    }

    #[test]
    #[ignore = "run by `the_same_64_tokens`"]
    fn generates() {
        let group = distributed::init("ring", true).unwrap();
        let checkpoint = Checkpoint::open(assets::smollm2().unwrap()).unwrap();
        let whole = Network::new(&checkpoint, &NetworkOptions::default()).unwrap();
        let before = layer_bytes(&whole);
        let network = whole.shard(&group).unwrap();
        assert!(network.shard(&group).is_err());
        drop(whole);
        // A rank has at most two of three heads, and its part of the features.
        let share = layer_bytes(&network) as f64 / before as f64;
        let most = if group.size() == 2 { 0.55 } else { 0.30 };
        assert!(share < most, "{share}");
        let write = |network: &Network| tokens_of(network, &checkpoint);
        assert_eq!(write(&network), golden("tokens:"));
        if group.size() == 2 {
            assert_eq!(
                write(&network.compiled(CompileOptions::default())),
                golden("tokens:")
            );
        }
    }

    #[test]
    #[ignore = "run by `the_same_64_tokens_by_layers`"]
    fn generates_by_layers() {
        let group = distributed::init("ring", true).unwrap();
        let checkpoint = Checkpoint::open(assets::smollm2().unwrap()).unwrap();
        let options = NetworkOptions::default();
        let network = Network::new_pipelined(&checkpoint, &options, &group).unwrap();
        // The weights of other ranks' layers are not there.
        let n = network.config().num_hidden_layers;
        assert!(
            (30 / group.size()..=30_usize.div_ceil(group.size())).contains(&n),
            "{n}"
        );
        let names = network.parameters();
        let last = format!("model.layers.{}.", n - 1);
        assert!(names.keys().any(|name| name.starts_with(&last)));
        let beyond = format!("model.layers.{n}.");
        assert!(!names.keys().any(|name| name.starts_with(&beyond)));
        assert!(network.pipeline(&group).is_err() && network.shard(&group).is_err());
        let write = |network: &Network| tokens_of(network, &checkpoint);
        assert_eq!(write(&network), golden("tokens:"));
        // Caches that are evaluated alone send what the next rank waits for.
        let tokens = mlx::array!([[504_u32, 2365, 6354]]);
        let caches = network.new_kv_cache(1, 8);
        let (_, caches) = network.forward(&tokens, caches, 0).unwrap();
        mlx::eval(caches.iter().flat_map(|(keys, values)| [keys, values])).unwrap();
        if group.size() == 2 {
            let compiled = network.compiled(CompileOptions::default());
            assert_eq!(write(&compiled), golden("tokens:"));
            // Cut in memory, it is the same.
            let whole = Network::new(&checkpoint, &NetworkOptions::default()).unwrap();
            let network = whole.pipeline(&group).unwrap();
            assert_eq!(network.config().num_hidden_layers, n);
            assert_eq!(write(&network), golden("tokens:"));
        }
    }
}

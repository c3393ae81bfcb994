//! Llamas that the compiler's pass splits over ranks: simulated ones for a small network, real ones for SmolLM2.

#[path = "../../mlx/tests/distributed/ranks.rs"]
mod ranks;
#[path = "support/llama_reference.rs"]
mod reference;
#[allow(dead_code)]
#[path = "../../compiler/tests/sharding/simulate.rs"]
mod simulate;

use mlx::{Array, Dtype, array, distributed};
use mlx_compiler::sharding::{Mesh, Rules, ShardingReport};
use mlx_compiler::{CompileOptions, trace};
use mlx_models::llama::{Checkpoint, LayerKvCache, Network, NetworkOptions};
use mlx_nn::Module;
use mlx_testdata::{assets, if_available};
use reference::{Shape, llama, qwen2, qwen3};
use rstest::rstest;

const GOLDEN: &str = include_str!("golden/smollm2.txt");

/// One step: the logits of the next token, and the cache.
#[allow(clippy::ptr_arg)]
fn step(
    network: &Network,
    tokens: &Array,
    cache: &Vec<LayerKvCache>,
    start: &Array,
) -> mlx::Result<(Array, Vec<LayerKvCache>)> {
    network.next_token_logits(tokens, cache.clone(), start)
}

/// Heads and features, as `Network::shard` splits them; the cache by heads.
fn rules() -> Rules {
    let (outputs, inputs) = ([Some("model"), None], [None, Some("model")]);
    let by_head = [None, Some("model"), None, None];
    let mut rules = Rules::new();
    for name in ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"] {
        rules = rules
            .input(&format!("*.{name}.bias"), [Some("model")])
            .input(&format!("*.{name}.*"), outputs);
    }
    for name in ["o_proj", "down_proj"] {
        rules = rules.input(&format!("*.{name}.*"), inputs);
    }
    rules.input("2.*", by_head).output("1.*", by_head)
}

fn kinds(report: &ShardingReport) -> Vec<&'static str> {
    let collectives = report.collectives.iter();
    collectives.map(|one| one.kind.name()).collect()
}

#[rstest]
#[case::llama(llama(), 2)]
#[case::llama_with_fewer_heads_than_ranks(llama(), 4)]
#[case::qwen2(qwen2(), 4)]
#[case::qwen3(qwen3(), 2)]
fn simulated_ranks_give_the_whole_step(#[case] shape: Shape, #[case] n: usize) {
    let folder = tempfile::tempdir().unwrap();
    shape.save(&shape.weights(11), folder.path());
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let options = NetworkOptions {
        dtype: Some(Dtype::Float32),
        ..NetworkOptions::default()
    };
    let network = Network::new(&checkpoint, &options).unwrap();
    let (tokens, start) = (array!([[3_u32, 1, 4]]), array!(2));
    let cache = network.new_kv_cache(1, 8);
    let traced = trace(step, (&network, &tokens, &cache, &start)).unwrap();
    let whole = traced.graph().clone();
    let mesh = Mesh::new(&[("model", n)]).unwrap();
    let (_, sharded) = traced.shard(&mesh, &rules(), 0).unwrap();
    let args = (network, tokens, cache, start);
    let inputs: Vec<Array> = mlx::tree::arrays(&args).into_iter().cloned().collect();
    simulate::check(&whole, &sharded, &inputs).unwrap();
    let report = sharded.report();
    if shape.kv_heads.is_multiple_of(n) {
        assert_eq!(kinds(report), vec!["all_sum"; 2 * shape.layers], "{report}");
        assert!(report.refusals.is_empty(), "{report}");
    } else {
        // Heads of keys and values that ranks do not divide.
        assert!(!report.refusals.is_empty(), "{report}");
    }
}

#[test]
fn smollm2_on_three_ranks() {
    if if_available(assets::smollm2()).is_some() {
        ranks::run("child::smollm2", 3, 1);
    }
}

fn golden(name: &str) -> Vec<u32> {
    let line = GOLDEN.lines().find_map(|line| line.strip_prefix(name));
    let numbers = line.unwrap().split_whitespace();
    numbers.map(|number| number.parse().unwrap()).collect()
}

mod child {
    use super::*;

    /// Packed weights, three heads of keys and values: each rank has one of them.
    #[test]
    #[ignore = "run by `smollm2_on_three_ranks`"]
    fn smollm2() {
        const TOKENS: usize = 16;
        let group = distributed::init("ring", true).unwrap();
        let checkpoint = Checkpoint::open(assets::smollm2().unwrap()).unwrap();
        let network = Network::new(&checkpoint, &NetworkOptions::default()).unwrap();
        let mesh = Mesh::of_group(&group, &[("model", 3)]).unwrap();
        let mut text = golden("prompt:");
        let prompt = text.len();
        let cache = network.new_kv_cache(1, 32);
        // The step of one token; the prompt is read by it too.
        let (tokens, start) = (array!([[0_u32]]), array!(0));
        let traced = trace(step, (&network, &tokens, &cache, &start)).unwrap();
        let (traced, sharded) = traced.shard(&mesh, &rules(), group.rank()).unwrap();
        let report = sharded.report();
        assert_eq!(kinds(report), vec!["all_sum"; 60], "{report}");
        assert!(report.refusals.is_empty(), "{report}");
        let (whole, part) = report.input_bytes;
        assert!(
            part * 100 < whole * 55,
            "{part} of {whole} bytes: the table is on every rank"
        );
        let compiled = traced
            .lower(&CompileOptions::default())
            .unwrap()
            .compile()
            .unwrap();
        let all = (network, tokens, cache, start);
        let inputs = mlx::tree::arrays(&all);
        let mut parts = sharded.shard_inputs(group.rank(), &inputs).unwrap();
        mlx::eval(&parts).unwrap();
        let n_weights = all.0.parameters().len();
        let mut at = 0;
        while text.len() < prompt + TOKENS {
            parts[n_weights] = Array::from_slice(&[text[at]], [1, 1]).unwrap();
            *parts.last_mut().unwrap() = Array::scalar(at as i32);
            let mut outputs = compiled
                .call_flat(&parts.iter().collect::<Vec<_>>())
                .unwrap();
            mlx::eval(&outputs).unwrap();
            at += 1;
            if at == text.len() {
                let token = outputs[0].argmax(-1).reshape([1]).to_vec::<u32>().unwrap();
                text.extend(token);
            }
            parts.splice(n_weights + 1..parts.len() - 1, outputs.drain(1..));
        }
        assert_eq!(text[prompt..], golden("tokens:")[..TOKENS]);
    }
}

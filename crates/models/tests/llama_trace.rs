//! One traced step serves every position: the network is a pure function of arrays.

#[path = "support/llama_reference.rs"]
mod reference;

use std::cell::RefCell;
use std::rc::Rc;

use mlx::{Array, Call, Dtype, Op, Recorder, bind_all};
use mlx_models::llama::{Checkpoint, KeyValue, Network, NetworkOptions};
use mlx_nn::Kernels;
use reference::{Shape, llama, qwen2, qwen3};
use rstest::rstest;

/// The operations of a function: what each is, its inputs, and the number of its first output.
#[derive(Default)]
struct Tape {
    steps: RefCell<Vec<(Op, Vec<Source>, usize)>>,
    n_values: RefCell<usize>,
}

enum Source {
    Value(usize),
    Constant(Array),
}

impl Recorder for Tape {
    fn record(&self, call: &Call<'_>) -> mlx::Result<Vec<usize>> {
        let sources = call.inputs.iter().map(|input| match input.traced_node() {
            Some(node) => Source::Value(node),
            None => Source::Constant((*input).clone()),
        });
        let first = *self.n_values.borrow();
        *self.n_values.borrow_mut() += call.outputs.len();
        let step = (call.op.clone(), sources.collect(), first);
        self.steps.borrow_mut().push(step);
        Ok((first..first + call.outputs.len()).collect())
    }

    fn is_open(&self) -> bool {
        true
    }
}

impl Tape {
    fn input(self: &Rc<Self>, like: &Array) -> Array {
        let recorder: Rc<dyn Recorder> = self.clone();
        let node = *self.n_values.borrow();
        *self.n_values.borrow_mut() += 1;
        Array::traced(&recorder, node, &like.array_type().unwrap())
    }

    fn replay(&self, inputs: Vec<Array>, outputs: &[usize]) -> Vec<Array> {
        let mut values: Vec<Option<Array>> = inputs.into_iter().map(Some).collect();
        values.resize(*self.n_values.borrow(), None);
        for (op, sources, first) in self.steps.borrow().iter() {
            let sources: Vec<Array> = sources
                .iter()
                .map(|source| match source {
                    Source::Value(node) => values[*node].clone().unwrap(),
                    Source::Constant(array) => array.clone(),
                })
                .collect();
            let results = bind_all(op.clone(), &sources.iter().collect::<Vec<_>>()).unwrap();
            for (i, result) in results.into_iter().enumerate() {
                values[first + i] = Some(result);
            }
        }
        outputs
            .iter()
            .map(|&node| values[node].clone().unwrap())
            .collect()
    }

    fn names(&self) -> String {
        let steps = self.steps.borrow();
        steps.iter().map(|(op, ..)| format!("{op}\n")).collect()
    }
}

fn network(shape: &Shape) -> Network {
    let folder = tempfile::tempdir().unwrap();
    shape.save(&shape.weights(3), folder.path());
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let options = NetworkOptions {
        dtype: Some(Dtype::Float32),
        ..NetworkOptions::default()
    };
    Network::new(&checkpoint, &options).unwrap()
}

fn flat(cache: &[KeyValue]) -> Vec<Array> {
    let arrays = cache.iter().flat_map(|(keys, values)| [keys, values]);
    arrays.cloned().collect()
}

fn token(token: u32) -> Array {
    Array::from_slice(&[token], [1, 1]).unwrap()
}

#[rstest]
#[case::llama(llama(), Kernels::Composed)]
#[case::llama_fused(llama(), Kernels::Fused)]
#[case::qwen2(qwen2(), Kernels::Composed)]
#[case::qwen3(qwen3(), Kernels::Composed)]
#[case::qwen3_fused(qwen3(), Kernels::Fused)]
fn one_traced_step_serves_every_position(#[case] shape: Shape, #[case] kernels: Kernels) {
    let network = network(&shape).with_kernels(kernels);
    let mut cache = network.room(1, 8);
    let tape = Rc::new(Tape::default());
    let (tokens, position) = (tape.input(&token(0)), tape.input(&Array::scalar(0_i32)));
    let memory = cache
        .iter()
        .map(|(keys, values)| (tape.input(keys), tape.input(values)));
    let (logits, grown) = network.next(&tokens, memory.collect(), &position).unwrap();
    let mut outputs = vec![logits.traced_node().unwrap()];
    outputs.extend(
        flat(&grown)
            .iter()
            .map(|array| array.traced_node().unwrap()),
    );

    let fused = ["rope", "rms_norm", "scaled_dot_product_attention"];
    let names = tape.names();
    for name in fused {
        assert_eq!(
            names.contains(name),
            kernels == Kernels::Fused,
            "{name} in\n{names}"
        );
    }
    let mut replayed = flat(&cache);
    for (at, next) in [3, 1, 4, 1, 5].into_iter().enumerate() {
        let (wanted, grown) = network.next(&token(next), cache, at as i32).unwrap();
        cache = grown;
        let mut inputs = vec![token(next), Array::scalar(at as i32)];
        inputs.append(&mut replayed);
        let mut results = tape.replay(inputs, &outputs);
        replayed = results.split_off(1);
        let most = (&results[0] - wanted).abs().max(()).item::<f32>().unwrap();
        assert!(most < 1e-4, "position {at}: {most}");
    }
}

//! Random networks of what programs are rarely random in: fused projections, sizes that ranks do not divide, bodies of loops
//! and branches, and transforms, with inputs and outputs split at random.
//!
//! `SHARDED_NETWORKS=5000` runs more of them.

use std::collections::BTreeMap;

use mlx::{
    Array, ArrayType, Op, Tree, array, bind, checkpoint, concatenate, jvp, keepdims,
    value_and_grad, vmap,
};
use mlx_compiler::sharding::{Mesh, PartitionSpec, Rules, ShardedGraph};
use mlx_compiler::{ScanOptions, Traced, cond, scan, trace, while_loop};

use super::random::Random;
use super::{cases::normal, simulate};

const NETWORKS: u64 = 300;
const MESHES: [&[(&str, usize)]; 5] = [
    &[("x", 2)],
    &[("x", 3)],
    &[("x", 4)],
    &[("y", 2), ("x", 3)],
    &[("x", 2), ("y", 2)],
];

/// One layer, by numbers, so that it can be run again.
#[derive(Clone, Copy, Debug)]
enum Layer {
    /// Sections of `heads` times these sizes, in one matrix; taken apart by slices or by a split.
    Fused {
        heads: i32,
        dim: i32,
        slices: bool,
    },
    /// Groups of queries that share keys and values.
    Attention {
        groups: i32,
        shared: i32,
        dim: i32,
        joined: bool,
    },
    /// As many heads of keys as of queries: `[batch, 3, heads, dim]`.
    Counted {
        heads: i32,
        dim: i32,
    },
    Scan {
        reverse: bool,
    },
    Loop,
    Branch,
    Vmap {
        along: i32,
    },
    Jvp,
    Checkpoint,
    /// A function in a loop in a branch.
    Nested,
}

#[derive(Debug)]
pub struct Network {
    batch: i32,
    hidden: i32,
    layers: Vec<Layer>,
    has_gradient: bool,
}

impl Network {
    fn random(random: &mut Random, has_gradient: bool) -> Self {
        let n_layers = 1 + random.below(3);
        Self {
            batch: *random.pick(&[2, 3, 4, 5]),
            hidden: *random.pick(if has_gradient { &[3, 4] } else { &[5, 6, 7, 8] }),
            layers: (0..n_layers)
                .map(|_| match layer(random) {
                    // A difference of differences has no digits left.
                    Layer::Jvp if has_gradient => Layer::Checkpoint,
                    layer => layer,
                })
                .collect(),
            has_gradient,
        }
    }

    /// `[batch, hidden]`, then the weights of all layers.
    fn inputs(&self) -> Vec<Array> {
        let mut all = vec![normal(&[self.batch, self.hidden])];
        for layer in &self.layers {
            for shape in layer.weights(self.hidden) {
                let values = normal(&shape) * 0.4;
                values.eval().unwrap();
                all.push(values);
            }
        }
        all
    }

    fn forward(&self, inputs: &[Array]) -> mlx::Result<Vec<Array>> {
        let mut x = inputs[0].clone();
        let mut weights = &inputs[1..];
        let mut outputs = Vec::new();
        for layer in &self.layers {
            let (own, rest) = weights.split_at(layer.weights(self.hidden).len());
            weights = rest;
            let (next, more) = layer.forward(&x, own)?;
            x = (&x + &next).tanh();
            outputs.extend(more);
        }
        outputs.push(x);
        Ok(outputs)
    }

    pub fn run(&self, inputs: &Vec<Array>) -> mlx::Result<Vec<Array>> {
        if !self.has_gradient {
            return self.forward(inputs);
        }
        let loss = |inputs: &Vec<Array>| -> mlx::Result<Array> {
            let outputs = self.forward(inputs)?;
            let squares = outputs.iter().map(|one| one.square().mean(()));
            Ok(squares.reduce(|a, b| a + b).unwrap())
        };
        let (value, slopes) = value_and_grad(loss).call(inputs)?;
        // A step of training: what is split stays so.
        let steps = inputs.iter().zip(&slopes).map(|(w, slope)| w - 0.1 * slope);
        Ok(std::iter::once(value).chain(steps).collect())
    }
}

fn layer(random: &mut Random) -> Layer {
    let dim = *random.pick(&[1, 2, 3]);
    match random.below(11) {
        0 | 1 => Layer::Fused {
            heads: *random.pick(&[2, 3, 4, 5]),
            dim,
            slices: random.percent(50),
        },
        2 | 3 => Layer::Attention {
            groups: *random.pick(&[2, 3, 4]),
            shared: *random.pick(&[1, 2, 3]),
            dim,
            joined: random.percent(30),
        },
        4 => Layer::Scan {
            reverse: random.percent(50),
        },
        5 => Layer::Loop,
        6 => Layer::Branch,
        7 => Layer::Vmap {
            along: random.below(2) as i32,
        },
        8 => *random.pick(&[Layer::Jvp, Layer::Checkpoint]),
        9 => Layer::Counted {
            heads: *random.pick(&[2, 3, 4]),
            dim,
        },
        _ => Layer::Nested,
    }
}

impl Layer {
    fn weights(self, hidden: i32) -> Vec<Vec<i32>> {
        match self {
            Layer::Fused { heads, dim, .. } => {
                let n = heads * dim;
                vec![vec![2 * n, hidden], vec![2 * n], vec![hidden, n]]
            }
            Layer::Attention {
                groups,
                shared,
                dim,
                ..
            } => {
                let (q, kv) = (groups * shared * dim, groups * dim);
                vec![vec![q + 2 * kv, hidden], vec![hidden, q]]
            }
            Layer::Counted { heads, dim } => {
                let n = heads * dim;
                vec![vec![3 * n, hidden], vec![hidden, n]]
            }
            _ => vec![vec![hidden + 1, hidden], vec![hidden, hidden + 1]],
        }
    }

    /// What is added to the hidden state, and more outputs.
    fn forward(self, x: &Array, w: &[Array]) -> mlx::Result<(Array, Vec<Array>)> {
        let dense = |x: &Array| x.matmul(&w[0].t()).tanh().matmul(&w[1].t());
        match self {
            Layer::Fused { heads, dim, slices } => {
                let n = heads * dim;
                let both = x.matmul(&w[0].t()) + &w[1];
                let (gate, up) = match slices {
                    true => (columns(&both, 0, n), columns(&both, n, 2 * n)),
                    false => {
                        let mut parts = both.split(2, -1)?;
                        let up = parts.swap_remove(1);
                        (parts.swap_remove(0), up)
                    }
                };
                Ok(((gate.sigmoid() * up).matmul(&w[2].t()), vec![]))
            }
            Layer::Attention {
                groups,
                shared,
                dim,
                joined,
            } => Ok((attention(x, w, (groups, shared, dim), joined), vec![])),
            Layer::Counted { heads, dim } => {
                let all = x.matmul(&w[0].t()).unflatten(-1, [3, heads, dim]);
                let [q, k, v] = [0, 1, 2].map(|n| all.take(array!(n), 1));
                let mixed = (q * k).softmax(-1) * v;
                Ok((mixed.flatten(1, 2).matmul(&w[1].t()), vec![]))
            }
            Layer::Scan { reverse } => {
                let sequence = mlx::stack(&[x, &(x * 2.0), &x.sin()], 0);
                let options = ScanOptions { reverse };
                let (last, all): (Array, Array) =
                    scan(x, &sequence, options, |carry: &Array, x: &Array| {
                        let next = (carry * 0.5 + dense(x)).tanh();
                        (next.clone(), &next * 2.0)
                    })
                    .map_err(inner)?;
                Ok((last, vec![all]))
            }
            Layer::Loop => {
                let state = (x.clone(), array!(0));
                let (last, _) = while_loop(
                    &state,
                    |(_, n): &(Array, Array)| n.less(3),
                    |(x, n): &(Array, Array)| ((x * 0.5 + dense(x)).tanh(), n + 1),
                )
                .map_err(inner)?;
                Ok((last, vec![]))
            }
            Layer::Branch => {
                let holds = x.sum(()).greater(0.0);
                let other = |x: &Array| x * x.sum(keepdims(-1));
                Ok((
                    cond(&holds, x, |x: &Array| dense(x), other).map_err(inner)?,
                    vec![],
                ))
            }
            Layer::Vmap { along } => {
                let row = |row: &Array| match along {
                    0 => dense(row),
                    _ => (row * 2.0).tanh() + row.sum(()),
                };
                let all = vmap(row).in_axes([Some(along)]).out_axes(along);
                Ok((all(x)?, vec![]))
            }
            Layer::Jvp => {
                let (value, slope) = jvp(|x: &Array| dense(x), x, &(x * 0.5))?;
                Ok((value, vec![slope]))
            }
            Layer::Checkpoint => {
                let (up, down) = (w[0].clone(), w[1].clone());
                let dense = move |x: &Array| x.matmul(&up.t()).tanh().matmul(&down.t());
                Ok((checkpoint(dense).call(x)?, vec![]))
            }
            Layer::Nested => nested(x, &dense),
        }
    }
}

/// Some columns, by a slice.
fn columns(x: &Array, from: i32, to: i32) -> Array {
    let rows = x.shape().unwrap()[0];
    let op = Op::Slice {
        start: vec![0, from],
        stop: vec![rows, to],
        strides: vec![1, 1],
    };
    bind(op, &[x])
}

fn inner(error: mlx_compiler::Error) -> mlx::Error {
    mlx::Error::op("network", error.to_string())
}

fn nested(x: &Array, dense: &dyn Fn(&Array) -> Array) -> mlx::Result<(Array, Vec<Array>)> {
    let rounds = |x: &Array| -> mlx_compiler::Result<Array> {
        let sequence = mlx::stack(&[x, &x.cos()], 0);
        let step = |carry: &Array, x: &Array| (carry + dense(x), x.sum(()));
        let (last, sums) = scan(x, &sequence, ScanOptions::default(), step)?;
        Ok(last + sums.sum(()))
    };
    let holds = x.max(()).greater(0.5);
    let made = cond(
        &holds,
        x,
        |x: &Array| rounds(x).map_err(inner),
        |x: &Array| x.tanh(),
    );
    Ok((made.map_err(inner)?, vec![]))
}

/// Attention of one token to the others of the batch, by heads.
fn attention(
    x: &Array,
    w: &[Array],
    (groups, shared, dim): (i32, i32, i32),
    joined: bool,
) -> Array {
    let (q_size, kv_size) = (groups * shared * dim, groups * dim);
    let fused = x.matmul(&w[0].t());
    let parts = fused.split(vec![q_size, q_size + kv_size], -1).unwrap();
    let heads = |x: &Array, n: i32| {
        x.unflatten(-1, [n, dim])
            .transpose([1, 0, 2])
            .expand_dims(0)
    };
    let (q, k, v) = (
        heads(&parts[0], groups * shared),
        heads(&parts[1], groups),
        heads(&parts[2], groups),
    );
    let (q, k) = match joined {
        // Halves of the features, the other way round: as rotations do it.
        true => {
            let turned = concatenate(&[&(0.0 - &q), &q], 0).slice(0..1);
            (q.sin() + turned, k)
        }
        false => (q, k),
    };
    let mixed =
        mlx::fast::scaled_dot_product_attention(&q, &k, &v, 0.5, mlx::fast::AttentionMask::none());
    mixed
        .transpose([0, 2, 1, 3])
        .flatten(2, 3)
        .squeeze(0)
        .matmul(&w[1].t())
}

/// Every value, split along a random dimension for each axis or whole.
pub fn rules<T: Tree>(random: &mut Random, traced: &Traced<T>, mesh: &Mesh) -> Rules {
    let mut spec = |array_type: &ArrayType| {
        let n = array_type.shape.len();
        let mut names: Vec<Option<String>> = vec![None; n];
        for axis in mesh.axes() {
            let dim = random.below(n.max(1));
            if dim < n && random.percent(75) {
                names[dim] = Some(axis.name.clone());
            }
        }
        PartitionSpec::from(names)
    };
    let mut rules = Rules::new();
    let (inputs, outputs) = (traced.graph().input_types(), traced.graph().output_types());
    for (name, array_type) in traced.input_names().iter().zip(&inputs) {
        rules = rules.input(name, spec(array_type));
    }
    for (k, array_type) in outputs.iter().enumerate() {
        rules = rules.output(&k.to_string(), spec(array_type));
    }
    rules
}

/// A network with its inputs, and what makes rules for it.
pub fn network(seed: u64, has_gradient: bool) -> (Network, Vec<Array>, Random) {
    mlx::random::seed(seed);
    let mut random = Random::new(seed + 77);
    let network = Network::random(&mut random, has_gradient);
    let inputs = network.inputs();
    (network, inputs, random)
}

fn check(seed: u64, has_gradient: bool) -> Result<ShardedGraph, String> {
    let (network, inputs, mut random) = network(seed, has_gradient);
    let function = |inputs: &Vec<Array>| network.run(inputs);
    let fails = |error: mlx_compiler::Error| format!("seed {seed}, {network:?}: {error}");
    let traced = trace(function, &inputs).map_err(fails)?;
    let whole = traced.graph().clone();
    let mesh = Mesh::new(MESHES[(seed % 5) as usize]).unwrap();
    let rules = rules(&mut random, &traced, &mesh);
    let (_, sharded) = traced.shard(&mesh, &rules, 0).map_err(fails)?;
    let tolerance = if has_gradient { 1e-6 } else { 1e-9 };
    let checked = simulate::check_within(&whole, &sharded, &inputs, tolerance);
    checked.map_err(|message| {
        let graph = sharded.rank_graph(0).unwrap();
        let report = sharded.report();
        format!(
            "seed {seed}, {mesh:?}, {network:?}: {message}\n{whole}\n{graph}\n{rules:?}\n{report}"
        )
    })?;
    Ok(sharded)
}

#[test]
fn random_networks_agree_on_all_meshes() {
    let mut seen = BTreeMap::<&'static str, usize>::new();
    let (mut sections, mut uneven, mut refused) = (0, 0, 0);
    let more = std::env::var("SHARDED_NETWORKS").ok();
    let more = more.and_then(|n| n.parse().ok());
    for seed in 0..more.unwrap_or(NETWORKS) {
        let sharded = check(seed, false).unwrap_or_else(|message| panic!("{message}"));
        let report = sharded.report();
        refused += report.refusals.len();
        for value in &report.values {
            sections += usize::from(!value.layout.is_contiguous());
            uneven += usize::from(!value.layout.is_even(value.ranks));
        }
        for one in &report.collectives {
            *seen.entry(one.kind.name()).or_default() += 1;
        }
    }
    println!("{sections} values in sections, {uneven} uneven, {refused} refusals, {seen:?}");
    assert!(sections > 30 && uneven > 100, "{sections}, {uneven}");
}

/// Steps of training; the interpreter measures gradients by differences, with all ranks at once.
#[test]
fn random_steps_of_training_agree() {
    for seed in 0..20 {
        check(seed, true).unwrap_or_else(|message| panic!("{message}"));
    }
}

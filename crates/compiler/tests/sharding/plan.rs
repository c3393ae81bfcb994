//! The tables of `docs/scale.md`: bytes on the wire of Llamas on meshes, from the pass's own report.
//!
//! Nothing is computed: functions are traced on arrays that are never evaluated. `MLX_GOLDEN=write` writes the tables.

use std::collections::BTreeMap;
use std::fmt::Write;

use mlx::fast::{self, AttentionMask, RopeOptions};
use mlx::{Array, Dtype, value_and_grad};
use mlx_compiler::sharding::{Mesh, Rules, ShardingReport};
use mlx_compiler::trace;

/// The sizes of a Llama.
struct Model {
    name: &'static str,
    layers: usize,
    hidden: i32,
    heads: i32,
    kv_heads: i32,
    intermediate: i32,
    vocabulary: i32,
    /// Whether one table is for tokens and for logits.
    tied: bool,
}

const HEAD_DIM: fn(&Model) -> i32 = |model| model.hidden / model.heads;

const SMOLLM2: Model = Model {
    name: "SmolLM2-135M",
    layers: 30,
    hidden: 576,
    heads: 9,
    kv_heads: 3,
    intermediate: 1536,
    vocabulary: 49_152,
    tied: true,
};
const LLAMA_8B: Model = Model {
    name: "Llama-3-8B",
    layers: 32,
    hidden: 4096,
    heads: 32,
    kv_heads: 8,
    intermediate: 14_336,
    vocabulary: 128_256,
    tied: false,
};
const LLAMA_70B: Model = Model {
    name: "Llama-3-70B",
    layers: 80,
    hidden: 8192,
    heads: 64,
    kv_heads: 8,
    intermediate: 28_672,
    vocabulary: 128_256,
    tied: false,
};

type Weights = BTreeMap<String, Array>;
/// The table, and each layer's weights.
type Network = (Weights, Vec<Weights>);

fn network(model: &Model, layers: usize) -> Network {
    let zeros = |shape: &[i32]| mlx::zeros_with(shape.to_vec(), Dtype::Bfloat16);
    let (hidden, wide) = (model.hidden, model.intermediate);
    let kv = model.kv_heads * HEAD_DIM(model);
    let layer = || {
        let matrices = [
            ("q", [hidden, hidden]),
            ("k", [kv, hidden]),
            ("v", [kv, hidden]),
            ("o", [hidden, hidden]),
            ("gate", [wide, hidden]),
            ("up", [wide, hidden]),
            ("down", [hidden, wide]),
        ];
        let matrices = matrices.map(|(name, shape)| (name.to_owned(), zeros(&shape)));
        let norms = ["norm1", "norm2"].map(|name| (name.to_owned(), zeros(&[hidden])));
        matrices.into_iter().chain(norms).collect()
    };
    let tables = if model.tied {
        &["table"][..]
    } else {
        &["table", "head"]
    };
    let table = |name: &&str| ((*name).to_owned(), zeros(&[model.vocabulary, hidden]));
    (
        tables.iter().map(table).collect(),
        (0..layers).map(|_| layer()).collect(),
    )
}

/// The hidden states behind the last layer.
fn hidden((outer, layers): &Network, tokens: &Array, model: &Model) -> Array {
    let dim = HEAD_DIM(model);
    let rope = RopeOptions {
        dims: Some(dim),
        ..RopeOptions::default()
    };
    let linear = |x: &Array, w: &Array| x.matmul(&w.t());
    let mut x = outer["table"].take(tokens, 0);
    for w in layers {
        let heads = |x: Array, n: i32| x.unflatten(-1, [n, dim]).transpose([0, 2, 1, 3]);
        let y = fast::rms_norm(&x, &w["norm1"], 1e-5);
        let q = fast::rope(&heads(linear(&y, &w["q"]), model.heads), &rope);
        let k = fast::rope(&heads(linear(&y, &w["k"]), model.kv_heads), &rope);
        let v = heads(linear(&y, &w["v"]), model.kv_heads);
        let mixed = fast::scaled_dot_product_attention(&q, &k, &v, 0.1, AttentionMask::causal());
        x = &x + linear(&mixed.transpose([0, 2, 1, 3]).flatten(2, 3), &w["o"]);
        let y = fast::rms_norm(&x, &w["norm2"], 1e-5);
        let gated = fast::swiglu(&linear(&y, &w["gate"]), &linear(&y, &w["up"]));
        x = &x + linear(&gated, &w["down"]);
    }
    x
}

fn logits(network: &Network, tokens: &Array, model: &Model) -> Array {
    let head = if model.tied { "table" } else { "head" };
    hidden(network, tokens, model).matmul(&network.0[head].t())
}

/// Megatron's way: heads, features, and the rows of both tables; batches along `data`.
fn rules() -> Rules {
    let (outputs, inputs) = ([Some("tensor"), None], [None, Some("tensor")]);
    let mut rules = Rules::new()
        .input("1", [Some("data"), None])
        .input("2", [Some("data"), None]);
    for name in ["q", "k", "v", "gate", "up"] {
        for prefix in ["0", "1"] {
            rules = rules.input(&format!("{prefix}.1.*.{name}"), outputs);
            rules = rules.output(&format!("{prefix}.1.*.{name}"), outputs);
        }
    }
    for name in ["o", "down"] {
        rules = rules.input(&format!("0.1.*.{name}"), inputs);
        rules = rules.output(&format!("1.1.*.{name}"), inputs);
    }
    for name in ["table", "head"] {
        rules = rules.input(&format!("0.0.{name}"), outputs);
        rules = rules.output(&format!("1.0.{name}"), outputs);
    }
    rules
}

/// One step of decoding: the logits of the next token of each text.
fn decoding(model: &Model, layers: usize, batch: i32, mesh: &Mesh) -> ShardingReport {
    let function = |network: &Network, tokens: &Array| logits(network, tokens, model);
    let tokens = mlx::zeros_with([batch, 1], Dtype::Int32);
    let traced = trace(function, (&network(model, layers), &tokens)).unwrap();
    traced.shard(mesh, &rules(), 0).unwrap().1.report().clone()
}

/// One step of training on texts of `length` tokens.
fn training(
    model: &Model,
    layers: usize,
    [batch, length]: [i32; 2],
    mesh: &Mesh,
) -> ShardingReport {
    let loss = |network: &Network, tokens: &Array, targets: &Array| {
        fast::cross_entropy(&logits(network, tokens, model), targets).mean(())
    };
    let step = |network: &Network, tokens: &Array, targets: &Array| {
        value_and_grad(loss).call((network, tokens, targets))
    };
    let tokens = mlx::zeros_with([batch, length], Dtype::Int32);
    let traced = trace(step, (&network(model, layers), &tokens, &tokens)).unwrap();
    traced.shard(mesh, &rules(), 0).unwrap().1.report().clone()
}

/// What layers add is the same for each: bytes along an axis for `layers` of them, from those of one and of two.
fn extrapolated(layers: usize, axis: &str, report: impl Fn(usize) -> ShardingReport) -> u64 {
    let [one, two] = [1, 2].map(|n| report(n).wire_bytes_along(axis));
    one + (two - one) * (layers as u64 - 1)
}

fn text(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        0.0 => "0".to_owned(),
        bytes if bytes < 1e6 => format!("{:.1} kB", bytes / 1e3),
        bytes if bytes < 1e9 => format!("{:.1} MB", bytes / 1e6),
        bytes => format!("{:.1} GB", bytes / 1e9),
    }
}

fn mesh(data: usize, tensor: usize) -> Mesh {
    Mesh::new(&[("data", data), ("tensor", tensor)]).unwrap()
}

fn decoding_table() -> String {
    let mut table = String::from(
        "| Model | `tensor` | Sums | Bytes of a token | of them logits |\n| --- | ---: | ---: | ---: | ---: |\n",
    );
    for (model, sizes) in [
        (&SMOLLM2, &[3][..]),
        (&LLAMA_8B, &[2, 4, 8]),
        (&LLAMA_70B, &[4, 8]),
    ] {
        for &tensor in sizes {
            let report = decoding(model, model.layers, 1, &mesh(1, tensor));
            assert!(report.refusals.is_empty(), "{report}");
            let of = |kind: &'static str| {
                report
                    .collectives
                    .iter()
                    .filter(move |one| one.kind.name() == kind)
            };
            let logits: u64 = of("all_gather").map(|one| one.wire_bytes()).sum();
            let n = of("all_sum").count();
            let all = text(report.wire_bytes());
            writeln!(
                table,
                "| {} | {tensor} | {n} | {all} | {} |",
                model.name,
                text(logits)
            )
            .unwrap();
        }
    }
    table
}

fn training_table() -> String {
    let mut table = String::from(
        "| Model | `data` x `tensor` x `pipeline` | Ranks | Along `data` | Along `tensor` | Between stages |\n\
         | --- | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for (model, data, tensor, pipeline) in [
        (&SMOLLM2, 1024, 1, 1),
        (&LLAMA_8B, 1024, 1, 1),
        (&LLAMA_8B, 128, 8, 1),
        (&LLAMA_70B, 128, 8, 1),
        (&LLAMA_70B, 32, 8, 4),
        (&LLAMA_70B, 16, 8, 8),
    ] {
        // A text of 4096 tokens for each place along `data`. Its gradients have the sizes of weights, whatever the text's is;
        // what goes along `tensor` is of one text.
        let layers = model.layers / pipeline;
        let along = |axis: &str, shape: [i32; 2], mesh: &Mesh| {
            text(extrapolated(layers, axis, |layers| {
                training(model, layers, shape, mesh)
            }))
        };
        let along_data = along("data", [data as i32, 1], &mesh(data, tensor));
        let along_tensor = along("tensor", [1, 4096], &mesh(1, tensor));
        // Hidden states forth and their gradient back, each rank of `tensor` its copy.
        let states = if pipeline > 1 {
            2 * 4096 * model.hidden as u64 * 2
        } else {
            0
        };
        writeln!(
            table,
            "| {} | {data} x {tensor} x {pipeline} | {} | {} | {} | {} |",
            model.name,
            data * tensor * pipeline,
            along_data,
            along_tensor,
            text(states)
        )
        .unwrap();
    }
    table
}

#[test]
fn the_tables_of_the_page_are_those_of_the_report() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/scale.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut wanted = page.clone();
    for (name, table) in [
        ("decoding", decoding_table()),
        ("training", training_table()),
    ] {
        let (begin, end) = (format!("<!-- table {name} -->\n"), "<!-- end -->");
        let (head, rest) = wanted.split_once(&begin).unwrap();
        let (_, tail) = rest.split_once(end).unwrap();
        wanted = format!("{head}{begin}{table}{end}{tail}");
    }
    if std::env::var("MLX_GOLDEN").is_ok_and(|mode| mode == "write") {
        std::fs::write(path, &wanted).unwrap();
    } else {
        assert_eq!(
            page, wanted,
            "`MLX_GOLDEN=write cargo test --workspace --test sharding plan` writes docs/scale.md"
        );
    }
}

#[test]
fn layers_add_the_same() {
    let mesh = mesh(4, 8);
    let report = |layers| training(&LLAMA_8B, layers, [4, 128], &mesh);
    for axis in ["data", "tensor"] {
        let three = report(3).wire_bytes_along(axis);
        assert_eq!(extrapolated(3, axis, report), three, "{axis}");
    }
}

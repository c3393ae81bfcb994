//! GGUF files of models of random numbers, as llama.cpp's converter writes them.
#![allow(dead_code)]

use mlx_models::weights::gguf::GgmlType;

use super::gguf_file::GgufWriter;
use super::reference::{Random, Shape};

/// A GGUF file of these weights, matrices in `kind`.
pub fn writer(
    shape: &Shape,
    weights: &Random,
    matrix: impl Fn(&[f32]) -> (GgmlType, Vec<u8>),
) -> GgufWriter {
    let key = |key: &str| format!("{}.{key}", shape.family);
    let count = |file: GgufWriter, name: &str, n: usize| file.u32(&key(name), n as u32);
    let mut file = GgufWriter::default()
        .text("general.architecture", shape.family)
        .f32(&key("rope.freq_base"), shape.theta as f32)
        .f32(&key("attention.layer_norm_rms_epsilon"), shape.eps as f32);
    for (name, n) in [
        ("embedding_length", shape.hidden),
        ("feed_forward_length", shape.wide),
        ("block_count", shape.layers),
        ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.kv_heads),
        ("attention.key_length", shape.head_dim),
        ("attention.value_length", shape.head_dim),
        ("context_length", 64),
    ] {
        file = count(file, name, n);
    }
    for (name, (sizes, values)) in weights {
        let sizes: Vec<u64> = sizes.iter().map(|&size| size as u64).collect();
        let name = gguf_name(name);
        let of_queries = name.contains("attn_q.") || name.contains("attn_k.");
        let values = if of_queries && shape.family == "llama" {
            neighbours(values, shape.head_dim, *sizes.get(1).unwrap_or(&1) as usize)
        } else {
            values.clone()
        };
        file = if sizes.len() == 1 {
            file.floats(&name, &sizes, &values)
        } else {
            let (kind, bytes) = matrix(&values);
            file.tensor(&name, &sizes, kind, bytes)
        };
    }
    file
}

/// As llama.cpp's converter reorders the rows of each head: pairs that turn together become neighbours.
fn neighbours(values: &[f32], head_dim: usize, row: usize) -> Vec<f32> {
    let half = head_dim / 2;
    let mut reordered = Vec::new();
    for head in values.chunks(head_dim * row) {
        for i in 0..half {
            reordered.extend(&head[i * row..(i + 1) * row]);
            reordered.extend(&head[(half + i) * row..(half + i + 1) * row]);
        }
    }
    reordered
}

fn gguf_name(name: &str) -> String {
    let pairs = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers", "blk"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    let mut name = name.to_owned();
    for (from, to) in pairs {
        name = name.replace(from, to);
    }
    name
}

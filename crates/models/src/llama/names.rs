//! The names of weights in GGUF files, translated to Hugging Face's.

/// Names outside of layers: GGUF's, Hugging Face's.
const OUTER: [(&str, &str); 3] = [
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
];

/// Names inside a layer.
const INNER: [(&str, &str); 11] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// Returns Hugging Face's name of a tensor of a GGUF file, if it is one of this family.
pub(super) fn from_gguf(name: &str) -> Option<String> {
    let (stem, part) = name.rsplit_once('.')?;
    let find = |table: &[(&str, &'static str)], stem: &str| {
        let entry = table.iter().find(|entry| entry.0 == stem);
        entry.map(|entry| entry.1)
    };
    if let Some(outer) = find(&OUTER, stem) {
        return Some(format!("{outer}.{part}"));
    }
    let (layer, stem) = stem.strip_prefix("blk.")?.split_once('.')?;
    let inner = find(&INNER, stem)?;
    Some(format!("model.layers.{layer}.{inner}.{part}"))
}

#[cfg(test)]
mod tests {
    use super::from_gguf;

    #[rstest::rstest]
    #[case("token_embd.weight", Some("model.embed_tokens.weight"))]
    #[case("output.weight", Some("lm_head.weight"))]
    #[case("blk.12.attn_q.bias", Some("model.layers.12.self_attn.q_proj.bias"))]
    #[case(
        "blk.0.ffn_norm.weight",
        Some("model.layers.0.post_attention_layernorm.weight")
    )]
    #[case("blk.0.ffn_gate_inp.weight", None)]
    #[case("rope_freqs.weight", None)]
    #[case("blk", None)]
    fn translates(#[case] name: &str, #[case] wanted: Option<&str>) {
        assert_eq!(from_gguf(name).as_deref(), wanted);
    }
}

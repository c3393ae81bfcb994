"""Writes llama_logits.txt: what mlx-lm's own models of Llama, Qwen2 and Qwen3 make of random weights.

    python make_llama_logits.py > llama_logits.txt

Needs mlx and mlx-lm 0.32.2. Weights are drawn as `tests/support/llama_reference.rs` draws them, with seed 11.
"""

import importlib

import mlx.core as mx
import numpy as np
from mlx.utils import tree_unflatten

TOKENS = [3, 1, 4, 1, 5, 9, 2]
BASE = dict(
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    vocab_size=24,
    rope_theta=10000.0,
    rms_norm_eps=1e-5,
    tie_word_embeddings=False,
    max_position_embeddings=64,
)
LLAMA3 = dict(
    rope_type="llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)
SHAPES = {
    "llama": dict(model_type="llama"),
    "llama_linear": dict(model_type="llama", rope_scaling=dict(type="linear", factor=4.0)),
    "llama3": dict(model_type="llama", rope_scaling=LLAMA3),
    "qwen2": dict(
        model_type="qwen2", num_key_value_heads=4, tie_word_embeddings=True, rope_theta=1000000.0
    ),
    "qwen3": dict(model_type="qwen3", num_key_value_heads=1, head_dim=16),
}


class Draw:
    def __init__(self, seed):
        self.state = seed

    def __call__(self, shape, scale, middle):
        values = []
        for _ in range(int(np.prod(shape))):
            self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
            values.append((self.state >> 40) / 2**24 - 0.5)
        values = np.array(values, dtype=np.float32)
        return mx.array((np.float32(middle) + np.float32(scale) * values).reshape(shape))


def weights(c, draw):
    d, q, kv = c["hidden_size"], c["num_attention_heads"] * c["head_dim"], c["num_key_value_heads"] * c["head_dim"]
    w = {"model.embed_tokens.weight": draw((c["vocab_size"], d), 2.0, 0.0)}
    w["model.norm.weight"] = draw((d,), 0.5, 1.0)
    if not c["tie_word_embeddings"]:
        w["lm_head.weight"] = draw((c["vocab_size"], d), 1.0, 0.0)
    for layer in range(c["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            w[f"{p}{norm}.weight"] = draw((d,), 0.5, 1.0)
        for part, n in (("q", q), ("k", kv), ("v", kv)):
            w[f"{p}self_attn.{part}_proj.weight"] = draw((n, d), 0.8, 0.0)
            if c["model_type"] == "qwen2":
                w[f"{p}self_attn.{part}_proj.bias"] = draw((n,), 0.5, 0.0)
        if c["model_type"] == "qwen3":
            for part in ("q", "k"):
                w[f"{p}self_attn.{part}_norm.weight"] = draw((c["head_dim"],), 0.5, 1.0)
        w[p + "self_attn.o_proj.weight"] = draw((d, q), 0.5, 0.0)
        w[p + "mlp.gate_proj.weight"] = draw((c["intermediate_size"], d), 0.8, 0.0)
        w[p + "mlp.up_proj.weight"] = draw((c["intermediate_size"], d), 0.8, 0.0)
        w[p + "mlp.down_proj.weight"] = draw((d, c["intermediate_size"]), 0.5, 0.0)
    return w


print("# Made by make_llama_logits.py: a shape, and the scores behind its last token.")
for name, changes in SHAPES.items():
    config = BASE | changes
    module = importlib.import_module("mlx_lm.models." + config["model_type"])
    model = module.Model(module.ModelArgs.from_dict(config))
    model.update(tree_unflatten(list(weights(config, Draw(11)).items())))
    logits = model(mx.array([TOKENS]))[0, -1]
    print(name, *(f"{value:.6g}" for value in logits.tolist()))

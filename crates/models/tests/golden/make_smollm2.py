"""Writes smollm2.txt: the 64 tokens that Python MLX writes behind a prompt, greedily, from the pinned GGUF file.

    python make_smollm2.py SmolLM2-135M-Instruct.Q4_1.gguf > smollm2.txt

Needs mlx 0.32.2. The forward is written here from the formulas of the Llama family; weights stay packed, scales and
biases become float32. `--dequantized` unpacks the weights first, which is faster and gives the same tokens.
"""

import sys

import mlx.core as mx

N_HEADS, N_KV_HEADS, HEAD_DIM, N_LAYERS, THETA, EPS = 9, 3, 64, 30, 100000.0, 1e-5
PROMPT = [504, 2365, 6354, 16438, 27003, 690, 260, 23790, 2767, 30]
N_TOKENS = 64

weights = mx.load(sys.argv[1])
DEQUANTIZED = "--dequantized" in sys.argv
weights = {k: v if v.dtype == mx.uint32 else v.astype(mx.float32) for k, v in weights.items()}


def unpack(name):
    bits = 8 if name == "token_embd" else 4
    parts = [weights[f"{name}.{part}"] for part in ("weight", "scales", "biases")]
    return mx.dequantize(*parts, group_size=32, bits=bits)


dense = {}
if DEQUANTIZED:
    for key in list(weights):
        if key.endswith(".scales"):
            dense[key[:-7]] = unpack(key[:-7])
    mx.eval(dense)


def linear(x, name):
    if name in dense:
        return x @ dense[name].T
    bits = 8 if name == "token_embd" else 4
    parts = [weights[f"{name}.{part}"] for part in ("weight", "scales", "biases")]
    return mx.quantized_matmul(x, *parts, transpose=True, group_size=32, bits=bits)


def rms_norm(x, name):
    return x * mx.rsqrt(mx.mean(x * x, axis=-1, keepdims=True) + EPS) * weights[f"{name}.weight"]


def rope(x, start):
    # Files of this format hold queries and keys with the pairs that turn together side by side.
    positions = mx.arange(start, start + x.shape[2]).astype(mx.float32)
    angles = positions[:, None] * THETA ** (-mx.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    cos, sin = mx.cos(angles), mx.sin(angles)
    a, b = x[..., 0::2], x[..., 1::2]
    return mx.stack([a * cos - b * sin, a * sin + b * cos], axis=-1).reshape(x.shape)


def forward(tokens, cache):
    start = 0 if cache[0] is None else cache[0][0].shape[2]
    n = len(tokens)
    table = dense.get("token_embd")
    if table is None:
        table = unpack("token_embd")
    x = table[mx.array(tokens)][None]
    mask = mx.arange(start + n)[None] <= mx.arange(start, start + n)[:, None]
    for i in range(N_LAYERS):
        normed = rms_norm(x, f"blk.{i}.attn_norm")
        heads = lambda name, count: linear(normed, f"blk.{i}.attn_{name}").reshape(1, n, count, HEAD_DIM).swapaxes(1, 2)
        q, k, v = rope(heads("q", N_HEADS), start), rope(heads("k", N_KV_HEADS), start), heads("v", N_KV_HEADS)
        if cache[i] is not None:
            k, v = (mx.concatenate([old, new], axis=2) for old, new in zip(cache[i], (k, v)))
        cache[i] = (k, v)
        k, v = (mx.repeat(a, N_HEADS // N_KV_HEADS, axis=1) for a in (k, v))
        scores = mx.where(mask, q @ k.swapaxes(2, 3) * HEAD_DIM**-0.5, -mx.inf)
        mixed = (mx.softmax(scores, axis=-1) @ v).swapaxes(1, 2).reshape(1, n, -1)
        x = x + linear(mixed, f"blk.{i}.attn_output")
        normed = rms_norm(x, f"blk.{i}.ffn_norm")
        gate = linear(normed, f"blk.{i}.ffn_gate")
        x = x + linear(gate * mx.sigmoid(gate) * linear(normed, f"blk.{i}.ffn_up"), f"blk.{i}.ffn_down")
    return linear(rms_norm(x[:, -1:], "output_norm"), "token_embd")[0, 0]


cache, tokens, written = [None] * N_LAYERS, PROMPT, []
smallest_lead = float("inf")
for _ in range(N_TOKENS):
    logits = forward(tokens, cache)
    mx.eval(logits, cache)
    best = mx.sort(logits)[-2:].tolist()
    smallest_lead = min(smallest_lead, best[1] - best[0])
    tokens = [int(mx.argmax(logits))]
    written += tokens
print("# Greedy tokens of SmolLM2-135M-Instruct Q4_1 by Python MLX", mx.__version__, "from make_smollm2.py.")
print(f"# The best score leads the second by at least {smallest_lead:.4f}.")
print("prompt:", *PROMPT)
print("tokens:", *written)

"""Rows of SmolLM2 with Python MLX: weights of the GGUF file stay packed, scales are float32 as the CPU likes them."""

import time

import mlx.core as mx

from protocol import Row, Unsupported


class Llama:
    """A Llama as `mlx-lm` writes it, for a GGUF file with Q4_1 matrices and a Q8_0 table."""

    def __init__(self, path):
        self.weights, data = mx.load(path, return_metadata=True)
        for name, value in self.weights.items():
            if value.dtype in (mx.float16, mx.bfloat16):
                self.weights[name] = value.astype(mx.float32)
        number = lambda name: data[f"llama.{name}"].item()  # noqa: E731
        self.n_layers, self.heads = number("block_count"), number("attention.head_count")
        self.kv_heads, width = number("attention.head_count_kv"), number("embedding_length")
        self.dim = width // self.heads
        self.eps = number("attention.layer_norm_rms_epsilon")
        self.base = number("rope.freq_base")
        mx.eval(self.weights)

    def linear(self, x, name, bits=4):
        w = self.weights
        packed = w[f"{name}.weight"], w[f"{name}.scales"], w[f"{name}.biases"]
        return mx.quantized_matmul(x, *packed, True, 32, bits)

    def rows(self, tokens):
        w = self.weights
        parts = (w[f"token_embd.{part}"][tokens] for part in ("weight", "scales", "biases"))
        return mx.dequantize(*parts, 32, 8)

    def turned(self, x, heads, offset):
        x = x.reshape(1, -1, heads, self.dim).swapaxes(1, 2)
        # The file's rows are ordered for pairs of neighbours.
        return mx.fast.rope(x, self.dim, traditional=True, base=self.base, scale=1.0, offset=offset)

    def __call__(self, tokens, cache):
        """Scores what follows the last token; `cache` is a list of keys and values, or empty."""
        x = self.rows(tokens)[None]
        offset = cache[0][0].shape[2] if cache else 0
        grown = []
        for i in range(self.n_layers):
            name = f"blk.{i}."
            y = mx.fast.rms_norm(x, self.weights[name + "attn_norm.weight"], self.eps)
            q = self.turned(self.linear(y, name + "attn_q"), self.heads, offset)
            k = self.turned(self.linear(y, name + "attn_k"), self.kv_heads, offset)
            v = self.linear(y, name + "attn_v").reshape(1, -1, self.kv_heads, self.dim).swapaxes(1, 2)
            if cache:
                k, v = mx.concatenate([cache[i][0], k], 2), mx.concatenate([cache[i][1], v], 2)
            grown.append((k, v))
            mask = "causal" if len(tokens) > 1 else None
            y = mx.fast.scaled_dot_product_attention(q, k, v, scale=self.dim**-0.5, mask=mask)
            x = x + self.linear(y.swapaxes(1, 2).reshape(1, len(tokens), -1), name + "attn_output")
            y = mx.fast.rms_norm(x, self.weights[name + "ffn_norm.weight"], self.eps)
            gate = self.linear(y, name + "ffn_gate")
            y = gate * mx.sigmoid(gate) * self.linear(y, name + "ffn_up")
            x = x + self.linear(y, name + "ffn_down")
        x = mx.fast.rms_norm(x[:, -1], self.weights["output_norm.weight"], self.eps)
        return self.linear(x, "token_embd", 8), grown


def smollm2(op, params):
    model, prompt = Llama(params["gguf"]), mx.array(params["prompt"])
    if op == "smollm2_prefill":

        def prefill():
            scores, cache = model(prompt, [])
            mx.eval(scores, cache)
            mx.synchronize()

        return Row(prefill)
    if op == "smollm2_decode":
        words = words_of(params["gguf"])
        text = [""]

        def decode():
            scores, cache = model(prompt, [])
            token = mx.argmax(scores, -1)
            mx.eval(token, cache)
            written = [token.item()]
            start = time.perf_counter()
            for _ in range(params["tokens"] - 1):
                scores, cache = model(token, cache)
                token = mx.argmax(scores, -1)
                mx.eval(token, cache)
                written.append(token.item())
            ms = (time.perf_counter() - start) * 1e3 / max(params["tokens"] - 1, 1)
            text[0] = "".join(words[token] for token in written).replace("Ġ", " ").replace("Ċ", "\n")
            return ms

        return Row(decode, text=lambda: text[0], times=True)
    raise Unsupported(f"has no {op}")


def words_of(path):
    _, data = mx.load(path, return_metadata=True)
    return data["tokenizer.ggml.tokens"]

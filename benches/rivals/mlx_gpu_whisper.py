"""Whisper's encoder and decoder with Python MLX, written plainly, for weights under Hugging Face's names."""

import time

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from gpu_rows import Calls, Timed
from mlx_gpu_rows import sample, wait

PROMPT, NEXT = [1, 2, 3, 4], 7


class Whisper:
    def __init__(self, params):
        self.w = mx.load(params["folder"] + "/model.safetensors")
        for side in ("conv1", "conv2"):
            name = f"model.encoder.{side}.weight"
            self.w[name] = mx.contiguous(self.w[name].swapaxes(1, 2))
        self.layers, self.width = params["layers"], params["width"]
        self.heads = self.width // 64
        mx.eval(self.w)

    def linear(self, x, name):
        bias = self.w.get(name + ".bias")
        y = x @ self.w[name + ".weight"].T
        return y if bias is None else y + bias

    def norm(self, x, name):
        return mx.fast.layer_norm(x, self.w[name + ".weight"], self.w[name + ".bias"], 1e-5)

    def split(self, x):
        return x.reshape(1, -1, self.heads, 64).swapaxes(1, 2)

    def keys(self, x, name):
        return self.split(self.linear(x, name + ".k_proj")), self.split(self.linear(x, name + ".v_proj"))

    def attend(self, x, kv, name, mask=None):
        q = self.split(self.linear(x, name + ".q_proj"))
        y = mx.fast.scaled_dot_product_attention(q, *kv, scale=64**-0.5, mask=mask)
        return self.linear(y.swapaxes(1, 2).reshape(1, -1, self.width), name + ".out_proj")

    def feed_forward(self, x, name):
        y = self.linear(self.norm(x, name + "final_layer_norm"), name + "fc1")
        return x + self.linear(nn.gelu(y), name + "fc2")

    def encode(self, mel):
        conv = lambda x, name, stride: mx.conv1d(x, self.w[name + ".weight"], stride, 1) + self.w[name + ".bias"]  # noqa: E731
        x = nn.gelu(conv(mel, "model.encoder.conv1", 1))
        x = nn.gelu(conv(x, "model.encoder.conv2", 2)) + self.w["model.encoder.embed_positions.weight"]
        for i in range(self.layers):
            name = f"model.encoder.layers.{i}."
            y = self.norm(x, name + "self_attn_layer_norm")
            x = x + self.attend(y, self.keys(y, name + "self_attn"), name + "self_attn")
            x = self.feed_forward(x, name)
        return self.norm(x, "model.encoder.layer_norm")

    def cross(self, sound):
        return [self.keys(sound, f"model.decoder.layers.{i}.encoder_attn") for i in range(self.layers)]

    def decode(self, tokens, cache, cross):
        """Returns the logits behind the last token, and the keys and values of all."""
        table = self.w["model.decoder.embed_tokens.weight"]
        start = cache[0][0].shape[2] if cache else 0
        x = table[tokens] + self.w["model.decoder.embed_positions.weight"][start : start + tokens.shape[1]]
        grown = []
        for i in range(self.layers):
            name = f"model.decoder.layers.{i}."
            y = self.norm(x, name + "self_attn_layer_norm")
            k, v = self.keys(y, name + "self_attn")
            if cache:
                k, v = mx.concatenate([cache[i][0], k], 2), mx.concatenate([cache[i][1], v], 2)
            grown.append((k, v))
            x = x + self.attend(y, (k, v), name + "self_attn", "causal" if tokens.shape[1] > 1 else None)
            y = self.norm(x, name + "encoder_attn_layer_norm")
            x = x + self.attend(y, cross[i], name + "encoder_attn")
            x = self.feed_forward(x, name)
        x = self.norm(x[:, -1], "model.decoder.layer_norm")
        return (x @ table.T).astype(mx.float32), grown


def whisper(params):
    model = Whisper(params)
    mel = mx.array(np.load(params["folder"] + "/mel.npy")).astype(mx.float16)[None]
    if params["model"] == "whisper_encoder":
        encode = mx.compile(model.encode)
        return Calls(params, lambda: [encode(mel)], wait, sample)
    cross = model.cross(model.encode(mel))
    mx.eval(cross)
    one = mx.array([[NEXT]])

    def prompt():
        scores, cache = model.decode(mx.array([PROMPT]), [], cross)
        mx.eval(scores, cache)
        return cache

    def result():
        return [np.array(model.decode(one, prompt(), cross)[0])]

    def run_once():
        cache = prompt()
        start = time.perf_counter()
        for _ in range(params["tokens"]):
            scores, cache = model.decode(one, cache, cross)
            mx.eval(scores, cache)
            np.array(scores)
        return (time.perf_counter() - start) * 1e3 / params["tokens"]

    return Timed(result, run_once)

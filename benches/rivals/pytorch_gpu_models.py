"""Models of random weights with PyTorch, written plainly: prefill of Qwen3's layers, Whisper's encoder and decoder."""

import json
import time

import numpy as np
import torch
import torch.nn.functional as F

from gpu_rows import Calls, Timed
from protocol import Unsupported
from pytorch_gpu_rows import DEVICE, forget, sample, wait

PROMPT, NEXT = [1, 2, 3, 4], 7
TYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
LOADED = {}


def weights_of(folder):
    """Reads a safetensors file without its package; the last one stays, as rows of the same model follow each other."""
    if folder not in LOADED:
        LOADED.clear()
        forget()
        path = folder + "/model.safetensors"
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        data, start, weights = np.memmap(path, np.uint8, mode="c"), 8 + length, {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = (start + offset for offset in entry["data_offsets"])
            raw = torch.frombuffer(data[begin:end], dtype=TYPES[entry["dtype"]])
            weights[name] = raw.reshape(entry["shape"]).to(DEVICE, copy=True)
        LOADED[folder] = weights
    return LOADED[folder]


class Qwen:
    def __init__(self, params):
        self.w, self.c = weights_of(params["folder"]), params["config"]
        dim = self.c["head_dim"]
        turns = self.c["rope_theta"] ** (-torch.arange(0, dim, 2, dtype=torch.float64, device=DEVICE) / dim)
        angles = torch.arange(1024, dtype=torch.float64, device=DEVICE)[:, None] * turns
        angles = torch.cat([angles, angles], -1)
        self.cosines, self.sines = angles.cos().to(torch.bfloat16), angles.sin().to(torch.bfloat16)

    def norm(self, x, name):
        weight = self.w[name + ".weight"]
        return F.rms_norm(x, weight.shape, weight, self.c["rms_norm_eps"])

    def turned(self, x):
        a, b = x.chunk(2, -1)
        n = x.shape[-2]
        return x * self.cosines[:n] + torch.cat([-b, a], -1) * self.sines[:n]

    def logits(self, tokens):
        """The logits behind the last of the tokens, and what a cache of keys and values holds."""
        w, c = self.w, self.c
        x, n = w["model.embed_tokens.weight"][tokens], tokens.shape[-1]
        cache = []
        for i in range(c["num_hidden_layers"]):
            name = f"model.layers.{i}."
            y = self.norm(x, name + "input_layernorm")
            split = lambda part: F.linear(y, w[f"{name}self_attn.{part}_proj.weight"]).reshape(1, n, -1, c["head_dim"])  # noqa: E731
            q = self.turned(self.norm(split("q"), name + "self_attn.q_norm").transpose(1, 2))
            k = self.turned(self.norm(split("k"), name + "self_attn.k_norm").transpose(1, 2))
            v = split("v").transpose(1, 2)
            cache.append((k, v))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            x = x + F.linear(y.transpose(1, 2).reshape(1, n, -1), w[name + "self_attn.o_proj.weight"])
            y = self.norm(x, name + "post_attention_layernorm")
            gate, up = (F.linear(y, w[f"{name}mlp.{part}_proj.weight"]) for part in ("gate", "up"))
            x = x + F.linear(F.silu(gate) * up, w[name + "mlp.down_proj.weight"])
        return F.linear(self.norm(x[:, -1], "model.norm"), w["model.embed_tokens.weight"]), cache


class Whisper:
    def __init__(self, params):
        self.w = weights_of(params["folder"])
        self.layers, self.width = params["layers"], params["width"]
        self.heads = self.width // 64

    def linear(self, x, name):
        return F.linear(x, self.w[name + ".weight"], self.w.get(name + ".bias"))

    def norm(self, x, name):
        weight = self.w[name + ".weight"]
        return F.layer_norm(x, weight.shape, weight, self.w[name + ".bias"], 1e-5)

    def split(self, x):
        return x.reshape(1, -1, self.heads, 64).transpose(1, 2)

    def keys(self, x, name):
        return self.split(self.linear(x, name + ".k_proj")), self.split(self.linear(x, name + ".v_proj"))

    def attend(self, x, kv, name, causal=False):
        q = self.split(self.linear(x, name + ".q_proj"))
        y = F.scaled_dot_product_attention(q, *kv, is_causal=causal)
        return self.linear(y.transpose(1, 2).reshape(1, -1, self.width), name + ".out_proj")

    def feed_forward(self, x, name):
        return x + self.linear(F.gelu(self.linear(self.norm(x, name + "final_layer_norm"), name + "fc1")), name + "fc2")

    def encode(self, mel):
        conv = lambda x, name, stride: F.gelu(F.conv1d(x, self.w[name + ".weight"], self.w[name + ".bias"], stride, 1))  # noqa: E731
        x = conv(conv(mel, "model.encoder.conv1", 1), "model.encoder.conv2", 2).transpose(1, 2)
        x = x + self.w["model.encoder.embed_positions.weight"]
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
        start, n = cache[0][0].shape[2] if cache else 0, tokens.shape[1]
        x = table[tokens] + self.w["model.decoder.embed_positions.weight"][start : start + n]
        grown = []
        for i in range(self.layers):
            name = f"model.decoder.layers.{i}."
            y = self.norm(x, name + "self_attn_layer_norm")
            k, v = self.keys(y, name + "self_attn")
            if cache:
                k, v = torch.cat([cache[i][0], k], 2), torch.cat([cache[i][1], v], 2)
            grown.append((k, v))
            x = x + self.attend(y, (k, v), name + "self_attn", causal=n > 1)
            y = self.norm(x, name + "encoder_attn_layer_norm")
            x = x + self.attend(y, cross[i], name + "encoder_attn")
            x = self.feed_forward(x, name)
        return F.linear(self.norm(x[:, -1], "model.decoder.layer_norm"), table).float(), grown


def models(params):
    if params["model"] == "prefill":
        return prefill(params)
    if params["model"] == "whisper_encoder":
        model, mel = Whisper(params), mel_of(params)
        return Calls(params, lambda: [model.encode(mel)], wait, sample)
    if params["model"] == "whisper_token":
        return whisper_token(params)
    raise Unsupported(f"has no {params['model']}")


def mel_of(params):
    mel = torch.from_numpy(np.load(params["folder"] + "/mel.npy"))
    return mel.to(DEVICE, torch.float16)[None].transpose(1, 2).contiguous()


def prefill(params):
    model = Qwen(params)
    tokens = torch.tensor([params["prompt"]], device=DEVICE)

    def run_once():
        wait()
        start = time.perf_counter()
        result = model.logits(tokens)
        wait()
        del result
        return (time.perf_counter() - start) * 1e3

    return Timed(lambda: [model.logits(tokens)[0].float().cpu().numpy()], run_once, warm_up=3)


def whisper_token(params):
    model = Whisper(params)
    cross = model.cross(model.encode(mel_of(params)))
    one = torch.tensor([[NEXT]], device=DEVICE)

    def prompt():
        return model.decode(torch.tensor([PROMPT], device=DEVICE), [], cross)[1]

    def run_once():
        cache = prompt()
        wait()
        start = time.perf_counter()
        for _ in range(params["tokens"]):
            scores, cache = model.decode(one, cache, cross)
            scores.cpu()
        return (time.perf_counter() - start) * 1e3 / params["tokens"]

    return Timed(lambda: [model.decode(one, prompt(), cross)[0].cpu().numpy()], run_once)

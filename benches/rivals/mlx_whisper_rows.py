"""Rows of Whisper with mlx-whisper."""

import re
import time

import mlx.core as mx
import numpy as np
from mlx.utils import tree_unflatten
from mlx_whisper.decoding import DecodingOptions, decode
from mlx_whisper.whisper import ModelDimensions, Whisper

from protocol import Row, Unsupported

RENAMES = [
    ("model.encoder.layers.", "encoder.blocks."),
    ("model.decoder.layers.", "decoder.blocks."),
    ("model.encoder.layer_norm.", "encoder.ln_post."),
    ("model.decoder.layer_norm.", "decoder.ln."),
    ("model.decoder.embed_tokens.", "decoder.token_embedding."),
    ("model.decoder.embed_positions.weight", "decoder.positional_embedding"),
    ("model.encoder.", "encoder."),
    ("self_attn_layer_norm.", "attn_ln."),
    ("encoder_attn_layer_norm.", "cross_attn_ln."),
    ("final_layer_norm.", "mlp_ln."),
    ("self_attn.", "attn."),
    ("encoder_attn.", "cross_attn."),
    ("q_proj.", "query."),
    ("k_proj.", "key."),
    ("v_proj.", "value."),
    ("out_proj.", "out."),
    ("fc1.", "mlp1."),
    ("fc2.", "mlp2."),
]


def model_of(path):
    """Builds the network from weights under Hugging Face's names."""
    weights = {}
    for name, value in mx.load(path).items():
        if name in ("model.encoder.embed_positions.weight", "proj_out.weight"):
            continue  # Sines that the network makes itself, and the table of tokens again.
        for old, new in RENAMES:
            name = name.replace(old, new)
        if re.search(r"conv\d\.weight", name):
            value = value.swapaxes(1, 2)
        weights[name] = value.astype(mx.float32)
    n_vocab, width = weights["decoder.token_embedding.weight"].shape
    n_layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.blocks."))
    heads = width // 64
    n_mels = weights["encoder.conv1.weight"].shape[-1]
    n_text = weights["decoder.positional_embedding"].shape[0]
    dims = ModelDimensions(n_mels, 1500, width, heads, n_layers, n_vocab, n_text, width, heads, n_layers)
    model = Whisper(dims, mx.float32)
    model.update(tree_unflatten(list(weights.items())))
    mx.eval(model.parameters())
    return model


def whisper(op, params):
    model = model_of(params["whisper_hf"])
    mel = mx.array(np.load(params["mel"]))
    mx.eval(mel)
    greedy = DecodingOptions(language="en", without_timestamps=True, fp16=False)
    if op == "whisper_encoder":

        def encode():
            out = model.encoder(mel[None])
            mx.eval(out)
            mx.synchronize()
            return out

        return Row(encode, numpy=np.array)
    text = [""]
    if op == "whisper_token":
        features = model.encoder(mel[None])
        mx.eval(features)

        def token():
            start = time.perf_counter()
            result = decode(model, features, greedy)[0]
            text[0] = result.text
            # The end of the text is a step too.
            return (time.perf_counter() - start) * 1e3 / (len(result.tokens) + 1)

        return Row(token, text=lambda: text[0], times=True)
    if op == "whisper_total":
        from mlx_whisper import transcribe as module

        # `transcribe` is both a module and the function in it; it loads models through this holder.
        function = getattr(module, "transcribe", module)
        holder = function.__globals__["ModelHolder"]
        holder.model, holder.model_path = model, "given"
        samples = samples_of(params["audio"])

        def total():
            result = function(
                samples,
                path_or_hf_repo="given",
                temperature=0.0,
                language="en",
                without_timestamps=True,
                condition_on_previous_text=False,
                fp16=False,
            )
            text[0] = result["text"]

        return Row(total, text=lambda: text[0])
    raise Unsupported(f"has no {op}")


def samples_of(path):
    """Reads a recording of 16 kHz, mono, 16 bits."""
    import wave

    with wave.open(path) as file:
        assert file.getframerate() == 16000 and file.getnchannels() == 1 and file.getsampwidth() == 2
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768

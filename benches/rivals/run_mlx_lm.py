"""Language models of random weights with mlx_lm, as its own generation decodes them."""

import json
import time
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx_lm.generate import generate_step
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model

from gpu_rows import Timed
from protocol import Unsupported, package, serve

NEXT = 7
LOADED = {}


def loaded(folder):
    """Models stay until another one is asked for: rows of the same model follow each other."""
    if folder not in LOADED:
        LOADED.clear()
        mx.clear_cache()
        model = load_model(Path(folder))
        LOADED[folder] = model[0] if isinstance(model, tuple) else model
        mx.eval(LOADED[folder].parameters())
    return LOADED[folder]


def behind_last(model, tokens, cache):
    """The logits behind the last token: those of the others are not computed, as in `generate_step`."""
    hidden = model.model(tokens, cache=cache)[:, -1]
    if model.args.tie_word_embeddings:
        return model.model.embed_tokens.as_linear(hidden)
    return model.lm_head(hidden)


def prepare(load, inputs, threads):
    params = load["params"]
    if load["op"] != "gpu" or params.get("model") not in ("decode", "prefill"):
        raise Unsupported(f"has no {load['op']}")
    model = loaded(params["folder"])
    prompt = mx.array(params["prompt"])

    def logits():
        cache = make_prompt_cache(model)
        first = behind_last(model, prompt[None], cache)
        mx.eval(first, [layer.state for layer in cache])
        found = [first]
        if params["model"] == "decode":
            found.append(behind_last(model, mx.array([[NEXT]]), cache))
        return [np.array(one.astype(mx.float32)) for one in found]

    def prefill():
        cache = make_prompt_cache(model)
        start = time.perf_counter()
        last = behind_last(model, prompt[None], cache)
        mx.eval(last, [layer.state for layer in cache])
        mx.synchronize()
        return (time.perf_counter() - start) * 1e3

    def decode():
        start, count = None, 0
        for _ in generate_step(prompt, model, max_tokens=params["tokens"]):
            if start is None:
                start = time.perf_counter()
                continue
            count += 1
        return (time.perf_counter() - start) * 1e3 / max(count, 1)

    is_decoding = params["model"] == "decode"
    return Timed(logits, decode if is_decoding else prefill, warm_up=2)


if __name__ == "__main__":
    serve("mlx-lm", package("mlx-lm", "mlx"), prepare, forget=mx.clear_cache)

"""llama.cpp through llama-cpp-python: prompts and tokens go straight to its evaluation."""

import time

import numpy as np
from llama_cpp import Llama

from protocol import Row, Unsupported, package, serve


def prepare(load, inputs, threads):
    op, params = load["op"], load["params"]
    if not op.startswith("smollm2"):
        raise Unsupported("is for language models only")
    prompt = params["prompt"]
    model = Llama(
        params["gguf"],
        n_ctx=1024,
        n_batch=512,
        n_threads=threads,
        n_threads_batch=threads,
        verbose=False,
    )
    if op == "smollm2_prefill":

        def prefill():
            model.reset()
            start = time.perf_counter()
            model.eval(prompt)
            return (time.perf_counter() - start) * 1e3

        return Row(prefill, times=True)
    if op == "smollm2_decode":
        text = [""]

        def best():
            scores = model._ctx.get_logits()
            return int(np.ctypeslib.as_array(scores, shape=(model.n_vocab(),)).argmax())

        def decode():
            model.reset()
            model.eval(prompt)
            written = [best()]
            start = time.perf_counter()
            for _ in range(params["tokens"] - 1):
                model.eval([written[-1]])
                written.append(best())
            ms = (time.perf_counter() - start) * 1e3 / max(params["tokens"] - 1, 1)
            text[0] = model.detokenize(written).decode("utf-8", "replace")
            return ms

        return Row(decode, text=lambda: text[0], times=True)
    raise Unsupported(f"has no {op}")


if __name__ == "__main__":
    serve("llama-cpp", package("llama-cpp-python"), prepare)

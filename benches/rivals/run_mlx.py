"""Python MLX: the same functions under its own names, mlx-whisper for Whisper, a plain Llama for SmolLM2."""

import os

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from protocol import Row, Unsupported, package, serve

if os.environ.get("MLX_BENCH_CACHE"):
    # With OpenBLAS it also gets room to keep buffers: MLX's own limit on the CPU is 32 MiB.
    mx.set_cache_limit(6 << 30)
    with open("/proc/self/maps") as maps:
        # The loader only warns of a library that it cannot preload.
        if "openblas" not in maps.read():
            raise SystemExit("OpenBLAS was not preloaded")


def pack(codes, scales, zeros):
    """Packs codes of 4 bits as `mx.quantize` does: eight to a uint32, the first lowest."""
    words = np.zeros((codes.shape[0], codes.shape[1] // 8), np.uint32)
    for i in range(8):
        words |= codes[:, i::8].astype(np.uint32) << np.uint32(4 * i)
    return mx.array(words), mx.array(scales), mx.array(-(scales * zeros.astype(np.float32)))


def chain(x, b):
    y = x * 2 + b
    y = y * mx.sigmoid(y)
    return mx.sqrt(mx.abs(y - x) + 1)


def function(op, params, inputs):
    if op == "rms_norm":
        return lambda x, w: mx.fast.rms_norm(x, w, params["eps"])
    if op == "layer_norm":
        return lambda x, w, b: mx.fast.layer_norm(x, w, b, params["eps"])
    if op == "softmax":
        return lambda x: mx.softmax(x, axis=-1)
    if op == "attention":
        return lambda q, k, v: mx.fast.scaled_dot_product_attention(q, k, v, scale=params["scale"])
    if op == "rope":
        dims = inputs[0].shape[-1]
        return lambda x: mx.fast.rope(x, dims, traditional=False, base=params["base"], scale=1.0, offset=0)
    if op == "gelu":
        return nn.gelu
    if op == "exp":
        return mx.exp
    if op == "add":
        return mx.add
    if op == "chain8":
        return mx.compile(chain)
    if op == "matvec":
        return lambda x, w: x @ w.T
    if op == "matmul":
        return mx.matmul
    raise Unsupported(f"has no {op}")


def prepare(load, inputs, threads):
    op, params = load["op"], load["params"]
    if op == "gpu":
        if "model" in params:
            from mlx_gpu_whisper import whisper

            return whisper(params)
        from mlx_gpu_rows import gpu

        return gpu(params)
    if op.startswith("whisper"):
        from mlx_whisper_rows import whisper

        return whisper(op, params)
    if op.startswith("smollm2"):
        from mlx_llama_rows import smollm2

        return smollm2(op, params)
    if op.startswith("quantized"):
        x, (w, scales, biases) = mx.array(inputs[0]), pack(*inputs[1:])
        size = params["group_size"]
        arrays = [x, w, scales, biases]
        call = lambda x, w, s, b: mx.quantized_matmul(x, w, s, b, True, size, 4)  # noqa: E731
    else:
        arrays = [mx.array(x) for x in inputs]
        call = function(op, params, inputs)
    mx.eval(arrays)

    def run():
        out = call(*arrays)
        mx.eval(out)
        mx.synchronize()
        return out

    return Row(run, numpy=np.array)


if __name__ == "__main__":
    versions = package("mlx", "mlx-cpu", "mlx-cuda-12", "mlx-cuda-13", "mlx-whisper")
    serve("python-mlx", versions, prepare, forget=mx.clear_cache)

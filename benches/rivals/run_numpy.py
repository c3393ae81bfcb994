"""NumPy: what a short program without a framework takes."""

import numpy as np

from protocol import Row, Unsupported, package, serve

try:
    from scipy.special import erf
except ImportError:
    erf = None


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    e /= e.sum(-1, keepdims=True)
    return e


def rope(x, base):
    half = x.shape[-1] // 2
    angles = np.arange(x.shape[-2])[:, None] * base ** (-np.arange(half) / half)
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def turn():
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * cos - b * sin, a * sin + b * cos], -1)

    return turn


def silu_chain(x, b):
    y = x * np.float32(2) + b
    y = y / (1 + np.exp(-y))
    return np.sqrt(np.abs(y - x) + 1)


def prepare(load, inputs, threads):
    op, params = load["op"], load["params"]
    if op == "rms_norm":
        x, w = inputs
        eps = np.float32(params["eps"])
        return plain(lambda: x / np.sqrt(np.square(x).mean(-1, keepdims=True) + eps) * w)
    if op == "layer_norm":
        x, w, b = inputs
        eps = np.float32(params["eps"])

        def layer_norm():
            d = x - x.mean(-1, keepdims=True)
            return d / np.sqrt(np.square(d).mean(-1, keepdims=True) + eps) * w + b

        return plain(layer_norm)
    if op == "softmax":
        return plain(lambda: softmax(inputs[0]))
    if op == "attention":
        q, k, v = inputs
        scale = np.float32(params["scale"])
        return plain(lambda: softmax((q * scale) @ k.swapaxes(-1, -2)) @ v)
    if op == "rope":
        return plain(rope(inputs[0], params["base"]))
    if op == "gelu" and erf is not None:
        x = inputs[0]
        root = np.float32(2**-0.5)
        return plain(lambda: np.float32(0.5) * x * (1 + erf(x * root)))
    if op == "exp":
        return plain(lambda: np.exp(inputs[0]))
    if op == "add":
        return plain(lambda: inputs[0] + inputs[1])
    if op == "chain8":
        return plain(lambda: silu_chain(*inputs))
    if op == "matvec":
        x, w = inputs
        return plain(lambda: (w @ x[0])[None])
    if op == "matmul":
        return plain(lambda: inputs[0] @ inputs[1])
    raise Unsupported(f"NumPy has no {op}")


def plain(call):
    return Row(call, numpy=lambda result: result)


if __name__ == "__main__":
    serve("numpy", package("numpy", "scipy"), prepare)

"""Rows of a GPU with Python MLX: kernels, their gradients, programs of twenty, and training, each as one writes it."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from gpu_rows import FACTORS, Calls, places
from protocol import Unsupported

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}


def bits(count, seed):
    word = lambda value: mx.array(value, mx.uint32)  # noqa: E731
    h = (mx.arange(count, dtype=mx.uint32) + word(seed)) * word(FACTORS[0])
    h = (h ^ (h >> word(15))) * word(FACTORS[1])
    h = (h ^ (h >> word(13))) * word(FACTORS[2])
    return h ^ (h >> word(16))


def made(spec):
    """Makes an input by the formula that all runners have."""
    shape = spec["shape"]
    h = bits(int(np.prod(shape)), spec["seed"])
    if spec["draw"] == "bits":
        out = h
    elif spec["draw"] == "whole":
        out = (h % mx.array(max(spec["below"], 1), mx.uint32)).astype(mx.int32)
    else:
        out = ((h >> mx.array(8, mx.uint32)).astype(mx.float32) * 2.0**-24 - 0.5) * spec["scale"]
        if spec["shift"]:
            out = out + spec["shift"]
        out = out.astype(DTYPES[spec["dtype"]])
    out = out.reshape(shape)
    # One after the other: what they are made from is larger than they are.
    mx.eval(out)
    return out


def wait(arrays):
    mx.eval(arrays)
    mx.synchronize()


def sample(arrays):
    flat = [array.reshape(-1) for array in arrays]
    return [np.array(array[:: places(array.size)].astype(mx.float32)) for array in flat]


@mx.compile
def swiglu(gate, x):
    return nn.silu(gate) * x


def chain(x, b):
    y = x * 2 + b
    y = y * mx.sigmoid(y)
    return mx.sqrt(mx.abs(y - x) + 1)


def kernel(name, params):
    if name == "rms_norm":
        return lambda x, w: mx.fast.rms_norm(x, w, params["eps"])
    if name == "add_rms_norm":
        return lambda x, y, w: mx.fast.rms_norm(x + y, w, params["eps"])
    if name == "layer_norm":
        return lambda x, w, b: mx.fast.layer_norm(x, w, b, params["eps"])
    if name == "attention":
        mask = "causal" if params["causal"] else None
        return lambda q, k, v: mx.fast.scaled_dot_product_attention(q, k, v, scale=params["scale"], mask=mask)
    if name == "rope":
        return lambda x: mx.fast.rope(x, x.shape[-1], traditional=False, base=params["base"], scale=1.0, offset=0)
    if name == "quantized_matmul":
        size, width = params["group_size"], params["bits"]
        return lambda x, w, s, b: mx.quantized_matmul(x, w, s, b, True, size, width)
    if name == "embedding":
        size, width = params["group_size"], params["bits"]
        return lambda t, w, s, b: mx.dequantize(w[t], s[t], b[t], size, width)
    functions = {
        # Sums in float32, as PyTorch has them.
        "softmax": lambda x: mx.softmax(x, axis=-1, precise=True),
        "cross_entropy": lambda x, y: nn.losses.cross_entropy(x, y),
        "gelu": nn.gelu,
        "silu": nn.silu,
        "swiglu": swiglu,
        "add": mx.add,
        "exp": mx.exp,
        "chain": mx.compile(chain),
        "matmul": mx.matmul,
        "sum": mx.sum,
        "sum_rows": lambda x: mx.sum(x, axis=-1),
        "argmax": lambda x: mx.argmax(x, axis=-1),
        "sort": lambda x: mx.sort(x, axis=-1),
        "gather": lambda x, places: x[places],
    }
    if name in functions:
        return functions[name]
    raise Unsupported(f"has no {name}")


def gpu(params):
    if "train" in params:
        return training(params)
    name, arrays = params["kernel"], [made(spec) for spec in params["arrays"]]
    mx.clear_cache()
    function = kernel(name, params)
    if "chain" in params:

        def program(x, *rest):
            for _ in range(params["chain"]):
                x = function(x, *rest)
            return x

        compiled = mx.compile(program)
        return Calls(params, lambda: [compiled(*arrays)], wait, sample, steps=params["chain"])
    leading = params["gradients"]
    if leading:
        cotangent, others = arrays.pop(), arrays[leading:]
        primals = arrays[:leading]
        of_leading = lambda *leading: function(*leading, *others)  # noqa: E731
        return Calls(params, lambda: list(mx.vjp(of_leading, primals, [cotangent])[1]), wait, sample)
    compared = None
    if name == "argmax":
        # Of equal maxima any may be found: their values are compared.
        compared = lambda: [mx.take_along_axis(arrays[0], function(*arrays)[:, None], -1)]  # noqa: E731
    return Calls(params, lambda: [function(*arrays)], wait, sample, compared)


def block(weights, x, heads):
    qkv, out, up, down, norm = weights
    batch, seq, width = x.shape
    split = (mx.fast.rms_norm(x, norm, 1e-5) @ qkv.T).reshape(batch, seq, 3, heads, -1).transpose(2, 0, 3, 1, 4)
    scale = split.shape[-1] ** -0.5
    y = mx.fast.scaled_dot_product_attention(split[0], split[1], split[2], scale=scale, mask="causal")
    x = x + y.transpose(0, 2, 1, 3).reshape(batch, seq, width) @ out.T
    x = x + nn.gelu(mx.fast.rms_norm(x, norm, 1e-5) @ up.T) @ down.T
    return mx.mean(mx.square(x))


def conv_net(weights, x, y):
    w1, b1, w2, b2, w3, b3 = weights
    pool = nn.MaxPool2d(2, 2)
    x = pool(nn.relu(mx.conv2d(x, w1, padding=1) + b1))
    x = pool(nn.relu(mx.conv2d(x, w2, padding=1) + b2))
    return mx.mean(nn.losses.cross_entropy(x.flatten(1) @ w3.T + b3, y))


def training(params):
    arrays = [made(spec) for spec in params["arrays"]]
    rate = params["rate"]
    if params["train"] == "block":
        data, weights = arrays[:1], arrays[1:]
        loss = lambda weights, x: block(weights, x, params["heads"])  # noqa: E731
    else:
        data, weights = [arrays[0], arrays[-1]], arrays[1:-1]
        loss = conv_net
    gradients = mx.value_and_grad(loss)

    @mx.compile
    def step(weights, *data):
        _, found = gradients(weights, *data)
        return [weight - gradient * rate for weight, gradient in zip(weights, found)]

    state = [weights]

    def call():
        state[0] = step(state[0], *data)
        mx.async_eval(state[0])
        return []

    def finish(results):
        wait(results or state[0])

    return Calls(params, call, finish, sample, compared=lambda: gradients(weights, *data)[1])

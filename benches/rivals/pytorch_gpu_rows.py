"""Rows of a GPU with PyTorch, eager and with `torch.compile`: kernels, gradients, programs as CUDA graphs, training."""

import numpy as np
import torch
import torch.nn.functional as F

from gpu_rows import FACTORS, Calls, places
from protocol import Unsupported

HAS_GPU = torch.cuda.is_available()
DEVICE = "cuda" if HAS_GPU else "cpu"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# MLX multiplies `float32` in TF32, so PyTorch may too.
torch.set_float32_matmul_precision("high")


def bits(count, seed):
    """32 bits in int64, whose products wrap: PyTorch has few operations of uint32."""
    mask = 0xFFFFFFFF
    h = ((torch.arange(count, dtype=torch.int64, device=DEVICE) + seed) & mask) * FACTORS[0] & mask
    h = (h ^ (h >> 15)) * FACTORS[1] & mask
    h = (h ^ (h >> 13)) * FACTORS[2] & mask
    return h ^ (h >> 16)


def made(spec):
    """Makes an input by the formula that all runners have."""
    h = bits(int(np.prod(spec["shape"])), spec["seed"])
    if spec["draw"] == "bits":
        raise Unsupported("has nothing that reads these packed weights")
    if spec["draw"] == "whole":
        return (h % max(spec["below"], 1)).reshape(spec["shape"])
    out = ((h >> 8).to(torch.float32) * 2.0**-24 - 0.5) * spec["scale"]
    if spec["shift"]:
        out = out + spec["shift"]
    return out.to(DTYPES[spec["dtype"]]).reshape(spec["shape"])


def wait(_=None):
    if HAS_GPU:
        torch.cuda.synchronize()


def forget():
    if HAS_GPU:
        torch.cuda.empty_cache()


def sample(tensors):
    flat = [tensor.detach().reshape(-1) for tensor in tensors]
    return [tensor[:: places(tensor.numel())].float().cpu().numpy() for tensor in flat]


def chain(x, b):
    y = F.silu(x * 2 + b)
    return ((y - x).abs() + 1).sqrt()


def rope(params, x):
    """Rotation with tables of cosines and sines, as models written for PyTorch have it."""
    dim, seq = x.shape[-1], x.shape[-2]
    turns = params["base"] ** (-torch.arange(0, dim, 2, dtype=torch.float64, device=DEVICE) / dim)
    angles = torch.arange(seq, dtype=torch.float64, device=DEVICE)[:, None] * turns
    angles = torch.cat([angles, angles], -1)
    cosines, sines = angles.cos().to(x.dtype), angles.sin().to(x.dtype)

    def turned(x):
        a, b = x.chunk(2, -1)
        return x * cosines + torch.cat([-b, a], -1) * sines

    return turned


def kernel(name, params, tensors):
    eps = params.get("eps")
    if name == "rope":
        return rope(params, tensors[0])
    if name == "attention":
        has_groups = tensors[0].shape[1] != tensors[1].shape[1]
        options = {"scale": params["scale"], "is_causal": params["causal"], "enable_gqa": has_groups}
        return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options)
    functions = {
        "rms_norm": lambda x, w: F.rms_norm(x, w.shape, w, eps),
        "add_rms_norm": lambda x, y, w: F.rms_norm(x + y, w.shape, w, eps),
        "layer_norm": lambda x, w, b: F.layer_norm(x, w.shape, w, b, eps),
        "softmax": lambda x: x.softmax(-1),
        "cross_entropy": lambda x, y: F.cross_entropy(x, y, reduction="none"),
        "gelu": F.gelu,
        "silu": F.silu,
        "swiglu": lambda gate, x: F.silu(gate) * x,
        "add": torch.add,
        "exp": torch.exp,
        "chain": chain,
        "matmul": torch.matmul,
        "sum": torch.sum,
        "sum_rows": lambda x: x.sum(-1),
        "argmax": lambda x: x.argmax(-1),
        "sort": lambda x: x.sort(-1).values,
        "gather": lambda x, places: x[places],
    }
    if name in functions:
        return functions[name]
    raise Unsupported(f"has no {name}")


def graph_of(program):
    """Returns a call that launches a program as one CUDA graph; without a GPU the program itself."""
    if not HAS_GPU:
        return program
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            program()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = program()

    def launch():
        graph.replay()
        return result

    return launch


def compile_of(function):
    """Compiles for these sizes only: forms of earlier rows would have PyTorch compile for any size."""
    torch._dynamo.reset()
    return torch.compile(function, dynamic=False)


def gpu(params, compiled):
    if "train" in params:
        return training(params, compiled)
    tensors = [made(spec) for spec in params["arrays"]]
    forget()
    name = params["kernel"]
    function = kernel(name, params, tensors)
    if compiled:
        function = compile_of(function)
    if "chain" in params:

        def program():
            x = tensors[0]
            for _ in range(params["chain"]):
                x = function(x, *tensors[1:])
            return [x]

        return Calls(params, graph_of(program), wait, sample, steps=params["chain"])
    leading = params["gradients"]
    if leading:
        cotangent, primals, others = tensors[-1], tensors[:leading], tensors[leading:-1]
        for primal in primals:
            primal.requires_grad_(True)

        def gradients():
            with torch.enable_grad():
                out = function(*primals, *others)
            return list(torch.autograd.grad(out, primals, cotangent))

        return Calls(params, gradients, wait, sample)
    compared = None
    if name == "argmax":
        # Of equal maxima any may be found: their values are compared.
        compared = lambda: [tensors[0].gather(-1, function(*tensors)[:, None])]  # noqa: E731
    return Calls(params, lambda: [function(*tensors)], wait, sample, compared)


def block(weights, x, heads):
    qkv, out, up, down, norm = weights
    batch, seq, width = x.shape
    split = F.linear(F.rms_norm(x, norm.shape, norm, 1e-5), qkv).reshape(batch, seq, 3, heads, -1)
    q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    x = x + F.linear(y.transpose(1, 2).reshape(batch, seq, width), out)
    x = x + F.linear(F.gelu(F.linear(F.rms_norm(x, norm.shape, norm, 1e-5), up)), down)
    return x.square().mean()


def conv_net(weights, x, y):
    w1, b1, w2, b2, w3, b3 = weights
    x = F.max_pool2d(F.relu(F.conv2d(x, w1, b1, padding=1)), 2)
    x = F.max_pool2d(F.relu(F.conv2d(x, w2, b2, padding=1)), 2)
    return F.cross_entropy(F.linear(x.permute(0, 2, 3, 1).flatten(1), w3, b3), y)


def training(params, compiled):
    tensors = [made(spec) for spec in params["arrays"]]
    if params["train"] == "block":
        data, weights = tensors[:1], tensors[1:]
        loss = lambda weights, x: block(weights, x, params["heads"])  # noqa: E731
        back = lambda gradient: gradient  # noqa: E731
    else:
        # Channels last is their place in memory here, and what PyTorch is fastest with.
        first_last = lambda x: x.permute(0, 3, 1, 2) if x.dim() == 4 else x  # noqa: E731
        data, weights = [first_last(tensors[0]), tensors[-1]], [first_last(x) for x in tensors[1:-1]]
        loss = conv_net
        back = lambda gradient: gradient.permute(0, 2, 3, 1) if gradient.dim() == 4 else gradient  # noqa: E731
    for weight in weights:
        weight.requires_grad_(True)
    if compiled:
        loss = compile_of(loss)

    def gradients():
        with torch.enable_grad():
            return torch.autograd.grad(loss(weights, *data), weights)

    def step():
        torch._foreach_add_(weights, gradients(), alpha=-params["rate"])
        return []

    return Calls(params, step, wait, sample, compared=lambda: [back(gradient) for gradient in gradients()])


def limits():
    """The copy of a gigabyte, bytes read and written, in 10^9 bytes a second."""
    import time

    size = 1 << 30 if HAS_GPU else 1 << 24
    x = torch.ones(size // 4, device=DEVICE)
    y, best = torch.empty_like(x), float("inf")
    for _ in range(6):
        wait()
        start = time.perf_counter()
        for _ in range(8):
            y.copy_(x)
        wait()
        best = min(best, (time.perf_counter() - start) / 8)
    return {"copy_gb_s": 0.0, "read_gb_s": 0.0, "sgemm_gflop_s": 0.0, "pytorch_copy_gb_s": 2 * size / best / 1e9}

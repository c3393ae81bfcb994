"""PyTorch on the CPU, eager, as one writes it: the rows of operations here, those of the sweep in pytorch_rows.py."""

import torch
import torch.nn.functional as F

from protocol import Row, Unsupported, package, serve
from pytorch_rows import sweep
from pytorch_training import training


def chain(x, b):
    y = F.silu(x * 2 + b)
    return ((y - x).abs() + 1).sqrt()


def function(op, params, inputs):
    if op == "rms_norm":
        return lambda x, w: F.rms_norm(x, w.shape, w, params["eps"])
    if op == "layer_norm":
        return lambda x, w, b: F.layer_norm(x, w.shape, w, b, params["eps"])
    if op == "softmax":
        return lambda x: x.softmax(-1)
    if op == "attention":
        return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=params["scale"])
    if op == "gelu":
        return F.gelu
    if op == "exp":
        return torch.exp
    if op == "add":
        return torch.add
    if op == "chain8":
        return chain
    if op == "matvec":
        return lambda x, w: x @ w.t()
    if op == "matmul":
        return torch.matmul
    raise Unsupported(f"PyTorch has no {op} of these packed weights" if "quantized" in op else f"has no {op}")


def prepare(load, inputs, threads):
    torch.set_num_threads(threads)
    tensors = [torch.from_numpy(x) for x in inputs]
    op, params = load["op"], load["params"]
    if op == "sweep":
        row = training(params["name"], tensors)
        return row or sweep(params["name"], params["dtype"], tensors)
    call = function(op, params, inputs)
    return Row(lambda: call(*tensors), numpy=lambda out: out.numpy())


if __name__ == "__main__":
    # The rows that want gradients say so.
    torch.set_grad_enabled(False)
    serve("pytorch", package("torch", "numpy"), prepare)

"""PyTorch, as one writes it: the rows of operations here, those of the sweep in pytorch_rows.py, those of a GPU in
pytorch_gpu_rows.py. With the argument `compiled`, rows of a GPU go through `torch.compile`."""

import sys

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


COMPILED = sys.argv[1:] == ["compiled"]
# Why `torch.compile` cannot compile here, once that is known; "" when it can.
WHY_NOT = []


def check_compiler():
    """Raises `Unsupported` where `torch.compile` lacks a compiler, which is found out once, on a small function."""
    if not WHY_NOT:
        try:
            x = torch.ones(64, device="cuda" if torch.cuda.is_available() else "cpu")
            torch.compile(chain)(x, x)
            WHY_NOT.append("")
        except Exception as error:  # noqa: BLE001: whatever it is belongs into the table.
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            WHY_NOT.append(f"torch.compile: {type(error).__name__}: {' '.join(lines)[:200]}")
    if WHY_NOT[0]:
        raise Unsupported(WHY_NOT[0])


def prepare_gpu(params):
    if COMPILED:
        check_compiler()
    if "model" in params:
        from pytorch_gpu_models import models

        return models(params)
    from pytorch_gpu_rows import gpu

    return gpu(params, COMPILED)


def forget():
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def limits():
    from pytorch_gpu_rows import limits as measured

    return measured()


def prepare(load, inputs, threads):
    torch.set_num_threads(threads)
    if load["op"] == "gpu":
        return prepare_gpu(load["params"])
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
    name = "pytorch-compiled" if COMPILED else "pytorch"
    serve(name, package("torch", "triton", "numpy"), prepare, forget, limits)

"""Writes what Python MLX makes of layers, values and gradients: layers.json.

Run with the pinned version of MLX for Python: python make_layers.py
"""

import json
import pathlib

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from make_training import Numbers, flat


def activations():
    """Layers by the names of their cases; all take [3, 8]."""
    plain = """ReLU ReLU2 ReLU6 SELU SiLU Mish Hardswish HardTanh Sigmoid Tanh Softplus Softsign LogSigmoid Softmax Softmin
        LogSoftmax GLU LeakyReLU ELU CELU Softshrink HardShrink Step PReLU GELU""".split()
    cases = {name: getattr(nn, name)() for name in plain}
    cases |= {
        "GLU 0": nn.GLU(0),
        "LeakyReLU 0.25": nn.LeakyReLU(0.25),
        "ELU 0.5": nn.ELU(0.5),
        "CELU 0.5": nn.CELU(0.5),
        "Softshrink 0.25": nn.Softshrink(0.25),
        "HardShrink 0.25": nn.HardShrink(0.25),
        "Step 0.5": nn.Step(0.5),
        "PReLU 8": nn.PReLU(8, 0.5),
        "GELU tanh": nn.GELU("tanh"),
        "GELU fast": nn.GELU("fast"),
    }
    return cases


def norms():
    return {
        "BatchNorm": (nn.BatchNorm(4), [(6, 4), (2, 3, 4), (2, 3, 2, 4)]),
        "BatchNorm options": (nn.BatchNorm(4, eps=1e-3, momentum=0.5), [(6, 4)]),
        "BatchNorm plain": (nn.BatchNorm(4, affine=False, track_running_stats=False), [(6, 4)]),
        "GroupNorm": (nn.GroupNorm(2, 4), [(2, 4), (2, 3, 4), (2, 3, 2, 4)]),
        "GroupNorm torch": (nn.GroupNorm(2, 4, pytorch_compatible=True), [(2, 3, 2, 4)]),
        "GroupNorm plain": (nn.GroupNorm(4, 4, eps=1e-3, affine=False), [(2, 5, 4)]),
        "InstanceNorm": (nn.InstanceNorm(4), [(2, 3, 4), (2, 3, 2, 4)]),
        "InstanceNorm affine": (nn.InstanceNorm(4, eps=1e-3, affine=True), [(2, 5, 4)]),
        "LayerNorm": (nn.LayerNorm(4), [(3, 4)]),
        "LayerNorm plain": (nn.LayerNorm(4, eps=1e-3, affine=False), [(3, 4)]),
        "RMSNorm": (nn.RMSNorm(4), [(3, 4)]),
    }


def pools():
    return {
        "MaxPool1d 2": (nn.MaxPool1d(2), [(2, 6, 3), (2, 5, 3)]),
        "MaxPool1d 3 1 1": (nn.MaxPool1d(3, 1, 1), [(2, 6, 3)]),
        "MaxPool2d 2": (nn.MaxPool2d(2), [(2, 4, 6, 2), (1, 5, 5, 2)]),
        "MaxPool2d 3 2 1": (nn.MaxPool2d(3, 2, 1), [(2, 5, 6, 2)]),
        "MaxPool3d 2": (nn.MaxPool3d(2), [(1, 4, 2, 4, 2)]),
        "MaxPool3d 2 1": (nn.MaxPool3d(2, 1), [(1, 3, 3, 4, 2)]),
        "MaxPool2d 9 1": (nn.MaxPool2d(9, 1), [(1, 10, 11, 2)]),
        "AvgPool1d 2": (nn.AvgPool1d(2), [(2, 6, 3)]),
        "AvgPool1d 3 1 1": (nn.AvgPool1d(3, 1, 1), [(2, 6, 3)]),
        "AvgPool2d 2": (nn.AvgPool2d(2), [(2, 4, 6, 2)]),
        "AvgPool2d 3 2 1": (nn.AvgPool2d(3, 2, 1), [(2, 5, 6, 2)]),
        "AvgPool3d 2": (nn.AvgPool3d(2), [(1, 4, 2, 4, 2)]),
        "AvgPool3d 2 1": (nn.AvgPool3d(2, 1), [(1, 3, 3, 4, 2)]),
        "AvgPool2d 9 1": (nn.AvgPool2d(9, 1), [(1, 10, 11, 2)]),
    }


def case(name, layer, shape, dtype):
    numbers = Numbers(11)
    # Away from 0 and from the edges of functions, where a gradient depends on how a formula is written; pools keep ties.
    shift = 0.0 if "Pool" in name else 0.0078125
    x = (numbers.array(*shape) + shift).astype(dtype)
    # MLX's formula of this norm rounds to bfloat16 after each step, which leaves noise where a gradient is near 0.
    computed = mx.float32 if name.startswith("GroupNorm") else dtype
    layer.set_dtype(computed)
    cotangent = None

    def loss(parameters, x):
        nonlocal cotangent
        layer.update(parameters)
        y = layer(x.astype(computed)).astype(dtype)
        if cotangent is None:
            cotangent = Numbers(5).array(*y.shape)
        return (y.astype(mx.float32) * cotangent).sum(), y

    trainable = layer.trainable_parameters()
    (_, y), (by_parameters, by_x) = mx.value_and_grad(loss, argnums=[0, 1])(trainable, x)
    result = {
        "name": name,
        "shape": list(shape),
        "dtype": str(dtype).split(".")[-1],
        "shift": shift,
        "out_shape": list(y.shape),
        "y": flat(y),
        "dx": flat(by_x),
        "gradients": {path: flat(gradient) for path, gradient in tree_flatten(by_parameters)},
    }
    if hasattr(layer, "running_mean"):
        result["running_mean"] = flat(layer.running_mean)
        result["running_var"] = flat(layer.running_var)
        layer.eval()
        result["evaluated"] = flat(layer(x))
        layer.train()
    return result


def cases(dtype):
    for name, layer in activations().items():
        yield case(name, layer, (4, 8), dtype)
    for name, (layer, shapes) in (norms() | pools()).items():
        for shape in shapes:
            if hasattr(layer, "running_mean"):
                layer.running_mean = mx.zeros(4, dtype)
                layer.running_var = mx.ones(4, dtype)
            yield case(name, layer, shape, dtype)


if __name__ == "__main__":
    mx.set_default_device(mx.cpu)
    made = [one for dtype in (mx.float32, mx.bfloat16) for one in cases(dtype)]
    path = pathlib.Path(__file__).parent / "layers.json"
    lines = ",\n".join(json.dumps(one) for one in made)
    path.write_text("[\n" + lines + "\n]\n")

"""Writes what Python MLX makes of QQLinear: qq_linear.json.

Numbers are off the middle between two of a quantization, where MLX's kernels round differently. On the CPU MLX has
single rows only; for more of them, and for gradients, this composes what its GPU kernels compute.
Run with the pinned version of MLX for Python: python make_qq_linear.py
"""

import json
import pathlib

import mlx.core as mx
import mlx.nn as nn

from make_training import Numbers, flat


def rounded(x, mode):
    return mx.dequantize(*mx.quantize(x, mode=mode), mode=mode, dtype=mx.float32)


def product(x, weight, mode):
    return rounded(x, mode) @ rounded(weight, mode).T


def cases():
    for mode in ["nvfp4", "mxfp8"]:
        weight = Numbers(100).array(32, 64) / 4
        row, rows = Numbers(11).array(1, 64) * 0.9871, Numbers(11).array(32, 64) * 0.9871
        layer = nn.QQLinear(64, 32, mode=mode)
        layer.weight = weight
        layer.eval()
        assert mx.allclose(layer(row), product(row, weight, mode), atol=1e-4)
        cotangent = Numbers(5).array(32, 32)
        yield {
            "mode": mode,
            "row": flat(layer(row)),
            "y": flat(product(rows, weight, mode)),
            "dx": flat(product(cotangent, weight.T, mode)),
            "dweight": flat(product(cotangent.T, rows.T, mode)),
        }


if __name__ == "__main__":
    mx.set_default_device(mx.cpu)
    path = pathlib.Path(__file__).parent / "qq_linear.json"
    path.write_text(json.dumps(list(cases())) + "\n")

"""Writes what Python MLX's initializers give after a seed: init.json.

Run with the pinned version of MLX for Python: python make_init.py
"""

import json
import pathlib

import mlx.core as mx
import mlx.nn as nn

from make_optimizers import flat


def cases():
    wide, tall, window = (3, 5), (5, 3), (2, 2, 3, 2)
    yield "normal", wide, lambda a: nn.init.normal(0.5, 2.0)(a)
    yield "uniform", wide, lambda a: nn.init.uniform(-0.5, 2.0)(a)
    yield "identity", (4, 4), lambda a: nn.init.identity()(a)
    for shape in (wide, window):
        yield "glorot_normal", shape, lambda a: nn.init.glorot_normal()(a, gain=1.5)
        yield "glorot_uniform", shape, lambda a: nn.init.glorot_uniform()(a, gain=1.5)
        yield "he_normal", shape, lambda a: nn.init.he_normal()(a, mode="fan_out", gain=1.5)
        yield "he_uniform", shape, lambda a: nn.init.he_uniform()(a)
    for shape in (wide, tall, (4, 4)):
        yield "orthogonal", shape, lambda a: nn.init.orthogonal(gain=1.5)(a)
        yield "sparse", shape, lambda a: nn.init.sparse(0.5, 1.0, 2.0)(a)


def main():
    mx.set_default_device(mx.cpu)
    lines = []
    for name, shape, make in cases():
        mx.random.seed(7)
        lines.append(json.dumps({"name": name, "shape": shape, "values": flat(make(mx.zeros(shape)))}))
    path = pathlib.Path(__file__).with_name("init.json")
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()

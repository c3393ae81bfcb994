"""Writes what Python MLX makes of linear layers, embeddings, convolutions, packed layers and rows of layers, values and
gradients: plain_layers.json.

Run with the pinned version of MLX for Python: python make_plain_layers.py
"""

import json

import mlx.core as mx
import mlx.nn as nn

from make_sequence_layers import FOLDER, case, flat, with_numbers


def convolutions(dtype):
    settings = [
        {"kernel_size": 3},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 2, "dilation": 2, "bias": False},
        {"kernel_size": 3, "padding": 1, "groups": 2},
        {"kernel_size": 1, "groups": 4},
    ]
    for args in settings:
        args = {"in_channels": 4, "out_channels": 4, **args}
        for name, shape in [("Conv1d", (2, 6, 4)), ("Conv2d", (1, 5, 4, 4))]:
            yield case(name, lambda: getattr(nn, name)(**args), [shape], dtype, **args)


def others(dtype):
    for bias, shape in [(True, (2, 3)), (False, (2, 2, 3)), (True, (3,))]:
        args = {"input_dims": 3, "output_dims": 4, "bias": bias}
        yield case("Linear", lambda: nn.Linear(**args), [shape], dtype, **args)
    yield case("Identity", nn.Identity, [(2, 3)], dtype)
    row = lambda: nn.Sequential(nn.Linear(3, 8), nn.relu, nn.Identity(), nn.Linear(8, 2))
    yield case("Sequential", row, [(4, 3)], dtype)
    # Positions are no floating numbers: they are made of the input.
    place = lambda x: mx.stop_gradient((mx.abs(x) * 8).astype(mx.int32) % 5)
    call = lambda layer, x: layer(place(x)) * x[..., None]
    yield case("Embedding", lambda: nn.Embedding(5, 4), [(2, 3)], dtype, call)
    call = lambda layer, x: layer.as_linear(x)
    yield case("Embedding", lambda: nn.Embedding(5, 4), [(2, 4)], dtype, call, as_linear=True)


def packed():
    """Packed by Python: weights, and what comes of them."""
    made = []
    for group_size, bits in [(64, 4), (32, 8)]:
        args = {"group_size": group_size, "bits": bits}
        linear = with_numbers(nn.Linear(64, 3), mx.float32, mx.float32)
        table = with_numbers(nn.Embedding(5, 64), mx.float32, mx.float32)
        one = nn.QuantizedLinear.from_linear(linear, **args)
        made.append(case("QuantizedLinear", lambda: Kept(one), [(2, 64)], mx.float32, **args))
        rows = nn.QuantizedEmbedding.from_embedding(table, **args)
        values = rows(mx.array([3, 0, 4]))
        made.append({"layer": "QuantizedEmbedding", "args": args, "values": flat(values)})
    return made


class Kept(nn.Module):
    """A layer without parameters: its packed weights stay as they are."""

    def __init__(self, layer):
        super().__init__()
        self._layer = layer

    def __call__(self, x):
        return self._layer(x)


if __name__ == "__main__":
    mx.set_default_device(mx.cpu)
    made = [one for dtype in (mx.float32, mx.bfloat16) for family in (convolutions, others) for one in family(dtype)]
    lines = ",\n".join(json.dumps(one) for one in made + packed())
    (FOLDER / "plain_layers.json").write_text("[\n" + lines + "\n]\n")

"""Writes what Python MLX makes of convolutions, recurrent layers, transformers, positions and upsampling, values and
gradients: sequence_layers.json; and weights that it saved: python_weights.safetensors.

Run with the pinned version of MLX for Python: python make_sequence_layers.py
"""

import itertools
import json
import pathlib

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from make_training import Numbers

FOLDER = pathlib.Path(__file__).parent


def flat(array):
    """Returns as many digits as the tests compare."""
    digits = 5 if array.dtype == mx.bfloat16 else 7
    return [float(f"{value:.{digits}g}") for value in array.astype(mx.float32).flatten().tolist()]


def with_numbers(layer, dtype, computed):
    """Sets the parameters, in the order of their names, to numbers that the test makes too."""
    names = sorted(name for name, _ in tree_flatten(layer.parameters()))
    shapes = shapes_of(layer)
    new = [(name, (Numbers(100 + i).array(*shapes[name]) / 4).astype(dtype).astype(computed)) for i, name in enumerate(names)]
    layer.update(tree_unflatten(new))
    return layer


def shapes_of(layer):
    return {name: array.shape for name, array in tree_flatten(layer.parameters())}


def case(name, make, shapes, dtype, call=None, computed=None, **args):
    """Computed in another dtype than that of the numbers where bfloat16 leaves noise that depends on the formula."""
    computed = computed or dtype
    layer = with_numbers(make(), dtype, computed)
    # Away from 0, where the gradient of an activation depends on how it is written.
    inputs = [(Numbers(11 + i).array(*shape) + 0.0078125).astype(dtype).astype(computed) for i, shape in enumerate(shapes)]
    outputs = []

    def loss(parameters, inputs):
        layer.update(parameters)
        results = call(layer, *inputs) if call else layer(*inputs)
        results = list(results) if isinstance(results, tuple) else [results]
        total = mx.array(0.0)
        for i, y in enumerate(results):
            total = total + (y.astype(mx.float32) * Numbers(5 + i).array(*y.shape)).sum()
        outputs[:] = results
        return total

    by_parameters, by_inputs = mx.grad(loss, argnums=[0, 1])(layer.trainable_parameters(), inputs)
    loss(layer.parameters(), inputs)
    return {
        "layer": name,
        "args": args,
        "inputs": [list(shape) for shape in shapes],
        "dtype": str(dtype).split(".")[-1],
        "outputs": [
            {
                "shape": list(y.shape),
                "dtype": str(dtype if y.dtype == computed else y.dtype).split(".")[-1],
                "values": flat(y),
            }
            for y in outputs
        ],
        # Python MLX gives gradients of a wrong shape where the output of a transposed convolution is padded beyond the
        # reach of its kernel; there the test has a reference of its own.
        "dx": [
            flat(gradient) if gradient.shape == x.shape else None for gradient, x in zip(by_inputs, inputs)
        ],
        "gradients": {
            path: flat(gradient) if gradient.shape == shapes_of(layer)[path] else None
            for path, gradient in tree_flatten(by_parameters)
        },
    }


def convolutions(dtype):
    def one(name, shape, **args):
        return case(name, lambda: getattr(nn, name)(**args), [shape], dtype, **args)

    base = {"in_channels": 2, "out_channels": 3}
    volume = (1, 3, 4, 3, 2)
    yield one("Conv3d", volume, **base, kernel_size=2)
    yield one("Conv3d", volume, **base, kernel_size=3, stride=2, padding=1)
    yield one("Conv3d", (2, 2, 3, 4, 2), **base, kernel_size=[1, 2, 3], stride=[1, 2, 1], padding=[0, 1, 1])
    yield one("Conv3d", volume, **base, kernel_size=2, dilation=2, bias=False)
    for kernel, stride, padding, dilation, output_padding in [
        (1, 1, 0, 1, 0), (2, 1, 0, 1, 0), (3, 2, 1, 1, 1), (3, 2, 0, 2, 0), (2, 3, 1, 1, 2),
    ]:
        args = {
            **base, "kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation,
            "output_padding": output_padding,
        }
        yield one("ConvTranspose1d", (2, 4, 2), **args)
        yield one("ConvTranspose2d", (1, 3, 2, 2), **args)
        if kernel < 3 or stride < 3:
            yield one("ConvTranspose3d", (1, 2, 1, 2, 2), **args)
    yield one("ConvTranspose1d", (1, 5, 2), **base, kernel_size=4, stride=2, bias=False)
    yield one("ConvTranspose2d", (2, 2, 3, 2), **base, kernel_size=[2, 3], stride=[2, 1], padding=[0, 1])
    yield one(
        "ConvTranspose3d", (1, 2, 2, 2, 2), **base, kernel_size=[1, 2, 3], stride=[1, 2, 3], output_padding=[0, 1, 1],
        bias=False,
    )


def recurrent(dtype):
    for bias, shape in itertools.product([True, False], [(2, 4, 3), (5, 3), (1, 1, 3)]):
        args = {"input_size": 3, "hidden_size": 4, "bias": bias}
        state = (*shape[:-2], 4)
        for name, n_states in [("RNN", 1), ("GRU", 1), ("LSTM", 2)]:
            make = lambda: getattr(nn, name)(**args)
            yield case(name, make, [shape], dtype, **args)
            yield case(name, make, [shape] + [state] * n_states, dtype, **args)
    args = {"input_size": 3, "hidden_size": 4}
    make = lambda: nn.RNN(**args, nonlinearity=nn.relu)
    yield case("RNN", make, [(2, 3, 3), (2, 4)], dtype, **args, nonlinearity="relu")


def masks(kind, length, dtype):
    return nn.MultiHeadAttention.create_additive_causal_mask(length, dtype) if kind == "causal" else None


def transformers(dtype):
    for mask, bias in [("none", False), ("causal", True)]:
        args = {"dims": 8, "num_heads": 2, "bias": bias}
        call = lambda layer, x: layer(x, x, x, masks(mask, 4, dtype))
        yield case("MultiHeadAttention", lambda: nn.MultiHeadAttention(**args), [(2, 4, 8)], dtype, call, **args, mask=mask)
    sizes = {
        "query_input_dims": 3, "key_input_dims": 5, "value_input_dims": 7, "value_dims": 4, "value_output_dims": 6,
    }
    for args in [sizes, {"key_input_dims": 5, "value_dims": 12}]:
        shapes = [(1, 3, args.get("query_input_dims", 8)), (1, 4, 5), (1, 4, args.get("value_input_dims", 5))]
        args = {"dims": 8, "num_heads": 2, **args}
        yield case("MultiHeadAttention", lambda: nn.MultiHeadAttention(**args), shapes, dtype, **args, mask="none")
    for norm_first, checkpoint, activation in [(True, False, "relu"), (False, False, "gelu"), (True, True, "relu")]:
        mask = "causal" if norm_first else "none"
        args = {"dims": 8, "num_heads": 2, "mlp_dims": 12, "norm_first": norm_first}
        kwargs = {**args, "activation": getattr(nn, activation)}
        told = {**args, "activation": activation, "mask": mask, "checkpoint": checkpoint}
        single = {"computed": mx.float32}
        encode = lambda layer, x: layer(x, masks(mask, 3, mx.float32))
        decode = lambda layer, x, memory: layer(x, memory, masks(mask, 3, mx.float32), None)
        both = lambda layer, x, y: layer(x, y, None, masks(mask, 3, mx.float32), None)
        one, two = [(1, 3, 8)], [(1, 3, 8), (1, 2, 8)]
        if not checkpoint:
            yield case("TransformerEncoderLayer", lambda: nn.TransformerEncoderLayer(**kwargs), one, dtype, encode, **single, **told)
            yield case("TransformerDecoderLayer", lambda: nn.TransformerDecoderLayer(**kwargs), two, dtype, decode, **single, **told)
        yield case("TransformerEncoder", lambda: nn.TransformerEncoder(2, **kwargs), one, dtype, encode, **single, **told)
        yield case("TransformerDecoder", lambda: nn.TransformerDecoder(1, **kwargs), two, dtype, decode, **single, **told)
        yield case(
            "Transformer", lambda: nn.Transformer(num_encoder_layers=1, num_decoder_layers=1, **kwargs),
            [(1, 2, 8), (1, 3, 8)], dtype, both, **single, **told,
        )


def positions(dtype):
    for args, offset in [
        ({"dims": 8}, 0), ({"dims": 4, "traditional": True}, 3), ({"dims": 8, "base": 100.0, "scale": 0.5}, 2),
    ]:
        call = lambda layer, x: layer(x, offset)
        yield case("RoPE", lambda: nn.RoPE(**args), [(2, 1, 3, 8)], dtype, call, **args, offset=offset)
    for args in [
        {"dims": 8}, {"dims": 2}, {"dims": 6, "cos_first": True, "scale": 1.0}, {"dims": 10, "full_turns": True},
        {"dims": 4, "min_freq": 0.01, "max_freq": 3.0, "scale": 0.5},
    ]:
        yield case(
            "SinusoidalPositionalEncoding", lambda: nn.SinusoidalPositionalEncoding(**args), [(2, 3)], dtype, **args
        )
    for heads, offset in [(1, 0), (2, 0), (3, 2), (4, 1), (12, 0)]:
        call = lambda layer, x: layer(x, offset)
        yield case("ALiBi", nn.ALiBi, [(1, heads, 2, 3)], dtype, call, offset=offset)
    call = lambda layer, x, mask: layer(x, 1, mask)
    yield case("ALiBi", nn.ALiBi, [(2, 2, 2, 3), (2, 3)], dtype, call, offset=1)


def upsampling(dtype):
    spaces = {1: (5,), 2: (3, 4), 3: (2, 3, 2)}
    for n, space in spaces.items():
        shape = (1, *space, 2)
        if n == 3 and dtype == mx.bfloat16:
            continue
        for scale in [2, 1.5, 0.5] + ([[2.0, 1.5], [0.7, 3]] if n == 2 else []):
            yield case("Upsample", lambda: nn.Upsample(scale), [shape], dtype, scale_factor=scale)
            for mode, align, antialias in itertools.product(["linear", "cubic"], [False, True], [False, True]):
                if align and antialias or n == 3 and scale != 1.5:
                    continue
                args = {"scale_factor": scale, "mode": mode, "align_corners": align, "antialias": antialias}
                yield case("Upsample", lambda: nn.Upsample(**args), [shape], dtype, **args)


def others(dtype):
    for bias, shapes in [(True, [(2, 3), (2, 4)]), (False, [(3,), (4,)]), (True, [(2, 2, 3), (2, 2, 4)])]:
        args = {"input1_dims": 3, "input2_dims": 4, "output_dims": 2, "bias": bias}
        if len(shapes[0]) == 1:
            # Python's formula wants an axis in front.
            call = lambda layer, a, b: layer(a[None], b[None])[0]
        else:
            call = None
        yield case("Bilinear", lambda: nn.Bilinear(**args), shapes, dtype, call, **args)
    drawn = mx.random.bernoulli
    mx.random.bernoulli = lambda p, shape: drawn(p, shape, key=mx.random.key(7))
    for name, shapes in [
        ("Dropout", [(3, 4)]), ("Dropout2d", [(2, 2, 3, 6), (2, 3, 6)]), ("Dropout3d", [(2, 1, 2, 2, 6), (1, 2, 2, 6)]),
    ]:
        for shape, p in itertools.product(shapes, [0.5, 0.25, 0.0]):
            yield case(name, lambda: getattr(nn, name)(p), [shape], dtype, p=p)
    mx.random.bernoulli = drawn


class Net(nn.Module):
    """A layer of each kind with parameters."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(2, 3, 2)
        self.transposed = [nn.ConvTranspose1d(2, 3, 2), nn.ConvTranspose2d(2, 3, 2), nn.ConvTranspose3d(2, 3, 2)]
        self.rnn = nn.RNN(3, 4)
        self.gru = nn.GRU(3, 4)
        self.lstm = nn.LSTM(3, 4)
        self.bilinear = nn.Bilinear(3, 4, 2)
        self.attention = nn.MultiHeadAttention(8, 2, key_input_dims=3, value_dims=4, bias=True)
        self.transformer = nn.Transformer(8, 2, 2, 1, 12)
        self.packed = nn.QuantizedLinear(64, 4)
        self.table = nn.QuantizedEmbedding(5, 32, group_size=32, bits=8)

    def outputs(self):
        numbers = lambda *shape: Numbers(11).array(*shape)
        hidden, cell = self.lstm(numbers(2, 4, 3))
        return {
            "conv": self.conv(numbers(1, 2, 3, 2, 2)),
            "transposed.0": self.transposed[0](numbers(1, 3, 2)),
            "transposed.1": self.transposed[1](numbers(1, 2, 3, 2)),
            "transposed.2": self.transposed[2](numbers(1, 2, 1, 2, 2)),
            "rnn": self.rnn(numbers(2, 4, 3)),
            "gru": self.gru(numbers(2, 4, 3)),
            "hidden": hidden,
            "cell": cell,
            "bilinear": self.bilinear(numbers(2, 3), numbers(2, 4)),
            "attention": self.attention(numbers(1, 2, 8), numbers(1, 3, 3), numbers(1, 3, 3)),
            "transformer": self.transformer(numbers(1, 3, 8), numbers(1, 2, 8), None, None, None),
            "packed": self.packed(numbers(2, 64)),
            "table": self.table(mx.array([3, 0])),
        }


if __name__ == "__main__":
    mx.set_default_device(mx.cpu)
    families = [convolutions, recurrent, transformers, positions, upsampling, others]
    made = [one for dtype in (mx.float32, mx.bfloat16) for family in families for one in family(dtype)]
    lines = ",\n".join(json.dumps(one) for one in made)
    (FOLDER / "sequence_layers.json").write_text("[\n" + lines + "\n]\n")
    mx.random.seed(3)
    net = Net()
    net.save_weights(str(FOLDER / "python_weights.safetensors"))
    outputs = {name: flat(y) for name, y in net.outputs().items()}
    (FOLDER / "python_weights.json").write_text(json.dumps(outputs) + "\n")

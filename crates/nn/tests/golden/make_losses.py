"""Writes values and gradients of Python MLX's losses, of several shapes and options: losses.json.

Run with the pinned version of MLX for Python: python make_losses.py
"""

import json
import pathlib

import mlx.core as mx
import mlx.nn.losses as losses

from make_optimizers import flat
from make_training import Numbers

# What the arrays of a case are: whole numbers over 64, made positive, -1 and 1, 0 and 1, classes, probabilities of
# the last axis, their logarithms.
MADE = {
    "plain": lambda x: x,
    "positive": lambda x: mx.abs(x) + 0.25,
    "sign": lambda x: mx.where(x < 0, -1, 1),
    "binary": lambda x: mx.where(x < 0, 0, 1),
    "class": lambda x: (mx.abs(x) * 2).astype(mx.int32) % 4,
    "chance": lambda x: mx.softmax(x, axis=-1),
    "log": lambda x: x - mx.logsumexp(x, axis=-1, keepdims=True),
}


def cases():
    two = [(3, 4), (3, 4)]
    high = [(2, 3, 4), (2, 3, 4)]
    pairs = ["plain", "plain"]
    yield "cross_entropy", losses.cross_entropy, ["plain", "class"], [(3, 4), (3,)], {}
    yield "cross_entropy", losses.cross_entropy, ["plain", "class"], [(2, 4, 3), (2, 3)], {"axis": 1, "reduction": "mean"}
    yield "cross_entropy", losses.cross_entropy, ["plain", "chance"], two, {"label_smoothing": 0.1, "reduction": "sum"}
    yield "binary_cross_entropy", losses.binary_cross_entropy, ["plain", "binary"], two, {}
    yield "binary_cross_entropy", losses.binary_cross_entropy, ["chance", "binary"], two, {
        "with_logits": False,
        "reduction": "none",
    }
    for name in ("l1_loss", "mse_loss", "smooth_l1_loss", "huber_loss", "log_cosh_loss"):
        loss = getattr(losses, name)
        yield name, loss, pairs, two, {}
        yield name, loss, pairs, [(5,), (5,)], {"reduction": "sum"}
    yield "smooth_l1_loss", losses.smooth_l1_loss, pairs, high, {"beta": 0.5, "reduction": "none"}
    yield "huber_loss", losses.huber_loss, pairs, high, {"delta": 0.75, "reduction": "mean"}
    yield "log_cosh_loss", losses.log_cosh_loss, pairs, high, {"reduction": "mean"}
    yield "hinge_loss", losses.hinge_loss, ["plain", "sign"], two, {}
    yield "hinge_loss", losses.hinge_loss, ["plain", "sign"], high, {"reduction": "mean"}
    yield "nll_loss", losses.nll_loss, ["log", "class"], [(3, 4), (3,)], {}
    yield "nll_loss", losses.nll_loss, ["log", "class"], [(2, 4, 3), (2, 3)], {"axis": 1, "reduction": "mean"}
    yield "kl_div_loss", losses.kl_div_loss, ["log", "log"], two, {}
    yield "kl_div_loss", losses.kl_div_loss, ["log", "log"], high, {"axis": 1, "reduction": "sum"}
    gaussian = ["plain", "plain", "positive"]
    yield "gaussian_nll_loss", losses.gaussian_nll_loss, gaussian, [(3, 4)] * 3, {}
    yield "gaussian_nll_loss", losses.gaussian_nll_loss, gaussian, [(2, 3, 4)] * 3, {
        "full": True,
        "eps": 0.5,
        "reduction": "none",
    }
    triple = ["plain"] * 3
    yield "triplet_loss", losses.triplet_loss, triple, [(3, 4)] * 3, {}
    yield "triplet_loss", losses.triplet_loss, triple, [(2, 3, 4)] * 3, {
        "axis": 1,
        "p": 3,
        "margin": 2.0,
        "eps": 1e-3,
        "reduction": "mean",
    }
    yield "cosine_similarity_loss", losses.cosine_similarity_loss, pairs, two, {}
    yield "cosine_similarity_loss", losses.cosine_similarity_loss, pairs, high, {
        "axis": 2,
        "eps": 4.0,
        "reduction": "sum",
    }
    yield "margin_ranking_loss", losses.margin_ranking_loss, ["plain", "plain", "sign"], [(3, 4)] * 3, {}
    yield "margin_ranking_loss", losses.margin_ranking_loss, ["plain", "plain", "sign"], [(7,)] * 3, {
        "margin": 0.5,
        "reduction": "mean",
    }


def made(kinds, shapes, dtype):
    numbers = Numbers(11)
    arrays = []
    for kind, shape in zip(kinds, shapes):
        array = MADE[kind](numbers.array(*shape))
        arrays.append(array.astype(dtype) if mx.issubdtype(array.dtype, mx.floating) else array)
    return arrays


def case(name, loss, kinds, shapes, options, dtype):
    arrays = made(kinds, shapes, dtype)
    cotangent = Numbers(5)

    def weighed(*arrays):
        value = loss(*arrays, **options)
        return (value.astype(mx.float32) * cotangent.array(*value.shape)).sum(), value

    floats = [index for index, array in enumerate(arrays) if mx.issubdtype(array.dtype, mx.floating)]
    (_, value), gradients = mx.value_and_grad(weighed, argnums=floats)(*arrays)
    # By one argument it is no list.
    gradients = [gradients] if isinstance(gradients, mx.array) else gradients
    return {
        "name": name,
        "dtype": str(dtype).split(".")[-1],
        "kinds": kinds,
        "shapes": shapes,
        "options": options,
        "value_shape": value.shape,
        "value": flat(value),
        "gradients": [flat(gradient) for gradient in gradients],
    }


def main():
    mx.set_default_device(mx.cpu)
    lines = [json.dumps(case(*one, dtype)) for dtype in (mx.float32, mx.bfloat16) for one in cases()]
    path = pathlib.Path(__file__).with_name("losses.json")
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()

"""Writes the first twenty steps of Python MLX's optimizers on parameters of several shapes: optimizers.json.

Run with the pinned version of MLX for Python: python make_optimizers.py
"""

import json
import pathlib

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_unflatten

from make_training import Numbers

STEPS = 20
KEPT = (0, 1, 4, 19)
SHAPES = {
    "conv.weight": (2, 2, 2, 3),
    "layers.0.bias": (3,),
    "layers.0.weight": (4, 3),
    "layers.1.weight": (2, 5),
    "scale": (),
}


def flat(array):
    return [float(f"{value:.9g}") for value in array.astype(mx.float32).flatten().tolist()]


def is_matrix(name, weight):
    return weight.ndim == 2


def is_bias(name, weight):
    return name.endswith("bias")


def optimizers():
    warm = optim.join_schedules([optim.linear_schedule(0.0, 0.1, 5), optim.cosine_decay(0.1, 12)], [5])
    decay = optim.exponential_decay(0.1, 0.9)
    return {
        "rmsprop": optim.RMSprop(0.01),
        "rmsprop options": optim.RMSprop(warm, alpha=0.8, eps=1e-3),
        "adagrad": optim.Adagrad(0.1),
        "adagrad options": optim.Adagrad(decay, eps=1e-2),
        "adadelta": optim.AdaDelta(1.0),
        "adadelta options": optim.AdaDelta(warm, rho=0.7, eps=1e-3),
        "adamax": optim.Adamax(0.01),
        "adamax options": optim.Adamax(decay, betas=[0.8, 0.95], eps=1e-3),
        "adafactor": optim.Adafactor(),
        "adafactor warm-up": optim.Adafactor(warmup_init=True, beta_1=0.9, weight_decay=0.1),
        "adafactor fixed": optim.Adafactor(0.05, relative_step=False, scale_parameter=False),
        "adafactor options": optim.Adafactor(
            warm, eps=(1e-8, 1e-2), clip_threshold=0.5, decay_rate=-0.6, beta_1=0.5, relative_step=False
        ),
        "muon": optim.Muon(0.02),
        "muon options": optim.Muon(decay, momentum=0.8, weight_decay=0.0, nesterov=False, ns_steps=3),
        "multi": optim.MultiOptimizer([optim.Muon(0.02), optim.AdamW(warm)], [is_matrix]),
        "multi of three": optim.MultiOptimizer(
            [optim.SGD(0.1, momentum=0.9), optim.Adafactor(), optim.Lion(0.01)], [is_bias, is_matrix]
        ),
        "sgd": optim.SGD(warm, momentum=0.9, weight_decay=0.1),
        "adamw": optim.AdamW(decay, betas=[0.8, 0.95], eps=1e-6, weight_decay=0.1, bias_correction=True),
        "lion": optim.Lion(warm, betas=[0.8, 0.9], weight_decay=0.1),
    }


def draw(numbers, dtype):
    return tree_unflatten([(name, numbers.array(*shape).astype(dtype)) for name, shape in SHAPES.items()])


def steps(optimizer, dtype):
    numbers = Numbers(7)
    parameters = draw(numbers, dtype)
    kept = {}
    for step in range(STEPS):
        parameters = optimizer.apply_gradients(draw(numbers, dtype), parameters)
        mx.eval(parameters, optimizer.state)
        if step in KEPT:
            kept[step] = {name: flat(array) for name, array in tree_flatten(parameters)}
    # An optimizer of several numbers its states; one that is given nothing has no arrays of parameters.
    state = {name: flat(array) for name, array in tree_flatten(optimizer.state) if isinstance(array, mx.array)}
    return {"steps": kept, "state": state}


def main():
    mx.set_default_device(mx.cpu)
    lines = []
    for dtype in (mx.float32, mx.bfloat16):
        for name, optimizer in optimizers().items():
            case = {"name": name, "dtype": str(dtype).split(".")[-1], **steps(optimizer, dtype)}
            lines.append(json.dumps(case))
    path = pathlib.Path(__file__).with_name("optimizers.json")
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()

"""Writes what Python MLX makes of schedules and the first steps of its optimizers: training.json.

Run with the pinned version of MLX for Python: python make_training.py
"""

import json
import pathlib

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_flatten

STEPS = 20


class Numbers:
    """Whole numbers over 64: exact in every dtype that is used here."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state * 1103515245 + 12345) % 2**31
        return ((self.state >> 16) % 257 - 128) / 64

    def array(self, *shape):
        size = 1
        for n in shape:
            size *= n
        return mx.array([self.next() for _ in range(size)]).reshape(shape)


def flat(array):
    return array.astype(mx.float32).flatten().tolist()


def optimizers():
    cosine = optim.cosine_decay(0.1, 15, 0.01)
    warm = optim.join_schedules([optim.linear_schedule(0.0, 0.1, 5), optim.cosine_decay(0.1, 12)], [5])
    return {
        "sgd": optim.SGD(0.1),
        "sgd_momentum": optim.SGD(0.1, momentum=0.9),
        "sgd_dampening": optim.SGD(0.1, momentum=0.9, dampening=0.25, weight_decay=0.01),
        "sgd_nesterov": optim.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.05),
        "sgd_cosine": optim.SGD(cosine, momentum=0.5),
        "adam": optim.Adam(0.01),
        "adam_corrected": optim.Adam(0.01, betas=[0.8, 0.95], eps=1e-6, bias_correction=True),
        "adam_warm": optim.Adam(warm, bias_correction=True),
        "adamw": optim.AdamW(0.01, weight_decay=0.1),
        "adamw_corrected": optim.AdamW(0.02, bias_correction=True),
        "lion": optim.Lion(0.01),
        "lion_decay": optim.Lion(0.01, betas=[0.8, 0.9], weight_decay=0.2),
    }


def steps(optimizer, dtype):
    numbers = Numbers(7)
    parameters = {
        "weight": numbers.array(3, 2).astype(dtype),
        "bias": numbers.array(2).astype(dtype),
    }
    rows = []
    for _ in range(STEPS):
        gradients = {
            "weight": numbers.array(3, 2).astype(dtype),
            "bias": numbers.array(2).astype(dtype),
        }
        parameters = optimizer.apply_gradients(gradients, parameters)
        mx.eval(parameters, optimizer.state)
        rows.append(flat(parameters["weight"]) + flat(parameters["bias"]))
    state = {name: flat(array) for name, array in tree_flatten(optimizer.state)}
    return {"steps": rows, "state": state}


def schedules():
    made = {
        "exponential": optim.exponential_decay(0.1, 0.9),
        "step": optim.step_decay(0.1, 0.5, 7),
        "cosine": optim.cosine_decay(0.1, 30, 0.02),
        "linear": optim.linear_schedule(0.2, 0.05, 25),
        "join": optim.join_schedules(
            [optim.linear_schedule(0.0, 0.1, 8), optim.cosine_decay(0.1, 20), optim.exponential_decay(0.03, 0.8)],
            [8, 28],
        ),
    }
    return {name: [make(mx.array(k, mx.uint64)).item() for k in range(40)] for name, make in made.items()}


def clipped():
    numbers = Numbers(13)
    gradients = {"a": numbers.array(3, 2), "b": numbers.array(4)}
    made = {}
    for name, limit in (("tight", 0.5), ("loose", 100.0)):
        kept, norm = optim.clip_grad_norm(gradients, limit)
        made[name] = flat(kept["a"]) + flat(kept["b"]) + flat(norm)
    return made


def main():
    golden = {
        "mlx": mx.__version__,
        "optimizers": {name: steps(optimizer, mx.float32) for name, optimizer in optimizers().items()},
        "bfloat16": {
            name: steps(optimizer, mx.bfloat16)
            for name, optimizer in optimizers().items()
            if name in ("sgd_nesterov", "adam_corrected", "adamw", "lion_decay")
        },
        "schedules": schedules(),
        "clipped": clipped(),
    }
    path = pathlib.Path(__file__).with_name("training.json")
    lines = [f'"{key}": {json.dumps(value)}' for key, value in golden.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()

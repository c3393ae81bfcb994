"""Writes the public names of Python MLX's nn and optimizers: names.json.

Run with the pinned version of MLX for Python: python make_names.py
"""

import inspect
import json
import pathlib

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim


def public(module):
    """Names of a module's own things: no modules, and nothing of `typing`."""
    own = lambda thing: getattr(thing, "__module__", "").startswith("mlx")
    names = (name for name in dir(module) if not name.startswith("_") and own(getattr(module, name)))
    return {name: getattr(module, name) for name in names}


def main():
    names = {
        "layers": [name for name, thing in public(nn).items() if inspect.isclass(thing)],
        "functions": [name for name, thing in public(nn).items() if not inspect.isclass(thing)],
        "losses": [name for name in public(nn.losses)],
        "init": [name for name in public(nn.init)],
        "optimizers": [name for name in public(optim)],
    }
    path = pathlib.Path(__file__).with_name("names.json")
    lines = [f'"mlx": "{mx.__version__}"'] + [f'"{kind}": {json.dumps(sorted(one))}' for kind, one in names.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()

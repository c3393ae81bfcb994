"""Makes index.jsonl: what NumPy and Python MLX give for indices of all kinds. Needs mlx==0.32.2 and numpy.

Each line is [what, shape, index, value shape, result shape, result]. The array indexed is 0, 1, 2, .. of int32 in
`shape` (for "divide" float32, and 1 larger); the value is 3, 4, 5, .. (for "divide" 1, 2, 4, 8, 1, 2, ..).
In an index, a number is itself, [start, stop, step] a slice, "new" and "..." are themselves, {"a": list} is an
array of positions and {"m": list} a mask.

NumPy decides. Python MLX must agree, except in the cases counted at the end: it refuses some updates, places the
axes of index arrays differently round an ellipsis of no axes, and reads or writes out of bounds when a slice beside
an index array reaches beyond its axis, of which it dies. So it runs in a child process.
"""

import json
import random
import subprocess
import sys

import mlx.core as mx
import numpy as np

OPS = {
    "set": None,
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
}
rng = random.Random(7)


def part(p, module):
    if isinstance(p, list):
        return slice(*p)
    if p == "new":
        return None
    if p == "...":
        return Ellipsis
    if isinstance(p, dict):
        if "m" in p:
            return module.array(p["m"], dtype=np.bool_ if module is np else mx.bool_)
        return module.array(p["a"], dtype=np.int32 if module is np else mx.int32)
    return p


def full(index, module):
    parts = tuple(part(p, module) for p in index)
    # Python MLX knows a mask only when it is not in a tuple.
    return parts[0] if len(parts) == 1 and isinstance(index[0], dict) else parts


def source(what, shape):
    n = int(np.prod(shape))
    x = np.arange(n, dtype=np.float32 if what == "divide" else np.int32).reshape(shape)
    return x + 1 if what == "divide" else x


def value(what, shape):
    n = int(np.prod(shape))
    if what == "divide":
        return (2.0 ** (np.arange(n) % 4)).astype(np.float32).reshape(shape)
    return np.arange(3, 3 + n, dtype=np.int32).reshape(shape)


def by_numpy(what, shape, index, value_shape):
    x = source(what, shape)
    i = full(index, np)
    if what == "read":
        return x[i]
    v = value(what, value_shape)
    if what == "set":
        x[i] = v
    else:
        # Broadcast here: NumPy 2.4's ufunc.at leaves out some of a broadcast value for an index of two axes.
        OPS[what].at(x, i, np.broadcast_to(v, x[i].shape).copy())
    return x


def by_mlx(what, shape, index, value_shape):
    x = mx.array(source(what, shape))
    i = full(index, mx)
    if what == "read":
        return np.array(x[i])
    v = mx.array(value(what, value_shape))
    if what == "set":
        x[i] = v
        return np.array(x)
    return np.array(getattr(x.at[i], what)(v))


def random_slice(n):
    if rng.random() < 0.3:
        return [None, None, None]
    ends = [None, *range(-n - 2, n + 3)]
    step = rng.choice([None, 1, 1, 2, 3, -1, -1, -2])
    return [rng.choice(ends), rng.choice(ends), step]


def positions(n, shape):
    return rng.choices(range(-n, n), k=1)[0] if not shape else [positions(n, shape[1:]) for _ in range(shape[0])]


def random_index(shape, n_arrays):
    blocks = rng.choice([[[2]], [[3], [1], [2, 1]], [[2, 2], [2]], [[], [2]]])
    kinds = ["array"] * n_arrays
    while len(kinds) < len(shape) and rng.random() < 0.85:
        kinds.append(rng.choice(["at", "slice", "slice"]))
    rng.shuffle(kinds)
    index, axis = [], 0
    ellipsis = rng.randrange(len(kinds) + 1) if rng.random() < 0.3 else None
    for k, kind in enumerate(kinds):
        if k == ellipsis:
            index.append("...")
            axis += len(shape) - len(kinds)
        if rng.random() < 0.15:
            index.append("new")
        n = shape[axis]
        axis += 1
        if kind == "at":
            index.append(rng.randrange(-n, n))
        elif kind == "slice":
            index.append(random_slice(n))
        else:
            index.append({"a": positions(n, rng.choice(blocks))})
    return index


def random_value_shape(shape):
    keep = [1 if rng.random() < 0.3 else n for n in shape]
    return keep[rng.randrange(len(keep) + 1) :] if rng.random() < 0.4 else keep


def cases():
    shapes = [[5], [3, 4], [2, 3, 4], [2, 3, 2, 2]]
    for _ in range(110):
        shape = rng.choice(shapes)
        n_arrays = min(len(shape), rng.choice([0, 0, 1, 1, 2, 3]))
        yield "read", shape, random_index(shape, n_arrays), []
    for shape in [[3, 4]]:
        for index in [[], ["..."], ["new", "...", "new"], [[None, None, -1], [None, None, -2]], [-1, -1], [[2, 0, -1]]]:
            yield "read", shape, index, []
    for _ in range(150):
        shape = rng.choice(shapes[:3])
        n_arrays = min(len(shape), rng.choice([0, 0, 1, 1, 2]))
        index = random_index(shape, n_arrays)
        result = np.zeros(shape)[full(index, np)].shape
        yield rng.choice(list(OPS)), shape, index, random_value_shape(result)
    for _ in range(30):
        shape = rng.choice(shapes[:3])
        mask = np.array([rng.random() < 0.5 for _ in range(int(np.prod(shape)))]).reshape(shape)
        mask = mask[(..., *[0] * rng.randrange(len(shape)))] if len(shape) > 1 else mask
        count, rest = int(mask.sum()), list(shape[mask.ndim :])
        value_shape = rng.choice([[], rest, [1, *rest], [count, *rest]])
        yield rng.choice(["set", "set", *OPS]), shape, [{"m": mask.tolist()}], value_shape


def child():
    for line in sys.stdin:
        try:
            result = by_mlx(*json.loads(line)).tolist()
        except (ValueError, RuntimeError, IndexError):
            result = None
        print(json.dumps(result), flush=True)


class Mlx:
    """Python MLX in a process that may die."""

    process = None

    def result(self, case):
        if self.process is None or self.process.poll() is not None:
            command = [sys.executable, __file__, "child"]
            self.process = subprocess.Popen(command, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, text=True)
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
        return json.loads(line) if line else "died"


def main():
    lines, mlx, differ = [], Mlx(), {"refused": 0, "died": 0, "other result": 0}
    for case in cases():
        try:
            want = by_numpy(*case)
        except IndexError:
            continue  # Index arrays that do not broadcast together.
        got = mlx.result(case)
        if got is None or got == "died":
            differ["refused" if got is None else "died"] += 1
        elif got != want.tolist():
            differ["other result"] += 1
            if "-v" in sys.argv:
                print(case)
        line = [*case, list(want.shape), [int(n) if n == int(n) else n for n in want.flatten().tolist()]]
        lines.append(json.dumps(line, separators=(",", ":")))
    with open(__file__.replace("make_index.py", "index.jsonl"), "w") as file:
        file.write("\n".join(lines) + "\n")
    print(len(lines), "cases; of Python MLX:", differ)


child() if "child" in sys.argv else main()

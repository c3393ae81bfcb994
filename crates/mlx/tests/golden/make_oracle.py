"""Makes oracle/*.jsonl: what Python MLX answers for every operation of the table, on small inputs with edge values.

Run with Python MLX of the pinned version on its CPU, NumPy and SciPy: `python make_oracle.py`, beside the folder
`oracle`.

Each line is one case: `{"op": name, "attrs": {..}, "in": [arrays], "out": [arrays]}`, or `"error": true` in place of
`out` when MLX refuses. Attributes are those of the Rust table. An array is a text, `dtype[shape] values`:

- `float32[2,2] 1 2.5 nan -0`: all elements in row-major order, complex ones as `re_im`;
- `float32[8,9] ~7`: element k is `((7 * k) % 23 - 11) / 8`, without the division for integers and without the
  subtraction for unsigned ones, odd numbers for bool;
- `float32[8,9] @13 1 2.5 ..`: only elements 0, 13, 26, ..

Where Python MLX is wrong (docs/upstream.md), `RIGHT` has what NumPy or SciPy gives instead.

The cases are in oracle/*.py, one file for each family; `calls` says how an operation is called in Python.
"""

import importlib
import json
import math
import os
import sys

import mlx.core as mx
import numpy as np
import scipy.special as special

mx.set_default_device(mx.cpu)
HERE = os.path.dirname(os.path.abspath(__file__))
FAMILIES = ["elementwise", "axes", "products", "shapes", "numeric"]
# Longer results are thinned out.
LONGEST = 80


def dtype_name(dtype):
    return str(dtype).split(".")[-1].rstrip("_")


def dtype_of(name):
    return mx.bool_ if name == "bool" else getattr(mx, name)


def number(x):
    """The shortest text that reads back as this element."""
    if isinstance(x, (bool, np.bool_)):
        return str(bool(x)).lower()
    if isinstance(x, (int, np.integer)):
        return str(int(x))
    if isinstance(x, (complex, np.complexfloating)):
        return number(np.float32(x.real)) + "_" + number(np.float32(x.imag))
    if math.isnan(x):
        return "nan"
    text = str(x)
    return text[:-2] if text.endswith(".0") else text


def elements(a):
    if a.dtype in (mx.float16, mx.bfloat16):
        a = a.astype(mx.float32)
    return np.array(a).reshape(-1)


def text(a):
    head = f"{dtype_name(a.dtype)}[{','.join(map(str, a.shape))}]"
    values = elements(a)
    if len(values) > LONGEST:
        step = len(values) // LONGEST * 2 + 1
        return head + f" @{step} " + " ".join(number(x) for x in values[::step])
    return " ".join([head, *(number(x) for x in values)])


class Input:
    """An array and the text that stands for it."""

    def __init__(self, dtype, shape, values):
        self.text = f"{dtype}[{','.join(map(str, shape))}]"
        n = math.prod(shape)
        if isinstance(values, int):
            self.text += f" ~{values}"
            raw = (np.arange(n, dtype=np.int64) * values) % 23
            if dtype == "bool":
                data = raw % 2 == 1
            elif dtype.startswith("u"):
                data = raw
            elif "int" in dtype:
                data = raw - 11
            else:
                data = (raw - 11) / 8
        else:
            data = list(values)
            assert len(data) == n, (dtype, shape, values)
            self.text = " ".join([self.text, *(v if isinstance(v, str) else number(v) for v in data)])
            data = [self.parse(v) if isinstance(v, str) else v for v in data]
        kind = {"float64": np.float64, "complex64": np.complex64, "bool": np.bool_}.get(dtype)
        if kind is None:
            kind = np.float32 if "float" in dtype else np.dtype(dtype).type
        array = np.array(data, dtype=kind).reshape(shape)
        if dtype == "float64":
            self.array = mx.array(array.tolist(), dtype=mx.float64) if n else mx.zeros(shape, mx.float64)
            self.array = self.array.reshape(shape)
        else:
            self.array = mx.array(array).astype(dtype_of(dtype))
        assert self.array.shape == tuple(shape) and dtype_name(self.array.dtype) == dtype

    @staticmethod
    def parse(word):
        if "_" in word:
            re, im = word.split("_")
            return complex(float(re), float(im))
        return float(word)


def A(dtype, shape, values=7):
    """An input: `values` are its elements, or the multiplier of the `~` form."""
    return Input(dtype, shape, values)


def attribute(value):
    if isinstance(value, mx.Dtype):
        return dtype_name(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (tuple, list)):
        return list(value)
    return value


def log_cumulative_sum_exp(x, axis=-1, reverse=False, inclusive=True):
    x = np.flip(x, axis) if reverse else x
    sums = np.logaddexp.accumulate(x, axis)
    if not inclusive:
        first = np.full_like(np.take(x, [0], axis), -np.inf)
        sums = np.concatenate([first, np.delete(sums, -1, axis)], axis)
    return np.flip(sums, axis).copy() if reverse else sums


def axes_of(x, axes):
    return tuple(axes) if axes else tuple(range(x.ndim))


# What MLX gets wrong for NaN and infinity.
OF_FLOATS = {
    "sign": lambda x: [np.sign(x)],
    "floor_divide": lambda a, b: [np.floor_divide(a, b)],
    "divmod": lambda a, b: [np.floor_divide(a, b), None],
}
# What MLX computes in float32.
OF_DOUBLES = {
    "exp": lambda x: [np.exp(x)],
    "sin": lambda x: [np.sin(x)],
    "cos": lambda x: [np.cos(x)],
    "sigmoid": lambda x: [special.expit(x)],
    "erf": lambda x: [special.erf(x)],
    "erfinv": lambda x: [special.erfinv(x)],
    "logaddexp": lambda a, b: [np.logaddexp(a, b)],
    "logsumexp": lambda x, axes=(), keepdims=False: [special.logsumexp(x, axes_of(x, axes), keepdims=keepdims)],
    "softmax": lambda x, axes=(), precise=False: [special.softmax(x, axes_of(x, axes))],
    "logcumsumexp": lambda x, **attrs: [log_cumulative_sum_exp(x, **attrs)],
}


def right(op, inputs, attrs, out):
    """The outputs of NumPy and SciPy where those of MLX are wrong."""
    floats = [mx.float16, mx.bfloat16, mx.float32, mx.float64]
    if op in OF_FLOATS and all(o.dtype in floats for o in out):
        function = OF_FLOATS[op]
    elif op in OF_DOUBLES and out[0].dtype == mx.float64:
        function = OF_DOUBLES[op]
    else:
        return out
    wide = mx.float64 if out[0].dtype == mx.float64 else mx.float32
    with np.errstate(all="ignore"):
        results = function(*[np.array(i.array.astype(wide)) for i in inputs], **attrs)
    # `mx.array` would make single precision of doubles.
    kind = np.float64 if wide == mx.float64 else np.float32
    return [
        o if r is None else mx.array(np.ascontiguousarray(r, kind).reshape(np.shape(r)), wide).astype(o.dtype) for r, o in zip(results, out)
    ]


def lines(family):
    calls, cases = family.CALLS, family.cases()
    for op, attrs, inputs in cases:
        entry = {"op": op, "attrs": {k: attribute(v) for k, v in attrs.items()}, "in": [i.text for i in inputs]}
        try:
            out = calls[op](*[i.array for i in inputs], **attrs)
            out = list(out) if isinstance(out, (tuple, list)) else [out]
            mx.eval(out)
            out = right(op, inputs, attrs, out)
            entry["out"] = [text(o) for o in out]
        except (ValueError, RuntimeError, IndexError, OverflowError) as error:
            if os.environ.get("SHOW"):
                print(op, attrs, [i.text[:40] for i in inputs], error, file=sys.stderr)
            entry["error"] = True
        yield json.dumps(entry, separators=(",", ":"))


if __name__ == "__main__":
    # The cases import this file by its name.
    sys.modules["make_oracle"] = sys.modules["__main__"]
    sys.path.insert(0, os.path.join(HERE, "oracle"))
    sys.dont_write_bytecode = True
    for name in FAMILIES:
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        family = importlib.import_module(name)
        with open(os.path.join(HERE, "oracle", name + ".jsonl"), "w") as file:
            for line in lines(family):
                file.write(line + "\n")

"""Makes display.jsonl: how NumPy prints arrays. Needs numpy.

Each line is [dtype, shape, values, text]: values are text that Rust parses, bfloat16 is printed as float32 with
numbers that bfloat16 holds and that print alike, and text is NumPy's repr without `array(` and `, dtype=..)`.
"""

import json
import re

import numpy as np

nan, inf = np.nan, np.inf
CASES = [
    ("float32", [1.0, 2.5, -3.25]),
    ("float32", 3.0),
    ("float32", -0.0),
    ("float32", [0.0, -0.0]),
    ("float32", [0.1, 0.2, 1 / 3]),
    ("float32", [1e8, 1.0]),
    ("float32", [99999999.0, 1.0]),
    ("float32", [1e-5, 1.0]),
    ("float32", [0.0001, 0.05]),
    ("float32", [0.001, 1.0001]),
    ("float32", [1.0, 1000.0, 0.5]),
    ("float32", [1234567.0, -2345.678, 1e-3]),
    ("float32", [1e-38, 1e38, -1e-45]),
    ("float32", [9.9999999e-9, 123456.789]),
    ("float32", [nan, 1.0, inf]),
    ("float32", [nan, -inf]),
    ("float32", [-inf, 1.5]),
    ("float32", nan),
    ("float32", [inf, 1e-7]),
    ("float32", [[1.0, 2.0], [30.5, -4.0]]),
    ("float32", [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]),
    ("float32", []),
    ("float32", [0.30000001192092896, 16777216.0]),
    ("float32", (np.arange(40) / 7).tolist()),
    ("float64", [1 / 3, 2 / 3]),
    ("float64", [1e-300, 1e300]),
    ("float64", [123456789.123456789, 1.0]),
    ("float64", [12345678.123456789, 1e5 / 3]),
    ("float64", [0.1234567891234, 100.0]),
    ("float64", [2.0**-27, 1.0]),
    ("float64", [0.125, 0.999999995, 5e-3]),
    ("float16", [0.1, 1 / 3, 65504.0]),
    ("float16", [6e-8, 1.0, 1000.0]),
    ("float16", [0.1, 0.2, -0.3]),
    ("bfloat16", [1.5, -2.0, 0.25]),
    ("bool", [True, False]),
    ("bool", True),
    ("bool", [[True], [False]]),
    ("int32", [1, -20, 300]),
    ("int32", -5),
    ("uint8", [[0, 255], [7, 10]]),
    ("int64", [-(2**63), 2**63 - 1]),
    ("uint64", [2**64 - 1, 0]),
    ("int32", list(range(100))),
    ("int32", np.arange(60).reshape(2, 30).tolist()),
    ("int32", np.arange(1001).tolist()),
    ("int32", np.arange(1000).tolist()),
    ("int32", np.arange(1200).reshape(4, 300).tolist()),
    ("float32", (np.arange(1400) / 10).reshape(7, 2, 100).tolist()),
    ("int32", np.arange(1050).reshape(350, 3).tolist()),
    ("complex64", [1 + 2j, -3.5 - 0.25j]),
    ("complex64", 1j),
    ("complex64", [complex(nan, 1), complex(1, -inf)]),
    ("complex64", [1e-5 + 1j, 1 - 1e9j]),
    ("complex64", [0, -0.0]),
]


def text_of(value, dtype):
    if dtype == "complex64":
        return f"{value.real!r} {value.imag!r}"
    return str(value).lower() if dtype == "bool" else str(value)


def body(array):
    text = np.array_repr(array)
    text = re.sub(r",\s+(shape=\([^)]*\))?,?\s*dtype=\w+\)$", ")", text)
    text = re.sub(r",\s+shape=\([^)]*\)\)$", ")", text)
    return text.removeprefix("array(").removesuffix(")")


lines = []
for dtype, values in CASES:
    array = np.array(values, dtype="float32" if dtype == "bfloat16" else dtype)
    if array.ndim and array.size > 300:
        words = f"0..{array.size}" + ("/10" if dtype == "float32" else "")
    else:
        words = " ".join(text_of(v, dtype) for v in array.flatten().tolist())
    lines.append(json.dumps([dtype, list(array.shape), words, body(array)]))
with open(__file__.replace("make_display.py", "display.jsonl"), "w") as file:
    file.write("\n".join(lines) + "\n")

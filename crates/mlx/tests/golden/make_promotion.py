"""Makes promotion.json: the dtype Python MLX gives for every pair of dtypes, and for arrays beside plain numbers.

Run with Python MLX of the pinned version on its CPU: `python make_promotion.py > promotion.json`.

`dtypes` names the fourteen dtypes in MLX's order. `pairs` has for each operation a line for each left dtype, with the
result's dtype for each right dtype; "-" is an error. `numbers` has for each operation (a leading `r` swaps the sides)
and each number a line with the result of applying it to the array [0, 1, 3] of each dtype, as `dtype:values`, complex ones as `re_im`.
"""

import json

import mlx.core as mx

mx.set_default_device(mx.cpu)
NAMES = "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 float32 float64 bfloat16 complex64".split()
DTYPES = [mx.bool_ if name == "bool" else getattr(mx, name) for name in NAMES]


def name(dtype):
    return str(dtype).split(".")[-1].rstrip("_")


def outcome(function):
    try:
        result = function()
        result = result[0] if isinstance(result, (list, tuple)) else result
        mx.eval(result)
        return result
    except Exception:
        return None


PAIRS = {
    op: getattr(mx, op)
    for op in (
        "add subtract multiply divide floor_divide remainder divmod power maximum minimum logaddexp arctan2 equal "
        "less logical_and logical_xor bitwise_and left_shift right_shift matmul inner outer kron isclose array_equal"
    ).split()
}
PAIRS["where"] = lambda a, b: mx.where(mx.array([[True, False], [False, True]]), a, b)
PAIRS["concatenate"] = lambda a, b: mx.concatenate([a, b])
PAIRS["searchsorted"] = lambda a, b: mx.searchsorted(a.flatten(), b)
PAIRS["tensordot"] = lambda a, b: mx.tensordot(a, b, 1)
PAIRS["addmm"] = lambda a, b: mx.addmm(a, b, b)
PAIRS["solve"] = lambda a, b: mx.linalg.solve(a, b)
PAIRS["clip"] = lambda a, b: mx.clip(a, b, None)

NUMBERS = [True, 1, -1, 300, 2**31, 2**40, 1.5, 1e300, complex(1, 2)]
BESIDE = {
    "add": lambda a, n: a + n,
    "radd": lambda a, n: n + a,
    "rsubtract": lambda a, n: n - a,
    "multiply": lambda a, n: a * n,
    "divide": lambda a, n: a / n,
    "rdivide": lambda a, n: n / a,
    "maximum": mx.maximum,
    "power": mx.power,
    "equal": mx.equal,
    "where": lambda a, n: mx.where(a.astype(mx.bool_), a, n),
}


def pair(op, left, right):
    # Invertible, and without zeros that would divide.
    a, b = mx.array([[2, 1], [1, 1]]).astype(left), mx.array([[2, 1], [1, 1]]).astype(right)
    result = outcome(lambda: PAIRS[op](a, b))
    return "-" if result is None else name(result.dtype)


def value(x):
    if isinstance(x, complex):
        return f"{float(x.real)!r}_{float(x.imag)!r}"
    return str(x).lower() if isinstance(x, bool) else repr(x)


def beside(op, number, dtype):
    a = mx.array([0, 1, 3]).astype(dtype)
    result = outcome(lambda: BESIDE[op](a, number))
    if result is None:
        return "-"
    return name(result.dtype) + ":" + ",".join(value(x) for x in result.tolist())


print(
    json.dumps(
        {
            "dtypes": NAMES,
            "pairs": {
                op: {name(left): " ".join(pair(op, left, right) for right in DTYPES) for left in DTYPES} for op in PAIRS
            },
            "numbers": {
                op: {str(n): [beside(op, n, dtype) for dtype in DTYPES] for n in NUMBERS} for op in BESIDE
            },
        },
        indent=1,
    )
)

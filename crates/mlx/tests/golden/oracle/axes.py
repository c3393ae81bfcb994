"""Operations along axes: reductions, orders, running results."""

import mlx.core as mx
from make_oracle import A

REDUCTIONS = "all any count_nonzero logsumexp max mean median min prod sum".split()
SCANS = "cummax cummin cumprod cumsum logcumsumexp".split()


def number_of_elements(a, axes, inverted, dtype):
    n = 1
    for axis in axes:
        n *= a.shape[axis]
    return mx.array(1 / n if inverted else n, dtype)


def reduced(function):
    return lambda a, axes, keepdims, **more: function(a, axis=axes, keepdims=keepdims, **more)


CALLS = {name: reduced(getattr(mx, name)) for name in REDUCTIONS + ["std", "var"]}
CALLS |= {name: getattr(mx, name) for name in SCANS}
CALLS |= {
    "softmax": lambda a, axes, precise: mx.softmax(a, axis=axes, precise=precise),
    "number_of_elements": number_of_elements,
    "argmax": lambda a, axis, keepdims: mx.argmax(a, axis, keepdims),
    "argmin": lambda a, axis, keepdims: mx.argmin(a, axis, keepdims),
    "argpartition": lambda a, kth, axis: mx.argpartition(a, kth, axis),
    "argsort": lambda a, axis: mx.argsort(a, axis),
    "partition": lambda a, kth, axis: mx.partition(a, kth, axis),
    "sort": lambda a, axis: mx.sort(a, axis),
    "topk": lambda a, k, axis: mx.topk(a, k, axis),
    "diff": lambda a, n, axis: mx.diff(a, n, axis),
    "searchsorted": lambda a, v, side: mx.searchsorted(a, v, side),
}

NAN = A("float32", [2, 3], [1.0, "nan", 3.0, "-inf", 0.5, "inf"])
PLAIN = A("float32", [2, 3, 2])
BASES = [
    NAN,
    PLAIN,
    A("float16", [2, 3]),
    A("bfloat16", [3, 2]),
    A("float64", [4], [0.1, -0.7, 2.5, 1e-9]),
    A("int8", [2, 3], [100, 100, 100, -128, 0, 1]),
    A("uint16", [3], [65535, 65535, 2]),
    A("int64", [2, 2]),
    A("bool", [2, 3]),
    A("complex64", [3], ["1_2", "-0.5_0.25", "0_-1"]),
]


def every(ndim):
    yield list(range(ndim))
    yield [-1]
    if ndim > 1:
        yield [0]
    if ndim > 2:
        yield [0, 2]


def reductions():
    for op in REDUCTIONS + ["std", "var"]:
        more = [{"ddof": 0}, {"ddof": 1}] if op in ("std", "var") else [{}]
        for extra in more:
            for base in BASES:
                for k, axes in enumerate(every(base.array.ndim)):
                    yield op, {"axes": axes, "keepdims": k % 2 == 1, **extra}, [base]
            yield op, {"axes": [], "keepdims": False, **extra}, [A("float32", [], [2.5])]
            yield op, {"axes": [0], "keepdims": False, **extra}, [A("float32", [0, 3], [])]
            yield op, {"axes": [1], "keepdims": True, **extra}, [A("int32", [2, 0], [])]
            yield op, {"axes": [2], "keepdims": False, **extra}, [A("float32", [2, 2])]
            yield op, {"axes": [0, 0], "keepdims": False, **extra}, [A("float32", [2, 2])]
    for precise in (False, True):
        for base in BASES:
            for axes in every(base.array.ndim):
                yield "softmax", {"axes": axes, "precise": precise}, [base]
        yield "softmax", {"axes": [0], "precise": precise}, [A("float32", [0], [])]
    for inverted in (False, True):
        for dtype in (mx.int32, mx.float32, mx.float16):
            yield "number_of_elements", {"axes": [0, -1], "inverted": inverted, "dtype": dtype}, [PLAIN]


def orders():
    for base in BASES:
        for axis in range(-1, base.array.ndim):
            for op in ("argmax", "argmin"):
                yield op, {"axis": axis, "keepdims": axis == 0}, [base]
            for op in ("argsort", "sort"):
                yield op, {"axis": axis}, [base]
            for n in (0, 1, 2):
                yield "diff", {"n": n, "axis": axis}, [base]
            # Only the kth element is certain: two elements, or all of them, leave no choice.
            yield "topk", {"k": 1, "axis": axis}, [base]
            yield "topk", {"k": base.array.shape[axis], "axis": axis}, [base]
    two = A("float32", [2, 2], [3.0, 1.0, "nan", 2.0])
    for kth in (0, 1, -1, 2):
        for axis in (0, 1):
            yield "partition", {"kth": kth, "axis": axis}, [two]
            yield "argpartition", {"kth": kth, "axis": axis}, [two]
            yield "partition", {"kth": kth, "axis": axis}, [A("int16", [2, 2], [3, 1, -5, 2])]
            yield "argpartition", {"kth": kth, "axis": axis}, [A("uint8", [2, 2], [3, 1, 5, 2])]
    yield "topk", {"k": 3, "axis": 0}, [two]
    yield "topk", {"k": -1, "axis": 0}, [two]
    yield "sort", {"axis": 2}, [two]
    yield "argmax", {"axis": 0, "keepdims": False}, [A("float32", [0], [])]
    yield "argmax", {"axis": 0, "keepdims": False}, [A("float32", [], [1.0])]
    yield "diff", {"n": -1, "axis": 0}, [two]
    yield "argsort", {"axis": 0}, [A("int32", [6], [3, 1, 3, 1, 2, 3])]
    edges = A("float32", [5], [-1.0, 2.0, 2.0, 3.0, "nan"])
    for side in ("left", "right"):
        yield "searchsorted", {"side": side}, [edges, A("float32", [2, 4], [-5, -1, 2, 2.5, 3, 9, "nan", "inf"])]
        yield "searchsorted", {"side": side}, [A("int32", [3], [1, 2, 4]), A("int8", [], [2])]
        yield "searchsorted", {"side": side}, [A("float32", [0], []), A("float32", [2], [1, 2])]
        yield "searchsorted", {"side": side}, [A("int32", [1, 3], [1, 2, 4]), A("int32", [], [2])]


def scans():
    for op in SCANS:
        for base in BASES:
            # MLX computes logarithms of integers in integers, which tells nothing.
            if op == "logcumsumexp" and "float" not in base.text:
                continue
            for k in range(4):
                axis = k % base.array.ndim - (k == 3) * base.array.ndim
                yield op, {"axis": axis, "reverse": k % 2 == 1, "inclusive": k < 2}, [base]
        yield op, {"axis": 3, "reverse": False, "inclusive": True}, [NAN]


def cases():
    yield from reductions()
    yield from orders()
    yield from scans()

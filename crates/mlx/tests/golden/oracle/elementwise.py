"""Operations that work element by element: one, two or three arrays."""

import mlx.core as mx
from make_oracle import A

EDGES = ["nan", "inf", "-inf", "-0", "0", 1.0, -1.0, 0.5, -2.5, 3.0, 40.0, 1e-3]
UNARY = (
    "abs arccos arccosh arcsin arcsinh arctan arctanh bitwise_invert ceil conjugate cos cosh degrees erf erfinv exp "
    "expm1 floor imag isfinite isinf isnan isneginf isposinf log log10 log1p log2 logical_not negative positive radians "
    "real reciprocal rsqrt sigmoid sign sin sinh sqrt square stop_gradient tan tanh trunc to_fp8"
).split()
BINARY = (
    "add arctan2 divide equal greater greater_equal less less_equal logaddexp logical_and logical_or logical_xor "
    "maximum minimum multiply not_equal power subtract"
).split()
DIVISIONS = "floor_divide remainder divmod".split()
BITWISE = "bitwise_and bitwise_or bitwise_xor left_shift right_shift".split()

CALLS = {name: getattr(mx, name) for name in UNARY + BINARY + DIVISIONS + BITWISE}
CALLS |= {
    "copy": lambda a: mx.array(a),
    "round": mx.round,
    "nan_to_num": mx.nan_to_num,
    "astype": lambda a, dtype: a.astype(dtype),
    "view": lambda a, dtype: mx.view(a, dtype),
    "from_fp8": mx.from_fp8,
    "where": mx.where,
    "clip": lambda a, *limits, min, max: mx.clip(a, limits[0] if min else None, limits[-1] if max else None),
    "isclose": mx.isclose,
    "allclose": mx.allclose,
    "array_equal": mx.array_equal,
}


def unary():
    # Casting floats out of range is undefined in C++: what a processor gives is no answer to hold others to.
    for op in UNARY + ["copy"]:
        yield op, {}, [A("float32", [12], EDGES)]
        yield op, {}, [A("float16", [2, 3], [-2.5, "-0", 0.25, 1.0, "inf", 7.0])]
        yield op, {}, [A("bfloat16", [3, 2], [-2.5, "-0", 0.25, 1.0, "nan", 7.0])]
        # MLX reads doubles as if they were half as wide here.
        if op != "to_fp8":
            yield op, {}, [A("float64", [4], [-0.75, 0.1, 1.5, 20.0])]
        yield op, {}, [A("complex64", [3], ["1_2", "-0.5_0.25", "0_-1"])]
        yield op, {}, [A("int32", [5], [0, 1, -1, 7, -2])]
        yield op, {}, [A("uint8", [3], [0, 1, 200])]
        yield op, {}, [A("bool", [2], [True, False])]
        yield op, {}, [A("int16", [], [3])]
        yield op, {}, [A("float32", [0, 2], [])]
    for decimals in (0, 2, -1):
        for dtype in ("float32", "float16", "bfloat16", "float64"):
            yield "round", {"decimals": decimals}, [A(dtype, [6], [0.5, 1.5, -2.5, 12.345, -0.125, 17.0])]
        yield "round", {"decimals": decimals}, [A("int32", [3], [4, 15, -25])]
    yield "round", {"decimals": 0}, [A("float32", [3], ["nan", "inf", "-0"])]
    for attrs in (
        {"nan": 0.0, "posinf": None, "neginf": None},
        {"nan": 1.5, "posinf": 2.0, "neginf": -3.0},
    ):
        for dtype in ("float32", "float16", "bfloat16", "float64"):
            yield "nan_to_num", attrs, [A(dtype, [5], ["nan", "inf", "-inf", "-0", 2.0])]
        yield "nan_to_num", attrs, [A("int32", [2], [1, -1])]


def casts():
    names = "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 float32 float64 bfloat16 complex64".split()
    for to in names:
        dtype = mx.bool_ if to == "bool" else getattr(mx, to)
        for values, source in (([0, 1, 100], "int32"), ([0, 1.5, 3.25], "float32"), (["0_0", "1_2", "3_-1"], "complex64")):
            yield "astype", {"dtype": dtype}, [A(source, [3], values)]
        yield "astype", {"dtype": dtype}, [A("bool", [2], [True, False])]
        yield "astype", {"dtype": dtype}, [A("float16", [2, 1], [1.0, 2.5])]
    for source, shape, values in (
        ("float32", [2], [1.0, -2.0]),
        ("uint8", [2, 4], [0, 0, 128, 63, 255, 1, 2, 3]),
        ("int64", [1, 1], [4607182418800017408]),
        ("float16", [4], [1.0, 2.0, -1.0, 0.5]),
        ("uint32", [], [1065353216]),
    ):
        for to in ("float32", "uint8", "int16", "uint64", "bfloat16", "int32"):
            yield "view", {"dtype": getattr(mx, to)}, [A(source, shape, values)]
    for to in ("float16", "bfloat16", "float32", "int32"):
        dtype = getattr(mx, to)
        yield "from_fp8", {"dtype": dtype}, [A("uint8", [6], [0, 56, 128, 184, 1, 126])]
    yield "from_fp8", {"dtype": mx.float32}, [A("int32", [1], [1])]


def binary():
    for op in BINARY + BITWISE:
        yield op, {}, [A("int32", [2, 3], [0, 1, -1, 7, -8, 5]), A("int32", [3], [2, 0, 3])]
        yield op, {}, [A("uint8", [3], [0, 200, 3]), A("uint8", [3], [1, 100, 2])]
        yield op, {}, [A("int64", [2], [5, -6]), A("uint32", [1], [3])]
        yield op, {}, [A("bool", [4], [True, True, False, False]), A("bool", [4], [True, False, True, False])]
        yield op, {}, [A("int8", [], [3]), A("bool", [2], [True, False])]
        yield op, {}, [A("int32", [0, 3], []), A("int32", [1, 3], [1, 2, 3])]
        yield op, {}, [A("int32", [2], [1, 2]), A("int32", [3], [1, 2, 3])]
    for op in BINARY + DIVISIONS:
        yield op, {}, [A("float32", [12], EDGES), A("float32", [], [2.0])]
        yield op, {}, [A("float32", [4, 1], ["nan", "inf", -1.5, "-0"]), A("float32", [1, 4], ["nan", "-inf", 2.0, "0"])]
        yield op, {}, [A("float16", [2, 2], [1.0, -2.0, 0.5, 7.0]), A("float16", [2], [3.0, -0.75])]
        yield op, {}, [A("bfloat16", [2], [1.0, -2.0]), A("bfloat16", [2, 1], [3.0, -0.75])]
        yield op, {}, [A("float64", [3], [0.1, -2.0, 3.5]), A("float32", [3], [2.0, 0.5, -1.25])]
        yield op, {}, [A("complex64", [3], ["1_2", "0_-1", "2_0"]), A("complex64", [3], ["1_0", "2_1", "0.5_-0.5"])]
        yield op, {}, [A("float16", [1], [1.5]), A("bfloat16", [1], [2.5])]
    for op in DIVISIONS:
        yield op, {}, [A("int32", [4], [7, -7, 7, -7]), A("int32", [4], [2, 2, -2, -2])]
        yield op, {}, [A("uint8", [2], [200, 7]), A("uint8", [2], [7, 200])]
        yield op, {}, [A("int64", [2], [-9, 9]), A("int16", [], [4])]
        yield op, {}, [A("bool", [2], [True, False]), A("bool", [2], [True, True])]
    for op in BITWISE:
        yield op, {}, [A("float32", [1], [1.0]), A("int32", [1], [1])]
        yield op, {}, [A("uint64", [2], [2**63, 5]), A("uint64", [2], [1, 2])]
        yield op, {}, [A("int16", [3], [-32768, 255, 1]), A("int16", [3], [1, 4, 3])]


def choices():
    yield "where", {}, [A("bool", [2, 1], [True, False]), A("float32", [3], [1, 2, "nan"]), A("float32", [2, 3])]
    yield "where", {}, [A("int32", [3], [0, 2, -1]), A("int8", [3]), A("float16", [])]
    yield "where", {}, [A("float32", [2], ["nan", "0"]), A("complex64", [1], ["1_2"]), A("bool", [2])]
    yield "where", {}, [A("bool", [0], []), A("int32", [1], [1]), A("int32", [], [2])]
    yield "where", {}, [A("bool", [2]), A("int32", [3]), A("int32", [2])]
    for limits in ((True, True), (True, False), (False, True), (False, False)):
        attrs = dict(zip(("min", "max"), limits))
        for dtype, values in (("float32", [-3.0, "nan", 0.5, 9.0]), ("int32", [-3, 0, 5, 9]), ("bfloat16", [-3.0, 1.0, 0.5, 9.0])):
            given = [A(dtype, [], [-1])] * limits[0] + [A(dtype, [4], [1, 2, 3, 4])] * limits[1]
            yield "clip", attrs, [A(dtype, [4], values), *given]
    usual = {"rtol": 1e-5, "atol": 1e-8, "equal_nan": False}
    pair = [A("float32", [6], [1.0, "nan", "inf", "inf", 0.0, 100.0]), A("float32", [6], [1.000001, "nan", "inf", "-inf", 1e-9, 101.0])]
    for attrs in (usual, usual | {"equal_nan": True}, usual | {"rtol": 0.1}, usual | {"atol": 2.0}):
        for op in ("isclose", "allclose"):
            yield op, attrs, pair
            yield op, attrs, [A("int32", [2], [1, 100]), A("float16", [1], [1.0])]
    for equal_nan in (False, True):
        yield "array_equal", {"equal_nan": equal_nan}, [A("float32", [2], [1.0, "nan"]), A("float32", [2], [1.0, "nan"])]
        yield "array_equal", {"equal_nan": equal_nan}, [A("int32", [2], [1, 2]), A("float32", [2], [1.0, 2.0])]
        yield "array_equal", {"equal_nan": equal_nan}, [A("int32", [2], [1, 2]), A("int32", [1, 2], [1, 2])]
        yield "array_equal", {"equal_nan": equal_nan}, [A("int32", [0], []), A("float32", [0], [])]


def cases():
    yield from unary()
    yield from casts()
    yield from binary()
    yield from choices()

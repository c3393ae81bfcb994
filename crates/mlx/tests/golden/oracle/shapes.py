"""The same elements in other shapes, several arrays made one, arrays made of numbers."""

import mlx.core as mx
from make_oracle import A


def padded(a, value, axes, low, high, mode):
    widths = [(0, 0)] * a.ndim
    for axis, before, after in zip(axes, low, high):
        widths[axis] = (before, after)
    return mx.pad(a, widths, mode=mode, constant_values=value)


def tri(n, m, k, dtype):
    return mx.tri(n, m, k, dtype)


CALLS = {
    "reshape": mx.reshape,
    "flatten": mx.flatten,
    "unflatten": mx.unflatten,
    "squeeze": lambda a, axes: mx.squeeze(a, axes),
    "expand_dims": lambda a, axes: mx.expand_dims(a, axes),
    "transpose": mx.transpose,
    "swapaxes": lambda a, axis1, axis2: mx.swapaxes(a, axis1, axis2),
    "moveaxis": mx.moveaxis,
    "broadcast_to": mx.broadcast_to,
    "broadcast_arrays": lambda *a: mx.broadcast_arrays(*a),
    "contiguous": mx.contiguous,
    "as_strided": lambda a, shape, strides, offset: mx.as_strided(a, shape, strides, offset),
    "atleast_1d": mx.atleast_1d,
    "atleast_2d": mx.atleast_2d,
    "atleast_3d": mx.atleast_3d,
    "concatenate": lambda *a, axis: mx.concatenate(list(a), axis),
    "stack": lambda *a, axis: mx.stack(list(a), axis),
    "split": lambda a, num_splits, axis: mx.split(a, num_splits, axis),
    "split_sections": lambda a, indices, axis: mx.split(a, indices, axis),
    "unstack": lambda a, axis: mx.unstack(a, axis=axis),
    "tile": lambda a, reps: mx.tile(a, reps),
    "repeat": lambda a, repeats, axis: mx.repeat(a, repeats, axis),
    "pad": padded,
    "roll": lambda a, shift, axes: mx.roll(a, shift, axes),
    "flip": lambda a, axes: mx.flip(a, axes),
    "meshgrid": lambda *a, sparse, indexing: mx.meshgrid(*a, sparse=sparse, indexing=indexing),
    "diag": mx.diag,
    "diagonal": mx.diagonal,
    "tril": mx.tril,
    "triu": mx.triu,
    "arange": lambda start, stop, step, dtype: mx.arange(start, stop, step, dtype),
    "linspace": mx.linspace,
    "zeros": mx.zeros,
    "ones": mx.ones,
    "zeros_like": mx.zeros_like,
    "ones_like": mx.ones_like,
    # Python leaves an array its dtype, whatever is asked for; the operation below it does not.
    "full": lambda value, shape, dtype: mx.full(shape, value.astype(dtype), dtype),
    "full_like": lambda a, value, dtype: mx.full_like(a, value, dtype),
    "eye": mx.eye,
    "tri": tri,
    "bartlett": lambda m: mx.bartlett(m),
    "blackman": lambda m: mx.blackman(m),
    "hamming": lambda m: mx.hamming(m),
    "hanning": lambda m: mx.hanning(m),
}

CUBE = A("int32", [2, 3, 4])
NAMES = "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 float32 float64 bfloat16 complex64".split()


def shapes():
    for shape in ([6, 4], [-1, 2], [24], [2, 1, 3, 4], [5, 5], [-1, -1], [0, -1]):
        yield "reshape", {"shape": shape}, [CUBE]
    yield "reshape", {"shape": []}, [A("float16", [1, 1])]
    yield "reshape", {"shape": [3, 0]}, [A("bool", [0, 2], [])]
    for start, end in ((0, -1), (1, 2), (0, 1), (-2, -1), (2, 1), (5, 6)):
        yield "flatten", {"start_axis": start, "end_axis": end}, [CUBE]
    yield "flatten", {"start_axis": 0, "end_axis": -1}, [A("float32", [])]
    for axis, shape in ((2, [2, 2]), (-1, [-1, 2]), (1, [3, 1]), (0, [3]), (5, [1]), (0, [])):
        yield "unflatten", {"axis": axis, "shape": shape}, [CUBE]
    line = A("complex64", [1, 2, 1], ["1_2", "3_-1"])
    for axes in ([0], [-1], [0, 2], [], [1], [0, 0], [3]):
        yield "squeeze", {"axes": axes}, [line]
        yield "expand_dims", {"axes": axes}, [line]
    for axes in ([2, 0, 1], [0, -1, 1], [0, 1], [0, 0, 1], [0, 1, 3]):
        yield "transpose", {"axes": axes}, [CUBE]
    for a, b in ((0, 1), (-1, 0), (1, 1), (0, 3)):
        yield "swapaxes", {"axis1": a, "axis2": b}, [CUBE]
        yield "moveaxis", {"source": a, "destination": b}, [CUBE]
    for shape in ([2, 3], [2, 2, 3], [3], [4, 2], [-1, 3], [0, 3]):
        yield "broadcast_to", {"shape": shape}, [A("bfloat16", [1, 3])]
    yield "broadcast_arrays", {}, [A("int32", [2, 1]), A("bool", [3]), A("float32", [])]
    yield "broadcast_arrays", {}, [A("int32", [2]), A("bool", [3])]
    yield "contiguous", {"allow_col_major": True}, [CUBE]
    for shape, strides, offset in (([2, 2], [1, 2], 3), ([3], [0], 1), ([4], [-1], 7), ([], [], 5), ([0], [9], 0)):
        yield "as_strided", {"shape": shape, "strides": strides, "offset": offset}, [A("float32", [2, 4])]
    for op in ("atleast_1d", "atleast_2d", "atleast_3d"):
        for shape in ([], [2], [2, 1], [1, 2, 1, 1]):
            yield op, {}, [A("int8", shape)]


def joins():
    for axis in (0, 1, -1, 2):
        yield "concatenate", {"axis": axis}, [A("int32", [2, 2]), A("float16", [2, 2]), A("bool", [2, 2])]
        yield "stack", {"axis": axis}, [A("int32", [2, 2]), A("float16", [2, 2])]
        yield "unstack", {"axis": axis}, [A("uint8", [2, 2])]
        yield "split", {"num_splits": 2, "axis": axis}, [CUBE]
        yield "split_sections", {"indices": [1, 2], "axis": axis}, [CUBE]
    yield "concatenate", {"axis": 0}, [A("float32", [2, 2]), A("float32", [0, 2], [])]
    yield "concatenate", {"axis": 0}, [A("float32", [2, 2]), A("float32", [2, 3])]
    yield "stack", {"axis": 0}, [A("float32", [2]), A("float32", [3])]
    yield "split", {"num_splits": 3, "axis": 1}, [A("float32", [2, 3])]
    yield "split", {"num_splits": 2, "axis": 0}, [A("float32", [3])]
    yield "split_sections", {"indices": [2, 1, -1, 9], "axis": 0}, [A("float32", [4])]
    yield "split_sections", {"indices": [], "axis": 0}, [A("float32", [4])]
    for reps in ([2], [1, 2], [2, 1, 3], [0], []):
        yield "tile", {"reps": reps}, [A("int16", [2, 2])]
    for repeats, axis in ((2, 0), (3, -1), (0, 1), (1, 0), (-1, 0), (2, 2)):
        yield "repeat", {"repeats": repeats, "axis": axis}, [A("uint16", [2, 2])]
    for mode in ("constant", "edge", "reflect", "symmetric"):
        for dtype in ("int32", "float32", "bool"):
            yield "pad", {"axes": [0, 1], "low": [1, 0], "high": [0, 2], "mode": mode}, [A(dtype, [2, 3]), A(dtype, [], [dtype == "bool" or 1])]
        yield "pad", {"axes": [0], "low": [5], "high": [4], "mode": mode}, [A("float32", [3]), A("float32", [], [2.0])]
        yield "pad", {"axes": [0], "low": [1], "high": [1], "mode": mode}, [A("float32", [0], []), A("float32", [], [2.0])]
    for shift, axes in (([1], [0]), ([-1, 2], [0, 1]), ([7], [-1]), ([1], [2])):
        yield "roll", {"shift": shift, "axes": axes}, [A("float64", [2, 3])]
    for axes in ([0], [-1], [0, 1], [], [2]):
        yield "flip", {"axes": axes}, [A("float16", [2, 3])]
    for sparse in (False, True):
        for indexing in ("xy", "ij"):
            yield "meshgrid", {"sparse": sparse, "indexing": indexing}, [A("int32", [2]), A("float32", [3]), A("bool", [1])]
            yield "meshgrid", {"sparse": sparse, "indexing": indexing}, [A("int32", [2])]


def diagonals():
    for k in (-2, 0, 1, 5):
        yield "diag", {"k": k}, [A("int32", [2])]
        yield "diag", {"k": k}, [A("float32", [2, 3])]
        yield "tril", {"k": k}, [A("int8", [2, 2, 3])]
        yield "triu", {"k": k}, [A("complex64", [2, 3], ["1_1", "2_1", "3_1", "4_1", "5_1", "6_1"])]
        yield "diagonal", {"offset": k, "axis1": 0, "axis2": 1}, [A("float16", [3, 4])]
        yield "diagonal", {"offset": k, "axis1": -1, "axis2": 0}, [CUBE]
        yield "eye", {"n": 2, "m": 3, "k": k, "dtype": mx.float32}, []
        yield "tri", {"n": 2, "m": 3, "k": k, "dtype": mx.int32}, []
    yield "diag", {"k": 0}, [A("float32", [1, 1, 1])]
    yield "diagonal", {"offset": 0, "axis1": 0, "axis2": 0}, [A("float16", [3, 4])]
    yield "tril", {"k": 0}, [A("float32", [3])]
    yield "eye", {"n": 0, "m": 3, "k": 0, "dtype": mx.bool_}, []


def creation():
    for start, stop, step in ((0.0, 5.0, 1.0), (5.0, -1.0, -2.0), (0.0, 1.0, 0.25), (3.0, 0.0, 1.0), (0.0, 1.0, 0.0)):
        for dtype in (mx.int32, mx.float32, mx.float16, mx.uint8, mx.bool_):
            if step == 0.25 and dtype not in (mx.float32, mx.float16) or step < 0 and dtype == mx.uint8:
                continue
            yield "arange", {"start": start, "stop": stop, "step": step, "dtype": dtype}, []
    for num in (0, 1, 2, 5, -1):
        for endpoint in (True, False):
            for dtype in (mx.float32, mx.int32, mx.bfloat16):
                yield "linspace", {"start": -1.0, "stop": 2.0, "num": num, "endpoint": endpoint, "dtype": dtype}, []
    for name in NAMES:
        dtype = mx.bool_ if name == "bool" else getattr(mx, name)
        yield "zeros", {"shape": [2, 1], "dtype": dtype}, []
        yield "ones", {"shape": [3], "dtype": dtype}, []
        yield "zeros_like", {}, [A(name, [2])]
        yield "ones_like", {}, [A(name, [])]
        yield "full", {"shape": [2, 2], "dtype": dtype}, [A("int32", [2], [1, 3])]
        yield "full_like", {"dtype": dtype}, [A("float32", [2, 1]), A("int32", [1], [3])]
    yield "zeros", {"shape": [0, 2], "dtype": mx.float32}, []
    yield "ones", {"shape": [-1], "dtype": mx.float32}, []
    yield "full", {"shape": [3], "dtype": mx.float32}, [A("int32", [2])]
    for m in (0, 1, 2, 7):
        for op in ("bartlett", "blackman", "hamming", "hanning"):
            yield op, {"m": m}, []


def cases():
    yield from shapes()
    yield from joins()
    yield from diagonals()
    yield from creation()

"""Products of matrices and tensors, convolutions, quantized weights."""

import mlx.core as mx
from make_oracle import A


def masked(a, b, *masks, block_size, mask_out, mask_lhs, mask_rhs):
    masks = list(masks)
    out, lhs, rhs = (masks.pop(0) if given else None for given in (mask_out, mask_lhs, mask_rhs))
    return mx.block_masked_mm(a, b, block_size, out, lhs, rhs)


def gathered(a, b, *indices, lhs, rhs, sorted_indices):
    indices = list(indices)
    lhs, rhs = (indices.pop(0) if given else None for given in (lhs, rhs))
    return mx.gather_mm(a, b, lhs, rhs, sorted_indices=sorted_indices)


def gathered_q(x, w, scales, *rest, biases, lhs, rhs, transpose, group_size, bits, mode, sorted_indices):
    rest = list(rest)
    biases, lhs, rhs = (rest.pop(0) if given else None for given in (biases, lhs, rhs))
    return mx.gather_qmm(
        x, w, scales, biases, lhs, rhs, transpose, group_size, bits, mode, sorted_indices=sorted_indices
    )


def conv(a, w, stride, padding_lo, padding_hi, kernel_dilation, input_dilation, groups, flip):
    return mx.conv_general(a, w, stride, (padding_lo, padding_hi), kernel_dilation, input_dilation, groups, flip)


CALLS = {
    "matmul": mx.matmul,
    "addmm": lambda c, a, b, alpha, beta: mx.addmm(c, a, b, alpha, beta),
    "inner": mx.inner,
    "outer": mx.outer,
    "kron": mx.kron,
    "tensordot": lambda a, b, axes_a, axes_b: mx.tensordot(a, b, [axes_a, axes_b]),
    "einsum": lambda *operands, subscripts: mx.einsum(subscripts, *operands),
    "vecdot": lambda a, b, axis: mx.vecdot(a, b, axis=axis),
    "trace": mx.trace,
    "hadamard_transform": mx.hadamard_transform,
    "block_masked_mm": masked,
    "gather_mm": gathered,
    "segmented_mm": mx.segmented_mm,
    "quantize": lambda w, group_size, bits, mode: mx.quantize(w, group_size, bits, mode),
    "dequantize": lambda w, s, *b, group_size, bits, mode, dtype: mx.dequantize(
        w, s, *(b or [None]), group_size, bits, mode, dtype=dtype
    ),
    "quantized_matmul": lambda x, w, s, *b, transpose, group_size, bits, mode: mx.quantized_matmul(
        x, w, s, *(b or [None]), transpose, group_size, bits, mode
    ),
    "gather_qmm": gathered_q,
    "conv_general": conv,
}

FLOATS = ["float32", "float16", "bfloat16", "float64", "complex64"]


def matrices():
    for dtype in FLOATS + ["int32"]:
        yield "matmul", {}, [A(dtype, [2, 3]), A(dtype, [3, 2], 5)]
        for op in ("inner", "outer", "kron"):
            yield op, {}, [A(dtype, [2, 3]), A(dtype, [2, 3], 5)]
        yield "vecdot", {"axis": -1}, [A(dtype, [2, 3]), A(dtype, [2, 3], 5)]
        yield "tensordot", {"axes_a": [1], "axes_b": [0]}, [A(dtype, [2, 3]), A(dtype, [3, 2], 5)]
        yield "addmm", {"alpha": 0.5, "beta": 2.0}, [A(dtype, [2], 3), A(dtype, [2, 3]), A(dtype, [3, 2], 5)]
        yield "einsum", {"subscripts": "ij,kj->ik"}, [A(dtype, [2, 3]), A(dtype, [2, 3], 5)]
    for left, right in (([3], [3]), ([3], [3, 2]), ([2, 3], [3]), ([2, 2, 3], [3, 2]), ([2, 1, 2, 3], [2, 3, 1]), ([2, 3], [2, 3]), ([], [3]), ([2, 0], [0, 2])):
        yield "matmul", {}, [A("float32", left), A("float32", right, 5)]
    yield "matmul", {}, [A("float32", [1, 2], ["nan", "inf"]), A("float32", [2, 1], [0.0, 1.0])]
    yield "matmul", {}, [A("float32", [40, 33]), A("float32", [33, 5], 5)]
    yield "matmul", {}, [A("bfloat16", [20, 40]), A("bfloat16", [40, 17], 5)]
    for op in ("inner", "outer", "kron"):
        yield op, {}, [A("float32", []), A("float32", [2])]
        yield op, {}, [A("float32", [2, 3]), A("float32", [2])]
    yield "tensordot", {"axes_a": [0, 1], "axes_b": [1, 0]}, [A("float32", [2, 3, 2]), A("float32", [3, 2], 5)]
    yield "tensordot", {"axes_a": [], "axes_b": []}, [A("float32", [2]), A("float32", [3], 5)]
    yield "tensordot", {"axes_a": [5], "axes_b": [0]}, [A("float32", [2]), A("float32", [3], 5)]
    yield "vecdot", {"axis": 0}, [A("float32", [3, 2]), A("float32", [3, 2], 5)]
    yield "vecdot", {"axis": 2}, [A("float32", [3, 2]), A("float32", [3, 2], 5)]
    for c, a, b in (([2, 2], [2, 3], [3, 2]), ([1], [2, 2, 3], [3, 2]), ([2], [3], [3, 2]), ([2, 2], [2, 0], [0, 2])):
        yield "addmm", {"alpha": 1.0, "beta": 1.0}, [A("float32", c, 3), A("float32", a), A("float32", b, 5)]
    for subscripts, *shapes in (
        ("ij,jk", [2, 3], [3, 2]),
        ("ij->ji", [2, 3]),
        ("ii->i", [3, 3]),
        ("ii", [3, 3]),
        ("i,i->", [3], [3]),
        ("i,j->ij", [2], [3]),
        ("bij,bjk->bik", [2, 2, 3], [2, 3, 2]),
        ("...i,...i->...", [2, 2, 3], [2, 3]),
        ("ab,bc,cd->ad", [2, 3], [3, 2], [2, 2]),
        ("ij,jk->ik", [2, 3], [4, 2]),
        ("i->k", [2]),
        ("i%,i->", [2], [2]),
    ):
        yield "einsum", {"subscripts": subscripts}, [A("float32", s, 5 + k) for k, s in enumerate(shapes)]
    for offset in (-1, 0, 1, 5):
        for dtype in (mx.float32, mx.int32):
            yield "trace", {"offset": offset, "axis1": 0, "axis2": 1, "dtype": dtype}, [A("float32", [3, 4])]
    yield "trace", {"offset": 0, "axis1": 0, "axis2": -1, "dtype": mx.float32}, [A("float32", [2, 3, 2])]
    yield "trace", {"offset": 0, "axis1": 1, "axis2": -1, "dtype": mx.float32}, [A("float32", [2, 3])]
    for dtype in ("float32", "float16", "bfloat16", "int32", "float64"):
        for n in (1, 4, 12, 20, 28, 7):
            yield "hadamard_transform", {"scale": 0.5 if n == 4 else None}, [A(dtype, [2, n])]


def blocks():
    flags = {"mask_out": False, "mask_lhs": False, "mask_rhs": False}
    a, b = A("float32", [40, 33]), A("float32", [33, 50], 5)
    out, lhs, rhs = (A("bool", [2, 2], [True, False, False, True]) for _ in range(3))
    yield "block_masked_mm", {"block_size": 32, **flags}, [a, b]
    yield "block_masked_mm", {"block_size": 32, **flags, "mask_out": True}, [a, b, out]
    yield "block_masked_mm", {"block_size": 32, **flags, "mask_lhs": True, "mask_rhs": True}, [a, b, lhs, rhs]
    scaled = A("float32", [2, 2], [0.5, 2.0, 1.0, 0.0])
    yield "block_masked_mm", {"block_size": 32, "mask_out": True, "mask_lhs": True, "mask_rhs": True}, [a, b, out, scaled, scaled]
    yield "block_masked_mm", {"block_size": 16, **flags, "mask_out": True}, [a, b, out]
    a, b = A("float32", [3, 2, 3]), A("float32", [4, 3, 2], 5)
    some, other = A("uint32", [4], [2, 0, 0, 1]), A("int32", [4], [3, 1, 1, 0])
    for attrs, indices in (((True, True), [some, other]), ((True, False), [some]), ((False, True), [A("int64", [3], [3, 1, 0])])):
        yield "gather_mm", dict(zip(("lhs", "rhs"), attrs)) | {"sorted_indices": False}, [a, b, *indices]
    yield "gather_mm", {"lhs": False, "rhs": False, "sorted_indices": False}, [A("float32", [2, 3]), A("float32", [3, 2], 5)]
    # MLX takes halves for dense here, whatever the segment.
    for dtype in ("float32", "float64"):
        segments = A("int32", [3, 2], [0, 3, 3, 5, 4, 1])
        yield "segmented_mm", {}, [A(dtype, [2, 5]), A(dtype, [5, 3], 5), segments]
    yield "segmented_mm", {}, [A("float32", [2, 5]), A("float32", [5, 3], 5), A("float32", [1, 2], [0, 1])]


def quantized():
    def packed(w, group_size, bits, mode):
        parts = mx.quantize(w.array, group_size, bits, mode)
        names = ["uint32", "float32" if mode == "affine" else "uint8", "float32"]
        return [A(name, part.shape, part.reshape(-1).tolist()) for name, part in zip(names, parts)]

    for mode, group_size, bits in (
        ("affine", 64, 4), ("affine", 32, 2), ("affine", 32, 3), ("affine", 128, 5), ("affine", 64, 6), ("affine", 32, 8),
        ("mxfp4", 32, 4), ("mxfp8", 32, 8), ("nvfp4", 16, 4),
    ):
        how = {"group_size": group_size, "bits": bits, "mode": mode}
        w = A("float32", [2, 128])
        yield "quantize", how, [w]
        parts = packed(w, **how)
        yield "dequantize", how | {"dtype": None}, parts
        yield "dequantize", how | {"dtype": mx.float32}, parts
        yield "quantized_matmul", how | {"transpose": True}, [A("float32", [3, 128], 5), *parts]
        yield "quantized_matmul", how | {"transpose": False}, [A("float32", [3, 2], 5), *parts]
        batch = packed(A("float32", [3, 2, 128]), **how)
        flags = {"biases": mode == "affine", "transpose": True, "sorted_indices": False}
        index = A("uint32", [4], [2, 0, 1, 1])
        yield "gather_qmm", how | flags | {"lhs": False, "rhs": True}, [A("float32", [1, 1, 128], 5), *batch, index]
        yield "gather_qmm", how | flags | {"lhs": True, "rhs": True}, [A("float32", [3, 2, 128], 5), *batch, index, A("int32", [4], [0, 1, 2, 0])]
    usual = {"group_size": 64, "bits": 4, "mode": "affine"}
    for dtype in ("float16", "bfloat16", "float64", "int32"):
        yield "quantize", usual, [A(dtype, [2, 64])]
    yield "quantize", usual, [A("float32", [64])]
    yield "quantize", usual, [A("float32", [2, 32])]
    yield "quantize", usual | {"bits": 7}, [A("float32", [2, 64])]
    yield "quantize", usual | {"group_size": 16}, [A("float32", [2, 64])]
    yield "quantize", usual | {"mode": "mxfp4"}, [A("float32", [2, 64])]
    yield "quantize", usual, [A("float32", [0, 64], [])]


def convolutions():
    usual = {"stride": 1, "padding_lo": 0, "padding_hi": 0, "kernel_dilation": 1, "input_dilation": 1}

    def case(spatial, x, w, groups=1, flip=False, dtype="float32", **changes):
        lists = {k: [v] * spatial if isinstance(v, int) else v for k, v in (usual | changes).items()}
        return "conv_general", lists | {"groups": groups, "flip": flip}, [A(dtype, x), A(dtype, w, 5)]

    for dtype in ("float32", "float16", "bfloat16", "int32"):
        yield case(1, [2, 6, 2], [3, 3, 2], dtype=dtype)
        yield case(2, [1, 4, 4, 2], [2, 2, 2, 2], dtype=dtype)
    yield case(1, [1, 6, 2], [3, 3, 2], stride=2, padding_lo=1, padding_hi=2)
    yield case(1, [1, 6, 2], [3, 2, 2], kernel_dilation=2)
    yield case(1, [1, 4, 2], [3, 3, 2], input_dilation=2, flip=True, padding_lo=2, padding_hi=2)
    yield case(1, [1, 6, 4], [4, 3, 2], groups=2)
    yield case(1, [1, 6, 2], [3, 3, 2], padding_lo=-1, padding_hi=-1)
    yield case(2, [1, 5, 4, 2], [2, 3, 2, 1], groups=2, padding_lo=1, padding_hi=1)
    yield case(2, [1, 5, 4, 1], [2, 2, 2, 1], stride=[2, 1], kernel_dilation=[1, 2], padding_lo=[1, 0], padding_hi=[0, 1])
    yield case(2, [1, 3, 3, 1], [1, 2, 2, 1], input_dilation=2, flip=True, padding_lo=1, padding_hi=1)
    yield case(3, [1, 3, 3, 3, 1], [2, 2, 2, 2, 1], padding_lo=1)
    yield case(3, [1, 3, 3, 3, 1], [1, 2, 2, 2, 1], kernel_dilation=2)
    yield case(1, [0, 6, 2], [3, 3, 2])
    yield case(1, [1, 2, 2], [3, 3, 2])
    yield case(1, [1, 6, 3], [3, 3, 2])
    yield case(1, [1, 6, 2], [3, 3, 2], stride=0)
    yield case(3, [1, 3, 3, 3, 2], [2, 2, 2, 2, 1], groups=2)
    yield case(1, [6, 2], [3, 3, 2])


def cases():
    yield from matrices()
    yield from blocks()
    yield from quantized()
    yield from convolutions()

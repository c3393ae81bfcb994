"""Random numbers from keys, Fourier transforms, linear algebra."""

import mlx.core as mx
import numpy as np
from make_oracle import A


def threefry(key, count):
    """Threefry-2x32 with twenty rounds, written from its definition: what `bits` is made of."""
    rotations = ((13, 15, 26, 6), (17, 29, 16, 24))
    mask = 2**32 - 1
    keys = [key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDA]
    a, b = (count[0] + keys[0]) & mask, (count[1] + keys[1]) & mask
    for i in range(5):
        for r in rotations[i % 2]:
            a = (a + b) & mask
            b = ((b << r) | (b >> (32 - r))) & mask
            b ^= a
        a = (a + keys[(i + 1) % 3]) & mask
        b = (b + keys[(i + 2) % 3] + i + 1) & mask
    return a, b


def bits(key, shape, width):
    """Python MLX has no `bits`: words of pairs, the first half of the numbers before the second."""
    if width not in (1, 2, 4):
        raise ValueError(width)
    size = int(np.prod(shape, dtype=int)) * width
    words = -(-size // 4)
    half, odd = words // 2, words % 2
    out = [0] * words
    for k in range(half):
        out[k], out[k + half + odd] = threefry(key.tolist(), (k, k + half + odd))
    if odd:
        out[half] = threefry(key.tolist(), (half, 0))[0]
    data = np.array(out, np.uint32).tobytes()[:size]
    return mx.array(np.frombuffer(data, {1: np.uint8, 2: np.uint16, 4: np.uint32}[width])).reshape(shape)


def keyed(function):
    return lambda *inputs, **attrs: function(*inputs[:-1], key=inputs[-1], **attrs)


def transform(function):
    return lambda a, n, axes, norm: function(a, n, axes, norm)


def norm(a, ord, axes, keepdims):
    return mx.linalg.norm(a, ord, axes, keepdims)


CALLS = {
    "random.bits": bits,
    "random.split": lambda key, num: mx.random.split(key, num),
    "random.bernoulli": keyed(mx.random.bernoulli),
    "random.categorical": keyed(mx.random.categorical),
    "random.gumbel": keyed(mx.random.gumbel),
    "random.laplace": keyed(mx.random.laplace),
    "random.multivariate_normal": keyed(mx.random.multivariate_normal),
    "random.normal": keyed(mx.random.normal),
    "random.permutation": keyed(mx.random.permutation),
    "random.randint": keyed(mx.random.randint),
    "random.truncated_normal": keyed(mx.random.truncated_normal),
    "random.uniform": keyed(mx.random.uniform),
    "fft.fftn": transform(mx.fft.fftn),
    "fft.ifftn": transform(mx.fft.ifftn),
    "fft.rfftn": transform(mx.fft.rfftn),
    "fft.irfftn": transform(mx.fft.irfftn),
    "fft.fftshift": lambda a, axes: mx.fft.fftshift(a, axes),
    "fft.ifftshift": lambda a, axes: mx.fft.ifftshift(a, axes),
    "fft.fftfreq": mx.fft.fftfreq,
    "fft.rfftfreq": mx.fft.rfftfreq,
    "linalg.cholesky": mx.linalg.cholesky,
    "linalg.cholesky_inv": mx.linalg.cholesky_inv,
    "linalg.cross": mx.linalg.cross,
    "linalg.det": mx.linalg.det,
    "linalg.eig": mx.linalg.eig,
    "linalg.eigh": lambda a, uplo: mx.linalg.eigh(a, uplo),
    "linalg.eigvals": mx.linalg.eigvals,
    "linalg.eigvalsh": lambda a, uplo: mx.linalg.eigvalsh(a, uplo),
    "linalg.inv": mx.linalg.inv,
    "linalg.lu": mx.linalg.lu,
    "linalg.lu_factor": mx.linalg.lu_factor,
    "linalg.norm": norm,
    "linalg.norm_matrix": norm,
    "linalg.norm_l2": lambda a, axes, keepdims: mx.linalg.norm(a, axis=axes, keepdims=keepdims),
    "linalg.pinv": mx.linalg.pinv,
    "linalg.qr": mx.linalg.qr,
    "linalg.slogdet": mx.linalg.slogdet,
    "linalg.solve": mx.linalg.solve,
    "linalg.solve_triangular": lambda a, b, upper: mx.linalg.solve_triangular(a, b, upper=upper),
    "linalg.svd": lambda a, compute_uv: mx.linalg.svd(a, compute_uv),
    "linalg.tri_inv": mx.linalg.tri_inv,
}

KEY = A("uint32", [2], [7, 11])
FLOATS = [mx.float32, mx.float16, mx.bfloat16]


def randoms():
    for width in (1, 2, 4, 3):
        for shape in ([5], [2, 2], [], [1], [0]):
            yield "random.bits", {"shape": shape, "width": width}, [KEY]
    for num in (1, 2, 3):
        yield "random.split", {"num": num}, [KEY]
    for shape in ([4], [2, 3], [], [0, 2]):
        for dtype in FLOATS + [mx.float64, mx.int32]:
            yield "random.uniform", {"shape": shape, "dtype": dtype}, [A("float32", [], [-1.0]), A("float32", [], [2.0]), KEY]
            yield "random.gumbel", {"shape": shape, "dtype": dtype}, [KEY]
            yield "random.normal", {"shape": shape, "dtype": dtype, "loc": 0.5, "scale": 2.0}, [KEY]
            yield "random.laplace", {"shape": shape, "dtype": dtype, "loc": 0.5, "scale": 2.0}, [KEY]
            yield "random.truncated_normal", {"shape": shape, "dtype": dtype}, [A("float32", [], [-0.5]), A("float32", [], [1.0]), KEY]
        yield "random.bernoulli", {"shape": shape}, [A("float32", [], [0.4]), KEY]
        for dtype in (mx.int32, mx.uint8, mx.int64, mx.bool_, mx.float32):
            yield "random.randint", {"shape": shape, "dtype": dtype}, [A("int32", [], [1]), A("int32", [], [9]), KEY]
    yield "random.normal", {"shape": [3], "dtype": mx.complex64, "loc": 0.0, "scale": 1.0}, [KEY]
    yield "random.uniform", {"shape": [2, 3], "dtype": mx.float32}, [A("float32", [2, 1]), A("float32", [3], [4, 5, 6]), KEY]
    yield "random.uniform", {"shape": [2], "dtype": mx.float32}, [A("float32", [3]), A("float32", []), KEY]
    yield "random.uniform", {"shape": [2], "dtype": mx.float32}, [A("float32", []), A("float32", []), A("int32", [2])]
    yield "random.bernoulli", {"shape": [3]}, [A("float32", [3], [0.0, 1.0, 0.5]), KEY]
    yield "random.bernoulli", {"shape": [3]}, [A("int32", [], [1]), KEY]
    logits = A("float32", [2, 3], [0.0, 1.0, -1.0, 2.0, "-inf", 0.5])
    for axis, shape in ((-1, [2]), (0, [3]), (1, [4, 2]), (-1, [3]), (2, [2])):
        yield "random.categorical", {"axis": axis, "shape": shape}, [logits, KEY]
    yield "random.categorical", {"axis": 0, "shape": [6]}, [A("float32", [3], [0.0, 1.0, 2.0]), KEY]
    yield "random.multivariate_normal", {"shape": [3], "dtype": mx.float32}, [A("float32", [2], [1.0, -1.0]), A("float32", [2, 2], [2.0, 0.5, 0.5, 1.0]), KEY]
    yield "random.multivariate_normal", {"shape": [], "dtype": mx.float32}, [A("float32", [2], [1.0, -1.0]), A("float32", [3, 2]), KEY]
    for axis in (0, 1, -1, 2):
        yield "random.permutation", {"axis": axis}, [A("int32", [3, 4]), KEY]


def transforms():
    for op in ("fft.fftn", "fft.ifftn", "fft.rfftn", "fft.irfftn"):
        for norm in ("backward", "ortho", "forward"):
            yield op, {"n": [5], "axes": [-1], "norm": norm}, [A("float32", [2, 5])]
            yield op, {"n": [3, 4], "axes": [0, 1], "norm": norm}, [A("complex64", [3, 4], [f"{k}_{-k}" for k in range(12)])]
        for n in ([4], [8], [1]):
            yield op, {"n": n, "axes": [0], "norm": "backward"}, [A("int32", [6])]
        yield op, {"n": [4], "axes": [0], "norm": "backward"}, [A("float16", [6])]
        yield op, {"n": [0], "axes": [0], "norm": "backward"}, [A("float32", [6])]
        yield op, {"n": [2, 2], "axes": [0], "norm": "backward"}, [A("float32", [2, 2])]
        yield op, {"n": [2, 2], "axes": [0, 0], "norm": "backward"}, [A("float32", [2, 2])]
        yield op, {"n": [2], "axes": [3], "norm": "backward"}, [A("float32", [2, 2])]
        yield op, {"n": [4], "axes": [1], "norm": "backward"}, [A("float32", [0, 4], [])]
    for op in ("fft.fftshift", "fft.ifftshift"):
        for axes in ([0], [0, 1], [-1], [2]):
            yield op, {"axes": axes}, [A("float32", [2, 5])]
    for op in ("fft.fftfreq", "fft.rfftfreq"):
        for n in (1, 4, 5, 0):
            yield op, {"n": n, "d": 0.5}, []


def matrices():
    definite = [4.0, 1.0, 0.5, 1.0, 3.0, 0.25, 0.5, 0.25, 2.0]
    general = [2.0, -1.0, 0.5, 1.5, 3.0, -0.25, 0.5, 0.25, 1.0]
    for dtype in ("float32", "float64", "float16", "int32"):
        s, g = A(dtype, [3, 3], definite if "float" in dtype else [4, 1, 0, 1, 3, 0, 0, 0, 2]), A(dtype, [3, 3], general if "float" in dtype else [2, -1, 0, 1, 3, 0, 0, 0, 1])
        wide, b = A(dtype, [2, 3]), A(dtype, [3, 2], 5)
        for upper in (False, True):
            yield "linalg.cholesky", {"upper": upper}, [s]
            yield "linalg.cholesky_inv", {"upper": upper}, [s]
            yield "linalg.tri_inv", {"upper": upper}, [g]
            yield "linalg.solve_triangular", {"upper": upper}, [g, b]
        for op in ("det", "slogdet", "inv", "lu", "lu_factor", "qr", "pinv", "eigvals", "eig"):
            yield "linalg." + op, {}, [g]
        for op in ("lu", "lu_factor", "qr", "pinv", "inv", "det"):
            yield "linalg." + op, {}, [wide]
        for uplo in ("L", "U"):
            yield "linalg.eigh", {"uplo": uplo}, [s]
            yield "linalg.eigvalsh", {"uplo": uplo}, [g]
        for compute_uv in (False, True):
            yield "linalg.svd", {"compute_uv": compute_uv}, [wide]
        yield "linalg.solve", {}, [g, b]
        yield "linalg.cross", {"axis": -1}, [wide, g if dtype == "none" else A(dtype, [1, 3], 5)]
        for ord in (1.0, 2.0, 3.0, 0.0, float("inf"), float("-inf"), -1.0, -2.0):
            yield "linalg.norm", {"ord": ord, "axes": [-1], "keepdims": False}, [wide]
            yield "linalg.norm", {"ord": ord, "axes": [0, 1], "keepdims": True}, [wide]
        for ord in ("fro", "nuc", "other"):
            yield "linalg.norm_matrix", {"ord": ord, "axes": [0, 1], "keepdims": False}, [wide]
        yield "linalg.norm_l2", {"axes": [0], "keepdims": True}, [wide]
        yield "linalg.norm_l2", {"axes": [0, 1], "keepdims": False}, [wide]
    batch = A("float32", [2, 2, 2], [2, 1, 1, 3, 1, 0, 0, 5])
    for op in ("linalg.inv", "linalg.det", "linalg.eigvals", "linalg.qr"):
        yield op, {}, [batch]
    five = A("float32", [4, 4], [4, 1, 2, 0, 1, 5, 0, 1, 2, 0, 6, 1, 0, 1, 1, 3])
    for op in ("linalg.det", "linalg.slogdet", "linalg.inv"):
        yield op, {}, [five]
    yield "linalg.solve", {}, [batch, A("float32", [2, 2, 1], [1, 2, 3, 4])]
    yield "linalg.solve", {}, [A("float32", [3, 3], general), A("float32", [3], [1, 2, 3])]
    singular = A("float32", [2, 2], [1, 1, 1, 1])
    for op in ("linalg.inv", "linalg.det", "linalg.slogdet", "linalg.solve"):
        yield op, {}, [singular] * (1 + (op == "linalg.solve"))
    for op in ("linalg.inv", "linalg.det", "linalg.lu", "linalg.qr", "linalg.eig", "linalg.pinv", "linalg.slogdet"):
        yield op, {}, [A("float32", [2])]
    for axis in (0, 1, -1, 2):
        yield "linalg.cross", {"axis": axis}, [A("float32", [2, 3]), A("float32", [2, 3], 5)]
    hermitian = A("complex64", [2, 2], ["2_0", "1_1", "1_-1", "3_0"])
    yield "linalg.eigvalsh", {"uplo": "L"}, [hermitian]
    yield "linalg.svd", {"compute_uv": False}, [hermitian]


def cases():
    yield from randoms()
    yield from transforms()
    yield from matrices()

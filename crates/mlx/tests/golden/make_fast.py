"""Makes fast.txt: what Python MLX's `mx.fast` gives for small inputs, to compare the Rust functions with.

Run with MLX 0.32.2 (CPU): `python make_fast.py > fast.txt`. A case is a line `case NAME` followed by one line for each
array, `KEY DTYPE [SHAPE] VALUES..`; values are written so that they are read back exactly, key `out` being the result.
Inputs come from a fixed formula, so that nothing but this file is needed to make it again.
"""

import math

import mlx.core as mx


def numbers(seed, shape, size=1.0, dtype=mx.float32):
    n = math.prod(shape)
    return (size * mx.sin(mx.arange(n) * 0.7 + seed * 1.3)).reshape(shape).astype(dtype)


def line(key, array):
    array = array if isinstance(array, mx.array) else mx.array(array)
    dtype = str(array.dtype).split(".")[-1]
    wide = array.astype(mx.float32) if array.dtype != mx.bool_ else array.astype(mx.int32)
    values = [f"{v:.9g}" for v in wide.flatten().tolist()]
    shape = ",".join(str(n) for n in array.shape)
    print(key, dtype, f"[{shape}]", *values)


def case(name, out, **arrays):
    print("case", name)
    for key, array in arrays.items():
        line(key, array)
    line("out", out)


mx.set_default_device(mx.cpu)

for dtype in (mx.float32, mx.float16, mx.bfloat16):
    x, w, b = numbers(1, (2, 3, 8), 2.0, dtype), numbers(2, (8,), 1.0, dtype), numbers(3, (8,), 1.0, dtype)
    name = str(dtype).split(".")[-1]
    case(f"rms_norm {name}", mx.fast.rms_norm(x, w, 1e-5), x=x, w=w)
    case(f"rms_norm no weight {name}", mx.fast.rms_norm(x, None, 1e-5), x=x)
    case(f"layer_norm {name}", mx.fast.layer_norm(x, w, b, 1e-5), x=x, w=w, b=b)
    case(f"layer_norm no bias {name}", mx.fast.layer_norm(x, w, None, 1e-5), x=x, w=w)

x = numbers(1, (2, 4), 2.0, mx.float16)
case("rms_norm mixed", mx.fast.rms_norm(x, numbers(2, (4,)), 1e-5), x=x, w=numbers(2, (4,)))
case("layer_norm bias only", mx.fast.layer_norm(x, None, numbers(2, (4,)), 1e-5), x=x, b=numbers(2, (4,)))

x = numbers(4, (2, 2, 3, 8))
offsets = mx.array([2, 5])
freqs = mx.array([1.0, 2.5, 30.0, 400.0])
for traditional in (False, True):
    flag = mx.array(traditional)

    def rope(name, x, dims, base, scale, offset, freqs=None):
        out = mx.fast.rope(
            x, dims, traditional=traditional, base=base, scale=scale, offset=offset, freqs=freqs
        )
        arrays = dict(x=x, dims=dims, traditional=flag, scale=scale, offset=offset)
        arrays.update(dict(base=base) if freqs is None else dict(freqs=freqs))
        case(f"rope {name}", out, **arrays)

    rope("plain", x, 8, 10000.0, 1.0, 0)
    rope("partial offset scale", x, 6, 100.0, 0.5, 7)
    rope("offsets", x, 8, 10000.0, 1.0, offsets)
    rope("freqs", x, 8, None, 2.0, 3, freqs)
    rope("three axes", x[0], 4, 10.0, 1.0, 1)

q, k, v = numbers(5, (1, 4, 3, 6)), numbers(6, (1, 2, 5, 6)), numbers(7, (1, 2, 5, 4))
keep = mx.array([[True, False, True, True, False], [True, True, True, True, True], [False, False, True, False, False]])
bias = numbers(8, (4, 3, 5), 2.0)
sinks = numbers(9, (4,))
sdpa = mx.fast.scaled_dot_product_attention
case("attention", sdpa(q, k, v, scale=0.5), q=q, k=k, v=v, scale=0.5)
case("attention causal", sdpa(q, k, v, scale=0.5, mask="causal"), q=q, k=k, v=v, scale=0.5, causal=True)
case("attention keep", sdpa(q, k, v, scale=0.5, mask=keep), q=q, k=k, v=v, scale=0.5, keep=keep)
case("attention bias", sdpa(q, k, v, scale=0.5, mask=bias), q=q, k=k, v=v, scale=0.5, bias=bias)
case(
    "attention sinks",
    sdpa(q, k, v, scale=0.5, mask="causal", sinks=sinks),
    q=q, k=k, v=v, scale=0.5, causal=True, sinks=sinks,
)
half = [a.astype(mx.float16) for a in (q, k, v, bias)]
case(
    "attention bias float16",
    sdpa(*half[:3], scale=0.5, mask=half[3]),
    q=half[0], k=half[1], v=half[2], scale=0.5, bias=half[3],
)

logits, targets = numbers(10, (2, 3, 5), 4.0), mx.array([[0, 4, 2], [1, 1, 3]])
case("cross_entropy", mx.fast.cross_entropy(logits, targets), logits=logits, targets=targets)

"""Writes promotion.json: which dtype Python MLX gives operations on two arrays, and on an array and a number.

Run with mlx 0.32.2 (pip install mlx mlx-cpu): python make_promotion.py > promotion.json
"""
import json
import mlx.core as mx

NAMES = ["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
         "float16", "float32", "float64", "bfloat16", "complex64"]
DTYPES = [getattr(mx, "bool_" if n == "bool" else n) for n in NAMES]
name = lambda a: str(a.dtype).split(".")[-1]


def dtype_of(f):
    try:
        return name(f())
    except Exception:
        return None


mx.set_default_device(mx.cpu)
BINARY = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "maximum": mx.maximum,
    "power": mx.power,
    "less": lambda a, b: a < b,
    "where": lambda a, b: mx.where(mx.array([True]), a, b),
    "concatenate": lambda a, b: mx.concatenate([a, b]),
    "matmul": lambda a, b: mx.matmul(mx.ones((2, 2), a.dtype), mx.ones((2, 2), b.dtype)),
}
SCALARS = {"true": True, "3": 3, "1.5": 1.5, "2j": 2j}
arrays = {}
for op, f in BINARY.items():
    arrays[op] = [[dtype_of(lambda: f(mx.ones((1,), a), mx.ones((1,), b))) for b in DTYPES] for a in DTYPES]
numbers = {}
for op in ["add", "multiply", "divide", "maximum", "less", "where"]:
    f = BINARY[op]
    numbers[op] = {s: [dtype_of(lambda: f(mx.ones((1,), a), v)) for a in DTYPES] for s, v in SCALARS.items()}
    numbers[op + " reversed"] = {s: [dtype_of(lambda: f(v, mx.ones((1,), a))) for a in DTYPES] for s, v in SCALARS.items()}
print(json.dumps({"dtypes": NAMES, "arrays": arrays, "numbers": numbers}))

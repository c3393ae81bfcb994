"""Makes io/python.gguf as Python MLX writes it, and io/blocks.gguf with what it reads there, in io/blocks.safetensors.

    python make_gguf.py              # needs mlx==0.32.4 and numpy
    python make_gguf.py check FOLDER # reads what the Rust test `writes_gguf_for_python` has written to FOLDER

blocks.gguf has each type of blocks that Python MLX reads, with random codes.
"""

import os
import struct
import sys

import mlx.core as mx
import numpy as np

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "io")

# Number, values in a block, bytes of a block, and where its half-precision floats are.
BLOCKS = {
    "q4_0": (2, 32, 18, [0]),
    "q4_1": (3, 32, 20, [0, 2]),
    "q8_0": (8, 32, 34, [0]),
    "q2_k": (10, 256, 84, [80, 82]),
    "q4_k": (12, 256, 144, [0, 2]),
    "q6_k": (14, 256, 210, [208]),
}


def arrays():
    x = mx.array([[1.0, -2.5, 3.0], [4.0, 5.0, 6.5]])
    named = {name: x.astype(getattr(mx, name)) for name in "float32 float16 int8 int16 int32".split()}
    return named | {"turned": x.T, "scalar": mx.array(2.5), "empty": mx.zeros((0, 3)), "deep": mx.zeros((1,) * 8)}


def metadata():
    numbers = "uint8 int8 uint16 int16 uint32 int32 uint64 int64 float32 bool_".split()
    values = {f"one.{name}": mx.array(1, getattr(mx, name)) for name in numbers}
    values |= {f"list.{name}": mx.array([1, 0, 1], getattr(mx, name)) for name in numbers}
    return values | {"general.name": "tiny ä", "words": ["a", "", "bc"]}


def string(text):
    return struct.pack("<Q", len(text)) + text.encode()


def blocks():
    rng = np.random.default_rng(2026)
    infos, data = b"", b""
    for name, (kind, length, size, floats) in BLOCKS.items():
        rows, columns = 3, 2 * length
        block = rng.integers(0, 256, (rows * 2, size), dtype=np.uint8)
        for at in floats:
            scales = rng.uniform(-0.1, 0.1, (rows * 2, 1)).astype(np.float16)
            block[:, at : at + 2] = scales.view(np.uint8)
        infos += string(f"{name}.weight") + struct.pack("<IQQIQ", 2, columns, rows, kind, len(data))
        data += block.tobytes()
        data += bytes(-len(data) % 32)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(BLOCKS), 0) + infos
    return header + bytes(-len(header) % 32) + data


def check(folder):
    loaded, read = mx.load(f"{folder}/rust.gguf", return_metadata=True)
    wanted = arrays()
    assert loaded.keys() == wanted.keys(), loaded.keys()
    for name, want in wanted.items():
        got = loaded[name]
        assert got.dtype == want.dtype and got.shape == want.shape and mx.array_equal(got, want), name
    assert read.keys() == metadata().keys(), read.keys()
    for key, want in metadata().items():
        got = read[key]
        if isinstance(want, mx.array):
            assert got.dtype == want.dtype and got.shape == want.shape and mx.array_equal(got, want), key
        else:
            assert got == want, key
    print(len(loaded), "arrays and", len(read), "values are equal")


if sys.argv[1:2] == ["check"]:
    check(sys.argv[2])
else:
    mx.save_gguf(f"{HERE}/python.gguf", arrays(), metadata())
    with open(f"{HERE}/blocks.gguf", "wb") as file:
        file.write(blocks())
    mx.save_safetensors(f"{HERE}/blocks.safetensors", mx.load(f"{HERE}/blocks.gguf"))

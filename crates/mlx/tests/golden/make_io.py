"""Makes the files in io/: arrays as NumPy and Python MLX save them. Needs mlx==0.32.2 and numpy.

Each holds 0, 1, 2, .. in its shape and dtype, for bool whether that is odd, for complex64 with -1 times it as the
imaginary part; only scalar.npy holds 2.5.

`make_io.py check FOLDER` reads instead what the Rust test `writes_for_python` has written to FOLDER.
"""

import json
import os
import struct
import sys

import mlx.core as mx
import numpy as np

NAMES = "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 bfloat16 float32 complex64".split()


def counted(dtype, shape):
    x = mx.arange(int(np.prod(shape))).reshape(shape)
    if dtype == "bool":
        return x % 2 == 1
    if dtype == "complex64":
        return x.astype(mx.complex64) * mx.array(1 - 1j)
    return x.astype(getattr(mx, dtype))


def check(folder):
    wanted = {name: counted(name, (2, 3)) for name in NAMES}
    wanted["empty"] = mx.zeros((0, 3), mx.float32)
    wanted["scalar"] = mx.array(0.0)
    wanted["transposed"] = mx.arange(6).reshape(3, 2).T
    tensors, metadata = mx.load(f"{folder}/rust.safetensors", return_metadata=True)
    assert metadata == {"who": "ich < du"}, metadata
    assert tensors.keys() == wanted.keys()
    with mx.stream(mx.cpu):
        wanted["float64"] = mx.arange(6).reshape(2, 3).astype(mx.float64)
    for name, want in wanted.items():
        files = {name: mx.load(f"{folder}/rust_{name}.npy") for name in wanted}
        for got in (tensors, mx.load(f"{folder}/rust.npz"), mx.load(f"{folder}/rust_compressed.npz"), files):
            if name != "float64" or got is not tensors:
                assert got[name].dtype == want.dtype and got[name].shape == want.shape, name
                assert mx.array_equal(got[name], want), name
        if name != "bfloat16":
            for got in (np.load(f"{folder}/rust.npz")[name], np.load(f"{folder}/rust_{name}.npy")):
                assert got.dtype == np.array(want).dtype and np.array_equal(got, np.array(want)), name
    print("all as wanted")


def main():
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "io")
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    arrays = {name: counted(name, (2, 3)) for name in NAMES}
    arrays["empty"] = mx.zeros((0, 3), mx.float32)
    arrays["scalar"] = counted("float32", (1,)).reshape(())
    mx.save_safetensors("mlx.safetensors", arrays, {"format": "mlx", "key": "wert ä"})

    # What MLX does not write: float64, 8-bit floats, and a type it has nothing for.
    header = {
        "f64": {"dtype": "F64", "shape": [3], "data_offsets": [0, 24]},
        "f8": {"dtype": "F8_E4M3", "shape": [3], "data_offsets": [24, 27]},
        "f4": {"dtype": "F4", "shape": [2], "data_offsets": [27, 28]},
    }
    text = json.dumps(header).encode()
    with open("other.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + struct.pack("<3d", 0, 1, 2) + bytes([0, 1, 2, 255]))

    x = np.arange(6).reshape(2, 3)
    np.save("f4.npy", x.astype("<f4"))
    np.save("fortran.npy", np.asfortranarray(x.astype("<i4")))
    np.save("big_endian.npy", x.astype(">i2"))
    np.save("big_complex.npy", (x - 1j * x).astype(">c8"))
    np.save("bool.npy", x % 2 == 1)
    np.save("f2.npy", x.astype("<f2"))
    np.save("f8.npy", x.astype("<f8"))
    np.save("u8.npy", x.astype("u1"))
    np.save("scalar.npy", np.float32(2.5))
    np.save("empty.npy", np.zeros((0, 3), "<f4"))
    np.save("one.npy", np.arange(3, dtype="<i8"))
    np.save("complex128.npy", (x - 1j * x))
    np.save("text.npy", np.array(["a", "bc"]))
    with open("version2.npy", "wb") as file:
        np.lib.format.write_array(file, x.astype("<u2"), version=(2, 0))
    mx.save("bfloat16.npy", mx.arange(6).reshape(2, 3).astype(mx.bfloat16))
    mx.save("columns.npy", mx.arange(6).reshape(3, 2).astype(mx.float32).T)
    np.savez("stored.npz", a=x.astype("<f4"), b=np.arange(3))
    np.savez_compressed("deflated.npz", a=np.zeros((50, 20), "<f4"), b=np.asfortranarray(x))
    mx.savez("mlx.npz", a=mx.arange(6).reshape(2, 3).astype(mx.bfloat16), b=mx.arange(3))
    print(sum(os.path.getsize(name) for name in os.listdir(".")), "bytes")


if sys.argv[1:2] == ["check"]:
    check(sys.argv[2])
else:
    main()

"""What MLX gives with the kernels of crates/mlx-sys/native/cuda in the place of its own, without Rust: values and gradients
against doubles, and times. `MLX_CUDA_KERNELS=0` times MLX's own.

    python3 benches/cuda/mlx_hooked.py LIBMLXC [norm] [quantized] ...

LIBMLXC is the native library built for CUDA; Python's mlx must be of the same version and find its CUDA libraries.
"""

import ctypes
import os
import struct
import sys
import time

sys.setdlopenflags(os.RTLD_GLOBAL | os.RTLD_NOW)
import mlx.core as mx
import numpy as np
import torch

failures = []
native = ctypes.CDLL(sys.argv[1], mode=os.RTLD_GLOBAL | os.RTLD_NOW)
native.mlx_native_stream.restype = ctypes.c_void_p
native.mlx_native_cuda_kernel_runs.restype = ctypes.c_uint64
native.mlx_native_stream()
is_on = os.environ.get("MLX_CUDA_KERNELS") != "0"
DTYPES = {mx.float32: 3e-6, mx.float16: 2e-3, mx.bfloat16: 1.6e-2}


def runs(name):
    return native.mlx_native_cuda_kernel_runs(name.encode())


def wide(a):
    """The same numbers as doubles of PyTorch."""
    return torch.from_numpy(np.array(a.astype(mx.float32))).cuda().double()


def expect(what, got, want, limit):
    got, want = wide(got), want.double()
    error = ((got - want).abs().max() / want.abs().max().clamp_min(1e-30)).item()
    if got.shape != want.shape or not error <= limit:
        failures.append(what)
        print(f"WRONG {what}: {error:.2e}, {tuple(got.shape)} for {tuple(want.shape)}")


def ran(name, before, what):
    if is_on and runs(name) == before:
        failures.append(what)
        print(f"NOT RUN {name}: {what}")


def time_of(work, n=20):
    """Microseconds of one of `n` results, the least of some evaluations."""
    best = 1e9
    for _ in range(6):
        results = [work(i) for i in range(n)]
        mx.synchronize()
        start = time.perf_counter()
        mx.eval(results)
        mx.synchronize()
        best = min(best, time.perf_counter() - start)
    return best / n * 1e6


def normal(*shape, dtype=mx.float32):
    return mx.random.normal(shape).astype(dtype)


def norm():
    for dtype, limit in DTYPES.items():
        for shape in [(3, 5, 96), (2, 100), (4, 7), (2, 3, 4096), (1, 3)]:
            x, w, b, g = normal(*shape, dtype=dtype), normal(shape[-1], dtype=dtype), normal(shape[-1], dtype=dtype), normal(*shape, dtype=dtype)
            mx.eval(x, w, b, g)
            for centered in (True, False):
                name = "LayerNorm" if centered else "RMSNorm"
                f = (lambda x, w, b: mx.fast.layer_norm(x, w, b, 1e-5)) if centered else (lambda x, w, b: mx.fast.rms_norm(x, w, 1e-5))
                leaves = [wide(t).requires_grad_() for t in (x, w, b)]
                xs, ws, bs = leaves
                mean = xs.mean(-1, keepdim=True) if centered else 0
                want = (xs - mean) * torch.rsqrt((xs - mean).square().mean(-1, keepdim=True) + 1e-5) * ws + (bs if centered else 0)
                before = runs(name)
                expect(f"{name} {dtype} {shape}", f(x, w, b), want.detach(), limit)
                ran(name, before, shape)
                before = runs(name + "VJP")
                _, grads = mx.vjp(f, [x, w, b], [g])
                wants = torch.autograd.grad(want, leaves[: 3 if centered else 2], wide(g))
                for which, got, want_g in zip("xwb", grads, wants):
                    expect(f"{name} {dtype} {shape} gradient of {which}", got, want_g, limit * 2)
                ran(name + "VJP", before, shape)
    x = normal(4, 6, 8).swapaxes(0, 1)
    expect("transposed", mx.fast.layer_norm(x, None, None, 1e-5), torch.nn.functional.layer_norm(wide(x), (8,)), 3e-6)
    x = normal(6, 8).T
    expect("columns", mx.fast.layer_norm(x, None, None, 1e-5), torch.nn.functional.layer_norm(wide(x), (6,)), 3e-6)
    expect("in place", mx.fast.layer_norm(x + 1, None, None, 1e-5) + 1, torch.nn.functional.layer_norm(wide(x) + 1, (6,)) + 1, 3e-6)
    for dtype in (mx.float32, mx.bfloat16):
        x, w, b = normal(8, 2048, 4096, dtype=dtype), normal(4096, dtype=dtype), normal(4096, dtype=dtype)
        mx.eval(x, w, b)
        print(f"layer_norm {dtype} [8, 2048, 4096]: {time_of(lambda i: mx.fast.layer_norm(x, w, b, 1e-5)):.1f} us")
        f = lambda x, w, b: mx.fast.layer_norm(x, w, b, 1e-5)
        print(f"  gradient {time_of(lambda i: mx.vjp(f, [x, w, b], [x])[1], n=6):.1f} us")
    x, w = normal(4, 128, 1024), normal(1024)
    mx.eval(x, w)
    print(f"rms_norm [4, 128, 1024]: {time_of(lambda i: mx.fast.rms_norm(x, w, 1e-5), n=200):.1f} us")


def quantized():
    for dtype, limit in DTYPES.items():
        for bits in (4, 8):
            for group in (32, 64, 128):
                for n_x, rows, size in [(1, 64, 256), (5, 96, 896), (16, 128, 512)]:
                    packed = mx.quantize(normal(rows, size, dtype=dtype), group, bits)
                    whole = wide(mx.dequantize(*[p.astype(mx.float32) if k else p for k, p in enumerate(packed)], group, bits))
                    x = normal(n_x, size, dtype=dtype)
                    before = runs("QuantizedMatmul")
                    y = mx.quantized_matmul(x, *packed, True, group, bits)
                    what = f"quantized {dtype} {bits} bits/{group} {n_x}x{rows}x{size}"
                    expect(what, y, wide(x) @ whole.T, limit)
                    ran("QuantizedMatmul", before, what)
    for n, k in [(14336, 4096), (4096, 4096)]:
        for bits, dtype in [(4, mx.bfloat16), (8, mx.bfloat16), (4, mx.float32)]:
            packs = [mx.quantize(normal(n, k, dtype=dtype), 64, bits) for _ in range(8)]
            mx.eval(packs)
            for n_x in (1, 4, 8, 16):
                x = normal(n_x, k, dtype=dtype)
                mx.eval(x)
                t = time_of(lambda i: mx.quantized_matmul(x, *packs[i % 8], True, 64, bits), n=96)
                print(f"quantized {bits} bits/64 {dtype} {n_x}x{n}x{k}: {t:.1f} us")


class Handle(ctypes.Structure):
    """An array or a stream of mlx-c."""

    _fields_ = [("ctx", ctypes.c_void_p)]


def fast(op, inputs):
    """Applies an operation, as bytes, to tensors of PyTorch, as Rust does."""
    native.mlx_array_new_data.restype = native.mlx_array_new.restype = Handle
    native.mlx_array_new_data.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    native.mlx_native_fast.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, Handle]
    native.mlx_array_data_uint8.restype = ctypes.c_void_p
    native.mlx_native_error.restype = ctypes.c_char_p
    for f in (native.mlx_array_eval, native.mlx_array_data_uint8, native.mlx_array_nbytes):
        f.argtypes = [Handle]
    numbers = {torch.bool: 0, torch.float16: 9, torch.float32: 10, torch.bfloat16: 12}
    arrays = (Handle * len(inputs))()
    held = [t.contiguous().cpu() for t in inputs]
    for i, t in enumerate(held):
        shape = (ctypes.c_int * t.dim())(*t.shape)
        arrays[i] = native.mlx_array_new_data(t.data_ptr(), ctypes.addressof(shape), t.dim(), numbers[t.dtype])
    result = native.mlx_array_new()
    stream = Handle(native.mlx_native_stream())
    if native.mlx_native_fast(ctypes.addressof(result), op, len(op), ctypes.addressof(arrays), len(inputs), stream) or native.mlx_array_eval(result):
        raise RuntimeError(native.mlx_native_error())
    data = ctypes.string_at(native.mlx_array_data_uint8(result), native.mlx_array_nbytes(result))
    return torch.frombuffer(bytearray(data), dtype=inputs[0].dtype).reshape(inputs[0].shape).cuda()


def attention():
    from kernels import attention_in_double

    for dtype, limit in [(torch.float32, 6e-6), (torch.float16, 4e-3), (torch.bfloat16, 3e-2)]:
        for batch, heads, kv_heads, queries, keys, dim in [(1, 4, 2, 1, 33, 64), (2, 6, 2, 4, 500, 128), (1, 8, 1, 9, 2000, 80)]:
            for kind, number in [("", 0), ("causal", 1), ("mask", 2), ("sinks", 0)]:
                q = torch.randn(batch, heads, queries, dim, device="cuda").to(dtype)
                k, v = (torch.randn(batch, kv_heads, keys, dim, device="cuda").to(dtype) for _ in "kv")
                mask = torch.rand(queries, keys, device="cuda") < 0.8 if kind == "mask" else None
                sinks = torch.randn(heads, device="cuda").to(dtype) if kind == "sinks" else None
                op = struct.pack("<HfBBB", 236, 0.1, number, sinks is not None, 0)
                before = runs("ScaledDotProductAttention")
                got = fast(op, [t for t in (q, k, v, mask, sinks) if t is not None])
                what = f"attention {dtype} {(batch, heads, kv_heads, queries, keys, dim)} {kind}"
                want = attention_in_double(q, k, v, 0.1, kind == "causal", mask, sinks)
                error = ((got.double() - want).abs().max() / want.abs().max()).item()
                if not error <= limit:
                    failures.append(what)
                    print(f"WRONG {what}: {error:.2e}")
                ran("ScaledDotProductAttention", before, what)


def activation():
    functions = [
        ("Gelu", 238, lambda x, _: torch.nn.functional.gelu(x)), ("GeluApprox", 239, lambda x, _: torch.nn.functional.gelu(x, approximate="tanh")),
        ("Silu", 240, lambda x, _: torch.nn.functional.silu(x)), ("SwiGlu", 241, lambda x, g: torch.nn.functional.silu(x) * g),
    ]
    for dtype, limit in [(torch.float32, 3e-6), (torch.float16, 2e-3), (torch.bfloat16, 1.6e-2)]:
        for shape in [(1,), (7, 33), (64, 128)]:
            for name, number, reference in functions:
                x, g = (3 * torch.randn(shape, device="cuda").to(dtype) for _ in "xg")
                before = runs(name)
                got = fast(struct.pack("<H", number), [x, g] if name == "SwiGlu" else [x]).double()
                want = reference(x.double(), g.double())
                error = ((got - want).abs().max() / want.abs().max().clamp_min(0.1)).item()
                if not error <= limit:
                    failures.append(name)
                    print(f"WRONG {name} {dtype} {shape}: {error:.2e}")
                ran(name, before, shape)


def rope():
    for dtype, limit in DTYPES.items():
        for shape, dims, traditional, offset, freqs in [
            ((2, 3, 5, 64), 64, False, 7, False), ((2, 3, 5, 64), 32, True, -3, False), ((1, 9, 1, 80), 80, False, 1000, False),
            ((2, 8, 4, 128), 64, False, None, True), ((1, 2, 3, 10), 6, True, 2, False), ((3, 1, 2, 9), 4, False, None, False),
        ]:
            x, g = normal(*shape, dtype=dtype), normal(*shape, dtype=dtype)
            offsets = mx.array(offset) if offset is not None else mx.array([5, -2, 9][: shape[0]])
            w = 10000.0 ** (-torch.arange(0, dims, 2).double().cuda() / dims)
            table = mx.array(np.array((1 / w).cpu().numpy(), dtype=np.float32)) if freqs else None
            f = lambda x: mx.fast.rope(x, dims, traditional=traditional, base=None if freqs else 10000.0, scale=0.5, offset=offsets, freqs=table)
            xs = wide(x).requires_grad_()
            position = (torch.arange(shape[2]).cuda()[None, :] + wide(offsets).reshape(-1, 1)) * 0.5
            angle = (position[:, :, None] * w)[:, None]
            a, b = (xs[..., 0:dims:2], xs[..., 1:dims:2]) if traditional else (xs[..., : dims // 2], xs[..., dims // 2 : dims])
            turned = [a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()]
            turned = torch.stack(turned, -1).flatten(-2) if traditional else torch.cat(turned, -1)
            want = torch.cat([turned, xs[..., dims:]], -1)
            before, what = runs("RoPE"), f"rope {dtype} {shape} dims {dims} traditional={traditional} offset {offset}"
            expect(what, f(x), want.detach(), max(limit, 1e-4 if offset == 1000 else 0))
            ran("RoPE", before, what)
            _, (got,) = mx.vjp(f, [x], [g])
            expect(what + " gradient", got, torch.autograd.grad(want, xs, wide(g))[0], max(limit, 1e-4 if offset == 1000 else 0))
            swapped = normal(shape[0], shape[2], shape[1], shape[3], dtype=dtype).swapaxes(1, 2)
            expect(what + " swapped", f(swapped), wide(f(mx.contiguous(swapped))), 1e-7)
    for shape, dtype in [((8, 32, 2048, 128), mx.bfloat16), ((8, 8, 2048, 128), mx.float32), ((1, 32, 1, 128), mx.bfloat16)]:
        x = normal(*shape, dtype=dtype)
        mx.eval(x)
        print(f"rope {dtype} {shape}: {time_of(lambda i: mx.fast.rope(x, 128, traditional=False, base=1e4, scale=1.0, offset=0)):.1f} us")


if __name__ == "__main__":
    mx.random.seed(0)
    for part in sys.argv[2:] or ["norm", "quantized", "attention", "activation", "rope"]:
        globals()[part]()
    print("all right" if not failures else f"{len(failures)} wrong", "kernels", "on" if is_on else "off")

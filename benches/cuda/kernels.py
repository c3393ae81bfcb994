"""Checks the kernels of crates/mlx-sys/native/cuda against doubles, and times them beside PyTorch. Needs an NVIDIA GPU.

    python3 benches/cuda/kernels.py [norm] [quantized] ...
"""

import sys

import torch

from harness import Kernel, copy_bandwidth, error_of, int64, random_packed, time_of

NAMES = {torch.float32: "float", torch.float16: "float16", torch.bfloat16: "bfloat16"}
LIMITS = {torch.float32: 3e-6, torch.float16: 1.2e-3, torch.bfloat16: 9e-3}
failures = []


def expect(what, got, want, dtype, scale=1.0):
    error = error_of(got, want)
    if not error <= LIMITS[dtype] * scale:
        failures.append(what)
        print(f"WRONG {what}: {error:.2e}")


def row_shape(size, itemsize, aligned, fewest, most):
    """As `Shape::of` of cuda_norm.cpp."""
    n = 16 // itemsize if aligned and size % (16 // itemsize) == 0 else 1
    loads = -(-size // n)
    wanted = max(4, 16 // n) // (2 if most <= 16 and n == 8 else 1)
    threads = fewest
    while threads < 1024 and threads * wanted < loads:
        threads *= 2
    return threads, -(-loads // threads), n


def norm_call(dtype, size, centered):
    threads, vectors, n = row_shape(size, dtype.itemsize, True, 8, 32)
    kernel = Kernel("norm", f"norm<{NAMES[dtype]}, {str(centered).lower()}, {threads}, {vectors}, {n}>")
    per_block = 128 // threads if threads <= 32 else 1

    def call(x, w, b, y):
        rows = x.numel() // size
        kernel((-(-rows // per_block), 1, 1), threads * per_block, x, w, b, y, int64(rows), size, 1e-5)

    return call


def norm_gradient_call(dtype, size, centered):
    threads, vectors, n = row_shape(size, dtype.itemsize, True, 32, 16)
    name = f"norm_gradient<{NAMES[dtype]}, {str(centered).lower()}, true, {threads}, {vectors}, {n}>"
    kernel, add = Kernel("norm", name), Kernel("norm", f"add_rows<{NAMES[dtype]}>")
    width = size * (2 if centered else 1)

    def call(x, w, g, gx, gw, gb):
        rows = x.numel() // size
        blocks = min(rows, max(1, 1024 // threads) * 132)
        partial = torch.empty(blocks, width, device="cuda")
        kernel((blocks, 1, 1), threads, x, w, g, gx, partial, int64(rows), size, 1e-5)
        add((-(-width // 32), 1, 1), 1024, partial, gw, gb, blocks, width, size)

    return call


def norm():
    for dtype in NAMES:
        for rows, size in [(7, 64), (33, 100), (5, 1), (130, 768), (64, 4096), (3, 16384), (1000, 96), (3000, 4096)]:
            for centered in (True, False):
                x = (torch.randn(rows, size, device="cuda") * 3 + 2).to(dtype)
                w, b, g = (torch.randn(n, device="cuda").to(dtype) for n in (size, size, (rows, size)))
                b = b if centered else None
                y = torch.full_like(x, float("nan"))
                norm_call(dtype, size, centered)(x, w, b, y)
                leaves = [t.double().requires_grad_() for t in (x, w, b if centered else w)]
                xs, ws, bs = leaves
                mean = xs.mean(-1, keepdim=True) if centered else 0
                inner = (xs - mean) * torch.rsqrt((xs - mean).square().mean(-1, keepdim=True) + 1e-5)
                want = inner * ws + (bs if centered else 0)
                what = f"norm {dtype} {rows}x{size} centered={centered}"
                expect(what, y, want.detach(), dtype)
                if size > 8192:
                    continue
                gx, gw, gb = torch.full_like(x, float("nan")), torch.empty_like(w), torch.empty_like(w)
                norm_gradient_call(dtype, size, centered)(x, w, g, gx, gw, gb if centered else None)
                grads = torch.autograd.grad(want, leaves[: 3 if centered else 2], g.double())
                expect(what + " gx", gx, grads[0], dtype)
                expect(what + " gw", gw, grads[1], dtype)
                if centered:
                    expect(what + " gb", gb, grads[2], dtype)
    for dtype in (torch.float32, torch.bfloat16):
        sets = [torch.randn(8, 2048, 4096, device="cuda").to(dtype) for _ in range(2)]
        w, b = (torch.randn(4096, device="cuda").to(dtype) for _ in range(2))
        y, gw, gb = torch.empty_like(sets[0]), torch.empty_like(w), torch.empty_like(w)
        call = norm_call(dtype, 4096, True)
        ours = time_of(lambda i: call(sets[i % 2], w, b, y))
        torchs = time_of(lambda i: torch.nn.functional.layer_norm(sets[i % 2], (4096,), w, b))
        bytes_moved = 2 * y.nbytes
        report(f"layer_norm {dtype} [8, 2048, 4096]", ours, torchs, bytes_moved)
        back = norm_gradient_call(dtype, 4096, True)
        ours = time_of(lambda i: back(sets[i % 2], w, sets[1 - i % 2], y, gw, gb))
        stats = torch.native_layer_norm(sets[0], (4096,), w, b, 1e-5)[1:]
        backward = torch.ops.aten.native_layer_norm_backward
        torchs = time_of(
            lambda i: backward(sets[1 - i % 2], sets[i % 2], (4096,), *stats, w, b, [True, True, True])
        )
        report(f"layer_norm gradient {dtype} [8, 2048, 4096]", ours, torchs, 3 * y.nbytes)
    x, w = torch.randn(4, 128, 1024, device="cuda"), torch.randn(1024, device="cuda")
    y, call = torch.empty_like(x), norm_call(torch.float32, 1024, False)
    ours = time_of(lambda i: call(x, w, None, y))
    report("rms_norm float32 [4, 128, 1024]", ours, time_of(lambda i: torch.nn.functional.rms_norm(x, (1024,), w)), 2 * x.nbytes)


def quantized_shape(n_x, rows, size, bits, group):
    """As cuda_quantized.cpp chooses."""
    at_once = 4 * 128 // bits
    groups = max(1, at_once // group)
    sets = 1
    while sets < (n_x * groups + 7) // 8:
        sets *= 2
    tiles, n_steps, split = -(-rows // 16), -(-size // at_once), 1
    while split < 8 and tiles * split < 16 * 132 and n_steps >= 4 * split:
        split *= 2
    return sets, split, (1 if sets > 2 else 2 if sets > 1 else 4)


def quantized_call(dtype, bits, group, sets, split, steps):
    name = f"quantized_product<{NAMES[dtype]}, {bits}, {group}, {sets}, {split}, {steps}>"
    kernel = Kernel("quantized", name)

    def call(x, w, scales, biases, y):
        rows, size = w.shape[0], x.shape[-1]
        tiles, per_block = -(-rows // 16), 8 // split
        kernel((-(-tiles // per_block), 1, 1), 256, x, w, scales, biases, y, x.shape[0], rows, size)

    return call


def quantized():
    for dtype in NAMES:
        for bits in (4, 8):
            for group in (32, 64, 128):
                for n_x, rows, size in [(1, 48, 256), (3, 17, 128), (16, 100, 896), (5, 1024, 4096), (1, 4096, 1152)]:
                    w, scales, biases, whole = random_packed(rows, size, bits, group, dtype)
                    x = torch.randn(n_x, size, device="cuda").to(dtype)
                    y = torch.full((n_x, rows), float("nan"), device="cuda", dtype=dtype)
                    quantized_call(dtype, bits, group, *quantized_shape(n_x, rows, size, bits, group))(x, w, scales, biases, y)
                    what = f"quantized {dtype} {bits} bits, groups of {group}, {n_x}x{rows}x{size}"
                    expect(what, y, x.double() @ whole.T, dtype)
    dtype = torch.bfloat16
    for n, k in [(14336, 4096), (4096, 14336), (4096, 4096), (1024, 4096)]:
        for bits, group in [(4, 64), (8, 64), (4, 32), (4, 128)]:
            copies = max(2, int(200e6 / (n * k * bits / 8)))
            sets_of = [random_packed(n, k, bits, group, dtype)[:3] for _ in range(min(copies, 12))]
            moved = sum(t.nbytes for t in sets_of[0])
            for n_x in (1, 2, 4, 8, 16) if (n, k) == (14336, 4096) and (bits, group) != (4, 128) else (1,):
                x, y = torch.randn(n_x, k, device="cuda").to(dtype), torch.empty(n_x, n, device="cuda", dtype=dtype)
                sets, split, steps = quantized_shape(n_x, n, k, bits, group)
                results = []
                options = [(s, u) for s in (1, 2, 4, 8) for u in (1, 2, 4)] if n_x in (1, 4) and group == 64 else [(split, steps)]
                for s, u in options:
                    call = quantized_call(dtype, bits, group, sets, s, u)
                    results.append((time_of(lambda i: call(x, *sets_of[i % len(sets_of)], y), n=24), s, u))
                results.sort()
                chosen = [t for t, s, u in results if (s, u) == (split, steps)]
                best = " ".join(f"{t:.1f}(split {s}, steps {u})" for t, s, u in results[:3])
                report(f"quantized {bits} bits/{group} {n_x}x{n}x{k}, chosen split {split} steps {steps}, best {best}",
                       chosen[0], None, moved)
            del sets_of


def report(what, ours, torchs, bytes_moved):
    beside = f"PyTorch {torchs:8.1f} us, " if torchs else ""
    rate = bytes_moved / ours * 1e6
    print(f"{what}: {ours:8.1f} us, {beside}{rate / 1e12:.2f} TB/s, {100 * rate / bandwidth:.0f} % of a copy", flush=True)


if __name__ == "__main__":
    torch.manual_seed(0)
    bandwidth = copy_bandwidth()
    print(f"{torch.cuda.get_device_name()}, copy {bandwidth / 1e12:.2f} TB/s")
    for part in sys.argv[1:] or ["norm", "quantized"]:
        globals()[part]()
    print("all right" if not failures else f"{len(failures)} wrong")

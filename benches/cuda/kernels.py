"""Checks the kernels of crates/mlx-sys/native/cuda against doubles, and times them beside PyTorch. Needs an NVIDIA GPU.

    python3 benches/cuda/kernels.py [norm] [quantized] [rows] [attention] [hidden_keys] [gemv] [rope]
"""

import math
import struct
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
    vectors = 1
    while vectors * threads < loads:
        vectors *= 2
    return threads, vectors, n


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
        blocks = min(rows, max(1, 512 // threads) * 132)
        partial = torch.empty(blocks, width, device="cuda")
        kernel((blocks, 1, 1), threads, x, w, g, gx, partial, int64(rows), size, 1e-5)
        add((-(-width // 32), 1, 1), 1024, partial, gw, gb, blocks, width, size)

    return call


def norm():
    for dtype in NAMES:
        for rows, size in [(7, 64), (33, 100), (5, 2), (130, 768), (64, 4096), (3, 16384), (1000, 96), (3000, 4096)]:
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
    while split < 8 and tiles * split < 32 * 132 and n_steps >= 4 * split:
        split *= 2
    steps = 2 if sets > 1 or (2 * tiles * split >= 32 * 132 and n_steps <= 4 * split) else 4
    while steps > 1 and size % (steps * at_once):
        steps //= 2
    return sets, split, steps


def quantized_call(dtype, bits, group, sets, split, steps, size):
    at_once = 4 * 128 // bits
    whole = size % (steps * at_once) == 0
    name = f"quantized_product<{NAMES[dtype]}, {bits}, {group}, {sets}, {split}, {steps}, {str(whole).lower()}>"
    kernel = Kernel("quantized", name)

    def call(x, w, scales, biases, y):
        rows, size = w.shape[0], x.shape[-1]
        tiles, per_block = -(-rows // 16), 8 // split
        kernel((-(-tiles // per_block), 1, 1), 256, x, w, scales, biases, y, x.shape[0], rows, size, 1)

    return call


def quantized():
    for dtype in NAMES:
        for bits in (4, 8):
            for group in (32, 64, 128):
                for n_x, rows, size in [(1, 48, 256), (3, 17, 128), (16, 100, 896), (5, 1024, 4096), (1, 4096, 1152)]:
                    w, scales, biases, whole = random_packed(rows, size, bits, group, dtype)
                    x = torch.randn(n_x, size, device="cuda").to(dtype)
                    y = torch.full((n_x, rows), float("nan"), device="cuda", dtype=dtype)
                    quantized_call(dtype, bits, group, *quantized_shape(n_x, rows, size, bits, group), size)(x, w, scales, biases, y)
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
                options = [(split, steps)]
                for s, u in options:
                    call = quantized_call(dtype, bits, group, sets, s, u, k)
                    results.append((time_of(lambda i: call(x, *sets_of[i % len(sets_of)], y), n=24), s, u))
                results.sort()
                chosen = [t for t, s, u in results if (s, u) == (split, steps)]
                report(f"quantized {bits} bits/{group} {n_x}x{n}x{k} (split {split}, steps {steps})", chosen[0], None, moved)
            del sets_of


def rows():
    for dtype in (torch.float16, torch.bfloat16):
        for n, k in [(100, 7), (65, 1024), (3, 5000), (300, 8192)]:
            x, y = torch.randn(n, k, device="cuda").to(dtype), torch.empty(n, device="cuda", dtype=dtype)
            sums_call(dtype, k)(x, y)
            expect(f"sums {dtype} {n}x{k}", y, x.double().sum(-1), dtype)
    for width, chunk, bytes_at_once in [(1024, "Vector<uint32_t, 4>", 16), (12, "Vector<uint32_t, 2>", 8), (3, "uint16_t", 2)]:
        x = torch.randn(500, width, device="cuda").bfloat16()
        index = torch.randint(-500, 500, (777,), device="cuda", dtype=torch.int32)
        y = torch.full((777, width), float("nan"), device="cuda", dtype=torch.bfloat16)
        gather_call(chunk, bytes_at_once)(x, index, y)
        expect(f"rows of {width}", y, x[index.long()], torch.bfloat16)
    x, y = [torch.randn(8192, 8192, device="cuda").bfloat16() for _ in range(3)], torch.empty(8192, device="cuda").bfloat16()
    call = sums_call(torch.bfloat16, 8192)
    report("sums 8192x8192", time_of(lambda i: call(x[i % 3], y)), time_of(lambda i: x[i % 3].sum(-1)), x[0].nbytes)
    x = torch.randn(131072, 1024, device="cuda").bfloat16()
    index = torch.randint(0, 131072, (65536,), device="cuda", dtype=torch.int32)
    y, call = torch.empty(65536, 1024, device="cuda").bfloat16(), gather_call("Vector<uint32_t, 4>", 16)
    report("gather 65536 of 131072x1024", time_of(lambda i: call(x, index, y)), time_of(lambda i: x[index]), 2 * y.nbytes)


def sums_call(dtype, k):
    threads = 32 if k <= 1024 else 256
    kernel = Kernel("rows", f"sum_rows<{NAMES[dtype]}, {threads}, {8 if k % 8 == 0 else 1}>")
    return lambda x, y: kernel((-(-len(y) // (256 // threads)), 1, 1), 256, x, y, int64(len(y)), k)


def gather_call(chunk, bytes_at_once):
    kernel = Kernel("rows", f"gather_rows<{chunk}, int>")

    def call(x, index, y):
        chunks = x.shape[1] * x.itemsize // bytes_at_once
        size = len(index) * chunks
        kernel((-(-size // 1024), 1, 1), 256, x, index, y, int64(len(x)), chunks, int64(size))

    return call


def attention_call(q, k, v, scale, causal=False, mask=None, sinks=None, busy=2, otherwise=(None, None)):
    """As `Attention::run` of cuda_attention.cpp; returns the launches and the result."""
    batch, heads, queries, dim = q.shape
    kv_heads, keys = k.shape[1:3]
    name, warps = NAMES[q.dtype], 4
    bytes_of_mask = mask.itemsize if mask is not None else 0
    group, lanes = heads // kv_heads, dim * q.itemsize // 16
    chunks = -(-(group * queries) // 16)

    def split(turn):
        most = -(-keys // turn)
        splits = min(max(busy * 132 // (chunks * batch * kv_heads), 1), max(1, most // 2))
        turns = -(-most // splits)
        return -(-most // turns), turns * turn

    kernel = None
    if queries == 1 and group in (1, 2, 4) and lanes & (lanes - 1) == 0 and lanes <= 32 and bytes_of_mask <= 1:
        splits, keys_of_block = split(16 * 32 // lanes)
        if keys_of_block <= 4 * 16 * 32 // lanes:
            kernel = Kernel("decode_attention", f"decode_attention<{name}, {dim}, {group}, {str(mask is not None).lower()}>")
    if kernel is None:
        splits, keys_of_block = split(16 * warps)
        kernel = Kernel("attention", f"attention<{name}, {dim}, {warps}, {str(causal).lower()}, {bytes_of_mask}>")
    join = Kernel("attention", f"join<{name}, {dim}, {str(bytes_of_mask > 1).lower()}>")
    out = torch.full((batch, heads, queries, dim), float("nan"), device="cuda", dtype=q.dtype)
    rows = batch * heads * queries
    partial = torch.empty(rows, splits, dim + 2, device="cuda") if splits > 1 else None
    strides = lambda t, n: struct.pack(f"{n}q", *t.stride()[:n])
    of_mask = strides(mask, 4) if mask is not None else bytes(32)
    sizes = struct.pack("5if", heads, kv_heads, queries, keys, keys_of_block, scale * math.log2(math.e))

    def call(k=k, v=v):
        kernel((splits, chunks, batch * kv_heads), 32 * warps, q, k, v, mask, sinks, *otherwise, None if splits > 1 else out, partial,
               strides(q, 3), strides(k, 3), strides(v, 3), of_mask, sizes)
        if splits > 1:
            join((rows, 1, 1), 256, partial, sinks, *otherwise, out, splits, heads, queries)

    return call, out


def attention_in_double(q, k, v, scale, causal, mask, sinks):
    group = q.shape[1] // k.shape[1]
    q, k, v = q.double(), k.double().repeat_interleave(group, 1), v.double().repeat_interleave(group, 1)
    scores = q @ k.transpose(-1, -2) * scale
    if causal:
        seen = torch.ones(scores.shape[-2:], device="cuda", dtype=torch.bool).tril(scores.shape[-1] - scores.shape[-2])
        scores = scores.masked_fill(~seen, -torch.inf)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min) if mask.dtype == torch.bool else scores + mask.double()
    if sinks is not None:
        sink = sinks.double().view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, sink], -1)
    weights = torch.softmax(scores, -1).nan_to_num(0.0)
    return weights[..., : k.shape[2]] @ v


def attention():
    shapes = [(1, 4, 4, 1, 1, 64), (2, 8, 2, 3, 77, 128), (1, 6, 1, 16, 300, 80), (1, 2, 2, 5, 1000, 96), (2, 4, 2, 2, 33, 256),
              (1, 32, 8, 1, 4096, 128), (2, 8, 8, 128, 128, 64), (3, 4, 4, 1, 50, 64), (2, 8, 4, 1, 333, 128), (1, 8, 2, 1, 1000, 128)]
    for dtype in NAMES:
        for batch, heads, kv_heads, queries, keys, dim in shapes:
            for kind in ("", "causal", "bool", "added", "sinks", "causal sinks"):
                if "causal" in kind and keys < queries:
                    continue
                q = torch.randn(batch, heads, queries, dim, device="cuda").to(dtype)
                # Keys and values as a cache has them: part of a longer array, heads behind positions.
                k, v = (torch.randn(batch, keys + 5, kv_heads, dim, device="cuda").to(dtype).transpose(1, 2)[:, :, :keys] for _ in "kv")
                mask = None
                if kind == "bool":
                    mask = (torch.rand(batch, 1, queries, keys, device="cuda") < 0.7).expand(batch, heads, queries, keys)
                    mask = mask.clone()
                    mask[0, 0, 0] = False
                elif kind == "added":
                    mask = torch.randn(queries, keys, device="cuda").to(dtype).expand(batch, heads, queries, keys)
                sinks = torch.randn(heads, device="cuda").to(dtype) if "sinks" in kind else None
                call, out = attention_call(q, k, v, 0.1, "causal" in kind, mask, sinks)
                call()
                what = f"attention {dtype} {(batch, heads, kv_heads, queries, keys, dim)} {kind}"
                want = attention_in_double(q, k, v, 0.1, "causal" in kind, mask, sinks)
                expect(what, out, want, dtype, 2)
                flag, number = torch.zeros(1, device="cuda", dtype=torch.bool), torch.full((1,), 0.5, device="cuda", dtype=dtype)
                call, out = attention_call(q, k, v, 0.1, "causal" in kind, mask, sinks, otherwise=(flag, number))
                call()
                expect(what + " otherwise", out, torch.full_like(want, 0.5), dtype)
                flag.fill_(True)
                call()
                expect(what + " flag", out, want, dtype, 2)
    sdpa = torch.nn.functional.scaled_dot_product_attention
    for dtype, batch, heads, kv_heads, queries, keys, dim in [
        (torch.bfloat16, 1, 32, 8, 1, 4096, 128), (torch.bfloat16, 1, 32, 8, 1, 32768, 128), (torch.bfloat16, 8, 32, 8, 1, 4096, 128),
        (torch.bfloat16, 1, 32, 8, 4, 4096, 128), (torch.bfloat16, 1, 32, 8, 16, 4096, 128), (torch.bfloat16, 1, 32, 32, 1, 4096, 64),
        (torch.float32, 1, 32, 8, 1, 4096, 128), (torch.float32, 2, 8, 8, 128, 128, 64), (torch.float32, 1, 6, 6, 1, 1500, 64),
    ]:
        q = torch.randn(batch, heads, queries, dim, device="cuda").to(dtype)
        n = max(1, min(8, int(3e8 / (batch * kv_heads * keys * dim * q.itemsize))))
        kv = [[torch.randn(batch, kv_heads, keys, dim, device="cuda").to(dtype) for _ in "kv"] for _ in range(n)]
        results = []
        for busy in (2, 1):
            call, _ = attention_call(q, *kv[0], dim**-0.5, busy=busy)
            results.append(time_of(lambda i: call(*kv[i % n])))
        torchs = time_of(lambda i: sdpa(q, *kv[i % n], enable_gqa=heads != kv_heads))
        moved = 2 * kv[0][0].nbytes
        report(f"attention {dtype} {(batch, heads, kv_heads, queries, keys, dim)} {[round(t, 1) for t in results]}", results[0], torchs, moved)
        del kv


def hidden_keys():
    """A cache of fixed capacity of which a part is filled: what is hidden is not read, and may be anything."""
    for dtype in NAMES:
        for heads, kv_heads, capacity, filled, dim in [(16, 8, 1024, 40, 128), (8, 8, 4096, 3000, 64), (8, 2, 512, 1, 128)]:
            q = torch.randn(2, heads, 1, dim, device="cuda").to(dtype)
            k, v = (torch.randn(2, kv_heads, capacity, dim, device="cuda").to(dtype) for _ in "kv")
            mask = (torch.arange(capacity, device="cuda") < filled).expand(2, heads, 1, capacity)
            call, out = attention_call(q, k, v, 0.1, mask=mask)
            call()
            what = f"attention {dtype} {(heads, kv_heads, capacity, filled, dim)}"
            expect(what, out, attention_in_double(q, k[:, :, :filled], v[:, :, :filled], 0.1, False, None, None), dtype, 2)
    q = torch.randn(1, 16, 1, 128, device="cuda").bfloat16()
    kv = [[torch.randn(1, 8, 1024, 128, device="cuda").bfloat16() for _ in "kv"] for _ in range(4)]
    for filled in (16, 600, 1024):
        mask = (torch.arange(1024, device="cuda") < filled).expand(1, 16, 1, 1024)
        call, _ = attention_call(q, *kv[0], 0.1, mask=mask)
        report(f"attention of {filled} keys in 1024", time_of(lambda i: call(*kv[i % 4])), None, filled * 8 * 256 * 2)


def gemv_call(x, w, gated=None, addend=None):
    """As cuda_gemv.cpp chooses."""
    n, k = w.shape
    chunks, most, split = k * x.itemsize // 16, 4 if gated is not None else 8, 1
    vectors = lambda: -(-chunks // (32 * split))
    while split < 8 and vectors() > 1 and (vectors() > most or n * split < 132 * 16):
        split *= 2
    kernel = Kernel("gemv", f"gemv<{NAMES[x.dtype]}, {vectors()}, {split}, {str(gated is not None).lower()}>")
    y = torch.full((n,), float("nan"), device="cuda", dtype=x.dtype)
    rows = 8 // split
    return lambda w=w, gated=gated: kernel((-(-n // rows), 1, 1), 256, x, w, gated, addend, y, n, k, 1), y


def gemv():
    for dtype in NAMES:
        for n, k in [(2, 64), (1000, 1024), (3072, 1024), (1024, 3072), (257, 8192), (17, 24)]:
            x, c = (torch.randn(size, device="cuda").to(dtype) for size in (k, n))
            w, other = (torch.randn(n, k, device="cuda").to(dtype) / k**0.5 for _ in "wo")
            wide = x.double() @ w.double().T
            for what, gated, addend, want in [
                ("", None, None, wide),
                (" and a sum", None, c, wide + c.double()),
                (" gated", other, None, torch.nn.functional.silu(wide) * (x.double() @ other.double().T)),
            ]:
                call, y = gemv_call(x, w, gated, addend)
                call()
                expect(f"gemv {dtype} {n}x{k}{what}", y, want, dtype, 4 if gated is not None else 2)
    for n, k in [(3072, 1024), (1024, 3072), (14336, 4096), (151936, 1024)]:
        x, ws = torch.randn(k, device="cuda").bfloat16(), [torch.randn(n, k, device="cuda").bfloat16() for _ in range(3)]
        call, _ = gemv_call(x, ws[0])
        ours = time_of(lambda i: call(ws[i % 3]))
        report(f"gemv {n}x{k}", ours, time_of(lambda i: ws[i % 3] @ x), ws[0].nbytes)
        call, _ = gemv_call(x, ws[0], ws[1])
        report(f"gated gemv {n}x{k}", time_of(lambda i: call(ws[i % 3], ws[(i + 1) % 3])), None, 2 * ws[0].nbytes)


def rope():
    for batch, heads, positions, dim, dtype in [(8, 32, 2048, 128, torch.bfloat16), (8, 8, 2048, 128, torch.float32)]:
        x = [torch.randn(batch, heads, positions, dim, device="cuda").to(dtype) for _ in range(2)]
        y, offset = torch.empty_like(x[0]), torch.zeros(1, device="cuda", dtype=torch.int32)
        for traditional in (False, True):
            n = (8 if traditional else 16) // x[0].itemsize
            kernel = Kernel("rope", f"rope<{NAMES[dtype]}, {str(traditional).lower()}, {n}, 8>")
            table = struct.pack("256f", *[10000 ** (-2 * i / dim) for i in range(dim // 2)], *[0.0] * (256 - dim // 2))
            sizes = struct.pack("6i2f", heads, positions, dim, dim, 0, 0, 1.0, 1.0)
            strides = struct.pack("3q", *x[0].stride()[:3])
            grid = (-(-positions * (dim // 2 // n) // 128), -(-heads // 8), batch)
            time = time_of(lambda i: kernel(grid, 128, x[i % 2], y, offset, None, strides, sizes, table))
            report(f"rope {dtype} {(batch, heads, positions, dim)} traditional={traditional}", time, None, 2 * y.nbytes)


def report(what, ours, torchs, bytes_moved):
    beside = f"PyTorch {torchs:8.1f} us, " if torchs else ""
    rate = bytes_moved / ours * 1e6
    print(f"{what}: {ours:8.1f} us, {beside}{rate / 1e12:.2f} TB/s, {100 * rate / bandwidth:.0f} % of a copy", flush=True)


if __name__ == "__main__":
    torch.manual_seed(0)
    bandwidth = copy_bandwidth()
    print(f"{torch.cuda.get_device_name()}, copy {bandwidth / 1e12:.2f} TB/s")
    for part in sys.argv[1:] or ["norm", "quantized", "rows", "attention", "hidden_keys", "gemv", "rope"]:
        globals()[part]()
    print("all right" if not failures else f"{len(failures)} wrong")

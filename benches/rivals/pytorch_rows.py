"""The rows of the sweep in PyTorch: the same operations, shapes and numbers as in src/bin/runner/sweep/.

Indices are int64 and pictures are in the memory format channels_last, as PyTorch prefers them; both are given before
the clock. Sorting has no form that returns values alone, nor `topk` or `svd`: what else they compute is timed too.
"""

import torch
import torch.nn.functional as F

from protocol import Row, Unsupported

EPS = 1e-5

ELEMENTWISE = {
    "add": lambda x, y: x + y,
    "small_add_64": lambda x, y: x + y,
    "mul_row": lambda x, row: x * row,
    "exp": lambda x: x.exp(),
    "tanh": lambda x: x.tanh(),
    "sigmoid": lambda x: x.sigmoid(),
    "rms_norm": lambda x, w: F.rms_norm(x, w.shape, w, EPS),
    "small_rms_norm_1x64": lambda x, w: F.rms_norm(x, w.shape, w, EPS),
    "small_rms_norm_16x256": lambda x, w: F.rms_norm(x, w.shape, w, EPS),
    "layer_norm": lambda x, w: F.layer_norm(x, w.shape, w, w, EPS),
    "silu_mul": lambda x, y: F.silu(x) * y,
    "astype_f32": lambda x: x.float() + 0.0,
    "sub": lambda x, y: x - y,
    "div": lambda x, y: x / y,
    "pow": lambda x, y: x.pow(y),
    "maximum": torch.maximum,
    "where": lambda x, y: torch.where(x > 0, x, y),
    "greater": lambda x, y: x > y,
    "abs": lambda x: x.abs(),
    "sqrt": lambda x: x.sqrt(),
    "rsqrt": lambda x: x.rsqrt(),
    "log": lambda x: x.log(),
    "log1p": lambda x: x.log1p(),
    "sin": lambda x: x.sin(),
    "cos": lambda x: x.cos(),
    "erf": lambda x: x.erf(),
    "floor": lambda x: x.floor(),
    "clip": lambda x: x.clamp(-1, 1),
    "logaddexp": torch.logaddexp,
    "int_add": lambda x: x + x,
    "int_to_f32": lambda x: x.float(),
}


def small_chain_100(x):
    for _ in range(100):
        x = x + 1.0
    return x


REDUCTIONS = {
    "sum_all": lambda x: x.sum(),
    "int_sum": lambda x: x.sum(),
    "sum_rows": lambda x: x.sum(-1),
    "sum_cols": lambda x: x.sum(0),
    "max_rows": lambda x: x.amax(-1),
    "argmax_rows": lambda x: x.argmax(-1),
    "softmax": lambda x: x.softmax(-1),
    "mean_all": lambda x: x.mean(),
    "var_rows": lambda x: x.var(-1, correction=0),
    "prod_rows": lambda x: x.prod(-1),
    "logsumexp": lambda x: x.logsumexp(-1),
    "cumsum_rows": lambda x: x.cumsum(-1),
    "cumsum_cols": lambda x: x.cumsum(0),
    "any": lambda x: (x > 5).any(),
    "sort_rows": lambda x: x.sort(-1)[0],
    "sort_4M": lambda x: x.sort(-1)[0],
    "sort": lambda x: x.sort(-1)[0],
    "argsort_rows": lambda x: x.argsort(-1),
    "topk_50": lambda x: x.topk(50, -1)[0],
}

LAYOUT = {
    "transpose_copy": lambda x: x.t().contiguous(),
    "concat": lambda x, y: torch.cat([x, y]),
    "flip": lambda x: x.flip(-1),
    "roll": lambda x: x.roll(3, -1),
    "tile": lambda x: x.tile(2, 1),
    "pad": lambda x: F.pad(x, (1, 1, 1, 1)),
    "triu": lambda x: x.triu(),
    "embedding": lambda table, ids: table[ids],
    "gather": lambda table, ids: table[ids],
    "gather_cols": lambda x, columns: x[:, columns],
    "take_along": lambda x, columns: torch.gather(x, -1, columns),
    "scatter_add": lambda table, ids, updates: table.index_add(0, ids, updates),
}

PRODUCTS = {
    "matmul_512x1024x1024": torch.matmul,
    "bmm_16x256": torch.matmul,
    "matmul": torch.matmul,
    "gemv_4096": lambda x, w: x @ w.t(),
    "einsum_bij_bjk": lambda a, b: torch.einsum("bij,bjk->bik", a, b),
    "einsum_bqhd_bkhd": lambda a, b: torch.einsum("bqhd,bkhd->bhqk", a, b),
    "sdpa_causal_512": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
}

CONVOLUTIONS = {
    "conv1d_1500x384": lambda x, w: F.conv1d(x, w, padding=1),
    "conv2d_56x64": lambda x, w: F.conv2d(x, w, padding=1),
    "conv2d": lambda x, w: F.conv2d(x, w, padding=1),
    "depthwise_112": lambda x, w: F.conv2d(x, w, padding=1, groups=32),
    "conv2d_stem7x7": lambda x, w: F.conv2d(x, w, padding=3, stride=2),
    "conv2d_1x1": F.conv2d,
}

TRANSFORMS = {
    "fft_1024": lambda x: torch.fft.rfft(x).abs(),
    "rfft_1000": lambda x: torch.fft.rfft(x).abs(),
    "fft2_512": lambda x: torch.fft.fft2(x).abs(),
    "random_normal_4M": lambda: torch.randn(1024, 4096),
    "random_uniform_4M": lambda: torch.rand(1024, 4096),
    "svd_256": lambda a: torch.linalg.svd(a)[1],
    "qr_512": lambda a: torch.linalg.qr(a)[0],
}

# Of a square matrix and a positive definite one.
DEFINITE = {
    "cholesky_512": lambda a, positive: torch.linalg.cholesky(positive),
    "inv_512": lambda a, positive: torch.linalg.inv(positive),
    "solve_512": lambda a, positive: torch.linalg.solve(positive, a),
    "eigh_256": lambda a, positive: torch.linalg.eigh(positive)[0],
}


def mlp_grad(x, w1, w2, y):
    with torch.enable_grad():
        loss = ((torch.relu(x @ w1) @ w2 - y) ** 2).mean()
        grads = torch.autograd.grad(loss, (w1, w2))
    return torch.cat([grad.reshape(-1) for grad in grads])


def block(x, qkv, out, up, down, norm):
    heads = (F.rms_norm(x, norm.shape, norm, EPS) @ qkv.t()).reshape(4, 256, 3, 8, 64).permute(2, 0, 3, 1, 4)
    attended = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], is_causal=True)
    x = x + attended.transpose(1, 2).reshape(4, 256, 512) @ out.t()
    return x + F.gelu(F.rms_norm(x, norm.shape, norm, EPS) @ up.t()) @ down.t()


def block_grad(x, *weights_and_norm):
    *weights, norm = weights_and_norm
    with torch.enable_grad():
        grads = torch.autograd.grad((block(x, *weights, norm) ** 2).mean(), weights)
    return torch.cat([grad.reshape(-1) for grad in grads])


NETWORKS = {
    # `block_forward_jit` is compiled on our side; PyTorch's compiler needs a C++ compiler, so it is eager here.
    "block_forward": block,
    "block_forward_jit": block,
    "block_grad": block_grad,
    "mlp_grad_eager": mlp_grad,
}

# Where the weights end that gradients are taken by; they begin behind the data.
WEIGHTS = {"mlp_grad_eager": 3, "block_grad": 5}

PLAIN = {
    **ELEMENTWISE,
    "small_chain_100": small_chain_100,
    **REDUCTIONS,
    **LAYOUT,
    **PRODUCTS,
    **TRANSFORMS,
}


def sweep(name, dtype, tensors):
    """Returns the row with this name; floating inputs get the row's element type."""
    dtype = getattr(torch, dtype)
    tensors = [x.to(dtype) if x.is_floating_point() else x for x in tensors]
    finish = lambda out: out  # noqa: E731
    if name in PLAIN:
        call = PLAIN[name]
        if not name.startswith("int_"):
            tensors = [x if x.is_floating_point() else x.long() for x in tensors]
        if name == "topk_50":
            finish = lambda out: out.sort(-1)[0]  # noqa: E731
    elif name in CONVOLUTIONS:
        call = CONVOLUTIONS[name]
        tensors, finish = channels_first(*tensors)
    elif name in DEFINITE:
        call = DEFINITE[name]
        (a,) = tensors
        tensors = [a, a @ a.t() + 512 * torch.eye(len(a))]
    elif name in NETWORKS:
        call = NETWORKS[name]
        for weight in tensors[1 : WEIGHTS.get(name, 1)]:
            weight.requires_grad_()
    else:
        raise Unsupported(f"has no {name}")
    return Row(lambda: call(*tensors), numpy=lambda out: finish(out).float().numpy())


def channels_first(x, weight):
    """Returns inputs in PyTorch's order of axes and how a result gets ours; pictures keep their place in memory."""
    if x.ndim == 4:
        back = lambda out: out.permute(0, 2, 3, 1)  # noqa: E731
        return [x.permute(0, 3, 1, 2), weight.permute(0, 3, 1, 2)], back
    back = lambda out: out.permute(0, 2, 1)  # noqa: E731
    return [x.permute(0, 2, 1).contiguous(), weight.permute(0, 2, 1).contiguous()], back

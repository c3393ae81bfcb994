"""The rows of training in PyTorch: the same networks and layers as in src/bin/runner/sweep/training.rs, eager.

Pictures and kernels are in the memory format channels_last; weights are leaves whose gradients are returned as one.
"""

import torch
import torch.nn.functional as F

from pytorch_rows import block_grad
from protocol import Row


def to_channels_first(x):
    return x.permute(0, 3, 1, 2)


def to_channels_last(x):
    return x.permute(0, 2, 3, 1)


def flat(gradients):
    return torch.cat([gradient.reshape(-1) for gradient in gradients])


def leaf(x):
    return x.detach().requires_grad_()


def mlp(x, w1, b1, w2, b2, y):
    weights = [leaf(w) for w in (w1, b1, w2, b2)]

    def step():
        w1, b1, w2, b2 = weights
        loss = F.cross_entropy(F.linear(torch.relu(F.linear(x, w1, b1)), w2, b2), y)
        return flat(torch.autograd.grad(loss, weights))

    return Row(step, numpy=lambda out: out.numpy())


def conv_net(x, w1, b1, w2, b2, w3, b3, y):
    x = to_channels_first(x)
    # Our rows of the head are pixels of all channels, PyTorch's are channels of all pixels.
    w3 = w3.reshape(10, 7, 7, 64).permute(0, 3, 1, 2).reshape(10, -1)
    weights = [leaf(w) for w in (to_channels_first(w1), b1, to_channels_first(w2), b2, w3.contiguous(), b3)]

    def step():
        w1, b1, w2, b2, w3, b3 = weights
        h = F.max_pool2d(torch.relu(F.conv2d(x, w1, b1, padding=1)), 2)
        h = F.max_pool2d(torch.relu(F.conv2d(h, w2, b2, padding=1)), 2)
        loss = F.cross_entropy(F.linear(h.flatten(1), w3, b3), y)
        return torch.autograd.grad(loss, weights)

    def ours(gradients):
        w1, b1, w2, b2, w3, b3 = gradients
        w3 = w3.reshape(10, 64, 7, 7).permute(0, 2, 3, 1)
        return flat([to_channels_last(w1), b1, to_channels_last(w2), b2, w3, b3]).numpy()

    return Row(step, numpy=ours)


def transformer_block(x, *weights_and_norm):
    *weights, norm = weights_and_norm
    weights = [leaf(w) for w in weights]
    return Row(lambda: block_grad(x, *weights, norm), numpy=lambda out: out.numpy())


def recurrent(kind, x, wx, wh, bias):
    layer = kind(wx.shape[1], wh.shape[1], batch_first=True)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(wx)
        layer.weight_hh_l0.copy_(wh)
        layer.bias_ih_l0.copy_(bias)
        layer.bias_hh_l0.zero_()
    return layer


def lstm_step(x, wx, wh, bias):
    layer = recurrent(torch.nn.LSTM, x, wx, wh, bias)
    weights = [layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0]

    def step():
        return flat(torch.autograd.grad((layer(x)[0] ** 2).mean(), weights))

    return Row(step, numpy=lambda out: out.numpy())


def adam(weights, gradients):
    parameters = [leaf(w.clone()) for w in weights]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True)

    def step():
        optimizer.step()
        return parameters[0].detach()

    return Row(step, numpy=lambda out: out.numpy())


def forward(layer, *tensors):
    def step():
        with torch.no_grad():
            return layer(*tensors)

    return Row(step, numpy=lambda out: to_channels_last(out).numpy() if out.ndim == 4 else out.numpy())


def backward(layer, *tensors):
    """The gradients of the squares of a layer by all that it reads."""
    leaves = [leaf(x) for x in tensors]

    def step():
        return torch.autograd.grad((layer(*leaves) ** 2).sum(), leaves)

    def ours(gradients):
        return flat([to_channels_last(x) if x.ndim == 4 else x for x in gradients]).numpy()

    return Row(step, numpy=ours)


def batch_norm(x, weight, bias):
    return F.batch_norm(x, torch.zeros(64), torch.ones(64), weight, bias, training=True)


STEPS = {
    "train_mlp": mlp,
    "train_conv_net": conv_net,
    "train_block": transformer_block,
    "train_lstm": lstm_step,
    "train_adam_10M": adam,
}
LAYERS = {
    "max_pool": lambda x: F.max_pool2d(x, 3, 2, 1),
    "avg_pool": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "batch_norm": batch_norm,
    "conv2d_grad_56x64": lambda x, w: F.conv2d(x, w, padding=1),
    "conv2d_grad_stem7x7": lambda x, w: F.conv2d(x, w, padding=3, stride=2),
    "conv2d_grad_1x1": F.conv2d,
    "conv2d_grad_depthwise": lambda x, w: F.conv2d(x, w, padding=1, groups=32),
}


def training(name, tensors):
    """Returns the row with this name, or nothing. All are eager: PyTorch's compiler needs one of C++."""
    tensors = [x if x.is_floating_point() else x.long() for x in tensors]
    if (step := STEPS.get(name.removesuffix("_jit"))) is not None:
        return with_gradients(step(*tensors))
    if name in ("lstm", "gru"):
        kind = torch.nn.LSTM if name == "lstm" else torch.nn.GRU
        layer = recurrent(kind, *tensors)
        return forward(lambda x: layer(x)[0], tensors[0])
    pictures = [to_channels_first(x) if x.ndim == 4 else x for x in tensors]
    if name in LAYERS and "grad" not in name:
        return forward(LAYERS[name], *pictures)
    layer = LAYERS.get(name) or LAYERS.get(name.removesuffix("_grad"))
    return with_gradients(backward(layer, *pictures)) if layer else None


def with_gradients(row):
    """Switches gradients on for a row: they are off for all others."""
    call = row.call

    def step():
        with torch.enable_grad():
            return call()

    row.call = step
    return row

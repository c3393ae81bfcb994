"""The rows of training in JAX: the same networks and layers as in src/bin/runner/sweep/training.rs, jitted."""

import jax
import jax.numpy as jnp
from jax import lax

PICTURES = ("NHWC", "OHWI", "NHWC")


def flat(gradients):
    return jnp.concatenate([gradient.reshape(-1) for gradient in gradients])


def cross_entropy(scores, y):
    return -jnp.take_along_axis(jax.nn.log_softmax(scores), y[:, None], -1).mean()


def conv(x, w, stride=1, padding=0, groups=1):
    padding = [(padding, padding)] * 2
    return lax.conv_general_dilated(
        x, w, (stride, stride), padding, dimension_numbers=PICTURES, feature_group_count=groups
    )


def windows(x, start, combine, size, stride, padding):
    padding = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    return lax.reduce_window(x, start, combine, (1, size, size, 1), (1, stride, stride, 1), padding)


def max_pool(x, size=3, stride=2, padding=1):
    return windows(x, -jnp.inf, lax.max, size, stride, padding)


def avg_pool(x):
    return windows(x, 0.0, lax.add, 3, 2, 1) / 9


def batch_norm(x, weight, bias):
    mean = x.mean((0, 1, 2))
    centered = x - mean
    variance = jnp.square(centered).mean((0, 1, 2))
    return centered * lax.rsqrt(variance + 1e-5) * weight + bias


def mlp(weights, x, y):
    w1, b1, w2, b2 = weights
    return cross_entropy(jax.nn.relu(x @ w1.T + b1) @ w2.T + b2, y)


def conv_net(weights, x, y):
    w1, b1, w2, b2, w3, b3 = weights
    x = max_pool(jax.nn.relu(conv(x, w1, padding=1) + b1), 2, 2, 0)
    x = max_pool(jax.nn.relu(conv(x, w2, padding=1) + b2), 2, 2, 0)
    return cross_entropy(x.reshape(len(x), -1) @ w3.T + b3, y)


def rms_norm(x, w):
    return x * lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-5) * w


def block(weights, x, norm):
    qkv, out, up, down = weights
    heads = (rms_norm(x, norm) @ qkv.T).reshape(4, 256, 3, 8, 64).transpose(2, 0, 1, 3, 4)
    attended = jax.nn.dot_product_attention(heads[0], heads[1], heads[2], is_causal=True)
    x = x + attended.reshape(4, 256, 512) @ out.T
    x = x + jax.nn.gelu(rms_norm(x, norm) @ up.T, approximate=False) @ down.T
    return jnp.square(x).mean()


def lstm(weights, x):
    wx, wh, bias = weights
    size = wh.shape[1]

    def step(state, gates):
        hidden, cell = state
        i, f, g, o = jnp.split(gates + hidden @ wh.T, 4, -1)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return (hidden, cell), hidden

    zeros = jnp.zeros((len(x), size), x.dtype)
    gates = (x @ wx.T + bias).transpose(1, 0, 2)
    return lax.scan(step, (zeros, zeros), gates)[1].transpose(1, 0, 2)


def gru(weights, x):
    wx, wh, bias = weights
    size = wh.shape[1]

    def step(hidden, gates):
        (xr, xz, xn), (hr, hz, hn) = jnp.split(gates, 3, -1), jnp.split(hidden @ wh.T, 3, -1)
        r, z = jax.nn.sigmoid(xr + hr), jax.nn.sigmoid(xz + hz)
        n = jnp.tanh(xn + r * hn)
        hidden = (1 - z) * n + z * hidden
        return hidden, hidden

    gates = (x @ wx.T + bias).transpose(1, 0, 2)
    return lax.scan(step, jnp.zeros((len(x), size), x.dtype), gates)[1].transpose(1, 0, 2)


def adam(state, gradients):
    weights, m, v, step = state
    step = step + 1
    m = 0.9 * m + 0.1 * gradients
    v = 0.999 * v + 0.001 * jnp.square(gradients)
    corrected = jnp.sqrt(v / (1 - 0.999**step)) + 1e-8
    return weights - 1e-3 * m / (1 - 0.9**step) / corrected, m, v, step


def squares(layer):
    return lambda arguments: jnp.square(layer(*arguments)).sum()


def by_weights(loss, first=1):
    """Returns a step whose inputs are data, then weights, then more data."""

    def step(x, *rest):
        weights, others = rest[: len(rest) - first], rest[len(rest) - first :]
        return flat(jax.grad(loss)(weights, x, *others))

    return step


def by_all(layer):
    return lambda *inputs: flat(jax.grad(squares(layer))(inputs))


CONVOLUTIONS = {
    "conv2d_grad_56x64": lambda x, w: conv(x, w, padding=1),
    "conv2d_grad_stem7x7": lambda x, w: conv(x, w, 2, 3),
    "conv2d_grad_1x1": conv,
    "conv2d_grad_depthwise": lambda x, w: conv(x, w, padding=1, groups=32),
}
FUNCTIONS = {
    "train_mlp": by_weights(mlp),
    "train_conv_net": by_weights(conv_net),
    "train_block": by_weights(block),
    "train_lstm": by_weights(lambda weights, x: jnp.square(lstm(weights, x)).mean(), 0),
    "max_pool": max_pool,
    "avg_pool": avg_pool,
    "batch_norm": batch_norm,
    "max_pool_grad": by_all(max_pool),
    "avg_pool_grad": by_all(avg_pool),
    "batch_norm_grad": by_all(batch_norm),
    "lstm": lambda x, *weights: lstm(weights, x),
    "gru": lambda x, *weights: gru(weights, x),
    **{name: by_all(layer) for name, layer in CONVOLUTIONS.items()},
}


def training(name):
    """Returns the function of the inputs with this name, or nothing."""
    return FUNCTIONS.get(name.removesuffix("_jit"))


def adam_step(weights, gradients):
    """Returns a step of Adam that gives its state's memory to the next."""
    step = jax.jit(adam, donate_argnums=0)
    gradients = jnp.asarray(gradients)
    state = [(jnp.asarray(weights), jnp.zeros_like(gradients), jnp.zeros_like(gradients), jnp.float32(0))]

    def call():
        state[0] = step(state[0], gradients)
        return jax.block_until_ready(state[0])[0]

    return call

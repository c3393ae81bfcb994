"""JAX on the CPU: every row is one jitted function."""

import jax
import jax.numpy as jnp
import numpy as np

from jax_training import adam_step, training
from protocol import Row, Unsupported, package, serve

jax.config.update("jax_platforms", "cpu")


def rope_tables(shape, base):
    half = shape[-1] // 2
    angles = np.arange(shape[-2])[:, None] * base ** (-np.arange(half) / half)
    return jnp.asarray(np.cos(angles), jnp.float32), jnp.asarray(np.sin(angles), jnp.float32)


def function(op, params, inputs):
    """Returns the function and its arguments."""
    if op == "rms_norm":
        eps = params["eps"]
        return lambda x, w: x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + eps) * w, inputs
    if op == "layer_norm":
        eps = params["eps"]

        def layer_norm(x, w, b):
            d = x - x.mean(-1, keepdims=True)
            return d * jax.lax.rsqrt(jnp.square(d).mean(-1, keepdims=True) + eps) * w + b

        return layer_norm, inputs
    if op == "softmax":
        return lambda x: jax.nn.softmax(x, -1), inputs
    if op == "attention":
        scale = params["scale"]

        def attention(q, k, v):
            scores = jnp.einsum("bhqd,bhkd->bhqk", q * scale, k)
            return jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(scores, -1), v)

        return attention, inputs
    if op == "rope":
        cos, sin = rope_tables(inputs[0].shape, params["base"])

        def rope(x, cos, sin):
            a, b = jnp.split(x, 2, -1)
            return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)

        return rope, [inputs[0], cos, sin]
    if op == "gelu":
        return lambda x: jax.nn.gelu(x, approximate=False), inputs
    if op == "exp":
        return jnp.exp, inputs
    if op == "add":
        return jnp.add, inputs
    if op == "chain8":

        def chain(x, b):
            y = jax.nn.silu(x * 2 + b)
            return jnp.sqrt(jnp.abs(y - x) + 1)

        return chain, inputs
    if op == "matvec":
        return lambda x, w: x @ w.T, inputs
    if op == "matmul":
        return jnp.matmul, inputs
    if op == "sweep" and (call := training(params["name"])) is not None:
        return call, inputs
    raise Unsupported(f"JAX has no {op} of packed weights" if "quantized" in op else f"has no {op}")


def prepare(load, inputs, threads):
    if load["op"] == "sweep" and load["params"]["name"].startswith("train_adam"):
        return Row(adam_step(*inputs), numpy=lambda out: np.asarray(out[0]))
    call, arguments = function(load["op"], load["params"], inputs)
    arguments = [jax.device_put(jnp.asarray(x)) for x in arguments]
    jax.block_until_ready(arguments)
    compiled = jax.jit(call).lower(*arguments).compile()
    return Row(lambda: compiled(*arguments).block_until_ready(), numpy=np.asarray)


if __name__ == "__main__":
    serve("jax", package("jax", "jaxlib"), prepare)

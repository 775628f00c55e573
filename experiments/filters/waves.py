"""A 1-D convolutional network and a dense one that learn to tell noisy waves apart."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import activations, initializers, layers, losses, optimizers

LENGTH, PERIOD, NOISE, WIDTH = 64, 16, 1.0, 5  # samples, samples, standard deviation, samples of a kernel
SIZES, BATCH, RATES = (300, 300, 1000), 32, (1e-3, 3e-3, 1e-2)  # of the parts; examples per step; of Adam
CLASSES = 3


def waves(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy sines, squares and ramps of random phases, (count, LENGTH), and their classes."""
    phase, labels = (np.arange(LENGTH) / PERIOD + random.uniform(size=(count, 1))) % 1, np.arange(count) % CLASSES
    shapes = np.stack([np.sqrt(2) * np.sin(2 * np.pi * phase), np.sign(phase - 0.5), np.sqrt(12) * (phase - 0.5)])
    noisy = shapes[labels, np.arange(count)] + NOISE * random.normal(size=phase.shape)
    return noisy.astype(np.float32), labels


def kernels_net(params: Any, x: jax.Array) -> jax.Array:
    """Return the logits of two layers of kernels, each with a ReLU, and the mean of their maps."""
    x = activations.relu(layers.conv1d(x[..., None], **params["conv1"]))
    x = activations.relu(layers.conv1d(x, stride=2, **params["conv2"]))
    return layers.dense(x.mean(-2), **params["out"])


def dense_net(params: Any, x: jax.Array) -> jax.Array:
    """Return the logits of two dense layers with ReLUs and an output layer."""
    for name in ("fc1", "fc2"):
        x = activations.relu(layers.dense(x, **params[name]))
    return layers.dense(x, **params["out"])


def shapes_of(net: Any, kernels: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights; the dense net has about as many as the other, and not fewer."""
    if net is kernels_net:
        return {"conv1": (WIDTH, 1, kernels), "conv2": (WIDTH, kernels, kernels), "out": (kernels, CLASSES)}
    count = sum(int(np.prod(one)) + one[-1] for one in shapes_of(kernels_net, kernels).values())
    dense = lambda n: {"fc1": (LENGTH, n), "fc2": (n, n), "out": (n, CLASSES)}
    size = next(n for n in range(1, count) if sum(int(np.prod(one)) + one[-1] for one in dense(n).values()) >= count)
    return dense(size)


def start(key: jax.Array, shapes: Mapping[str, tuple[int, ...]]) -> Any:
    """Return initial weights of these shapes by He's rule, and biases of 0."""
    keys, init = jax.random.split(key, len(shapes)), initializers.he_normal()
    return {name: {"kernel": init(one, shape), "bias": jnp.zeros(shape[-1])}
            for one, (name, shape) in zip(keys, shapes.items(), strict=True)}  # fmt: skip


@functools.cache
def _trained(net: Any, steps: int) -> Any:
    """Return (rate, params, x, y, rows) -> parameters, compiled once."""

    def train(rate, params, x, y, rows):
        optimizer = optimizers.adam(rate)

        def step(carry, rows):
            params, state = carry
            grads = jax.grad(lambda p: losses.softmax_cross_entropy(net(p, x[rows]), y[rows]).mean())(params)
            updates, state = optimizer.update(grads, state, params)
            return (optimizers.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), rows, length=steps)[0][0]

    return jax.jit(train)


def told_apart(kernels: int, steps: int, seed: int) -> Mapping[str, float]:
    """Return the errors and the parameters of both nets, each at its best rate on development waves."""
    random = np.random.default_rng(seed)
    train, dev, test = (waves(random, count) for count in SIZES)
    rows, found = random.integers(SIZES[0], size=(steps, BATCH)), {}
    for name, net in (("1-D", kernels_net), ("dense", dense_net)):
        wrong = lambda params, part, net=net: 100 * float(np.mean(np.argmax(net(params, part[0]), -1) != part[1]))
        params = start(jax.random.key(seed), shapes_of(net, kernels))
        tried = [_trained(net, steps)(rate, params, *train, rows) for rate in RATES]
        best = min(tried, key=lambda params, wrong=wrong: wrong(params, dev))
        found[f"{name} error"] = wrong(best, test)
        found[f"{name} parameters"] = float(sum(leaf.size for leaf in jax.tree.leaves(best)))
    return found

"""The nets: those of the table, trained one by one, and the mixture of them all."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import activations, layers, losses, optimizers
from jaxdl.applications import relaxation

SIDE, KERNELS = 14, (3, 5, 7)
RATES, CHOICE_RATE, BATCH, CHUNK = (8e-3, 3.2e-2), 0.03, 50, 250
LARGEST = KERNELS[-1]


class TableExamples(NamedTuple):
    """Images (n, 14, 14, 1) and labels; rows of the batches (steps, batch)."""

    images: Any
    labels: Any
    rows: Any


class TableStart(NamedTuple):
    """Normal draws, of which all nets of a table start."""

    first: np.ndarray  # (7, 7, 1, filters)
    second: dict[int, np.ndarray]  # kernel -> (kernel, kernel, filters, filters)
    out: np.ndarray  # (filters, classes)


def start(random: np.random.Generator, first: int, filters: int, classes: int) -> TableStart:
    """Draw for the widest net; narrower ones take the first channels."""
    normal = lambda *shape: random.normal(size=shape).astype(np.float32)
    second = {k: normal(k, k, first, filters) for k in KERNELS}
    return TableStart(normal(LARGEST, LARGEST, 1, first), second, normal(filters, classes))


def multiplications(first_kernel: int, first: int, kernel: int, filters: int) -> int:
    """Return the multiplications of both convolutions for an image."""
    return SIDE**2 * first_kernel**2 * first + _places(kernel) * kernel**2 * first * filters


def mixture_multiplications(first: int, filters: int) -> int:
    """Return the multiplications of the mixture: the first kernels are summed before they are applied."""
    return SIDE**2 * LARGEST**2 * first + sum(_places(k) * k**2 for k in KERNELS) * first * filters


def _places(kernel: int) -> int:
    return (SIDE // 2 - kernel + 1) ** 2


def inside(kernel: Any) -> jax.Array:
    """Return the mask (7, 7, 1, 1) of a smaller kernel in the middle of the largest, so that one program serves all."""
    near = jnp.abs(jnp.arange(LARGEST) - LARGEST // 2) <= kernel // 2
    return (near[:, None] & near[None]).astype(jnp.float32)[..., None, None]


def _first(kernel: Any, bias: Any, x: Any) -> jax.Array:
    z = activations.relu(layers.conv2d(x, kernel, bias, padding="SAME"))
    return layers.max_pool2d(z, window=2)


def _second(kernel: Any, bias: Any, a: Any) -> jax.Array:
    return activations.relu(layers.conv2d(a, kernel, bias, padding="VALID")).mean((1, 2))


def network(params: Any, mask: Any, x: Any) -> jax.Array:
    """Return the logits of a net of the table, whose first kernel has the mask."""
    a = _first(params["first"] * mask, params["bias1"], x)
    return layers.dense(_second(params["second"], params["bias2"], a), params["out"], params["bias3"])


def mixture(params: Any, alphas: Any, x: Any, first: tuple[int, ...], filters: tuple[int, ...]) -> jax.Array:
    """Return the logits of the mixture of all nets; ``first`` and ``second`` of its parameters have all kernels.

    The first convolution is linear in its kernel, so that the mixture of its outputs takes the mixture of the kernels.
    """
    kernels = [one * inside(k) for k, one in zip(KERNELS, params["first"], strict=True)]
    a = _first(relaxation.mixed(alphas["kernel 1"], kernels), params["bias1"], x)
    a = a * relaxation.filter_mask(alphas["filters 1"], first)[None, None, None]
    parts = [_second(one, params["bias2"], a) for one in params["second"]]
    h = relaxation.mixed(alphas["kernel 2"], parts) * relaxation.filter_mask(alphas["filters 2"], filters)[None]
    return layers.dense(h, params["out"], params["bias3"])


def _fit(step: Any, carry: Any, examples: TableExamples) -> Any:
    return jax.lax.scan(lambda c, rows: (step(c, examples.images[rows], examples.labels[rows]), None), carry,
                        examples.rows)[0]  # fmt: skip


@functools.cache
def _table_program(first: int, kernel: int, filters: int) -> Any:
    """Return (first kernels, rates, params, train, images, labels) -> wrong and loss, (rates, 2, n)."""

    def train(first_kernel, rate, start, examples, images, labels):
        optimizer, mask = optimizers.adam(rate), inside(first_kernel)
        begun = start | {"first": start["first"] * jnp.sqrt(2.0) / first_kernel}

        def step(carry, x, y):
            params, state = carry
            grads = jax.grad(lambda p: losses.softmax_cross_entropy(network(p, mask, x), y).mean())(params)
            updates, state = optimizer.update(grads, state, params)
            return optimizers.apply_updates(params, updates), state

        params, _ = _fit(step, (begun, optimizer.init(begun)), examples)
        logits = jax.lax.map(lambda x: network(params, mask, x), images).reshape(len(labels), -1)
        wrong = (jnp.argmax(logits, -1) != labels).astype(jnp.float32)
        return jnp.stack([wrong, losses.softmax_cross_entropy(logits, labels)])

    return jax.jit(lambda kernels, rates, *rest: jax.lax.map(lambda one: train(*one, *rest), (kernels, rates)))


def table(drawn: TableStart, first: Sequence[int], filters: Sequence[int], train: TableExamples, images: Any,
          labels: Any) -> np.ndarray:  # fmt: skip
    """Train all nets, and return wrong and loss on images: (kernel, first filters, kernel, filters, rate, 2, n)."""
    count = len(labels)
    pad = -count % CHUNK
    shown = np.pad(images, ((0, pad), (0, 0), (0, 0), (0, 0))).reshape(-1, CHUNK, *images.shape[1:])
    known = np.pad(labels, (0, pad))
    options = [np.array(one) for one in zip(*((k, rate) for k in KERNELS for rate in RATES), strict=True)]
    found = np.empty((len(KERNELS), len(first), len(KERNELS), len(filters), len(RATES), 2, count), np.float32)
    for i, narrow in enumerate(first):
        for j, kernel in enumerate(KERNELS):
            for k, wide in enumerate(filters):
                scale = np.float32((2 / (kernel**2 * narrow)) ** 0.5)
                params = {"first": drawn.first[..., :narrow], "bias1": np.zeros(narrow, np.float32),
                          "second": scale * drawn.second[kernel][..., :narrow, :wide],
                          "bias2": np.zeros(wide, np.float32), "bias3": np.zeros(drawn.out.shape[1], np.float32),
                          "out": drawn.out[:wide] / np.float32(wide**0.5)}  # fmt: skip
                seen = _table_program(narrow, kernel, wide)(*options, params, train, shown, known)
                found[:, i, j, k] = np.asarray(seen)[..., :count].reshape(len(KERNELS), len(RATES), 2, count)
    return found


@functools.cache
def _mixture_program(first: tuple[int, ...], filters: tuple[int, ...]) -> Any:
    """Return (rate, params, alphas, train, dev) -> the alphas in the end and the mixture's loss on dev batches."""

    def loss(params, alphas, x, y):
        return losses.softmax_cross_entropy(mixture(params, alphas, x, first, filters), y).mean()

    def train(rate, params, alphas, examples, dev):
        weights, choices = optimizers.adam(rate), optimizers.adam(CHOICE_RATE, b1=0.5)

        def step(carry, rows):
            params, alphas, state, memory = carry
            batch, held = ((part.images[r], part.labels[r]) for part, r in zip((examples, dev), rows, strict=True))
            held_loss, train_loss = (lambda p, a, of=of: loss(p, a, *of) for of in (held, batch))
            changes, memory = choices.update(
                relaxation.unrolled_gradient(held_loss, train_loss, params, alphas), memory, alphas
            )
            alphas = optimizers.apply_updates(alphas, changes)
            updates, state = weights.update(jax.grad(train_loss)(params, alphas), state, params)
            return (optimizers.apply_updates(params, updates), alphas, state, memory), held_loss(params, alphas)

        carry = params, alphas, weights.init(params), choices.init(alphas)
        (_, alphas, _, _), seen = jax.lax.scan(step, carry, (examples.rows, dev.rows))
        return alphas, seen[-max(1, seen.shape[0] // 5) :].mean()

    return jax.jit(train)


def relaxed(
    drawn: TableStart, first: tuple[int, ...], filters: tuple[int, ...], train: TableExamples, dev: TableExamples
) -> Any:
    """Train the mixture at both rates, and return the logits of its choices at the better one."""
    scaled = lambda kernel, size: np.float32((2 / size) ** 0.5) * kernel
    params = {"first": [scaled(drawn.first, k**2) for k in KERNELS], "bias1": np.zeros(first[-1], np.float32),
              "second": [scaled(drawn.second[k], k**2 * first[-1]) for k in KERNELS],
              "bias2": np.zeros(filters[-1], np.float32), "bias3": np.zeros(drawn.out.shape[1], np.float32),
              "out": drawn.out / np.float32(filters[-1] ** 0.5)}  # fmt: skip
    sizes = {"kernel 1": len(KERNELS), "filters 1": len(first), "kernel 2": len(KERNELS), "filters 2": len(filters)}
    alphas = {name: np.zeros(size, np.float32) for name, size in sizes.items()}
    ends = [_mixture_program(first, filters)(np.float32(rate), params, alphas, train, dev) for rate in RATES]
    return jax.tree.map(np.asarray, min(ends, key=lambda end: float(end[1]))[0])

"""Streams of gradients that reveal how optimizers behave: random, sparse, tiny, huge, and recorded from a training run.

``NAME(key, params, steps=100)`` is a sequence of trees like ``params``. Each tree is drawn on demand and is the same
every time.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdl import losses, models, nn, numerics


class Stream(Sequence):
    """A sequence of gradients that are functions of their index."""

    def __init__(self, gradient: Callable[[Any], Any], steps: int):
        if steps < 1:
            raise ValueError(f"steps={steps}: at least 1 is needed")
        self._gradient, self._steps = jax.jit(gradient), steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index: Any) -> Any:
        """Return the gradient at an index, or a list of gradients for a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(self._steps)[index]]
        return self._gradient(range(self._steps)[operator.index(index)])


def random(key: jax.Array, params: Any, steps: int = 100, *, scale: float = 1.0) -> Stream:
    """Draw new entries from N(0, scale²) at each step.

    Raises:
        ValueError: ``steps`` is below 1 or a leaf of ``params`` is not floating point, as in all streams here.
    """
    numerics.check_key(key)

    def draw(index, size):
        return scale * jax.random.normal(jax.random.fold_in(key, index), (size,))

    return _stream(params, steps, draw)


def sparse(key: jax.Array, params: Any, steps: int = 100, *, density: float = 0.1) -> Stream:
    """Draw each entry from N(0, 1) with probability ``density`` at each step; it is 0 otherwise.

    This reveals how accumulators treat zeros: their initial values and how fast they forget.

    Examples:
        >>> stream = streams.sparse(jax.random.key(0), {"w": jnp.zeros(1000)}, steps=2, density=0.1)
        >>> len(stream), bool(abs((stream[0]["w"] != 0).mean() - 0.1) < 0.05)
        (2, True)
    """
    numerics.check_key(key)
    if not 0 < density <= 1:
        raise ValueError(f"density={density}: it must be above 0 and at most 1")

    def draw(index, size):
        present, values = jax.random.split(jax.random.fold_in(key, index))
        return jnp.where(jax.random.bernoulli(present, density, (size,)), jax.random.normal(values, (size,)), 0.0)

    return _stream(params, steps, draw)


def tiny(key: jax.Array, params: Any, steps: int = 100, *, low: float = 1e-10, high: float = 1e-3) -> Stream:
    """Draw from N(0, s²), with s per entry log-uniform from ``low`` to ``high``: gradients close to any usual eps.

    This reveals the value and the placement of eps: inside a root, 1e-8 acts like 1e-4 outside.

    Examples:
        >>> gradients = jnp.stack(streams.tiny(jax.random.key(0), jnp.zeros(1000), steps=1))
        >>> bool(abs(gradients).max() < 0.01), bool(jnp.median(abs(gradients)) < 1e-5)
        (True, True)
    """
    return _scaled(key, params, steps, low, high)


def huge(key: jax.Array, params: Any, steps: int = 100, *, low: float = 1e3, high: float = 1e15) -> Stream:
    """Draw like `tiny` with large s whose squares float32 can still hold, clipped at half of the dtype's maximum.

    This reveals overflow, which comes early in half precision, and sums that swallow later terms.
    """
    return _scaled(key, params, steps, low, high)


def recorded(
    key: jax.Array,
    layer: nn.Layer,
    images: ArrayLike,
    labels: ArrayLike,
    steps: int = 50,
    *,
    batch_size: int = 32,
    learning_rate: float = 0.05,
) -> tuple[Any, list[Any]]:
    """Train a network by plain gradient descent on softmax cross-entropy and record every gradient.

    Args:
        key: random key for the parameters, the batches and the network's noise.
        layer: the network.
        images: (n, ...) inputs of the network.
        labels: (n,) class numbers.
        steps: number of gradients.
        batch_size: examples per step, at most n, drawn without replacement.
        learning_rate: of the run.

    Returns:
        The initial parameters and the gradients, one tree per step.

    Examples:
        >>> from jaxdl import models
        >>> images, labels = np.ones((4, 3), np.float32), np.array([0, 1, 0, 1])
        >>> net = models.softmax_regression(2)
        >>> params, stream = streams.recorded(jax.random.key(0), net, images, labels, steps=2, batch_size=4)
        >>> len(stream), jax.tree.structure(params) == jax.tree.structure(stream[0])
        (2, True)
    """
    numerics.check_key(key)
    images, labels = np.asarray(images), np.asarray(labels)
    if not 0 < batch_size <= len(images) == len(labels):
        raise ValueError(
            f"batch_size={batch_size}, {len(images)} images, {len(labels)} labels: allowed are as many labels as "
            "images and at least batch_size of them"
        )
    init_key, run_key = jax.random.split(key)
    params, state = layer.init(init_key, images.shape[1:])

    def loss(params, state, x, y, key):
        logits, state = layer.apply(params, state, x, train=True, key=key)
        return losses.softmax_cross_entropy(logits, y).mean(), state

    def step(carry, index):
        params, state = carry
        batch_key, layer_key = jax.random.split(jax.random.fold_in(run_key, index))
        chosen = jax.random.choice(batch_key, len(images), (batch_size,), replace=False)
        x, y = jnp.asarray(images)[chosen], jnp.asarray(labels)[chosen]
        grads, state = jax.grad(loss, has_aux=True)(params, state, x, y, layer_key)
        return (jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), state), grads

    stacked = jax.device_get(jax.jit(lambda *carry: jax.lax.scan(step, carry, jnp.arange(steps))[1])(params, state))
    return params, [jax.tree.map(lambda g, i=i: g[i], stacked) for i in range(steps)]


def lenet(
    key: jax.Array,
    images: ArrayLike,
    labels: ArrayLike,
    steps: int = 50,
    *,
    batch_size: int = 32,
    learning_rate: float = 0.05,
) -> tuple[Any, list[Any]]:
    """Record the gradients of LeNet-5 on images (n, h, w, c) in [0, 1] with 10 classes. See `recorded`."""
    layer = models.lenet5()
    return recorded(key, layer, images, labels, steps, batch_size=batch_size, learning_rate=learning_rate)


def _scaled(key, params, steps, low, high) -> Stream:
    numerics.check_key(key)
    if not 0 < low <= high:
        raise ValueError(f"low={low}, high={high}: allowed is 0 < low <= high")

    scales, values = jax.random.split(key)

    def draw(index, size):
        exponents = jax.random.uniform(scales, (size,), minval=math.log10(low), maxval=math.log10(high))
        return 10**exponents * jax.random.normal(jax.random.fold_in(values, index), (size,))

    return _stream(params, steps, draw)


def _stream(params, steps, draw: Callable[[Any, int], jax.Array]) -> Stream:
    """Build a stream of ``draw(index of the step, number of entries)``, split into leaves in their dtypes."""
    kinds = [jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in jax.tree.leaves(params)]
    structure = jax.tree.structure(params)
    if not kinds:
        raise ValueError("params: got no leaf, at least one is needed")
    for (path, _), kind in zip(jax.tree_util.tree_leaves_with_path(params), kinds, strict=True):
        if not jnp.issubdtype(kind.dtype, jnp.floating):
            raise ValueError(f"params{jax.tree_util.keystr(path)}: got {kind.dtype}, must be floating point")
    ends = list(itertools.accumulate(kind.size for kind in kinds))

    def gradient(index):
        # one draw for all leaves, because a generator per leaf would take many times as long to compile
        parts = jnp.split(draw(index, ends[-1]), ends[:-1])
        return jax.tree.unflatten(structure, map(_fit, parts, kinds))

    return Stream(gradient, steps)


def _fit(x, kind):
    largest = float(jnp.finfo(kind.dtype).max) / 2
    return jnp.clip(x, -largest, largest).astype(kind.dtype).reshape(kind.shape)

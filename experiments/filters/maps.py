"""Feature maps of a lecture's net by depth, after training."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxdl import analysis, data, losses, models, nn, optimizers

NET = models.lecture_torch()
DEPTHS = {"relu1": "conv1", "relu2": "conv2", "relu3": "hidden", "fc2": "logits"}
DRAWN = {"relu1": "maps of conv1", "relu2": "maps of conv2"}
SHOWN, BATCH, TESTED = 8, 32, 500  # maps per layer; examples per step; test images that judge the depths


@functools.cache
def _step() -> Any:
    """Return the compiled step of Adam, (params, state), images, labels -> (params, state)."""
    optimizer = optimizers.adam(1e-3)

    def step(carry, images, labels):
        params, state = carry
        mean = lambda p: losses.softmax_cross_entropy(NET.apply(p, {}, images)[0], labels).mean()
        updates, state = optimizer.update(jax.grad(mean)(params), state, params)
        return optimizers.apply_updates(params, updates), state

    return jax.jit(step)


def between(x: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of the variance of x, (examples, units), that lies between the classes, in percent."""
    centred = x - x.mean(0)
    means = np.stack([centred[labels == one].mean(0) for one in np.unique(labels)])
    counts = np.unique(labels, return_counts=True)[1]
    return 100 * float(np.sum(counts[:, None] * means**2) / np.sum(centred**2))


def by_depth(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], seed: int) -> Mapping[str, Any]:
    """Train the net for one pass, and return how much each depth of it tells the classes apart, and maps to draw."""
    params, state = NET.init(jax.random.key(seed), train[0].shape[1:])
    carry = params, optimizers.adam(1e-3).init(params)
    for batch in data.batch_rows(len(train[1]), BATCH, seed=seed, epoch=0):
        rows = batch.row[batch.weight > 0]
        carry = _step()(carry, train[0][rows], train[1][rows])
    params, (images, labels) = carry[0], [part[:TESTED] for part in test]
    (logits, seen), _ = nn.tap(NET, [*DEPTHS]).apply(params, state, images)
    flat = {"pixels": images, **{name: seen[path] for path, name in DEPTHS.items()}}
    shares = {name: between(np.asarray(one).reshape(len(images), -1), labels) for name, one in flat.items()}
    maps = analysis.feature_maps(NET, params, state, images[0], [*DRAWN])
    drawn = {DRAWN[path]: np.moveaxis(np.asarray(one)[..., :SHOWN], -1, 0) for path, one in maps.items()}
    return {**shares, "right": 100 * float(np.mean(np.argmax(logits, -1) == labels)), "image": images[0], **drawn}

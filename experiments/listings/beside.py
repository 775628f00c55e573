"""The listings beside jaxdl's functions, on the same numbers."""

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.listings import loops as printed
from jaxdl import activations, classical, layers, losses, optimizers

UPHILL, AVERAGE = "value with += over the first", "Polyak's average"
FORMULAS_OF = ("M's cross entropy", "M's squared error", "S's log_softmax and nll_loss", "P's line", "P's MaxPool2D",
               "S's dropout")  # fmt: skip
RATE, STEPS, SIZE = 0.02, 100, 10  # of the loops
TWINS = {
    "SGD": (printed.sgd, optimizers.sgd(RATE)),
    "momentum": (printed.momentum, optimizers.momentum(RATE, convention="lecture_s")),
    "AdaGrad": (printed.adagrad, optimizers.adagrad(RATE, convention="lecture_s")),
    "RMSProp": (printed.rmsprop, optimizers.rmsprop(RATE, convention="lecture_s")),
    "Adam (almost)": (printed.almost_adam, optimizers.adam(RATE, convention="lecture_s", bias_correction=False)),
    "Adam": (printed.adam, optimizers.adam(RATE, convention="paper")),
    AVERAGE: (printed.polyak, optimizers.chain(optimizers.sgd(RATE), optimizers.polyak_average(0.995))),
}


def apart(ours: Any, theirs: Any) -> float:
    """Return the largest difference between two arrays in percent of the largest number."""
    return 100 * float(np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max())


def path(optimizer: Any, gradient: Callable, start: jax.Array, average: bool) -> np.ndarray:
    """Return the parameters after each step of a jaxdl optimizer, or their average that its state holds."""

    def step(carry, _):
        x, state = carry
        updates, state = optimizer.update(gradient(x), state, x)
        x = optimizers.apply_updates(x, updates)
        return (x, state), optimizers.averaged_params(state, x) if average else x

    return np.asarray(jax.lax.scan(step, (start, optimizer.init(start)), None, STEPS)[1])


def loops(random: np.random.Generator) -> Mapping[str, float]:
    """Return how far each optimizer is from its loop along a path down a random bowl of condition number 100."""
    axes, curvature = np.linalg.qr(random.normal(size=(SIZE, SIZE)))[0], np.geomspace(0.1, 10, SIZE)
    bowl, start = axes * curvature @ axes.T, 3 * random.normal(size=SIZE)
    gradient, value = lambda x: bowl @ x, lambda x: float(x @ bowl @ x) / 2
    walked = lambda loop, gradient: np.stack([*itertools.islice(loop(start, gradient, RATE), STEPS)])
    found = {
        name: apart(path(optimizer, gradient, jnp.float32(start), name == AVERAGE), walked(loop, gradient))
        for name, (loop, optimizer) in TWINS.items()
    }
    return found | {UPHILL: value(walked(printed.sgd, lambda x: -gradient(x))[-1]) / value(start)}


def formulas(random: np.random.Generator, key: jax.Array) -> Mapping[str, float]:
    """Return how far losses, a line, a pool and a net with dropout are from their listings."""
    logits, labels = random.normal(size=(8, 5)).astype(np.float32), random.integers(5, size=8)
    x, y = random.uniform(size=50), random.normal(size=50)
    fit = classical.linear_regression(x[:, None].astype(np.float32), y.astype(np.float32))
    matrix = np.array([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]], np.float32)
    sizes = ((6, 4), (6, 6), (3, 6))
    draw = lambda size: random.normal(size=size).astype(np.float32)
    weights = [(draw(size), draw(size[0])) for size in sizes]
    keys, drop = jax.random.split(key), functools.partial(layers.dropout, rate=0.5, mode="as_drawn")
    masks, h = [np.array(drop(one, np.ones(6, np.float32))) for one in keys], draw(4)
    theirs = printed.dropped(h, weights, masks)
    for one, (kernel, bias) in zip(keys, weights, strict=False):
        h = drop(one, activations.relu(layers.dense(h, kernel.T, bias)))
    log = activations.log_softmax(logits)
    return dict(zip(FORMULAS_OF, (
        apart(losses.softmax_cross_entropy(logits, labels).mean(), printed.softmax_loss(np.eye(5)[labels], logits)),
        apart(losses.squared_error(logits, 2 * logits).mean(), printed.squared_loss(logits, 2 * logits)),
        apart(losses.nll(log, labels).mean(), printed.softmax_loss(np.eye(5)[labels], logits)),
        apart(np.append(fit.intercept, fit.coefficients), printed.line(x, y, 0.5)),
        apart(layers.max_pool2d(matrix[..., None])[..., 0], printed.max_pool(matrix)),
        apart(layers.dense(h, weights[2][0].T, weights[2][1]), theirs),
    ), strict=True))  # fmt: skip


def tanh(random: np.random.Generator) -> Mapping[str, float]:
    """Return the moments of P's last activations, and how far jaxdl's are from them."""
    x, matrices = random.normal(size=512), random.normal(size=(100, 512, 512)) / np.sqrt(512)
    theirs, h = printed.tanh_layers(x, iter(matrices)), np.float32(x)
    for matrix in matrices:
        h = activations.tanh(layers.dense(h, np.float32(matrix.T)))
    return {"mean": float(theirs.mean()), "std": float(theirs.std(ddof=1)), "apart": apart(h, theirs)}

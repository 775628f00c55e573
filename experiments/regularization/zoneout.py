"""Zoneout: an LSTM that reads images row by row, at several rates."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import layers, losses, nn, optimizers

RATES = (0.0, 0.05, 0.1, 0.2, 0.4)  # probability that a unit keeps its last output or memory
BATCH, RATE = 50, 3e-3  # examples per step; of Adam


def logits(params: Any, x: jax.Array, rate: Any, key: jax.Array | None = None) -> jax.Array:
    """Return the logits of images (n, rows, columns), with a draw of Zoneout if there is a key."""
    lstm, start = params["lstm"], jnp.zeros((len(x), params["lstm"]["recurrent_kernel"].shape[0]))
    arrays = lstm["kernel"], lstm["recurrent_kernel"], lstm["bias"]
    h, _ = layers.lstm(x, (start, start), *arrays, zoneout_rate=rate, train=key is not None, key=key)
    return layers.dense(h[:, -1], **params["fc"])


@functools.cache
def _trained(units: int) -> Any:
    """Return (key, x, y, rows, held) -> logits of the held images, one row per rate, compiled once."""
    net, optimizer = nn.serial(lstm=nn.LSTM(units, output="last"), fc=nn.Dense(10)), optimizers.adam(RATE)

    def train(rate, key, x, y, rows, held):
        keys = jax.random.split(key)
        params, _ = net.init(keys[0], x.shape[1:])

        def step(carry, drawn):
            (params, state), (rows, key) = carry, drawn
            loss = lambda p: losses.softmax_cross_entropy(logits(p, x[rows], rate, key), y[rows]).mean()
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return (optimizers.apply_updates(params, updates), state), None

        drawn = rows, jax.random.split(keys[1], len(rows))
        params, _ = jax.lax.scan(step, (params, optimizer.init(params)), drawn)[0]
        return logits(params, held, rate)

    return jax.jit(lambda *rest: jax.lax.map(lambda rate: train(rate, *rest), jnp.array(RATES)))


def wrong(units: int, steps: int, train: Any, held: Any, seed: int) -> np.ndarray:
    """Return whether each held example is classified wrongly, one row per rate, in percent."""
    rows = np.random.default_rng(seed).integers(len(train[1]), size=(steps, BATCH))
    found = _trained(units)(jax.random.key(seed), *train, rows, held[0])
    return 100.0 * (np.argmax(np.asarray(found), -1) != held[1])

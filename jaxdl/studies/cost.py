"""The cost of an optimizer by itself: the time of an update and the memory of its state."""

from __future__ import annotations

import math
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxdl import optimizers
from jaxdl.optimizers.loops import settled
from jaxdl.studies.sweep import Build

UPDATES, REPEATS = 200, 7


def state_bytes(build: Build, params: Any) -> int:
    """Return the bytes of the optimizer's state for these parameters (arrays or their shapes).

    Examples:
        Adam keeps two numbers per parameter, and a step count of 4 bytes:

        >>> cost.state_bytes(optax.adam, jnp.zeros(100))
        804
    """
    state = jax.eval_shape(lambda params: build(jnp.float32(0.01)).init(params), params)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def update_microseconds(build: Build, params: Any) -> float:
    """Measure the microseconds of one update and its application, without gradients or Python (median of 7 loops).

    Args:
        build: makes the optimizer from a learning rate.
        params: arrays; they also serve as gradients, whose values do not matter here. An optimizer that asks for
            ``value`` or ``value_fn`` gets those of half the square of the parameters, which cost next to nothing: the
            time of a line search is that of its own arithmetic, without the evaluations of a real loss.

    Raises:
        ValueError: the optimizer's update needs more than gradients, parameters, ``value`` and ``value_fn``.
    """

    @jax.jit
    def loop(params, rate):
        optimizer = build(rate)

        def body(_, carry):
            now, opt_state, grads = jax.lax.optimization_barrier((*carry, params))  # no hoisting
            updates, opt_state = optimizers.update(
                optimizer, grads, opt_state, now, value=jnp.float32(1), value_fn=_half_square
            )
            return optax.apply_updates(now, updates), opt_state

        start = optimizers.start_params(optimizer, params)
        state = settled(optimizer, params, start, value=jnp.float32(1), value_fn=_half_square)
        return jax.lax.fori_loop(0, UPDATES, body, (start, state))

    rate = jnp.float32(1e-6)
    jax.block_until_ready(loop(params, rate))
    return 1e6 * statistics.median(_seconds(loop, params, rate) for _ in range(REPEATS)) / UPDATES


def _half_square(params):
    """Return a loss that costs next to nothing, for optimizers that ask for its value, such as line searches."""
    return sum(0.5 * jnp.sum(jnp.square(jnp.abs(leaf)).astype(jnp.float32)) for leaf in jax.tree.leaves(params))


def _seconds(function, *arguments) -> float:
    began = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - began

"""A peer from a loss function in JAX, for jaxdl, linen, nnx and equinox alike."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from benchmarks.speed.nets import OPTIMIZER
from benchmarks.speed.peer import Peer


def peer(
    loss: Callable[..., tuple[Any, Any]],  # (params, state, x, labels) -> (mean loss, new state)
    infer: Callable[..., Any],  # (params, state, x) -> logits
    params: Any,
    state: Any,
    batch: tuple[np.ndarray, np.ndarray],
    to_leaves: Callable[[Any], list[np.ndarray]],  # gradients -> jaxdl's order and axes
    optimizer: optax.GradientTransformation | None = None,
    compilations: int = 3,
) -> Peer:
    """Compile a step with donated arguments several times, and wrap it as a peer."""
    optimizer = optimizer or optax.sgd(OPTIMIZER["learning_rate"], OPTIMIZER["momentum"])
    x, labels = jax.device_put(batch)

    def step(params, state, opt_state, x, labels):
        (value, state), grads = jax.value_and_grad(loss, has_aux=True)(params, state, x, labels)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), state, opt_state, value

    carried = [*jax.tree.map(jax.numpy.array, (params, state)), optimizer.init(params)]
    compiled, seconds = donating(step, *carried, x, labels, compilations=compilations)
    inferring = jax.jit(infer)

    def run(count: int = 1):
        value = None
        for _ in range(count):
            *carried[:], value = compiled(*carried, x, labels)
        return jax.block_until_ready((carried, value))[1]

    def first():
        (value, _), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params, state, x, labels)
        return float(value), to_leaves(grads)

    return Peer(
        run,
        lambda: jax.block_until_ready(inferring(params, state, x)),
        first,
        seconds,
        temporary_bytes(compiled),
        (compiled.cost_analysis() or {}).get("flops", float("nan")),
    )


def donating(step: Callable[..., Any], *args: Any, compilations: int = 3) -> tuple[jax.stages.Compiled, float]:
    """Compile a step that donates its first three arguments, and return it with the median seconds of compilation."""
    seconds = []
    for _ in range(compilations):
        anew = lambda *args: step(*args)  # a new function, which JAX has not traced yet
        start = time.perf_counter()
        compiled = jax.jit(anew, donate_argnums=(0, 1, 2)).lower(*args).compile()
        seconds.append(time.perf_counter() - start)
    return compiled, statistics.median(seconds)


def temporary_bytes(compiled) -> float:
    """Return the memory that a compiled program needs besides its arguments and results."""
    memory = compiled.memory_analysis()
    return float("nan") if memory is None else memory.temp_size_in_bytes


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

"""`--log-layers`: norm of each layer's gradient and ratio of update to weights; `--profile`: a trace of some steps."""

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import keystr

Norms = dict[str, jax.Array]  # path of a layer -> a scalar


class WatchedGradients(NamedTuple):
    """State of the first stage of `watched`."""

    norms: Norms  # float32


class UpdateRatios(NamedTuple):
    """State of the last stage of `watched`."""

    ratios: Norms  # float32; 0 for a layer whose parameters are all 0


def watched(optimizer: optax.GradientTransformation, chain: Any = optax.chain) -> optax.GradientTransformation:
    """Return the optimizer with a state that `numbers` reads; its updates do not change.

    Args:
        optimizer: any transformation.
        chain: the function that runs stages one after the other.
    """

    def gradients(updates, state, params=None):
        del state, params
        return updates, WatchedGradients(_norms(updates))

    def ratios(updates, state, params=None):
        del state
        moved, weights = _norms(updates), _norms(params)
        safe = {name: jnp.where(norm > 0, norm, 1) for name, norm in weights.items()}
        return updates, UpdateRatios({k: jnp.where(weights[k] > 0, moved[k] / safe[k], 0) for k in moved})

    def zeros(params):
        return {name: jnp.zeros((), jnp.float32) for name in _norms_of_shapes(params)}

    first = optax.GradientTransformation(lambda params: WatchedGradients(zeros(params)), gradients)
    last = optax.GradientTransformation(lambda params: UpdateRatios(zeros(params)), ratios)
    return chain(first, optimizer, last)


def numbers(opt_state: Any) -> dict[str, tuple[float, float]]:
    """Return gradient norm and ratio of update to weights of each layer, as of the last step."""
    known = (WatchedGradients, UpdateRatios)
    nodes = [
        node for node in jax.tree.leaves(opt_state, is_leaf=lambda n: isinstance(n, known)) if isinstance(node, known)
    ]
    norms, ratios = ({}, {})
    for node in nodes:
        norms, ratios = (node.norms, ratios) if isinstance(node, WatchedGradients) else (norms, node.ratios)
    return {name: (float(norms[name]), float(ratios[name])) for name in norms}


def _norms(tree: Any) -> Norms:
    squares: Norms = {}
    for name, leaf in _of_layers(tree):
        squares[name] = squares.get(name, jnp.zeros((), jnp.float32)) + jnp.sum(
            jnp.square(jnp.abs(leaf).astype(jnp.float32))
        )
    return {name: jnp.sqrt(square) for name, square in squares.items()}


def _norms_of_shapes(tree: Any) -> list[str]:
    return list(dict.fromkeys(name for name, _ in _of_layers(tree)))


def _of_layers(tree: Any) -> list[tuple[str, Any]]:
    """Return each leaf with the path of its layer, such as stage1/conv."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(keystr(path[:-1], simple=True, separator="/"), leaf) for path, leaf in leaves]


class Profiler:
    """Traces some steps after the first call, which compiles, with JAX's profiler.

    Args:
        folder: the trace goes here; TensorBoard and xprof read it.
        steps: the number of steps, at least; a trace ends with a call, and with the epoch.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        self._folder, self._left = folder, steps
        self._trace: contextlib.ExitStack | None = None

    def count(self, steps: int, result: Any) -> None:
        """Count a call of ``steps`` steps that returned ``result``."""
        if self._left <= 0:
            return
        if self._trace is None:
            jax.block_until_ready(result)
            self._trace = contextlib.ExitStack()
            self._trace.enter_context(jax.profiler.trace(str(self._folder)))
            return
        self._left -= steps
        if self._left <= 0:
            jax.block_until_ready(result)
            self.stop()

    def stop(self) -> None:
        """End the trace if it runs."""
        if self._trace is not None:
            self._trace.close()
            self._trace, self._left = None, 0

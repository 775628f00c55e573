"""K-FAC: the natural gradient with a Kronecker-factored Fisher matrix for each dense and convolutional layer.

The optimizer sees parameters and gradients only, so the loop hands it the factors of the batch, a pair of matrices for
each layer: the second moments of the layer's inputs and of the gradients of its outputs.
`training.kronecker_factors` computes them for any `nn.Layer`; any other source will do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array
from optax import GradientTransformationExtraArgs

from jaxdl.optimizers import stages, trees
from jaxdl.optimizers.checks import check, check_momentum, check_whole
from jaxdl.optimizers.contracts import require_state
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words

Path = tuple[str, ...]
Pair = tuple[
    Array, Array
]  # of inputs (a, a) and outputs (b, b), where the kernel as a matrix, with its bias, is (a, b)


class KfacState(NamedTuple):
    """State of ``scale_by_kfac``; dicts have a pair of matrices per layer, by its path in the parameters."""

    count: Array  # (), int32: updates done
    factors: dict[str, Pair]  # running averages
    inverses: dict[str, Pair]  # of the damped factors, as of the last time that they were computed


@own_words
def kfac(
    learning_rate: ScalarOrSchedule,
    momentum: ArrayLike | None = 0.9,
    damping: ArrayLike = 1e-3,
    *,
    decay: ArrayLike = 0.95,
    inverse_every: ArrayLike = 1,
) -> GradientTransformationExtraArgs:
    """K-FAC: W ← W − α·m with m ← β·m + (A + π√λ·I)⁻¹ ∇W (G + √λ/π·I)⁻¹ for each layer's kernel with its bias.

    A = E[a aᵀ] over the layer's inputs, with a 1 for the bias, and G = E[g gᵀ] over the gradients of its outputs, so
    that A ⊗ G approximates the layer's block of the Fisher matrix. π² = (tr A / rows) / (tr G / columns) balances the
    damping. Averages over steps weight the past by min(1 − 1/t, decay).

    ``update(grads, state, params, factors=...)`` needs the factors of the batch, ``{path: (A, G)}`` with paths such as
    "conv1" for every dict of the parameters that holds a kernel: `training.kronecker_factors(net, params, state, x)`.
    Other parameters, such as a norm's scale, take plain gradients. ``partition`` gives them, or layers that have no
    factors, another optimizer; factors of layers that it hides are not used.

    Args:
        learning_rate: α, a number of at least 0 or a schedule.
        momentum: β, in [0, 1); None is none.
        damping: λ, above 0.
        decay: of the factors' averages, in [0, 1).
        inverse_every: updates between two inversions, each of a³ + b³ operations for a kernel of a rows and b columns.

    Raises:
        ValueError: a number is out of range; at init, ``params`` is no nested dict; at update, ``factors`` is missing,
            or lacks a layer or has other sizes than the parameters.

    References: J. Martens, R. Grosse, Optimizing Neural Networks with Kronecker-factored Approximate Curvature, 2015,
    https://arxiv.org/abs/1503.05671; R. Grosse, J. Martens, A Kronecker-factored approximate Fisher matrix for
    convolution layers, 2016, https://arxiv.org/abs/1602.01407.

    Examples:
        >>> params, factors = {"fc": {"kernel": jnp.ones((1, 1))}}, {"fc": (jnp.eye(1), jnp.eye(1))}
        >>> optimizer = optimizers.kfac(1.0, momentum=None, damping=1.0)
        >>> optimizer.update(params, optimizer.init(params), params, factors=factors)[0]["fc"]["kernel"]
        Array([[-0.25]], dtype=float32)
    """
    check(non_negative={"learning_rate": learning_rate})
    if momentum is not None:
        check_momentum(momentum)
    scaled = scale_by_kfac(damping, decay=decay, inverse_every=inverse_every)
    following = () if momentum is None else (stages.trace(momentum),)
    return stages.chain(scaled, *following, stages.scale_by_learning_rate(learning_rate))


def scale_by_kfac(
    damping: ArrayLike = 1e-3, *, decay: ArrayLike = 0.95, inverse_every: ArrayLike = 1
) -> GradientTransformationExtraArgs:
    """Multiply each kernel's gradient by the inverses of its damped factors. See ``kfac``."""
    check(positive={"damping": damping}, decay_rates={"decay": decay})
    check_whole(inverse_every=(inverse_every, 1))

    def init(params):
        if trees.is_placeholder(params):  # no part of this state resembles the parameters
            return KfacState(*[jnp.zeros((), jnp.int32)] * 3)  # pyright: ignore[reportArgumentType]
        matrices = {path: _matrix(path, layer) for path, layer in _kernels(params).items()}
        eye = lambda one, axis: jnp.eye(one.shape[axis], dtype=one.dtype)
        eyes = {path: (eye(one, 0), eye(one, 1)) for path, one in matrices.items()}
        return KfacState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, eyes), eyes)

    def update(updates, state, params=None, *, factors=None, **extra_args):
        del params, extra_args
        require_state(state, KfacState, "kfac")
        given = _checked(factors, state.factors)
        count = trees.increment(state.count)
        past = jnp.minimum(1 - 1 / trees.as_float(count), decay)
        averages = jax.tree.map(partial(_averaged, past), state.factors, given)
        due = (count - 1) % jnp.asarray(inverse_every, count.dtype) == 0
        inverses = jax.lax.cond(due, lambda: _inverses(averages, damping), lambda: state.inverses)
        steps = {}
        for path, layer in _kernels(updates).items():
            steps |= _parts(path, layer, _solved(path, _matrix(path, layer), inverses))
        scaled = jax.tree_util.tree_map_with_path(lambda path, g: steps.get(_names(path), g), updates)
        return scaled, KfacState(count, averages, inverses)

    return GradientTransformationExtraArgs(init, update)


def _averaged(past, old, new):
    past = past.astype(old.dtype)
    return past * old + (1 - past) * new


def _solved(path: str, matrix: Array, inverses: Mapping[str, Pair]) -> Array:
    """Return the product with both inverses, in the type of the wider one."""
    if path not in inverses or matrix.shape[0] != len(inverses[path][0]):
        raise ValueError(
            f"updates[{path!r}] has {matrix.shape[0]} rows, kernel and bias: the state has "
            f"{len(inverses[path][0]) if path in inverses else 'none'}, so that one of them has no gradient here or "
            "had no parameter in init"
        )
    of_inputs, of_outputs = inverses[path]
    wide = trees.promoted(matrix.dtype, of_inputs.dtype)
    return of_inputs.astype(wide) @ matrix.astype(wide) @ of_outputs.astype(wide)


def _inverses(factors: Mapping[str, Pair], damping: ArrayLike) -> dict[str, Pair]:
    def inverse(matrix, shift):
        eye = jnp.eye(len(matrix), dtype=matrix.dtype)
        # below this, rounding makes a singular matrix indefinite, and its Cholesky factor NaN
        shift = jnp.maximum(shift, _rounding(matrix))
        return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(matrix + shift * eye), eye)

    def both(pair):
        root = jnp.sqrt(trees.hyper(damping)).astype(pair[0].dtype)
        traces = [jnp.trace(one) / len(one) for one in pair]
        balanced = jnp.sqrt(traces[0] / jnp.where(traces[1] > 0, traces[1], 1.0))
        pi = jnp.where((traces[0] > 0) & (traces[1] > 0), balanced, 1.0)
        return inverse(pair[0], pi * root), inverse(pair[1], root / pi)

    return {path: both(pair) for path, pair in factors.items()}


def _rounding(matrix: Array) -> Array:
    return 2 * len(matrix) ** 0.5 * jnp.finfo(matrix.dtype).eps * jnp.trace(matrix)


def _names(path: Sequence[Any]) -> Path:
    """Return the names on JAX's path to a leaf; flax's variables hold theirs as an attribute."""
    path = path[:-1] if path and getattr(path[-1], "name", None) == "value" else path
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


def _kernels(tree: Any) -> dict[str, dict[str, Array]]:
    """Return the kernel and the bias, if there is one, of every node that holds a kernel, by its path."""
    if not isinstance(tree, Mapping):
        raise ValueError(f"params is a {type(tree).__name__}: kfac takes nested dicts, as nn.Layer's init returns")
    found: dict[Path, dict[str, Array]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        *parent, name = _names(path)
        if name in ("kernel", "bias"):
            found.setdefault(tuple(parent), {})[name] = leaf
    return {"/".join(path): layer for path, layer in found.items() if "kernel" in layer}


def _matrix(path: str, layer: Mapping[str, Array]) -> Array:
    """Return a kernel as a matrix (rows, outputs), with the bias as its last row."""
    kernel, bias = trees.widen(layer["kernel"]), layer.get("bias")
    if not jnp.issubdtype(kernel.dtype, jnp.floating) or kernel.ndim < 2:
        raise ValueError(f"kernel is {kernel.dtype}{kernel.shape}: kfac takes floating ones of at least two axes")
    matrix = kernel.reshape(math.prod(kernel.shape[:-1]), kernel.shape[-1])
    if bias is None:
        return matrix
    if jnp.shape(bias) != matrix.shape[1:]:
        raise ValueError(f"params[{path!r}] has a bias of shape {jnp.shape(bias)} for a kernel of {kernel.shape}")
    return jnp.concatenate([matrix, trees.widen(bias)[None].astype(matrix.dtype)])


def _parts(path: str, layer: Mapping[str, Array], matrix: Array) -> dict[Path, Array]:
    """Return the kernel and the bias in a matrix, in a layer's shapes and types, by the paths of their leaves."""
    node = tuple(path.split("/")) if path else ()
    rows = matrix[:-1] if "bias" in layer else matrix
    kernel = layer["kernel"]
    parts = {(*node, "kernel"): rows.reshape(kernel.shape).astype(kernel.dtype)}
    return parts | ({(*node, "bias"): matrix[-1].astype(layer["bias"].dtype)} if "bias" in layer else {})


def _checked(factors: Any, known: Mapping[str, Pair]) -> dict[str, Pair]:
    """Return the batch's factors of the known layers, in the types of the state."""
    if not isinstance(factors, Mapping):
        what = "None" if factors is None else f"a {type(factors).__name__}"
        raise ValueError(
            f"factors is {what}: kfac needs update(grads, state, params, factors=...), such as "
            "training.kronecker_factors returns"
        )
    if missing := sorted(known.keys() - factors.keys()):
        raise ValueError(f"factors has {sorted(factors)}: it must have every layer with a kernel, also {missing}")
    for path, pair in known.items():
        shapes, wanted = [jnp.shape(one) for one in factors[path]], [one.shape for one in pair]
        if shapes != wanted:
            raise ValueError(f"factors[{path!r}] has shapes {shapes}: the parameters have {wanted}")
    typed = lambda given, a, g: (jnp.asarray(given[0], a.dtype), jnp.asarray(given[1], g.dtype))
    return {path: typed(factors[path], *pair) for path, pair in known.items()}

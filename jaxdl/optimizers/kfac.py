"""K-FAC: the natural gradient with a Kronecker-factored Fisher matrix for each dense and convolutional layer.

The optimizer sees parameters and gradients only, so the loop hands it the factors of the batch, a pair of matrices for
each layer: the second moments of the layer's inputs and of the gradients of its outputs.
`training.kronecker_factors` computes them for any `nn.Layer`; any other source will do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
        matrices = {"/".join(path): _matrix(layer) for path, layer in _kernels(params)}
        eye = lambda one, axis: jnp.eye(one.shape[axis], dtype=one.dtype)
        eyes = {path: (eye(one, 0), eye(one, 1)) for path, one in matrices.items()}
        return KfacState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, eyes), eyes)

    def update(updates, state, params=None, *, factors=None, **extra_args):
        del params, extra_args
        require_state(state, KfacState, "kfac")
        given = _checked(factors, state.factors)
        count = trees.increment(state.count)
        past = jnp.minimum(1 - 1 / trees.as_float(count), decay)
        averages = jax.tree.map(lambda old, new: past * old + (1 - past) * new, state.factors, given)
        due = (count - 1) % jnp.asarray(inverse_every, count.dtype) == 0
        inverses = jax.lax.cond(due, lambda: _inverses(averages, damping), lambda: state.inverses)
        scaled = updates
        for path, layer in _kernels(updates):
            of_inputs, of_outputs = inverses["/".join(path)]
            scaled = _put(scaled, path, _like(layer, of_inputs @ _matrix(layer) @ of_outputs))
        return scaled, KfacState(count, averages, inverses)

    return GradientTransformationExtraArgs(init, update)


def _inverses(factors: Mapping[str, Pair], damping: ArrayLike) -> dict[str, Pair]:
    root = jnp.sqrt(trees.hyper(damping))

    def inverse(matrix, shift):
        eye = jnp.eye(len(matrix), dtype=matrix.dtype)
        return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(matrix + shift * eye), eye)

    def both(pair):
        traces = [jnp.trace(one) / len(one) for one in pair]
        balanced = jnp.sqrt(traces[0] / jnp.where(traces[1] > 0, traces[1], 1.0))
        pi = jnp.where((traces[0] > 0) & (traces[1] > 0), balanced, 1.0)
        return inverse(pair[0], pi * root), inverse(pair[1], root / pi)

    return {path: both(pair) for path, pair in factors.items()}


def _kernels(tree: Any, path: Path = ()) -> Iterator[tuple[Path, Mapping[str, Array]]]:
    """Yield every dict that holds a kernel, with its path."""
    if not isinstance(tree, Mapping):
        if not path:
            raise ValueError(f"params is a {type(tree).__name__}: kfac takes nested dicts, as nn.Layer's init returns")
        return
    if hasattr(tree.get("kernel"), "shape"):
        yield path, tree
    for name, below in tree.items():
        yield from _kernels(below, (*path, name))


def _matrix(layer: Mapping[str, Array]) -> Array:
    """Return a kernel as a matrix (rows, outputs), with the bias as its last row."""
    kernel = trees.widen(layer["kernel"])
    if not jnp.issubdtype(kernel.dtype, jnp.floating) or kernel.ndim < 2:
        raise ValueError(f"kernel is {kernel.dtype}{kernel.shape}: kfac takes floating ones of at least two axes")
    matrix = kernel.reshape(-1, kernel.shape[-1])
    bias = layer.get("bias")
    return matrix if bias is None else jnp.concatenate([matrix, trees.widen(bias)[None]])


def _like(layer: Mapping[str, Array], matrix: Array) -> dict[str, Array]:
    """Return the kernel and the bias in a matrix, in the shapes and types of a layer's, beside its other leaves."""
    kernel, bias = layer["kernel"], layer.get("bias")
    rows = matrix if bias is None else matrix[:-1]
    changed = {"kernel": rows.reshape(kernel.shape).astype(kernel.dtype)}
    return {**layer, **changed, **({} if bias is None else {"bias": matrix[-1].astype(bias.dtype)})}


def _put(tree: Mapping[str, Any], path: Path, new: Any) -> Any:
    return new if not path else {**tree, path[0]: _put(tree[path[0]], path[1:], new)}


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

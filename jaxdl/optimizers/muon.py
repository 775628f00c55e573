"""Muon: momentum with its matrices orthogonalized before each step. [Lecture row E7]"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import moments, stages, trees
from jaxdl.optimizers.adam import adamw
from jaxdl.optimizers.checks import check, check_whole
from jaxdl.optimizers.contracts import stateless, transformation
from jaxdl.optimizers.conventions import resolve
from jaxdl.optimizers.grouping import Mask, partition
from jaxdl.optimizers.states import MaskedNode, MuonDimensionNumbers, MuonState
from jaxdl.optimizers.trees import map_updates
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words

PRECONDITIONINGS: Final = ("frobenius", "spectral", "aol", "schatten")

QUINTIC: Final = (3.4445, -4.7750, 2.0315)
"""Jordan's coefficients, which bring singular values to between 0.7 and 1.2 in five steps."""

DION: Final = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
"""Coefficients per step from the Dion project, also in optax, which bring singular values closer to 1."""


@own_words
def muon(
    learning_rate: ScalarOrSchedule,
    ns_coeffs: Any = QUINTIC,
    ns_steps: ArrayLike = 5,
    beta: ArrayLike = 0.95,
    eps: ArrayLike = 1e-8,
    weight_decay: ScalarOrSchedule | None = None,
    weight_decay_mask: Mask = None,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
    preconditioning: str = "frobenius",
    adam_b1: ArrayLike = 0.9,
    adam_b2: ArrayLike = 0.999,
    adam_eps_root: ArrayLike = 0.0,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
    muon_weight_dimension_numbers: Any = None,
    consistent_rms: ArrayLike | None = None,
    convention: str = "optax",
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Muon: w ← w − α·√max(1, out/in)·orthogonal(momentum) for matrices, and AdamW for all other leaves.

    Args:
        learning_rate: α, a number of at least 0 or a schedule, a function of the step.
        ns_coeffs: (a, b, c) of the Newton-Schulz step aX + b(XXᵀ)X + c(XXᵀ)²X: one triple, one per step, "standard" or
            "dion".
        ns_steps: number of Newton-Schulz steps, a whole number of at least 1; a traced number runs as a loop.
        beta: decay of the momentum, in [0, 1).
        eps: added to the norm that first divides a matrix; also AdamW's eps.
        weight_decay: λ of the matrices; None takes the convention's (0).
        weight_decay_mask: which matrices decay; None selects all.
        mu_dtype: dtype in which the momentum is stored.
        nesterov: look one step ahead in the momentum.
        adaptive: multiply by the inner product of the momentum and the orthogonal matrix.
        preconditioning: how a matrix is scaled for the first Newton-Schulz step; see ``orthogonalize``.
        adam_b1: ``b1`` of AdamW; likewise ``adam_b2``, ``adam_eps_root`` and ``adam_weight_decay``.
        adam_b2: see ``adam_b1``.
        adam_eps_root: see ``adam_b1``.
        adam_weight_decay: see ``adam_b1``.
        adam_learning_rate: AdamW's learning rate; None is ``learning_rate``.
        muon_weight_dimension_numbers: a tree, or a function of the parameters, that holds the
            ``optax.contrib.MuonDimensionNumbers`` of each leaf, or None for AdamW; None selects all 2-D leaves.
        consistent_rms: if given, scale by √max(in, out) times this number instead.
        convention: only "optax" is defined.
        state_dtype: dtype of the accumulators; None keeps float32 for half-precision leaves and the leaf's own for
            others.

    Raises:
        ValueError: a number or name is out of range, or the convention does not define this optimizer.

    Reference: Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024,
    https://kellerjordan.github.io/posts/muon/.

    Examples:
        >>> params, grads = jnp.eye(2), jnp.array([[3.0, 0.0], [0.0, 1.0]])
        >>> optimizer = optimizers.muon(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([[-0.07530341, -0.        ],
               [-0.        , -0.11337062]], dtype=float32)

    [Lecture row E7]
    """
    decay = resolve("muon", convention, weight_decay=weight_decay)["weight_decay"]
    rates = {"learning_rate": learning_rate, "adam_learning_rate": adam_learning_rate}
    check(non_negative=rates)
    numbers = muon_weight_dimension_numbers
    options = {"nesterov": nesterov, "adaptive": adaptive, "preconditioning": preconditioning}
    direction = scale_by_muon(ns_coeffs, ns_steps, beta, eps, mu_dtype, weight_dimension_numbers=numbers, **options)
    rest = (_scale_by_shape(numbers, consistent_rms), stages.add_decayed_weights(decay, weight_decay_mask))
    matrices = stages.chain(direction, *rest, stages.scale_by_learning_rate(learning_rate), state_dtype=state_dtype)
    rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    adam = (adam_b1, adam_b2, eps, adam_eps_root, mu_dtype, adam_weight_decay)
    others = adamw(rate, *adam, nesterov=nesterov, state_dtype=state_dtype)
    return partition({"muon": matrices, "adam": others}, lambda params: _labels(numbers, params))


def scale_by_muon(
    ns_coeffs: Any = QUINTIC,
    ns_steps: ArrayLike = 5,
    beta: ArrayLike = 0.95,
    eps: ArrayLike = 1e-8,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
    preconditioning: str = "frobenius",
    weight_dimension_numbers: Any = None,
) -> GradientTransformation:
    """Scale by Muon's direction for matrices. See ``muon`` for the arguments."""
    check(decay_rates={"beta": beta}, non_negative={"eps": eps})
    if preconditioning not in PRECONDITIONINGS:
        raise ValueError(f"preconditioning is {preconditioning!r}: it must be one of {PRECONDITIONINGS}")
    coeffs = _coefficients(ns_coeffs, ns_steps)
    beta, eps = trees.hyper(beta, eps)

    def init(params):
        mu = trees.zeros_like(params, mu_dtype)
        return MuonState(count=jnp.zeros([], jnp.int32), mu=mu, ns_coeffs=trees.copied(coeffs))

    def update(updates, state, params):
        del params
        numbers = _spread(weight_dimension_numbers, updates)
        mu = moments.update_moment(updates, state.mu, beta, 1)
        count = trees.increment(state.count)
        mu_hat = moments.first_moment(mu, updates, beta, count, nesterov, True)

        def direction(g, m, number):
            del g
            o = orthogonalize(m, state.ns_coeffs, ns_steps, preconditioning, eps, dimension_numbers=number)
            return jnp.sum(m.conj() * o) * o if adaptive else o

        updates = map_updates(direction, updates, mu_hat, numbers)
        mu = trees.cast_like(mu, state.mu)
        return updates, MuonState(count=count, mu=mu, ns_coeffs=state.ns_coeffs)

    return transformation("Muon's direction", MuonState, init, update)


def orthogonalize(
    x: jax.Array,
    ns_coeffs: Any = QUINTIC,
    ns_steps: ArrayLike = 5,
    preconditioning: str = "frobenius",
    eps: ArrayLike = 1e-8,
    *,
    dimension_numbers: MuonDimensionNumbers | None = None,
) -> jax.Array:
    """Bring the singular values of a matrix, or of a stack of matrices, close to 1 by Newton-Schulz steps.

    Args:
        x: a floating or complex array of at least two axes.
        ns_coeffs: coefficients of shape (3,) or (steps, 3).
        ns_steps: number of steps if there is one triple.
        preconditioning: "frobenius" and "spectral" divide by that norm; "aol" rescales by the row sums of |XXᵀ|, and
            "schatten" by its Frobenius norm.
        eps: added to the norm.
        dimension_numbers: the axes that the matrix contracts and produces; all others form the stack. None is (0, 1).

    Returns:
        An array of the shape and dtype of ``x``.

    Raises:
        ValueError: ``x`` has fewer than two axes, or the dimension numbers overlap.

    See ``muon``.

    Examples:
        >>> optimizers.orthogonalize(jnp.array([[3.0, 0.0], [0.0, 1.0]]))
        Array([[0.7530341, 0.       ],
               [0.       , 1.1337062]], dtype=float32)
    """
    numbers = dimension_numbers or MuonDimensionNumbers()
    if x.ndim < 2:
        raise ValueError(f"x has shape {x.shape}: it must have two axes at least")
    inputs, outputs = _axes(numbers.reduction_axis, x.ndim), _axes(numbers.output_axis, x.ndim)
    if set(inputs) & set(outputs):
        raise ValueError(f"dimension_numbers are {numbers}: no axis of shape {x.shape} can be contracted and produced")
    if not x.size:
        return x
    order = tuple(i for i in range(x.ndim) if i not in inputs + outputs) + inputs + outputs
    moved = x.transpose(order)
    matrices = moved.reshape(-1, _size(x, inputs), _size(x, outputs))
    coeffs = jnp.asarray(ns_coeffs).astype(trees.real(x).dtype)
    done = jax.vmap(lambda m: _newton_schulz(m, coeffs, ns_steps, preconditioning, eps))(matrices)
    return done.reshape(moved.shape).transpose([order.index(i) for i in range(x.ndim)])


def _newton_schulz(x, coeffs, steps, preconditioning, eps):
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    if preconditioning in ("frobenius", "spectral"):
        size, scale = trees.scaled_norm([x])
        x = x * scale
        size = size if preconditioning == "frobenius" else jnp.linalg.norm(x, ord=2)
        x = x / (size + trees.times(eps, scale).astype(size.dtype))
    else:
        x = _at_most_one(x)
    first = preconditioning if preconditioning in ("aol", "schatten") else None
    if coeffs.ndim == 1 and isinstance(steps, jax.Array):  # a traced number of steps
        x = _step(x, coeffs, first)
        x = jax.lax.fori_loop(1, steps, lambda i, x: _step(x, coeffs, None), x)
    else:
        for i, triple in enumerate(coeffs if coeffs.ndim == 2 else [coeffs] * int(steps)):
            x = _step(x, triple, first if i == 0 else None)
    return x.T if tall else x


def _step(x, coeffs, rescaling):
    a, b, c = coeffs
    gram = x @ x.T.conj()
    if rescaling is not None:
        x, gram = _rescale(x, gram, rescaling)
    return a * x + (b * gram + c * gram @ gram) @ x


def _at_most_one(x):
    """Divide by a power of two, which is exact, so that XXᴴ of large entries does not overflow."""
    largest = jnp.maximum(jnp.abs(x.real), jnp.abs(x.imag)) if jnp.iscomplexobj(x) else jnp.abs(x)
    _, exponent = jnp.frexp(jax.lax.stop_gradient(jnp.max(largest, initial=0.0)))
    # two factors, because 2^−128 alone is subnormal
    half = jnp.maximum(exponent, 0) // 2
    one = jnp.ones((), largest.dtype)
    return x * jnp.ldexp(one, -half) * jnp.ldexp(one, half - jnp.maximum(exponent, 0))


def _rescale(x, gram, preconditioning):
    # rows without a gradient stay 0; optax has the same lower bound
    if preconditioning == "aol":
        size = jnp.sum(jnp.abs(gram), axis=-1, keepdims=True)
        scale = jax.lax.rsqrt(jnp.maximum(size, 1e-8))
        return x * scale, gram * scale * scale.T
    scale = jax.lax.rsqrt(jnp.maximum(trees.norm([gram]), 1e-8))
    return x * scale, gram * scale**2


def _scale_by_shape(dimension_numbers, consistent_rms) -> GradientTransformation:
    """Scale by √max(1, out/in), which lets a good learning rate carry over to other widths, or by √max(in, out)·rms."""

    consistent_rms = trees.hyper(consistent_rms)

    def scale(u, number):
        fan_in = _size(u, _axes(number.reduction_axis, u.ndim))
        fan_out = _size(u, _axes(number.output_axis, u.ndim))
        if consistent_rms is None:
            return math.sqrt(max(1, fan_out / max(fan_in, 1))) * u
        return trees.times(math.sqrt(max(fan_in, fan_out)) * consistent_rms, u)

    def update(updates, params):
        del params
        return map_updates(scale, updates, _spread(dimension_numbers, updates))

    return stateless("Muon's scale", update)


def _is_number(x):
    return x is None or isinstance(x, MuonDimensionNumbers | MaskedNode)


def _spread(dimension_numbers, tree):
    """Return one entry per leaf: its dimension numbers, or None where AdamW takes the step or there is no update."""
    if dimension_numbers is None:
        return jax.tree.map(lambda x: MuonDimensionNumbers() if jnp.ndim(x) == 2 else None, tree)
    prefix = trees.called(dimension_numbers, tree)
    return jax.tree.map(
        lambda number, group: jax.tree.map(lambda leaf: number, group), prefix, tree, is_leaf=_is_number
    )


def _labels(dimension_numbers, tree):
    def label(leaf, number):
        return None if leaf is None else "adam" if number is None else "muon"

    return jax.tree.map(label, tree, _spread(dimension_numbers, tree), is_leaf=lambda x: x is None)


def _axes(axes: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    return tuple(axis % ndim for axis in ((axes,) if isinstance(axes, int) else axes))


def _size(x, axes):
    return math.prod(x.shape[axis] for axis in axes)


def _coefficients(ns_coeffs, ns_steps):
    if isinstance(ns_coeffs, str):
        presets = {"standard": QUINTIC, "dion": DION}
        if ns_coeffs not in presets:
            raise ValueError(f"ns_coeffs is {ns_coeffs!r}: a name must be one of {list(presets)}")
        ns_coeffs = presets[ns_coeffs]
    coeffs = jnp.asarray(ns_coeffs)
    if coeffs.ndim not in (1, 2) or coeffs.shape[-1] != 3:
        raise ValueError(f"ns_coeffs has shape {coeffs.shape}: it must be (3,) or (steps, 3)")
    check_whole(ns_steps=(ns_steps, 1))
    if coeffs.ndim == 2 and not isinstance(ns_steps, jax.Array) and coeffs.shape[0] > ns_steps:
        raise ValueError(f"ns_steps is {ns_steps}: it must be at least {coeffs.shape[0]}, the rows of ns_coeffs")
    return coeffs

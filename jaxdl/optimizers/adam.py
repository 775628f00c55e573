"""Adam and AdamW: steps scaled by exponential averages of the gradient and of its square. [Lecture rows E6, E7]"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import moments, stages, trees
from jaxdl.optimizers.checks import check
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.conventions import Form, resolve
from jaxdl.optimizers.grouping import Mask
from jaxdl.optimizers.states import ScaleByAdamState
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def adam(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike | None = None,
    eps_root: ArrayLike | None = None,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = False,
    weight_decay: ScalarOrSchedule | None = None,
    convention: str = "optax",
    eps_hat: bool | None = None,
    bias_correction: bool | None = None,
    form: Form = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Adam: w ← w − α·m̂/(√(v̂ + eps_root) + eps), where m̂ and v̂ are unbiased averages of g and g².

    With ``eps_hat``, eps is added to the raw root: w ← w − α·(√(1−b2ᵗ)/(1−b1ᵗ))·m/(√(v + eps_root) + eps).

    Args:
        learning_rate: α, a number of at least 0 or a schedule, a function of the step.
        b1: decay of the average of g, in [0, 1).
        b2: decay of the average of g², in [0, 1).
        eps: added to the root, at least 0; None takes the convention's (optax 1e-8, Keras 1e-7).
        eps_root: added inside the root, at least 0; None takes the convention's (optax 0). It must be above 0 if you
            differentiate through ``update``, as in meta-learning: otherwise √v̂ has an infinite derivative at a zero
            gradient, and the derivative of the step is NaN, as in optax.
        mu_dtype: dtype in which m is stored; None follows ``state_dtype``.
        nesterov: look one step ahead in m, as ``nadam`` does.
        weight_decay: λ of PyTorch's L2 penalty, which adds λw to the gradient first. It requires
            ``convention="torch"``; use ``adamw`` for decoupled decay.
        convention: whose algorithm and defaults, a name in ``CONVENTIONS``.
        eps_hat: use the second formula; None takes the convention's (True for Keras only).
        bias_correction: False is the lectures' "almost" Adam; None takes the convention's (True).
        form: order of operations, the entries "exact_correction" and "moment_form" of ``conventions.FORMS``; an entry
            that is left out takes the convention's.
        state_dtype: dtype of m and v; None keeps float32 for half-precision leaves and the leaf's own for others.

    Raises:
        ValueError: a number is out of range, the convention does not define this optimizer, or ``weight_decay`` is
            given under another convention than "torch".

    Errata: ENEE4584 divides by ρ instead of 1−ρᵗ, and CS2020 corrects V_db with β2. The corrected forms run here.
    Reference: Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015,
    https://arxiv.org/abs/1412.6980.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.adam(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.09999934,  0.09999933], dtype=float32)

    [Lecture row E6]
    """
    check(non_negative={"learning_rate": learning_rate})
    given = {"eps": eps, "eps_root": eps_root, "eps_hat": eps_hat, "bias_correction": bias_correction}
    options = resolve("adam", convention, form, **given)
    return stages.chain(
        *stages.l2_penalty("adam", weight_decay, convention),
        scale_by_adam(b1, b2, mu_dtype=mu_dtype, nesterov=nesterov, **options),
        stages.scale_by_learning_rate(learning_rate),
        state_dtype=state_dtype,
    )


@own_words
def adamw(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike | None = None,
    eps_root: ArrayLike | None = None,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule | None = None,
    mask: Mask = None,
    *,
    nesterov: bool = False,
    convention: str = "optax",
    eps_hat: bool | None = None,
    bias_correction: bool | None = None,
    form: Form = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Adam with decoupled weight decay: w ← w − α·(Adam's direction + λw).

    The paper does not multiply the decay by α: w ← w − α·(Adam's direction) − λw.

    Args:
        learning_rate: α, a number of at least 0 or a schedule, a function of the step.
        b1: see ``adam``.
        b2: see ``adam``.
        eps: see ``adam``.
        eps_root: see ``adam``.
        mu_dtype: see ``adam``.
        weight_decay: λ, a number of at least 0 or a schedule; None takes the convention's (optax 1e-4, PyTorch 1e-2,
            Keras 4e-3; the paper prints none).
        mask: which parameters decay: a tree of bools, a prefix of one, or a function of the tree; None selects all.
        nesterov: see ``adam``.
        convention: see ``adam``.
        eps_hat: see ``adam``.
        bias_correction: see ``adam``.
        form: see ``adam``, with the entry "decay_form" in addition.
        state_dtype: see ``adam``.

    Raises:
        ValueError: a number is out of range, or the convention does not define this optimizer.

    Reference: Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019,
    https://arxiv.org/abs/1711.05101.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.adamw(0.1, weight_decay=0.01)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.10099935,  0.09799933], dtype=float32)

    [Lecture row E7]
    """
    check(non_negative={"learning_rate": learning_rate})
    given = {"eps": eps, "eps_root": eps_root, "eps_hat": eps_hat, "bias_correction": bias_correction}
    options = resolve("adamw", convention, form, weight_decay=weight_decay, **given)
    decay = {name: options.pop(name) for name in ("weight_decay", "decay_form")}
    direction = scale_by_adam(b1, b2, mu_dtype=mu_dtype, nesterov=nesterov, **options)
    parts = stages.decoupled(direction, learning_rate, mask=mask, **decay)
    return stages.chain(*parts, state_dtype=state_dtype)


def scale_by_adam(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = False,
    eps_hat: bool = False,
    bias_correction: bool = True,
    exact_correction: bool = False,
    moment_form: str = "weighted",
) -> GradientTransformation:
    """Scale by Adam's direction m̂/(√(v̂ + eps_root) + eps). See ``adam`` for the arguments."""
    check(decay_rates={"b1": b1, "b2": b2}, non_negative={"eps": eps, "eps_root": eps_root})
    b1, b2, eps, eps_root = trees.hyper(b1, b2, eps, eps_root)

    def init(params):
        zeros = trees.zeros_like
        return ScaleByAdamState(count=jnp.zeros([], jnp.int32), mu=zeros(params, mu_dtype), nu=zeros(params))

    def update(updates, state, params):
        del params
        mu, nu = moments.update_moments(updates, state, b1, b2, moment_form)
        count = trees.increment(state.count)
        raw = eps_hat or not bias_correction
        mu_hat = moments.first_moment(mu, updates, b1, count, nesterov, bias_correction, exact_correction)
        nu_hat = nu if raw else moments.correct_bias(nu, b2, count, exact_correction)
        if eps_hat and bias_correction:
            root = jnp.sqrt(moments.bias_weight(b2, count, exact_correction))
            mu_hat = jax.tree.map(lambda m: m * root.astype(trees.real(m).dtype), mu_hat)
        direction = moments.ratio(updates, mu_hat, nu_hat, eps, eps_root)
        mu, nu = trees.cast_like((mu, nu), (state.mu, state.nu))
        return direction, ScaleByAdamState(count=count, mu=mu, nu=nu)

    return transformation("Adam's direction", ScaleByAdamState, init, update)

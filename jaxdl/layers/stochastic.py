"""Dropout and its relatives: noise that regularises.

The PRNG key comes first, and a call draws once, so the same key gives the same noise. `rate` is the probability of
dropping, in [0, 1); the lecture S writes p for the probability of keeping, C and M for that of dropping. A Python
number is checked; a traced rate is not, and a traced 1 drops everything. Evaluation calls none of these functions; each
docstring names the replacement. Noise is drawn in float32 or wider, then rounded.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl import numerics
from jaxdl.layers.linear import dense
from jaxdl.words import own_words

__all__ = [
    "dropconnect",
    "dropout",
    "gaussian_dropout",
    "shakeout",
    "spatial_dropout",
    "stochastic_depth",
    "whiteout",
    "zoneout",
]

Rate = float | int | Float[Array, ""]
Mode = Literal["inverted", "as_drawn"]
_NUMBERS = float | int | np.floating | np.integer  # concrete, so that their values can be checked


@own_words
def dropout(key: jax.Array, x: Float[ArrayLike, "*x"], rate: Rate, *, mode: Mode = "inverted") -> Float[Array, "*x"]:
    """Set each value to 0 with probability `rate`, independently: y = m x / (1 − rate), m ~ Bernoulli(1 − rate).

    Args:
        key: a PRNG key; draw a new one for every forward pass.
        x: activations of any shape.
        rate: probability of dropping a value.
        mode: "inverted" divides the kept values by 1 − rate, so that E[y] = x and evaluation is the identity.
            "as_drawn" does not, so E[y] = (1 − rate) x and evaluation multiplies by 1 − rate.

    Raises:
        ValueError: a rate outside [0, 1) or an unknown mode.

    The lecture E prints one mask per epoch and scales the biases too. Dropout draws a mask per forward pass and does
    not scale biases.

    Reference: Srivastava et al., Dropout, 2014. https://jmlr.org/papers/v15/srivastava14a.html.

    Examples:
        >>> y = layers.dropout(jax.random.key(0), jnp.ones(100), 0.5)
        >>> set(y.tolist()), bool(abs(y.mean() - 1) < 0.3)
        ({0.0, 2.0}, True)

    [Lecture row G3]
    """
    numerics.check_key(key)
    x = jnp.asarray(x)
    return _drop(key, x, x.shape, rate, mode)


@own_words
def spatial_dropout(
    key: jax.Array, x: Float[ArrayLike, "*b h w c"], rate: Rate, *, mode: Mode = "inverted"
) -> Float[Array, "*b h w c"]:
    """Drop whole channels of each image, with one draw per image and channel. See `dropout`.

    Neighbouring pixels carry the same information, so dropping single pixels would remove little.

    Reference: Tompson et al., Efficient object localization using convolutional networks, 2015.
    https://arxiv.org/abs/1411.4280. [Lecture row G3]
    """
    numerics.check_key(key)
    x = jnp.asarray(x)
    if x.ndim < 3:
        raise ValueError(f"x: got shape {x.shape}, allowed are (..., h, w, c)")
    return _drop(key, x, (*x.shape[:-3], 1, 1, x.shape[-1]), rate, mode)


@own_words
def stochastic_depth(
    key: jax.Array, x: Float[ArrayLike, "n *x"], rate: Rate, *, mode: Mode = "inverted"
) -> Float[Array, "n *x"]:
    """Drop whole examples of a batch: one draw for each entry of the first axis. See `dropout`.

    On the branch of a residual block it skips the block, x + 0, for the examples that are drawn.

    Reference: Huang et al., Deep networks with stochastic depth, 2016. https://arxiv.org/abs/1603.09382; one draw per
    example as in Tan and Le, EfficientNet, 2019, https://arxiv.org/abs/1905.11946.
    """
    numerics.check_key(key)
    x = jnp.asarray(x)
    if x.ndim < 1:
        raise ValueError("x: got a scalar, allowed are batches (n, ...)")
    return _drop(key, x, (x.shape[0], *(1,) * (x.ndim - 1)), rate, mode)


@own_words
def gaussian_dropout(key: jax.Array, x: Float[ArrayLike, "*x"], rate: Rate) -> Float[Array, "*x"]:
    """Multiply by noise from N(1, rate / (1 − rate)), which has the moments of the factor in inverted `dropout`.

    Evaluation is the identity.

    Reference: Srivastava et al., Dropout, section 10, 2014. https://jmlr.org/papers/v15/srivastava14a.html.
    [Lecture row G3]
    """
    numerics.check_key(key)
    check_rate(rate)
    numerics.refuse_complex(x=x)
    wide = numerics.widen(x)
    rate = jnp.asarray(rate, wide.dtype)
    noise = jax.random.normal(key, wide.shape, wide.dtype)
    return (wide * (1 + numerics.safe_sqrt(rate / (1 - rate)) * noise)).astype(numerics.result_dtype(x))


@own_words
def dropconnect(
    key: jax.Array, kernel: Float[ArrayLike, "*k"], rate: Rate, *, mode: Mode = "inverted"
) -> Float[Array, "*k"]:
    """Drop single weights instead of units, W̃ = M ∗ W, as in `dense(x, dropconnect(key, kernel, rate))`.

    All examples share one draw; `vmap` over keys and examples gives each its own, as in the paper. `mode` and
    evaluation are those of `dropout`: with "inverted", E[W̃] = W, and evaluation uses W itself, whereas the paper
    samples a Gaussian of the same moments before the non-linearity.

    Reference: Wan et al., Regularization of neural networks using DropConnect, 2013.
    https://proceedings.mlr.press/v28/wan13.html. [Lecture row G4]
    """
    return dropout(key, kernel, rate, mode=mode)


@own_words
def shakeout(
    key: jax.Array,
    kernel: Float[ArrayLike, "*k d_in d_out"],
    rate: Rate,
    *,
    c: float | Float[Array, ""],
    per: Literal["unit", "weight"] = "unit",
) -> Float[Array, "*k d_in d_out"]:
    """Enhance or reverse weights: w̃ = α w + (α − 1) c sgn(w) with probability 1 − rate, else −c sgn(w).

    α = 1 / (1 − rate), so E[w̃] = w and evaluation uses the weights unchanged. c = 0 gives dropout of the inputs (per
    unit) or `dropconnect` (per weight). The lecture E prints αw + (1 − α)c and −c without sgn(w), whose mean is not w.

    Args:
        key: a PRNG key.
        kernel: weights; the last two axes are inputs and outputs.
        rate: τ, the probability of reversing.
        c: strength of the L1-like part, ≥ 0.
        per: "unit" draws once for all weights of an input, as in the paper; "weight" draws for each, as in the lecture.

    Raises:
        ValueError: a rate outside [0, 1), c < 0, fewer than two axes, or an unknown `per`.

    Reference: Kang, Li and Tao, Shakeout, 2016. https://arxiv.org/abs/1904.06593.

    Examples:
        Weights of 1 become 2 · 1 + 1 · 0.5 or −0.5, whose mean is 1:

        >>> kernel = layers.shakeout(jax.random.key(0), jnp.ones((100, 1)), 0.5, c=0.5)
        >>> sorted(set(kernel.ravel().tolist()))
        [-0.5, 2.5]

    [Lecture row G4]
    """
    numerics.check_key(key)
    check_rate(rate)
    numerics.refuse_complex(kernel=kernel)
    dtype, kernel = numerics.result_dtype(kernel), numerics.widen(kernel)
    if kernel.ndim < 2:
        raise ValueError(f"kernel: got shape {kernel.shape}, allowed are (..., d_in, d_out)")
    if per not in ("unit", "weight"):
        raise ValueError(f"per: got {per!r}, allowed are 'unit' and 'weight'")
    check_at_least_zero("c", c)
    shape = kernel.shape if per == "weight" else (1,) * (kernel.ndim - 2) + (kernel.shape[-2], 1)
    enhanced = jnp.broadcast_to(_bernoulli(key, 1 - rate, shape), kernel.shape)
    alpha, shift = 1 / _kept_share(rate, kernel.dtype), jnp.asarray(c, kernel.dtype) * jnp.sign(kernel)
    return jnp.where(enhanced, alpha * kernel + (alpha - 1) * shift, -shift).astype(dtype)


@own_words
def whiteout(
    key: jax.Array,
    x: Float[ArrayLike, "*b d_in"],
    kernel: Float[ArrayLike, "d_in d_out"],
    bias: Float[ArrayLike, " d_out"] | None = None,
    *,
    sigma: float | Float[Array, ""],
    gamma: float | Float[Array, ""] = 1.0,
    ridge: float | Float[Array, ""] = 0.0,
    mode: Literal["additive", "multiplicative"] = "additive",
) -> Float[Array, "*b d_out"]:
    """Dense layer with Gaussian noise on each connection: y_j = Σ_i w_ij x̃_ij + b_j.

    Let v_ij = σ² |w_ij|^−γ + λ. Additive noise is x̃_ij = x_i + e_ij with e_ij ~ N(0, v_ij); multiplicative noise is
    x̃_ij = x_i ε_ij with ε_ij ~ N(1, v_ij), which equals additive noise of variance x_i² v_ij. Since a sum of
    independent Gaussians is Gaussian, one draw per output has exactly this distribution: its variance is Σ_i w_ij² v_ij
    = Σ_i (σ² |w_ij|^{2−γ} + λ w_ij²), with each term times x_i² for multiplicative noise. Evaluation is `dense`.

    Args:
        key: a PRNG key; every example and output has its own noise.
        x, kernel, bias: as in `dense`.
        sigma: σ ≥ 0.
        gamma: γ in [0, 2): 1 penalises like the lasso, 0, the limit of the paper's range, like ridge regression.
        ridge: λ ≥ 0, which adds a ridge penalty.
        mode: "additive" or "multiplicative".

    Raises:
        ValueError: a Python number out of its range, an unknown mode, or shapes that `dense` refuses.

    Reference: Li and Liu, Whiteout: Gaussian adaptive noise regularization in deep neural networks, 2016, sections
    II.A (additive) and II.C (multiplicative) of version 4. https://arxiv.org/abs/1612.01490.

    Examples:
        Without noise it is `dense`:

        >>> layers.whiteout(jax.random.key(0), jnp.array([2.0, 3.0]), jnp.array([[1.0], [10.0]]), sigma=0.0)
        Array([32.], dtype=float32)

    [Lecture row G4]
    """
    numerics.check_key(key)
    check_whiteout(sigma, gamma, ridge, mode)
    numerics.refuse_complex(x=x, kernel=kernel, bias=bias)
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    y = dense(x, kernel, bias)
    wide = numerics.widen(kernel)
    sigma, gamma, ridge = (jnp.asarray(one, wide.dtype) for one in (sigma, gamma, ridge))
    zero = kernel == 0  # a missing connection has no noise, and a power of 0 no finite gradient
    size = jnp.abs(jnp.where(zero, 1, wide))
    spread = jnp.where(zero, 0, sigma**2 * size ** (2 - gamma) + ridge * size**2).astype(y.dtype)
    squares = jnp.square(x) if mode == "multiplicative" else jnp.ones_like(x)
    return y + numerics.safe_sqrt(dense(squares, spread)) * jax.random.normal(key, y.shape, wide.dtype).astype(y.dtype)


@own_words
def zoneout(
    key: jax.Array, new: Float[ArrayLike, "*h"], previous: Float[ArrayLike, "*h"], rate: Rate
) -> Float[Array, "*h"]:
    """Make units of a recurrent state keep their last value: h = m previous + (1 − m) new, m ~ Bernoulli(rate).

    Evaluation uses the mean, `rate * previous + (1 - rate) * new`. `rnn` and `lstm` do both.

    Args:
        key: a PRNG key; draw a new one for every time step.
        new: the state that the cell computed.
        previous: the state before it.
        rate: probability of keeping the last value.

    Raises:
        ValueError: a rate outside [0, 1), or states of different shapes.

    Reference: Krueger et al., Zoneout, 2016. https://arxiv.org/abs/1606.01305.

    Examples:
        >>> h = layers.zoneout(jax.random.key(0), jnp.zeros(100), jnp.ones(100), 0.5)
        >>> set(h.tolist())
        {0.0, 1.0}

    [Lecture row G4]
    """
    numerics.check_key(key)
    check_rate(rate)
    numerics.refuse_complex(new=new, previous=previous)
    new, previous = jnp.asarray(new), jnp.asarray(previous)
    if new.shape != previous.shape:
        raise ValueError(f"previous: got shape {previous.shape}, allowed is that of new, {new.shape}")
    return jnp.where(_bernoulli(key, rate, new.shape), previous, new)


def zoneout_mean(new: Array, previous: Array, rate: Rate) -> Array:
    """Return the mean of `zoneout` over its draws."""
    wide = numerics.widen(new)
    rate = jnp.asarray(rate, wide.dtype)
    return (rate * previous.astype(wide.dtype) + (1 - rate) * wide).astype(new.dtype)


def _drop(key, x: Array, mask_shape: tuple[int, ...], rate: Rate, mode: Mode) -> Array:
    """Multiply by one Bernoulli draw per entry of `mask_shape`, which broadcasts to the shape of x."""
    check_rate(rate)
    check_mode(mode)
    numerics.refuse_complex(x=x)
    kept = jnp.broadcast_to(_bernoulli(key, 1 - rate, mask_shape), x.shape)
    wide = numerics.widen(x)
    scaled = wide / _kept_share(rate, wide.dtype) if mode == "inverted" else wide
    return jnp.where(kept, scaled, 0).astype(numerics.result_dtype(x))


def _kept_share(rate: Rate, dtype) -> Array:
    """Return 1 − rate, or 1 where a traced rate keeps nothing, so that no derivative divides by 0."""
    share = jnp.asarray(1 - rate, dtype)
    return share if isinstance(rate, _NUMBERS) else jnp.where(share == 0, 1, share)


def _bernoulli(key: jax.Array, probability: Rate, shape: tuple[int, ...]) -> Array:
    return jax.random.bernoulli(key, jnp.asarray(probability, float), shape)


def check_rate(rate: Rate) -> None:
    """Raise ValueError for a string and for a Python number outside [0, 1)."""
    if isinstance(rate, str) or (isinstance(rate, _NUMBERS) and not 0 <= rate < 1):
        got = repr(rate) if isinstance(rate, str) else str(rate)  # repr of NumPy's 1.5 is "np.float32(1.5)"
        raise ValueError(f"rate: got {got}, allowed is 0 ≤ rate < 1, the probability of dropping")


def check_mode(mode: str) -> None:
    """Raise ValueError for an unknown mode."""
    if mode not in ("inverted", "as_drawn"):
        raise ValueError(f"mode: got {mode!r}, allowed are 'inverted' and 'as_drawn'")


def check_at_least_zero(name: str, value) -> None:
    """Raise ValueError for a Python number below 0 or NaN."""
    if isinstance(value, _NUMBERS) and not value >= 0:
        raise ValueError(f"{name}: got {value}, allowed are numbers ≥ 0")


def check_whiteout(sigma, gamma, ridge, mode) -> None:
    """Raise ValueError for a Python number out of its range, or an unknown mode."""
    check_at_least_zero("sigma", sigma)
    check_at_least_zero("ridge", ridge)
    if isinstance(gamma, _NUMBERS) and not 0 <= gamma < 2:
        raise ValueError(f"gamma: got {gamma}, allowed is 0 ≤ gamma < 2")
    if mode not in ("additive", "multiplicative"):
        raise ValueError(f"mode: got {mode!r}, allowed are 'additive' and 'multiplicative'")

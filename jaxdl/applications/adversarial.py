"""Adversarial examples: small changes of an image that fool a network, and training on them. [Lecture row J]

    loss = lambda x: losses.softmax_cross_entropy(layer.apply(params, state, x)[0], labels)
    fooled = adversarial.fgsm(loss, images, 0.1)

All functions take the loss per example as a function of the images alone, so they know neither networks nor labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl import numerics

__all__ = ["adversarial_loss", "fgsm", "pgd"]

Loss = Callable[[Array], Array]  # images (n, ...) -> (n,)
Range = tuple[float | int, float | int]


def fgsm(
    loss: Loss, x: Float[ArrayLike, "n ..."], eps: ArrayLike, *, clip: Range | None = (0.0, 1.0), targeted: bool = False
) -> Float[Array, "n ..."]:
    """Fast gradient sign method: x + ε sign(∇ₓ loss), clipped to the range of pixels.

    Args:
        loss: images → loss of each example, closed over the labels.
        x: the images.
        eps: ε, the largest change of a pixel, at least 0.
        clip: least and largest value of a pixel, or None. The change of a pixel at an end of the range is then
            smaller, so say which form a result is of: the paper's is not clipped.
        targeted: descend instead of ascending, where the labels of the loss are those to be reached.

    Raises:
        ValueError: if ``eps`` is negative or not finite, ``clip`` is not (low, high), or ``loss`` does not return one
            number per example.

    Reference: I. Goodfellow, J. Shlens, C. Szegedy, Explaining and Harnessing Adversarial Examples, 2015,
    https://arxiv.org/abs/1412.6572.

    Examples:
        The loss of a brighter image is larger, so every pixel is brightened by ε, to 1 at most:

        >>> adversarial.fgsm(lambda x: x.sum(1), jnp.array([[0.2, 0.95]]), 0.1)
        Array([[0.3, 1. ]], dtype=float32)

    [Lecture row J]
    """
    x = numerics.floats(x)
    _check(x, clip, eps=eps)
    return _clipped(x + jnp.asarray(eps, x.dtype) * _direction(loss, x, targeted), clip)


def pgd(
    key: Array,
    loss: Loss,
    x: Float[ArrayLike, "n ..."],
    eps: ArrayLike,
    *,
    step_size: ArrayLike,
    steps: int,
    clip: Range | None = (0.0, 1.0),
    targeted: bool = False,
) -> Float[Array, "n ..."]:
    """Projected gradient method: steps of `fgsm` from a random point of the ball |x′ − x| ≤ ε, kept within it.

    Args:
        key: random key of the start, uniform in the ball.
        loss, x, eps, clip, targeted: as in `fgsm`.
        step_size: change of a pixel per step, at least 0.
        steps: number of steps, at least 1.

    Raises:
        ValueError: as in `fgsm`, and for a negative ``step_size`` or ``steps`` below 1.

    Reference: A. Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, 2018,
    https://arxiv.org/abs/1706.06083.

    Examples:
        >>> x = jnp.array([[0.2, 0.95]])
        >>> adversarial.pgd(jax.random.key(0), lambda x: x.sum(1), x, 0.1, step_size=0.1, steps=3)
        Array([[0.3, 1. ]], dtype=float32)

    [Lecture row J]
    """
    numerics.check_key(key)
    x = numerics.floats(x)
    _check(x, clip, eps=eps, step_size=step_size)
    if steps < 1:
        raise ValueError(f"steps={steps}: must be at least 1")
    eps, size = jnp.asarray(eps, x.dtype), jnp.asarray(step_size, x.dtype)

    def step(at, _):
        moved = at + size * _direction(loss, at, targeted)
        return _clipped(jnp.clip(moved, x - eps, x + eps), clip), None

    start = _clipped(x + eps * jax.random.uniform(key, x.shape, x.dtype, -1, 1), clip)
    return jax.lax.scan(step, start, None, length=steps)[0]


def adversarial_loss(
    loss: Loss, x: Float[ArrayLike, "n ..."], eps: ArrayLike, *, alpha: ArrayLike = 0.5, clip: Range | None = None
) -> Float[Array, " n"]:
    """Return α loss(x) + (1 − α) loss(x′) per example, with x′ from `fgsm`; minimise its mean over the parameters.

    The perturbation counts as a constant: no gradient passes through it.

    Args:
        loss, x, eps: as in `fgsm`; the parameters reach ``loss`` by closure.
        alpha: share of the loss on the images themselves, from 0 to 1.
        clip: as in `fgsm`; None as in the paper.

    Raises:
        ValueError: as in `fgsm`, and for an ``alpha`` outside of [0, 1].

    Reference: section 6 of the paper of `fgsm`.

    Examples:
        Half of the loss at 0.2 and half of it at 0.3:

        >>> adversarial.adversarial_loss(lambda x: x.sum(1), jnp.array([[0.2]]), 0.1)
        Array([0.25], dtype=float32)

    [Lecture row J]
    """
    if isinstance(alpha, int | float) and not 0 <= alpha <= 1:
        raise ValueError(f"alpha={alpha}: allowed are numbers from 0 to 1")
    x = numerics.floats(x)
    fooled = jax.lax.stop_gradient(fgsm(loss, x, eps, clip=clip))
    return jnp.asarray(alpha * loss(x) + (1 - alpha) * loss(fooled))


def _direction(loss: Loss, x: Array, targeted: bool) -> Array:
    """Return the sign of the gradient of each example's loss, negative if it is to fall."""

    def total(x):
        found = loss(x)
        if jnp.shape(found) != x.shape[:1]:
            raise ValueError(f"loss: returns shape {jnp.shape(found)}, needed is one number per example, {x.shape[:1]}")
        return jnp.sum(found.astype(jnp.float32))

    sign = jnp.sign(jax.grad(total)(x))
    return -sign if targeted else sign


def _clipped(x: Array, clip: Range | None) -> Array:
    return x if clip is None else jnp.clip(x, *clip)


def _check(x: Array, clip: Range | None, **sizes: ArrayLike) -> None:
    numerics.refuse_complex(x=x)
    if not x.ndim:
        raise ValueError("x: got a scalar, allowed are batches of images")
    for name, value in sizes.items():
        if isinstance(value, int | float) and not 0 <= value < math.inf:
            raise ValueError(f"{name}={value}: allowed are finite numbers from 0 on")
    if clip is not None and not (len(clip) == 2 and clip[0] < clip[1]):
        raise ValueError(f"clip={clip}: allowed are (low, high) with low < high, and None")

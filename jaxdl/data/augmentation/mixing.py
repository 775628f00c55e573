"""Mixtures of a batch's examples, which mix the targets, too."""

from numbers import Real

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num, Shaped

from jaxdl.data.augmentation.checking import check_key
from jaxdl.data.transforms import Number, mixed, patched


def mixup(
    key: Array,
    images: Num[ArrayLike, "n *shape"],
    targets: Shaped[ArrayLike, "n *targets"],
    *,
    alpha: Number = 0.2,
) -> tuple[Float[Array, "n *shape"], Float[Array, "n *targets"]]:
    """Mix every example and its target with another of the batch: λ x_i + (1 − λ) x_π(i), λ ~ Beta(α, α).

    Args:
        key: random key.
        images: floats `(n, H, W, C)`, or features `(n, features)`.
        targets: one-hot or soft targets `(n, classes)`, of which whole numbers and bools become float32; or real
            targets, floats `(n,)`. Class numbers cannot be mixed, `jax.nn.one_hot(labels, classes)` can.
        alpha: above 0; small values leave examples nearly as they are. One λ and one permutation π per batch.

    Raises:
        ValueError: if alpha is not positive, images are not floats, targets are class numbers, or targets and images
            differ in number.

    Reference: H. Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018,
    https://arxiv.org/abs/1710.09412.

    Examples:
        >>> x, targets = jnp.array([[0.0], [1.0]]), jnp.eye(2)
        >>> mixed, new_targets = augmentation.mixup(jax.random.key(0), x, targets)
        >>> bool(jnp.allclose(mixed[:, 0], new_targets[:, 1]))  # both are mixed by one λ
        True
    """
    images, targets = _checked(key, images, targets, alpha)
    weight_key, partner_key = jax.random.split(key)
    weight = _beta(weight_key, alpha)
    partner = jax.random.permutation(partner_key, images.shape[0])
    return mixed(images, images[partner], weight), mixed(targets, targets[partner], weight)


def cutmix(
    key: Array,
    images: Num[ArrayLike, "n h w c"],
    targets: Shaped[ArrayLike, "n *targets"],
    *,
    alpha: Number = 1.0,
) -> tuple[Float[Array, "n h w c"], Float[Array, "n *targets"]]:
    """Paste a rectangle of another example of the batch into every one, and mix the targets by the areas.

    The rectangle has the sides H √(1 − λ) and W √(1 − λ), λ ~ Beta(α, α), and its centre is drawn evenly from all
    pixels; what falls outside is cut off, and the targets' weight is the share of pixels that are left.

    Args:
        key: random key.
        images: floats `(n, H, W, C)`.
        targets: as in `mixup`.
        alpha: above 0. One rectangle and one permutation per batch.

    Raises:
        ValueError: as in `mixup`, or if the images are not of rank 4.

    Reference: S. Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features,
    2019, https://arxiv.org/abs/1905.04899.

    Examples:
        >>> images, targets = jnp.array([0.0, 1.0])[:, None, None, None] * jnp.ones((1, 8, 8, 1)), jnp.eye(2)
        >>> mixed, new_targets = augmentation.cutmix(jax.random.key(0), images, targets)
        >>> bool(jnp.allclose(mixed.mean((1, 2, 3)), new_targets[:, 1]))  # white is class 1, and counts by its area
        True
    """
    images, targets = _checked(key, images, targets, alpha)
    if images.ndim != 4:
        raise ValueError(f"images has shape {images.shape}; expected (n, H, W, C)")
    weight_key, place_key, partner_key = jax.random.split(key, 3)
    sizes = images.shape[1:3]
    side = jnp.sqrt(1 - _beta(weight_key, alpha))
    centres = jax.random.randint(place_key, (2,), 0, jnp.array(sizes))
    (top, bottom), (left, right) = (_span(centre, side, size) for centre, size in zip(centres, sizes, strict=True))
    partner = jax.random.permutation(partner_key, images.shape[0])
    kept = 1 - ((bottom - top) * (right - left)).astype(jnp.float32) / max(sizes[0] * sizes[1], 1)
    pasted = patched(images, images[partner], (top, bottom), (left, right))
    return pasted, mixed(targets, targets[partner], kept)


def _beta(key: Array, alpha: Number) -> Array:
    """Draw from Beta(α, α); for α = 1 uniformly, which is the same and compiles in a fraction of the time."""
    if isinstance(alpha, Real) and alpha == 1:
        return jax.random.uniform(key)
    return jax.random.beta(key, alpha, alpha)


def _span(centre: Array, side: Array, size: int) -> tuple[Array, Array]:
    """Return the first pixel of a side that lies in the image, and the one after the last."""
    length = jnp.floor(side * size).astype(jnp.int32)
    first = centre - length // 2
    return jnp.clip(first, 0, size), jnp.clip(first + length, 0, size)


def _checked(key: Array, images: ArrayLike, targets: ArrayLike, alpha: Number) -> tuple[Array, Array]:
    """Return the images and the targets as floats."""
    check_key(key)
    if isinstance(alpha, Real) and not alpha > 0:
        raise ValueError(f"alpha is {alpha}; it must be above 0")
    images, targets = jnp.asarray(images), jnp.asarray(targets)
    if images.shape[:1] != targets.shape[:1]:
        raise ValueError(f"targets has shape {targets.shape}; it must have one row for each image, {images.shape[:1]}")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"images has type {images.dtype}; expected floats (data.to_unit makes them from bytes)")
    if not jnp.issubdtype(targets.dtype, jnp.floating):
        if targets.ndim != 2 or jnp.issubdtype(targets.dtype, jnp.complexfloating):
            raise ValueError(
                f"targets has shape {targets.shape} and type {targets.dtype}; expected one-hot or soft targets "
                "(n, classes): jax.nn.one_hot makes them from class numbers"
            )
        targets = targets.astype(jnp.float32)
    return images, targets

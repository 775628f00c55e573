"""Random changes of training images, on the device: `f(key, image, *, ...)` (Lecture row G7).

Every function takes one float image `(H, W, C)` in [0, 1], before normalisation, and keeps its shape and
type; take a batch with `per_example`, several changes with `compose`. Results are not clipped to [0, 1].
`mixup` alone mixes examples and takes a whole batch. The changes themselves, without chance, are in
`transforms`.
"""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Num, Shaped

from jaxdl.data.transforms import (
    Number,
    checked_image,
    contrasted,
    erased,
    flipped,
    mixed,
    rotated,
    saturated,
    scaled,
    shifted,
)

__all__ = [
    "alternating_flip",
    "brightness",
    "compose",
    "contrast",
    "crop",
    "cutout",
    "drop_pixels",
    "flip",
    "mixup",
    "noise",
    "per_example",
    "rotate",
    "saturation",
    "scale",
    "translate",
]

Image = Num[ArrayLike, "..."]
Augmentation = Callable[[Array, Array], Array]


def rotate(key: Array, image: Image, *, max_degrees: Number = 15.0, fill: Number = 0.0) -> Float[Array, "h w c"]:
    """Turns the image by an angle drawn from U(−max_degrees, max_degrees), bilinearly.

    Args:
        key: Random key.
        image: Floats `(H, W, C)`.
        max_degrees: Largest angle, at least 0.
        fill: Value outside of the image.

    Raises:
        ValueError: If the angle is negative, or the image is not floats of rank 3.

    Reference: Lecture row G7.
    """
    _check_key(key)
    _check("max_degrees", max_degrees, low=0)
    return rotated(image, _symmetric(key, max_degrees), fill=fill)


def scale(key: Array, image: Image, *, max_change: Number = 0.1, fill: Number = 0.0) -> Float[Array, "h w c"]:
    """Enlarges or shrinks the image about its centre by a factor from U(1 − max_change, 1 + max_change).

    See `rotate`; max_change lies in [0, 1).
    """
    _check_key(key)
    _check("max_change", max_change, low=0, below=1)
    return scaled(image, 1 + _symmetric(key, max_change), fill=fill)


def translate(key: Array, image: Image, *, max_shift: int = 2, fill: Number = 0.0) -> Float[Array, "h w c"]:
    """Moves the image by whole pixels, both ways drawn evenly from −max_shift, ..., max_shift.

    See `rotate`; max_shift counts pixels.
    """
    _check_key(key)
    _check_whole("max_shift", max_shift)
    _check("max_shift", max_shift, low=0)
    down, right = jax.random.randint(key, (2,), -max_shift, max_shift + 1)
    return shifted(image, down, right, fill=fill)


def flip(key: Array, image: Image, *, rate: Number = 0.5) -> Float[Array, "h w c"]:
    """Mirrors the image left to right with probability `rate`.

    Args:
        key: Random key.
        image: Floats `(H, W, C)`.
        rate: Probability in [0, 1].

    Raises:
        ValueError: If the rate is not in [0, 1], or the image is not floats of rank 3.

    Reference: Lecture row G7.
    """
    _check_key(key)
    _check("rate", rate, low=0, high=1)
    return jnp.where(jax.random.bernoulli(key, rate), flipped(image), checked_image(image))


def alternating_flip(key: Array, image: Image, *, epoch: Int[ArrayLike, ""]) -> Float[Array, "h w c"]:
    """Mirrors at random in epoch 0 and every other time from then on, so that two epochs show both sides.

    Args:
        key: Random key of this example, the same in all epochs.
        image: Floats `(H, W, C)`.
        epoch: Counted from 0; may be traced.

    Raises:
        ValueError: If the image is not floats of rank 3.

    Reference: K. Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024,
    https://arxiv.org/abs/2404.00498.
    """
    _check_key(key)
    first = jax.random.bernoulli(key).astype(jnp.int32)
    return jnp.where((first + epoch) % 2 == 1, flipped(image), checked_image(image))


def crop(key: Array, image: Image, *, padding: int = 4, mode: str = "constant") -> Float[Array, "h w c"]:
    """Pads all four sides, then cuts a window of the original size at random.

    Args:
        key: Random key.
        image: Floats `(H, W, C)`.
        padding: Pixels added on every side.
        mode: "constant" (zeros), "reflect" or "edge".

    Raises:
        ValueError: If the padding is negative (or does not fit into a reflection), or the mode is another.

    Reference: Lecture row G7.
    """
    _check_key(key)
    image = checked_image(image)
    if mode not in ("constant", "reflect", "edge"):
        raise ValueError(f"mode is {mode!r}; expected 'constant', 'reflect' or 'edge'")
    _check_whole("padding", padding)
    _check("padding", padding, low=0, below=min(image.shape[:2]) if mode == "reflect" else None)
    padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode=mode)
    top, left = jax.random.randint(key, (2,), 0, 2 * padding + 1)
    return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)


def noise(key: Array, image: Image, *, stddev: Number = 0.05) -> Float[Array, "h w c"]:
    """Adds N(0, stddev²) to every value, drawn in float32.

    Args:
        key: Random key.
        image: Floats `(H, W, C)`.
        stddev: Standard deviation, at least 0, where full brightness is 1.

    Raises:
        ValueError: If the deviation is negative, or the image is not floats of rank 3.

    Reference: Lecture row G7.
    """
    _check_key(key)
    _check("stddev", stddev, low=0)
    image = checked_image(image)
    return image + (stddev * jax.random.normal(key, image.shape)).astype(image.dtype)


def drop_pixels(key: Array, image: Image, *, rate: Number = 0.1, fill: Number = 0.0) -> Float[Array, "h w c"]:
    """Sets each pixel, all channels together, to `fill` with probability `rate`; nothing is rescaled.

    See `flip`.
    """
    _check_key(key)
    _check("rate", rate, low=0, high=1)
    image = checked_image(image)
    dropped = jax.random.bernoulli(key, rate, (*image.shape[:2], 1))
    return jnp.where(dropped, jnp.asarray(fill, image.dtype), image)


def cutout(key: Array, image: Image, *, size: int = 8, fill: Number = 0.0) -> Float[Array, "h w c"]:
    """Fills a square whose centre is drawn evenly from all pixels; at the border a part of it falls outside.

    Args:
        key: Random key.
        image: Floats `(H, W, C)`.
        size: Side of the square in pixels.
        fill: Value inside of the square.

    Raises:
        ValueError: If the size is negative, or the image is not floats of rank 3.

    Reference: T. DeVries, G. Taylor, Improved Regularization of Convolutional Neural Networks with Cutout,
    2017, https://arxiv.org/abs/1708.04552.
    """
    _check_key(key)
    _check_whole("size", size)
    _check("size", size, low=0)
    image = checked_image(image)
    row, column = jax.random.randint(key, (2,), 0, jnp.array(image.shape[:2]))
    return erased(image, row, column, size=size, fill=fill)


def brightness(key: Array, image: Image, *, max_change: Number = 0.2) -> Float[Array, "h w c"]:
    """Adds one number from U(−max_change, max_change) to all values.

    Args:
        key: Random key.
        image: Floats `(H, W, C)`.
        max_change: Largest change, at least 0, where full brightness is 1.

    Raises:
        ValueError: If the change is negative, or the image is not floats of rank 3.
    """
    _check_key(key)
    _check("max_change", max_change, low=0)
    image = checked_image(image)
    return image + _symmetric(key, max_change).astype(image.dtype)


def contrast(key: Array, image: Image, *, max_change: Number = 0.2) -> Float[Array, "h w c"]:
    """Multiplies distances from the channel's mean by one factor from U(1 − max_change, 1 + max_change).

    See `brightness`; max_change lies in [0, 1].
    """
    _check_key(key)
    _check("max_change", max_change, low=0, high=1)
    return contrasted(image, 1 + _symmetric(key, max_change))


def saturation(key: Array, image: Image, *, max_change: Number = 0.2) -> Float[Array, "h w c"]:
    """Multiplies the colours' saturation by one factor from U(1 − max_change, 1 + max_change).

    See `brightness`; max_change lies in [0, 1], and pixels are at least 0.
    """
    _check_key(key)
    _check("max_change", max_change, low=0, high=1)
    return saturated(image, 1 + _symmetric(key, max_change))


def mixup(
    key: Array,
    images: Num[ArrayLike, "n *shape"],
    targets: Shaped[ArrayLike, "n *targets"],
    *,
    alpha: Number = 0.2,
) -> tuple[Float[Array, "n *shape"], Float[Array, "n *targets"]]:
    """Mixes every example with another of the batch: x̃ = λ x_i + (1 − λ) x_π(i), λ ~ Beta(α, α), targets
    alike.

    Args:
        key: Random key.
        images: Floats `(n, H, W, C)`, or features `(n, features)`.
        targets: One-hot or soft targets `(n, classes)`, of which whole numbers and bools become float32; or real
            targets, floats `(n,)`. Class numbers cannot be mixed: `jax.nn.one_hot(labels, classes)` can.
        alpha: Above 0; small values leave examples nearly as they are. One λ and one permutation π per batch.

    Raises:
        ValueError: If alpha is not positive, images are not floats, targets are class numbers, or there are not as
            many of them as images.

    Reference: H. Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018,
    https://arxiv.org/abs/1710.09412.
    """
    _check_key(key)
    if isinstance(alpha, Real) and not alpha > 0:
        raise ValueError(f"alpha is {alpha}; it must be above 0")
    weight_key, partner_key = jax.random.split(key)
    images, targets = jnp.asarray(images), jnp.asarray(targets)
    if images.shape[:1] != targets.shape[:1]:
        raise ValueError(f"targets has shape {targets.shape}; it must be one row for each of {images.shape[:1]} images")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"images has type {images.dtype}; expected floats (data.to_unit makes them from bytes)")
    if not jnp.issubdtype(targets.dtype, jnp.floating):
        if targets.ndim != 2 or jnp.issubdtype(targets.dtype, jnp.complexfloating):
            raise ValueError(
                f"targets has shape {targets.shape} and type {targets.dtype}; expected one-hot or soft targets "
                "(n, classes): jax.nn.one_hot makes them from class numbers"
            )
        targets = targets.astype(jnp.float32)
    weight = jax.random.beta(weight_key, alpha, alpha)
    partner = jax.random.permutation(partner_key, images.shape[0])
    return mixed(images, images[partner], weight), mixed(targets, targets[partner], weight)


def compose(*augmentations: Augmentation) -> Augmentation:
    """One augmentation that applies several from left to right, each with a key of its own.

    Args:
        augmentations: Functions of (key, image); set options with `functools.partial`.
    """

    def composed(key: Array, image: Array) -> Array:
        _check_key(key)
        for position, augmentation in enumerate(augmentations):
            image = augmentation(jax.random.fold_in(key, position), image)
        return image

    return composed


def per_example(
    augmentation: Augmentation,
) -> Callable[[Array, Num[ArrayLike, "n h w c"], Int[ArrayLike, " n"]], Array]:
    """The same augmentation for a batch: `f(key, images, index)`, example i with the key fold_in(key,
    index[i]).

    A result depends on the example's index and not on its place in the batch, so that it is the same on any
    number of devices.

    Args:
        augmentation: A function of (key, image).
    """

    def batched(key: Array, images: Num[ArrayLike, "n h w c"], index: Int[ArrayLike, " n"]) -> Array:
        _check_key(key)
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.asarray(index))
        return jax.vmap(augmentation)(keys, jnp.asarray(images))

    return batched


def _symmetric(key: Array, limit: Number) -> Array:
    return jax.random.uniform(key, minval=-limit, maxval=limit)


def _check_key(key: Any) -> None:
    """Refuses what is no random key, such as a seed or, where arguments are swapped, an image."""
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0
    raw = isinstance(key, jax.Array | np.ndarray) and key.dtype == jnp.uint32 and key.ndim == 1
    if not (typed or raw):
        shape = f" of shape {key.shape} and type {key.dtype}" if hasattr(key, "dtype") and hasattr(key, "shape") else ""
        raise ValueError(
            f"key is a {type(key).__name__}{shape}; expected one random key, as jax.random.key(0) makes it"
        )


def _check_whole(name: str, value: Any) -> None:
    if isinstance(value, Real) and not isinstance(value, Integral):
        raise ValueError(f"{name} is {value!r}; it must be a whole number of pixels")


def _check(name: str, value: Number, *, low: Number, high: Number | None = None, below: Number | None = None) -> None:
    """Refuses Python numbers outside of [low, high] or [low, below); traced ones are not looked at."""
    if not isinstance(value, Real):
        return
    limit = f", at most {high}" if high is not None else f", below {below}" if below is not None else ""
    if not (value >= low and (high is None or value <= high) and (below is None or value < below)):
        raise ValueError(f"{name} is {value}; it must be at least {low}{limit}")

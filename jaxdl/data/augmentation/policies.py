"""Policies: operations chosen at random."""

from collections.abc import Callable
from numbers import Integral
from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdl.data import coloring, transforms
from jaxdl.data.augmentation.checking import Image, check_key, check_range
from jaxdl.data.transforms import Number, checked_image

# the largest changes, which are the paper's: degrees, pixels per pixel, share of a side, and distance of a factor to 1
_DEGREES, _SHEAR, _SHIFT, _FACTOR = 30.0, 0.3, 150 / 331, 0.9

Operation = Callable[[Array, Array, Array, Number], Array]  # image, amount in [0, 1], sign ±1, fill


def _moved(image: Array, down: Array, right: Array, fill: Number) -> Array:
    height, width, _ = image.shape
    return transforms.shifted(image, _whole(down * height), _whole(right * width), fill=fill)


def _whole(pixels: Array) -> Array:
    return jnp.round(pixels).astype(jnp.int32)


def _enhanced(other: Callable[[Array], Array]) -> Operation:
    return lambda image, m, sign, fill: coloring.blended(image, other(image), 1 + sign * _FACTOR * m)


def _mean_luma(image: Array) -> Array:
    return coloring.luma(image).mean((0, 1), keepdims=True)


OPERATIONS: Final[dict[str, Operation]] = {
    "identity": lambda image, m, sign, fill: image,
    "autocontrast": lambda image, m, sign, fill: coloring.autocontrasted(image),
    "equalize": lambda image, m, sign, fill: coloring.equalized(image),
    "rotate": lambda image, m, sign, fill: transforms.rotated(image, sign * _DEGREES * m, fill=fill),
    "solarize": lambda image, m, sign, fill: coloring.solarized(image, 1 - m),
    "posterize": lambda image, m, sign, fill: coloring.posterized(image, 8 - jnp.round(4 * m)),
    "color": _enhanced(coloring.luma),
    "contrast": _enhanced(_mean_luma),
    "brightness": _enhanced(lambda image: jnp.zeros((1, 1, 1), image.dtype)),
    "sharpness": _enhanced(coloring.smoothed),
    "shear_x": lambda image, m, sign, fill: transforms.sheared(image, sign * _SHEAR * m, 0.0, fill=fill),
    "shear_y": lambda image, m, sign, fill: transforms.sheared(image, 0.0, sign * _SHEAR * m, fill=fill),
    "translate_x": lambda image, m, sign, fill: _moved(image, 0 * m, sign * _SHIFT * m, fill),
    "translate_y": lambda image, m, sign, fill: _moved(image, sign * _SHIFT * m, 0 * m, fill),
}


def rand_augment(
    key: Array, image: Image, *, num_ops: int = 2, magnitude: Number = 0.3, fill: Number = 0.5
) -> Float[Array, "h w c"]:
    """Apply operations drawn evenly, with repetition, from the fourteen of RandAugment.

    They are: identity, autocontrast, equalize, rotate, solarize, posterize, color, contrast, brightness, sharpness,
    shear and translate in both directions. Those with a direction, and a factor above or below 1, draw it.

    Args:
        key: random key.
        image: floats `(H, W, C)` in [0, 1]; the result is clipped to [0, 1], as bytes would be.
        num_ops: number of operations in a row, at least 0.
        magnitude: share in [0, 1] of the largest change: 30 degrees, a shear of 0.3, 45 % of a side, a factor of
            1 ± 0.9, a threshold of 0, 4 bits. 0.3 is torchvision's magnitude 9 of 30. It may be traced.
        fill: value outside of the image.

    Raises:
        ValueError: if `num_ops` or `magnitude` is out of range, or the image is not floats of rank 3.

    Under `jax.vmap` every operation is computed for every image.

    Reference: E. D. Cubuk et al., RandAugment: Practical automated data augmentation with a reduced search space,
    2019, https://arxiv.org/abs/1909.13719.
    """
    check_key(key)
    if not isinstance(num_ops, Integral):
        raise ValueError(f"num_ops is {num_ops!r}; it must be a whole number")
    check_range("num_ops", num_ops, low=0)
    check_range("magnitude", magnitude, low=0, high=1)
    image = checked_image(image)

    def apply(image: Array, number: Array) -> tuple[Array, None]:
        choice_key, sign_key = jax.random.split(jax.random.fold_in(key, number))
        choice = jax.random.randint(choice_key, (), 0, len(OPERATIONS))
        sign = jnp.where(jax.random.bernoulli(sign_key), 1.0, -1.0)
        branches = [lambda *args, operation=operation: operation(*args, fill) for operation in OPERATIONS.values()]
        changed = jax.lax.switch(choice, branches, image, jnp.asarray(magnitude, jnp.float32), sign)
        return jnp.clip(changed, 0, 1), None

    return jax.lax.scan(apply, image, jnp.arange(int(num_ops)))[0]

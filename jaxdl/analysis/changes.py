"""Changes of an image by a given amount at a random place or side, for `analysis.robustness`. [Lecture row H7]

Each is (key, image, amount) → image. Images are floats `(H, W, C)` from 0 to 1 on a black ground, and keep their shape.
The amount 0 changes nothing.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl import numerics
from jaxdl.data import transforms

__all__ = ["clutter", "light", "occlude", "rotate", "shift", "shrink"]

STROKES = 32  # most squares of clutter


def shift(key: Array, image: Float[ArrayLike, "h w c"], pixels: ArrayLike) -> Float[Array, "h w c"]:
    """Translate the image in a random direction, rounded to whole pixels.

    Args:
        key: random key, of the direction.
        image: floats.
        pixels: distance, at least 0.

    Examples:
        A lit pixel moves by the distance, in a random direction:

        >>> image = jnp.zeros((5, 5, 1)).at[2, 2].set(1.0)
        >>> moved = changes.shift(jax.random.key(0), image, 2.0)
        >>> row, column = divmod(int(moved.argmax()), 5)
        >>> moved.sum(), (row, column) != (2, 2)
        (Array(1., dtype=float32), True)
    """
    numerics.check_key(key)
    angle = jax.random.uniform(key, maxval=2 * jnp.pi)
    down, right = (jnp.round(pixels * part).astype(jnp.int32) for part in (jnp.sin(angle), jnp.cos(angle)))
    return transforms.shifted(image, down, right)


def shrink(key: Array, image: Float[ArrayLike, "h w c"], percent: ArrayLike) -> Float[Array, "h w c"]:
    """Shrink the image about its centre by so many percent, below 100. See `shift`."""
    numerics.check_key(key)
    return transforms.scaled(image, 1 - percent / 100)


def rotate(key: Array, image: Float[ArrayLike, "h w c"], degrees: ArrayLike) -> Float[Array, "h w c"]:
    """Rotate the image by so many degrees to a random side. See `shift`.

    Examples:
        No turn leaves the image as it is:

        >>> image = jnp.arange(9.0).reshape(3, 3, 1)
        >>> bool(jnp.allclose(changes.rotate(jax.random.key(0), image, 0.0), image, atol=1e-5))
        True
    """
    numerics.check_key(key)
    return transforms.rotated(image, jnp.where(jax.random.bernoulli(key), 1, -1) * degrees)


def occlude(key: Array, image: Float[ArrayLike, "h w c"], side: ArrayLike) -> Float[Array, "h w c"]:
    """Blacken a square whose sides have so many pixels, centred at random in the middle two fifths. See `shift`.

    Examples:
        >>> changes.occlude(jax.random.key(0), jnp.ones((10, 10, 1)), 3).sum()  # 3 * 3 pixels turn black
        Array(91., dtype=float32)
    """
    numerics.check_key(key)
    image = jnp.asarray(image)
    height, width, _ = image.shape
    row, column = jax.random.uniform(key, (2,), minval=0.3, maxval=0.7) * jnp.array([height, width])
    inside = [2 * jnp.abs(jnp.arange(n) + 0.5 - centre) < side for n, centre in ((height, row), (width, column))]
    return jnp.where((inside[0][:, None] & inside[1][None])[..., None], 0, image)


def light(key: Array, image: Float[ArrayLike, "h w c"], strength: ArrayLike) -> Float[Array, "h w c"]:
    """Add light that falls from the left or the right, where it has the strength, and fades to 0. See `shift`."""
    numerics.check_key(key)
    image = jnp.asarray(image)
    ramp = jnp.linspace(0, 1, image.shape[1])
    ramp = jnp.where(jax.random.bernoulli(key), ramp, ramp[::-1])
    return jnp.minimum(image + strength * ramp[None, :, None], 1)


def clutter(key: Array, image: Float[ArrayLike, "h w c"], count: ArrayLike) -> Float[Array, "h w c"]:
    """Draw so many white squares of 3×3 pixels at random places, at most 32. See `shift`."""
    numerics.check_key(key)
    image = jnp.asarray(image)
    height, width, _ = image.shape
    places = jax.random.uniform(key, (STROKES, 2)) * jnp.array([[height - 3, width - 3]])
    near = [(jnp.arange(n)[None] >= at[:, None]) & (jnp.arange(n)[None] < at[:, None] + 3) for n, at in
            zip((height, width), jnp.floor(places.T), strict=True)]  # fmt: skip
    drawn = near[0][:, :, None] & near[1][:, None, :] & (jnp.arange(STROKES) < count)[:, None, None]
    return jnp.where(jnp.any(drawn, 0)[..., None], 1, image)

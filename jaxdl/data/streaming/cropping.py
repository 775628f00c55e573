"""Cut and resize decoded images with Pillow, before they are put into batches.

`central` is what evaluation sees: an image resized until it just covers the wanted shape, and its centre. `window` is
what training sees, if asked for: a window of random area and ratio, cut out and resized. Both are resampled once,
bilinearly, with Pillow's filter that averages where it shrinks. An image of the wanted size is not touched.
"""

import math

import numpy as np

from jaxdl.extras import need

AREA, RATIO, TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10


def central(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the largest central part of an image that has the ratio of ``size``, at that size.

    Args:
        image: uint8 (H, W) or (H, W, 3).
        size: height and width of the result.
    """
    height, width = image.shape[:2]
    share = min(height / size[0], width / size[1])
    high, wide = min(height, size[0] * share), min(width, size[1] * share)
    top, left = (height - high) / 2, (width - wide) / 2
    return _resampled(image, (left, top, left + wide, top + high), size)


def window(image: np.ndarray, size: tuple[int, int], uniform: np.ndarray) -> np.ndarray:
    """Return a random window of an image at another size; see `central` and `random_window`."""
    left, top, right, lower = random_window(image.shape[0], image.shape[1], uniform)
    return _resampled(image[top:lower, left:right], (0.0, 0.0, float(right - left), float(lower - top)), size)


def _resampled(image: np.ndarray, box: tuple[float, ...], size: tuple[int, int]) -> np.ndarray:
    """Return a part of an image, given by its edges left, top, right, lower, at another size."""
    height, width = image.shape[:2]
    if size == (height, width) and box == (0, 0, width, height):
        return image
    pillow = need("PIL.Image", purpose="reading images")
    contiguous = np.ascontiguousarray(image)
    return np.asarray(pillow.fromarray(contiguous).resize((size[1], size[0]), pillow.Resampling.BILINEAR, box=box))


def draws(seed: int, epoch: int, index: int) -> np.ndarray:
    """Return the numbers in [0, 1) of the random window at a place of an epoch, a function of these three alone."""
    bits = np.random.Philox(np.random.SeedSequence([seed, 4, epoch, index]))  # 0 to 3: see `data.splits`
    return (bits.random_raw(2 * TRIES + 2) >> np.uint64(11)) * 2.0**-53


def random_window(height: int, width: int, uniform: np.ndarray) -> tuple[int, int, int, int]:
    """Return the left, top, right and lower edges of a window of random area and ratio.

    It is the first of ten that fits, or else the largest central one of an allowed ratio.

    Args:
        height: of the image, pixels.
        width: of the image, pixels.
        uniform: numbers from `draws`.

    Reference: as `augmentation.random_resized_crop`.
    """
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    for area, ratio in uniform[: 2 * TRIES].reshape(TRIES, 2):
        pixels, shape = (AREA[0] + (AREA[1] - AREA[0]) * area) * height * width, math.exp(low + (high - low) * ratio)
        wide, tall = round(math.sqrt(pixels * shape)), round(math.sqrt(pixels / shape))
        if 1 <= wide <= width and 1 <= tall <= height:
            left, top = (
                int(u * (room + 1)) for u, room in zip(uniform[-2:], (width - wide, height - tall), strict=True)
            )
            return (left, top, left + wide, top + tall)
    wide, tall = min(width, round(height * RATIO[1])), min(height, round(width / RATIO[0]))
    left, top = (width - wide) // 2, (height - tall) // 2
    return (left, top, left + wide, top + tall)

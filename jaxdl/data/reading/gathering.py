"""Gather decoded images of one size in one array, although neither their number nor their order is known before.

So a folder or archive is read once. The array grows as a `bytearray` does, which takes memory beyond its end only when
that is written to, and rows are put in order in place, so the images never exist twice.
"""

import numpy as np


class GatheredImages:
    """Images of the size of the first one, grey until one of colours is appended, from which on all are RGB."""

    def __init__(self) -> None:
        self._height, self._width, self._channels = 0, 0, 1
        self._pixels = bytearray()

    def __len__(self) -> int:
        return len(self._pixels) // max(self._height * self._width * self._channels, 1)

    def fits(self, image: np.ndarray) -> bool:
        """Return whether an image has the height and width of the others, if there are any."""
        return not self._pixels or image.shape[:2] == (self._height, self._width)

    def append(self, image: np.ndarray) -> None:
        """Add an image that fits, as uint8 (H, W) or (H, W, 3)."""
        self._height, self._width = image.shape[:2]
        if image.ndim == 3:
            self.to_colour()
        if image.ndim == 2 and self._channels == 3:
            image = np.repeat(image[..., None], 3, axis=-1)
        self._pixels += np.ascontiguousarray(image).data

    def ordered(self, order: np.ndarray) -> np.ndarray:
        """Return all images as one array uint8 (N, H, W, C), the one appended as number ``order[i]`` in row i.

        The array takes the images out of this object, which has none after that.
        """
        pixels, self._pixels = self._pixels, bytearray()
        images = np.frombuffer(pixels, np.uint8).reshape(len(order), self._height, self._width, self._channels)
        permute(images, order)
        return images

    def to_colour(self) -> None:
        """Make all images RGB, in place: from the last one to the first, since each moves up."""
        if self._channels == 3 or not self._pixels:
            self._channels = 3
            return
        count, size = len(self), self._height * self._width
        self._pixels += bytes(2 * len(self._pixels))
        flat = np.frombuffer(self._pixels, np.uint8)
        for i in reversed(range(count)):
            flat[3 * size * i : 3 * size * (i + 1)] = np.repeat(flat[size * i : size * (i + 1)], 3)
        self._channels = 3


def permute(rows: np.ndarray, order: np.ndarray) -> None:
    """Put row ``order[i]`` in place i, for all i, in place: along each cycle of the permutation."""
    source, done = order.tolist(), bytearray(len(order))
    for start in np.flatnonzero(order != np.arange(len(order))).tolist():
        if done[start]:
            continue
        first, i = rows[start].copy(), start
        while source[i] != start:
            rows[i] = rows[source[i]]
            done[i] = True
            i = source[i]
        rows[i], done[i] = first, True

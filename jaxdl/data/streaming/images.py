"""Images that are read and decoded when they are asked for."""

from typing import Any, NamedTuple

import numpy as np

from jaxdl.data.reading import pixels
from jaxdl.data.streaming import cropping
from jaxdl.data.streaming.index import Index, name_of, read


class Decoding(NamedTuple):
    """How image files become arrays of one shape."""

    size: tuple[int, int] | None  # height and width; None keeps an image's own
    mode: str | None  # "L" or "RGB"; None keeps an image's own


def decode(index: Index, row: int, how: Decoding, uniform: np.ndarray | None = None) -> np.ndarray:
    """Return one image as uint8 (H, W) or (H, W, 3), of its central window or of a random one.

    Args:
        index: where to find it.
        row: its number.
        how: size and mode.
        uniform: numbers from `cropping.draws` for a random window; None takes the central one.

    Raises:
        UnreadableImage: naming the image.
    """
    where = f"{index.root}: the image {name_of(index, row)}"
    image = pixels.decode(read(index, row), where, how.mode)
    if how.size is None:
        return image
    if uniform is None:
        return cropping.central(image, how.size)
    return cropping.window(image, how.size, uniform)


class StreamedImages:
    """Images `(N, H, W, C)` on disk, which stand where `data.Examples` has an array.

    ``images[rows]`` reads, decodes and resizes the images of these rows, one after another; `Loader` reads ahead.

    Args:
        index: where to find the images.
        rows: the rows of the index that belong to this part, int64 (N,).
        how: height, width and mode of all images.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, index: Index, rows: np.ndarray, how: Decoding) -> None:
        if how.size is None or how.mode is None:
            raise ValueError(f"how is {how}; a data set needs one size and one mode for all of its images")
        self.index, self.rows, self.how = index, rows, how
        self.shape = (len(rows), *how.size, 1 if how.mode == "L" else 3)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Return the bytes that all images would take in memory."""
        return int(np.prod(self.shape))

    def __getitem__(self, key: Any) -> np.ndarray:
        rows = self.rows[key]
        found = [decode(self.index, int(row), self.how) for row in np.atleast_1d(rows)]
        images = np.stack(found) if found else np.zeros((0, *self.shape[1:3]), np.uint8)
        return images.reshape(*np.shape(rows), *self.shape[1:])

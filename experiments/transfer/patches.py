"""A data set that comes with scikit-learn and looks nothing like digits: patches of two photographs."""

import numpy as np

from jaxdl import data

SIDE, BANDS = 8, 5


def photo_patches() -> data.Dataset:
    """Return grey patches, (8, 8, 1), of scikit-learn's two sample photographs.

    The patches tile a photograph without overlap. The class of a patch is its photograph (a temple, a flower) and its
    band, one of five from top to bottom, which gives ten classes of 800 patches.
    """
    from sklearn.datasets import load_sample_images  # slow to import, and needed by this data set alone

    images, labels = [], []
    for number, photo in enumerate(load_sample_images().images):
        grey = photo.mean(2)
        rows, columns = grey.shape[0] // SIDE // BANDS * BANDS, grey.shape[1] // SIDE
        tiles = grey[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE).swapaxes(1, 2)
        images.append(tiles.reshape(-1, SIDE, SIDE, 1))
        labels.append(BANDS * number + np.repeat(np.arange(rows) * BANDS // rows, columns))
    classes = [f"{name} {band + 1}" for name in ("temple", "flower") for band in range(BANDS)]
    return data.from_arrays(
        np.concatenate(images).round().astype(np.uint8), np.concatenate(labels), classes=classes, name="photo patches"
    )

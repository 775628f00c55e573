"""A noisy sensor smoothed by the mean of its last samples."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.filters.images import rms
from jaxdl import layers
from jaxdl.layers import filters

WINDOWS = (1, 5, 25, 101, 401)  # samples of the mean
PERIOD, LENGTH, NOISE = 1000, 2000, 0.5  # samples, samples, standard deviation


def signals(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sines of random phases, and the same with noise, each (count, LENGTH)."""
    clean = np.sin(2 * np.pi * (np.arange(LENGTH) / PERIOD + random.uniform(size=(count, 1))))
    noisy = clean + NOISE * random.normal(size=clean.shape)
    return clean.astype(np.float32), noisy.astype(np.float32)


def smoothed(x: np.ndarray, window: int) -> np.ndarray:
    """Return the mean of the last ``window`` samples at each place; samples before the signal count as 0."""
    kernel = filters.moving_average(window, ndim=1)[:, None, None]
    return np.asarray(layers.conv1d(x[..., None], kernel, padding=(window - 1, 0)))[..., 0]


def error(found: Any, clean: np.ndarray) -> float:
    """Return the rms error where the longest window is full."""
    return rms((np.asarray(found) - clean)[..., max(WINDOWS) :])


def sensor(seed: int) -> Mapping[str, Any]:
    """Smooth test signals by each window; development signals choose the best."""
    random = np.random.default_rng(seed)
    dev, (truth, seen) = signals(random, 4), signals(random, 4)
    window = min(WINDOWS, key=lambda window: error(smoothed(dev[1], window), dev[0]))
    shown = [truth[0], seen[0], *(smoothed(seen, size)[0] for size in (window, WINDOWS[-1]))]
    errors = {f"window {size}": error(smoothed(seen, size), truth) for size in WINDOWS}
    return {**errors, "best window": window, "at the best window": errors[f"window {window}"], "shown": np.stack(shown)}

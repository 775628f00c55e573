"""Data sets, splits, batches, normalisation and augmentation."""

from jaxdl.data import augmentation
from jaxdl.data.batching import Batch, batches, eval_batches, steps_per_epoch
from jaxdl.data.dataset import Dataset, from_arrays
from jaxdl.data.loading import NAMES, load
from jaxdl.data.normalization import Normalization, fit_normalization, no_normalization, normalize, standardize, to_unit
from jaxdl.data.splits import Examples, Splits, split

__all__ = [
    "NAMES",
    "Batch",
    "Dataset",
    "Examples",
    "Normalization",
    "Splits",
    "augmentation",
    "batches",
    "eval_batches",
    "fit_normalization",
    "from_arrays",
    "load",
    "no_normalization",
    "normalize",
    "split",
    "standardize",
    "steps_per_epoch",
    "to_unit",
]

"""Data sets, splits, batches, normalisation and augmentation."""

from typing import TYPE_CHECKING

from jaxdl import counterparts
from jaxdl.data import augmentation, toy
from jaxdl.data.batching import Batch, Rows, batch_rows, batches, eval_batches, stack_rows, steps_per_epoch, take
from jaxdl.data.dataset import Dataset, from_arrays
from jaxdl.data.normalization import Normalization, fit_normalization, no_normalization, normalize, standardize, to_unit
from jaxdl.data.reading import NAMES, load
from jaxdl.data.splits import Examples, Splits, k_fold, split

__all__ = [
    "NAMES",
    "Batch",
    "Dataset",
    "Examples",
    "Normalization",
    "Rows",
    "Splits",
    "augmentation",
    "batch_rows",
    "batches",
    "eval_batches",
    "fit_normalization",
    "from_arrays",
    "k_fold",
    "load",
    "no_normalization",
    "normalize",
    "split",
    "stack_rows",
    "standardize",
    "steps_per_epoch",
    "take",
    "to_unit",
    "toy",
]

if not TYPE_CHECKING:  # a checker of types would take every name for one of this module's
    __getattr__ = counterparts.absent(__name__, __all__)

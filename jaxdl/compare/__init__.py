"""Is it the same algorithm? Two optimizers run side by side on a stream of gradients, and distances between trees."""

from jaxdl.compare import streams
from jaxdl.compare.bridges import keras_optimizer, torch_optimizer
from jaxdl.compare.distance import leaf_ulps, max_relative, max_ulps, move_one_ulp
from jaxdl.compare.equivalence import VERDICTS, Equivalence, equivalence
from jaxdl.compare.sameness import Sameness, assert_equivalent, same

__all__ = [
    "VERDICTS",
    "Equivalence",
    "Sameness",
    "assert_equivalent",
    "equivalence",
    "keras_optimizer",
    "leaf_ulps",
    "max_relative",
    "max_ulps",
    "move_one_ulp",
    "same",
    "streams",
    "torch_optimizer",
]

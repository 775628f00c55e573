"""Comparing optimizers: is it the same algorithm, and which is better?"""

from jaxdl.compare import streams
from jaxdl.compare.distance import leaf_ulps, max_relative, max_ulps, move_one_ulp
from jaxdl.compare.equivalence import VERDICTS, Equivalence, equivalence

__all__ = [
    "VERDICTS",
    "Equivalence",
    "equivalence",
    "leaf_ulps",
    "max_relative",
    "max_ulps",
    "move_one_ulp",
    "streams",
]

"""Comparing optimizers: is it the same algorithm, and which is better?"""

from jaxdl.compare.distance import leaf_ulps, max_relative, max_ulps, move_one_ulp

__all__ = ["leaf_ulps", "max_relative", "max_ulps", "move_one_ulp"]

"""Comparing optimizers: is it the same algorithm, and which is better?"""

from jaxdl.compare import cost, landscapes, statistics, streams, sweep
from jaxdl.compare.classification import (
    cifar10_3c3d,
    cifar10_resnet20,
    classification_problem,
    digits_mlp,
    digits_softmax,
    fashion_mnist_2c2d,
    mnist_mlp,
    mnist_softmax,
)
from jaxdl.compare.distance import leaf_ulps, max_relative, max_ulps, move_one_ulp
from jaxdl.compare.equivalence import VERDICTS, Equivalence, equivalence
from jaxdl.compare.landscapes import LANDSCAPES, Landscape, landscape_problem
from jaxdl.compare.paths import descent_path, largest_stable_rate
from jaxdl.compare.problems import Problem, make_problem
from jaxdl.compare.quadratic import quadratic_deep

__all__ = [
    "LANDSCAPES",
    "VERDICTS",
    "Equivalence",
    "Landscape",
    "Problem",
    "cifar10_3c3d",
    "cifar10_resnet20",
    "classification_problem",
    "cost",
    "descent_path",
    "digits_mlp",
    "digits_softmax",
    "equivalence",
    "fashion_mnist_2c2d",
    "landscape_problem",
    "landscapes",
    "largest_stable_rate",
    "leaf_ulps",
    "make_problem",
    "max_relative",
    "max_ulps",
    "mnist_mlp",
    "mnist_softmax",
    "move_one_ulp",
    "quadratic_deep",
    "statistics",
    "streams",
    "sweep",
]

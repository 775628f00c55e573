"""Which optimizer is better, and how certain is that? Problems, landscapes, sweeps over rates and seeds, statistics."""

from jaxdl.studies import cost, landscapes, proportions, statistics, sweep
from jaxdl.studies.classification import (
    cifar10_3c3d,
    cifar10_resnet20,
    cifar10_vit,
    classification_problem,
    digits_mlp,
    digits_softmax,
    fashion_mnist_2c2d,
    fashion_mnist_lenet5,
    mnist_mlp,
    mnist_softmax,
)
from jaxdl.studies.fitting import heat_pinn, matrix_factorization
from jaxdl.studies.landscapes import LANDSCAPES, Landscape, landscape_problem
from jaxdl.studies.language import char_lstm, char_transformer, text_problem
from jaxdl.studies.paths import descent_path, largest_stable_rate
from jaxdl.studies.problems import Problem, Tuning, make_problem
from jaxdl.studies.quadratic import quadratic_deep

__all__ = [
    "LANDSCAPES",
    "Landscape",
    "Problem",
    "Tuning",
    "char_lstm",
    "char_transformer",
    "cifar10_3c3d",
    "cifar10_resnet20",
    "cifar10_vit",
    "classification_problem",
    "cost",
    "descent_path",
    "digits_mlp",
    "digits_softmax",
    "fashion_mnist_2c2d",
    "fashion_mnist_lenet5",
    "heat_pinn",
    "landscape_problem",
    "landscapes",
    "largest_stable_rate",
    "make_problem",
    "matrix_factorization",
    "mnist_mlp",
    "mnist_softmax",
    "proportions",
    "quadratic_deep",
    "statistics",
    "sweep",
    "text_problem",
]

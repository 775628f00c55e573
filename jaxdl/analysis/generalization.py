"""Generalisation: bias and variance of an estimator, and a diagnosis of errors in words. [Lecture row G10]"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl import numerics


class BiasVariance(NamedTuple):
    """The parts of an estimator's squared error, per example."""

    bias_squared: Float[Array, "..."]  # (mean prediction − truth)²
    variance: Float[Array, "..."]  # mean squared distance of the predictions from their mean


class Diagnosis(NamedTuple):
    """The gaps between errors, the largest one's name, and advice."""

    bias: float  # training error less the best possible
    variance: float  # development error less training error, on data of the training distribution
    mismatch: float  # error on the development set less that on held-out data of the training distribution
    problem: str  # "high bias", "high variance", "data mismatch" or "none"
    advice: tuple[str, ...]


ADVICE = {
    "high bias": ("a larger network", "longer training or a better optimizer", "another architecture", "less penalty"),
    "high variance": ("more data", "augmentation", "a penalty, dropout or early stopping", "another architecture"),
    "data mismatch": ("training data like those of use", "data synthesis", "a look at the errors of either set"),
    "none": ("a harder development set, or a stop",),
}


def bias_variance(predictions: Float[ArrayLike, "r ..."], truth: Float[ArrayLike, "..."]) -> BiasVariance:
    """Split the squared error of an estimator into bias² and variance over resampled training sets.

    Mean over resamples of (ŷ − f)² = bias² + variance, exactly, for each example. Against noisy targets the noise's
    variance is added.

    Args:
        predictions: ŷ of the estimator trained on each of r resamples, for the same examples.
        truth: f, the noise-free target of each example.

    Raises:
        ValueError: if the shapes do not fit, or there is no resample.

    Reference: S. Geman, E. Bienenstock, R. Doursat, Neural networks and the bias/variance dilemma, 1992,
    https://doi.org/10.1162/neco.1992.4.1.1.

    Examples:
        Two estimates of 1: 1 and 4 are off by 1.5 on average and vary by 1.5 about that:

        >>> found = analysis.bias_variance(np.array([[1.0], [4.0]]), np.array([1.0]))
        >>> found.bias_squared, found.variance
        (Array([2.25], dtype=float32), Array([2.25], dtype=float32))

    [Lecture row G10]
    """
    predictions, truth = numerics.floats(predictions), numerics.floats(truth)
    if predictions.ndim < 1 or predictions.shape[1:] != truth.shape or not predictions.shape[0]:
        raise ValueError(
            f"predictions: got shape {predictions.shape} for truth of shape {truth.shape}; needed is (resamples, "
            "*truth.shape) with at least one resample"
        )
    mean = jnp.mean(predictions, axis=0)
    return BiasVariance(jnp.square(mean - truth), jnp.mean(jnp.square(predictions - mean[None]), axis=0))


def diagnose(
    train_error: float | int,
    dev_error: float | int,
    *,
    best_error: float | int = 0.0,
    held_out_error: float | int | None = None,
    tolerance: float | int = 0.0,
) -> Diagnosis:
    """Say in words which gap between errors is the largest, and what the lectures advise against it.

    Args:
        train_error: error on the training set, in any unit that all errors share.
        dev_error: error on the development set.
        best_error: the error of people, or of the best possible classifier.
        held_out_error: error on data of the training set's distribution that training did not see, where the
            development set is of another distribution; by default the development set is of the same one.
        tolerance: gaps of at most this size count as none.

    Raises:
        ValueError: if an error is not a finite number.

    Examples:
        >>> found = analysis.diagnose(0.01, 0.11, best_error=0.01)
        >>> found.problem, found.advice[0]
        ('high variance', 'more data')

    [Lecture row G10]
    """
    held_out = dev_error if held_out_error is None else held_out_error
    given = {"train_error": train_error, "dev_error": dev_error, "best_error": best_error, "held_out_error": held_out}
    for name, value in {**given, "tolerance": tolerance}.items():
        if not math.isfinite(value):
            raise ValueError(f"{name}={value}: must be a finite number")
    gaps = {
        "high bias": train_error - best_error,
        "high variance": held_out - train_error,
        "data mismatch": dev_error - held_out,
    }
    largest = max(gaps, key=lambda name: gaps[name])
    problem = largest if gaps[largest] > tolerance else "none"
    bias, variance, mismatch = map(float, gaps.values())
    return Diagnosis(bias, variance, mismatch, problem, ADVICE[problem])

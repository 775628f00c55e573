"""quadratic_deep, DeepOBS's stochastic quadratic with the eigenvalues of a deep network's Hessian."""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np

from jaxdl.studies.problems import Problem, Tuning, indices

DIMENSIONS, EXAMPLES, BATCH_SIZE, EPOCHS = 100, 1000, 128, 100
VALIDATION = 44  # seed of the examples that judge tuning, beside DeepOBS's 42 for training and 43 for the test
TARGET = 87.7032  # DeepOBS's convergence performance on the test set


def quadratic_deep(*, shuffle: str = "fresh") -> Problem:
    """f(θ) = mean over examples x of ½(θ − x)ᵀQ(θ − x), in 100 dimensions with ten large eigenvalues.

    The gradient of a batch is Q(θ − x̄), where x̄ is the batch's mean. The loss is likewise computed as
    ½(θ − x̄)ᵀQ(θ − x̄) plus a term without θ, at a hundredth of the cost of the sum over examples.

    Settings are tuned on as many other examples, which DeepOBS does not have.

    Args:
        shuffle: "fresh" draws a new order of the examples every epoch; "repeated" reuses the same batches, as the
            published runs did.

    Reference: F. Schneider, L. Balles, P. Hennig, DeepOBS: A Deep Learning Optimizer Benchmark Suite, 2019,
    https://arxiv.org/abs/1903.05499.

    Examples:
        >>> problem = studies.quadratic_deep()
        >>> params, _ = problem.init(jax.random.key(0))
        >>> [leaf.shape for leaf in jax.tree.leaves(params)]
        [(100,)]
    """
    hessian, train, test = quadratic_deep_arrays()
    batches = indices(EXAMPLES, BATCH_SIZE, shuffle=shuffle)
    half_curvature = 0.5 * np.einsum("ni,ij,nj->n", train, hessian, train)  # ½xᵀQx of each example
    arrays = {"hessian": hessian, "train": train, "train_curvature": half_curvature}
    arrays = {name: np.asarray(x, np.float32) for name, x in arrays.items()} | _judging(test, hessian)

    def quadratic(theta, mean, half_curvature, hessian):
        apart = theta - mean
        return 0.5 * apart @ (hessian @ apart) + half_curvature - 0.5 * mean @ (hessian @ mean)

    def loss(params, state, batch, data, key):
        del key
        mean, curvature = data["train"][batch].mean(0), data["train_curvature"][batch].mean()
        return quadratic(params["theta"], mean, curvature, data["hessian"]), state

    def evaluate(params, state, data):
        del state
        return {"value": quadratic(params["theta"], data["test_mean"], data["test_curvature"], data["hessian"])}

    return Problem(
        name="quadratic_deep" if shuffle == "fresh" else f"quadratic_deep_{shuffle}",
        init=lambda key: ({"theta": jnp.ones(DIMENSIONS)}, ()),
        loss=loss,
        evaluate=evaluate,
        batches=batches,
        steps=EPOCHS * (EXAMPLES // BATCH_SIZE),
        steps_per_epoch=EXAMPLES // BATCH_SIZE,
        batch_size=BATCH_SIZE,
        evaluate_every=EXAMPLES // BATCH_SIZE,
        data=arrays,
        target=TARGET,
        source="DeepOBS, https://arxiv.org/abs/1903.05499",
        tuning=lambda: Tuning(batches, arrays | _judging(_examples(VALIDATION)[: len(test)], hessian)),
    )


def _judging(examples: np.ndarray, hessian: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays by which θ is judged on some examples."""
    half_curvature = 0.5 * np.einsum("ni,ij,nj->n", examples, hessian, examples).mean()
    return {
        "test_mean": np.asarray(examples.mean(0), np.float32),
        "test_curvature": np.asarray(half_curvature, np.float32),
    }


@functools.cache
def quadratic_deep_arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Q (100, 100), the training examples (1000, 100) and the test examples (896, 100), in float64.

    All are drawn as in DeepOBS 1.1, from numpy's legacy generators, whose streams are frozen; examples are rounded to
    float32. DeepOBS draws 1,000 test examples and evaluates on the seven full batches among them.
    """
    random = np.random.RandomState(42)
    eigenvalues = np.concatenate([random.uniform(0, 1, 90), random.uniform(30, 60, 10)])
    rotation = _rotation(random, DIMENSIONS)
    hessian = rotation.T @ (eigenvalues[:, None] * rotation)
    full_batches = EXAMPLES // BATCH_SIZE * BATCH_SIZE
    return hessian, _examples(42), _examples(43)[:full_batches]


def _examples(seed: int) -> np.ndarray:
    drawn = np.random.RandomState(seed).normal(0.0, 0.6, (EXAMPLES, DIMENSIONS))
    return drawn.astype(np.float32).astype(np.float64)


def _rotation(random: np.random.RandomState, size: int) -> np.ndarray:
    """Draw a rotation from the Haar measure by the subgroup algorithm (Diaconis and Shahshahani, 1987).

    To extend a rotation from d dimensions to d + 1, place it in the lower right corner and reflect the first axis onto
    a uniformly drawn direction.
    """
    angle = 2 * np.pi * random.uniform()
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    for d in range(2, size):
        direction = random.normal(size=d + 1)
        mirror = np.eye(d + 1)[0] - direction / np.linalg.norm(direction)
        mirror /= np.linalg.norm(mirror)
        larger = np.eye(d + 1)
        larger[1:, 1:] = rotation
        rotation = larger - 2 * np.outer(mirror, mirror @ larger)
    return -rotation

"""Adversarial examples held to a linear model, where the best perturbation is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import losses
from jaxdl.applications import adversarial

W = np.float32([[2.0, -1.0, 0.0], [0.5, 3.0, -4.0]])  # per class
X = np.random.default_rng(0).uniform(0.3, 0.7, size=(6, 3)).astype(np.float32)
LABELS = np.array([0, 1, 0, 1, 0, 1])
DIFFERENCE = np.where(LABELS[:, None] == 0, W[1] - W[0], W[0] - W[1])  # in which losses grow


def loss(x, w=W):
    return losses.softmax_cross_entropy(x @ w.T, LABELS)


def test_fgsm_of_a_linear_model_is_the_worst_of_all_changes():
    found = adversarial.fgsm(loss, X, 0.1)
    np.testing.assert_allclose(found, X + 0.1 * np.sign(DIFFERENCE), rtol=1e-6)
    corners = np.stack(np.meshgrid(*[[-0.1, 0.0, 0.1]] * 3), -1).reshape(-1, 3)
    worst = np.max([loss(X + corner) for corner in corners.astype(np.float32)], 0)
    np.testing.assert_allclose(loss(found), worst, rtol=1e-5)
    targeted = adversarial.fgsm(lambda x: losses.softmax_cross_entropy(x @ W.T, 1 - LABELS), X, 0.1, targeted=True)
    np.testing.assert_allclose(targeted, found, rtol=1e-6)  # of two classes, away from one is towards the other


def test_no_change_leaves_the_range_or_the_ball():
    np.testing.assert_array_equal(adversarial.fgsm(loss, X, 0), X)
    clipped = adversarial.fgsm(loss, X, 0.5)
    np.testing.assert_allclose(clipped, np.clip(adversarial.fgsm(loss, X, 0.5, clip=None), 0, 1))
    assert clipped.min() == 0
    assert clipped.max() == 1
    key = jax.random.key(0)
    found = adversarial.pgd(key, loss, X, 0.1, step_size=0.04, steps=8)
    np.testing.assert_allclose(found, adversarial.fgsm(loss, X, 0.1), atol=1e-6)  # 8 steps of .04 cross the ball
    start = adversarial.pgd(key, loss, X, 0.1, step_size=0.0, steps=1)
    assert 0 < np.abs(start - X).max() <= 0.1 + 1e-6
    few = adversarial.pgd(key, loss, X, 0.5, step_size=0.3, steps=2)
    assert few.min() >= 0
    assert few.max() <= 1


def test_the_loss_of_adversarial_training_and_its_gradient():
    fooled = adversarial.fgsm(loss, X, 0.2, clip=None)
    mixed = adversarial.adversarial_loss(loss, X, 0.2, alpha=0.3)
    np.testing.assert_allclose(mixed, 0.3 * loss(X) + 0.7 * loss(fooled), rtol=1e-6)
    gradient = jax.grad(lambda w: adversarial.adversarial_loss(lambda x: loss(x, w), X, 0.2).mean())(jnp.asarray(W))
    expected = jax.grad(lambda w: (0.5 * loss(X, w) + 0.5 * loss(np.asarray(fooled), w)).mean())(jnp.asarray(W))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


def test_they_run_under_jit_and_vmap_in_any_precision():
    over = jax.jit(jax.vmap(lambda eps: adversarial.fgsm(loss, X, eps)))
    np.testing.assert_allclose(over(jnp.array([0.0, 0.1]))[1], adversarial.fgsm(loss, X, 0.1), rtol=1e-6)
    half = adversarial.fgsm(lambda x: loss(x.astype(jnp.float32)), X.astype(jnp.bfloat16), 0.1)
    assert half.dtype == jnp.bfloat16
    empty = adversarial.pgd(jax.random.key(0), lambda x: x.sum(1), X[:0], 0.1, step_size=0.1, steps=1)
    assert empty.shape == (0, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adversarial.fgsm(loss, X, -0.1), r"eps=-0\.1: allowed are finite numbers from 0 on"),
        (lambda: adversarial.fgsm(loss, X, float("nan")), "eps=nan"),
        (lambda: adversarial.fgsm(loss, X, 0.1, clip=(1.0, 0.0)), r"clip=\(1\.0, 0\.0\): allowed are \(low, high\)"),
        (lambda: adversarial.fgsm(lambda x: loss(x).mean(), X, 0.1), r"loss: returns shape \(\), needed is one number"),
        (
            lambda: adversarial.pgd(jax.random.key(0), loss, X, 0.1, step_size=0.1, steps=0),
            "steps=0: must be",
        ),
        (lambda: adversarial.pgd(jax.random.key(0), loss, X, 0.1, step_size=-1.0, steps=1), r"step_size=-1\.0"),
        (lambda: adversarial.adversarial_loss(loss, X, 0.1, alpha=1.5), r"alpha=1\.5: allowed are numbers from 0 to 1"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

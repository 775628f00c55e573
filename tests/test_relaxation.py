"""Choices with a gradient, against numpy, worked masks and the closed form of the paper's example."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from jaxdl.applications import relaxation

# the example of the paper, whose best weight for α is w = α and whose best α is 1
DEV = lambda w, alpha: alpha * w - 2 * alpha + 1
TRAIN = lambda w, alpha: w**2 - 2 * alpha * w + alpha**2


def test_a_mixture_is_the_weighed_sum():
    random = np.random.default_rng(0)
    alphas, outputs = random.normal(size=3).astype(np.float32), random.normal(size=(3, 2, 5)).astype(np.float32)
    weights = np.exp(alphas) / np.exp(alphas).sum()
    expected = sum(w * one for w, one in zip(weights, outputs, strict=True))
    np.testing.assert_allclose(relaxation.mixed(alphas, list(outputs)), expected, rtol=1e-5, atol=1e-6)
    certain = np.array([-200, 200, -200], np.float32)
    np.testing.assert_array_equal(relaxation.mixed(certain, list(outputs)), outputs[1])


def test_masks_fade_the_filters_that_only_wider_candidates_have():
    mask = relaxation.filter_mask(np.log(np.array([1, 2, 1], np.float32)), (1, 2, 4))
    np.testing.assert_allclose(mask, [1, 0.75, 0.25, 0.25], rtol=1e-6)
    slope = jax.grad(lambda alphas: relaxation.filter_mask(alphas, (1, 2))[1])(jnp.zeros(2))
    np.testing.assert_allclose(slope, [-0.25, 0.25], rtol=1e-6)  # p(1 − p) of the wider one


@pytest.mark.parametrize("learning_rate", [0, 0.25, 0.5])
def test_the_unrolled_gradient_of_the_paper_s_example(learning_rate):
    """After a step the weight is w + 2ξ(α − w), so that the slope of the development loss is that weight + 2ξα − 2."""
    w, alpha, xi = -2.0, 2.0, learning_rate
    found = relaxation.unrolled_gradient(DEV, TRAIN, w, alpha, learning_rate=xi)
    assert found == pytest.approx(w + 2 * xi * (alpha - w) + 2 * xi * alpha - 2)
    traced = jax.jit(lambda xi: relaxation.unrolled_gradient(DEV, TRAIN, w, alpha, learning_rate=xi))(xi)
    assert traced == pytest.approx(float(found))


@pytest.mark.slow
def test_only_unrolled_weights_lead_to_the_best_choice():
    """Where the weights follow the choices, w = α, the slope α + 2ξα − 2 vanishes at α = 2 / (1 + 2ξ)."""
    for xi, end in ((0.0, 2.0), (0.5, 1.0)):
        w, alpha = jnp.float32(-2.0), jnp.float32(2.0)
        for _ in range(200):
            alpha -= 0.1 * relaxation.unrolled_gradient(DEV, TRAIN, w, alpha, learning_rate=xi)
            w -= 0.1 * jax.grad(TRAIN)(w, alpha)
        np.testing.assert_allclose([w, alpha], end, rtol=1e-3)


def test_trees_of_choices_keep_their_form():
    alphas, params = {"kernel": jnp.zeros(2), "filters": jnp.zeros(3)}, [jnp.ones(2)]
    loss = lambda p, a: (p[0] * a["kernel"]).sum() + a["filters"].sum() ** 2 + a["filters"][0]
    grads = relaxation.unrolled_gradient(loss, lambda p, a: (p[0] ** 2).sum(), params, alphas, learning_rate=0.25)
    np.testing.assert_allclose(grads["kernel"], [0.5, 0.5])  # the weights after their step
    np.testing.assert_allclose(grads["filters"], [1, 0, 0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: relaxation.mixed(np.zeros(2), [np.ones(3)]), r"alphas has shape \(2,\), outputs have the shapes"),
        (lambda: relaxation.mixed(np.zeros(2), [np.ones(3), np.ones(4)]), r"outputs of one shape"),
        (lambda: relaxation.mixed(np.zeros(0), []), "outputs of one shape"),
        (lambda: relaxation.filter_mask(np.zeros(2), (4,)), r"counts=\(4,\); needed are whole numbers"),
        (lambda: relaxation.filter_mask(np.zeros(2), (1.5, 4)), r"counts=\(1.5, 4\); needed are whole numbers"),
        (lambda: relaxation.filter_mask(np.zeros(2), (0, 4)), r"counts=\(0, 4\); needed are whole numbers"),
    ],
)
def test_mistakes_are_named(call, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # which looks at one of the counts, by chance
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("promotion", ["standard", "strict"])
@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float32"])
def test_outputs_and_weights_keep_their_dtype(kind, promotion):
    seen, rate = [], jnp.float32(0.5)

    def loss(weights, alpha):
        seen.append(weights["w"].dtype)
        return (weights["w"].astype(jnp.float32) * alpha).sum()

    with jax.numpy_dtype_promotion(promotion), jax.numpy_rank_promotion("raise"):
        mixture = relaxation.mixed(jnp.zeros(2), [jnp.ones((2, 3), kind), 3 * jnp.ones((2, 3), kind)])
        assert (mixture.dtype, float(mixture[0, 0])) == (kind, 2.0)
        weights = {"w": jnp.full(1, 2, kind), "steps": jnp.arange(2), "name": "net", "activation": jnp.tanh}
        found = relaxation.unrolled_gradient(loss, loss, weights, jnp.float32(3.0), learning_rate=rate)
    assert float(found) == -1.0  # of 2α − α²/2
    assert {*seen} == {jnp.dtype(kind)}


def test_complex_weights_descend():
    def loss(w, alpha):
        return (jnp.abs(w - (3 + 4j)) ** 2).sum() * alpha

    step = relaxation.unrolled_gradient(loss, loss, jnp.zeros(1, jnp.complex64), jnp.float32(1.0), learning_rate=0.5)
    np.testing.assert_allclose(step, 0, atol=1e-5)  # w = αz, so the loss is α(α − 1)²|z|², least at 1

"""Penalties against sums by hand and scikit-learn, and the effect of their steps on weights."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import sklearn.linear_model

from jaxdl import regularizers

PARAMS = {
    "fc": {"kernel": jnp.array([[1.0, -2.0], [0.0, 3.0]]), "bias": jnp.array([10.0, 20.0])},
    "norm": {"scale": jnp.array([5.0, 5.0])},
}


def test_values_by_hand():
    assert float(regularizers.l1(PARAMS, 0.5)) == 3
    assert float(regularizers.l1(PARAMS, 0.5, count=10)) == pytest.approx(0.3)
    assert float(regularizers.l2(PARAMS, 0.5)) == 3.5
    assert float(regularizers.l2(PARAMS, 0.5, count=10)) == pytest.approx(0.35)
    assert float(regularizers.weight_decay(PARAMS, 0.5)) == 7
    assert float(regularizers.elastic_net(PARAMS, 0.5, l1_ratio=0.25)) == pytest.approx(0.75 + 0.75 * 3.5)
    assert float(regularizers.elastic_net(PARAMS, 0.5, count=2)) == pytest.approx((1.5 + 1.75) / 2)


def test_biases_and_scales_are_left_out_unless_asked_for():
    expected = {"fc": {"kernel": True, "bias": False}, "norm": {"scale": False}}
    assert regularizers.weights_mask(PARAMS) == expected
    everything = jax.tree.map(lambda _: True, PARAMS)
    assert float(regularizers.l1(PARAMS, 1.0, mask=everything)) == 46
    by_function = regularizers.l1(PARAMS, 1.0, mask=lambda p: jax.tree.map(lambda x: x.ndim == 1, p))
    assert float(by_function) == 40
    assert not regularizers.weights_mask(jnp.ones((2, 2), jnp.int32))


def test_steps_of_the_lecture():
    rate, strength, m = 0.1, 0.5, 10
    w = PARAMS["fc"]["kernel"]
    step = jax.grad(lambda w: regularizers.l1(w, strength, count=m))(w)
    np.testing.assert_allclose(-rate * step, -rate * strength / m * np.sign(w), rtol=1e-6)  # sgn(0) = 0
    step = jax.grad(lambda w: regularizers.l2(w, strength, count=m))(w)
    np.testing.assert_allclose(w - rate * step, (1 - rate * strength / m) * w, rtol=1e-6)
    bias = jax.grad(regularizers.l2)(PARAMS, strength)["fc"]["bias"]
    assert (bias == 0).all()


def test_soft_threshold_is_the_minimiser_it_should_be():
    w = jnp.array([[-2.0, -0.3, 0.0], [0.3, 0.5, 2.0]])
    got = regularizers.soft_threshold({"w": w, "b": w[0]}, 0.5)
    np.testing.assert_allclose(got["w"], [[-1.5, 0, 0], [0, 0, 1.5]])
    np.testing.assert_array_equal(got["b"], w[0])
    grid = np.linspace(-3, 3, 60_001)  # argmin_v ½ (v − w)² + t |v|, by brute force
    brute = [grid[np.argmin(0.5 * (grid - x) ** 2 + 0.5 * abs(grid))] for x in np.ravel(w)]
    np.testing.assert_allclose(np.ravel(got["w"]), brute, atol=1e-4)


def test_max_norm_is_the_nearest_point_of_the_ball():
    kernel = jnp.array([[6.0, 3.0, 0.0], [8.0, 4.0, 0.0]])
    got = regularizers.max_norm({"w": kernel, "b": kernel[0]}, 5.0)
    np.testing.assert_allclose(got["w"], [[3, 3, 0], [4, 4, 0]], rtol=1e-6)
    np.testing.assert_array_equal(got["w"][:, 1:], kernel[:, 1:])
    np.testing.assert_array_equal(got["b"], kernel[0])
    angles = np.linspace(0, 2 * np.pi, 100_001)  # argmin over the circle, by brute force
    circle = 5 * np.stack([np.cos(angles), np.sin(angles)])
    nearest = circle[:, np.argmin(np.sum((circle - np.asarray(kernel)[:, :1]) ** 2, 0))]
    np.testing.assert_allclose(got["w"][:, 0], nearest, atol=1e-3)
    filters = np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype(np.float32)
    flat = regularizers.max_norm(filters.reshape(36, 5), 2.0)
    np.testing.assert_allclose(regularizers.max_norm(filters, 2.0).reshape(36, 5), flat, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(flat, axis=0), 2, rtol=1e-6)
    np.testing.assert_allclose(regularizers.max_norm(1e30 * filters, 2.0).reshape(36, 5), flat, rtol=1e-5)
    slope = jax.jacobian(lambda w: regularizers.max_norm(w, 5.0))(kernel)[:, 0, :, 0]  # r/‖w‖ (1 − w wᵀ/‖w‖²)
    np.testing.assert_allclose(slope, 0.5 * (np.eye(2) - np.array([[0.36, 0.48], [0.48, 0.64]])), atol=1e-6)


def test_l1_gives_exact_zeros_and_l2_shrinks():
    # least squares with an orthonormal design: both optima are known in closed form
    target = jnp.array([[3.0, 0.2], [-0.1, -1.0]])
    lasso = ridge = jnp.zeros((2, 2))
    for _ in range(200):
        lasso = regularizers.soft_threshold(lasso - 0.1 * (lasso - target), 0.1 * 0.5)
        ridge = ridge - 0.1 * (ridge - target + jax.grad(regularizers.l2)(ridge, 0.5))
    np.testing.assert_allclose(lasso, [[2.5, 0], [0, -0.5]], atol=1e-5)
    assert int((lasso == 0).sum()) == 2
    np.testing.assert_allclose(ridge, target / 1.5, atol=1e-5)
    assert int((ridge == 0).sum()) == 0


def test_elastic_net_has_sklearns_optimum():
    rng = np.random.default_rng(0)
    x, truth = rng.normal(size=(50, 4)), np.array([2.0, 0.0, -1.0, 0.0])
    y = x @ truth + 0.1 * rng.normal(size=50)
    fitted = sklearn.linear_model.ElasticNet(alpha=0.3, l1_ratio=0.6, fit_intercept=False, tol=1e-8).fit(x, y)

    def objective(w):  # scikit-learn's: half the mean squared error plus the penalty
        residual = jnp.asarray(y, jnp.float32)[:, None] - jnp.asarray(x, jnp.float32) @ w
        return 0.5 * jnp.mean(residual**2) + regularizers.elastic_net(w, 0.3, l1_ratio=0.6)

    w = jnp.asarray(fitted.coef_, jnp.float32)[:, None]
    slope = jax.grad(objective)(w)
    assert np.abs(slope[w != 0]).max() < 1e-5
    for i in range(4):
        for d in (-1e-2, 1e-2):
            assert objective(w.at[i, 0].add(d)) > objective(w)


def test_sums_are_formed_in_float32():
    many = jnp.ones((300, 300), jnp.bfloat16)
    got = regularizers.l1(many, 1.0)
    assert got.dtype == jnp.bfloat16
    assert float(got) == pytest.approx(90_000, rel=1 / 256)
    assert float(regularizers.l2({}, 1.0)) == 0


def test_a_mask_of_another_structure_is_refused():
    with pytest.raises(
        ValueError, match=r"^mask: got a tree without fc/bias, fc/kernel, norm/scale and with fc, must be"
    ):
        regularizers.l1(PARAMS, 1.0, mask={"fc": True})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: regularizers.l1({}, 1.0, count=0), "count: got 0, allowed are numbers above 0"),
        (lambda: regularizers.l2({}, 1.0, count=-2), "count: got -2"),
        (lambda: regularizers.elastic_net({}, 1.0, count=0), "count: got 0"),
        (lambda: regularizers.elastic_net({}, 1.0, l1_ratio=2), "l1_ratio: got 2, allowed is 0 to 1"),
        (lambda: regularizers.max_norm({}, 0), "radius: got 0, allowed are numbers above 0"),
        (
            lambda: regularizers.max_norm(jnp.ones(3), 1.0, mask=True),
            r"params: got a leaf of shape \(3,\), max_norm bounds leaves with at least two axes",
        ),
        (lambda: regularizers.max_norm({"b": jnp.ones(3)}, 1.0), "mask: selects no leaf"),
        (lambda: regularizers.soft_threshold({}, -0.1), "threshold: got -0.1, allowed are numbers from 0 on"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", ["elastic_net", "l1", "l2", "max_norm", "soft_threshold", "weight_decay"])
def test_swapped_arguments_are_told_so(name, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(
        ValueError, match=r"^(strength|radius|threshold): got a dict, allowed are numbers; the parameters"
    ):
        getattr(regularizers, name)(0.1, {"w": jnp.ones((2, 2))})

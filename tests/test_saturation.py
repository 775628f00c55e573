import jax
import numpy as np
import pytest

from jaxdl import activations
from jaxdl.analysis import dead_units, percentiles, saturation


def test_share_of_saturated_units_by_the_closed_form_of_each_derivative():
    z = np.linspace(-8, 8, 4001, dtype=np.float32)
    sigmoid = 1 / (1 + np.exp(-z.astype(np.float64)))
    closed = {
        activations.sigmoid: sigmoid * (1 - sigmoid),
        activations.tanh: 1 - np.tanh(z.astype(np.float64)) ** 2,
        activations.relu: (z > 0).astype(np.float64),
        activations.softplus: sigmoid,
    }
    for activation, slope in closed.items():
        for eps in (1e-1, 1e-2, 1e-3):
            # rounding may put a unit at the threshold on either side
            assert abs(float(saturation(activation, z, eps=eps)) - np.mean(np.abs(slope) < eps)) <= 2 / z.size


def test_the_lectures_points():
    # sigma'(6) = .00247 and 1 - tanh(3)^2 = .00987: both saturated at eps = .01, neither at .002
    assert float(saturation(activations.sigmoid, np.array([6.0], np.float32))) == 1.0
    assert float(saturation(activations.sigmoid, np.array([6.0], np.float32), eps=2e-3)) == 0.0
    assert float(saturation(activations.tanh, np.array([3.0], np.float32))) == 1.0
    assert float(saturation(activations.tanh, np.array([3.0, 0.0], np.float32))) == 0.5


def test_dead_units_by_hand():
    z = np.float32([[-1, -2, 3, -1, np.nan], [-5, 2, 1, 0, -1]])
    assert dead_units(activations.relu, z).tolist() == [True, False, False, True, False]
    assert not dead_units(activations.leaky_relu, z).any()
    # sigma'(5) = .00665 and sigma'(4) = .0177
    far = np.float32([[[5, -5, 4]], [[9, 0, -9]]])
    assert dead_units(activations.sigmoid, far, eps=1e-2).tolist() == [[True, True, False], [True, False, True]]
    assert not jax.jit(lambda z: dead_units(activations.sigmoid, z))(far).any()
    for call, message in (
        (lambda: dead_units(activations.relu, z, eps=-1.0), r"eps=-1\.0 is not at least 0"),
        (lambda: dead_units(activations.relu, z[:0]), r"z: got shape \(0, 5\)"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_eps_has_to_be_positive():
    with pytest.raises(ValueError, match="eps=0"):
        saturation(activations.relu, np.ones(3, np.float32), eps=0.0)


def test_percentiles_are_numpys_and_those_of_the_normal_distribution():
    z = np.random.default_rng(0).normal(size=(4, 50, 3)).astype(np.float32)
    ranks = (0, 15, 50, 85, 100)
    expected = np.moveaxis(np.percentile(z, ranks, axis=1), 0, 1)
    found = jax.jit(percentiles, static_argnums=1)(z, ranks)
    assert found.shape == (4, 5, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(percentiles(np.arange(101.0, dtype=np.float32)[:, None]), [[15], [50], [85]], rtol=1e-6)
    normal = np.random.default_rng(1).normal(size=(200_000, 1)).astype(np.float32)
    np.testing.assert_allclose(
        percentiles(2 + 3 * normal)[:, 0], [2 - 3.109, 2, 2 + 3.109], atol=0.03
    )  # z(.85) = 1.0364
    holed = np.where(np.arange(3) == 1, np.nan, z)
    assert np.isnan(percentiles(holed)).all((0, 1)).tolist() == [False, True, False]
    for call, message in (
        (lambda: percentiles(z, ()), r"ranks=\(\): must be numbers from 0 to 100"),
        (lambda: percentiles(z, (15, 101)), "from 0 to 100"),
        (lambda: percentiles(z[0, :, 0]), r"z: got shape \(50,\), needed is \(\.\.\., examples, units\)"),
        (lambda: percentiles(z[:, :0]), "at least one example"),
    ):
        with pytest.raises(ValueError, match=message):
            call()

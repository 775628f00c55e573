import numpy as np
import pytest

from jaxdl import activations
from jaxdl.analysis import saturation


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


def test_eps_has_to_be_positive():
    with pytest.raises(ValueError, match="eps=0"):
        saturation(activations.relu, np.ones(3, np.float32), eps=0.0)

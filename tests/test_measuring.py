"""Functions of the experiments that measure claims, against closed forms and worked cases; none of them trains."""

import numpy as np
import pytest

from experiments import augmentation, batch_size, cnn_against_mlp, depth_data, hyperparameters, input_normalization
from experiments import learning_rate as rates
from jaxdl import analysis, models


def test_the_spread_of_batches_is_sigma_over_the_root_of_their_size():
    random = np.random.default_rng(0)
    values = random.normal(size=(2000, 3)) * [1, 2, 2]  # whose distance from the mean has a root mean square of 3
    for size in (1, 9, 100):
        assert batch_size.spread(values, size, random) == pytest.approx(3 / size**0.5, rel=0.15)


def test_decays_begin_at_the_rate_and_end_where_they_should():
    ends = {name: rates.decay(name, 100)[[0, 99]].tolist() for name in rates.DECAYS}
    assert ends["constant"] == [1, 1]
    assert ends["step"] == pytest.approx([1, 0.09])
    assert ends["cosine"] == pytest.approx([1, (1 + np.cos(0.99 * np.pi)) / 2], rel=1e-3)


def test_inputs_are_brought_to_their_scale_and_constant_ones_stay_finite():
    x = np.float32([[0, 5, 7], [2, 1, 7], [4, 3, 7]])
    for scale, low, high in (("in [0, 1]", [0, 0, 0], [1, 1, 0]), ("raw", x.min(0), x.max(0))):
        shift, width = input_normalization.fitted(scale, x)
        seen = (x - shift) / width
        np.testing.assert_allclose([seen.min(0), seen.max(0)], [low, high])
    shift, width = input_normalization.fitted("standardised", x)
    seen = (x - shift) / width
    np.testing.assert_allclose(seen.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(seen.std(0), [1, 1, 0], rtol=1e-6)


def test_images_are_halved_and_distortions_switched():
    image = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    assert augmentation.halved(image)[0, ..., 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    on = {how: augmentation.switches(how).tolist() for how in augmentation.HOW}
    assert not any(on["none"])
    assert on["all"] == [name != "flip" for name in augmentation.EVERY]
    assert all(sum(on[name]) == 1 for name in augmentation.EVERY)


def test_a_ramp_has_gradient_in_one_direction_of_its_histogram():
    down, right = np.mgrid[:8, :8].astype(np.float32)
    for ramp, place in ((right, 0), (down, 2), (-right, 4), (-down, 6), (right + down, 1)):  # of eight directions
        cells = cnn_against_mlp.histograms(ramp[None, ..., None]).reshape(4, 8)
        assert (cells.argmax(1) == place).all()
        np.testing.assert_allclose(np.delete(cells, place, 1), 0, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 2, 4, 6])
def test_nets_of_all_depths_have_as_many_parameters(depth):
    width = depth_data.width_of(depth, 784, 10, 20_000)
    count = analysis.count_parameters(models.mlp(10, widths=(width,) * depth), (784,))
    assert count == pytest.approx(20_000, rel=0.03)


def test_halving_of_known_errors():
    """Candidate c has the error 64 − c at all times, but the best is worst until the last look."""
    errors = np.repeat(64.0 - np.arange(64)[:, None, None], 64, 1).repeat(2, 2)
    assert hyperparameters._halved(errors, np.arange(64)).tolist() == [1, 1]
    errors[63, :63] = 100
    assert hyperparameters._halved(errors, np.arange(64)).tolist() == [2, 2]

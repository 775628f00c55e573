"""Normalisation against numpy, and its corners."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import data

IMAGES = np.random.default_rng(0).integers(0, 256, (1100, 3, 4, 3), dtype=np.uint8)


def test_statistics_are_numpys_and_inputs_become_standard():
    stats = data.fit_normalization(IMAGES, 255.0)
    np.testing.assert_allclose(stats.mean, (IMAGES / 255.0).mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(stats.std, (IMAGES / 255.0).std(axis=(0, 1, 2)), rtol=1e-6)
    x = np.asarray(jax.jit(data.normalize)(IMAGES, stats), np.float64)
    np.testing.assert_allclose(x.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=(0, 1, 2)), 1, atol=1e-5)


@pytest.mark.parametrize("make", [jnp.asarray, jax.device_put], ids=["array", "device"])
def test_statistics_are_the_same_of_any_array(make):
    wide = (IMAGES.astype(np.float32) + 5000) / 3
    expected, found = data.fit_normalization(wide, 1.0), data.fit_normalization(make(wide), 1.0)
    np.testing.assert_array_equal(found.mean, expected.mean)
    np.testing.assert_array_equal(found.std, expected.std)


def test_a_worked_pixel_and_its_types():
    stats = data.Normalization(np.float32([0.5, 0.25]), np.float32([0.5, 0.125]), 16.0)
    pixel = np.array([[[16, 4]]], np.uint8)
    np.testing.assert_array_equal(data.normalize(pixel, stats), [[[1.0, 0.0]]])
    assert data.normalize(pixel, stats).dtype == jnp.float32
    assert data.normalize(jnp.asarray(pixel, jnp.bfloat16), stats).dtype == jnp.bfloat16
    np.testing.assert_array_equal(data.to_unit(pixel, 16), [[[1.0, 0.25]]])
    batch = np.stack([pixel] * 3)
    np.testing.assert_array_equal(data.normalize(batch, stats)[2], data.normalize(pixel, stats))


def test_a_constant_channel_is_only_centred():
    images = np.full((4, 2, 2, 1), 51, np.uint8)
    stats = data.fit_normalization(images, 255.0)
    np.testing.assert_array_equal(stats.std, [0.0])
    x, slope = jax.value_and_grad(lambda x: data.normalize(x, stats).sum())(jnp.full((2, 2, 1), 102.0))
    np.testing.assert_allclose(x, 4 * 0.2, rtol=1e-5)
    np.testing.assert_allclose(slope, 1 / 255, rtol=1e-6)


def test_without_statistics_pixels_are_scaled_alone():
    stats = data.no_normalization(3, 255)
    np.testing.assert_allclose(data.normalize(IMAGES, stats), IMAGES / 255.0, rtol=2e-7)
    with pytest.raises(ValueError, match="channels is 0; must be an integer of at least 1"):
        data.no_normalization(0, 255)


def test_json_gives_back_exactly_the_same_statistics():
    stats = data.fit_normalization(IMAGES, 255.0)
    again = data.Normalization.from_dict(json.loads(json.dumps(stats.to_dict())))
    assert again.mean.tobytes() == stats.mean.tobytes()
    assert again.std.tobytes() == stats.std.tobytes()
    assert again.scale == stats.scale


def test_mistakes_are_named():
    stats = data.fit_normalization(IMAGES, 255.0)
    with pytest.raises(ValueError, match=r"images has shape \(0, 3, 4, 3\)"):
        data.fit_normalization(IMAGES[:0], 255.0)
    with pytest.raises(ValueError, match=r"x has shape \(5, 5, 1\); .* the 3 channels"):
        data.normalize(np.zeros((5, 5, 1)), stats)

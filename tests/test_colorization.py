"""Colour spaces held to the published values of the primaries, and what is drawn from histograms to closed forms."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from jaxdl.applications import colorization
from tests.zoo import quick_jit

to_lab, to_rgb = quick_jit(colorization.rgb_to_lab), quick_jit(colorization.lab_to_rgb)

# B. Lindbloom's calculator for sRGB under D65, which scikit-image's tests hold its rgb2lab to
PUBLISHED = {
    (1, 1, 1): (100, 0, 0),
    (1, 1, 0): (97.1393, -21.5537, 94.4780),
    (0, 1, 1): (91.1132, -48.0875, -14.1312),
    (0, 1, 0): (87.7347, -86.1827, 83.1793),
    (1, 0, 1): (60.3242, 98.2343, -60.8249),
    (1, 0, 0): (53.2408, 80.0925, 67.2032),
    (0, 0, 1): (32.2970, 79.1875, -107.8602),
    (0, 0, 0): (0, 0, 0),
}


def test_primaries_have_the_published_values():
    rgb, lab = (np.float32([*side]) for side in (PUBLISHED.keys(), PUBLISHED.values()))
    np.testing.assert_allclose(to_lab(rgb), lab, atol=6e-3)
    np.testing.assert_allclose(to_rgb(lab), rgb, atol=2e-3)


def test_greys_have_the_closed_form_and_all_colours_come_back():
    """Of a grey of value v, L* = 116 ∛Y − 16 with Y of sRGB's curve; below .008856 it is the line 903.3 Y."""
    grey = np.linspace(0, 1, 40, dtype=np.float32)
    y = np.where(grey <= 0.04045, grey / 12.92, ((grey + 0.055) / 1.055) ** 2.4)
    expected = np.where(y > 216 / 24389, 116 * np.cbrt(y) - 16, y * 24389 / 27)
    found = to_lab(np.repeat(grey[:, None], 3, 1))
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-3)
    np.testing.assert_allclose(found[:, 1:], 0, atol=0.02)
    colors = np.random.default_rng(0).uniform(size=(40, 3)).astype(np.float32)
    np.testing.assert_allclose(to_rgb(to_lab(colors)), colors, atol=1e-4)
    np.testing.assert_array_equal(to_lab(2 * colors - 0.5), to_lab(np.clip(2 * colors - 0.5, 0, 1)))
    both = lambda x: colorization.rgb_to_lab(x).sum() + colorization.lab_to_rgb(100 * x).sum()
    slope = quick_jit(jax.grad(both))(jnp.zeros((2, 3)))
    assert bool(jnp.isfinite(slope).all())


def test_bins_cover_all_colours_and_histograms_give_them_back():
    bins = colorization.ab_bins(step=20)
    assert bins.shape[1] == 2
    assert {(0.0, 0.0), (80.0, 60.0), (80.0, -100.0), (-80.0, 80.0)} <= {*map(tuple, bins.tolist())}
    assert (-100.0, -100.0) not in {*map(tuple, bins.tolist())}
    colors = np.random.default_rng(1).uniform(size=(50, 3)).astype(np.float32)
    ab = np.asarray(to_lab(colors))[:, 1:]
    number = np.asarray(colorization.nearest_bin(ab, bins))
    np.testing.assert_array_equal(number, np.linalg.norm(ab[:, None] - bins, axis=-1).argmin(-1))
    assert np.abs(ab - bins[number]).max() <= 10 + 1e-3  # none is far from its bin
    two = np.float32([[0, 0], [10, -20]])
    even = colorization.annealed_mean(np.zeros((1, 2), np.float32), two)
    np.testing.assert_allclose(even, [[5, -10]], rtol=1e-6)
    sharp = colorization.annealed_mean(np.log(np.float32([[1, 3]])), two, temperature=0.5)
    np.testing.assert_allclose(sharp, [[9, -18]], rtol=1e-5)  # 3² of 1 + 3²


def test_colourfulness_by_hand():
    """Half red, half grey: rg is 1 or 0 and yb is ½ or 0, so σ is (½, ¼) and μ is the same."""
    image = np.zeros((4, 6, 3), np.float32)
    image[:2, :, 0] = 1
    length = np.hypot(0.5, 0.25)
    np.testing.assert_allclose(colorization.colorfulness(image), 1.3 * length, rtol=1e-6)
    assert colorization.colorfulness(np.full((2, 3, 3, 3), 0.7, np.float32)).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: colorization.lab_to_rgb(np.ones(())), r"x: got shape \(\), needed are three values"),
        (lambda: colorization.ab_bins(step=0), "step=0, limit=100: must be above 0"),
        (lambda: colorization.annealed_mean(np.ones((1, 1)), np.ones((1, 2)), temperature=0), "temperature=0: must be"),
    ],
)
def test_bad_arguments_are_named(call, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        call()

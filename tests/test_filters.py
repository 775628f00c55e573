"""Fixed kernels, feature maps and robustness held to scipy.ndimage, loops and worked cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxdl import analysis, data, nn
from jaxdl.analysis import changes
from jaxdl.layers import filters

KEPT = {"sharpen": (), "gaussian": (5, 1.2), "moving_average": (3,)}  # kernels that sum to 1
FOUND = {"edge": (), "strong_edge": (), "sobel": (1,)}  # kernels that sum to 0
OTHERS = {"apply": "applies a kernel", "diagonal": "a matched filter, which is scaled by its size"}
IMAGE = np.random.default_rng(0).normal(size=(9, 8, 2)).astype(np.float32)


def test_kernels_keep_brightness_or_answer_nothing_on_an_even_area():
    assert {*KEPT, *FOUND, *OTHERS} == {*filters.__all__}
    even = np.full((7, 7, 2), 0.5, np.float32)
    for name, arguments in {**KEPT, **FOUND}.items():
        kernel = getattr(filters, name)(*arguments)
        assert kernel.dtype == np.float32
        answer = filters.apply(even, kernel, padding="VALID")
        np.testing.assert_allclose(answer, 0.5 if name in KEPT else 0.0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", [*KEPT, *FOUND])
def test_every_channel_is_scipys_correlation(name):
    kernel = getattr(filters, name)(*{**KEPT, **FOUND}[name])
    found = jax.jit(filters.apply)(IMAGE, kernel)
    for channel in range(2):
        expected = ndimage.correlate(IMAGE[..., channel], kernel, mode="constant")
        np.testing.assert_allclose(found[..., channel], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(filters.apply(np.stack([IMAGE, 2 * IMAGE]), kernel)[1], 2 * found, rtol=1e-5, atol=1e-5)


def test_they_are_scipys_filters():
    plane = IMAGE[..., :1]
    inner = lambda y: np.asarray(y)[2:-2, 2:-2]
    for axis in (0, 1):
        expected = ndimage.sobel(plane[..., 0], axis)
        np.testing.assert_allclose(inner(filters.apply(plane, filters.sobel(axis))[..., 0]), inner(expected), atol=1e-5)
    expected = ndimage.gaussian_filter(plane[..., 0], 0.8, radius=2)
    np.testing.assert_allclose(
        inner(filters.apply(plane, filters.gaussian(5, 0.8))[..., 0]), inner(expected), atol=1e-5
    )
    expected = ndimage.laplace(plane[..., 0])
    np.testing.assert_allclose(inner(filters.apply(plane, filters.edge())[..., 0]), inner(expected), atol=1e-5)
    np.testing.assert_allclose(filters.gaussian(4, 0.01, ndim=1), [0, 0.5, 0.5, 0])  # no 0/0
    np.testing.assert_allclose(filters.moving_average(4, ndim=1), [0.25] * 4)


def test_the_worked_x():
    """The published answer for the falling stroke on a 9×9 X, first row, with digits cut after the second."""
    x = -np.ones((9, 9, 1), np.float32)
    for i in range(1, 8):
        x[i, i] = x[i, 8 - i] = 1
    found = filters.apply(x, filters.diagonal(), padding="VALID")[..., 0]
    assert found.shape == (7, 7)
    np.testing.assert_array_equal(np.trunc(100 * found[0] + 1e-3 * np.sign(found[0])), [77, -11, 11, 33, 55, -11, 33])
    np.testing.assert_allclose(found[1, 1], 1, rtol=1e-6)  # the stroke fits
    rising = filters.apply(x, filters.diagonal(rising=True), padding="VALID")[..., 0]
    np.testing.assert_allclose(rising, np.asarray(found)[:, ::-1], rtol=1e-6)


def test_feature_maps_are_the_intermediate_results():
    net = nn.serial(
        conv1=nn.Conv(3, 3), pair=nn.residual(jnp.tanh), pool=nn.MaxPool(2), flatten=nn.flatten, fc=nn.Dense(2)
    )
    params, state = net.init(jax.random.key(0), (8, 8, 1))
    image = IMAGE[:8, :8, :1]
    found = analysis.feature_maps(net, params, state, image)
    x = image[None]
    for name, part in net.children.items():
        x, _ = part.apply(params.get(name, {}), state.get(name, {}), x)
        if not part.children:
            np.testing.assert_allclose(found[name], x[0], rtol=1e-5, atol=1e-6, err_msg=name)
    assert [*found] == [path for path in nn.paths(net) if not nn.at(net, path).children]
    some = jax.jit(lambda image: analysis.feature_maps(net, params, state, image, ["conv1"]))(image)
    assert [*some] == ["conv1"]
    with pytest.raises(ValueError, match=r"image has shape \(1, 8, 8, 1\); expected one image"):
        analysis.feature_maps(net, params, state, image[None])
    with pytest.raises(ValueError, match="path: got 'conv9', which does not exist"):
        analysis.feature_maps(net, params, state, image, ["conv9"])


def brightest(images):
    """Classify an image by the column of its brightest pixel."""
    return jnp.max(images, (1, 3))


def test_robustness_counts_the_shift_that_leaves_the_image():
    columns = np.arange(5)
    images = np.eye(5, dtype=np.float32)[columns][:, None, :, None] * np.ones((1, 5, 1, 1), np.float32)
    shift = lambda key, image, amount: data.transforms.shifted(image, 0, amount.astype(int))
    for size in (2, 500):
        found = analysis.robustness(
            jax.random.key(0), brightest, images, columns, shift, np.float32([0, 1, 7]), batch_size=size
        )
        np.testing.assert_allclose(found, [1, 0, 0.2])  # an empty image counts as column 0
    noisy = lambda key, image, amount: image + amount * jax.random.normal(key, image.shape)
    found = analysis.robustness(jax.random.key(1), brightest, images, columns, noisy, np.float32([0, 50, 50]))
    assert found[0] == 1
    assert found[1] == found[2]  # the same key at all amounts


@pytest.mark.parametrize("name", changes.__all__)
def test_a_change_of_zero_is_none_and_every_other_keeps_shape_and_range(name):
    key, image = jax.random.key(3), np.random.default_rng(0).uniform(size=(12, 10, 1)).astype(np.float32)
    change = jax.jit(getattr(changes, name))
    np.testing.assert_allclose(change(key, image, 0.0), image, atol=1e-5)
    found = change(key, image, {"light": 0.4}.get(name, 4.0))
    assert found.shape == image.shape
    assert not np.allclose(found, image)
    assert 0 <= found.min() <= found.max() <= 1 + 1e-6


@pytest.mark.slow
def test_changes_by_hand():
    white, keys = np.ones((20, 20, 1), np.float32), jax.random.split(jax.random.key(0), 8)
    for key in keys:
        moved = np.asarray(changes.shift(key, white, 5.0))[..., 0]
        empty = 20 - np.array([moved.any(1).sum(), moved.any(0).sum()])
        assert abs(np.hypot(*empty) - 5) <= 1  # rows and columns that came in, rounded
        assert np.sum(changes.occlude(key, white, 6.0) == 0) == 36
        assert 9 <= np.sum(changes.clutter(key, 0 * white, 3.0)) <= 27
        lit = np.asarray(changes.light(key, 0 * white, 0.8))[0, :, 0]
        assert sorted([lit[0], lit[-1]]) == pytest.approx([0, 0.8])
    inner = np.asarray(changes.shrink(keys[0], white, 50.0))[..., 0]
    assert inner[5:15, 5:15].min() == pytest.approx(1)
    assert inner[:4].max() == 0
    turned = {float(np.asarray(changes.rotate(key, np.triu(white[..., 0])[..., None], 90.0))[0, 0, 0]) for key in keys}
    assert {round(one) for one in turned} == {0, 1}  # to both sides


def test_what_robustness_cannot_measure_is_named():
    images, labels, key = np.zeros((2, 4, 4, 1), np.float32), np.array([0, 1]), jax.random.key(0)
    same = lambda key, image, amount: image
    measure = lambda **changed: analysis.robustness(
        **{"key": key, "classify": brightest, "images": images, "labels": labels, "change": same,
           "amounts": np.float32([0]), **changed}
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"images have shape \(2, 4, 4, 1\), labels \(1,\)"):
        measure(labels=labels[:1])
    with pytest.raises(ValueError, match="n at least 1"):
        measure(images=images[:0], labels=labels[:0])
    with pytest.raises(ValueError, match="batch_size=0: must be at least 1"):
        measure(batch_size=0)
    with pytest.raises(ValueError, match=r"change: makes shape \(2, 4, 1\) of \(4, 4, 1\)"):
        measure(change=lambda key, image, amount: image[:2])
    assert measure(amounts=np.float32([])).shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: filters.apply(IMAGE[0], filters.edge()), r"image has shape \(8, 2\), kernel \(3, 3\); expected"),
        (lambda: filters.sobel(2), "axis=2: allowed are 0, for rows, and 1, for columns"),
        (lambda: filters.gaussian(0, 1), "size=0: must be at least 1"),
        (lambda: filters.gaussian(3, 0), "sigma=0: allowed are finite numbers above 0"),
        (lambda: filters.gaussian(3, float("nan")), "sigma=nan"),
        (lambda: filters.moving_average(3, ndim=3), "ndim=3: allowed are 1, for signals, and 2, for images"),
        (lambda: filters.diagonal(0), "size=0"),
    ],
)
def test_bad_arguments_of_kernels_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

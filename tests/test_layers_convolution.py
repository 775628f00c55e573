"""Convolutions against a plain numpy loop, scipy.signal and the lectures' worked examples."""

import itertools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl import layers

SETTINGS = settings(max_examples=25, deadline=None, derandomize=True)


def amounts(n, k, s, d, padding):
    """Return the amounts that a padding's name stands for, by its definition."""
    extent = (k - 1) * d + 1
    if padding == "SAME":
        total = 0
        while (n + total - extent) // s + 1 < -(-n // s):  # the least padding that gives ceil(n / s) outputs
            total += 1
        return total // 2, total - total // 2
    return {"VALID": (0, 0), "FULL": (extent - 1, extent - 1)}.get(padding, (padding, padding))


def loop_conv2d(x, kernel, stride, padding, dilation, groups):
    """Cross-correlate one image, place by place and group by group."""
    pads = [amounts(n, k, stride, dilation, padding) for n, k in zip(x.shape, kernel.shape[:2], strict=False)]
    x = np.pad(x, [*pads, (0, 0)])
    kh, kw, c_group, c_out = kernel.shape
    shape = [(n - (k - 1) * dilation - 1) // stride + 1 for n, k in zip(x.shape, (kh, kw), strict=False)]
    y = np.zeros((*shape, c_out))
    for i, j, p, q, o in itertools.product(*map(range, (*shape, kh, kw, c_out))):
        first = o // (c_out // groups) * c_group  # the first input channel of this output's group
        pixel = x[i * stride + p * dilation, j * stride + q * dilation, first : first + c_group]
        y[i, j, o] += pixel @ kernel[p, q, :, o]
    return y


@st.composite
def convolutions(draw):
    """Draw shapes and options such that the window fits."""
    k, s, d = (draw(st.tuples(*[st.integers(1, 3)] * 2)), draw(st.integers(1, 3)), draw(st.integers(1, 2)))
    padding = draw(st.sampled_from(["SAME", "VALID", "FULL", 1, 2]))
    h, w = (draw(st.integers((one - 1) * d + 1, 7)) for one in k)
    groups = draw(st.integers(1, 2))
    c_in, c_out = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x, kernel = rng.normal(size=(h, w, c_in)), rng.normal(size=(*k, c_in // groups, c_out))
    return x, kernel, {"stride": s, "padding": padding, "dilation": d, "groups": groups}


@SETTINGS
@given(convolutions())
def test_conv2d_is_the_loop(drawn):
    x, kernel, options = drawn
    y = layers.conv2d(x.astype(np.float32), kernel.astype(np.float32), **options)
    np.testing.assert_allclose(y, loop_conv2d(x, kernel, **options), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@SETTINGS
@given(convolutions())
def test_conv_transpose2d_is_the_transpose_of_conv2d(drawn):
    """⟨conv(u, k), x⟩ = ⟨u, convT(x, k with exchanged channel axes)⟩ for every u of a fitting shape."""
    x, kernel, options = drawn
    options["groups"] = 1
    if (options["padding"] != "SAME" and np.isscalar(options["padding"])) or options["padding"] == "FULL":
        options["padding"] = "VALID"
    kernel = np.float32(kernel)
    exchanged = kernel.swapaxes(2, 3)  # its input channels are x's, its outputs as many as the kernel's
    x = np.float32(np.random.default_rng(1).normal(size=(*x.shape[:2], kernel.shape[3])))
    y = layers.conv_transpose2d(x, exchanged, **options)
    u = np.random.default_rng(2).normal(size=y.shape)
    there = loop_conv2d(u, kernel, **options)
    assert there.shape == x.shape
    np.testing.assert_allclose(np.vdot(there, x), np.vdot(u, y), rtol=1e-4, atol=1e-4)


def test_conv_transpose2d_crops_what_ints_and_pairs_say():
    x, kernel = jnp.arange(12.0).reshape(3, 4, 1), jnp.arange(9.0).reshape(3, 3, 1, 1)
    full = np.zeros((7, 9))
    for i, j, p, q in itertools.product(range(3), range(4), range(3), range(3)):
        full[2 * i + p, 2 * j + q] += x[i, j, 0] * kernel[p, q, 0, 0]
    valid = layers.conv_transpose2d(x, kernel, stride=2, padding="VALID")
    np.testing.assert_allclose(valid[..., 0], full)
    np.testing.assert_allclose(layers.conv_transpose2d(x, kernel, stride=2, padding=1)[..., 0], full[1:-1, 1:-1])
    pairs = layers.conv_transpose2d(x, kernel, stride=2, padding=((1, 0), (0, 2)))
    np.testing.assert_allclose(pairs[..., 0], full[1:, :-2])


def test_conv_transpose2d_in_groups_is_one_per_group():
    rng = np.random.default_rng(0)
    x, kernel = np.float32(rng.normal(size=(3, 3, 4))), np.float32(rng.normal(size=(2, 2, 2, 6)))
    together = layers.conv_transpose2d(x, kernel, stride=2, groups=2)
    apart = [
        layers.conv_transpose2d(x[..., 2 * g : 2 * g + 2], kernel[..., 3 * g : 3 * g + 3], stride=2) for g in (0, 1)
    ]
    np.testing.assert_allclose(together, np.concatenate(apart, -1), rtol=1e-5, atol=1e-6)


def test_leading_dimensions_are_free_and_may_be_empty():
    rng = np.random.default_rng(0)
    x, kernel = np.float32(rng.normal(size=(2, 3, 5, 6, 2))), np.float32(rng.normal(size=(3, 3, 2, 4)))
    y = layers.conv2d(x, kernel, jnp.ones(4))
    assert y.shape == (2, 3, 5, 6, 4)
    np.testing.assert_allclose(y[1, 2], loop_conv2d(x[1, 2], kernel, 1, "SAME", 1, 1) + 1, rtol=1e-4, atol=1e-5)
    assert layers.conv2d(x[:0], kernel).shape == (0, 3, 5, 6, 4)
    assert layers.conv_transpose2d(x, kernel, stride=2).shape == (2, 3, 10, 12, 4)


def test_paddings_per_axis():
    x, kernel = jnp.ones((4, 5, 1)), jnp.ones((3, 3, 1, 1))
    assert layers.conv2d(x, kernel, padding=((1, 0), (2, 2))).shape == (3, 7, 1)
    assert layers.conv2d(x, kernel, padding=(0, 1)).shape == (2, 5, 1)
    assert layers.conv2d(x, kernel, padding=("VALID", "SAME"), stride=(1, 2)).shape == (2, 3, 1)


def test_gradients_are_those_of_the_loop():
    """⟨conv(x, k), g⟩ is linear in each argument, so the loop on unit vectors gives both gradients."""
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(4, 4, 2)), rng.normal(size=(2, 2, 1, 2))
    options = {"stride": 2, "padding": 1, "dilation": 1, "groups": 2}
    g = rng.normal(size=(3, 3, 2))
    dx, dk = jax.grad(lambda x, k: jnp.vdot(layers.conv2d(x, k, **options), np.float32(g)), (0, 1))(
        np.float32(x), np.float32(kernel)
    )
    units = [np.vdot(loop_conv2d(e.reshape(x.shape), kernel, **options), g) for e in np.eye(x.size)]
    np.testing.assert_allclose(dx.ravel(), units, rtol=1e-4, atol=1e-5)
    units = [np.vdot(loop_conv2d(x, e.reshape(kernel.shape), **options), g) for e in np.eye(kernel.size)]
    np.testing.assert_allclose(dk.ravel(), units, rtol=1e-4, atol=1e-5)


def test_vmap_over_kernels_is_an_ensemble():
    rng = np.random.default_rng(0)
    x, kernels = np.float32(rng.normal(size=(2, 5, 5, 2))), np.float32(rng.normal(size=(3, 3, 3, 2, 4)))
    for f in (layers.conv2d, layers.conv_transpose2d):
        together = jax.vmap(lambda kernel, f=f: f(x, kernel, stride=2))(kernels)
        apart = np.stack([f(x, kernel, stride=2) for kernel in kernels])
        np.testing.assert_allclose(together, apart, rtol=1e-5, atol=1e-5)


LECTURE_M = [[7, 2, 3, 3, 8], [4, 5, 3, 8, 4], [3, 3, 2, 8, 4], [2, 8, 7, 2, 7], [5, 4, 4, 5, 4]]
LECTURE_S = [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]]


@pytest.mark.parametrize(
    ("image", "kernel", "expected"),
    [
        (LECTURE_M, [[1, 0, -1]] * 3, [[6, -9, -8], [-3, -2, -3], [-3, 0, -2]]),
        (LECTURE_S, [[1, 0, 1], [0, 1, 0], [1, 0, 1]], [[4, 3, 4], [2, 4, 3], [2, 3, 4]]),
    ],
)
def test_worked_cross_correlations(image, kernel, expected):
    """The lecture's worked numbers [Lecture row H2]."""
    y = layers.conv2d(jnp.array(image, float)[..., None], jnp.array(kernel, float)[..., None, None], padding="VALID")
    np.testing.assert_array_equal(y[..., 0], expected)


def test_worked_full_convolution():
    """The lecture's full convolution [Lecture row H2]."""
    x, kernel = jnp.array([[1.0, 3, 1], [0, -1, 1], [2, 2, -1]]), jnp.array([[1.0, 2], [0, -1]])
    expected = [[1, 5, 7, 2], [0, -2, -4, 1], [2, 6, 4, -3], [0, -2, -2, 1]]
    np.testing.assert_array_equal(layers.convolve2d(x, kernel), expected)


def test_lecture_filter_with_stride_two():
    """A 4×4 filter with stride 2 on 8×8; 6 filters of 5×5 take 32×32×3 to 28×28×6 [Lecture rows H2, H3]."""
    assert layers.conv2d(jnp.ones((8, 8, 1)), jnp.ones((4, 4, 1, 1)), stride=2, padding="VALID").shape == (3, 3, 1)
    y = jax.eval_shape(lambda x, k: layers.conv2d(x, k, padding="VALID"), jnp.ones((32, 32, 3)), jnp.ones((5, 5, 3, 6)))
    assert y.shape == (28, 28, 6)


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (1, 5), (4, 1)])
def test_convolve_is_scipys(mode, shape):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 6, 7)), rng.normal(size=shape)
    y = layers.convolve2d(np.float32(x), np.float32(kernel), mode=mode)
    expected = [scipy.signal.convolve2d(image, kernel, mode) for image in x]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    y = layers.convolve1d(np.float32(x), np.float32(kernel[0]), mode=mode)
    expected = [[scipy.signal.convolve(row, kernel[0], mode) for row in image] for image in x]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_conv1d_of_the_lecture():
    """Several kernels in one layer, a causal average, and the options of two dimensions [Lecture row H1]."""
    x = np.float32(np.random.default_rng(0).normal(size=(2, 9, 1)))
    kernels = np.array([[-1, 0, 1], [1, -1, 1], [0.5, 1, 2], [0, 1, 3]], np.float32)
    y = layers.conv1d(x, kernels.T[:, None, :], padding="VALID")
    for o, kernel in enumerate(kernels):
        expected = [np.correlate(row, kernel, "valid") for row in x[..., 0]]
        np.testing.assert_allclose(y[..., o], expected, rtol=1e-5, atol=1e-6)
    causal = layers.conv1d(x, jnp.full((3, 1, 1), 1 / 3), padding=(2, 0))
    for n in range(9):
        np.testing.assert_allclose(causal[:, n, 0], x[:, max(n - 2, 0) : n + 1, 0].sum(1) / 3, rtol=1e-5, atol=1e-6)
    thin = layers.conv1d(x, kernels.T[:, None, :], stride=2, dilation=2, padding=1)
    wide = layers.conv2d(x[:, :, None], kernels.T[:, None, None, :], stride=2, dilation=(2, 1), padding=(1, 0))
    np.testing.assert_allclose(thin, wide[:, :, 0], rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtype_is_kept(dtype):
    x, kernel = jnp.ones((4, 4, 1), dtype), jnp.ones((3, 3, 1, 1), dtype)
    for f in (layers.conv2d, layers.conv_transpose2d):
        assert f(x, kernel).dtype == dtype
    assert layers.convolve2d(x[..., 0], kernel[..., 0, 0]).dtype == dtype


def test_integer_images_are_promoted(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    y = layers.conv2d(np.full((4, 4, 1), 200, np.uint8), jnp.ones((3, 3, 1, 1)), padding="VALID")
    np.testing.assert_array_equal(y, np.full((2, 2, 1), 1800.0))


IMAGE, KERNEL = jnp.ones((5, 5, 4)), jnp.ones((3, 3, 4, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.conv2d(IMAGE[0], KERNEL), r"x: got shape \(5, 4\)"),
        (lambda: layers.conv2d(IMAGE, KERNEL[0]), r"kernel: got shape \(3, 4, 2\)"),
        (lambda: layers.conv2d(IMAGE, KERNEL[:, :, :3]), "kernel: got 3 input channels, allowed are 4"),
        (lambda: layers.conv2d(IMAGE, KERNEL, groups=3), "groups: got 3, allowed are common divisors of 4"),
        (lambda: layers.conv2d(IMAGE, KERNEL, groups=2), "kernel: got 4 input channels, allowed are 2"),
        (lambda: layers.conv2d(IMAGE, KERNEL, stride=-1), "stride: got -1, allowed are ints ≥ 1"),
        (lambda: layers.conv2d(IMAGE, KERNEL, stride=(1, 2, 3)), r"stride: got \(1, 2, 3\)"),
        (lambda: layers.conv2d(IMAGE, KERNEL, dilation=0), "dilation: got 0"),
        (lambda: layers.conv2d(IMAGE, KERNEL, padding="half"), "padding: got 'half', allowed are 'SAME'"),
        (lambda: layers.conv2d(IMAGE, KERNEL, padding=-1), "padding: got -1"),
        (lambda: layers.conv2d(IMAGE, KERNEL, dilation=3, padding="VALID"), r"window: got 3 \(dilation 3.*length 5"),
        (lambda: layers.conv2d(IMAGE, KERNEL, jnp.ones(4)), r"bias: got shape \(4,\), allowed is \(2,\)"),
        (lambda: layers.conv_transpose2d(IMAGE, KERNEL, padding=4), "padding: got 4, which leaves -1"),
        (lambda: layers.convolve2d(IMAGE, KERNEL[..., 0, 0], mode="FULL"), "mode: got 'FULL', allowed are 'full'"),
        (lambda: layers.convolve2d(IMAGE[:2, :2, 0], KERNEL[..., 0, 0], mode="valid"), "window: got 3"),
        (lambda: layers.convolve2d(IMAGE[..., 0], KERNEL[0, 0, 0]), "x, kernel: got 2 and 1 axes"),
    ],
)
def test_mistakes_are_named(monkeypatch, call, message):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        call()


def test_a_convolution_and_its_gradient_run_with_jit_disabled():
    x, kernel = jnp.arange(32.0).reshape(1, 4, 4, 2), jnp.ones((3, 3, 2, 3))
    loss = lambda x, kernel: jnp.sum(layers.conv2d(x, kernel) ** 2)
    expected = jax.grad(loss, (0, 1))(x, kernel)
    with jax.disable_jit():  # as one does to debug
        found = jax.grad(loss, (0, 1))(x, kernel)
    jax.tree.map(np.testing.assert_array_equal, found, expected)

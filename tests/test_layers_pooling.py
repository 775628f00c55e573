"""Pools against a numpy loop and the lectures' worked example; ties, NaN, infinities, borders."""

import functools
import itertools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl import activations, backprop, layers

SETTINGS = settings(max_examples=20, deadline=None, derandomize=True)
# every example compiles programs of its own, which run once
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def windows(shape, window, stride, padding):
    """Return the pixels of each window inside the image, in row-major order: {(i, j): [(row, column), ...]}."""
    lows, counts = [], []
    for n, k, s, p in zip(shape, window, stride, padding, strict=True):
        if p == "SAME":
            counts.append(-(-n // s))
            lows.append(max((counts[-1] - 1) * s + k - n, 0) // 2)
        else:
            low, high = (0, 0) if p == "VALID" else (p, p) if isinstance(p, int) else p
            counts.append((n + low + high - k) // s + 1)
            lows.append(low)
    return {
        (i, j): [
            (row, column)
            for p, q in itertools.product(range(window[0]), range(window[1]))
            if 0 <= (row := i * stride[0] + p - lows[0]) < shape[0]
            and 0 <= (column := j * stride[1] + q - lows[1]) < shape[1]
        ]
        for i, j in itertools.product(range(counts[0]), range(counts[1]))
    }


def loop_pool(x, f, window, stride, padding):
    """Apply f to the pixels (m, c) of each window of one image."""
    places = windows(x.shape[:2], window, stride, padding)
    height, width = (max(ij) + 1 for ij in zip(*places, strict=True))
    y = np.zeros((height, width, x.shape[2]))
    for (i, j), pixels in places.items():
        y[i, j] = f(np.array([x[pixel] for pixel in pixels]))
    return y


def loop_max_gradient(x, g, window, stride, padding):
    """Give each window's g to its first maximum in row-major order."""
    dx = np.zeros_like(x)
    for (i, j), pixels in windows(x.shape[:2], window, stride, padding).items():
        for c in range(x.shape[2]):
            first = int(np.argmax([x[pixel][c] for pixel in pixels]))
            dx[(*pixels[first], c)] += g[i, j, c]
    return dx


@st.composite
def pools(draw):
    """Draw an image with many ties, and fitting options."""
    window = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.sampled_from([window, (1, 1), (2, 2), (1, 3)]))
    padding = tuple(draw(st.sampled_from(["VALID", "SAME", (k // 2, 0), k // 2])) for k in window)
    h, w = (draw(st.integers(k, 7)) for k in window)
    x = np.random.default_rng(draw(st.integers(0, 99))).integers(-2, 3, (h, w, 2)).astype(np.float32)
    return x, {"window": window, "stride": stride, "padding": padding}


@pytest.mark.slow
@SETTINGS
@given(pools())
def test_max_pool_its_gradient_and_its_argmax_are_the_loops(drawn):
    x, options = drawn
    expected = loop_pool(x, lambda pixels: pixels.max(0), **options)
    g = np.random.default_rng(0).integers(-9, 9, expected.shape).astype(np.float32)

    @quick_jit
    def everything(x, g):
        y, vjp = jax.vjp(lambda x: layers.max_pool2d(x, **options), x)
        argmax = layers.max_pool2d_argmax(x, **options)
        return layers.max_pool2d(x, **options), y, vjp(g)[0], argmax, layers.max_unpool2d(g, argmax, size=x.shape[:2])

    alone, y, dx, argmax, unpooled = everything(x, g)
    np.testing.assert_array_equal(alone, expected)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(dx, loop_max_gradient(x, g, **options))
    np.testing.assert_array_equal(unpooled, dx)
    rows, columns = np.divmod(argmax, x.shape[1])
    np.testing.assert_array_equal(x[rows, columns, np.arange(2)], y)


@SETTINGS
@given(pools())
def test_averages_and_norms_are_the_loops(drawn):
    x, options = drawn
    (kh, kw), close = options["window"], {"rtol": 1e-5, "atol": 1e-6}

    @quick_jit
    def everything(x):
        mean, counted = (layers.avg_pool2d(x, count_padding=count, **options) for count in (False, True))
        return mean, counted, layers.l2_pool2d(x, **options)

    mean, counted, norm = everything(x)
    np.testing.assert_allclose(mean, loop_pool(x, lambda pixels: pixels.mean(0), **options), **close)
    np.testing.assert_allclose(counted, loop_pool(x, lambda pixels: pixels.sum(0) / (kh * kw), **options), **close)
    np.testing.assert_allclose(norm, loop_pool(x, lambda pixels: np.linalg.norm(pixels, axis=0), **options), **close)


@SETTINGS
@given(pools())
def test_weighted_pool_is_the_loop(drawn):
    x, options = drawn
    weights = np.random.default_rng(0).uniform(0.5, 2, options.pop("window")).astype(np.float32)
    places = windows(x.shape[:2], weights.shape, options["stride"], options["padding"])
    y = np.asarray(quick_jit(lambda x: layers.weighted_pool2d(x, weights, **options))(x))
    for (i, j), pixels in places.items():
        low = place_of_first(x.shape[:2], weights.shape, i, j, options)
        w = np.array([weights[row - low[0], column - low[1]] for row, column in pixels])
        expected = (w[:, None] * np.array([x[pixel] for pixel in pixels])).sum(0) / w.sum()
        np.testing.assert_allclose(y[i, j], expected, rtol=1e-4, atol=1e-5)


def place_of_first(shape, window, i, j, options):
    """Return where the window (i, j) begins, possibly outside the image."""
    begins = []
    for index, n, k, s, p in zip((i, j), shape, window, options["stride"], options["padding"], strict=True):
        total = max((-(-n // s) - 1) * s + k - n, 0)
        low = {"SAME": total // 2, "VALID": 0}.get(p) if isinstance(p, str) else p if isinstance(p, int) else p[0]
        begins.append(index * s - low)
    return begins


def test_worked_example():
    """The lecture's numbers [Lecture row H5]."""
    x = jnp.array([[1.0, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]])[..., None]
    np.testing.assert_array_equal(layers.max_pool2d(x)[..., 0], [[6, 8], [3, 4]])
    np.testing.assert_array_equal(layers.avg_pool2d(x)[..., 0], [[3.25, 5.25], [2, 2]])
    np.testing.assert_array_equal(layers.max_pool2d_argmax(x)[..., 0], [[5, 7], [8, 15]])
    unpooled = layers.max_unpool2d(layers.max_pool2d(x), layers.max_pool2d_argmax(x), size=(4, 4))
    np.testing.assert_array_equal(unpooled[..., 0], [[0, 0, 0, 0], [0, 6, 0, 8], [3, 0, 0, 0], [0, 0, 0, 4]])
    np.testing.assert_allclose(layers.l2_pool2d(x)[0, 0, 0], np.sqrt(1 + 1 + 25 + 36), rtol=1e-6)


def test_global_pools():
    x = np.random.default_rng(0).integers(-3, 4, (2, 3, 4, 5, 6)).astype(np.float32)
    np.testing.assert_allclose(layers.global_avg_pool2d(x), x.mean((2, 3)), rtol=1e-5, atol=1e-6)
    y, vjp = jax.vjp(layers.global_max_pool2d, x)
    np.testing.assert_array_equal(y, x.max((2, 3)))
    dx = vjp(jnp.ones_like(y))[0][1, 2]
    whole = {"window": (4, 5), "stride": (1, 1), "padding": (0, 0)}
    np.testing.assert_array_equal(dx, loop_max_gradient(x[1, 2], np.ones((1, 1, 6)), **whole))


def test_where_max_fails_and_where_average_fails():
    """The maximum loses a black line on white, the average a white dot on black [Lecture row H5]."""
    line = jnp.ones((4, 4, 1)).at[0].set(0)
    np.testing.assert_array_equal(layers.max_pool2d(line), np.ones((2, 2, 1)))
    assert layers.avg_pool2d(line).min() == 0.5
    dot = jnp.zeros((4, 4, 1)).at[0, 0].set(1)
    assert layers.avg_pool2d(dot, window=4).max() == 1 / 16
    assert layers.max_pool2d(dot, window=4).max() == 1


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("options", [{}, {"window": 3, "stride": 1, "padding": 1}])
def test_nan_propagates_from_any_place(place, options):
    x = jnp.ones((2, 2, 1)).at[place // 2, place % 2].set(jnp.nan)
    for pool in (layers.max_pool2d, layers.avg_pool2d, layers.l2_pool2d):
        assert np.isnan(pool(x, **options)).all()
    assert np.isnan(layers.global_max_pool2d(x)).all()
    assert (layers.max_pool2d_argmax(x, **options) == place).all()


@pytest.mark.parametrize("differentiated", [False, True])
def test_nan_goes_through_a_convolution_a_rectifier_and_a_pool_in_one_program(differentiated):
    """XLA on CPU fuses the three if the pool is a `reduce_window`, and the fused kernel loses NaN (jaxlib 0.10.2)."""
    x = np.random.default_rng(0).normal(size=(8, 28, 28, 1)).astype(np.float32)
    x[3, 5, 6] = np.nan
    kernel = np.random.default_rng(1).normal(size=(5, 5, 1, 32)).astype(np.float32)

    def run(x):
        return layers.max_pool2d(activations.relu(layers.conv2d(x, kernel, padding=2)))

    y = np.asarray(jax.jit(lambda x: jax.vjp(run, x)[0] if differentiated else run(x))(x))
    expected = np.zeros(y.shape, bool)
    expected[3, 1:4, 2:5] = True  # windows of the outputs 3 ... 7 and 4 ... 8
    np.testing.assert_array_equal(np.isnan(y), expected)
    zeros = np.nan_to_num(x)
    np.testing.assert_allclose(y[~expected], np.asarray(run(zeros))[~expected], rtol=1e-5, atol=1e-5)


def test_infinities():
    x = jnp.array([[-jnp.inf, -jnp.inf], [-jnp.inf, -5]])[..., None]
    assert layers.max_pool2d(x)[0, 0, 0] == -5
    np.testing.assert_array_equal(layers.max_pool2d(x[:1], padding=((1, 0), (1, 1)))[..., 0], [[-jnp.inf] * 2])
    np.testing.assert_array_equal(layers.max_pool2d_argmax(x[:1], padding=((1, 0), (1, 1)))[..., 0], [[0, 1]])
    assert layers.max_pool2d(-x)[0, 0, 0] == jnp.inf
    assert jax.vjp(layers.max_pool2d, -x)[0][0, 0, 0] == jnp.inf
    assert layers.l2_pool2d(x)[0, 0, 0] == jnp.inf


def test_padding_is_never_the_maximum_also_of_integers():
    x = jnp.full((3, 3, 1), -7, jnp.int32)
    np.testing.assert_array_equal(layers.max_pool2d(x, padding="SAME"), np.full((2, 2, 1), -7))
    assert layers.max_pool2d(jnp.full((3, 3, 1), 9, jnp.uint8), padding=1).dtype == jnp.uint8


def test_l2_pool_at_zero_has_gradient_zero_in_every_order():
    def total(x):
        return layers.l2_pool2d(x.reshape(2, 4, 1)).sum()

    x = jnp.array([0.0, 0, 3, 0, 0, 0, 0, 4])
    np.testing.assert_allclose(jax.grad(total)(x), [0, 0, 0.6, 0, 0, 0, 0, 0.8], atol=1e-6)
    assert np.isfinite(jax.jit(jax.hessian(total))(x)).all()
    np.testing.assert_array_equal(jax.grad(total)(x * 0), 0)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_dtype_is_kept_and_sums_are_wide(dtype):
    x = jnp.full((16, 32, 1), 255, dtype)
    for pool in (layers.max_pool2d, layers.avg_pool2d, layers.l2_pool2d):
        assert pool(x).dtype == dtype
    assert layers.avg_pool2d(x, window=(16, 32))[0, 0, 0] == 255  # the sum, 130,560, overflows float16
    weighted = layers.weighted_pool2d(x, jnp.ones((2, 2), dtype))
    assert weighted.dtype == dtype
    assert layers.global_avg_pool2d(x).dtype == layers.global_max_pool2d(x).dtype == dtype


@pytest.mark.slow
def test_leading_dimensions_are_free_and_may_be_empty():
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 6, 2)).astype(np.float32)
    for pool in (layers.max_pool2d, layers.avg_pool2d, layers.l2_pool2d, layers.max_pool2d_argmax):
        y = pool(x)
        assert y.shape == (2, 3, 3, 3, 2)
        np.testing.assert_array_equal(y[1, 2], pool(x[1, 2]))
        assert pool(x[:0]).shape == (0, 3, 3, 3, 2)
    y, argmax = layers.max_pool2d(x), layers.max_pool2d_argmax(x)
    unpooled = layers.max_unpool2d(y, argmax, size=(6, 6))
    np.testing.assert_array_equal(unpooled[1, 0], layers.max_unpool2d(y[1, 0], argmax[1, 0], size=(6, 6)))
    assert layers.max_unpool2d(y[:0], argmax[:0], size=(6, 6)).shape == (0, 3, 6, 6, 2)


def test_unpooling_adds_where_windows_overlap_and_drops_what_lies_outside():
    argmax = jnp.array([[1, 1, -1, 4]])[..., None]
    unpooled = layers.max_unpool2d(jnp.array([[2.0, 3, 5, 7]])[..., None], argmax, size=(2, 2))
    np.testing.assert_array_equal(unpooled[..., 0], [[0, 5], [0, 0]])


# ---------------------------------------------------------------- derivatives, in the modes that the laws do not cover

POOLS = {
    "max": layers.max_pool2d,
    "max, overlapping": functools.partial(layers.max_pool2d, window=3, stride=2, padding="SAME"),
    "average": functools.partial(layers.avg_pool2d, padding=1),
    "L2": functools.partial(layers.l2_pool2d, window=(3, 2), stride=(2, 1)),
    "weighted": lambda x: layers.weighted_pool2d(x, jnp.array([[1.0, 2], [3, 4]])),
}
over_pools = pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)


def images(*lead):
    return jax.random.normal(jax.random.key(3), (*lead, 5, 6, 2))


def slope(pool):
    return jax.grad(lambda x: jnp.sum(jnp.sin(3 * pool(x))))


@over_pools
def test_reverse_mode_runs_the_hand_written_backward_pass(pool):
    text = str(jax.make_jaxpr(slope(pool))(images()))
    assert text.count("_transposed[") == 1


@over_pools
def test_mapped_twice_over_each_argument_of_a_derivative(pool):
    x, t = images(2, 3), jnp.cos(images(2, 3))
    along = lambda x, t: jax.jvp(slope(pool), (x,), (t,))[1]
    loop = jax.jit(lambda x, t: jnp.stack([jnp.stack([along(x[i, j], t[i, j]) for j in range(3)]) for i in range(2)]))
    tangents = jax.jit(jax.vmap(jax.vmap(along, (None, 0)), (None, 0)))(x[0, 0], t)
    np.testing.assert_allclose(tangents, loop(jnp.broadcast_to(x[0, 0], x.shape), t), rtol=1e-4, atol=1e-4)
    turned = jax.jit(jax.vmap(jax.vmap(along, (0, None), 1), (1, None), 2))(x, t[0, 0])
    expected = loop(x, jnp.broadcast_to(t[0, 0], t.shape))
    np.testing.assert_allclose(jnp.moveaxis(turned, (1, 2), (0, 1)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["max, overlapping", "L2"])
def test_a_batch_over_devices_has_the_same_derivative(name):
    pool, x = POOLS[name], images(8)
    expected = jax.jit(slope(pool))(x)
    mapped = jax.pmap(slope(pool))(x.reshape(4, 2, *x.shape[1:]))
    np.testing.assert_allclose(mapped.reshape(x.shape), expected, rtol=1e-5, atol=1e-6)
    mesh = jax.make_mesh((4,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.device_put(x, jax.NamedSharding(mesh, jax.P("i")))
    np.testing.assert_allclose(jax.jit(slope(pool))(split), expected, rtol=1e-5, atol=1e-6)
    local = jax.shard_map(slope(pool), mesh=mesh, in_specs=jax.P("i"), out_specs=jax.P("i"))
    np.testing.assert_allclose(jax.jit(local)(split), expected, rtol=1e-5, atol=1e-6)


def test_a_maximum_of_minus_infinity_has_its_gradient_in_the_image():
    x = jnp.full((2, 3, 1), -jnp.inf)
    dx = jax.grad(lambda x: layers.max_pool2d(x, window=3, stride=2, padding=1).sum())(x)
    np.testing.assert_array_equal(dx[..., 0], [[1, 1, 0], [0, 0, 0]])


IMAGE = jnp.ones((5, 5, 2))


@pytest.mark.parametrize("pool", [layers.max_pool2d, layers.avg_pool2d, layers.l2_pool2d, layers.max_pool2d_argmax])
def test_mistakes_are_named(monkeypatch, pool):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for call, message in [
        (lambda: pool(IMAGE[0]), r"x: got shape \(5, 2\), allowed are images \(\.\.\., h, w, c\)"),
        (lambda: pool(IMAGE[:0]), r"x: got shape \(0, 5, 2\)"),
        (lambda: pool(IMAGE, window=6), "window: got 6.*at most the padded input length 5"),
        (lambda: pool(IMAGE, window=0), "window: got 0, allowed are ints ≥ 1"),
        (lambda: pool(IMAGE, stride=-2), "stride: got -2, allowed are ints ≥ 1"),
        (lambda: pool(IMAGE, padding=2), "padding: got 2, allowed is less than the window 2"),
        (lambda: pool(IMAGE, padding="half"), "padding: got 'half'"),
        (lambda: pool(IMAGE, window=(2, 2, 2)), r"window: got \(2, 2, 2\)"),
        (lambda: pool(IMAGE * 1j), "x: got dtype complex64, allowed are ints and floats"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_mistakes_of_the_others_are_named(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"weights: got shape \(2,\)"):
        layers.weighted_pool2d(IMAGE, jnp.ones(2))
    with pytest.raises(ValueError, match=r"argmax: got shape \(5, 5\)"):
        layers.max_unpool2d(IMAGE, jnp.ones((5, 5), int), size=(5, 5))
    with pytest.raises(ValueError, match=r"size: got \(5,\)"):
        layers.max_unpool2d(IMAGE, jnp.ones((5, 5, 2), int), size=(5,))
    with pytest.raises(ValueError, match="size: got -1, allowed are ints ≥ 1"):
        layers.max_unpool2d(IMAGE, jnp.ones((5, 5, 2), int), size=(5, -1))


def test_means_and_norms_of_integers_are_not_cut_off(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    x = np.arange(32, dtype=np.uint8).reshape(4, 4, 2)
    for pool in (
        layers.avg_pool2d,
        layers.l2_pool2d,
        lambda x: layers.weighted_pool2d(x, jnp.array([[1, 2], [3, 4]])),
        lambda x: backprop.avg_pool2d_forward(x)[0],
        lambda x: backprop.l2_pool2d_forward(x)[0],
        lambda x: backprop.weighted_pool2d_forward(x, jnp.array([[1, 2], [3, 4]]))[0],
    ):
        y = pool(x)
        assert y.dtype == jnp.float32
        np.testing.assert_array_equal(y, pool(x.astype(np.float32)))

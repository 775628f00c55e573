"""Distances of trees against numpy.spacing, bits worked by hand, and the documented corners."""

import math

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxdl import compare

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]
NAN, INF = math.nan, math.inf


def spacing(scale, dtype):
    """Return the gap above |scale|; numpy.spacing lacks bfloat16, whose gap comes from the next bit pattern."""
    scale = np.asarray(scale, dtype)
    if dtype is not ml_dtypes.bfloat16:
        return float(np.spacing(scale))
    upper = (scale.view(np.uint16) + 1).astype(np.uint16).view(dtype)
    return float(upper) - float(scale)


def scales(dtype):
    """Return normal and subnormal magnitudes, powers of two and others."""
    info = ml_dtypes.finfo(dtype)
    exponents = np.linspace(info.minexp - info.nmant, info.maxexp - 1, 12).astype(int)
    values = [f * 2.0 ** int(e) for e in exponents for f in (1.0, 1.3, 1.99)]
    return [s for s in (float(np.asarray(v, dtype)) for v in values) if 0 < s < float(info.max)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_leaf_ulps_is_the_difference_in_spacings_at_the_leafs_scale(dtype):
    tiny = float(ml_dtypes.finfo(dtype).smallest_subnormal)
    checked = 0
    for scale in scales(dtype):
        gap = spacing(scale, dtype)
        for steps in (1, 3):
            if steps * gap <= scale:
                a, b = np.asarray([scale, -scale, 0], dtype), np.asarray([scale, -scale, steps * gap], dtype)
                assert compare.leaf_ulps(a, b) == compare.leaf_ulps(b, a) == steps, (scale, gap)
                checked += 1
    assert checked > 40
    assert compare.leaf_ulps(np.zeros(2, dtype), np.asarray([0, tiny], dtype)) == 1


def test_leaf_ulps_by_hand():
    one = np.float32(1)
    # 1 and the next float: the spacing at 1 is 2⁻²³; just below 1 it is half of that, but the scale is 1
    assert compare.leaf_ulps(one, np.nextafter(one, np.float32(2))) == 1
    assert compare.leaf_ulps(one, np.nextafter(one, np.float32(0))) == 0.5
    assert compare.leaf_ulps(np.float32([1, 1e-30]), np.float32([1, -1e-30])) == pytest.approx(2e-30 * 2**23, rel=1e-6)
    assert compare.leaf_ulps(-one, one) == 2 * 2**23
    assert compare.leaf_ulps(np.float32(0.0), np.float32(-0.0)) == 0
    assert compare.leaf_ulps(jnp.ones((2, 2)), np.ones((2, 2), np.float32)) == 0
    assert type(compare.leaf_ulps(one, one)) is type(compare.leaf_ulps(one, -one)) is float


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1, 2], [1, NAN], NAN),
        ([1, NAN], [1, NAN], NAN),
        ([1, 2], [1, INF], NAN),
        ([1, -INF], [1, INF], NAN),
        ([INF, 1], [INF, 2], NAN),
        ([INF, 1], [INF, 1], 0),
        ([], [], 0),
    ],
)
def test_distances_of_infinities_and_nan(a, b, expected):
    for dtype in DTYPES:
        x, y = np.asarray(a, dtype), np.asarray(b, dtype)
        for pair in ((x, y), (y, x)):
            np.testing.assert_equal(compare.leaf_ulps(*pair), float(expected))
            np.testing.assert_equal(compare.max_relative(*pair), float(expected))


def test_nan_in_any_leaf_is_not_lost():
    clean, broken = np.float32([1, 2]), np.float32([1, NAN])
    for distance in (compare.max_ulps, compare.max_relative):
        for other in ([broken, clean, clean], [clean, broken, clean], [clean, clean, broken]):
            assert math.isnan(distance([clean] * 3, other))
        assert distance([clean] * 3, [clean] * 3) == 0
        assert distance({}, {}) == 0
        assert distance({"a": np.zeros((0, 3))}, {"a": np.zeros((0, 3))}) == 0


def test_integers_and_masks_agree_exactly_or_not_at_all():
    for a in (np.int32([1, 2]), np.array([True, False]), np.uint8([1, 0])):
        assert compare.leaf_ulps(a, a.copy()) == 0
        assert compare.leaf_ulps(a, a[::-1]) == INF


def test_trees():
    a = {"w": np.float32([4, 1]), "b": (np.float64(1), np.int32(3))}
    b = {"w": np.float32([4, 1.25]), "b": (np.float64(1.5), np.int32(3))}
    assert compare.max_relative(a, b) == pytest.approx(0.5 / 1.5)
    assert compare.max_ulps(a, b) == 0.5 / 2**-52
    assert compare.max_relative({"w": a["w"]}, {"w": b["w"]}) == 0.25 / 4
    assert compare.max_relative(np.zeros(3), np.zeros(3)) == 0
    assert compare.max_relative(np.zeros(3), np.full(3, 1e-300)) == 1


@pytest.mark.parametrize("distance", [compare.leaf_ulps, compare.max_ulps, compare.max_relative])
def test_leaves_must_be_alike(distance):
    ones = np.ones(3, np.float32)
    with pytest.raises(ValueError, match=r"float32\(3,\) and float32\(1,\), allowed are one shape"):
        distance(ones, ones[:1])  # numpy would broadcast these
    with pytest.raises(ValueError, match=r"float32.* and float64"):
        distance(ones, ones.astype(np.float64))


def test_trees_of_different_structure_raise():
    for distance in (compare.max_ulps, compare.max_relative):
        with pytest.raises(ValueError, match="key"):
            distance({"a": 1.0}, {"b": 1.0})


# ---------------------------------------------------------------- move_one_ulp


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
def test_move_one_ulp_takes_each_entry_of_the_largest_leaf_to_the_next_number(dtype):
    small, large = np.ones(2, np.float32), np.asarray([1, -1, 1.5, -3, 1000], np.float32)
    moved = compare.move_one_ulp({"small": jnp.asarray(small), "large": jnp.asarray(large, dtype)})
    np.testing.assert_array_equal(moved["small"], small)
    assert moved["large"].dtype == dtype
    fraction = {jnp.float32: 2**-23, jnp.float16: 2**-10, jnp.bfloat16: 2**-7}[dtype]
    up = np.array([1, 0.5, 1, 2, 512]) * fraction  # −1 moves towards 0, where the gap is half as large
    np.testing.assert_array_equal(np.asarray(moved["large"], np.float64), np.asarray(large, dtype).astype(float) + up)


def test_move_one_ulp_is_numpys_nextafter_and_leaves_the_tree_as_it_was():
    leaf = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    tree = {"z": leaf, "a": [np.float32([7.0]), np.arange(100)]}
    moved = compare.move_one_ulp(tree)
    assert jax.tree.structure(moved) == jax.tree.structure(tree)
    np.testing.assert_array_equal(moved["z"], np.nextafter(leaf, np.float32(np.inf)))
    np.testing.assert_array_equal(tree["z"], leaf)
    assert moved["a"][0] is tree["a"][0]
    assert moved["a"][1] is tree["a"][1]
    assert 0 < compare.leaf_ulps(moved["z"], leaf) <= 1


def test_move_one_ulp_passes_over_zeros_which_would_not_move():
    tree = {"kernel": jnp.zeros((10, 10)), "bias": jnp.full((3,), 2.0), "empty": jnp.zeros((0,))}
    moved = compare.move_one_ulp(tree)
    np.testing.assert_array_equal(moved["kernel"], np.zeros((10, 10)))
    np.testing.assert_array_equal(moved["bias"], np.full(3, 2 + 2**-22, np.float32))
    start = {"kernel": jnp.zeros((10, 10)), "bias": jnp.zeros(3)}  # softmax regression starts at 0, so it has no scale
    moved = compare.move_one_ulp(start)
    np.testing.assert_array_equal(moved["kernel"], np.full((10, 10), 2.0**-23))
    np.testing.assert_array_equal(moved["bias"], np.zeros(3))


@pytest.mark.parametrize("tree", [{}, {"step": jnp.arange(3)}, {"empty": jnp.zeros((0,))}])
def test_move_one_ulp_needs_a_leaf_to_move(tree):
    with pytest.raises(ValueError, match="tree: got no leaf of floating point numbers"):
        compare.move_one_ulp(tree)

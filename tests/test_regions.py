"""Linear regions against worked networks, a dense grid, and the bounds in one and two dimensions."""

import itertools

import numpy as np
import pytest

from jaxdl.analysis import folding_layers, linear_regions, region_bounds


def test_networks_by_hand():
    absolute = [{"kernel": [[1, -1]], "bias": [-0.5, 0.5]}, {"kernel": [[1], [1]]}]
    found = linear_regions(absolute, [0.0], [1.0])
    assert found.count == 2
    np.testing.assert_allclose(found.boundaries, [0.5])
    # max(0, 1 - |t - 1/2| * 4) on [0, 1] has kinks at 1/4, 1/2 and 3/4
    hat = [absolute[0], {"kernel": [[-4], [-4]], "bias": [1]}, {"kernel": [[1]]}]
    np.testing.assert_allclose(linear_regions(hat, [0.0], [1.0]).boundaries, [0.25, 0.5, 0.75])
    assert linear_regions([{"kernel": [[3.0]]}], [0.0], [1.0]).count == 1
    dead = [{"kernel": [[1.0]], "bias": [-9.0]}, {"kernel": [[1.0]]}]
    assert linear_regions(dead, [0.0], [1.0]).count == 1
    cancelled = [{"kernel": [[1, 1]], "bias": [-0.5, -0.5]}, {"kernel": [[1], [-1]]}]  # a kink that no output shows
    assert linear_regions(cancelled, [0.0], [1.0]).count == 1


def test_kinks_are_where_a_dense_grid_shows_them():
    random = np.random.default_rng(0)
    for widths in ([3, 6, 5, 2], [2, 4, 4, 4, 1]):
        layers = [
            {"kernel": random.normal(size=(n, m)), "bias": random.normal(size=m)} for n, m in itertools.pairwise(widths)
        ]
        start, end = random.normal(size=(2, widths[0])) * 4
        t = np.linspace(0, 1, 200_001)
        h = start + t[:, None] * (end - start)
        for place, layer in enumerate(layers):
            h = h @ layer["kernel"] + layer["bias"]
            h = np.maximum(h, 0) if place < len(layers) - 1 else h
        bent = np.abs(np.diff(h, 2, axis=0)).max(1) > 1e-9
        places = t[1:-1][bent]
        separate = places[np.append(True, np.diff(places) > 2.5 * t[1])]  # a kink between two points shows at both
        np.testing.assert_allclose(linear_regions(layers, start, end).boundaries, separate, atol=2 * t[1])


def test_bounds_are_the_published_ones():
    assert region_bounds(1, [4, 4]) == (20, 25)
    assert region_bounds(1, [8]) == (9, 9)
    assert region_bounds(2, [4]) == (11, 11)  # four lines in the plane
    assert region_bounds(2, [4, 4]) == (4 * 11, 121)
    assert region_bounds(1, [2] * 8) == (2**7 * 3, 3**8)


@pytest.mark.parametrize("widths", [[8], [4, 4], [3, 3, 3], [5, 2], [2] * 6])
def test_a_folding_network_reaches_the_bound_on_the_unit_interval(widths):
    found = linear_regions(folding_layers(widths), [0.0], [1.0])
    assert found.count == region_bounds(1, widths).lower
    if len(widths) == 2:  # the second layer bends at the same heights in each fold
        n, m = widths
        heights = (np.arange(m) + 0.5) / m
        folds = [(k + (heights if k % 2 == 0 else 1 - heights)) / n for k in range(n)]
        np.testing.assert_allclose(found.boundaries, np.sort(np.concatenate([*folds, np.arange(1, n) / n])))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear_regions([], [0.0], [1.0]), "layers: got none"),
        (lambda: linear_regions([{"kernel": np.ones((2, 1))}], [0.0], [1.0]), r"layers\[0\]: got a kernel \(2, 1\)"),
        (lambda: linear_regions([{"kernel": np.ones((1, 1))}], [1.0], [1.0]), "two different finite points"),
        (lambda: linear_regions([{"kernel": np.ones((1, 1))}], [0.0], [1.0, 2.0]), "two points of one space"),
        (lambda: folding_layers([3, 1]), "at least two units"),
        (lambda: region_bounds(2, [4, 1]), "at least as wide"),
        (lambda: region_bounds(1, []), "at least as wide"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

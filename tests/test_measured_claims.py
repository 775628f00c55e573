"""The experiments that measure claims, each run once at a tiny size, and their own functions held to worked cases."""

import math

import jax
import numpy as np
import pytest

from experiments import (
    adversarial,
    bias_variance,
    catalogue,
    filters,
    learning_curves,
    linear_regression,
    logistic_regression,
    nonlinearity,
    optimizers_2d,
    regularization,
)
from jaxdl import runs
from jaxdl.runs import demonstrations

TINY = {  # options of a run of a few seconds
    "adversarial": ["--dataset", "digits", "--width", "8", "--epochs", "1", "--sweep", "0", "0.3"],
    "learning_curves": ["--dataset", "digits", "--width", "8", "--sizes", "20", "60", "--steps", "20"],
    "signals": ["--depth", "4", "--width", "8", "--times", "5"],
    "bias_variance": ["--resamples", "5", "--examples", "15", "--degrees", "1", "3", "9"],
    "filters": ["--size", "16", "--letters", "4"],
    "colorization": ["--dataset", "tests.zoo:photographs", "--images", "60", "--steps", "2", "--width", "2"],
    "style_transfer": ["--size", "32", "--steps", "4"],
    "complexity": [],
    "heads": ["--canvases", "320", "--steps", "2", "--width", "4"],
    "linear_regression": ["--steps", "100"],
    "nonlinearity": ["--points", "20", "--width", "4", "--steps", "20"],
    "regularization": ["--examples", "40", "--hidden", "4", "--steps", "10"],
    "logistic_regression": ["--grid", "9"],
    "optimizers_2d": ["--starts", "3", "--steps", "200"],
}
OUT_OF_RANGE = {  # options that are refused, with the message
    "adversarial": (["--eps", "-0.1"], r"eps=-0\.1 is not allowed: it must be at least 0"),
    "learning_curves": (["--sizes", "9", "3"], r"sizes=\(9, 3\) is not allowed: it must be two or more increasing"),
    "signals": (["--depth", "1"], "depth=1 is not allowed: it must be at least 2"),
    "bias_variance": (["--degrees", "1", "3"], r"degrees=\(1, 3\) is not allowed: it must hold 1, 3 and 9"),
    "nonlinearity": (["--points", "2"], "points=2 is not allowed: it must be at least 4"),
    "regularization": (["--examples", "900"], "examples=900 is not allowed: it must be at most 800"),
    "colorization": (["--dataset", "digits"], "dataset='digits' has images of shape .* needed are colour images"),
    "style_transfer": (["--size", "8"], "size=8 is not allowed: it must be at least 32"),
    "complexity": (["--seeds", "0"], "seeds=0 is not allowed: it must be at least 1"),
    "heads": (["--canvases", "100"], "canvases=100 is not allowed: it must be at least 320"),
    "filters": (["--size", "428"], "size=428 is not allowed: it must be at most 427"),
    "linear_regression": (["--steps", "0"], "steps=0 is not allowed"),
    "logistic_regression": (["--C", "-1"], r"C=-1\.0 is not allowed: it must be a positive number"),
    "optimizers_2d": (["--starts", "0"], "starts=0 is not allowed: it must be at least 1"),
}


def test_every_experiment_has_a_tiny_size_and_a_mistake():
    assert {*TINY} == {*OUT_OF_RANGE} == {*catalogue.demonstrations()}


@pytest.mark.parametrize("name", TINY)
def test_it_is_its_idea_and_little_else(name):
    assert len((catalogue.HERE / f"{name}.py").read_text().splitlines()) <= 200


@pytest.mark.trains
@pytest.mark.parametrize("name", TINY)
def test_it_runs_and_draws(name, tmp_path, capsys):
    module, folder = catalogue.load(name), tmp_path / "run"
    assert module.main([*TINY[name], "--seeds", "2", "--out", str(folder)]) == 0
    rows = runs.read_table(folder / demonstrations.RESULTS, demonstrations.ClaimRow)
    assert {row.seeds for row in rows} == {2}
    assert all(row.lecture[0] in "ABCDEFGHIJKP" for row in rows)
    captions = runs.read_table(folder / demonstrations.FIGURES, demonstrations.Caption)
    assert captions
    assert all((folder / "figures" / one.file).stat().st_size <= 200_000 for one in captions)
    said = " ".join((folder / "report.md").read_text().split())
    assert "## Claims" in said


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_an_option_out_of_range_is_named_and_leaves_nothing(name, tmp_path):
    options, message = OUT_OF_RANGE[name]
    with pytest.raises(ValueError, match=message):
        catalogue.load(name).main([*options, "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_optimizers_2d_counts_what_never_arrives_as_infinite():
    config = optimizers_2d.Config(steps=30)
    found = optimizers_2d.run(config, None, "κ = 1000", 0)
    assert set(found.values()) == {math.inf}


def test_plain_descent_at_a_tiny_rate_stays_in_the_well_where_it_starts():
    shares = optimizers_2d._escape("plain")(np.float32([0.01, 0.05]), np.float32([[1.0, 0.0], [-1.2, 0.3]]))
    np.testing.assert_array_equal(shares[1], 0.5)  # the second start lies in the lowest well already


def test_the_largest_rate_of_linear_regression_is_two_over_the_curvature():
    x = np.float32([[1.0], [-1.0]])  # the Hessian is the identity
    assert linear_regression.largest_rate(x, np.float32([3.0, 1.0]), 200) == pytest.approx(2, rel=0.02)


def test_the_squared_error_of_one_point_curves_down_where_it_should():
    """In one dimension, (σ(b) − 1)² has the curvature 2σ′² + 2(σ − 1)σ″; at b = −3 that is below 0."""
    x, y = np.float32([0.0]), np.float32([1.0])
    found = logistic_regression._curvatures("squared error")(np.float32([[0.0, -3.0]]), x, y)
    s = 1 / (1 + np.exp(3.0))
    slope = s * (1 - s)
    np.testing.assert_allclose(found, [2 * slope**2 + 2 * (s - 1) * slope * (1 - 2 * s)], rtol=1e-4)


def test_gaps_of_learning_curves_by_hand():
    curve = np.array([[[0.2, 30.0, 40.0], [5.2, 7.2, 20.2]]])  # one seed, two sizes; people err by .2
    np.testing.assert_allclose(learning_curves.gaps(curve, 0)[:, 0], [0, 29.8, 0], atol=1e-9)
    np.testing.assert_allclose(learning_curves.gaps(curve, 1, moved=True)[:, 0], [5, 2, 13], atol=1e-9)
    found = [learning_curves.diagnosis(one).problem for one in (*curve[0].tolist(), [0.4, 0.6, 0.6])]
    assert found == ["high variance", "high bias", "none"]
    assert learning_curves.diagnosis(curve[0, 1].tolist(), moved=True).problem == "data mismatch"


def test_more_mistakes_of_adversarial_leave_nothing(tmp_path):
    """An unreadable image, a class that does not exist, more examples in a batch than there are."""
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images" / "b").mkdir()
    (tmp_path / "images" / "a" / "x.png").write_bytes(b"no image")
    for options, message in (
        (["--dataset", str(tmp_path / "images")], r"x\.png"),
        (["--dataset", "digits", "--target", "10"], r"target=10 is not allowed: digits has 10 classes"),
        (["--dataset", "digits", "--batch-size", "9999"], "batch_size is 9999"),
        (["--sweep", "0.1", "nan"], r"sweep=\(0\.1, nan\), eps=0\.25: allowed are finite numbers"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            adversarial.main([*options, "--out", str(tmp_path / "run")])
        assert not (tmp_path / "run").exists()


def test_polynomials_of_degree_zero_are_means_and_the_learning_curve_knows_the_noise():
    random = np.random.default_rng(0)
    x, y = bias_variance.draw_set(random, 50, 0.3)
    np.testing.assert_allclose(bias_variance.fit(x, y, 0)(x), y.mean())
    assert bias_variance.error(bias_variance.fit(x, y, 49), (x, y)) < 0.3**2


def test_polar_coordinates_are_radius_and_angle():
    seen = nonlinearity.seen(np.float32([[3.0, 4.0], [0.0, -2.0]]), True)
    np.testing.assert_allclose(seen, [[5, math.atan2(4, 3)], [2, -math.pi / 2]], rtol=1e-6)


def test_a_penalty_of_zero_changes_nothing_and_the_proximal_step_makes_zeros():
    config = regularization.Config(examples=40, hidden=4, steps=30)
    x, y = np.float32(np.random.default_rng(0).uniform(size=(40, 64))), np.arange(40) % 10
    key = jax.random.key(0)
    first = {case: regularization._trained(config, case)(key, x, y) for case in regularization.CASES}
    for case in regularization.CASES[1:]:
        for a, b in zip(jax.tree.leaves(first["L2"]), jax.tree.leaves(first[case]), strict=True):
            np.testing.assert_allclose(a[0], b[0], rtol=1e-3, atol=1e-5)
    zeros = {case: np.mean(np.asarray(first[case]["fc1"]["kernel"][-1]) == 0) for case in regularization.PENALTIES}
    assert zeros["L1 by proximal step"] > 0.5
    assert zeros["L2"] == zeros["L1 by gradient"] == 0


def test_what_pools_leave_of_noise_on_an_even_area_is_known():
    """The mean of four normal numbers has σ/2; their maximum has the moments 1.029375 σ and .491715 σ²."""
    found = filters.pools(np.full((400, 400, 1), 0.5, np.float32), 0)
    expected = {"none": 0.5, "average": 0.25, "stride": 0.5, "max": 0.5 * math.sqrt(1.029375**2 + 0.491715)}
    assert found == pytest.approx(expected, rel=0.02)


def test_strokes_fit_an_x_and_find_it_anywhere():
    x, o = (filters.padded(name) for name in "XO")
    np.testing.assert_allclose(filters.strokes(x), 1, rtol=1e-6)
    assert filters.strokes(o)[2] < 1  # no crossing
    np.testing.assert_allclose(filters.strokes(np.roll(x, (2, -1), (0, 1))), 1, rtol=1e-6)

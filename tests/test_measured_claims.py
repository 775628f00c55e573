"""The experiments that measure claims, each run once at a tiny size, and their own functions held to worked cases."""

import math

import numpy as np
import pytest

from experiments import catalogue, linear_regression, logistic_regression, optimizers_2d
from jaxdl import runs
from jaxdl.runs import demonstrations

TINY = {  # options of a run of a few seconds
    "signals": ["--depth", "4", "--width", "8", "--times", "5"],
    "linear_regression": ["--steps", "100"],
    "logistic_regression": ["--grid", "9"],
    "optimizers_2d": ["--starts", "3", "--steps", "200"],
}
OUT_OF_RANGE = {  # options that are refused, with the message
    "signals": (["--depth", "1"], "depth=1 is not allowed: it must be at least 2"),
    "linear_regression": (["--steps", "0"], "steps=0 is not allowed"),
    "logistic_regression": (["--C", "-1"], r"C=-1\.0 is not allowed: it must be a positive number"),
    "optimizers_2d": (["--starts", "0"], "starts=0 is not allowed: it must be at least 1"),
}


def test_every_experiment_has_a_tiny_size_and_a_mistake():
    assert {*TINY} == {*OUT_OF_RANGE} == {*catalogue.demonstrations()}


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

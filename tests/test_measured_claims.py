"""The experiments that measure claims, each run once at a tiny size, and their own functions held to worked cases."""

import math

import numpy as np
import pytest

from experiments import catalogue, optimizers_2d
from jaxdl import runs
from jaxdl.runs import demonstrations

TINY = {  # options of a run of a few seconds
    "optimizers_2d": ["--starts", "3", "--steps", "200"],
}
OUT_OF_RANGE = {  # options that are refused, with the message
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

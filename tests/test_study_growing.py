"""Studies that grow, survive optimizers that fail, and are merged: the same rows as those of one study."""

import csv
import dataclasses
import json
import re
import shutil
import sys

import pytest

from experiments.compare_optimizers import command, growing, merge, records
from jaxdl import plots, runs
from jaxdl.runs import commandline

MINE = """
import jax
import numpy as np
import optax

def refuses(learning_rate, size=1.0):
    raise KeyError("no such size\\nsecond line")

def fails_late(learning_rate):
    def check(count):
        if count >= 3:
            raise ZeroDivisionError("three steps are enough")
        return np.float32(1)

    def update(grads, state, params=None):
        factor = jax.pure_callback(check, jax.ShapeDtypeStruct((), np.float32), state, vmap_method="sequential")
        return jax.tree.map(lambda g: -learning_rate * factor * g, grads), state + 1

    return optax.GradientTransformation(lambda params: np.int32(0), update)
"""
SHARED = ["--rates", "0.001", "0.01", "--points", "2", "--tuning-seeds", "1", "--budget", "20steps"]
PROBLEMS, OPTIMIZERS = ("elongated_bowl", "rosenbrock"), ("jaxdl.sgd", "optax.adam")


@pytest.fixture(scope="module", autouse=True)
def blank():
    """Draw no figure: the tables are what counts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "png", lambda figure, **options: b"png")
        yield


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Return a folder on the import path that holds a user's module."""
    folder = tmp_path_factory.mktemp("growing")
    (folder / "mine_failing.py").write_text(MINE)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    sys.modules.pop("mine_failing", None)


def made(folder, *arguments, problems=PROBLEMS, optimizers=OPTIMIZERS, seeds=3, shared=SHARED):
    given = ["--problems", *problems, "--optimizer", *optimizers, "--seeds", str(seeds), *shared]
    assert command.main([*given, *arguments, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def whole(here):
    """Return the folder of a study that makes everything at once."""
    return made(here / "whole")


@pytest.fixture(scope="module")
def halves(here):
    """Return the folders of two machines: one optimizer each."""
    return made(here / "first", optimizers=OPTIMIZERS[:1]), made(here / "second", optimizers=OPTIMIZERS[1:])


def table(path, without=records.TIMES):
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in without} for row in csv.DictReader(file)]


def same_study(folder, other):
    for name in (records.RESULTS, records.CURVES, records.PATHS):
        assert table(folder / name) == table(other / name)
    for name in ("config.json", records.PLAN):
        found = [runs.read_json(one / name) for one in (folder, other)]
        assert found[0] | {"merged": None} == found[1] | {"merged": None}
    sums = [runs.read_json(one / "manifest.json")["data"] for one in (folder, other)]
    assert sums[0] == sums[1]
    return True


# ---------------------------------------------------------------- growing


@pytest.mark.slow
@pytest.mark.trains
def test_a_grown_study_equals_one_that_was_started_with_everything(whole, tmp_path, capsys):
    folder = made(tmp_path / "run", problems=PROBLEMS[:1], optimizers=OPTIMIZERS[:1], seeds=2)
    before = (folder / records.RESULTS).read_text().splitlines()
    more = ["--seeds", "3", "--optimizer", "optax.adam", "--problems", "rosenbrock"]
    assert command.main([*more, "--resume", str(folder)]) == 0
    assert {*before} <= {*(folder / records.RESULTS).read_text().splitlines()}, "rows stay, with their times"
    assert same_study(folder, whole)
    assert runs.read_json(folder / "manifest.json")["then"][0].endswith(f"--problems rosenbrock --resume {folder}")
    assert "--problems rosenbrock --resume" in (folder / "report.md").read_text().split("## How this was made")[1]
    unchanged = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert command.main(["--optimizer", "adam", "sgd", "--resume", str(folder)]) == 0, "jaxdl.adam is new"
    assert {run.optimizer for run in records.read(folder).runs} == {"jaxdl.sgd", "optax.adam", "jaxdl.adam"}
    assert "adam" in runs.read_json(folder / "config.json")["optimizer"]
    kept = unchanged[folder / records.RESULTS].decode().splitlines()
    assert {*kept} <= {*(folder / records.RESULTS).read_text().splitlines()}
    assert runs.read_json(folder / records.PLAN)["twins"] == [["jaxdl.adam", "optax.adam"]]


@pytest.mark.trains
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--seeds 2", "seeds is 3 in the run, 2 here; a study keeps its runs"),
        ("--rates 0.001 0.1", r"rates is (0.001, 0.01) in the run, (0.001, 0.1) here"),
        ("--points 3", "points is 2 in the run, 3 here"),
        ("--tuning-seeds 2", "tuning_seeds is 1 in the run, 2 here"),
        ("--budget 30steps", "budget is '20steps' in the run, '30steps' here"),
        ("--space joint", "space is 'rate' in the run, 'joint' here"),
    ],
)
def test_what_changes_the_meaning_of_runs_is_refused(given, said, whole):
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=re.escape(said)):
        command.main([*given.split(), "--resume", str(whole)])
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before


def test_a_budget_of_time_is_for_the_problems_it_was_divided_among():
    stored = command.Config(problems=("beale",), optimizer=("jaxdl.sgd",), budget="5m")
    given = dataclasses.replace(stored, problems=("saddle",))
    with pytest.raises(ValueError, match=r"more problems has fewer steps of each; .* steps as the budget"):
        growing.grown(stored, given)
    more = growing.grown(stored, dataclasses.replace(stored, seeds=9, optimizer=("sgd", "optax.adam(eps=1e-3)")))
    assert (more.seeds, more.optimizer) == (9, ("jaxdl.sgd", "optax.adam(eps=1e-3)"))


# ---------------------------------------------------------------- optimizers that fail


@pytest.mark.slow
@pytest.mark.trains
def test_an_optimizer_that_fails_costs_itself_alone(whole, here, tmp_path, capsys):
    failing = ("mine_failing:refuses", "mine_failing:fails_late")
    folder = made(tmp_path / "run", optimizers=(failing[0], OPTIMIZERS[0], failing[1], OPTIMIZERS[1]))
    for name in (records.RESULTS, records.CURVES, records.PATHS):
        assert table(folder / name) == table(whole / name)
    assert table(folder / records.FAILURES) == [
        {"problem": problem, "optimizer": optimizer, "stage": stage, "error": error}
        for problem in PROBLEMS
        for optimizer, stage, error in (
            (failing[0], "start", "KeyError: 'no such size\\nsecond line'"),
            (failing[1], "tuning", "ZeroDivisionError: three steps are enough"),
        )
    ]
    text = (folder / "report.md").read_text()
    assert "## Optimizers that failed" in text
    assert text.count("ZeroDivisionError: three steps are enough") == 2
    assert "failed: ZeroDivisionError: three steps are enough" in capsys.readouterr().out
    assert "failed" not in (whole / "report.md").read_text()
    # it is tried again when the study is resumed, and found as it was
    assert command.main(["--resume", str(folder), "--trust-run"]) == 0
    assert len(table(folder / records.FAILURES)) == 4
    with pytest.raises(ValueError, match=r"'mine_failing:refuses' does not work here"):
        made(tmp_path / "none", optimizers=failing[:1])
    assert not (tmp_path / "none").exists()


# ---------------------------------------------------------------- merging


@pytest.mark.trains
def test_merged_studies_equal_one_study(whole, halves, tmp_path, capsys):
    folder = tmp_path / "merged"
    # the same runs are there twice
    both = [*map(str, halves), str(shutil.copytree(halves[0], tmp_path / "again"))]
    assert merge.main([str(folder), *both]) == 0
    assert same_study(folder, whole)
    plan, manifest = (runs.read_json(folder / name) for name in (records.PLAN, "manifest.json"))
    assert [line.split(":")[0] for line in plan["merged"]] == ["first", "second", "again"]
    assert manifest["machine"] is None
    assert "Put together from 3 studies" in (folder / "report.md").read_text()
    assert command.main(["--resume", str(folder)]) == 0, "and it is a study like any other"
    assert same_study(folder, whole)


def changed(folder, name, old, new):
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))


@pytest.mark.trains
def test_studies_that_differ_are_not_merged(halves, tmp_path):
    first = halves[0]
    row = table(first / records.RESULTS)[-1]
    cases = {
        f"final of the run {', '.join([*row.values()][:5])} is": (0, edit_last),
        "points is 2 in": (1, lambda f: changed(f, "config.json", '"points": 2', '"points": 3')),
        "steps of rosenbrock is 20 in": (1, lambda f: changed(f, records.PLAN, '"rosenbrock": 20', '"rosenbrock": 21')),
        "the SHA-256 of the arrays of elongated_bowl is": (1, spoil),
        "tuning_seeds of the plan is (1000000,) in": (1, lambda f: changed(f, records.PLAN, "1000000", "1000001")),
        "has another tuned point": (0, retuned),
    }
    for number, (said, (which, change)) in enumerate(cases.items()):
        other = shutil.copytree(halves[which], tmp_path / str(number))
        change(other)
        with pytest.raises(ValueError, match=re.escape(said)):
            merge.main([str(tmp_path / "out"), str(first), str(other)])
        assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="at least 2 folders"):
        merge.main([str(tmp_path / "out"), str(first)])


def edit_last(folder):
    path = folder / records.RESULTS
    rows = records.records.read_table(path, records.Result)
    rows[-1] = rows[-1]._replace(final=rows[-1].final * (1 + 1e-4))
    records.records.write_table(path, records.Result, rows)


def retuned(folder):
    for name, kind in ((records.RESULTS, records.Result), (records.CURVES, records.Evaluation)):
        rows = records.records.read_table(folder / name, kind)
        moved = [row._replace(rate=0.5) if row.stage == "final" else row for row in rows]
        records.records.write_table(folder / name, kind, moved)


def spoil(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["data"]["sha256"]["elongated_bowl"] = "0"
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_rounding_of_two_machines_is_no_difference():
    assert merge._equal(1.0, 1.000001, 1e-5)
    assert merge._equal(float("nan"), float("nan"), 0)
    assert not merge._equal(1.0, 1.0001, 1e-5)
    assert not merge._equal("finished", "diverged", 1)


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        commandline.run_main(lambda: merge.main([str(tmp_path / "out"), str(tmp_path), str(tmp_path)]))
    assert end.value.code == 2
    assert "is not a run folder" in capsys.readouterr().err

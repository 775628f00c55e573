"""Studies: the contents of results.csv, resuming to the same file, and messages for mistakes."""

import csv
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.compare_optimizers import adam_l2, contenders, records, study
from experiments.compare_optimizers import command as compare_optimizers
from experiments.compare_optimizers import rows as study_rows
from jaxdl import compare, data, nn, optimizers, runs, studies
from jaxdl.runs import commandline
from jaxdl.runs import names as known_names
from jaxdl.runs.records import Table
from jaxdl.studies import sweep

ROOT = Path(__file__).parents[1]
MINE = """
import jax.numpy as jnp
import numpy as np
import optax
from jaxdl import studies

CENTRE = np.arange(3, dtype=np.float32)

def batches(seed, epoch):
    return list(CENTRE + np.random.default_rng([seed, epoch]).normal(size=(4, 2, 3)).astype(np.float32))

def loss(params, batch):
    return ((params[None] - batch) ** 2).mean()

def init(key):
    return jnp.zeros(3)

def functions():
    return init, loss, batches

def bowl():
    return studies.make_problem(init, loss, batches, name="bowl", epochs=3, target=2.0)

def sgd(learning_rate, scale=1.0):
    return optax.sgd(learning_rate * scale)

def no_optimizer(learning_rate):
    return 3

def branches_on_the_rate(learning_rate):
    return optax.sgd(learning_rate if learning_rate > 0 else 0.0)

def no_problem():
    return 3


def no_batches():
    return (lambda key: 0.0), (lambda params, batch: 0.0), []
"""
OPTIMIZERS = ("jaxdl.sgd", "optax.adam", "mine:sgd(scale=0.5)")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Return a folder on the import path that holds a user's module."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "mine.py").write_text(MINE)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    sys.modules.pop("mine", None)


TUNED = ("1000000", "1000001")
SETTINGS = study.StudySettings(rates=(0.01, 0.1, 1e4), seeds=2, tuning_seeds=2)


def small_study(folder, settings=SETTINGS, names=OPTIMIZERS, **options):
    chosen = [contenders.contender(name) for name in names]
    found = [known_names.problem("mine:bowl"), known_names.problem("quadratic_deep")._replace(steps=14)]
    return study.Study(folder, found, chosen, settings, line=lambda text: None, **options)


def table(path, without=records.TIMES):
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in without} for row in csv.DictReader(file)]


def run_of(row):
    """Return the run that a row belongs to."""
    return tuple(row[name] for name in records.Result._fields[:5])


@pytest.fixture(scope="module")
def whole(here):
    """Return the folder of an uninterrupted study."""
    folder = here / "whole"
    folder.mkdir()
    small_study(folder).run()
    return folder


# ---------------------------------------------------------------- the files


@pytest.mark.slow
@pytest.mark.trains
def test_every_run_is_in_results_csv_once_and_in_order(whole):
    rows = table(whole / "results.csv")
    expected = []
    for problem in ("bowl", "quadratic_deep"):
        for name in OPTIMIZERS:
            if not name.startswith("mine"):  # the user's own optimizer has no default rate
                expected += [(problem, name, "default", "0.001", str(seed)) for seed in (0, 1)]
            own = [] if name.startswith("mine") else ["0.001"]  # is tried as well
            tried = ("0.01", "0.1", "10000.0", *own)
            expected += [(problem, name, "tuning", rate, seed) for rate in tried for seed in TUNED]
            ended = {rate: [] for rate in tried}
            for row in rows:
                if run_of(row)[:3] == (problem, name, "tuning"):
                    ended[row["rate"]].append(float(row["final"] or "inf"))
            best = min(ended, key=lambda rate: sum(ended[rate]))
            expected += [(problem, name, "final", best, str(seed)) for seed in (0, 1)]
    assert [run_of(row) for row in rows] == expected
    assert tuple(table(whole / "results.csv", ())[0]) == records.Result._fields


@pytest.mark.trains
def test_a_row_describes_its_run(whole):
    curves = table(whole / "curves.csv")
    assert tuple(curves[0]) == records.Evaluation._fields
    for row in table(whole / "results.csv", ()):
        mine = [point for point in curves if run_of(point) == run_of(row)]
        values = [float(point["value"]) for point in mine]
        evaluated = [0, 4, 8, 12] if row["problem"] == "bowl" else [0, 7, 14]
        steps = evaluated[-1]
        # with curvatures up to 60, descent at rates above 2/60 diverges
        steep = row["problem"] == "quadratic_deep" and "sgd" in row["optimizer"] and row["rate"] == "0.1"
        if row["rate"] == "10000.0" or steep:
            assert (row["status"], row["final"], row["accuracy"], row["final_train_loss"]) == ("diverged", "", "", "")
            assert int(row["steps"]) < steps
        else:
            assert (row["status"], int(row["steps"])) == ("finished", steps)
            assert float(row["final"]) == values[-1]
            assert row["final_train_loss"] == mine[-1]["train_loss"]
            assert len(mine) == len(evaluated)
        assert float(row["best"]) == min(values)
        assert int(row["examples"]) == int(row["steps"]) * (2 if row["problem"] == "bowl" else 128)
        assert [int(point["step"]) for point in mine] == evaluated[: len(mine)]
        reached = [point["step"] for point in mine if float(point["value"]) <= float(row["target"])]
        assert row["steps_to_target"] == (reached[0] if reached else "")
        assert bool(row["seconds_to_target"]) == bool(reached)
        assert float(row["seconds"]) > 0
        assert float(row["update_microseconds"]) > 0
        size = 3 if row["problem"] == "bowl" else 100
        assert int(row["state_bytes"]) == (8 * size + 4 if row["optimizer"] == "optax.adam" else 0)
    assert any(row["steps_to_target"] for row in table(whole / "results.csv"))


@pytest.mark.trains
def test_runs_are_those_of_a_loop(whole):
    """A numpy loop solves the user's problem: the mean square's gradient is 2/3 of the mean difference."""
    import mine

    test = np.concatenate(mine.batches(0, 0))
    for row in table(whole / "results.csv"):
        if row["problem"] == "bowl" and "sgd" in row["optimizer"] and row["status"] == "finished":
            rate = float(row["rate"]) * (0.5 if row["optimizer"].startswith("mine") else 1)
            params = np.zeros(3)
            for step in range(12):
                batch = mine.batches(int(row["seed"]), step // 4)[step % 4]
                params = params - rate * 2 / 3 * (params - batch).mean(0)
            assert float(row["final"]) == pytest.approx(((params - test) ** 2).mean(), rel=1e-5)


@pytest.mark.trains
def test_the_plan_names_steps_methods_and_pairs(here, tmp_path):
    names = ("jaxdl.adam", "optax.adam", "jaxdl.momentum", "optax.sgd(momentum=0.9)")
    one = small_study(tmp_path, names=names, planted=[("a", "b")], stop=lambda: True)
    with pytest.raises(study.Stopped):
        one.run()
    plan = runs.read_json(tmp_path / records.PLAN)
    assert plan["steps"] == {"bowl": 12, "quadratic_deep": 14}
    assert plan["methods"] == {"bowl": "vmap", "quadratic_deep": "vmap"}
    assert plan["twins"] == [["jaxdl.adam", "optax.adam"], ["jaxdl.momentum", "optax.sgd(momentum=0.9)"]]
    assert plan["planted"] == [["a", "b"]]
    assert (plan["tuning_seeds"], plan["validated"]) == ([1000000, 1000001], ["quadratic_deep"])
    assert table(tmp_path / "results.csv") == []


@pytest.mark.trains
def test_tuning_is_judged_on_the_validation_part_and_never_on_the_test_set(here, tmp_path):
    """The test set is lowest at 1 and the validation part at .25, and a step with the rate r leads to r."""
    train, test, validation = (np.full(2, x, np.float32) for x in (0.5, 1.0, 0.25))
    problem = studies.make_problem(
        lambda key: jnp.zeros(()), lambda w, b: ((w - b) ** 2).mean(), lambda seed, epoch: [train],
        name="tilted", epochs=1, test=test, validation=validation,
    )  # fmt: skip
    chosen = [contenders.contender(name) for name in ("mine:sgd", "optax.contrib.dowg")]
    settings = study.StudySettings(rates=(0.25, 1.0), seeds=2, tuning_seeds=2)
    study.Study(tmp_path, [problem], chosen, settings, line=lambda text: None).run()
    rows = table(tmp_path / "results.csv")
    assert [(r["stage"], r["rate"], float(r["final"])) for r in rows if r["optimizer"] == "mine:sgd"] == [
        *(("tuning", rate, value) for rate, value in (("0.25", 0.0), ("1.0", 0.5625)) for _ in range(2)),
        *(("final", "0.25", 0.5625) for _ in range(2)),
    ]
    assert [r["stage"] for r in rows if r["optimizer"] == "optax.contrib.dowg"] == ["final", "final"]


def test_the_validation_part_holds_no_example_that_tuning_trains_on():
    images = np.arange(50, dtype=np.uint8).reshape(50, 1, 1, 1)
    dataset = data.from_arrays(images, np.arange(50) % 2, test_images=images[:12], test_labels=np.arange(12) % 2)
    problem = studies.classification_problem("mine", nn.Dense(2), dataset, batch_size=8, epochs=2)
    tuning = problem.tuning()
    judged = {*tuning.data["test_images"].ravel().tolist()}
    assert len(judged) == 12
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        batches = tuning.batches(seed, epoch)
        assert batches.shape == problem.batches(seed, epoch).shape
        trained = {*tuning.data["images"][batches].ravel().tolist()}
        assert len(trained) == 38
        assert not trained & judged
    assert (tuning.batches(0, 0) != tuning.batches(0, 1)).any()
    np.testing.assert_array_equal(tuning.data["test_labels"], tuning.data["test_images"].ravel() % 2)
    shapes = [[leaf.shape for leaf in problem_data.values()] for problem_data in (problem.data, tuning.data)]
    assert shapes[0] == shapes[1], "one program serves both"


@pytest.mark.trains
def test_paths_on_a_landscape_are_descent_from_its_start_at_the_best_rate(here, tmp_path):
    chosen = [contenders.contender(name) for name in ("jaxdl.sgd", "optax.adam")]
    found = [known_names.problem("elongated_bowl")._replace(steps=20)]
    settings = study.StudySettings(rates=(0.01, 0.05, 1e3), seeds=1)
    for _ in range(2):  # the second study finds nothing left to do
        study.Study(tmp_path, found, chosen, settings, line=lambda text: None).run()
    rows = table(tmp_path / "paths.csv")
    assert [int(row["step"]) for row in rows] == [*range(21), *range(21)]
    ours = np.array([[float(row["x"]), float(row["y"])] for row in rows if row["optimizer"] == "jaxdl.sgd"])
    # x is multiplied by 1 - .05 in each step, y by 1 - 25 * .05
    np.testing.assert_allclose(ours, [[-10 * 0.95**t, (-0.25) ** t] for t in range(21)], rtol=1e-4, atol=1e-6)


def test_a_path_that_diverges_stays_at_its_last_finite_point():
    points = studies.landscapes.path(studies.landscapes.beale, optax.sgd, 10.0, steps=8)
    assert np.isfinite(points).all()
    assert (points[-1] == points[-2]).all()


# ---------------------------------------------------------------- interrupted studies


class Killed(BaseException):
    """Stands for the end of the process between two operations."""


def killer(after, monkeypatch, what):
    """Raise `Killed` in place of call number ``after`` of ``Table.append`` on tables called ``what``."""
    append, left = Table.append, [after]

    def maybe(self, rows):
        if self.path.name == what:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
        append(self, rows)

    monkeypatch.setattr(Table, "append", maybe)


@pytest.mark.trains
@pytest.mark.parametrize(("what", "after"), [("results.csv", 2), ("curves.csv", 4)])
def test_a_killed_study_goes_on_where_it_was(what, after, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        killer(after, patch, what)
        with pytest.raises(Killed):
            small_study(tmp_path).run()
    before = table(tmp_path / "results.csv", ())
    assert before
    made = []
    original = sweep.Sweep.run
    monkeypatch.setattr(
        sweep.Sweep, "run", lambda self, members, *a, **k: made.extend(members) or original(self, members, *a, **k)
    )
    small_study(tmp_path).run()
    assert table(tmp_path / "results.csv", ())[: len(before)] == before, "saved runs are not repeated"
    assert len(made) == len(table(whole / "results.csv")) - len(before)
    for name in ("results.csv", "curves.csv"):
        assert table(tmp_path / name) == table(whole / name)


@pytest.mark.trains
@pytest.mark.parametrize("lost", [1, 60, 300])
def test_a_truncated_file_is_mended(lost, whole, tmp_path):
    """The lost bytes are part of a line, a whole line, or several lines of a group."""
    for name in ("results.csv", "curves.csv", records.PLAN):
        shutil.copy(whole / name, tmp_path / name)
    data = (tmp_path / "results.csv").read_bytes()
    (tmp_path / "results.csv").write_bytes(data[:-lost])
    small_study(tmp_path).run()
    for name in ("results.csv", "curves.csv"):
        assert table(tmp_path / name) == table(whole / name)


@pytest.mark.trains
def test_a_finished_study_changes_nothing(whole, tmp_path):
    before = {name: (whole / name).read_bytes() for name in ("results.csv", "curves.csv", records.PLAN)}
    small_study(whole).run()
    assert {name: (whole / name).read_bytes() for name in before} == before


COMMAND = ["--problems", "mine:bowl", "quadratic_deep", "--optimizer", "jaxdl.sgd", "optax.adam", "mine:sgd(scale=0.5)"]
COMMAND += ["--seeds", "2", "--rates", "0.01", "0.1", "--points", "3"]


def start(here, *arguments):
    environment = {"PYTHONPATH": f"{here}{os.pathsep}{ROOT}", "PYTHONWARNINGS": "error", "JAX_PLATFORMS": "cpu",
                   "JAX_COMPILATION_CACHE_DIR": str(here / "xla"),
                   "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}  # fmt: skip
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)  # children inherit an ignored Ctrl-C
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "experiments.compare_optimizers", *map(str, arguments)],
            cwd=here, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.process
@pytest.mark.trains
@pytest.mark.slow
def test_processes_that_are_killed_and_stopped(here):
    """A kill -9 after the first rows, Ctrl-C after more, and a last resume give the uninterrupted study's rows."""
    reference, folder = here / "reference", here / "interrupted"
    assert compare_optimizers.main([*COMMAND, "--out", str(reference)]) == 0
    arguments = [*COMMAND, "--out", folder]
    for number in (signal.SIGKILL, signal.SIGINT):
        results = folder / "results.csv"
        lines = len(results.read_text().splitlines()) if results.exists() else 1
        process = start(here, *arguments)
        until = time.monotonic() + 120
        while not results.exists() or len(results.read_text().splitlines()) < lines + 2:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.005)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == (-9 if number == signal.SIGKILL else 130), out + err
        assert number == signal.SIGKILL or f"SIGINT: all finished runs are in {folder}; resume with --resume" in out
        arguments = ["--resume", folder, "--trust-run"]
    process = start(here, *arguments)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, ""), out + err
    assert "quadratic_deep: vmap, because" in out
    for name in ("results.csv", "curves.csv"):
        assert table(folder / name) == table(reference / name)


# ---------------------------------------------------------------- budgets


@pytest.mark.trains
def test_a_budget_of_steps(here, tmp_path):
    small_study(tmp_path, SETTINGS._replace(budget_steps=4), names=["jaxdl.sgd"]).run()
    rows = table(tmp_path / "results.csv")
    assert {row["status"] for row in rows} == {"stopped", "diverged"}
    assert {row["steps"] for row in rows if row["status"] == "stopped"} == {"4"}


@pytest.mark.trains
@pytest.mark.parametrize(("seconds", "steps"), [(1e-3, [4, 7]), (1e6, [12, 14])])
def test_a_budget_of_time_is_steps_that_all_optimizers_share(here, tmp_path, seconds, steps):
    """Even the shortest budget reaches the first evaluation, and the longest one ends with a full run."""
    names = ["jaxdl.sgd", "optax.adam"]
    small_study(tmp_path, SETTINGS._replace(budget_seconds=seconds), names=names).run()
    assert [*runs.read_json(tmp_path / records.PLAN)["steps"].values()] == steps
    rows = [row for row in table(tmp_path / "results.csv") if row["status"] != "diverged"]
    assert {row["status"] for row in rows} == {"stopped" if seconds < 1 else "finished"}
    assert {int(row["steps"]) for row in rows} == {*steps}


def test_time_is_divided_evenly_and_what_is_left_goes_to_the_others(here, tmp_path, monkeypatch):
    """Each of the six groups of a problem takes half a second, and one more per evaluation."""
    one = small_study(tmp_path, names=["jaxdl.sgd"])
    every = {"bowl": 4, "quadratic_deep": 7}
    monkeypatch.setattr(one, "_time", lambda group, steps: 0.5 + steps / every[group.problem])
    # all of quadratic_deep takes 6 (.5 + 2) = 15 s, and then there are 16 s for the other: 6 (.5 + 2) = 15 s
    assert one._affordable(31.7) == {"bowl": 8, "quadratic_deep": 14}
    assert one._affordable(25.7) == {"bowl": 8, "quadratic_deep": 7}
    assert one._affordable(1.0) == {"bowl": 4, "quadratic_deep": 7}


@pytest.mark.parametrize(
    ("text", "found"),
    [("", {}), ("90s", {"budget_seconds": 90}), ("1.5m", {"budget_seconds": 90}), ("2h", {"budget_seconds": 7200}),
     ("500steps", {"budget_steps": 500})],
)  # fmt: skip
def test_budgets_as_written(text, found):
    assert compare_optimizers.budget(text) == found


# ---------------------------------------------------------------- names, rates, mistakes


def test_contenders_by_name_with_keywords(here):
    one = contenders.contender("optax.adam( eps = 1e-3,b1=.8 )")
    assert (one.label, one.default_rate) == ("optax.adam(eps=0.001, b1=0.8)", 1e-3)
    params, grads = jnp.ones(3), jnp.array([1.0, -2.0, 1e-3])
    expected = optax.adam(0.1, b1=0.8, eps=1e-3)
    built = one.build(0.1)
    np.testing.assert_array_equal(
        built.update(grads, built.init(params), params)[0], expected.update(grads, expected.init(params), params)[0]
    )
    assert contenders.contender("jaxdl.adadelta").default_rate == 1.0
    assert contenders.contender("jaxdl.adadelta(convention='keras')").default_rate == 1e-3
    assert contenders.contender("mine:sgd").default_rate is None
    assert contenders.contender("jaxdl.lars").default_rate is None


@pytest.mark.slow
def test_every_first_order_optimizer_has_a_twin_that_makes_the_same_steps():
    """The default study compares pairs of the same algorithm; three eager steps show it."""
    params, state = {"w": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3), "b": jnp.ones(3)}, {}
    alone = {name for name in contenders.FIRST_ORDER if known_names.twin(f"jaxdl.{name}") is None}
    assert alone == {"shampoo", "soap"}  # optax has neither
    for name in (name for name in contenders.FIRST_ORDER if name not in alone):
        pair = [contenders.contender(text) for text in (f"jaxdl.{name}", known_names.twin(f"jaxdl.{name}"))]
        assert pair[0].default_rate == pair[1].default_rate
        ends = []
        for one in pair:
            built, here_ = one.build(jnp.float32(0.01)), params
            state = built.init(params)
            for step in range(3):
                grads = {"w": here_["w"] + 0.1 * step, "b": 0.3 * here_["b"]}
                updates, state = built.update(grads, state, here_)
                here_ = optax.apply_updates(here_, updates)
            ends.append(here_)
        assert compare.max_ulps(*ends) <= 16, name


def test_twins():
    assert known_names.twin("jaxdl.nesterov") == "optax.sgd(momentum=0.9, nesterov=True)"
    assert known_names.twin("jaxdl.muon") == "optax.contrib.muon"
    assert known_names.twin("muon(ns_steps=4)") == "optax.contrib.muon(ns_steps=4)"
    assert known_names.twin("jaxdl.adam(eps=1e-3)") == "optax.adam(eps=0.001)"
    assert known_names.twin("jaxdl.adam(convention='torch')") is None
    assert known_names.twin("jaxdl.momentum(momentum=0.8)") is None
    assert known_names.twin("optax.adam") is None
    assert known_names.twins(["jaxdl.adam", "optax.sgd", "jaxdl.sgd"]) == [("jaxdl.sgd", "optax.sgd")]


def test_the_default_study_is_all_of_ours_their_twins_and_the_planted_ones():
    names = compare_optimizers.default_optimizers()
    everything = {*vars(optimizers)} & {*contenders.FIRST_ORDER}
    assert everything == {*contenders.FIRST_ORDER} > contenders.ON_REQUEST
    assert not {f"jaxdl.{name}" for name in contenders.ON_REQUEST} & {*names}
    assert len(names) == len({*names}) == 2 * 21 + 3
    for pair in compare_optimizers.PLANTED:
        assert {*pair} <= {*names}
    labels = [contenders.contender(name).label for name in names]
    assert labels == [*names], "pairs are looked up by label"
    assert len(known_names.twins(labels)) == 21


def test_coupled_decay_is_adam_on_the_penalised_gradient():
    params, grads = jnp.array([1.0, -2.0]), jnp.array([0.3, 0.1])
    coupled = adam_l2(0.1, 0.5)
    plain = optimizers.adam(0.1)
    for _ in range(2):
        expected, _ = plain.update(grads + 0.5 * params, plain.init(params), params)
        np.testing.assert_allclose(coupled.update(grads, coupled.init(params), params)[0], expected, rtol=1e-6)


def test_points_of_learning_rates():
    assert study_rows.points(1e-4, 1.0, 5) == (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    assert study_rows.points(0.1, 0.1, 1) == (0.1,)
    drawn = study_rows.points(1e-4, 1.0, 7, search="quasi_random")
    # van der Corput: 1/2, 1/4, 3/4, 1/8, 5/8, 3/8, 7/8
    np.testing.assert_allclose(np.log10(drawn), np.array([4, 2, 6, 1, 5, 3, 7]) / 8 * 4 - 4, atol=1e-3)


def test_a_problem_of_three_functions(here):
    found = known_names.problem("mine:functions")
    assert (found.name, found.steps_per_epoch) == ("mine:functions", 4)
    assert math.isclose(float(found.loss(jnp.zeros(3), (), np.ones((2, 3)), (), None)[0]), 1.0)


MISTAKES = {
    "--problems rosenbrok": ("problem='rosenbrok' is unknown", "nearest is 'rosenbrock'", "quadratic_deep"),
    "--problems mine:no_problem": ("problem='mine:no_problem' returned int", "(init, loss, batches)"),
    "--problems mine:no_batches": ("returned (function, function, list), neither a Problem nor three functions",),
    "--problems mine:nothing": ("problem='mine:nothing'", "package.module:function"),
    "--problems beale beale": ("problems=('beale', 'beale')", "none twice"),
    "--optimizer jaxdl.adamm": ("optimizer='jaxdl.adamm' is unknown", "nearest is"),
    "--optimizer jaxdl.adam(epps=1)": ("optimizer='jaxdl.adam(epps=1)': epps is no keyword", "eps"),
    "--optimizer jaxdl.adam(eps=f(1))": (
        "optimizer='jaxdl.adam(eps=f(1))': f(1) is not a literal",
        "NAME(keyword=value, ...)",
    ),
    "--optimizer jaxdl.adam(1)": ("only keywords are allowed",),
    "--optimizer jaxdl.adam(learning_rate=1)": ("learning_rate is no keyword to set here",),
    "--optimizer optax.adam optax.adam(eps=1e-3) optax.adam(eps=0.001)": ("none twice",),
    "--optimizer mine:no_optimizer": ("optimizer='mine:no_optimizer' does not work here", "int"),
    "--optimizer mine:branches_on_the_rate": ("does not work here", "called with a traced learning rate"),
    "--optimizer jaxdl.adam(eps=-1)": ("optimizer='jaxdl.adam(eps=-1)'", "eps"),
    "--seeds 0": ("seeds=0 is not allowed",),
    "--tuning-seeds 0": ("tuning_seeds=0 is not allowed",),
    "--rates 1 0.1": ("rates=(1.0, 0.1)",),
    "--rates 0 0.1": ("rates=(0.0, 0.1)",),
    "--points 0": ("points=0",),
    "--budget 5": ("budget='5'", "90s, 5m or 1h", "500steps"),
    "--budget 0s": ("budget='0s'", "above 0"),
    "--budget 1.5steps": ("budget='1.5steps'", "whole steps"),
    "--devices 9": ("devices=9 is not allowed", "from 1 to 8"),
    "--devices 2 --method loop": ("devices=2 is not allowed", "1 with --method loop"),
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_mistakes_are_named_and_leave_nothing(arguments, here, tmp_path, capsys):
    given = re.findall(r"\S+\(.*?\)+(?= |$)|\S+", arguments)
    defaults = [] if "--problems" in given else ["--problems", "mine:bowl"]
    defaults += [] if "--optimizer" in given else ["--optimizer", "jaxdl.sgd"]
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as end:
        commandline.run_main(lambda: compare_optimizers.main([*given, *defaults, "--out", str(out)]))
    error = capsys.readouterr().err
    assert end.value.code == 2
    for part in MISTAKES[arguments]:
        assert part in error
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.trains
def test_a_resumed_study_keeps_its_options_and_its_data(here, tmp_path, capsys):
    folder = tmp_path / "run"
    assert compare_optimizers.main([*COMMAND, "--budget", "4steps", "--out", str(folder)]) == 0
    with pytest.raises(ValueError, match="points is 3 in the run, 4 here"):
        compare_optimizers.main([*COMMAND, "--budget", "4steps", "--points", "4", "--resume", str(folder)])
    assert compare_optimizers.main([*COMMAND, "--budget", "4steps", "--resume", str(folder)]) == 0
    manifest = runs.read_json(folder / "manifest.json")
    assert {*manifest["data"]["sha256"]} == {"bowl", "quadratic_deep"}
    manifest["data"]["sha256"]["bowl"] = "0"
    runs.write_json(folder / "manifest.json", manifest)
    with pytest.raises(ValueError, match="bowl: its SHA-256"):
        compare_optimizers.main(["--resume", str(folder), "--trust-run"])
    assert "best rate" in capsys.readouterr().out

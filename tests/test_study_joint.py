"""Joint studies: spaces of several settings, their quasi-random points, schedules, and resuming to the same rows."""

import csv
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import qmc

from experiments.compare_optimizers import command, contenders, merge, records, spaces, study
from jaxdl import plots, runs, studies
from jaxdl.runs import names

RATES = (1e-3, 1e-1)


def space(label, count=4):
    return spaces.space(contenders.contender(label), RATES, count)


@pytest.fixture(scope="module", autouse=True)
def blank():
    """Draw no figure: the tables are what counts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "png", lambda figure, **options: b"png")
        yield


def table(path, without=records.TIMES):
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in without} for row in csv.DictReader(file)]


def settings_of(text) -> dict[str, Any]:
    return {k: v if k == "schedule" else float(v) for k, v in (one.split("=") for one in text.split())}


# ---------------------------------------------------------------- points


def test_the_first_points_by_hand():
    """Sobol's sequence begins with ½ in all coordinates, then with (¾, ¼, ¼, ¼, ¾)."""
    first, second, *_, own = space("jaxdl.adamw").points
    # the middle of 1e-5...1e-1, of the distances .5...0.01 from 1, of 4 shares and of 3 schedules
    assert first.rate == 0.01
    assert first.settings == "weight_decay=0.001 b1=0.9293 warmup=0.1 schedule=linear"
    assert pytest.approx(math.sqrt(0.5 * 0.01), abs=5e-5) == 1 - 0.9293
    assert first.values == (0.01, 0.001, 0.9293, 0.1, 1.0)
    assert (second.rate, second.settings) == (0.03162, "weight_decay=0.0001 b1=0.812 warmup=0.05 schedule=cosine")
    assert (own.rate, own.settings) == (0.001, "weight_decay=0.0001 b1=0.9 warmup=0 schedule=constant")
    assert own == space("jaxdl.adamw").own


def test_all_optimizers_try_equally_many_points_of_one_sequence():
    labels = ("jaxdl.sgd", "optax.sgd", "optax.adam(eps=0.001)", "jaxdl.lion", "jaxdl.lars", "jaxdl.adagrad")
    found = {label: space(label, 8).points[:8] for label in labels}
    for points in found.values():
        assert [p.rate for p in points] == [p.rate for p in found["jaxdl.sgd"]]
        shared = [{k: v for k, v in settings_of(p.settings).items() if k in ("warmup", "schedule")} for p in points]
        assert shared == [
            {k: settings_of(p.settings)[k] for k in ("warmup", "schedule")} for p in found["jaxdl.adagrad"]
        ]
    assert found["jaxdl.sgd"] == found["optax.sgd"]
    assert space("jaxdl.sgd", 3).points[:3] == space("jaxdl.sgd", 8).points[:3], "more points keep the first ones"
    lowest, highest = min(p.rate for p in found["jaxdl.sgd"]), max(p.rate for p in found["jaxdl.sgd"])
    assert RATES[0] <= lowest < 3e-3 < 3e-2 < highest <= RATES[1]
    # evenly spread: the discrepancy of the 15 points is far below that of chance
    unit = np.array(spaces._sobol(15))
    chance = np.mean([qmc.discrepancy(np.random.default_rng(seed).random((15, 5))) for seed in range(20)])
    assert qmc.discrepancy(unit) < 0.6 * chance


def test_a_name_fixes_its_keywords_and_methods_without_tuning_have_none():
    assert [*spaces.declared_space("optax.sgd(momentum=0.9)")] == []
    assert [*spaces.declared_space("optax.adamw(weight_decay=0.1)")] == ["b1"]
    assert [*spaces.declared_space("experiments.compare_optimizers:adam_l2")] == ["weight_decay"]
    assert [*spaces.declared_space("optax.yogi")] == ["b1"]
    free = space("jaxdl.prodigy")
    assert (free.points, free.own) == ((), spaces.Candidate(1.0, "defaults"))
    assert space("jaxdl.lars").own is None, "it has no default rate"
    assert spaces.alike(("jaxdl.adam", "optax.adam"))
    assert not spaces.alike(("jaxdl.momentum", "optax.sgd(momentum=0.9)"))


@pytest.mark.parametrize("label", command.default_optimizers())
def test_every_optimizer_of_the_default_study_takes_its_settings_traced(label):
    one, found = contenders.contender(label), space(label)
    params = {"w": jax.ShapeDtypeStruct((3, 4), jnp.float32), "b": jax.ShapeDtypeStruct((3,), jnp.float32)}
    width = len(found.points[0].values) + 1 if found.points else 0
    contenders.check(one._replace(build=found.build), params, settings=width)
    assert {*spaces.declared_space(label)} <= {*spaces.AXES}
    twin = names.twin(label)
    if twin is not None and "sgd(" not in twin:
        assert spaces.alike((label, twin)), "both tune the same"


# ---------------------------------------------------------------- schedules


@pytest.mark.parametrize("warmup", [0.0, 0.25])
@pytest.mark.parametrize("kind", spaces.SCHEDULES)
def test_schedules_know_the_number_of_steps(kind, warmup):
    steps, place = 40, spaces.SCHEDULES.index(kind)
    found = [float(spaces.scheduled(t, 0.5, warmup, place, steps)) for t in range(steps + 1)]
    rise = int(warmup * steps)
    peer = {
        "constant": optax.constant_schedule(0.5),
        "linear": optax.linear_schedule(0.5, 0.0, steps - rise),
        "cosine": optax.cosine_decay_schedule(0.5, steps - rise),
    }[kind]
    expected = [0.5 * (t + 1) / (rise + 1) if t < rise else float(peer(t - rise)) for t in range(steps + 1)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


# ---------------------------------------------------------------- studies


def bowl():
    """Return ½(w − 1)² from 0, whose gradient is w − 1."""
    zero = np.zeros((1, 1), np.float32)
    return studies.make_problem(
        lambda key: jnp.zeros(()), lambda w, batch: 0.5 * (w - 1) ** 2, lambda seed, epoch: [zero] * 4, name="half",
        epochs=3,
    )  # fmt: skip


@pytest.mark.trains
def test_runs_are_those_of_a_loop_with_their_settings(tmp_path):
    one = contenders.contender("jaxdl.sgd")
    settings = study.StudySettings(rates=RATES, seeds=1, tuning_seeds=1)
    given = spaces.space(one, (1e-2, 1.0), 5)
    study.Study(tmp_path, [bowl()], [one], settings, spaces={one.label: given}, line=lambda text: None).run()
    rows = table(tmp_path / records.RESULTS)
    assert tuple(table(tmp_path / records.RESULTS, ())[0]) == records.Result._fields
    assert [(row["stage"], row["settings"]) for row in rows[:-1]] == [
        ("default", given.points[-1].settings), *(("tuning", point.settings) for point in given.points)
    ]  # fmt: skip
    for row in rows:
        found, rate, w, velocity = settings_of(row["settings"]), float(row["rate"]), 0.0, 0.0
        rise = round(found["warmup"] * 12)
        for t in range(12):
            p = max(t - rise, 0) / (12 - rise)
            fall = {"constant": 1.0, "linear": 1 - p, "cosine": 0.5 * (1 + math.cos(math.pi * p))}[found["schedule"]]
            velocity = found["momentum"] * velocity + (w - 1)
            w -= rate * min(1, (t + 1) / (rise + 1)) * fall * velocity
        assert float(row["final"]) == pytest.approx(0.5 * (w - 1) ** 2, rel=1e-3, abs=1e-9), row
    best = min(rows[1:-1], key=lambda row: float(row["final"]))
    assert (rows[-1]["stage"], rows[-1]["rate"], rows[-1]["settings"]) == ("final", best["rate"], best["settings"])


SHARED = ["--space", "joint", "--rates", "0.001", "0.1", "--points", "2", "--tuning-seeds", "1", "--seeds", "2"]
SHARED += ["--budget", "20steps", "--problems", "elongated_bowl"]
OPTIMIZERS = ("jaxdl.sgd", "optax.contrib.dowg", "jaxdl.adamw")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("joint") / "whole"
    assert command.main([*SHARED, "--optimizer", *OPTIMIZERS, "--out", str(folder)]) == 0
    return folder


@pytest.mark.slow
@pytest.mark.trains
def test_a_joint_study_resumes_and_grows_to_the_same_rows(whole, tmp_path):
    folder = tmp_path / "run"
    assert command.main([*SHARED, "--optimizer", *OPTIMIZERS[:2], "--out", str(folder)]) == 0
    for name in (records.RESULTS, records.CURVES):
        (folder / name).write_bytes((folder / name).read_bytes()[:-400])
    assert command.main(["--resume", str(folder), "--optimizer", OPTIMIZERS[2]]) == 0
    for name in (records.RESULTS, records.CURVES, records.PATHS):
        assert table(folder / name) == table(whole / name)
    assert runs.read_json(folder / "config.json")["space"] == "joint"
    assert [row["settings"] for row in table(whole / records.RESULTS) if "dowg" in row["optimizer"]] == ["defaults"] * 2


def in_the_format_before(path):
    """Put the settings after the seed, where files had them at first."""
    with path.open(newline="") as file:
        lines = [[*line[:5], line[-1], *line[5:-1]] for line in csv.reader(file)]
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)


@pytest.mark.trains
def test_a_study_in_the_format_before_is_read_grown_and_merged(whole, tmp_path):
    folder = tmp_path / "old"
    assert command.main([*SHARED, "--optimizer", *OPTIMIZERS[:2], "--out", str(folder)]) == 0
    for name in (records.RESULTS, records.CURVES):
        in_the_format_before(folder / name)
    before = (folder / records.RESULTS).read_text()
    assert command.main(["--resume", str(folder), "--optimizer", OPTIMIZERS[2]]) == 0
    assert (folder / records.RESULTS).read_text().startswith(before)
    assert records.read(folder).select(stage="final")[0].settings
    for order in ((folder, whole), (whole, folder)):
        out = tmp_path / order[0].name / "merged"
        assert merge.main([str(out), *map(str, order)]) == 0
        for name in (records.RESULTS, records.CURVES):
            assert table(out / name) == table(whole / name)


@pytest.mark.trains
def test_the_report_names_the_tuned_settings(whole, tmp_path):
    text = (whole / "report.md").read_text()
    contents = records.read(whole)
    final = contents.select("elongated_bowl", "jaxdl.adamw", "final")[0]
    assert final.settings.replace("_", r"\_") in text
    assert "settings drawn at random" in text
    assert final.settings in (whole / "tables" / "final.csv").read_text()
    assert len(contents.curves) == len(contents.runs)
    assert merge.main([str(tmp_path / "merged"), str(whole), str(whole)]) == 0
    assert table(tmp_path / "merged" / records.RESULTS) == table(whole / records.RESULTS)
    with pytest.raises(ValueError, match="space is 'joint' in the run, 'rate' here"):
        command.main(["--resume", str(whole), "--space", "rate"])

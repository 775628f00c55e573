"""What `--diagnose` measures along a final run, against closed forms of a noisy quadratic and a numpy loop."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import report
from experiments.compare_optimizers import command, contenders, diagnosing, merge, records, study
from jaxdl import plots, studies

CURVATURES = np.array([1.0, 4.0, 0.5])
STEPS, BATCH = 12, 2


def batches(seed, epoch):
    return list(np.random.default_rng([seed, epoch]).normal(1, 0.5, (4, BATCH, 3)).astype(np.float32))


def noisy():
    """Return the mean of ½(w − x)ᵀD(w − x) over examples x: a batch's gradient is D(w − x̄)."""
    return studies.make_problem(
        lambda key: {"fc": {"w": jnp.full(3, 3.0)}},
        lambda params, batch: 0.5 * ((params["fc"]["w"][None] - batch) ** 2 @ jnp.float32(CURVATURES)).mean(),
        batches, name="noisy", epochs=3,
    )  # fmt: skip


def by_hand(rate):
    """Return the weights after each step of plain descent, and the squared norm and noise of the gradient there."""
    w, points = np.full(3, 3.0), []
    for step in range(STEPS + 1):
        shown = [CURVATURES * (w - batch.mean(0)) for epoch in range(2) for batch in batches(0, epoch)]
        mean = np.mean(shown, 0)
        variance = BATCH * np.sum((shown - mean) ** 2) / (len(shown) - 1)
        points.append((w, mean @ mean - variance / (BATCH * len(shown)), variance))
        w = w - rate * CURVATURES * (w - batches(0, step // 4)[step % 4].mean(0)) if step < STEPS else w
    return points


@pytest.fixture(scope="module", params=["vmap", "loop"])
def diagnosed(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    chosen = [contenders.contender(name) for name in ("jaxdl.sgd", "optax.adam", "optax.sgd(momentum=0.9)")]

    def make(diagnose):
        settings = study.StudySettings((0.1,), 2, tuning_seeds=1, method=request.param, diagnose=diagnose)
        study.Study(folder, [noisy()], chosen, settings, line=lambda text: None).run()

    make(False)
    assert not (folder / records.DIAGNOSTICS).exists()
    results = (folder / records.RESULTS).read_bytes()
    make(True)  # a finished study takes it
    assert (folder / records.RESULTS).read_bytes() == results
    once = (folder / records.DIAGNOSTICS).read_bytes()
    make(True)
    assert (folder / records.DIAGNOSTICS).read_bytes() == once
    return folder


@pytest.mark.slow
@pytest.mark.trains
def test_the_numbers_are_those_of_the_quadratic_and_a_loop(diagnosed):
    rows = records.read(diagnosed).diagnostics
    of = lambda name, quantity: {row.step: row.value for row in rows if row[1::2] == (name, quantity)}
    hand = by_hand(0.1)
    assert [*of("jaxdl.sgd", "noise_scale")] == [0, 4, 8, 12]
    for step, largest in of("jaxdl.sgd", "largest_eigenvalue").items():
        assert largest == pytest.approx(4, rel=1e-4)
        w, square, variance = hand[step]
        assert of("jaxdl.sgd", "gradient_variance")[step] == pytest.approx(variance, rel=1e-3)
        assert of("jaxdl.sgd", "gradient_norm_squared")[step] == pytest.approx(square, rel=1e-3, abs=1e-4)
        expected = variance / square if square > 0 else np.inf
        assert of("jaxdl.sgd", "noise_scale")[step] == pytest.approx(expected, rel=1e-2)
        if step:
            before = hand[step - 1][0]
            moved = np.linalg.norm(w - before) / np.linalg.norm(before)
            assert of("jaxdl.sgd", f"{diagnosing.RATIO} of fc")[step] == pytest.approx(moved, rel=1e-3)
    assert of("jaxdl.sgd", "stable_eigenvalue")[0] == pytest.approx(2 / 0.1, rel=1e-3)
    assert of("optax.sgd(momentum=0.9)", "stable_eigenvalue")[0] == pytest.approx(2 * 1.9 / 0.1, rel=1e-3)
    assert of("optax.adam", "stable_eigenvalue") == {}


@pytest.mark.trains
def test_the_report_has_a_row_and_figures_of_each(diagnosed, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "png", lambda figure, **options: drawn.append(figure) or b"png")
    report.main([str(diagnosed)])
    text = (diagnosed / "report.md").read_text()
    section = text.split("## Curvature and noise along training")[1].split("## Costs")[0]
    assert "figures/eigenvalue_noisy.png" in section
    assert "figures/noise_noisy.png" in section
    row = next(line for line in section.splitlines() if line.startswith("| noisy | jaxdl.sgd |"))
    assert [one.strip() for one in row.split("|")][3:6] == ["12", "4", "20"]


@pytest.mark.slow
@pytest.mark.trains
def test_a_merged_study_keeps_them(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "png", lambda figure, **options: b"png")
    shared = ["--problems", "elongated_bowl", "--points", "1", "--seeds", "2", "--budget", "20steps", "--diagnose"]
    folders = [tmp_path / name for name in ("a", "b")]
    for folder, name in zip(folders, ("jaxdl.sgd", "optax.adam"), strict=True):
        assert command.main([*shared, "--optimizer", name, "--out", str(folder)]) == 0
    assert merge.main([str(tmp_path / "both"), *map(str, folders)]) == 0
    alone = [row for folder in folders for row in records.read(folder).diagnostics]
    assert list(map(str, records.read(tmp_path / "both").diagnostics)) == list(map(str, alone))
    largest = {row.value for row in alone if row[1:4:2] == ("jaxdl.sgd", "largest_eigenvalue")}
    assert max(largest) == pytest.approx(25, rel=1e-4)
    assert {row.value for row in alone if row.quantity == "noise_scale" and row.value > 1e-9} == set(), (
        "all batches are one"
    )

"""Checkpoints take at most a tenth of a run's time, unless they were asked for."""

import numpy as np
import pytest

from experiments.train_cnn import trainer as trainers
from experiments.train_cnn.hooks import Every, SaveBudget, parse_every
from jaxdl import training
from tests.experiments.test_trainer import make_trainer, train


@pytest.mark.parametrize("cost", [0.01, 0.2, 3.0])
@pytest.mark.parametrize("epoch", [0.05, 1.0, 40.0])
def test_checkpoints_take_at_most_a_tenth_and_come_as_often_as_that_allows(cost, epoch):
    now = [0.0]
    budget, saves = SaveBudget(lambda: now[0]), []
    while now[0] < 1000 * max(cost, epoch):
        now[0] += epoch
        if budget.allows:
            with budget.spending():
                now[0] += cost
            saves.append(now[0])
            # the first one's cost is not known beforehand
            assert cost * len(saves) <= 0.1 * now[0] + max(0, cost - 0.1)
    gap = np.diff(saves)[1:]  # the second one makes up for the first
    assert gap.max() <= max(10 * cost, epoch + cost) + epoch + cost, "an epoch at most later than the share allows"
    if epoch >= 10 * cost and epoch >= 1:
        np.testing.assert_allclose(gap, epoch + cost)


@pytest.mark.parametrize(
    ("given", "every"),
    [
        (0, Every()),
        (100, Every(steps=100)),
        ("2epochs", Every(epochs=2)),
        ("1 epoch", Every(epochs=1)),
        ("90s", Every(seconds=90)),
        ("1h30m", Every(seconds=5400)),
    ],
)
def test_checkpoints_are_asked_for_in_steps_epochs_or_a_time(given, every):
    assert parse_every(given) == every


@pytest.mark.parametrize("given", [-1, "", "0epochs", "-2epochs", "0s", "10", "soon", "epochs", "1h30"])
def test_anything_else_gets_one_line(given):
    with pytest.raises(
        ValueError, match=r"checkpoint_every=.* is not allowed: it must be at least 0: a number of steps"
    ):
        parse_every(given)


@pytest.mark.trains
@pytest.mark.parametrize(("every", "wanted"), [("2epochs", [0, 8, 16, 20]), ("3s", [3, 6, 9, 12, 15, 18, 20])])
def test_a_trainer_saves_when_it_was_asked_to(every, wanted, tmp_path, monkeypatch):
    saved, now = [], [0.0]
    monkeypatch.setattr(trainers.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(training.checkpoints, "save", lambda folder, step, tree, meta: saved.append(step))
    trainer, _, _ = make_trainer(tmp_path, steps=4, epochs=5, checkpoint_every=every, log_every=100)
    count = trainer._on_metrics

    def tick(*args):  # a second per step
        now[0] += 1
        return count(*args)

    trainer._on_metrics = tick
    train(trainer, 5)
    assert saved == wanted

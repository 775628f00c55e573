"""Checkpoints take at most a tenth of a run's time, unless they were asked for."""

import numpy as np
import pytest

from experiments.train_cnn.budget import SaveBudget


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

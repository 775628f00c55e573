"""The range test against losses in closed form."""

import math

import numpy as np
import pytest

from jaxdl import schedules, training


def test_the_rate_of_the_steepest_fall_is_found():
    rates = np.geomspace(1e-6, 10, 200)
    losses = 2.3 / (1 + (rates / 1e-3) ** 2) + (rates / 0.5) ** 2  # falls at 1e-3, lowest near 0.03, then explodes
    found = training.suggest_rate(rates, losses)
    assert 5e-4 < found.steepest < 4e-3
    lowest = rates[np.argmin(losses)]
    assert lowest / 10 <= found.tenth < 4 * lowest / 10, "the average lags behind"


def test_noise_of_the_first_losses_suggests_nothing():
    rates = np.geomspace(1e-6, 10, 200)
    losses = 2.3 / (1 + (rates / 1e-3) ** 2) + (rates / 0.5) ** 2
    noisy = np.append(1.5 * losses[:1], losses[1:])  # the average falls by a sixth of the loss from step 1 to 2
    assert training.suggest_rate(rates, noisy).steepest == training.suggest_rate(rates, losses).steepest


def test_a_bowl_is_descended_until_two_over_its_curvature():
    """Descent on ½ λ w² multiplies w by 1 − αλ in each step, and so grows from α = 2 / λ on."""
    curvature, given = 50.0, []

    def begin(schedule):
        def step(state, batch):
            given.append(batch)
            w, count = state
            rate = float(schedule(count))
            return (w - rate * curvature * w, count + 1), 0.5 * curvature * w**2

        return (1.0, 0), step

    found = training.find_rate(begin, range(500), low=1e-4, high=10.0, steps=100)
    expected = [float(schedules.range_test(1e-4, 10.0, 99)(i)) for i in range(len(found.rates))]
    np.testing.assert_allclose(found.rates, expected)
    assert given == list(range(len(found.losses) + 1))
    assert 2 / curvature < found.end < 10 / curvature * 10
    assert found.suggestion.steepest < 2 / curvature
    with pytest.warns(RuntimeWarning, match=r"batches: got 2 for steps=200, so the test ended at a rate of 1\.1e-06"):
        short = training.find_rate(begin, range(2))
    assert (len(short.rates), short.suggestion) == (2, None)


def test_a_loss_that_is_not_finite_ends_the_test():
    found = training.find_rate(lambda _: (0, lambda state, _: (state, math.nan)), range(9), steps=3)
    assert (len(found.losses), found.suggestion) == (0, None)
    assert found.end == pytest.approx(1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: training.find_rate(lambda _: (0, None), [], low=0.0), r"low=0\.0, high=10\.0, steps=200"),
        (lambda: training.find_rate(lambda _: (0, None), [], steps=2), "steps=2: needed are"),
        (lambda: training.find_rate(lambda _: (0, None), []), "batches: got none"),
        (lambda: training.suggest_rate([1.0, 2.0], [1.0, 2.0]), r"got shapes \(2,\) and \(2,\)"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("seed", range(20))
def test_the_noise_of_a_flat_start_is_not_the_steepest_fall(seed):
    """The loss stands at 2.3 until a rate of 1e-2, falls to 1.3 within a decade, and batches differ by .3."""
    rates = np.geomspace(1e-6, 0.1, 180)
    falls = 2.3 - np.clip(np.log10(rates / 1e-2), 0, 1)
    losses = falls + np.random.default_rng(seed).normal(0, 0.3, rates.size)
    assert 1e-2 <= training.suggest_rate(rates, losses).steepest <= 0.1

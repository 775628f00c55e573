"""Accumulated gradients against large batches: equivalent in both orders, and named causes where they are not."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import same as command
from jaxdl import compare, optimizers

PARAMS = {"w": jnp.array([0.5, -1.0, 2.0]), "b": jnp.zeros(2)}
RATE = {"learning_rate": 0.01}
ADAM = (optax.adam, RATE)


def stream(count, seed=0):
    draw = np.random.default_rng(seed).normal(size=(count, 5)).astype(np.float32)
    return [{"w": one[:3], "b": one[3:]} for one in draw]


def accumulating(optimizer, count, **options):
    return optax.MultiSteps(optimizer, count, **options)


def several(learning_rate=0.01):
    return optax.MultiSteps(optax.adam(learning_rate), 4).gradient_transformation()


@pytest.mark.parametrize(
    "side", [accumulating(optax.adam(0.01), 4), optimizers.accumulate(optimizers.adam(0.01), 4)], ids=["optax", "ours"]
)
def test_four_accumulated_gradients_are_one_of_their_mean_in_both_orders(side):
    there = compare.assert_equivalent(side, ADAM, PARAMS, gradients={"random": stream(40)}, micro_batches=(4, 1))
    back = compare.assert_equivalent(ADAM, side, PARAMS, gradients={"random": stream(40)}, micro_batches=(1, 4))
    for found in (there, back):
        assert found.verdict in ("identical", "equivalent")
        assert found.records["random"].ulps.shape == (10, 2)
        assert found.records["random"].moved > 1e4
    halves = accumulating(optax.adam(0.01), 2)
    found = compare.equivalence(side, halves, PARAMS, stream(40), micro_batches=(4, 2))
    assert found.verdict in ("identical", "equivalent")


def test_the_other_side_gets_the_means():
    """A rate that differs by 1 % parts the two by 1 % of the sum of the batches' means, as in numpy."""
    gradients = stream(12)
    a, b = accumulating(optax.sgd(0.101), 4), optax.sgd(0.1)
    found = compare.equivalence(a, b, PARAMS, gradients, micro_batches=(4, 1))
    means = np.array([np.concatenate([g["b"], g["w"]]) for g in gradients], np.float64).reshape(3, 4, 5).mean(1)
    apart = np.abs(0.001 * np.cumsum(means, 0))
    np.testing.assert_allclose(found.absolute, np.stack([apart[:, :2].max(1), apart[:, 2:].max(1)], 1), rtol=1e-2)
    locked = compare.equivalence(a, b, PARAMS, gradients, micro_batches=(4, 1), locked=True)
    apart = np.abs(0.001 * means)
    np.testing.assert_allclose(locked.absolute, np.stack([apart[:, :2].max(1), apart[:, 2:].max(1)], 1), rtol=1e-2)
    assert (found.verdict, found.step) == ("different", 0)


@pytest.mark.parametrize(
    ("side", "cause"),
    [
        (accumulating(optax.sgd(0.1), 4, use_grad_mean=False), "{} steps with the sum of its 4 gradients"),
        (accumulating(optax.sgd(0.1), 2), "{} first steps after 2 of its gradients, of which 4 make a batch"),
        (accumulating(optax.sgd(0.1), 8), "{} first steps after 8 of its gradients, of which 4 make a batch"),
        (accumulating(optax.sgd(0.1), 80), "{} never steps, of which 4 make a batch"),
        (optax.sgd(0.1), "{} first steps after 1 of its gradients, of which 4 make a batch"),
        (accumulating(optax.sgd(0.2), 4), "cannot know: {} is opaque"),
    ],
    ids=["sum", "two", "eight", "never", "none", "rate"],
)
def test_what_differs_is_named(side, cause):
    whole = (optax.sgd, {"learning_rate": 0.1})
    there = compare.equivalence(side, whole, PARAMS, stream(16), micro_batches=(4, 1))
    back = compare.equivalence(whole, side, PARAMS, stream(16), micro_batches=(1, 4))
    for found, name in ((there, "a"), (back, "b")):
        assert (found.verdict, found.step) == ("different", 0)
        assert cause.format(name) in found.cause


def test_a_sum_under_adam_shows_where_eps_does():
    """Adam divides by the size of its gradients, so that only tiny ones tell a sum from a mean."""
    side = accumulating(optax.adam(0.01), 4, use_grad_mean=False)
    record = compare.equivalence(side, ADAM, PARAMS, stream(16), micro_batches=(4, 1))
    assert record.verdict == "equivalent"
    tiny = [{name: leaf * np.float32(1e-8) for name, leaf in one.items()} for one in stream(16)]
    record = compare.equivalence(side, ADAM, PARAMS, tiny, micro_batches=(4, 1))
    assert record.cause == "accumulation: a steps with the sum of its 4 gradients, where a batch has their mean"


@pytest.mark.slow
def test_keywords_are_searched_where_both_step_alike():
    record = compare.equivalence((several, {"learning_rate": 0.02}), ADAM, PARAMS, stream(16), micro_batches=(4, 1))
    assert str(record.cause).startswith("learning rate: learning_rate=0.02 against 0.01")


def test_mistakes_are_named():
    for wrong in ((3, 2), (0, 1), (-4, 1)):
        with pytest.raises(ValueError, match="one a multiple of the other"):
            compare.equivalence(ADAM, ADAM, PARAMS, stream(6), micro_batches=wrong)
    with pytest.raises(ValueError, match="got 6 trees, needed are at least 1 of 4 each, and no part of one"):
        compare.equivalence(ADAM, ADAM, PARAMS, stream(6), micro_batches=(4, 1))
    with pytest.raises(ValueError, match="got 6 trees, needed are steps=2 of 4 each"):
        compare.equivalence(ADAM, ADAM, PARAMS, stream(6), 2, micro_batches=(4, 1))


@pytest.mark.slow
def test_the_command_compares_them(tmp_path, monkeypatch, capsys):
    (tmp_path / "accumulates.py").write_text(
        "import optax\n\ndef opt(learning_rate, k=4):\n"
        "    return optax.MultiSteps(optax.adam(learning_rate), k).gradient_transformation()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert command.main(["accumulates:opt", "optax.adam", "--micro-batches", "4", "1"]) == 0
    assert capsys.readouterr().out.startswith("verdict: equivalent on these streams: mixed, sparse, random")
    assert command.main(["optax.adam", "accumulates:opt(k=2)", "--micro-batches", "1", "4"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("verdict: different on the stream mixed from batch 0 on")
    assert out[1] == "cause: accumulation: b first steps after 2 of its gradients, of which 4 make a batch"

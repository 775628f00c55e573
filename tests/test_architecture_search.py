"""The nets of `experiments.architecture_search` and its searches, against convolutions of jax and worked tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.architecture_search import command, nets
from jaxdl import losses

FIRST, FILTERS, CLASSES = (2, 3), (4, 6), 3


def peer(params, x, narrow, kernel, wide, first_kernel):
    """Return the logits of a net of the table by jax's own convolutions."""
    convolve = lambda x, w, padding: jax.lax.conv_general_dilated(
        x, w, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
    )
    edge = (nets.LARGEST - first_kernel) // 2
    small = params["first"][edge : nets.LARGEST - edge, edge : nets.LARGEST - edge, :, :narrow]
    z = convolve(x, small, "SAME") + np.tile(params["bias1"][:narrow], (*x.shape[:3], 1))
    a = np.maximum(z, 0).reshape(len(x), 7, 2, 7, 2, narrow).max((2, 4))
    z = convolve(jnp.asarray(a), params["second"][:, :, :narrow, :wide], "VALID")
    h = np.maximum(z + np.tile(params["bias2"][:wide], (*z.shape[:3], 1)), 0).mean((1, 2))
    return h @ params["out"][:wide] + np.tile(params["bias3"], (len(x), 1))


@pytest.fixture(scope="module")
def drawn():
    random = np.random.default_rng(0)
    start = nets.start(random, FIRST[-1], FILTERS[-1], CLASSES)
    biases = {
        f"bias{i}": np.float32(random.normal(size=n)) for i, n in ((1, FIRST[-1]), (2, FILTERS[-1]), (3, CLASSES))
    }
    x = random.normal(size=(5, nets.SIDE, nets.SIDE, 1)).astype(np.float32)
    return start, biases, x


@pytest.mark.parametrize(("first_kernel", "kernel"), [(3, 7), (7, 3), (5, 5)])
def test_nets_are_those_of_jax_s_convolutions_and_the_mixture_of_certain_choices_is_one_of_them(
    drawn, first_kernel, kernel
):
    start, biases, x = drawn
    params = {"first": start.first, "second": start.second[kernel], "out": start.out, **biases}
    expected = peer(params, x, FIRST[-1], kernel, FILTERS[-1], first_kernel)
    np.testing.assert_allclose(nets.network(params, nets.inside(first_kernel), x), expected, rtol=1e-3, atol=1e-3)
    every = params | {"first": [start.first] * 3, "second": [start.second[k] for k in nets.KERNELS]}
    certain = lambda place, n: np.where(np.arange(n) == place, 100, -100).astype(np.float32)
    alphas = {"kernel 1": certain(nets.KERNELS.index(first_kernel), 3), "filters 1": certain(0, 2),
              "kernel 2": certain(nets.KERNELS.index(kernel), 3), "filters 2": certain(0, 2)}  # fmt: skip
    expected = peer(params, x, FIRST[0], kernel, FILTERS[0], first_kernel)
    np.testing.assert_allclose(nets.mixture(every, alphas, x, FIRST, FILTERS), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_table_without_learning_is_that_of_the_initial_nets(drawn, monkeypatch):
    start, _, x = drawn
    monkeypatch.setattr(nets, "RATES", (0.0, 0.0))
    nets._table_program.cache_clear()
    labels, rows = np.arange(5) % CLASSES, np.zeros((1, 2), int)
    found = nets.table(start, (2,), (4,), nets.TableExamples(x, labels, rows), x, labels)
    nets._table_program.cache_clear()
    assert found.shape == (3, 1, 3, 1, 2, 2, 5)
    for i, first_kernel in enumerate(nets.KERNELS):
        params = {"first": start.first * np.float32(2**0.5 / first_kernel), "out": start.out[:4] / 2}
        params |= {"second": start.second[5] * np.float32((2 / 50) ** 0.5), "bias1": np.zeros(2, "f"),
                   "bias2": np.zeros(4, "f"), "bias3": np.zeros(3, "f")}  # fmt: skip
        logits = peer(params, x, 2, 5, 4, first_kernel)
        np.testing.assert_array_equal(found[i, 0, 1, 0, 0, 0], np.argmax(logits, -1) != labels)
        expected = losses.softmax_cross_entropy(logits, labels)
        np.testing.assert_allclose(found[i, 0, 1, 0, 1, 1], expected, rtol=1e-3, atol=1e-4)


def test_costs_are_counted_by_hand():
    assert nets.multiplications(3, 4, 5, 32) == 14 * 14 * 9 * 4 + 3 * 3 * 25 * 4 * 32
    assert nets.mixture_multiplications(4, 32) == 14 * 14 * 49 * 4 + (25 * 9 + 9 * 25 + 49) * 4 * 32
    config = command.Config(first=(1,), filters=(1, 2))
    every = [14 * 14 * a**2 + p * m for a in (3, 5, 7) for p in (225, 225, 49) for m in (1, 2)]
    assert command.relative_cost(config) == pytest.approx(2 * (14 * 14 * 49 + 499 * 2) / np.mean(every))


def test_searches_of_a_table_with_one_good_net(monkeypatch):
    """Of 54 nets, all but one err by 10 %; a search of one training finds it once in 54 times."""
    monkeypatch.setattr(command, "REPEATS", 300)
    monkeypatch.setattr(command, "BUDGETS", (1, 24, 128))
    config = command.Config(first=(1, 2), filters=(1, 2, 3))
    errors = np.full((3, 2, 3, 3, 3), 10.0)
    errors[1, 1, 0, 2] = 4.0
    numbers, curves = command.searched(config, errors, cost=24.0, seed=0)
    for n in (1, 24, 128):
        expected = 6 * (1 - 1 / 54) ** n
        assert numbers[f"random of {n}, regret"] == pytest.approx(expected, abs=0.45)
        assert numbers[f"random of {n}, test"] == pytest.approx(4 + numbers[f"random of {n}, regret"])
    assert numbers["random at that cost, regret"] == numbers["random of 24, regret"]
    np.testing.assert_allclose(
        curves["evolution curve"][:, 0], [numbers[f"evolution of {n}, regret"] for n in (1, 24, 128)]
    )
    assert numbers["evolution of 1, regret"] == numbers["random of 1, regret"]

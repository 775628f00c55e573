"""Every code block of docs/coming_from.md runs, and its table says what the libraries do."""

import pathlib
import re

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import initializers, layers, losses, nn, schedules

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "coming_from.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.mark.slow
@pytest.mark.trains
def test_the_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.mkdtemp", lambda: str(tmp_path))
    names = {}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"block {number} of coming_from.md", "exec"), names)
    assert "logits" in capsys.readouterr().out
    jax.tree.map(np.testing.assert_array_equal, names["loaded"], jax.device_get(names["params"]))
    jax.tree.map(np.testing.assert_array_equal, names["restored"].tree, jax.device_get(names["train_state"]))


def test_every_row_of_the_table_leads_to_a_section():
    targets = re.findall(r"^\| \[[^]]+\]\(#([a-z-]+)\)", PAGE, re.M)
    headings = {re.sub(r"[^a-z ]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^## (.+)$", PAGE, re.M)}
    assert len(targets) == len(re.findall(r"^\| \[", PAGE, re.M)) == 21
    assert {*targets} | {"a-loop"} == headings


def test_the_defaults_that_the_table_names():
    x = jnp.ones((1, 5, 5, 1))
    of_flax, _ = flax.linen.Conv(1, (3, 3)).init_with_output(jax.random.key(0), x)
    ours = nn.Conv(1, 3)
    assert of_flax.shape == ours.apply(*ours.init(jax.random.key(0), (5, 5, 1)), x)[0].shape == (1, 5, 5, 1)
    norm = nn.BatchNorm()
    params, state = norm.init(jax.random.key(0), (5, 5, 1))
    _, new = norm.apply(params, state, x, train=True)
    np.testing.assert_allclose(new["mean"], 0.1, rtol=1e-6)
    assert flax.linen.BatchNorm().momentum == 0.99
    # PyTorch's documented mean with weights, written out
    logits, labels, weights = (
        jnp.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]),
        jnp.array([0, 1, 1]),
        jnp.array([1.0, 3.0]),
    )
    each = losses.softmax_cross_entropy(logits, labels, class_weights=weights)
    nll = -np.log(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))[np.arange(3), labels]
    np.testing.assert_allclose(each.sum() / weights[labels].sum(), (nll * [1, 3, 3]).sum() / 7, rtol=1e-6)
    theirs = optax.piecewise_constant_schedule(0.1, {30: 0.1})
    assert np.allclose([schedules.step(0.1, {30: 0.1})(t) for t in (29, 30)], [theirs(t) for t in (29, 30)], rtol=1e-7)


def test_a_mean_of_pytorchs_and_flaxs_pools_counts_padding_and_the_stride_of_flaxs_is_1():
    x = jnp.ones((1, 5, 5, 1))
    # of a window of 3 at the corner of ones, 4 entries lie inside the image
    pool = {"window": 3, "padding": 1}
    assert nn.AvgPool(**pool).apply({}, {}, x)[0][0, 0, 0, 0] == 1
    assert np.isclose(layers.avg_pool2d(x, **pool, count_padding=True)[0, 0, 0, 0], 4 / 9)
    assert np.isclose(flax.linen.avg_pool(x, (3, 3), padding=((1, 1), (1, 1)))[0, 0, 0, 0], 4 / 9)
    assert flax.linen.max_pool(x, (3, 3)).shape == (1, 3, 3, 1)
    assert nn.MaxPool(3).out_shape((5, 5, 1)) == (1, 1, 1)


@pytest.mark.parametrize(("total", "rise"), [(20, 0.3), (100, 0.25), (1000, 0.3)])
def test_one_cycle_of_a_step_less_is_pytorchs(total, rise):
    """PyTorch's OneCycleLR, written out: half cosines to step rise · total - 1 and on to total - 1."""
    top, end = rise * total - 1, total - 1
    half = lambda a, b, part: b + (a - b) * (1 + np.cos(np.pi * part)) / 2
    first, last = 0.1 / 25, 0.1 / 25 / 1e4
    expected = [
        half(first, 0.1, t / top) if t <= top else half(0.1, last, (t - top) / (end - top)) for t in range(total)
    ]
    found = [schedules.one_cycle(total - 1, 0.1, rise)(t) for t in range(total)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
    assert not np.allclose([schedules.one_cycle(total, 0.1, rise)(t) for t in range(total)], expected, rtol=1e-4)


def test_initial_weights_are_those_that_the_table_names():
    draw = lambda layer: layer.init(jax.random.key(0), (500,))[0]
    ours, pytorchs = (
        draw(nn.Dense(400)),
        draw(nn.Dense(400, kernel_init=initializers.variance_scaling(1 / 3, "fan_in", "uniform"))),
    )
    flaxs = flax.linen.Dense(400).init(jax.random.key(0), jnp.ones(500))["params"]
    for params in (ours, flaxs):
        np.testing.assert_allclose(params["kernel"].std(), 500**-0.5, rtol=0.02)
        assert not params["bias"].any()
    largest = [float(jnp.abs(params["kernel"]).max()) * 500**0.5 for params in (ours, flaxs, pytorchs)]
    assert largest[0] > 4 > 2.3 > largest[1] > 2.2  # flax cuts at two deviations, scaled up
    assert 0.999 < largest[2] <= 1


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_the_rate_falls_an_epoch_later_in_pytorch(patience):
    """ReduceLROnPlateau(factor=.1, patience, threshold=1e-4), written out: it counts bad epochs beyond its patience."""
    values = [1.0, 0.5, 0.5, 0.6, 0.5, 0.49999, 0.7, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.3]
    scale, best, bad, expected = 1.0, np.inf, 0, []
    for value in values:
        best, bad = (value, 0) if value < best * (1 - 1e-4) else (best, bad + 1)
        scale, bad = (scale * 0.1, 0) if bad > patience else (scale, bad)
        expected.append(scale)
    plateau = schedules.reduce_on_plateau(factor=0.1, patience=patience + 1)
    state, found = plateau.init({}), []
    for value in values:
        _, state = plateau.update({}, state, value=value)
        found.append(state.scale)
    np.testing.assert_allclose(found, expected, rtol=1e-5)

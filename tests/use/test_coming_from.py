"""Every code block of docs/coming_from.md runs, and its table says what the libraries do."""

import pathlib
import re

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import losses, nn, schedules

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "coming_from.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


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
    assert len(targets) == len(re.findall(r"^\| \[", PAGE, re.M)) == 18
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
    assert [float(schedules.step(0.1, {30: 0.1})(t)) for t in (29, 30)] == [float(theirs(t)) for t in (29, 30)]

"""The fast CIFAR-10 recipe: its parts against closed forms, and a tiny run. A GPU trains the real one in seconds."""

import dataclasses
import os
import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.cifar10_speedrun import command
from experiments.cifar10_speedrun import recipe as speedrun


def test_the_net_has_the_papers_number_of_parameters():
    params, _ = jax.eval_shape(lambda: speedrun.net().init(jax.random.key(0), (32, 32, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 1_971_640
    labels = [speedrun.label(jax.tree_util.keystr(path)) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    assert [labels.count(kind) for kind in ("frozen", "whiten", "norm", "head", "filter")] == [1, 1, 6, 1, 6]


def test_whitened_patches_have_unit_covariance():
    rng = np.random.default_rng(0)
    grey = rng.normal(size=(50, 12, 12, 1)) + 0.3 * rng.normal(size=(50, 12, 12, 3))
    kernel = speedrun.whitening_kernel(grey)
    y = jax.lax.conv_general_dilated(
        jnp.asarray(grey, jnp.float32), kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    first = np.asarray(y, np.float64)[..., :12].reshape(-1, 12)
    np.testing.assert_allclose(first.T @ first / len(first), np.eye(12), atol=0.02)
    np.testing.assert_array_equal(kernel[..., 12:], -kernel[..., :12])


@pytest.mark.slow
def test_the_first_filters_pass_their_channel_on():
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 4))
    kernel = speedrun.identity_start(jax.random.key(1), (3, 3, 4, 7))
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    np.testing.assert_allclose(y[..., :4], x, atol=1e-6)
    assert np.abs(kernel[..., 4:]).min() > 0


def test_the_schedule_is_a_triangle():
    rate = speedrun.triangle(100)
    np.testing.assert_allclose(
        [rate(0), rate(11.5), rate(23), rate(61.5), rate(100)], [0.2, 0.6, 1, 0.535, 0.07], rtol=1e-5
    )


def test_lookahead_pulls_every_five_steps_and_ends_at_the_slow_weights():
    slow, fast = jnp.float32(0), jnp.float32(1)
    pull = lambda done: [float(value) for value in speedrun.look_ahead(jnp.int32(done), 100, slow, fast)]
    assert pull(4) == [0, 1]
    expected = 1 - 0.95**5 * 0.05**3
    assert pull(5) == pytest.approx([expected, expected])
    assert pull(100) == [0, 0]


@pytest.fixture
def filters():
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.standard_normal((3, 3, 4, 8)), jnp.float32) for _ in range(3)]


def test_muon_keeps_the_filters_norm_and_steps_by_its_newton_schulz(filters):
    kernel, *gradients = filters
    config = speedrun.resolve(speedrun.Config(optimizer="muon", dtype="float32"))
    optimizer = speedrun.muon_kinds(config, 200, 75)["filter"]
    state, w = optimizer.init(kernel), np.asarray(kernel, np.float64)
    buffer = 0.0
    for step, gradient in enumerate(gradients):
        g = np.asarray(gradient, np.float64).reshape(36, 8)
        buffer = 0.6 * buffer + g
        x = (g + 0.6 * buffer).T
        x /= np.linalg.norm(x)
        for _ in range(3):
            a = x @ x.T
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        w = w * np.sqrt(8) / np.linalg.norm(w) - 0.24 * (1 - step / 200) * x.T.reshape(w.shape)
        updates, state = optimizer.update(gradient, state, kernel)
        kernel = kernel + updates
    np.testing.assert_allclose(kernel, w, rtol=1e-4, atol=1e-5)


def test_the_others_rates_are_those_of_the_summed_loss():
    config = speedrun.resolve(speedrun.Config(optimizer="muon"))
    assert (config.epochs, config.batch_size, config.learning_rate) == (8, 2000, 0.24)
    kinds = speedrun.muon_kinds(config, 200, 75)
    ones = jnp.ones(3)
    for kind, rate, end in (("whiten", 0.053, 75), ("norm", 0.053, 200), ("head", 0.67, 200)):
        state, w, buffer = kinds[kind].init(ones), np.ones(3), 0.0
        for step in range(2):  # the gradient of the sum is 1, that of the mean 1 / 2000
            updates, state = kinds[kind].update(ones / 2000, state, jnp.asarray(w))
            g = 1 + 2e-6 * 2000 / rate * w
            buffer = 0.85 * buffer + g
            w = w - rate * (1 - step / end) * (g + 0.85 * buffer)
            np.testing.assert_allclose(updates, -rate * (1 - step / end) * (g + 0.85 * buffer), rtol=1e-5)
    late = jax.tree.map(lambda x: x if x.ndim else jnp.full_like(x, 90), kinds["whiten"].init(ones))
    assert not kinds["whiten"].update(ones, late, ones)[0].any()  # the whitening bias trains for the first epochs only


def test_the_head_of_the_form_with_muon_starts_at_unit_deviation():
    nets = speedrun.net(0.125), speedrun.net(0.125, "muon")

    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def start_and_outputs():
        params, state = nets[1].init(jax.random.key(0), (32, 32, 3))
        return params, [net.apply(params, state, jnp.ones((1, 32, 32, 3)))[0] for net in nets]

    params, (nesterov, muon) = start_and_outputs()
    assert float(jnp.std(params["head"]["kernel"], ddof=1)) == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(32 * muon, 9 * nesterov, rtol=1e-5)


DATA = os.environ.get("JAXDL_DATA_DIR")
TINY = ["--epochs", "2", "--batch-size", "64", "--examples", "192", "--test-examples", "100", "--width", "0.125"]


@pytest.mark.trains
@pytest.mark.slow
@pytest.mark.skipif(not DATA or not any(pathlib.Path(DATA).glob("*cifar*")), reason="CIFAR-10 is not there")
@pytest.mark.parametrize("optimizer", ["nesterov", "muon"])
def test_a_tiny_run_writes_its_rows_and_scan_and_loop_agree(optimizer, tmp_path, capsys):
    options = [*TINY, "--optimizer", optimizer, "--runs", "1", "--dtype", "float32", "--out", str(tmp_path)]
    found = []
    for scan in ("True", "False"):
        assert command.main([*options, "--scan", scan]) == 0
        found.append((tmp_path / "runs.csv").read_text().splitlines()[1].split(",")[0])
    assert found[0] == found[1]
    assert "6 steps" in capsys.readouterr().out


def test_a_wrong_option_is_named():
    with pytest.raises(ValueError, match="batch_size=1024 is not allowed: there are 10 examples"):
        speedrun.resolve(dataclasses.replace(speedrun.Config(), examples=10))

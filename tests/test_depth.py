"""The parts of `experiments.depth`, against worked cases."""

import functools
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.depth import command, nets
from jaxdl import data, models

SIZE = nets.NetSize(0.1, 8, 4, 4)


def test_nets_and_their_blocks_are_those_of_the_paper():
    full = nets.NetSize(1.0, 8, 4, 10)
    peers = {"plain, 20 layers": models.plain20, "residual, 32 layers": models.resnet32}
    assert {*peers} < {*command.cases(command.Config())}
    for case, peer in peers.items():
        count = lambda layer: sum(
            leaf.size for leaf in jax.tree.leaves(jax.eval_shape(lambda: layer.init(jax.random.key(0), (32, 32, 3)))[0])
        )
        layer = nets.network(case, full)
        assert count(layer) == count(peer(10))
        found = nets.blocks(layer)
        assert len(found) == 1 + 3 * (int(case.split()[1]) - 2) // 6
        assert found[:2] == ["relu1", "conv2/block1"]


def test_the_rate_falls_after_a_half_and_three_quarters_and_weights_decay():
    optimizer, params = nets.optimizer(0.5, 8), {"w": jnp.float32([2.0])}
    state, seen = optimizer.init(params), []
    for _ in range(8):
        updates, state = optimizer.update({"w": jnp.float32([1.0])}, state, params)
        seen.append(float(updates["w"][0]))
    trace, expected = 0.0, []
    for step in range(8):
        trace = 0.9 * trace + 1 + 1e-4 * 2
        expected.append(-0.5 * 0.1 ** ((step >= 4) + (step >= 6)) * trace)
    np.testing.assert_allclose(seen, expected, rtol=1e-5)


def test_chunks_are_filled_up_and_cut_again(monkeypatch):
    monkeypatch.setattr(nets, "CHUNK", 4)
    sizes = []
    found = nets.chunked(lambda x: (sizes.append(len(x)), {"twice": 2 * x})[1], np.arange(6))
    np.testing.assert_array_equal(found["twice"], 2 * np.arange(6))
    assert sizes == [4, 4]


@pytest.mark.slow
def test_probes_see_the_means_of_a_grid(monkeypatch):
    """The class is the brightness of one quarter of the image, which its means tell without an error."""
    monkeypatch.setattr(nets, "CHUNK", 20)
    labels = np.arange(20) % 4
    images = np.random.default_rng(0).integers(0, 40, (20, 32, 32, 3)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[16 * (label // 2) :, 16 * (label % 2) :][:16, :16] += 150
    seen = functools.partial(data.normalize, stats=data.fit_normalization(images, 255.0))
    program = nets.program("plain, 8 layers", SIZE, seen)
    carry = program.init(jax.random.key(0), (32, 32, 3))
    means = program.features(*carry[:2], images)
    expected = seen(images).reshape(20, 2, 16, 2, 16, 3).mean((2, 4)).reshape(20, -1)
    np.testing.assert_allclose(means["image"], expected, rtol=1e-4, atol=1e-5)
    assert [means[path].shape for path in program.paths[1::3]] == [(20, 8), (20, 24)]
    found = nets.probes(program, carry, [(images, labels)] * 3, 4)
    assert found["image"] == 0
    assert [*found] == program.paths == ["image", "relu1", *(f"conv{i}/block1" for i in (2, 3, 4))]


@pytest.mark.parametrize("full", [False, True])
def test_the_papers_errors_are_held_to_runs_of_its_size_only(full):
    errors = {"plain, 20 layers": 30, "plain, 32 layers": 33, "residual, 20 layers": 9, "residual, 32 layers": 7.5}
    numbers = lambda case, what: errors[case] + np.array([-0.5, 0, 0.5]) * (1 if "error" in what else 0)
    outcomes: Any = types.SimpleNamespace(numbers=numbers)
    found = {one.text: one.verdict for one in command.judge(command.Config(full=full), outcomes)}
    held = [verdict for text, verdict in found.items() if "the paper's" in text]
    assert held == (["holds", "holds"] if full else [])
    assert next(verdict for text, verdict in found.items() if "plain nets get worse" in text) == "holds"
    assert next(verdict for text, verdict in found.items() if "at half time" in text) == "not shown here"


def test_images_are_shuffled_because_archives_hold_them_class_by_class():
    """Batch norm's statistics of the first test images would be those of one class."""
    _, (parts, _, _) = command.load(command.Config(dataset="tests.zoo:photographs", images=10))
    for images, labels in parts:
        assert len(images) == len(labels)
        assert (np.diff(labels) < 0).any()


def test_an_option_of_the_wrong_sign_or_too_many_images_are_named():
    for config, message in (
        (command.Config(width=0.0), r"width=0\.0 is not allowed: it must be above 0"),
        (command.Config(depths=(32, 20)), r"depths=\(32, 20\) is not allowed: it must be two of 8, 14, 20"),
        (command.Config(depths=(20, 33)), r"depths=\(20, 33\) is not allowed"),
        (command.Config(rates=()), r"rates=\(\) is not allowed: it must be above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            command.check(config)
    with pytest.raises(ValueError, match="images=9999 is not allowed"):
        command.load(command.Config(dataset="tests.zoo:photographs", images=9999))
    with pytest.raises(ValueError, match="needed are 32×32"):
        command.load(command.Config(dataset="tests.nets:squares", images=10))

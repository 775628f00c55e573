"""Values that are not finite: skipped and counted, or the first one named by step and layer; and lack of memory."""

import dataclasses
import itertools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.train_cnn import causes, command, memory
from experiments.train_cnn.command import main
from experiments.train_cnn.steps import SKIPPED, skipping
from jaxdl import data, losses, nn, training
from tests.experiments.test_trainer import make_trainer, measured, nan_loss

NET = nn.serial(flatten=nn.flatten, fc=nn.Dense(3))


def batch_of(images):
    n = len(images)
    return data.Batch(images, np.arange(n) % 3, np.ones(n, np.float32), np.arange(n))


def test_a_skipped_step_changes_nothing_but_the_number_of_the_step():
    optimizer = optax.chain(optax.clip(1e9), optax.adam(0.1))
    step = jax.jit(skipping(training.train_step(NET, optimizer)))
    state = training.create(jax.random.key(0), NET, optimizer, (2, 2, 1))
    good = np.random.default_rng(0).random((6, 2, 2, 1)).astype(np.float32)
    state, sums = step(state, batch_of(good), jax.random.key(1))
    assert float(sums[SKIPPED]) == 0
    assert float(sums["weight"]) == 6
    for bad in (np.nan, np.inf):
        images = good.copy()
        images[0, 0, 0, 0] = bad
        after, sums = step(state, batch_of(images), jax.random.key(1))
        assert {name: float(value) for name, value in sums.items()} == {**dict.fromkeys(sums, 0), SKIPPED: 1}
        assert (int(state.step), int(after.step)) == (1, 2)
        jax.tree.map(np.testing.assert_array_equal, after._replace(step=state.step), state)
    once_more, _ = step(after, batch_of(good), jax.random.key(1))
    assert not np.array_equal(once_more.params["fc"]["kernel"], state.params["fc"]["kernel"])


@pytest.mark.parametrize("where", ["params", "opt_state"])
def test_a_step_of_finite_loss_that_would_spoil_the_state_is_skipped(where):
    """Such as a gradient whose square overflows: the next loss may be finite, and the moment never again."""
    spoil = lambda tree: jax.tree.map(lambda leaf: leaf * jnp.inf, tree)

    def update(updates, state, params=None):
        return (spoil(updates), state) if where == "params" else (updates, spoil(state))

    optimizer = optax.GradientTransformation(lambda params: jnp.ones(2), update)
    step = skipping(training.train_step(NET, optimizer))
    state = training.create(jax.random.key(0), NET, optimizer, (2, 2, 1))
    after, sums = step(state, batch_of(np.ones((3, 2, 2, 1), np.float32)), jax.random.key(1))
    assert float(sums[SKIPPED]) == 1
    jax.tree.map(np.testing.assert_array_equal, after._replace(step=state.step), state)


def test_a_state_that_holds_infinities_by_design_is_no_reason_to_skip():
    def update(updates, state, params=None):
        return updates, state

    inf = optax.GradientTransformation(lambda params: jnp.float32(jnp.inf), update)
    optimizer = optax.chain(inf, optax.sgd(0.1))
    step = skipping(training.train_step(NET, optimizer))
    state = training.create(jax.random.key(0), NET, optimizer, (2, 2, 1))
    _, sums = step(state, batch_of(np.ones((3, 2, 2, 1), np.float32)), jax.random.key(1))
    assert float(sums[SKIPPED]) == 0
    assert causes.bad_leaves(state) == ["opt_state[0]"]


@pytest.mark.slow
@pytest.mark.trains
def test_on_nan_skip_counts_says_so_and_reports_it(run, here, tmp_path):
    import mine  # pyright: ignore[reportMissingImports]

    parts = data.split(data.from_arrays(*mine.blobs()), seed=0, dev_fraction=0.1)
    order = (data.batch_rows(len(parts.train.labels), 16, seed=0, epoch=epoch) for epoch in range(3))
    rows = [one.row for epoch in order for one in epoch]
    bad = [number for number, row in enumerate(rows, 1) if 0 in row]  # the first image makes the loss NaN
    assert bad
    (here / "spoils.py").write_text(
        "import jax.numpy as jnp, numpy as np, mine\nfrom jaxdl import nn\n"
        f"BAD = np.float32({float(parts.train.images[0, 0, 0, 0])!r})\n"
        "def net(classes):\n"
        "    return nn.serial(bad=lambda x: jnp.where(x == BAD, jnp.nan, x), **mine.net(classes).children)\n"
    )
    args = ["--dataset", "mine:blobs", "--model", "spoils:net", "--optimizer", "sgd", "--normalization", "none"]
    args += ["--batch-size", 16, "--epochs", 3, "--log-every", 1, "--on-nan", "skip", "--out", tmp_path / "run"]
    code, out, err = run(main, *args)
    assert (code, err) == (0, "")
    assert f"jaxdl.sgd: skipped {len(bad)} steps that were not finite, up to step {bad[-1]}" in out
    train = [row for row in measured(tmp_path / "run") if row.split == "train"]
    assert [row.step for row in train if math.isnan(row.loss)] == bad, "a step that was skipped has no loss"
    assert [row.step for row in train] == list(range(1, len(rows) + 1))
    changes = [row.step for before, row in itertools.pairwise(train) if row.learning_rate != before.learning_rate]
    assert changes == [step for step in range(2, len(rows) + 1) if step not in bad], "a skipped step has no rate"
    (result,) = json.loads((tmp_path / "run" / "summary.json").read_text())["rows"]
    assert (result["skipped"], result["steps"], result["diverged_at"]) == (len(bad), len(rows), None)
    said = f"jaxdl.sgd skipped {len(bad)} of its {len(rows)} steps, which were not finite."
    assert said in (tmp_path / "run" / "report.md").read_text()


@pytest.mark.trains
def test_skipping_ends_after_an_epoch_of_it(tmp_path):
    trainer, _, _ = make_trainer(tmp_path, optimizer=optax.sgd(0.1), on_nan="skip", early_stop=None)
    images = trainer.setup.splits.train.images
    images[:] = np.nan
    step = skipping(training.train_step(trainer.setup.layer, optax.sgd(0.1)))
    trainer.start = trainer.start._replace(step=training.data_parallel(step, devices=1))
    with pytest.raises(command.runs.Diverged, match="m: 3 steps in a row were not finite up to step 3; no loss was"):
        trainer.train_epoch(0)


@pytest.mark.trains
@pytest.mark.parametrize("steps_per_call", [None, 4])
def test_the_first_leaf_that_is_not_finite_is_named_with_its_layer(tmp_path, steps_per_call):
    trainer, _, _ = make_trainer(tmp_path, steps=7, steps_per_call=steps_per_call, log_every=100, optimizer=nan_loss(2))
    with pytest.raises(command.runs.Diverged) as end:
        trainer.train_epoch(0)
    assert str(end.value).startswith("m: the loss is nan at step 3; the last finite loss was")
    assert "value that is not finite is params['fc']['bias'] (layer fc) after step 2; the check" in str(end.value)


@pytest.mark.parametrize(
    ("layer", "image", "expected"),
    [
        (nn.serial(flatten=nn.flatten, fc=nn.Dense(3), log=jnp.log), 0.5, "the output of layer log in step 1"),
        (nn.serial(flatten=nn.flatten, exp=lambda x: jnp.exp(1e3 * x), fc=nn.Dense(3)), 0.5, "the output of layer exp"),
        (NET, np.nan, "the images of the batch in step 1"),
    ],
)
def test_a_forward_pass_that_overflows_is_named_by_its_first_layer(layer, image, expected, tmp_path):
    trainer, _, _ = make_trainer(tmp_path, optimizer=optax.sgd(0.1))
    trainer.setup.splits.train.images[:] = image
    shared = trainer.setup._replace(layer=layer)
    optimizer = optax.sgd(0.1)
    params, state = layer.init(jax.random.key(0), (2, 2, 1))
    params = jax.tree.map(lambda leaf: leaf - 9, params)  # so that the logarithm is of a negative number
    begun = training.start(params, state, optimizer)
    step = training.data_parallel(training.train_step(layer, optimizer), devices=1)
    found = causes.first_cause(shared, trainer.start._replace(step=step), step.place(begun), trainer.key, (0, 0), 3)
    assert found.startswith(expected)


def test_a_loss_that_overflows_is_no_layer_s_fault(tmp_path):
    trainer, _, _ = make_trainer(tmp_path, optimizer=optax.sgd(0.1))
    loss = lambda y, labels: losses.softmax_cross_entropy(y, labels) / 0
    step = training.data_parallel(training.train_step(trainer.setup.layer, optax.sgd(0.1), loss=loss), devices=1)
    begun = step.place(training.start(*NET.init(jax.random.key(0), (2, 2, 1)), optax.sgd(0.1)))
    start = trainer.start._replace(step=step)
    found = causes.first_cause(trainer.setup, start, begun, trainer.key, (0, 0), 3)
    assert found == "the loss or its penalty, of finite outputs, in step 1"


def test_all_finite_steps_have_no_cause(tmp_path):
    trainer, _, _ = make_trainer(tmp_path)
    assert causes.first_cause(trainer.setup, trainer.start, trainer.state, trainer.key, (0, 0), 4) == ""


@pytest.mark.trains
def test_debug_nans_stops_at_the_operation(run, here, tmp_path):
    (here / "logs.py").write_text(
        "import jax.numpy as jnp\nfrom jaxdl import nn\n"
        "def net(classes):\n"
        "    return nn.serial(flat=nn.flatten, fc=nn.Dense(classes), log=lambda x: jnp.log(-jnp.abs(x)))\n"
    )
    args = ["--dataset", "mine:blobs", "--model", "logs:net", "--optimizer", "sgd", "--augment", "none"]
    with pytest.raises(FloatingPointError, match="nan"):
        main([*args, "--debug-nans", "--out", str(tmp_path / "run")])
    assert jax.config.values["jax_debug_nans"] is False


# ---------------------------------------------------------------- memory


def exhausted(*arguments):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.\nand more")


@pytest.mark.trains
def test_too_little_memory_for_a_step_says_what_it_takes_and_what_to_lower(tmp_path):
    trainer, _, _ = make_trainer(tmp_path)
    trainer.start = trainer.start._replace(step=trainer.start.step._replace(step=exhausted))
    with pytest.raises(MemoryError) as end:
        command.train([trainer], 1, lambda line: None)
    arguments, temporaries = memory.estimate(trainer.setup, trainer.start)
    assert arguments > sum(leaf.nbytes for leaf in jax.tree.leaves(trainer.start.state.params)) * 3
    assert temporaries > 0
    said = f"the step of m takes {memory.megabytes(temporaries)} beside {memory.megabytes(arguments)} of state and data"
    assert str(end.value) == (
        f"RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.; {said}; try a --batch-size below 8 or --accumulate 2 "
        "(the same batch in 2 parts; --on-oom accumulate finds the number) or --compute-dtype bfloat16"
    )


def test_too_little_memory_to_compile_says_so(tmp_path):
    trainer, _, _ = make_trainer(tmp_path)
    start = trainer.start._replace(step=trainer.start.step._replace(lower=exhausted))
    said = "; the step of m cannot even be compiled; try a --batch-size below 8"
    with pytest.raises(MemoryError, match=said), memory.explained(trainer.setup, start):
        exhausted()
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), memory.explained(trainer.setup, start):
        raise jax.errors.JaxRuntimeError("INTERNAL: a bug")


def test_advice_names_only_what_is_left(tmp_path):
    trainer, _, _ = make_trainer(tmp_path)
    config = dataclasses.replace(trainer.setup.config, devices=2, accumulate=4, compute_dtype="bfloat16")
    assert memory.advice(config) == "try a --batch-size below 8"

"""The settings of `experiments.train_cnn`: gradients, mixtures, class weights, augmentations, no development part."""

import csv
import json
import re
import types
import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.utils.class_weight import compute_class_weight

from experiments.train_cnn import choices, groups, setup, steps
from experiments.train_cnn import command as train_cnn
from experiments.train_cnn.config import Augment, Config, Schedule, resolve
from jaxdl import activations, analysis, data, nn, optimizers, training
from jaxdl.data import augmentation

RNG = np.random.default_rng(0)
PARAMS = {"kernel": jnp.array([[3.0, -4.0]]), "bias": jnp.array([12.0])}  # of norm 13


# --- the optimizer


@pytest.mark.parametrize("bound", [1.0, 100.0])
def test_a_gradient_longer_than_the_bound_is_scaled_to_it(bound):
    ours, _ = choices.optimizer("sgd", 1.0, None, PARAMS, clip_norm=bound)
    updates, _ = ours.update(PARAMS, ours.init(PARAMS), PARAMS)
    assert float(optax.tree.norm(updates)) == pytest.approx(min(bound, 13.0))
    theirs = optax.chain(optax.clip_by_global_norm(bound), optax.sgd(1.0))
    jax.tree.map(np.testing.assert_allclose, updates, theirs.update(PARAMS, theirs.init(PARAMS), PARAMS)[0])


def test_the_rate_falls_after_five_epochs_without_a_lower_training_loss():
    ours, _ = choices.optimizer("sgd", 1.0, None, PARAMS, plateau_steps=3)
    state, lengths, scales = ours.init(PARAMS), [], []
    for _ in range(3 * 13):  # the first epoch is the best one
        updates, state = ours.update(PARAMS, state, PARAMS, value=jnp.float32(1.0))
        lengths.append(float(optax.tree.norm(updates)) / 13)
        scales.append(choices.plateau_scale(state))
    np.testing.assert_allclose(lengths, [1] * 17 + [0.1] * 15 + [0.01] * 7, rtol=1e-5)
    np.testing.assert_allclose(scales, lengths, rtol=1e-5)
    assert choices.plateau_scale(optimizers.sgd(0.1).init(PARAMS)) == 1.0


NET = {"conv": {"kernel": jnp.array([[3.0, -4.0]]), "bias": jnp.array([12.0])}, "fc": {"kernel": jnp.ones((2, 2))}}


@pytest.mark.parametrize("name", ["momentum", "adamw", "optax.adamw", "schedule_free_adamw", "muon"])
@pytest.mark.parametrize("rate", [0.5, optax.linear_schedule(0.5, 0.1, 4)])
def test_groups_of_parameters_have_rates_of_their_own(name, rate):
    chosen = groups.parse(["conv/bias"], ["conv/.*=0.1", ".*=3"])
    ours, penalty = choices.optimizer(name, rate, 0.25 if "adamw" in name else None, NET, clip_norm=1.0, groups=chosen)
    assert penalty is None
    factors = {"conv": {"kernel": 0.1, "bias": 0.0}, "fc": {"kernel": 3.0}}
    assert groups.factors_of(chosen, NET) == factors
    state, params, alone = ours.init(NET), NET, {}
    for path, factor in ((("conv", "kernel"), 0.1), (("fc", "kernel"), 3.0)):
        scaled = (lambda step, factor=factor: factor * rate(step)) if callable(rate) else factor * rate
        alone[path], _ = choices.optimizer(
            name, scaled, 0.25 if "adamw" in name else None, {"w": NET[path[0]][path[1]]}
        )
    states = {path: one.init({"w": NET[path[0]][path[1]]}) for path, one in alone.items()}
    theirs = {path: NET[path[0]][path[1]] for path in alone}
    for step in range(3):
        grads = jax.tree.map(lambda leaf, step=step: jnp.cos(leaf + step), NET)
        updates, state = ours.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        seen = [grads[a][b] for a, b in alone]  # the norm is that of the parameters that are not frozen
        norm = np.sqrt(sum(float((one**2).sum()) for one in seen))
        for path, one in alone.items():
            grad = {"w": grads[path[0]][path[1]] * min(1.0, 1.0 / norm)}
            found, states[path] = one.update(grad, states[path], {"w": theirs[path]})
            theirs[path] = theirs[path] + found["w"]
    np.testing.assert_array_equal(params["conv"]["bias"], NET["conv"]["bias"])
    for (a, b), wanted in theirs.items():
        np.testing.assert_allclose(params[a][b], wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("freeze", "factors", "said"),
    [
        (["con"], [], "freeze: 'con' matches the whole path of no parameter; paths are conv/bias, conv/kernel, fc/ker"),
        ([], ["x=2"], "rate_factors: 'x' matches the whole path of no parameter"),
        ([".*"], [], r"freeze=('.*',) leaves no parameter to train"),
        (["("], [], "freeze='(' is not allowed: it must be a regular expression"),
        ([], ["conv"], "rate_factors='conv' is not allowed: it must be PATTERN=FACTOR"),
        ([], ["conv=-1"], "rate_factors='conv=-1' is not allowed"),
        ([], ["conv=nan"], "rate_factors='conv=nan' is not allowed"),
        ([], ["=1"], "rate_factors='=1' is not allowed"),
    ],
)
def test_wrong_groups_are_named(freeze, factors, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        groups.factors_of(groups.parse(freeze, factors), NET)


@pytest.mark.parametrize("name", typing.get_args(Schedule))
def test_every_schedule_is_the_one_of_the_help(name):
    steps, peak, t = 700, 0.5, np.arange(700)
    chosen = choices.schedule(name, peak, steps=steps, warmup=0, epoch_steps=10)
    found = [float(chosen(i)) if callable(chosen) else chosen for i in range(0, steps, 7)]
    cycles = np.concatenate([0.5 * (1 + np.cos(np.pi * np.arange(n) / n)) for n in (100, 200, 400)])
    wanted = {
        "constant": 1 + 0 * t,
        "reduce_on_plateau": 1 + 0 * t,
        "cosine": 0.5 * (1 + np.cos(np.pi * t / steps)),
        "linear": 1 - t / steps,
        "polynomial": (1 - t / steps) ** 2,
        "exponential": 0.01 ** (t / steps),
        "cosine_restarts": cycles,
        "step": np.where(t < 350, 1, np.where(t < 525, 0.1, 0.01)),
        "inverse_sqrt": 1 / np.sqrt(1 + t / 10),
        "inverse_time": 1 / (1 + t / 10),
    }
    if name != "one_cycle":  # tested with the trainer
        np.testing.assert_allclose(found, peak * wanted[name][::7], rtol=1e-4, atol=1e-6)
    warm = choices.schedule(name, peak, steps=steps, warmup=70, epoch_steps=10)
    assert callable(warm)
    assert float(warm(35)) < float(warm(70)) == pytest.approx(peak, rel=1e-3)


# --- the gradient in parts


def plain_net():
    return nn.serial(conv=nn.Conv(3, 3), relu=activations.relu, flatten=nn.flatten, fc=nn.Dense(3))


def norm_net():
    return nn.serial(conv=nn.Conv(3, 3), norm=nn.BatchNorm(), flatten=nn.flatten, fc=nn.Dense(3))


def batch_of(n):
    weight = np.ones(n, np.float32)
    weight[-1] = 0
    return data.Batch(RNG.random((n, 4, 4, 1), np.float32), np.arange(n, dtype=np.int32) % 3, weight, np.arange(n))


def stepped(net, parts, batch, **parallel):
    optimizer = optimizers.sgd(1.0)
    penalty = lambda params: 0.1 * jnp.sum(params["fc"]["kernel"] ** 2)
    step = training.train_step(net, optimizer, penalty=penalty, accumulate=parts)
    run = training.data_parallel(step, **parallel)
    begun = training.create(jax.random.key(0), net, optimizer, (4, 4, 1))
    state, metrics = run.step(run.place(begun), run.shard(batch), run.place(jax.random.key(1)))
    return jax.device_get((state.params, state.layer_state, metrics))


@pytest.mark.parametrize(
    ("parts", "parallel"),
    [(2, {"devices": 1}), (12, {"devices": 1}), (3, {"devices": 2}), (3, {"devices": 2, "strategy": "shard_map"})],
)
def test_microbatches_give_the_gradient_of_the_whole_batch(parts, parallel):
    batch = batch_of(12)
    params, _, metrics = stepped(plain_net(), 1, batch, devices=1)
    in_parts, _, metrics_in_parts = stepped(plain_net(), parts, batch, **parallel)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), in_parts, params)
    assert metrics_in_parts.keys() == metrics.keys()
    for name, value in metrics.items():
        np.testing.assert_allclose(metrics_in_parts[name], value, rtol=1e-5)


def test_batch_norm_sees_the_microbatches_in_order():
    batch, net = batch_of(12), norm_net()
    _, state, _ = stepped(net, 3, batch, devices=1)
    params, wanted = net.init(jax.random.key(0), (4, 4, 1))
    for i in range(0, 12, 4):
        x = batch.image[i : i + 4] * (batch.weight[i : i + 4] > 0)[:, None, None, None]
        _, wanted = net.apply(params, wanted, jnp.asarray(x), train=True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), state, jax.device_get(wanted))


@pytest.mark.parametrize("parts", [0, -1, True])
def test_a_number_of_microbatches_that_is_none_is_named(parts):
    with pytest.raises(ValueError, match=r"^accumulate=.* must be a whole number of at least 1"):
        training.train_step(plain_net(), optimizers.sgd(1.0), accumulate=parts)


def test_microbatches_divide_the_batch():
    with pytest.raises(ValueError, match=r"^accumulate=5 must divide the batch size of each device, 12"):
        stepped(plain_net(), 5, batch_of(12), devices=1)


# --- mixtures and class weights


@pytest.mark.parametrize("mix", [augmentation.mixup, augmentation.cutmix])
def test_a_step_on_mixtures_gets_the_mixed_images_and_soft_labels(mix):
    batch = batch_of(8)
    step = steps.on_mixtures(
        lambda state, batch, key, *, axis_name: (state, batch), [mix], 3, preprocess=lambda x: 2 * x, augment=None
    )
    state = training.create(jax.random.key(0), plain_net(), optimizers.sgd(1.0), (4, 4, 1))
    _, found = step(state, batch, jax.random.key(5))
    _, again = step(state, batch, jax.random.key(5))
    np.testing.assert_array_equal(found.image, again.image)
    _, later = step(state._replace(step=state.step + 1), batch, jax.random.key(5))
    assert not np.array_equal(found.label, later.label)
    np.testing.assert_allclose(found.label.sum(1), 1, rtol=1e-6)

    # the label of each example says which partner it has and in which share
    def mixtures_of(i):
        share, eye = float(found.label[i, batch.label[i]]), np.eye(3)
        partners = [
            j
            for j in range(8)
            if np.allclose(found.label[i], share * eye[batch.label[i]] + (1 - share) * eye[batch.label[j]], atol=1e-6)
        ]
        return share, partners

    for i in range(8):
        share, partners = mixtures_of(i)
        assert partners
        if mix is augmentation.mixup and share < 1:  # of its own class alone it does not say the share
            mixtures = [2 * (share * batch.image[i] + (1 - share) * batch.image[j]) for j in partners]
            assert any(np.allclose(found.image[i], one, atol=1e-6) for one in mixtures)


def test_balanced_weights_are_scikit_learns():
    labels = RNG.integers(0, 4, 100)
    found = choices.class_weights(("balanced",), labels, 4)
    np.testing.assert_allclose(found, compute_class_weight("balanced", classes=np.arange(4), y=labels), rtol=1e-6)
    assert found[labels].mean() == pytest.approx(1)
    np.testing.assert_allclose(choices.class_weights(("balanced",), np.array([0, 0, 2]), 3), [0.75, 0, 1.5])
    np.testing.assert_array_equal(choices.class_weights(("1", "2.5"), labels, 2), [1, 2.5])
    assert choices.class_weights((), labels, 4) is None
    with pytest.raises(ValueError, match=r"^class_weights=\('1',\) is not allowed: it must be 4 numbers"):
        choices.class_weights(("1",), labels, 4)


@pytest.mark.parametrize("name", [name for name in typing.get_args(Augment) if name != "none"])
def test_every_augmentation_of_the_help_changes_images(name):
    image = jnp.asarray(RNG.integers(0, 256, (8, 8, 3)).astype(np.uint8))
    change = choices.augment((name,), 255.0)
    several = jax.vmap(change, (0, None))(jax.random.split(jax.random.key(0), 8), image)
    assert (several.shape, several.dtype) == ((8, 8, 8, 3), jnp.float32)
    assert np.isfinite(several).all()
    assert len({np.asarray(one).tobytes() for one in several}) > 1


@pytest.mark.parametrize(
    ("examples", "parts", "wanted"),
    [(1, 1, 1), (7, 1, 1), (40, 1, 4), (511, 1, 32), (512, 1, 64), (60_000, 1, 64), (40, 3, 3), (60_000, 6, 60)],
)
def test_the_default_batch_leaves_a_few_steps_an_epoch(examples, parts, wanted):
    assert setup.default_batch_size(Config(devices=1, accumulate=parts), examples) == wanted


# --- runs


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


SETTINGS = {
    "clip_norm": (["0.5"], 0.5),
    "accumulate": (["2"], 2),
    "compute_dtype": (["bfloat16"], "bfloat16"),
    "class_weights": (["balanced"], ["balanced"]),
    "mixup": (["0.4"], 0.4),
    "cutmix": (["1"], 1.0),
    "augment": (["crop", "color"], ["crop", "color"]),
    "schedule": (["reduce_on_plateau"], "reduce_on_plateau"),
    "dev_fraction": (["0"], 0.0),
    "freeze": (["norm/scale"], ["norm/scale"]),
    "rate_factors": (["fc/.*=0.1"], ["fc/.*=0.1"]),
}
OPTIONS = [word for name, (words, _) in SETTINGS.items() for word in (f"--{name.replace('_', '-')}", *words)]


@pytest.mark.slow
@pytest.mark.trains
def test_a_run_with_all_settings_records_them_and_resumes(run, here, tmp_path):
    common = ["--dataset", "mine:dataset", "--model", "mine:net", "--optimizer", "jaxdl.adam"]
    folder = tmp_path / "run"
    code, _, err = run(train_cnn.main, *common, "--epochs", 2, *OPTIONS, "--out", folder)
    assert (code, err) == (0, ""), err
    kept = json.loads((folder / "config.json").read_text())
    assert kept["batch_size"] == 8  # of 96 examples
    assert {name: kept[name] for name in SETTINGS} == {name: value for name, (_, value) in SETTINGS.items()}
    assert {row["split"] for row in rows(folder)} == {"train", "test"}
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["examples"] == {"train": 96, "dev": 0, "test": 24}
    assert np.isfinite(summary["rows"][0]["test_loss"])
    before = rows(folder)
    assert run(train_cnn.main, "--resume", folder, "--trust-run")[0] == 0
    assert rows(folder) == before
    code, _, err = run(train_cnn.main, "--resume", folder, "--trust-run", "--mixup", "0.2")
    assert code == 2
    assert "mixup is 0.4 in the run, 0.2 here" in err


@pytest.mark.slow
@pytest.mark.trains
def test_class_weights_weigh_the_training_loss_only(run, here, tmp_path):
    common = ["--dataset", "mine:dataset", "--model", "mine:net", "--optimizer", "jaxdl.sgd", "--batch-size", 16]
    common += [
        "--epochs",
        1,
        "--augment",
        "none",
        "--dev-fraction",
        0,
        "--schedule",
        "constant",
        "--learning-rate",
        1e-9,
    ]
    found = {}
    for name, more in {"plain": [], "twice": ["--class-weights", "2", "2", "2"]}.items():
        assert run(train_cnn.main, *common, *more, "--out", tmp_path / name)[0] == 0
        found[name] = {row["split"]: float(row["loss"]) for row in rows(tmp_path / name)}
    assert found["twice"]["train"] == pytest.approx(2 * found["plain"]["train"], rel=1e-5)
    assert found["twice"]["test"] == pytest.approx(found["plain"]["test"], rel=1e-5)


@pytest.mark.parametrize(("loss", "gamma"), [("softmax_cross_entropy", 0), ("softmax_focal(gamma=1.5)", 1.5)])
def test_labels_are_smoothed_for_every_loss_that_can(loss, gamma):
    chosen = resolve(Config(loss=loss, label_smoothing=0.3))
    labels = np.array([0, 2])
    shared = types.SimpleNamespace(
        config=chosen, splits=types.SimpleNamespace(train=types.SimpleNamespace(labels=labels)), outputs=("a", "b", "c")
    )
    logits = np.array([[1.0, 0.0, -1.0], [0.5, 2.0, 0.0]], np.float32)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    smooth = 0.7 * np.eye(3)[labels] + 0.3 / 3
    expected = -(smooth * (1 - p) ** gamma * np.log(p)).sum(1)
    np.testing.assert_allclose(setup.training_loss(shared)(logits, labels), expected, rtol=1e-5)


@pytest.mark.slow
def test_half_precision_computes_in_it_and_keeps_parameters(here):
    kept = {}
    for dtype in ("float32", "bfloat16", "float16"):
        config = resolve(Config(model="tiny_cnn", optimizer=("jaxdl.sgd",), epochs=1, compute_dtype=dtype))
        shared = setup.prepare(config)._replace(resident=None)
        (start,) = setup.make_starts(shared)
        batch = next(iter(shared.batches(0, 0)))
        text = str(jax.make_jaxpr(start.step.step)(start.state, batch, jax.random.key(0)))
        assert ("bf16[" in text, bool(re.search(r"\bf16\[", text))) == (dtype == "bfloat16", dtype == "float16")
        state, metrics = start.step.step(start.step.place(start.state), batch, jax.random.key(0))
        assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
        kept[dtype] = float(metrics["loss"])
    assert kept["bfloat16"] == pytest.approx(kept["float32"], rel=0.02)
    assert kept["float16"] == pytest.approx(kept["float32"], rel=0.003)
    assert len({*kept.values()}) == 3


def test_layers_are_watched_without_changing_an_update():
    params = {"a": {"kernel": jnp.array([3.0, 4.0])}, "b": {"kernel": jnp.zeros(2), "bias": jnp.zeros(1)}}
    grads = {"a": {"kernel": jnp.array([6.0, 8.0])}, "b": {"kernel": jnp.array([0.0, 3.0]), "bias": jnp.array([4.0])}}
    for chain in (optax.chain, optimizers.chain):
        tx = analysis.watched(optimizers.sgd(0.1), chain=chain)
        assert analysis.watched_layers(tx.init(params)) == {"a": (0, 0), "b": (0, 0)}
        updates, state = jax.jit(tx.update)(grads, tx.init(params), params)
        jax.tree.map(lambda u, g: np.testing.assert_allclose(u, -0.1 * g, rtol=1e-6), updates, grads)
        found = analysis.watched_layers(state)
        np.testing.assert_allclose(found["a"], (10, 1 / 5), rtol=1e-6)
        np.testing.assert_allclose(found["b"], (5, 0), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.trains
def test_layers_and_a_trace_are_written_beside_the_metrics(run, here, tmp_path):
    folder = tmp_path / "run"
    common = ["--dataset", "mine:dataset", "--model", "mine:net", "--optimizer", "jaxdl.sgd", "--batch-size", 16]
    more = ["--epochs", 2, "--log-every", 2, "--log-layers", "--profile", 2, "--steps-per-call", 1, "--out", folder]
    assert run(train_cnn.main, *common, *more)[0] == 0
    with (folder / "layers.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    steps = [row["step"] for row in rows(folder) if row["split"] == "train"]
    assert [(row["step"], row["layer"]) for row in found] == [(s, n) for s in steps for n in ("conv", "fc", "norm")]
    assert all(0 < float(row["gradient_norm"]) < 100 and 0 <= float(row["update_ratio"]) < 10 for row in found)
    assert any((folder / "profile").rglob("*.xplane.pb"))
    assert "## Layers" in (folder / "report.md").read_text()
    before = (folder / "layers.csv").read_bytes()
    assert run(train_cnn.main, "--resume", folder, "--trust-run")[0] == 0
    assert (folder / "layers.csv").read_bytes() == before

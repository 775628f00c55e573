"""Training and evaluation steps with losses of every shape and labels of every kind, against numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import data, losses, nn, optimizers, training
from jaxdl.data import augmentation
from jaxdl.models.capsnet import capsule_loss
from jaxdl.training import measures

KEY = jax.random.key(0)
RANDOM = np.random.default_rng(3)
N = 8
X = RANDOM.normal(size=(N, 5)).astype(np.float32)
WEIGHT = np.array([1, 1, 2, 1, 0.5, 1, 1, 0], np.float32)
EYE = nn.serial(same=lambda x: x)  # the outputs are the inputs


def batch(x, labels, weight=WEIGHT):
    return data.Batch(np.asarray(x), np.asarray(labels), weight, np.arange(len(x), dtype=np.int32))


def measured(loss, outputs, labels, **options):
    sums, _ = training.eval_step(EYE, loss=loss, **options)(({}, {}), batch(outputs, labels))
    return {name: float(value) for name, value in sums.items()}


def numpy_sums(per_output, weight=WEIGHT):
    values = np.asarray(per_output, np.float64)
    return float(weight @ values.reshape(len(values), -1).mean(1))


def gradient(layer, loss, x, labels, weight=WEIGHT, **options):
    def keep(grads, state, params=None):
        return jax.tree.map(jnp.zeros_like, grads), grads

    recorder = optax.GradientTransformation(lambda params: jax.tree.map(jnp.zeros_like, params), keep)
    params, state = layer.init(KEY, x.shape[1:])
    step = training.train_step(layer, recorder, loss=loss, **options)
    after, sums = step(training.start(params, state, recorder), batch(x, labels, weight), KEY)
    return params, after.opt_state, sums


SHAPES = {"(n,)": (), "(n, 1)": (1,), "(n, 3)": (3,), "(n, 2, 3)": (2, 3)}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_loss_per_output_is_averaged_over_each_example(shape):
    outputs = RANDOM.normal(size=(N, *SHAPES[shape])).astype(np.float32)
    targets = RANDOM.normal(size=outputs.shape).astype(np.float32)
    found = measured(losses.squared_error, outputs, targets)
    error = outputs.astype(np.float64) - targets
    assert found["loss"] == pytest.approx(numpy_sums(error**2), rel=1e-5)
    assert found["squared_error"] == pytest.approx(numpy_sums(error**2), rel=1e-5)
    assert found["absolute_error"] == pytest.approx(numpy_sums(np.abs(error)), rel=1e-5)
    assert found["weight"] == WEIGHT.sum()


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_gradient_of_a_regression_is_its_closed_form(outputs):
    y = RANDOM.normal(size=(N, outputs)).astype(np.float32)
    params, grads, sums = gradient(nn.serial(out=nn.Dense(outputs)), losses.squared_error, X, y)
    error = X.astype(np.float64) @ np.asarray(params["out"]["kernel"]) + np.asarray(params["out"]["bias"]) - y
    w = WEIGHT[:, None] / WEIGHT.sum()
    np.testing.assert_allclose(grads["out"]["kernel"], X.T @ (w * 2 * error) / outputs, rtol=1e-4, atol=1e-5)
    assert float(sums["loss"]) == pytest.approx(numpy_sums(error**2), rel=1e-5)


def test_the_issue_s_example_has_the_right_loss():
    x = jnp.array([[1.0], [2.0], [3.0], [4.0]])
    y = jnp.array([[1.0], [3.0], [8.0], [2.0]])
    params = {"out": {"kernel": jnp.full((1, 1), 2.0), "bias": jnp.zeros(1)}}
    step = training.train_step(nn.serial(out=nn.Dense(1)), optax.sgd(0.0), loss=losses.squared_error)
    state = training.start(params, {}, optax.sgd(0.0))
    _, sums = step(state, batch(x, y, np.ones(4, np.float32)), KEY)
    assert float(sums["loss"]) / 4 == pytest.approx((1 + 1 + 4 + 36) / 4)


@pytest.mark.parametrize("shape", [(), (2,), (N + 1,), (3, N)])
def test_a_loss_that_is_not_per_example_is_refused(shape):
    with pytest.raises(ValueError, match=r"loss: got shape .* must be one number per example"):
        measured(lambda outputs, labels: jnp.zeros(shape), X, np.zeros(N, np.int32))


LOGITS = RANDOM.normal(size=(N, 3)).astype(np.float32)
CLASS = RANDOM.integers(0, 3, N)
SOFT = RANDOM.dirichlet(np.ones(3), N).astype(np.float32)
SIGN = np.where(RANDOM.random(N) > 0.5, 1, -1)
KINDS = {
    "class numbers": (losses.softmax_cross_entropy, LOGITS, CLASS, LOGITS.argmax(1) == CLASS),
    "smoothed": (
        functools.partial(losses.softmax_cross_entropy, label_smoothing=0.1), LOGITS, CLASS, LOGITS.argmax(1) == CLASS,
    ),
    "distributions": (losses.softmax_cross_entropy, LOGITS, SOFT, LOGITS.argmax(1) == SOFT.argmax(1)),
    "one-hot": (losses.softmax_cross_entropy, LOGITS, np.eye(3, dtype=np.int32)[CLASS], LOGITS.argmax(1) == CLASS),
    "as many examples as classes": (
        losses.softmax_cross_entropy, np.tile(LOGITS[:, :1], (1, N)) + np.eye(N, dtype=np.float32),
        np.eye(N, dtype=np.float32)[::-1], np.arange(N) == np.arange(N)[::-1],
    ),
    "log-probabilities": (losses.nll, np.log(SOFT), CLASS, SOFT.argmax(1) == CLASS),
    "lengths": (losses.margin, SOFT, CLASS, SOFT.argmax(1) == CLASS),
    "one logit": (losses.sigmoid_binary_cross_entropy, LOGITS[:, 0], CLASS % 2, (LOGITS[:, 0] > 0) == CLASS % 2),
    "one logit (n, 1)": (
        losses.sigmoid_binary_cross_entropy, LOGITS[:, :1], CLASS[:, None] % 2, (LOGITS[:, 0] > 0) == CLASS % 2,
    ),
    "several labels": (
        losses.sigmoid_binary_cross_entropy, LOGITS, (SOFT > 0.3).astype(np.float32), (LOGITS > 0) == (SOFT > 0.3),
    ),
    "one probability": (losses.binary_cross_entropy, SOFT[:, 0], CLASS % 2, (SOFT[:, 0] > 0.5) == CLASS % 2),
    "signs": (losses.hinge, LOGITS[:, 0], SIGN, np.sign(LOGITS[:, 0]) == SIGN),
    "perceptron": (losses.perceptron, LOGITS[:, 0], SIGN, np.sign(LOGITS[:, 0]) == SIGN),
    "an unknown loss on class numbers": (
        lambda outputs, labels: losses.softmax_cross_entropy(outputs, labels), LOGITS, CLASS, LOGITS.argmax(1) == CLASS,
    ),
    "each step of a sequence": (
        losses.softmax_cross_entropy, np.stack([LOGITS, -LOGITS], 1), np.stack([CLASS, CLASS], 1),
        np.stack([LOGITS.argmax(1) == CLASS, LOGITS.argmin(1) == CLASS], 1),
    ),
    "capsules": (capsule_loss, SOFT, CLASS, SOFT.argmax(1) == CLASS),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_decides_what_is_measured(kind):
    loss, outputs, labels, hits = KINDS[kind]
    labels = labels.astype(np.int32) if labels.dtype.kind in "ib" else labels
    found = measured(loss, outputs, labels)
    assert found["correct"] == pytest.approx(numpy_sums(hits), rel=1e-6)
    assert set(found) == {"loss", "correct", "weight"}


OF_VECTORS = {"contrastive", "info_nce", "triplet"}  # these take other arguments than outputs and labels


def test_every_loss_of_the_library_has_a_measure():
    assert {loss.__name__ for loss in measures.MEASURES} == set(losses.__all__) - OF_VECTORS


def test_an_unknown_loss_without_class_numbers_is_measured_by_itself_alone():
    assert set(measured(lambda y, t: (y - t) ** 2, LOGITS, SOFT)) == {"loss", "weight"}


def test_one_s_own_metrics_are_summed_and_averaged():
    own = {"metrics": lambda outputs, labels: {"largest": outputs.max(-1), "signs": outputs > 0}}
    found = measured(losses.softmax_cross_entropy, LOGITS, CLASS, **own)
    assert found["largest"] == pytest.approx(numpy_sums(LOGITS.max(1)), rel=1e-6)
    assert found["signs"] == pytest.approx(numpy_sums(LOGITS > 0), rel=1e-6)
    step = training.eval_step(EYE, loss=losses.softmax_cross_entropy, **own)
    means, _ = training.evaluate(step, ({}, {}), [batch(LOGITS, CLASS), batch(LOGITS, CLASS)])
    assert means["largest"] == pytest.approx(numpy_sums(LOGITS.max(1)) / WEIGHT.sum(), rel=1e-6)
    assert set(means) == {"loss", "largest", "signs"}


def test_evaluation_of_a_regression_gives_r_squared():
    y = 1e4 + RANDOM.normal(size=(N, 2)).astype(np.float32)  # float32 sums of squares would have no correct digit
    p = y + RANDOM.normal(size=(N, 2), scale=0.5).astype(np.float32)
    step = training.eval_step(EYE, loss=losses.half_squared_error)
    halves = [batch(p[:5], y[:5], WEIGHT[:5]), batch(p[5:], y[5:], WEIGHT[5:])]
    means, outputs = training.evaluate(step, ({}, {}), halves)
    w, y, p = WEIGHT[:, None].astype(np.float64), y.astype(np.float64), p.astype(np.float64)
    centre = (w * y).sum(0) / w.sum()
    expected = np.mean(1 - (w * (y - p) ** 2).sum(0) / (w * (y - centre) ** 2).sum(0))
    assert means["r_squared"] == pytest.approx(expected, rel=1e-6)
    assert means["loss"] == pytest.approx((w * (y - p) ** 2 / 2).mean(1).sum() / w.sum(), rel=1e-5)
    assert outputs.shape == (7, 2)


# --- labels that are to be ignored ---


@pytest.mark.parametrize("ignored", [-1, -100, 255])
@pytest.mark.parametrize("step_of", ["train", "eval"])
def test_ignored_labels_count_nowhere(ignored, step_of):
    labels = np.where(np.arange(N) % 3 == 0, ignored, CLASS).astype(np.int32)
    counts = (labels != ignored) & (WEIGHT > 0)
    if step_of == "eval":
        found = measured(losses.softmax_cross_entropy, LOGITS, labels, ignore_label=ignored)
        z = LOGITS.astype(np.float64)
        per = np.log(np.exp(z).sum(1)) - z[np.arange(N), np.where(counts, labels, 0)]
        assert found["loss"] == pytest.approx((WEIGHT * counts) @ per, rel=1e-5)
        assert found["correct"] == (WEIGHT * counts) @ (LOGITS.argmax(1) == labels)
        assert found["weight"] == (WEIGHT * counts).sum()
        return
    layer = nn.serial(out=nn.Dense(3))
    _, grads, _ = gradient(layer, losses.softmax_cross_entropy, X, labels, ignore_label=ignored)
    alone = np.flatnonzero(counts)
    _, expected, _ = gradient(layer, losses.softmax_cross_entropy, X[alone], labels[alone], WEIGHT[alone])
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_ignored_steps_of_a_sequence_are_left_out_of_the_mean():
    outputs = RANDOM.normal(size=(N, 4, 3)).astype(np.float32)
    labels = RANDOM.integers(0, 3, (N, 4)).astype(np.int32)
    labels[RANDOM.random((N, 4)) < 0.4] = -1
    found = measured(losses.softmax_cross_entropy, outputs, labels, ignore_label=-1)
    z, counts = outputs.astype(np.float64), (labels >= 0) * WEIGHT[:, None]
    per = np.log(np.exp(z).sum(-1)) - np.take_along_axis(z, np.maximum(labels, 0)[..., None], -1)[..., 0]
    assert found["loss"] / found["weight"] == pytest.approx((counts * per).sum() / counts.sum(), rel=1e-5)


def test_a_batch_of_ignored_labels_changes_nothing():
    layer = nn.serial(out=nn.Dense(3))
    labels = np.full(N, -1, np.int32)
    _, grads, sums = gradient(layer, losses.softmax_cross_entropy, X, labels, ignore_label=-1)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(grads))
    assert sums["loss"] == sums["weight"] == 0


def test_labels_out_of_range_that_are_not_ignored_stay_nan():
    labels = np.where(np.arange(N) == 2, -2, CLASS).astype(np.int32)
    assert np.isnan(measured(losses.softmax_cross_entropy, LOGITS, labels, ignore_label=-1)["loss"])


def test_ignoring_wants_integer_labels():
    with pytest.raises(ValueError, match="ignore_label=-1: it is for integer labels, and these are float32"):
        measured(losses.squared_error, LOGITS, LOGITS, ignore_label=-1)


# --- labels that do not fit ---

BAD = {
    "hinge": ([0, 1], "number 0 is 0; for hinge labels must be -1 or 1"),
    "perceptron": ([1, 2], "number 1 is 2; for perceptron labels must be -1 or 1"),
    "sigmoid_binary_cross_entropy": ([0, 2], "labels must be in"),
    "binary_cross_entropy": ([-1, 1], "labels must be in"),
    "softmax_cross_entropy": ([0, -1], "labels must be at least 0"),
    "nll": ([0, -1], "labels must be at least 0"),
    "margin": ([0, -1], "labels must be at least 0"),
    "softmax_focal": ([0, -1], "labels must be at least 0"),
    "kl_divergence": ([0, -1], "labels must be at least 0"),
    "sigmoid_focal": ([0, 2], "labels must be in"),
    "squared_error": ([0, np.nan], "labels must be finite"),
    "half_squared_error": ([0, np.inf], "labels must be finite"),
    "absolute_error": ([0, np.nan], "labels must be finite"),
    "squared_log_error": ([0, np.nan], "labels must be finite"),
    "huber": ([0, np.nan], "labels must be finite"),
    "log_cosh": ([0, np.nan], "labels must be finite"),
    "cosine_distance": ([0, np.nan], "labels must be finite"),
    "ctc": ([0, np.nan], "labels must be finite"),
}


@pytest.mark.parametrize("name", BAD)
def test_labels_that_a_loss_does_not_take_are_named_before_training(name):
    assert set(BAD) == set(losses.__all__) - OF_VECTORS
    labels, match = BAD[name]
    with pytest.raises(ValueError, match=match):
        training.check_labels(functools.partial(getattr(losses, name)), np.array(labels))
    training.check_labels(getattr(losses, name), np.array([1, 1]))
    if name == "softmax_cross_entropy":
        training.check_labels(losses.softmax_cross_entropy, np.array([0, -1]), ignore_label=-1)


# --- whole trainings ---


@pytest.mark.slow
def test_mixup_trains_with_the_library_s_own_step():
    layer, optimizer = nn.serial(flat=nn.flatten, out=nn.Dense(3)), optimizers.adam(0.1)
    inner = training.train_step(layer, optimizer)

    @jax.jit
    def step(state, key, images, labels):
        images, labels = augmentation.mixup(jax.random.fold_in(key, state.step), images, labels)
        return inner(state, data.Batch(images, labels, jnp.ones(N), jnp.arange(N)), key)

    images = X.reshape(N, 1, 5, 1)
    state = training.create(KEY, layer, optimizer, (1, 5, 1))
    lost = []
    for _ in range(30):
        state, sums = step(state, KEY, images, jax.nn.one_hot(CLASS, 3))
        lost.append(float(sums["loss"]))
    assert lost[-1] < 0.7 * lost[0]
    assert 0 <= sums["correct"] <= N


@pytest.mark.parametrize("strategy", ["pmap", "shard_map", "jit"])
def test_several_labels_train_on_several_devices(strategy):
    layer = nn.serial(out=nn.Dense(3))
    labels = (X[:, :3] > 0).astype(np.float32)
    step = training.train_step(layer, optax.adam(0.1), loss=losses.sigmoid_binary_cross_entropy)
    run = training.data_parallel(step, strategy=strategy, devices=4)
    state = run.place(training.create(KEY, layer, optax.adam(0.1), (5,)))
    for _ in range(40):
        state, sums = run.step(state, run.shard(batch(X, labels, np.ones(N, np.float32))), run.place(KEY))
    assert float(sums["correct"]) / N > 0.95


REFUSED_METRICS = {
    "loss": lambda y, labels: {"loss": jnp.zeros(N)},  # would be trained on
    "weight": lambda y, labels: {"weight": jnp.zeros(N)},
    "penalty": lambda y, labels: {"penalty": jnp.zeros(N)},
    "correct and accuracy": lambda y, labels: {"correct": jnp.zeros(N), "accuracy": jnp.ones(N)},
}


@pytest.mark.parametrize("name", REFUSED_METRICS)
def test_metrics_do_not_take_the_names_of_a_step_s_results(name):
    with pytest.raises(ValueError, match=r"metrics: got '.*, must be other names than loss, weight, penalty"):
        measured(losses.softmax_cross_entropy, X, np.zeros(N, np.int32), metrics=REFUSED_METRICS[name])


def test_a_loss_of_all_pairs_of_examples_is_refused():
    with jax.numpy_rank_promotion("allow"), pytest.raises(ValueError, match="compares all pairs"):
        measured(lambda y, labels: (y - labels) ** 2, X[:, :1], X[:, 0])
    square = RANDOM.normal(size=(N, N)).astype(np.float32)
    assert measured(lambda y, labels: (y - labels) ** 2, square, 0 * square)["loss"] == pytest.approx(
        numpy_sums(square.astype(np.float64) ** 2), rel=1e-5
    )


@pytest.mark.parametrize(("dtype", "ignore"), [(np.uint8, -1), (np.int8, 255)])
def test_an_ignored_label_that_no_label_can_be_is_refused(dtype, ignore):
    with pytest.raises(ValueError, match=f"ignore_label={ignore}: these labels are {np.dtype(dtype)}"):
        measured(losses.softmax_cross_entropy, X, np.zeros(N, dtype), ignore_label=ignore)


@pytest.mark.parametrize("size", [N, 0])
def test_a_batch_that_counts_nothing_leaves_the_parameters_to_the_penalty(size):
    layer, y = nn.serial(out=nn.Dense(3)), np.zeros(size, np.int32)
    options = {"weight": np.zeros(size, np.float32), "penalty": lambda p: (p["out"]["kernel"] ** 2).sum()}
    params, grads, sums = gradient(layer, losses.softmax_cross_entropy, X[:size], y, **options)
    np.testing.assert_allclose(grads["out"]["kernel"], 2 * params["out"]["kernel"], rtol=1e-6)
    assert not np.any(grads["out"]["bias"])
    assert sums["loss"] == sums["weight"] == 0


def test_r_squared_is_of_counted_targets_or_is_left_out():
    judge = lambda labels, **options: training.evaluate(
        training.eval_step(EYE, **options), ({}, {}), [batch(X, labels, np.ones(N, np.float32))]
    )[0]
    whole = np.arange(5 * N, dtype=np.int32).reshape(N, 5)
    assert "r_squared" in judge(whole, loss=losses.squared_error, ignore_label=-1)
    assert "r_squared" not in judge(whole - 1, loss=losses.squared_error, ignore_label=-1)
    brier = lambda y, labels: {"squared_error": (jax.nn.softmax(y) - jax.nn.one_hot(labels, 5)) ** 2}
    assert "r_squared" not in judge(np.zeros(N, np.int32), metrics=brier)


@pytest.mark.parametrize("wrap", [lambda y: (y, 2 * y), lambda y: {"a": y, "b": 2 * y}], ids=["tuple", "dict"])
def test_evaluate_returns_the_outputs_in_their_own_tree(wrap):
    layer = EYE._replace(apply=lambda p, state, x, **options: (wrap(x), state))
    first = lambda y, labels: losses.softmax_cross_entropy(jax.tree.leaves(y)[0], labels)
    batches = [batch(X, np.zeros(N, np.int32)), batch(X, np.zeros(N, np.int32))]
    _, outputs = training.evaluate(training.eval_step(layer, loss=first), ({}, {}), batches)
    kept = np.concatenate([X[WEIGHT > 0]] * 2)
    for found, wanted in zip(jax.tree.leaves(outputs), (kept, 2 * kept), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert jax.tree.structure(outputs) == jax.tree.structure(wrap(0))


def test_weights_that_round_do_not_hide_r_squared():
    n = 4096
    weight = RANDOM.uniform(0.1, 3, n).astype(np.float32)
    y = RANDOM.normal(size=n).astype(np.float32)
    step = training.eval_step(EYE, loss=losses.squared_error)

    def rounded(variables, batch):  # the error of a sequential float32 sum
        sums, outputs = step(variables, batch)
        return {**sums, "weight": sums["weight"] * (1 - 1e-5)}, outputs

    means, _ = training.evaluate(rounded, ({}, {}), [batch(y + 1, y, weight)])
    centre = np.average(y.astype(np.float64), weights=weight)
    expected = 1 - 1 / np.average((y - centre) ** 2, weights=weight)
    assert means["r_squared"] == pytest.approx(expected, rel=1e-5)

"""One step of training and evaluation against closed forms of softmax regression, in numpy and float64."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

from jaxdl import data, losses, nn, regularizers, training
from jaxdl.data import augmentation

# compiling takes most of the time, so it does not optimise
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
KEY = jax.random.key(3)
N = 40
IMAGES, LABELS = load_digits(return_X_y=True)
IMAGES, LABELS = (IMAGES.reshape(-1, 8, 8, 1) / 16).astype(np.float32), LABELS.astype(np.int32)
SOFTMAX = nn.serial(flat=nn.flatten, logits=nn.Dense(10))
RANDOM = np.random.default_rng(7)
START = {"kernel": RANDOM.normal(size=(64, 10)).astype(np.float32), "bias": RANDOM.normal(size=10).astype(np.float32)}
PADDED = np.where(np.arange(N) % 4 == 3, 0, RANDOM.uniform(0.1, 3, N)).astype(np.float32)
WEIGHTS = {
    "equal": np.ones(N, np.float32),
    "unequal": RANDOM.uniform(0.1, 3, N).astype(np.float32),
    "padded": PADDED,
}


def batch_of(rows, weight=None):
    rows = np.arange(rows) if isinstance(rows, int) else np.asarray(rows)
    weight = np.ones(len(rows), np.float32) if weight is None else weight
    return data.Batch(IMAGES[rows], LABELS[rows], weight, np.arange(len(rows), dtype=np.int32))


def spoiled(batch):
    """Return the batch with padding that turns any arithmetic into NaN."""
    padding = batch.weight == 0
    image = np.where(padding[:, None, None, None], np.float32(np.nan), batch.image)
    return batch._replace(image=image, label=np.where(padding, np.int32(999), batch.label))


def closed_form(params, batch):
    """Return the sums of weighted losses, hits and weights, and the gradient of the weighted mean, in float64."""
    counts = batch.weight > 0
    x, label = batch.image[counts].reshape(counts.sum(), -1).astype(np.float64), batch.label[counts]
    weight = batch.weight[counts].astype(np.float64)
    logits = x @ params["kernel"].astype(np.float64) + params["bias"]
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    per_example = -np.log(p[np.arange(len(x)), label])
    error = weight[:, None] * (p - np.eye(10)[label]) / weight.sum()
    sums = {"loss": weight @ per_example, "correct": weight @ (logits.argmax(1) == label), "weight": weight.sum()}
    return sums, {"kernel": x.T @ error, "bias": error.sum(0)}


def recorder(**names):
    """Return an optimizer that keeps the gradient and the named extra arguments, and changes nothing."""

    def update(grads, state, params=None, **extra_args):
        del state, params
        kept = {name: extra_args[name] for name in names}
        return jax.tree.map(jnp.zeros_like, grads), {"grads": grads, **kept}

    return optax.GradientTransformationExtraArgs(
        lambda params: {"grads": jax.tree.map(jnp.zeros_like, params), **names}, update
    )


def state_of(params, optimizer, *, average=False):
    return training.start({"logits": params}, {}, optimizer, average=average)


@functools.cache
def recording_step():
    return quick_jit(training.train_step(SOFTMAX, recorder()))


def gradient(batch):
    state, metrics = recording_step()(state_of(START, recorder()), batch, KEY)
    return state.opt_state["grads"]["logits"], metrics


# float32 sums of 40 terms: a few roundings of 2**-24 each, at the scale of the largest entry
def assert_close(found, expected, *, ulps=32):
    for leaf, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        wanted = np.asarray(wanted)
        assert np.isfinite(np.asarray(leaf, np.float64)).all()
        scale = np.spacing(np.abs(wanted).max().astype(np.float32))
        assert np.abs(np.asarray(leaf, np.float64) - wanted).max() <= ulps * scale


@pytest.mark.parametrize("weights", WEIGHTS)
def test_gradient_and_metrics_are_those_of_the_closed_form(weights):
    batch = batch_of(N, WEIGHTS[weights])
    sums, grads = closed_form(START, batch)
    found, metrics = gradient(spoiled(batch))
    assert_close(found, grads)
    assert_close({name: metrics[name] for name in sums}, sums)
    assert metrics["penalty"] == 0


def test_padding_poisons_no_gradient_of_a_deep_net():
    # relu, sqrt and max have NaN derivatives at NaN, and NaN · 0 is NaN: the padding must go before them
    layer = nn.serial(
        conv=nn.Conv(3, 3), root=lambda x: jnp.sqrt(1e-3 + x**2), pool=nn.MaxPool(2), flat=nn.flatten, out=nn.Dense(10)
    )
    params, state = layer.init(KEY, (8, 8, 1))
    step = quick_jit(training.train_step(layer, recorder()))
    padded = spoiled(batch_of(N, PADDED))
    kept = np.flatnonzero(PADDED)
    alone = batch_of(np.resize(kept, N), np.where(np.arange(N) < len(kept), PADDED[np.resize(kept, N)], 0))
    found, expected = (step(training.start(params, state, recorder()), b, KEY) for b in (padded, alone))
    assert_close(found[0].opt_state["grads"], expected[0].opt_state["grads"])
    assert found[1]["loss"] == pytest.approx(float(expected[1]["loss"]), rel=1e-6)


def test_padding_is_kept_out_after_a_preprocessing_that_makes_nan_of_it():
    def standardized(x):
        return (x - x.mean((1, 2, 3), keepdims=True)) / x.std((1, 2, 3), keepdims=True)

    blank = batch_of(N, PADDED)
    blank = blank._replace(image=np.where(PADDED[:, None, None, None] == 0, np.float32(0), blank.image))
    step = quick_jit(training.train_step(SOFTMAX, recorder(), preprocess=standardized))
    state, metrics = step(state_of(START, recorder()), blank, KEY)
    with np.errstate(invalid="ignore"):
        sums, grads = closed_form(START, blank._replace(image=standardized(blank.image)))
    assert_close(state.opt_state["grads"]["logits"], grads)
    assert_close(metrics["loss"], sums["loss"])


def test_padding_leaves_batch_norm_finite():
    layer = nn.serial(norm=nn.BatchNorm(), flat=nn.flatten, logits=nn.Dense(10))
    step = quick_jit(training.train_step(layer, optax.sgd(0.1)))
    state, metrics = step(training.create(KEY, layer, optax.sgd(0.1), (8, 8, 1)), spoiled(batch_of(N, PADDED)), KEY)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves((state, metrics)))


def test_penalty_is_added_once_to_gradient_and_value():
    decay = 0.3
    optimizer = recorder(value=0.0)
    step = training.train_step(SOFTMAX, optimizer, penalty=lambda params: regularizers.l2(params, decay))
    batch = batch_of(N, PADDED)
    state, metrics = quick_jit(step)(state_of(START, optimizer), batch, KEY)
    sums, grads = closed_form(START, batch)
    penalty = 0.5 * decay * np.sum(START["kernel"].astype(np.float64) ** 2)  # biases are left out
    expected = {"kernel": grads["kernel"] + decay * START["kernel"], "bias": grads["bias"]}
    assert_close(state.opt_state["grads"]["logits"], expected)
    assert_close(metrics["penalty"], penalty)
    assert_close(metrics["loss"], sums["loss"])  # without it
    assert_close(state.opt_state["value"], sums["loss"] / sums["weight"] + penalty)


def test_polyak_average_of_params_and_state():
    decay, rate = 0.9, 0.5
    counter = nn.Layer(
        init=lambda key, in_shape: ({}, {"seen": jnp.zeros((), jnp.int32), "mean": jnp.zeros(())}),
        apply=lambda params, state, x, **_: (x, {"seen": state["seen"] + len(x), "mean": jnp.mean(x)}),
        out_shape=lambda in_shape: in_shape,
        children={},
        op=nn.Op("counter"),
    )
    layer = nn.serial(count=counter, flat=nn.flatten, logits=nn.Dense(10))
    optimizer = optax.sgd(rate)
    step = quick_jit(training.train_step(layer, optimizer, average_decay=decay))
    state = training.create(KEY, layer, optimizer, (8, 8, 1), average=True)
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), state.params["logits"])
    average, mean = params, 0.0
    for i in range(3):
        batch = batch_of(range(i * N, (i + 1) * N))
        state, _ = step(state, batch, KEY)
        params = {name: p - rate * closed_form(params, batch)[1][name] for name, p in params.items()}
        average = {name: decay * average[name] + (1 - decay) * params[name] for name in average}
        mean = decay * mean + (1 - decay) * batch.image.astype(np.float64).mean()
    assert_close(state.params["logits"], params)
    assert_close(state.average["params"]["logits"], average)
    assert_close(state.average["state"]["count"]["mean"], mean)
    seen = state.average["state"]["count"]["seen"]
    assert seen.dtype == jnp.int32
    assert seen == 3 * N  # a count is taken over


def test_average_of_bfloat16_parameters_moves():
    decay = 0.999  # one thousandth of a difference is below bfloat16's 2**-8
    params = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), START)
    optimizer = optax.sgd(0.5)
    step = quick_jit(training.train_step(SOFTMAX, optimizer, average_decay=decay))
    state, _ = step(state_of(params, optimizer, average=True), batch_of(N), KEY)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.bfloat16)}
    old, new = np.asarray(params["bias"], np.float64), np.asarray(state.params["logits"]["bias"], np.float64)
    assert np.abs(new - old).max() > 0
    # XLA may take the new value before it is rounded: a thousandth of 2**-8 are 33 ulps; the step is above 500
    assert_close(state.average["params"]["logits"]["bias"], decay * old + (1 - decay) * new, ulps=33)
    assert (1 - decay) * np.abs(new - old).max() > 500 * 2**-23


@pytest.mark.parametrize(
    ("decay", "average", "text"), [(0.9, False, "create it with average=True"), (None, True, "average=False")]
)
def test_average_asked_for_in_one_place_only_is_an_error(decay, average, text):
    step = training.train_step(SOFTMAX, optax.sgd(0.1), average_decay=decay)
    with pytest.raises(ValueError, match=text):
        step(state_of(START, optax.sgd(0.1), average=average), batch_of(N), KEY)


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan")])
def test_average_decay_out_of_range_is_an_error(decay):
    with pytest.raises(ValueError, match=r"average_decay=.* is not in \[0, 1\]"):
        training.train_step(SOFTMAX, optax.sgd(0.1), average_decay=decay)


def witness():
    """Return a layer that passes x on and keeps its input and 4 bits of its key."""

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del params, state, train, axis_name
        assert key is not None
        return x, {"x": x, "bits": jax.random.bits(key, (4,))}

    return nn.Layer(
        init=lambda key, in_shape: ({}, {"x": jnp.zeros((N, 8, 8, 1)), "bits": jnp.zeros(4, jnp.uint32)}),
        apply=apply,
        out_shape=lambda in_shape: in_shape,
        children={},
        op=nn.Op("witness"),
    )


@functools.cache
def witness_step():
    layer = nn.serial(seen=witness(), flat=nn.flatten, logits=nn.Dense(10))
    step = training.train_step(layer, optax.sgd(0.1), augment=functools.partial(augmentation.noise, stddev=0.1))
    return layer, quick_jit(step)


def seen(batch, key=KEY, step=0) -> dict[str, Any]:
    layer, jitted = witness_step()
    state = training.create(KEY, layer, optax.sgd(0.1), (8, 8, 1))._replace(step=jnp.asarray(step, jnp.int32))
    after, _ = jitted(state, batch, key)
    assert after.step == step + 1
    return after.layer_state["seen"]


def test_augmentation_follows_the_example_and_not_its_place():
    batch = batch_of(N)._replace(index=np.arange(100, 100 + N, dtype=np.int32))
    order = RANDOM.permutation(N)
    permuted = data.Batch(*(field[order] for field in batch))
    found = np.asarray(seen(batch)["x"])
    np.testing.assert_array_equal(np.asarray(seen(permuted)["x"]), found[order])
    noise = (found - batch.image).reshape(N, -1)
    assert len(np.unique(noise.round(4), axis=0)) == N  # each example has its own
    moved = np.asarray(seen(batch._replace(index=batch.index + 1))["x"]) - batch.image
    np.testing.assert_allclose(moved.reshape(N, -1)[:-1], noise[1:], atol=1e-6)  # the index counts, not the place


def test_random_numbers_depend_on_key_and_step_alone():
    batch = batch_of(N)
    first, again = seen(batch, step=5), seen(batch, step=5)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    for other in (seen(batch, step=6), seen(batch, key=jax.random.key(4), step=5)):
        assert (np.asarray(first["bits"]) != np.asarray(other["bits"])).all()
        assert np.abs(np.asarray(first["x"]) - np.asarray(other["x"])).max() > 0.1


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_parameters_get_the_float32_gradient_rounded_once(dtype):
    params = jax.tree.map(lambda a: jnp.asarray(a, dtype), START)
    batch = batch_of(N, WEIGHTS["unequal"])
    state, metrics = recording_step()(state_of(params, recorder()), batch, KEY)
    _, grads = closed_form({name: np.asarray(p, np.float64) for name, p in params.items()}, batch)
    found = state.opt_state["grads"]["logits"]
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(dtype)}
    assert {leaf.dtype for leaf in jax.tree.leaves(metrics)} == {jnp.dtype(jnp.float32)}
    for name, expected in grads.items():  # logits and cotangents are rounded to half precision
        error = np.abs(np.asarray(found[name], np.float64) - expected).max()
        assert error <= 8 * float(jnp.finfo(dtype).eps) * np.abs(expected).max()


def test_half_precision_gradient_is_divided_by_the_true_sum_of_weights():
    # 257 is no bfloat16: dividing by 256 instead would give 3.02
    layer = nn.Layer(
        init=lambda key, in_shape: ({"a": jnp.ones((), jnp.bfloat16)}, {}),
        apply=lambda params, state, x, **_: (params["a"] * x, state),
        out_shape=lambda in_shape: in_shape,
        children={},
        op=nn.Op("scale"),
    )
    batch = data.Batch(
        np.full((257, 1), 3, np.float32), np.zeros(257, np.int32), np.ones(257, np.float32), np.arange(257)
    )
    step = training.train_step(layer, recorder(), loss=lambda y, label: y[:, 0])
    state, _ = step(training.create(KEY, layer, recorder(), (1,)), batch, KEY)
    assert state.opt_state["grads"]["a"] == 3


def strict():
    """Return an optimizer that takes one extra argument and, unlike optax's, refuses all others."""

    def update(updates, state, params=None, *, value):
        del params
        return jax.tree.map(lambda u: -0.01 * value * u, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def weak():
    """Return an optimizer whose state is weakly typed, then strongly, then weakly."""

    def update(updates, state, params=None):
        del params
        rate = state["rate"] * jnp.float32(0.5)
        new = {"rate": rate, "even": jnp.where(state["even"] > 0, 0.0, 1.0)}
        return jax.tree.map(lambda u: -rate * u, updates), new

    return optax.GradientTransformation(lambda params: {"rate": jnp.asarray(0.2), "even": jnp.float32(1)}, update)


OPTIMIZERS = {
    "chain": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2)),
    "keeps the parameters": lambda: optax.contrib.dog(1.0),
    "averages by itself": lambda: optax.contrib.schedule_free_sgd(0.1),
    "wants the value": lambda: optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau()),
    "wants value and gradient": lambda: optax.polyak_sgd(1.0),
    "wants the value alone": strict,
    "injected hyperparameters": lambda: optax.inject_hyperparams(optax.sgd)(learning_rate=0.1, momentum=0.9),
    "weak types in its state": weak,
    "holds a random key": lambda: optax.chain(optax.add_noise(0.01, 0.5, jax.random.key(0)), optax.sgd(0.1)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optimizer_trains_with_a_donated_state_and_one_compilation(name):
    optimizer = OPTIMIZERS[name]()
    step = quick_jit(training.train_step(SOFTMAX, optimizer), donate_argnums=0)
    state, history = state_of(START, optimizer), []
    for _ in range(4):
        state, metrics = step(state, batch_of(N), KEY)
        history.append(float(metrics["loss"]))
    assert history[-1] < history[0]
    assert step._cache_size() == 1


def test_start_copies_so_that_two_runs_can_share_their_parameters():
    params, optimizer = jax.tree.map(jnp.asarray, START), optax.sgd(0.1)
    step = quick_jit(training.train_step(SOFTMAX, optimizer, average_decay=0.5), donate_argnums=0)
    ends = [step(state_of(params, optimizer, average=True), batch_of(N), KEY)[0].params for _ in range(2)]
    jax.tree.map(np.testing.assert_array_equal, *ends)
    assert not params["kernel"].is_deleted()


def test_eval_step_leaves_state_alone_and_counts_no_padding():
    layer = nn.serial(drop=nn.Dropout(0.5), flat=nn.flatten, logits=nn.Dense(10))
    batch = batch_of(N, PADDED)
    step = training.eval_step(layer, loss=losses.softmax_cross_entropy)
    metrics, outputs = quick_jit(step)(({"logits": START}, {}), spoiled(batch))
    assert_close(metrics, closed_form(START, batch)[0])
    kept = PADDED > 0
    expected = batch.image.reshape(N, -1).astype(np.float64) @ START["kernel"] + START["bias"]
    assert_close(np.asarray(outputs)[kept], expected[kept])


@pytest.mark.parametrize("given", [optax.sgd, object(), (1, 2), None])
def test_what_is_no_optimizer_is_named_with_what_is_one(monkeypatch, given):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as where the library is used
    name = getattr(given, "__name__", type(given).__name__)
    with pytest.raises(ValueError, match=f"^optimizer: got {name}, allowed are optax transformations, as from "):
        training.create(KEY, SOFTMAX, given, (2,))


@pytest.mark.parametrize("given", [lambda b: (b.image, b.label), lambda b: [b.image, b.label], lambda b: b._asdict()])
def test_what_is_no_batch_is_named_with_what_is_one(monkeypatch, given):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    optimizer, batch = optax.sgd(0.1), given(batch_of(N))
    said = f"^batch: got a {type(batch).__name__}, allowed are data.Batch"
    with pytest.raises(ValueError, match=said):
        training.train_step(SOFTMAX, optimizer)(state_of(START, optimizer), batch, KEY)
    with pytest.raises(ValueError, match=said):
        training.eval_step(SOFTMAX)((START, {}), batch)

"""One law of data parallelism: 1, 2, 4 and 8 devices compute the same under every strategy."""

import contextlib
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
from jax import lax
from sklearn.datasets import load_digits

from jaxdl import compat, data, nn, regularizers, training
from jaxdl.data import augmentation
from tests.use import test_optimizers as members

COUNTS = (1, 2, 4, 8)
RUNS = [(strategy, count) for strategy in training.STRATEGIES for count in COUNTS]
REFERENCE = ("jit", 1)
KEY = jax.random.key(11)
N, STEPS = 32, 6
IMAGES, LABELS = load_digits(return_X_y=True)
IMAGES, LABELS = (IMAGES.reshape(-1, 8, 8, 1) / 16).astype(np.float32), LABELS.astype(np.int32)
MOMENTUM = 0.8  # of the running statistics


def weights(step):
    """Return weights that differ on every device; in the last batch, two of 8 devices hold padding alone."""
    drawn = np.random.default_rng(step).uniform(0.2, 2, N).astype(np.float32)
    return np.where(np.arange(N) < 22, drawn, 0).astype(np.float32) if step == STEPS - 1 else drawn


def batch(step):
    rows = np.arange(step * N, (step + 1) * N)
    padding = weights(step) == 0
    image = np.where(padding[:, None, None, None], np.float32(np.nan), IMAGES[rows])
    label = np.where(padding, np.int32(-7), LABELS[rows])
    return data.Batch(image, label, weights(step), rows.astype(np.int32))


def witness():
    """Return a layer that passes x on and keeps its input, and the units a dropout would keep, of all devices."""

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del params, state, train
        kept = jax.random.bernoulli(key, 0.5, x.shape[:2])
        if axis_name is not None:
            whole = functools.partial(lax.all_gather, axis_name=axis_name, tiled=True)
            return x, {"x": whole(x), "kept": whole(kept)}
        return x, {"x": x, "kept": kept}

    return nn.Layer(
        init=lambda key, in_shape: ({}, {"x": jnp.zeros((N, 8, 8, 1)), "kept": jnp.zeros((N, 8), bool)}),
        apply=apply,
        out_shape=lambda in_shape: in_shape,
        children={},
        op=nn.Op("witness"),
    )


NET = nn.serial(
    seen=witness(),
    norm0=nn.BatchNorm(momentum=MOMENTUM, scale=False, offset=False),
    conv=nn.Conv(4, 3, stride=2, bias=False),  # batch norm removes a bias, whose gradient would be rounding
    norm1=nn.BatchNorm(momentum=MOMENTUM),
    relu=jax.nn.relu,
    flat=nn.flatten,
    logits=nn.Dense(10),
)
OPTIMIZER = optax.sgd(0.1, momentum=0.9)


class Run(NamedTuple):
    state: training.TrainState  # numpy
    history: list[dict[str, float]]
    seen: list[dict[str, np.ndarray]]
    donated: dict[str, bool]  # by leaf of the first state
    reused: bool  # the new parameters lie in the memory of the old ones
    compilations: int  # after the first step


@contextlib.contextmanager
def counted_compilations():
    """Count the programs that XLA compiles, whoever asks for them."""
    events = []

    def listen(event: str, duration: float, **_: Any) -> None:
        del duration
        if event == "/jax/core/compile/backend_compile_duration":
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield events
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def addresses(leaf):
    return {shard.data.unsafe_buffer_pointer() for shard in leaf.addressable_shards}


@functools.cache
def start():
    return training.create(KEY, NET, OPTIMIZER, (8, 8, 1), average=True)


@functools.cache
def run(strategy, count) -> Run:
    parallel = training.data_parallel(step(), strategy=strategy, devices=count)
    first = state = parallel.place(start())
    key = parallel.place(KEY)
    kernels = addresses(state.params["conv"]["kernel"])
    history, seen, reused = [], [], False
    batches = [parallel.shard(batch(i)) for i in range(STEPS)]
    state, metrics = parallel.step(state, batches[0], key)
    jax.block_until_ready(state)
    reused = addresses(state.params["conv"]["kernel"]) == kernels
    with counted_compilations() as events:
        for i in range(STEPS):
            if i:
                state, metrics = parallel.step(state, batches[i], key)
            history.append({name: float(value) for name, value in metrics.items()})
            seen.append(jax.tree.map(np.array, state.layer_state["seen"]))
    leaves = jax.tree_util.tree_leaves_with_path(first)
    donated = {jax.tree_util.keystr(path): leaf.is_deleted() for path, leaf in leaves}
    return Run(jax.tree.map(np.array, state), history, seen, donated, reused, len(events))


# Devices sum in another order. Each of 6 steps rounds its sums of 32 examples by some 2**-24 of the largest term,
# momentum 0.9 adds up to 4.7 of these steps, and batch norm divides by small deviations. Measured: up to 93 ulps.
# A mean of means, a penalty per device or local statistics would be off by more than 100,000.
def assert_same(found, expected, *, ulps=512):
    for (path, leaf), wanted in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        distance = np.abs(np.float64(leaf) - wanted).max() / np.spacing(np.abs(np.float32(wanted)).max())
        assert distance <= ulps, (jax.tree_util.keystr(path), distance)


@pytest.fixture(scope="module", autouse=True)
def _quick_compilation():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def step():
    return training.train_step(
        NET,
        OPTIMIZER,
        augment=functools.partial(augmentation.noise, stddev=0.1),
        penalty=lambda params: regularizers.l2(params, 0.01),
        average_decay=0.7,
    )


def without(tree, name):
    return {key: value for key, value in tree.items() if key != name}


@pytest.mark.parametrize(("strategy", "count"), [each for each in RUNS if each != REFERENCE])
def test_losses_parameters_and_statistics_do_not_depend_on_the_devices(strategy, count):
    found, expected = run(strategy, count), run(*REFERENCE)
    assert_same(found.history, expected.history)
    for part in ("step", "params", "opt_state"):
        assert_same(getattr(found.state, part), getattr(expected.state, part))
    assert_same(without(found.state.layer_state, "seen"), without(expected.state.layer_state, "seen"))
    assert_same(found.state.average["params"], expected.state.average["params"])


@pytest.mark.parametrize(("strategy", "count"), RUNS)
def test_running_statistics_are_those_of_the_whole_batch(strategy, count):
    found = run(strategy, count)
    mean, var = 0.0, 1.0
    for seen in found.seen:
        x = seen["x"].astype(np.float64)
        mean = MOMENTUM * mean + (1 - MOMENTUM) * x.mean()
        var = MOMENTUM * var + (1 - MOMENTUM) * x.var()
    assert_same(found.state.layer_state["norm0"], {"mean": np.array([mean]), "var": np.array([var])}, ulps=16)


@pytest.mark.parametrize(("strategy", "count"), RUNS)
def test_augmentation_is_the_same_to_the_bit(strategy, count):
    found, expected = run(strategy, count), run(*REFERENCE)
    for i in range(STEPS):
        np.testing.assert_array_equal(found.seen[i]["x"], expected.seen[i]["x"])
        noise = (found.seen[i]["x"] - batch(i).image)[weights(i) > 0].reshape(-1, 64)
        assert len(np.unique(noise, axis=0)) == len(noise)
        assert noise.std() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(("strategy", "count"), RUNS)
def test_dropout_masks_are_global_under_jit_and_differ_per_device_elsewhere(strategy, count):
    found = run(strategy, count)
    masks = [seen["kept"] for seen in found.seen]
    assert len({mask.tobytes() for mask in masks}) == STEPS
    if strategy == "jit":
        for mask, expected in zip(masks, run(*REFERENCE).seen, strict=True):
            np.testing.assert_array_equal(mask, expected["kept"])
    for mask in masks:
        assert len({part.tobytes() for part in np.split(mask, count)}) == count
        assert 0.3 < mask.mean() < 0.7


EXAMPLES = data.Examples(IMAGES[: N * STEPS], LABELS[: N * STEPS])


def rows(i):
    places = np.arange(i * N, (i + 1) * N, dtype=np.int32)
    return data.Rows(places, weights(i), places)


@functools.cache
def run_on_rows(strategy, count, calls) -> tuple[training.TrainState, dict[str, np.ndarray], int]:
    """Make the steps of `run` in calls of these sizes; calls of one step each take rows without columns."""
    parallel = training.data_parallel(step(), strategy=strategy, devices=count, examples=EXAMPLES)
    first = state = parallel.place(start())
    key = parallel.place(KEY)
    done, history, compilations = 0, [], 0
    for size in calls:
        together = [rows(i) for i in range(done, done + size)]
        batches = together[0] if len(calls) == STEPS else data.stack_rows(together, 4)
        with counted_compilations() as events:
            state, metrics = parallel.step(state, parallel.shard(batches), key)
            jax.block_until_ready(state)
        compilations += len(events) if done else 0
        metrics = jax.tree.map(lambda a: np.array(a).reshape(-1), metrics)
        for name, values in metrics.items():
            assert not values[size:].any(), name
        history.append({name: values[:size] for name, values in metrics.items()})
        done += size
    assert jax.tree.leaves(first.params)[0].is_deleted()
    found = {name: np.concatenate([part[name] for part in history]) for name in history[0]}
    return jax.tree.map(np.array, state), found, compilations


@pytest.mark.parametrize("calls", [(4, 2), (1,) * STEPS])
@pytest.mark.parametrize(("strategy", "count"), [("pmap", 4), ("shard_map", 4), ("jit", 4), ("jit", 1)])
def test_steps_on_examples_that_lie_on_the_devices_are_those_on_batches(strategy, count, calls):
    state, history, compilations = run_on_rows(strategy, count, calls)
    expected = run(*REFERENCE)
    assert compilations == 0
    for name, values in history.items():
        assert_same(values, np.array([step[name] for step in expected.history]))
    for part in ("step", "params", "opt_state"):
        assert_same(getattr(state, part), getattr(expected.state, part))
    assert_same(without(state.layer_state, "seen"), without(expected.state.layer_state, "seen"))
    # the noise of an example is its own, to the bit
    np.testing.assert_array_equal(
        np.sort(state.layer_state["seen"]["x"].ravel()), np.sort(run(*REFERENCE).seen[-1]["x"].ravel())
    )


@pytest.mark.parametrize(("strategy", "count"), [("pmap", 4), ("jit", 1)])
def test_how_steps_are_put_into_calls_changes_no_bit(strategy, count):
    expected, history, _ = run_on_rows(strategy, count, (4, 2))
    state, other, _ = run_on_rows(strategy, count, (1, 3, 2))
    jax.tree.map(np.testing.assert_array_equal, (state, other), (expected, history))


@pytest.mark.parametrize(
    "row", [[-1, 3], [0, N * STEPS], [[0, 1], [2, N * STEPS]], [[0, -1], [1, 2]], [[-1, 0], [-1, 1]], [[0, 1], [-1, 2]]]
)
def test_rows_that_the_examples_do_not_have_are_an_error(row):
    parallel = training.data_parallel(softmax_step(), devices=1, examples=EXAMPLES)
    wrong = data.Rows(*(np.asarray(row, np.int32),) * 3)
    with pytest.raises(ValueError, match=rf"rows: must lie in \[0, {N * STEPS - 1}\]"):
        parallel.shard(wrong)
    right = np.array([[0, N * STEPS - 1, -1], [1, 2, -1]], np.int32)
    assert parallel.shard(data.Rows(right, right, right)).row is right


def test_arrays_on_the_devices_are_not_copied_again():
    whole = training.replicate(EXAMPLES, 4)
    assert whole.images.sharding.is_fully_replicated
    assert len(whole.images.sharding.device_set) == 4
    assert [addresses(leaf) for leaf in training.replicate(whole, 4)] == [addresses(leaf) for leaf in whole]


class Device(NamedTuple):
    platform: str
    memory: dict[str, int] | None

    def memory_stats(self):
        return self.memory


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ([Device("cpu", None)], True),
        ([Device("gpu", {"bytes_limit": 4000})], True),
        ([Device("gpu", {"bytes_limit": 3999})], False),
        ([Device("gpu", {"bytes_limit": 4000}), Device("gpu", {"bytes_limit": 3999})], False),
        ([Device("tpu", None)], False),
        ([Device("cpu", None)] * (2**20 + 100_000), False),
    ],
)
def test_examples_are_kept_on_devices_that_have_four_times_their_size(devices, expected):
    examples = data.Examples(np.zeros((200, 1, 1, 1), np.uint8), np.zeros(200, np.int32))  # 1000 bytes
    assert training.fits_in_memory(examples, devices) is expected


@pytest.mark.parametrize(("strategy", "count"), RUNS)
def test_nothing_is_compiled_after_the_first_step(strategy, count):
    assert run(strategy, count).compilations == 0


def test_compilations_are_really_counted():
    parallel = training.data_parallel(softmax_step(), strategy="pmap", devices=2)
    state = training.start(SOFTMAX_START, {}, RECORDER)
    state, _ = parallel.step(state, parallel.shard(batch(0)), KEY)  # an unplaced key: new shardings follow
    with counted_compilations() as events:
        parallel.step(state, parallel.shard(batch(1)), KEY)
    assert events


@pytest.mark.parametrize(("strategy", "count"), RUNS)
def test_the_old_state_is_donated_and_its_memory_used_again(strategy, count):
    found = run(strategy, count)
    # the compiled step never reads the witness' old state, so that is no input
    assert all(deleted for name, deleted in found.donated.items() if "seen" not in name)
    assert found.reused


def test_place_copies_so_that_donation_leaves_the_original():
    for strategy, count in RUNS:
        run(strategy, count)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(start()))


SOFTMAX = nn.serial(flat=nn.flatten, logits=nn.Dense(10))
SOFTMAX_START = {"logits": {"kernel": np.random.default_rng(5).normal(size=(64, 10)).astype(np.float32)}}
SOFTMAX_START["logits"]["bias"] = np.linspace(-1, 1, 10, dtype=np.float32)
RECORDER = optax.GradientTransformation(  # keeps the gradient and leaves the parameters alone
    lambda params: params, lambda grads, state, params: (jax.tree.map(jnp.zeros_like, grads), grads)
)


def softmax_step():
    return training.train_step(SOFTMAX, RECORDER, penalty=lambda params: 0.5 * jnp.sum(params["logits"]["kernel"] ** 2))


@pytest.mark.parametrize("strategy", training.STRATEGIES)
def test_gradient_over_eight_devices_is_the_closed_form(strategy):
    parallel = training.data_parallel(softmax_step(), strategy=strategy, devices=8)
    last = batch(STEPS - 1)
    state = parallel.place(training.start(SOFTMAX_START, {}, RECORDER))
    state, metrics = parallel.step(state, parallel.shard(last), parallel.place(KEY))
    counts = last.weight > 0
    x, weight = last.image[counts].reshape(counts.sum(), 64).astype(np.float64), last.weight[counts].astype(np.float64)
    kernel, bias = (SOFTMAX_START["logits"][name].astype(np.float64) for name in ("kernel", "bias"))
    p = np.exp(x @ kernel + bias)
    p /= p.sum(1, keepdims=True)
    error = weight[:, None] * (p - np.eye(10)[last.label[counts]]) / weight.sum()
    expected = {"kernel": x.T @ error + kernel, "bias": error.sum(0)}
    assert_same(state.opt_state["logits"], dict(sorted(expected.items())), ulps=32)
    losses = -np.log(p[np.arange(len(p)), last.label[counts]])
    assert_same(metrics["loss"], weight @ losses, ulps=8)
    assert_same(metrics["weight"], weight.sum(), ulps=8)
    assert_same(metrics["penalty"], 0.5 * np.sum(kernel**2), ulps=8)


@pytest.mark.parametrize("strategy", ["pmap", "shard_map"])
def test_half_precision_gradients_are_summed_over_devices_in_float32(strategy):
    layer = nn.Layer(
        init=lambda key, in_shape: ({"a": jnp.ones((), jnp.float16)}, {}),
        apply=lambda params, state, x, **_: (params["a"] * x, state),
        out_shape=lambda in_shape: in_shape,
        children={},
        op=nn.Op("scale"),
    )
    step = training.train_step(layer, RECORDER, loss=lambda y, label: y[:, 0])
    parallel = training.data_parallel(step, strategy=strategy, devices=8)
    x = np.full((8, 1), 60_000, np.float32)  # float16 ends at 65,504: the sum over devices would be infinite
    each = data.Batch(x, np.zeros(8, np.int32), np.ones(8, np.float32), np.arange(8, dtype=np.int32))
    state = parallel.place(training.create(KEY, layer, RECORDER, (1,)))
    state, _ = parallel.step(state, parallel.shard(each), parallel.place(KEY))
    assert state.opt_state["a"].dtype == jnp.float16
    assert float(state.opt_state["a"]) == 60_000


@pytest.mark.parametrize("count", COUNTS[1:])
def test_dropout_trains_alike_on_any_number_of_devices_under_jit(count):
    def trained(devices):
        layer = nn.serial(flat=nn.flatten, drop=nn.Dropout(0.5), logits=nn.Dense(10))
        parallel = training.data_parallel(training.train_step(layer, OPTIMIZER), strategy="jit", devices=devices)
        state = parallel.place(training.start(SOFTMAX_START, {}, OPTIMIZER))
        for i in range(STEPS):
            state, _ = parallel.step(state, parallel.shard(batch(i)), parallel.place(KEY))
        return jax.tree.map(np.array, state.params)

    assert_same(trained(count), trained(1))


@pytest.mark.parametrize("count", [1, 8])
def test_eval_step_over_devices(count):
    step = training.data_parallel_eval(training.eval_step(SOFTMAX), devices=count)
    last = batch(STEPS - 1)
    # the parameters lie on one device, as a restored checkpoint's do, and on another in the next call
    for device in jax.devices()[:2]:
        metrics, outputs = step((jax.device_put(SOFTMAX_START, device), {}), last)
        counts = last.weight > 0
        x = last.image[counts].reshape(counts.sum(), 64).astype(np.float64)
        logits = x @ SOFTMAX_START["logits"]["kernel"] + SOFTMAX_START["logits"]["bias"]
        assert_same(np.asarray(outputs)[counts], logits, ulps=16)
        hits = logits.argmax(1) == last.label[counts]
        assert_same(metrics["correct"], last.weight[counts].astype(np.float64) @ hits, ulps=8)
    if count > 1:
        with pytest.raises(ValueError, match="batch size 31 is not divisible by 8 devices"):
            step((SOFTMAX_START, {}), data.Batch(*(field[:31] for field in last)))


@pytest.mark.parametrize("strategy", training.STRATEGIES)
def test_a_batch_that_the_devices_do_not_divide_is_an_error(strategy):
    parallel = training.data_parallel(softmax_step(), strategy=strategy, devices=8)
    with pytest.raises(ValueError, match="batch size 31 is not divisible by 8 devices"):
        parallel.shard(data.Batch(*(field[:31] for field in batch(0))))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"devices": 0}, "devices=0: must be at least 1 and at most 8"),
        ({"devices": -1}, "devices=-1: must be at least 1"),
        ({"devices": 9}, r"devices=9: must be at least 1 and at most 8 \(cpu\).*JAX_NUM_CPU_DEVICES=9"),
        ({"devices": 2.0}, r"devices=2\.0: must be a whole number, or a sequence of devices"),
        ({"devices": True}, "devices=True: must be a whole number, or a sequence of devices"),
        ({"devices": [0, 1]}, r"devices=\[0, 1\]: 0 is a int, not a device"),
        ({"devices": "cpu"}, "devices='cpu': must be a whole number"),
        ({"devices": []}, "must name at least one device"),
        ({"devices": jax.devices()[:1] * 2}, "none twice"),
        ({"strategy": "dmap"}, "strategy='dmap' is not one of pmap, jit, shard_map"),
        ({"strategy": ""}, "strategy='' is not one of"),
    ],
)
def test_mistakes_are_named(options, text, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=text):
        training.data_parallel(softmax_step(), **options)
    if "devices" in options:
        with pytest.raises(ValueError, match=text):
            training.data_parallel_eval(training.eval_step(SOFTMAX), **options)


def test_default_strategy_and_devices(monkeypatch):
    assert training.data_parallel(softmax_step()).size == len(jax.devices())
    chosen = training.data_parallel(softmax_step(), devices=jax.devices()[4:6])
    state = chosen.place(training.start(SOFTMAX_START, {}, RECORDER))
    sharded = chosen.shard(batch(0))
    assert sharded.image.shape == (2, N // 2, 8, 8, 1)  # pmap, the default for several
    state, _ = chosen.step(state, sharded, chosen.place(KEY))
    assert state.step.sharding.device_set == set(jax.devices()[4:6])
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for one in (1, np.int64(1)):  # jit
        assert training.data_parallel(softmax_step(), devices=one).shard(batch(0)).image.shape == (N, 8, 8, 1)


@pytest.mark.parametrize(("devices", "waits"), [(1, False), (2, True)])
@pytest.mark.parametrize("strategy", training.parallel.STRATEGIES)
def test_on_several_cpu_devices_a_step_waits_for_the_one_before(devices, waits, strategy, monkeypatch):
    """XLA ends the process if calls in flight leave no thread for a device that a collective waits for."""

    def step(total, batch, key, *, axis_name=None):
        return total + batch.sum(), {}

    parallel = training.data_parallel(step, devices=devices, strategy=strategy)
    state, batch = parallel.place(jnp.zeros(())), parallel.shard(np.arange(4.0, dtype=np.float32))
    waited = []
    monkeypatch.setattr(jax, "block_until_ready", lambda args: waited.append(args) or args)
    parallel.step(state, batch, parallel.place(jax.random.key(0)))
    assert [one[0] is state for one in waited] == [True] * waits


# ---------------------------------------------------------------- states of parameters that are not whole


@pytest.mark.parametrize("name", members.ALL)
def test_a_state_lies_on_the_devices_of_its_parameters(name):
    """As optax's do, so that the states of parameters on several devices need not fit on one."""
    tx, split = members.ALL[name](), jax.sharding.NamedSharding(compat.data_mesh(jax.devices()[:2], "i"), jax.P("i"))
    params = jax.device_put({"w": np.ones((2, 3), np.float32), "b": np.ones(14, np.float32)}, split)
    like = [leaf for leaf in jax.tree.leaves(tx.init(members.whole(tx, params))) if leaf.shape in ((2, 3), (14,))]
    assert len(like) >= {"adam": 4, "accumulate": 6, "sgd": 0}.get(name, 0)
    assert all(leaf.sharding == split for leaf in like)


@pytest.mark.parametrize("name", members.ALL)
def test_a_scan_in_a_shard_map_carries_a_state_made_of_each_device_s_own_parameters(name):
    """A scan refuses a carry that varies over devices only from its second step on; tracing compiles nothing."""
    tx, part = members.ALL[name](), jax.P("i")

    def on_device(params, grads):
        params, grads = jax.tree.map(lambda x: x[0], (params, grads))
        start = members.whole(tx, params)

        def step(carry, _):
            updates, state = members.update(tx, grads, carry[1], carry[0])
            return (optax.apply_updates(carry[0], updates), state), None

        (params, _), _ = lax.scan(step, (start, tx.init(start)), None, length=2)
        return jax.tree.map(lambda x: x[None], params)

    mapped = jax.shard_map(on_device, mesh=compat.data_mesh(jax.devices()[:2], "i"), in_specs=part, out_specs=part)
    stacked = [jax.tree.map(lambda x: np.stack([x, x]).astype(np.float32), t) for t in (members.PARAMS, members.GRADS)]
    for leaf in jax.tree.leaves(jax.eval_shape(mapped, *stacked)):
        assert leaf.dtype == np.float32


@pytest.mark.parametrize("name", members.ALL)
def test_no_array_of_a_state_is_without_entries(name):
    """Orbax, with which other people's loops save, refuses such arrays."""
    tx, params = members.ALL[name](), members.as_dtype(members.PARAMS, np.float32)
    state = jax.eval_shape(lambda params: tx.init(members.whole(tx, params)), params)
    assert all(leaf.size for leaf in jax.tree.leaves(state))

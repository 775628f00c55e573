"""Networks of several inputs, and losses of several targets, in the library's own loop."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import analysis, data, interop, losses, nn, training

COUNT, TIME, SYMBOLS = 22, 5, 7
DRAW = np.random.default_rng(0)
TOKENS, LENGTHS = DRAW.integers(0, SYMBOLS, (COUNT, TIME)), DRAW.integers(1, TIME + 1, COUNT)
LABELS = DRAW.integers(0, 3, COUNT).astype(np.int32)


def mean_over_steps(x):
    words, lengths = x
    inside = jnp.arange(words.shape[1])[None] < lengths[:, None]
    return (words * inside[..., None]).sum(1) / lengths[:, None]  # NaN for a length of 0


def reader(embed, lengths):
    words = nn.parallel(tuple, embed=nn.pick(embed, nn.Embedding(SYMBOLS, 4)), lengths=nn.pick(lengths))
    return nn.serial(words=words, mean=nn.function(mean_over_steps), logits=nn.Dense(3))


CASES = {
    "a tuple": (reader(0, 1), (TOKENS, LENGTHS), ((TIME,), ())),
    "a dict": (
        reader("tokens", "lengths"), {"tokens": TOKENS, "lengths": LENGTHS}, {"tokens": (TIME,), "lengths": ()}
    ),
}  # fmt: skip


def by_hand(net, optimizer, state, inputs, labels):
    def loss(params):
        logits, _ = net.apply(params, state.layer_state, inputs, train=True, key=jax.random.key(0))
        return losses.softmax_cross_entropy(logits, labels).mean()

    updates, _ = optimizer.update(jax.grad(loss)(state.params), state.opt_state, state.params)
    return optax.apply_updates(state.params, updates)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("strategy", "devices"), [("jit", 1), ("pmap", 2), ("shard_map", 2), ("jit", 2)])
@pytest.mark.parametrize("resident", [False, True])
def test_a_step_on_several_inputs_is_that_of_a_loop_of_one_s_own(case, strategy, devices, resident):
    net, inputs, in_shape = CASES[case]
    examples, optimizer = data.Examples(inputs, LABELS), optax.sgd(0.5)
    state = training.create(jax.random.key(0), net, optimizer, in_shape)
    kept = examples if resident else None
    parallel = training.data_parallel(
        training.train_step(net, optimizer), strategy=strategy, devices=devices, examples=kept
    )
    rows = next(data.batch_rows(COUNT, 8, seed=0, epoch=0))
    batch = next(data.batches(examples, 8, seed=0, epoch=0))
    jax.tree.map(np.testing.assert_array_equal, batch.image, jax.tree.map(lambda one: one[rows.row], inputs))
    given = parallel.shard(rows if resident else batch)
    after, sums = parallel.step(parallel.place(state), given, parallel.place(jax.random.key(1)))
    expected = by_hand(net, optimizer, state, batch.image, batch.label)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), after.params, expected)
    assert float(sums["weight"]) == 8


LSTM = nn.LSTM(3, output="last", lengths=True)
OF_LENGTHS = {
    "a tuple": nn.serial(
        words=nn.parallel(tuple, embed=nn.pick(0, nn.Embedding(SYMBOLS, 4)), lengths=nn.pick(1)), lstm=LSTM
    ),
    "a dict": nn.serial(
        words=nn.parallel(tuple, embed=nn.pick("tokens", nn.Embedding(SYMBOLS, 4)), lengths=nn.pick("lengths")),
        lstm=LSTM,
    ),
}


@pytest.mark.parametrize("case", OF_LENGTHS)
def test_what_reads_shapes_alone_knows_that_lengths_are_whole_numbers(case):
    net, (_, inputs, in_shape) = OF_LENGTHS[case], CASES[case]
    table = {row.layer: row for row in analysis.summary(net, in_shape).rows}
    assert table["lstm"].parameters == 4 * 3 * (4 + 3 + 1)
    params, state = net.init(jax.random.key(0), in_shape)
    assert nn.tap(net, ["words"]).out_shape(in_shape) == ((3,), {"words": ((TIME, 4), ())})
    variables = interop.to_linen(net).init(jax.random.key(0), inputs)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.shape, b.shape), variables["params"], params)
    theirs = interop.to_linen(net).apply({"params": params}, inputs)
    np.testing.assert_array_equal(theirs, net.apply(params, state, inputs)[0])


@pytest.mark.parametrize("case", CASES)
def test_the_padding_of_the_last_batch_does_not_count(case):
    net, inputs, in_shape = CASES[case]
    variables = net.init(jax.random.key(0), in_shape)
    found, outputs = training.evaluate(
        training.eval_step(net), variables, data.eval_batches(data.Examples(inputs, LABELS), 8)
    )
    logits, _ = net.apply(*variables, jax.tree.map(jnp.asarray, inputs))
    np.testing.assert_allclose(outputs, logits, rtol=1e-5, atol=1e-6)
    assert found["loss"] == pytest.approx(float(losses.softmax_cross_entropy(logits, LABELS).mean()), rel=1e-5)


def test_an_image_that_is_nan_where_it_does_not_count_leaves_the_gradient_finite():
    net = nn.parallel(
        "sum", image=nn.pick(0, nn.serial(flat=nn.flatten, dense=nn.Dense(3))), age=nn.pick(1, nn.Dense(3))
    )
    optimizer = optax.sgd(0.1)
    images = np.ones((4, 2, 2, 1), np.float32)
    images[3] = np.nan
    batch = data.Batch((images, np.ones((4, 1), np.float32)), LABELS[:4], np.float32([1, 1, 1, 0]), np.arange(4))
    state = training.create(jax.random.key(0), net, optimizer, ((2, 2, 1), (1,)))
    after, _ = training.train_step(net, optimizer)(state, batch, jax.random.key(1))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after.params))


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ((TOKENS, LENGTHS[:-1]), rf"examples.images\[1\] has {COUNT - 1} rows, but {COUNT} labels"),
        ({"t": TOKENS[1:], "n": LENGTHS}, rf"examples.images\['t'\] has {COUNT - 1} rows, but {COUNT} labels"),
        ([1.0] * COUNT, "examples.images: got list of float, allowed are an array, or a tuple or dict of arrays"),
        (3, "examples.images: got int, allowed are an array, or a tuple or dict of arrays"),
    ],
)
def test_inputs_that_do_not_belong_together_are_named(images, said):
    for read in (lambda e: data.eval_batches(e, 4), lambda e: data.batches(e, 4, seed=0, epoch=0)):
        with pytest.raises(ValueError, match=said):
            read(data.Examples(images, LABELS))


# ---------------------------------------------------------------- several targets

X = DRAW.normal(size=(COUNT, 4)).astype(np.float32)
SIZES = (X.sum(1) / 4).astype(np.float32)
OPTIMIZER = optax.sgd(0.2)


def of_two(combine, kind, size):
    """Return a network of two heads, its loss and metrics; ``kind`` and ``size`` find them in outputs and labels."""
    net = nn.parallel(lambda heads: combine(heads[0], heads[1][:, 0]), kind=nn.Dense(3), size=nn.Dense(1))

    def loss(outputs, labels):
        return losses.softmax_cross_entropy(outputs[kind], labels[kind]) + (outputs[size] - labels[size]) ** 2

    def metrics(outputs, labels):
        correct = jnp.argmax(outputs[kind], -1) == labels[kind]
        return {"correct": correct, "error": jnp.abs(outputs[size] - labels[size])}

    return net, loss, metrics


TARGETS = {
    "a tuple": (of_two(lambda a, b: (a, b), 0, 1), (LABELS, SIZES)),
    "a dict": (of_two(lambda a, b: {"kind": a, "size": b}, "kind", "size"), {"kind": LABELS, "size": SIZES}),
}


@pytest.mark.parametrize("case", TARGETS)
@pytest.mark.parametrize(
    ("strategy", "devices", "accumulate"), [("jit", 1, 1), ("jit", 1, 2), ("pmap", 2, 1), ("shard_map", 2, 1)]
)
@pytest.mark.parametrize("resident", [False, True])
def test_a_step_on_several_targets_is_that_of_a_loop_of_one_s_own(case, strategy, devices, accumulate, resident):
    (net, loss, metrics), labels = TARGETS[case]
    examples = data.Examples(X, labels)
    assert training.fits_in_memory(examples, jax.devices()[:1])
    state = training.create(jax.random.key(0), net, OPTIMIZER, (4,))
    parallel = training.data_parallel(
        training.train_step(net, OPTIMIZER, loss=loss, metrics=metrics, accumulate=accumulate),
        strategy=strategy, devices=devices, examples=examples if resident else None,
    )  # fmt: skip
    rows = next(data.batch_rows(COUNT, 8, seed=0, epoch=0))
    batch = next(data.batches(examples, 8, seed=0, epoch=0))
    given = parallel.shard(rows if resident else batch)
    after, sums = parallel.step(parallel.place(state), given, parallel.place(jax.random.key(1)))

    x, kind, size = X[rows.row], LABELS[rows.row], SIZES[rows.row]
    a, b = (jax.tree.map(np.float64, state.params[name]) for name in ("kind", "size"))
    exp = np.exp(x @ a["kernel"] + a["bias"])
    p, y = exp / exp.sum(1, keepdims=True), (x @ b["kernel"] + b["bias"])[:, 0]
    of_logits, of_size = (p - np.eye(3)[kind]) / 8, 2 * (y - size)[:, None] / 8
    expected = {
        name: {"kernel": old["kernel"] - 0.2 * x.T @ slope, "bias": old["bias"] - 0.2 * slope.sum(0)}
        for name, old, slope in (("kind", a, of_logits), ("size", b, of_size))
    }
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), after.params, expected)
    assert float(sums["correct"]) == (p.argmax(1) == kind).sum()
    np.testing.assert_allclose(sums["error"], np.abs(y - size).sum(), rtol=1e-5)


@pytest.mark.parametrize("case", TARGETS)
def test_several_targets_are_evaluated_without_the_padding(case):
    (net, loss, metrics), labels = TARGETS[case]
    variables = net.init(jax.random.key(0), (4,))
    step = training.eval_step(net, loss=loss, metrics=metrics)
    found, outputs = training.evaluate(step, variables, data.eval_batches(data.Examples(X, labels), 8))
    expected = net.apply(*variables, X)[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), outputs, expected)
    assert found["loss"] == pytest.approx(float(loss(expected, labels).mean()), rel=1e-5)
    assert found["accuracy"] == pytest.approx(float(metrics(expected, labels)["correct"].mean()))
    assert set(found) == {"loss", "accuracy", "error"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "labels: got several arrays, allowed is one for softmax_cross_entropy; a loss of your own"),
        (
            {"loss": lambda outputs, labels: labels[1], "ignore_label": 0},
            "ignore_label=0: it is for one array of labels",
        ),
    ],
)
def test_several_targets_are_refused_where_one_is_meant(options, said):
    examples = data.Examples(X, (LABELS, SIZES))
    state = training.create(jax.random.key(0), nn.Dense(3), OPTIMIZER, (4,))
    with pytest.raises(ValueError, match=said):
        training.train_step(nn.Dense(3), OPTIMIZER, **options)(
            state, next(data.batches(examples, 4, seed=0, epoch=0)), jax.random.key(0)
        )


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ((LABELS, SIZES[:-1]), rf"examples.labels\[1\] has {COUNT - 1} rows, but {COUNT} labels"),
        (None, "examples.labels: got NoneType, allowed are an array, or a tuple or dict of arrays"),
        ([0] * COUNT, "examples.labels: got list of int, allowed are"),
        (np.float32(1), "examples.labels: got float32, allowed are"),
    ],
)
def test_targets_that_do_not_belong_together_are_named(labels, said):
    for read in (lambda e: data.eval_batches(e, 4), lambda e: data.batches(e, 4, seed=0, epoch=0)):
        with pytest.raises(ValueError, match=said):
            read(data.Examples(X, labels))


def test_a_batch_written_by_hand_may_have_lists():
    variables = nn.Dense(3).init(jax.random.key(0), (4,))
    batches = [
        data.Batch(image, label, np.ones(2, np.float32), np.arange(2))
        for image, label in ((X[:2], LABELS[:2]), (X[:2].tolist(), LABELS[:2].tolist()))
    ]
    first, second = (training.evaluate(training.eval_step(nn.Dense(3)), variables, [batch])[0] for batch in batches)
    assert first == second


@pytest.mark.parametrize(
    ("labels", "expected"),
    [(LABELS[:4], {"first": 4.0}), ((LABELS[:4], SIZES[:4]), {"both": 8.0})],
    ids=["one array of labels", "several"],
)
def test_metrics_get_the_first_of_several_outputs_and_all_where_labels_are_several(labels, expected):
    net = nn.parallel(tuple, a=nn.Dense(3), b=nn.Dense(1))

    def metrics(outputs, labels):
        several = isinstance(outputs, tuple)
        return {"both" if several else "first": jnp.full(4, len(outputs) if several else 1)}

    loss = lambda outputs, labels: outputs[1][:, 0] ** 2
    step = training.eval_step(net, loss=loss, metrics=metrics)
    batch = data.Batch(X[:4], labels, np.ones(4, np.float32), np.arange(4))
    sums, _ = step(net.init(jax.random.key(0), (4,)), batch)
    assert {name: float(sums[name]) for name in expected} == expected

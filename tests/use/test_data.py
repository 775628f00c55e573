"""Tables and real targets, laws of splits, and the errors of every public function of `jaxdl.data`."""

import inspect

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_diabetes

from jaxdl import data, losses, nn, optimizers, runs, training
from jaxdl.data import augmentation, transforms

KEY = jax.random.key(0)
LAWS = settings(max_examples=60, deadline=None, derandomize=True)


def numbered(sizes, *, seed=0):
    """Return a data set in which every image holds its own number, with the classes mixed."""
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    images = np.arange(len(labels), dtype=np.float32).reshape(-1, 1) + 1
    names = [str(i) for i in range(len(sizes))]
    return data.from_arrays(images, labels, classes=names)


def numbers(examples):
    return examples.images[:, 0].tolist()


def counts(examples, classes):
    return np.bincount(examples.labels, minlength=classes)


# ---------------------------------------------------------------- splits


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@LAWS
@given(
    sizes=st.lists(st.integers(2, 40), min_size=1, max_size=12),
    seed=st.integers(0, 2**64),
    dev=st.floats(0.05, 0.9),
    test=st.floats(0.05, 0.9),
)
def test_parts_are_proportional_disjoint_whole_and_of_the_seed(sizes, seed, dev, test):
    dataset = numbered(sizes)
    try:
        parts = data.split(dataset, seed=seed, dev_fraction=dev, test_fraction=test)
    except ValueError as error:
        assert "would be left with none" in str(error) or "part empty" in str(error)  # noqa: PT017
        return
    found = [counts(part, len(sizes)) for part in parts]
    assert sorted(number for part in parts for number in numbers(part)) == dataset.images[:, 0].tolist()
    assert np.abs(found[2] - np.array(sizes) * test).max() < 1
    rest = np.array(sizes) - found[2]
    assert np.abs(found[1] - rest * dev).max() < 1
    assert (found[0] >= 1).all()
    if len(sizes) > 1:
        assert found[2].sum() == round(float((np.array(sizes) * test).sum()))
        assert found[1].sum() == round(float((rest * dev).sum()))
    again = data.split(dataset, seed=seed, dev_fraction=dev, test_fraction=test)
    assert [numbers(part) for part in again] == [numbers(part) for part in parts]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_rare_classes_are_drawn_by_the_seed():
    """Of 100 classes of 3 examples, 60 have a test example, all equally often."""
    dataset = numbered([3] * 100)
    chosen = np.array(
        [counts(data.split(dataset, seed=seed, dev_fraction=0.1).test, 100) for seed in range(200)], np.int64
    )
    assert (chosen.sum(axis=1) == 60).all()
    assert len({row.tobytes() for row in chosen}) == 200
    # the mean is 120 of 200, with a standard deviation of 7
    assert chosen.sum(axis=0).min() > 85
    assert chosen.sum(axis=0).max() < 155
    # the same holds for dev, independent of test
    chosen = [counts(data.split(dataset, seed=seed, dev_fraction=0.1).dev, 100) for seed in range(50)]
    assert (np.sum(chosen, axis=0) > 0).all()


def test_classes_without_an_example_in_a_part_are_named_once():
    dataset = numbered([3] * 12)
    with pytest.warns(RuntimeWarning, match=r"arrays, of 12 classes: dev has no example of \d+ classes \('") as said:
        parts = data.split(dataset, seed=0, dev_fraction=0.1)
    assert len(said) == 1
    text = str(said[0].message)
    for part, examples in zip(("dev", "test"), parts[1:], strict=True):
        lacking = [repr(str(i)) for i in np.flatnonzero(counts(examples, 12) == 0)]
        assert f"{part} has no example of {len(lacking)} classes ({', '.join(lacking[:10])}" in text
    assert "train has" not in text
    named = data.from_arrays(np.ones((20, 1)), np.arange(20) % 2, classes=["ant", "bee", "cat"])
    with pytest.warns(RuntimeWarning, match=r"train has no example of 1 class \('cat'\); dev has no .*; test has no"):
        data.split(named, seed=0, dev_fraction=0.2)


def test_no_class_loses_its_last_training_example():
    for sizes in ([1] * 100, [1] * 50 + [2], [2] * 5 + [1] * 40):
        with pytest.raises(ValueError, match=r"takes \d+ more .* last training example; .* class(es)? \('.* with none"):
            data.split(numbered(sizes), seed=0, dev_fraction=0.1)
    with pytest.warns(RuntimeWarning, match="no example of 1 class"):
        parts = data.split(numbered([40, 1]), seed=3, dev_fraction=0.45, test_fraction=0.45)
    assert counts(parts.train, 2)[1] == 1
    x = np.ones((4, 1))
    foreign = data.from_arrays(x, [0, 0, 1, 1], test_images=x, test_labels=[0, 1, 2, 2])
    with pytest.raises(ValueError, match=r"the training part has no example of 1 class \('2'\)"):
        data.split(foreign, seed=0, dev_fraction=0.5)


# ---------------------------------------------------------------- tables and real targets


@pytest.mark.parametrize("shape", [(9,), (9, 2)])
def test_real_targets_go_through_every_function(shape):
    random = np.random.default_rng(0)
    x, y = random.normal(100, 30, (9, 3)), random.normal(-5, 2, shape)
    dataset = data.from_arrays(x, y, name="prices")
    assert (dataset.images.dtype, dataset.labels.dtype, dataset.classes, dataset.scale) == ("float32", "float32", (), 1)
    np.testing.assert_array_equal(dataset.labels, y.astype(np.float32))
    parts = data.split(dataset, seed=1, dev_fraction=0.3, test_fraction=0.3)
    assert [len(part.labels) for part in parts] == [4, 2, 3]
    rows = [x.astype(np.float32).tolist().index(row) for part in parts for row in part.images.tolist()]
    assert sorted(rows) == list(range(9))
    np.testing.assert_array_equal(np.concatenate([part.labels for part in parts]), y.astype(np.float32)[rows])
    stats = data.fit_normalization(parts.train.images, dataset.scale)
    np.testing.assert_allclose(stats.mean, parts.train.images.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(stats.std, parts.train.images.std(axis=0), rtol=1e-5)
    inputs = data.normalize(parts.train.images, stats)
    np.testing.assert_allclose(inputs, (parts.train.images - stats.mean) / stats.std, rtol=1e-6)
    (batch,) = data.batches(parts.train, 4, seed=0, epoch=0)
    assert sorted(batch.label.tolist()) == sorted(parts.train.labels.tolist())
    assert (batch.image.shape, batch.label.shape, batch.label.dtype) == ((4, 3), (4, *shape[1:]), np.float32)
    first, last = data.eval_batches(parts.test, 2)
    assert last.weight.tolist() == [1, 0]
    np.testing.assert_array_equal(np.concatenate([first.label, last.label])[:3], parts.test.labels)
    rows = next(data.batch_rows(4, 4, seed=0, epoch=0))
    np.testing.assert_array_equal(data.take(parts.train, rows).label, batch.label)


def test_which_labels_are_classes_and_which_are_real():
    x = np.arange(4)[:, None]  # whole numbers are features, too
    assert data.from_arrays(x, [2104, 1416, 1534, 852], classes=()).labels.dtype == np.float32
    passed = data.from_arrays(x, np.array([True, False, True, True]))
    assert (passed.classes, passed.labels.tolist()) == (("0", "1"), [1, 0, 1, 1])
    assert data.from_arrays(x, [1.0, 0.0, 1.0, 2.0]).classes == ()
    for dtype in (np.float16, jnp.bfloat16, np.float64, np.int8):
        assert data.from_arrays(x.astype(dtype), x[:, 0].astype(float)).images.dtype == np.float32


def test_a_feature_that_is_constant_but_for_rounding_is_only_centred():
    x = np.stack([np.full(1000, 0.1, np.float32), np.full(1000, 1e7, np.float32)], axis=1)
    stats = data.fit_normalization(x, 1.0)
    np.testing.assert_array_equal(stats.std, [0, 0])
    np.testing.assert_allclose(data.normalize(np.float32([[0.2, 1e7 + 2]]), stats), [[0.1, 2]], rtol=1e-6)


def single(layer):
    """Return the network with its single output as a number per example."""
    return nn.serial(net=layer, number=lambda y: y[..., 0])


def test_house_prices_from_data_to_a_trained_line():
    """The lectures' first example on a bundled real table; the closed form is the oracle."""
    table = load_diabetes()
    dataset = data.from_arrays(table.data, table.target, name="diabetes")
    parts = data.split(dataset, seed=0, dev_fraction=0.2)
    stats = data.fit_normalization(parts.train.images, dataset.scale)
    layer, optimizer = single(nn.Dense(1)), optimizers.sgd(0.1)
    step = jax.jit(
        training.train_step(layer, optimizer, loss=losses.squared_error, preprocess=lambda x: data.normalize(x, stats))
    )
    state = training.create(KEY, layer, optimizer, parts.train.images.shape[1:])
    for epoch in range(300):
        for batch in data.batches(parts.train, len(parts.train.labels), seed=0, epoch=epoch):
            state, found = step(state, batch, KEY)

    def table_of(examples):
        x = np.asarray(data.normalize(examples.images, stats), np.float64)
        return np.concatenate([x, np.ones((len(x), 1))], axis=1)

    best, residual, *_ = np.linalg.lstsq(table_of(parts.train), parts.train.labels.astype(np.float64))
    np.testing.assert_allclose(found["loss"], residual[0], rtol=1e-2)
    judge = jax.jit(training.eval_step(layer, loss=losses.squared_error, preprocess=lambda x: data.normalize(x, stats)))
    sums = [judge((state.params, state.layer_state), batch)[0] for batch in data.eval_batches(parts.test, 50)]
    mean = sum(float(s["loss"]) for s in sums) / sum(float(s["weight"]) for s in sums)
    expected = np.mean((table_of(parts.test) @ best - parts.test.labels) ** 2)
    np.testing.assert_allclose(mean, expected, rtol=3e-2)
    assert mean < 0.7 * parts.test.labels.var(), "much better than the mean price"


def test_will_i_pass_this_class():
    """The lectures' second example: one logit of lectures heard and hours worked."""
    dataset = data.from_arrays([[4, 5], [2, 1], [5, 8]], [1, 0, 1], classes=["fail", "pass"])
    examples = data.Examples(dataset.images, dataset.labels)
    stats = data.fit_normalization(examples.images, dataset.scale)
    hidden = nn.serial(fc1=nn.Dense(3), relu=jax.nn.relu, fc2=nn.Dense(1))
    layer, optimizer = single(hidden), optimizers.adam(0.1)
    loss = losses.sigmoid_binary_cross_entropy
    step = jax.jit(training.train_step(layer, optimizer, loss=loss, preprocess=lambda x: data.normalize(x, stats)))
    state = training.create(jax.random.key(1), layer, optimizer, (2,))
    for epoch in range(100):
        for batch in data.batches(examples, 3, seed=0, epoch=epoch):
            state, found = step(state, batch, KEY)
    assert found["loss"] / found["weight"] < 0.05
    logits, _ = layer.apply(state.params, state.layer_state, data.normalize(examples.images, stats))
    np.testing.assert_array_equal(np.asarray(logits) > 0, examples.labels == 1)


# ---------------------------------------------------------------- augmentation and 16 bits

IMAGE = np.random.default_rng(1).random((7, 6, 3)).astype(np.float32)
OF_ONE_IMAGE = {
    **{name: {} for name in augmentation.__all__},
    "alternating_flip": {"epoch": 1},
    "crop": {"padding": 2},
    "cutout": {"size": 3},
}
# these mix a batch or take functions
NOT_OF_ONE_IMAGE = {"Augmentation", "mixup", "cutmix", "compose", "per_example"}
RANDOM = sorted(set(OF_ONE_IMAGE) - NOT_OF_ONE_IMAGE)


@pytest.mark.parametrize("name", RANDOM)
def test_every_change_is_right_in_16_bits_and_refuses_whole_numbers(name, monkeypatch):
    change = getattr(augmentation, name)
    expected = np.asarray(change(KEY, IMAGE, **OF_ONE_IMAGE[name]))
    for dtype, steps in ((jnp.float16, 2**-10), (jnp.bfloat16, 2**-7)):
        found = change(KEY, jnp.asarray(IMAGE, dtype), **OF_ONE_IMAGE[name])
        assert found.dtype == dtype
        np.testing.assert_allclose(np.asarray(found, np.float32), expected, atol=4 * steps)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for dtype in (np.uint8, np.int32, bool, np.complex64):
        with pytest.raises(ValueError, match=rf"image has shape .* type {np.dtype(dtype)}; expected floats"):
            change(KEY, IMAGE.astype(dtype), **OF_ONE_IMAGE[name])
        for wrap in (augmentation.compose(change), augmentation.per_example(change)):
            if OF_ONE_IMAGE[name]:
                continue
            arguments = (
                (KEY, IMAGE.astype(dtype)) if wrap.__name__ == "composed" else (KEY, IMAGE[None].astype(dtype), [0])
            )
            with pytest.raises(ValueError, match="expected floats"):
                wrap(*arguments)


@pytest.mark.parametrize("name", RANDOM)
def test_a_key_that_is_none_is_named(name, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    change = getattr(augmentation, name)
    for key in (0, None, IMAGE, np.random.default_rng(0), jax.random.split(KEY)):
        with pytest.raises(ValueError, match=r"key is a .*; expected one random key"):
            change(key, IMAGE, **OF_ONE_IMAGE[name])
    for key in (jax.random.PRNGKey(0), jax.random.key(0, impl="rbg")):
        assert jax.jit(lambda key: change(key, IMAGE, **OF_ONE_IMAGE[name]))(key).shape == IMAGE.shape


def test_sizes_in_pixels_are_whole(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for name, option in (("translate", "max_shift"), ("crop", "padding"), ("cutout", "size")):
        with pytest.raises(ValueError, match=rf"{option} is 2.5; it must be a whole number of pixels"):
            getattr(augmentation, name)(KEY, IMAGE, **{option: 2.5})


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, bool, np.float16, jnp.bfloat16, np.float32])
def test_mixup_of_one_hot_rows_of_any_type(dtype):
    images, rows = np.random.default_rng(2).random((6, 4, 4, 1)).astype(np.float32), np.eye(6)
    _, expected = augmentation.mixup(KEY, images, rows.astype(np.float32), alpha=1.0)
    mixed, soft = augmentation.mixup(KEY, images, rows.astype(dtype), alpha=1.0)
    floating = jnp.issubdtype(np.dtype(dtype), jnp.floating)
    assert soft.dtype == (np.dtype(dtype) if floating else np.float32)
    np.testing.assert_allclose(np.asarray(soft, np.float32), expected, atol=2**-8 if floating else 0)
    assert (expected * (1 - expected)).max() > 0.01
    np.testing.assert_allclose(mixed, np.einsum("ij,jhwc->ihwc", expected, images), rtol=1e-5)


def test_mixup_of_whole_numbers_is_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    images = np.ones((4, 2, 2, 1), np.float32)
    with pytest.raises(ValueError, match=r"targets has shape \(4,\) and type int32; .* jax.nn.one_hot makes them"):
        augmentation.mixup(KEY, images, np.arange(4, dtype=np.int32))
    with pytest.raises(ValueError, match="images has type uint8; expected floats"):
        augmentation.mixup(KEY, images.astype(np.uint8), np.eye(4))
    with pytest.raises(ValueError, match="values has type int32; expected floats"):
        transforms.mixed(jnp.arange(3), jnp.arange(3), 0.5)
    table, real = augmentation.mixup(KEY, images[:, 0, 0], np.arange(4, dtype=np.float32))
    assert (table.shape, real.shape, real.dtype) == ((4, 1), (4,), np.float32)
    assert float(jnp.abs(real - jnp.arange(4)).max()) > 0


def test_normalisation_is_computed_wide_and_refuses_raw_bytes(monkeypatch):
    stats = data.Normalization(np.float32([300.0, 0.1]), np.float32([3.0, 1e-6]), 65535.0)
    x = np.float32([[301.0, 0.1001]])
    for dtype in (np.float16, jnp.bfloat16):
        narrow = jnp.asarray(x, dtype)
        exact = np.asarray(narrow, np.float64)
        expected = (exact - np.float64(stats.mean)) / np.float64(stats.std)
        np.testing.assert_allclose(np.asarray(data.standardize(narrow, stats), np.float64), expected, rtol=2**-8)
        unit = np.asarray(data.to_unit(jnp.asarray([60000.0], dtype), 65535.0), np.float64)
        np.testing.assert_allclose(unit, 60000 / 65535, rtol=2**-7)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for dtype in (np.uint8, np.int32, bool):
        with pytest.raises(ValueError, match=r"expected floats \(data.normalize takes raw pixels"):
            data.standardize(x.astype(dtype), stats)
    with pytest.raises(ValueError, match="x has type complex64; expected real numbers"):
        data.to_unit(x.astype(np.complex64), 1.0)


# ---------------------------------------------------------------- wrong arguments

X, Y = np.ones((6, 4, 4, 1), np.float32), np.arange(6) % 2
DATASET = data.from_arrays(X, Y)
PARTS = data.split(data.from_arrays(np.repeat(X, 4, 0), np.tile(Y, 4)), seed=0, dev_fraction=0.3)
EXAMPLES = data.Examples(X, Y)
OPTIONS = {"seed": 0, "epoch": 0}
WRONG = {
    "from_arrays": [
        (lambda: data.from_arrays(Y, X), r"images has shape \(6,\) and labels \(6, 4, 4, 1\): the order is"),
        (lambda: data.from_arrays(X, None), "labels has shape .* and type object; expected integers"),
        (lambda: data.from_arrays(X, ["cat"] * 6), "labels has shape .* type <U3; expected integers"),
        (lambda: data.from_arrays([[1, 2], [3]], [0, 1]), "images: examples must be of one shape"),
        (lambda: data.from_arrays(X, Y, classes="ab"), "classes is the string 'ab'"),
        (lambda: data.from_arrays(X, Y, scale="255"), "scale is '255'; it must be a positive number"),
        (lambda: data.from_arrays(X, 2 * Y - 1), r"label -1 .* classes -1 and 1 are \(labels \+ 1\) // 2 here"),
        (lambda: data.from_arrays(X[:, 0, 0], np.where(Y, np.inf, 1)), "labels has a target that is not fin"),
        (lambda: data.from_arrays(X[:, 0, 0] * np.nan, Y), "images has a feature that is not finite: nan at"),
        (lambda: data.from_arrays(X[:, 0, 0] * 1j, Y), "images has type complex64; expected numbers"),
        (
            lambda: data.from_arrays(X, Y * 1.0, test_images=X, test_labels=Y),
            "train labels are .* float32, test .* int32",
        ),
    ],
    "load": [
        (lambda: data.load(DATASET), "source is a Dataset; expected a name or a path"),
        (lambda: data.load(None), "source is a NoneType; expected a name or a path"),
    ],
    "split": [
        (lambda: data.split((X, Y), seed=0, dev_fraction=0.1), "dataset is a tuple; expected a data.Dataset"),
        (lambda: data.split(EXAMPLES, seed=0, dev_fraction=0.1), "dataset is a Examples; expected"),
        (
            lambda: data.split(DATASET, seed=KEY, dev_fraction=0.5),
            "seed is a PRNGKeyArray; it must be a non-negative integer",
        ),
        (lambda: data.split(DATASET, seed=0.5, dev_fraction=0.5), "seed is 0.5; it must be a non-negative integer"),
        (
            lambda: data.split(DATASET, seed=0, dev_fraction="0.5"),
            "dev_fraction is '0.5'; it must be at least 0 and below 1",
        ),
        (lambda: data.split(DATASET, seed=0, dev_fraction=2), "dev_fraction is 2; it must be at least 0 and below 1"),
    ],
    "batches": [
        (
            lambda: data.batches(PARTS, 2, **OPTIONS),
            "examples is a Splits; expected one of its parts, such as splits.tr",
        ),
        (lambda: data.batches(X, 2, **OPTIONS), r"examples is a ndarray; expected data.Examples\(images, labels\)"),
        (lambda: data.batches(2, EXAMPLES, **OPTIONS), "examples is a int; expected data.Examples"),
        (lambda: data.batches(EXAMPLES, 2.0, **OPTIONS), r"batch_size is 2.0; .* must be an integer in \[1, 6\]"),
        (lambda: data.batches(EXAMPLES._replace(labels=Y[:3]), 2, **OPTIONS), "has 6 images, but 3 labels"),
        (
            lambda: data.batches(EXAMPLES, 2, seed=0, epoch=0, start=1.0),
            "start is 1.0; it must be a non-negative integer",
        ),
        (lambda: data.batches(EXAMPLES, 2, seed=None, epoch=0), "seed is None; it must be a non-negative integer"),
    ],
    "batch_rows": [
        (lambda: data.batch_rows(EXAMPLES, 2, **OPTIONS), "count is a Examples; it must be a non-negative int")
    ],
    "steps_per_epoch": [(lambda: data.steps_per_epoch(6, "2"), r"batch_size is '2'; .* integer in \[1, 6\]")],
    "eval_batches": [
        (lambda: data.eval_batches(PARTS, 2), "examples is a Splits"),
        (lambda: data.eval_batches(EXAMPLES, 2.5), "batch_size is 2.5; it must be an integer of at least 1"),
        (lambda: data.eval_batches(data.Examples(X[:0], Y[:0]), 2), "examples is empty"),
    ],
    "stack_rows": [(lambda: data.stack_rows([], 1), "there are 0 batches")],
    "take": [(lambda: data.take(EXAMPLES, np.arange(3)), "rows is a ndarray; expected data.Rows")],
    "fit_normalization": [
        (
            lambda: data.fit_normalization(255.0, X),
            r"images has shape \(\); expected \(N, H, W, C\) or \(N, features\)",
        ),
        (lambda: data.fit_normalization(X, 0), "scale is 0; it must be a positive number"),
        (lambda: data.fit_normalization(PARTS.train, 1.0), "images is a Examples; expected an array"),
    ],
    "no_normalization": [
        (lambda: data.no_normalization(3, -1.0), "scale is -1.0"),
        (lambda: data.no_normalization(0, 1.0), "channels is 0"),
        (lambda: data.no_normalization(X, 1.0), "channels is a ndarray; must be an integer of at least 1"),
    ],
    "normalize": [(lambda: data.normalize(X, None), "stats is a NoneType; expected a data.Normalization")],
    "standardize": [(lambda: data.standardize(X, X), "stats is a ndarray; expected a data.Normalization")],
    "to_unit": [(lambda: data.to_unit(X * 1j, 1.0), "expected real numbers")],
    "k_fold": [
        (lambda: data.k_fold(5, 2, seed=0), r"labels has shape \(\) and dtype int64"),
        (lambda: data.k_fold(["a", "b"], 2, seed=0), "labels has shape .* expected numbers, one per example"),
        (lambda: data.k_fold(Y, 1, seed=0), "folds is 1"),
        (lambda: data.k_fold(Y, 2.5, seed=0), "folds is 2.5"),
        (lambda: data.k_fold(Y, len(Y) + 1, seed=0), "it must be at most that"),
        (lambda: data.k_fold(Y, 2, seed=-1), "seed is -1"),
    ],
    "toy": [
        (lambda: data.toy.rings(1, seed=0), "count=1: must be at least 2, one point per class"),
        (lambda: data.toy.rings(9.5, seed=0), "count is 9.5"),
        (lambda: data.toy.rings(9, seed=-1), "seed is -1"),
        (lambda: data.toy.rings(9, seed=0, radii=()), r"radii=\(\): allowed is at least one finite radius"),
        (lambda: data.toy.rings(9, seed=0, noise=-1), "noise=-1: allowed are finite numbers from 0 on"),
        (lambda: data.toy.spiral(9, seed=0, arms=0), "arms=0: must be at least 1"),
        (lambda: data.toy.spiral(9, seed=0, arms=1.5), "arms is 1.5"),
        (
            lambda: data.toy.pasted(np.ones((2, 40, 8)), Y, 1, seed=0),
            r"factors=\(1, 1.5, 2\): objects of shape \(2, 40",
        ),
        (lambda: data.toy.pasted(np.zeros((2, 8, 8)), Y, 1, seed=0), "objects: that of number . has no value above"),
        (lambda: data.toy.pasted(np.ones((2, 8, 8)), Y, 1, seed=0, most=0), "most is 0"),
    ],
}
# types, names, and the module of the tests above
NO_ARGUMENTS = {"NAMES", "Batch", "Dataset", "Examples", "Normalization", "Rows", "Splits", "augmentation"}


def test_every_public_function_is_called_with_wrong_arguments():
    assert {*WRONG} | NO_ARGUMENTS == {*data.__all__}
    assert all(not inspect.isfunction(getattr(data, name)) for name in NO_ARGUMENTS)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_named(name, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for call, message in WRONG[name]:
        with pytest.raises(ValueError, match=message):
            call()


def test_experiments_say_that_they_take_images_and_classes(monkeypatch):
    for value, said in (((X, Y * 1.0), r"real targets \(6,\)"), ((X[:, 0, 0], Y), r"features \(6, 1\)")):
        monkeypatch.setattr(runs.names, "called", lambda *args, value=value: value)
        with pytest.raises(ValueError, match=rf"dataset='mine:data' has {said}; experiments take images"):
            runs.dataset("mine:data")

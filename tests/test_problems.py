"""The problems of the optimizer study, against closed forms, published numbers and loops over examples."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import data, nn, studies
from jaxdl.studies import classification, landscapes, problems, quadratic

KEY = jax.random.key(0)


# ---------------------------------------------------------------- landscapes

# value at the start, worked by hand from the formulas in the sources
STARTS = {
    "elongated_bowl": 0.5 * (100 + 25),
    "rosenbrock": 24.2,  # 2.2² + 100 (1 − 1.44)²
    "beale": 14.203125,  # 1.5² + 2.25² + 2.625²: at y = 1 the products vanish
    "saddle": 0.5 + 0.25e-12 - 0.5e-6,
    "two_wells": 0.25 * 2.24**2 + 0.18 + 0.5,
}


@pytest.mark.parametrize("landscape", studies.LANDSCAPES, ids=lambda one: one.name)
def test_a_landscape_starts_and_ends_where_its_source_says(landscape):
    np.testing.assert_allclose(landscape.value(jnp.array(landscape.start)), STARTS[landscape.name], rtol=1e-6)
    for minimum in landscape.minima:
        np.testing.assert_allclose(landscape.value(jnp.array(minimum)), landscape.minimum, atol=1e-6)
        np.testing.assert_allclose(jax.grad(landscape.value)(jnp.array(minimum)), 0, atol=1e-5)
        curvatures = np.linalg.eigvalsh(jax.hessian(landscape.value)(jnp.array(minimum)))
        assert curvatures[0] > 0
    (left, right), (low, high) = landscape.bounds
    for x, y in (landscape.start, *landscape.minima):
        assert left < x < right
        assert low < y < high


def test_the_bowl_is_as_elongated_as_it_says_and_the_saddle_is_one():
    bowl = jax.hessian(landscapes.bowl_value)(jnp.zeros(2))
    np.testing.assert_array_equal(bowl, np.diag([1, 25]))
    np.testing.assert_allclose(jax.hessian(landscapes.saddle_value)(jnp.zeros(2)), np.diag([1, -1]))
    np.testing.assert_allclose(jax.grad(landscapes.saddle_value)(jnp.array([2.0, 3.0])), [2, 24])


@pytest.mark.parametrize("tilt", [0.05, 0.1, 0.3])
def test_two_wells_have_a_false_minimum_behind_a_barrier(tilt):
    points = landscapes.two_wells_stationary(tilt)
    np.testing.assert_allclose(points, np.sort(np.roots([1, 0, -1, tilt])), atol=1e-12)
    lowest, barrier, false = (float(landscapes.two_wells_value(jnp.array([x, 0.0]), tilt=tilt)) for x in points)
    assert lowest < false < barrier
    with pytest.raises(ValueError, match=r"tilt=0\.4: allowed are numbers above 0 and below 0\.3849"):
        landscapes.two_wells_stationary(0.4)


def test_landscapes_take_whole_grids():
    grid = jnp.stack(jnp.meshgrid(jnp.linspace(-1, 1, 3), jnp.linspace(-1, 1, 4)), -1)
    for landscape in studies.LANDSCAPES:
        each = [[landscape.value(grid[i, j]) for j in range(3)] for i in range(4)]
        np.testing.assert_allclose(landscape.value(grid), each, rtol=1e-6)


def test_a_landscape_problem_spreads_its_starts_by_seed_and_has_a_target_near_the_minimum():
    problem = studies.landscape_problem(landscapes.rosenbrock, spread=0.1)
    starts = np.stack([problem.init(jax.random.key(seed))[0] for seed in range(200)])
    np.testing.assert_allclose(starts.mean(0), (-1.2, 1), atol=0.03)
    np.testing.assert_allclose(starts.std(0), 0.1, rtol=0.2)
    still = studies.landscape_problem(landscapes.rosenbrock, spread=0)
    np.testing.assert_allclose(still.init(KEY)[0], (-1.2, 1))
    assert problem.target == pytest.approx(0.0242)
    assert studies.landscape_problem(landscapes.saddle).target == pytest.approx(-0.25 + 0.75e-3, abs=1e-6)
    with pytest.raises(ValueError, match="spread=-1"):
        studies.landscape_problem(landscapes.beale, spread=-1)


# ---------------------------------------------------------------- quadratic_deep


def test_quadratic_deep_is_the_published_one():
    problem = studies.quadratic_deep()
    hessian, train, test = quadratic.quadratic_deep_arrays()
    eigenvalues = np.linalg.eigvalsh(hessian)
    assert ((eigenvalues[:90] > 0) & (eigenvalues[:90] < 1)).all()
    assert ((eigenvalues[90:] > 30) & (eigenvalues[90:] < 60)).all()
    assert (train.shape, test.shape) == ((1000, 100), (896, 100))
    assert problem.steps == 700
    params, state = problem.init(KEY)
    # DeepOBS 1.1 reports 353.45 before training
    assert float(problem.evaluate(params, state, problem.data)["value"]) == pytest.approx(353.45, abs=5e-3)


def test_quadratic_deep_s_loss_and_gradient_are_the_sums_over_examples():
    problem = studies.quadratic_deep()
    hessian, train, test = quadratic.quadratic_deep_arrays()
    theta = np.random.default_rng(0).normal(size=100)
    batch = problem.batches(3, 5)[2]

    def mean(examples):
        return np.mean([0.5 * (theta - x) @ hessian @ (theta - x) for x in examples])

    params = {"theta": jnp.asarray(theta, jnp.float32)}
    (value, state), grads = jax.value_and_grad(problem.loss, has_aux=True)(params, (), batch, problem.data, KEY)
    assert state == ()
    np.testing.assert_allclose(value, mean(train[batch]), rtol=1e-5)
    np.testing.assert_allclose(grads["theta"], np.mean([hessian @ (theta - x) for x in train[batch]], 0), atol=2e-3)
    np.testing.assert_allclose(problem.evaluate(params, (), problem.data)["value"], mean(test), rtol=1e-5)


@pytest.mark.parametrize("shuffle", ["fresh", "repeated"])
def test_batches_are_a_function_of_seed_and_epoch(shuffle):
    batches = problems.indices(1000, 128, shuffle=shuffle)
    first = batches(4, 0)
    assert first.shape == (7, 128)
    assert len(np.unique(first)) == 7 * 128
    np.testing.assert_array_equal(first, batches(4, 0))
    assert (batches(4, 1) == first).all() == (shuffle == "repeated")
    assert (batches(5, 0) != first).any()


def test_steps_between_goes_across_epochs():
    problem = studies.quadratic_deep()
    whole = np.concatenate([problem.batches(1, epoch) for epoch in range(4)])
    np.testing.assert_array_equal(problems.steps_between(problem, 1, 5, 23), whole[5:23])
    np.testing.assert_array_equal(problems.steps_between(problem, 1, 7, 14), whole[7:14])
    assert problems.evaluation_steps(problem, 20) == [7, 14, 20]
    assert problems.evaluation_steps(problem, 14) == [7, 14]
    assert problems.evaluation_steps(problem, 3) == [3]


def test_unknown_shuffle():
    with pytest.raises(ValueError, match="shuffle='never'"):
        studies.quadratic_deep(shuffle="never")


# ---------------------------------------------------------------- images


@functools.cache
def digits():
    return studies.digits_softmax()


def test_digits_hold_out_a_fifth_the_same_for_all_and_batches_are_of_the_rest():
    problem = digits()
    images, labels = problem.data["images"], problem.data["labels"]
    assert len(images) + len(problem.data["test_images"]) == 1797
    assert len(problem.data["test_labels"]) == pytest.approx(0.2 * 1797, abs=1)
    assert problem.batches(0, 0).shape == (len(labels) // 64, 64)
    assert problem.steps == 30 * (len(labels) // 64)
    together = np.concatenate([images, problem.data["test_images"]]).reshape(-1, 64)
    assert sorted(map(bytes, together)) == sorted(map(bytes, data.load("digits").images.reshape(-1, 64)))


def test_the_loss_of_images_is_the_mean_cross_entropy_of_the_batch():
    problem = digits()
    random = np.random.default_rng(0)
    params = {"logits": {"kernel": random.normal(size=(64, 10)), "bias": random.normal(size=10)}}
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)

    def cross_entropies(images, labels):
        for image, label in zip(images, labels, strict=True):
            logits = image.reshape(64) / 16 @ np.asarray(params["logits"]["kernel"]) + params["logits"]["bias"]
            yield np.log(np.exp(logits).sum()) - logits[label], logits.argmax() == label

    batch = problem.batches(1, 0)[0]
    expected = [*cross_entropies(problem.data["images"][batch], problem.data["labels"][batch])]
    value, _ = problem.loss(params, {}, batch, jax.device_put(problem.data), KEY)
    np.testing.assert_allclose(value, np.mean(expected, 0)[0], rtol=1e-5)
    expected = [*cross_entropies(problem.data["test_images"], problem.data["test_labels"])]
    found = problem.evaluate(params, {}, problem.data)
    np.testing.assert_allclose([found["value"], found["accuracy"]], np.mean(expected, 0), rtol=1e-5)


@pytest.mark.parametrize("size", [100, 359, 400])
def test_evaluation_over_slices_counts_every_example_once(size, monkeypatch):
    monkeypatch.setattr(classification, "SLICE", size)
    problem = digits()
    params, state = problem.init(KEY)
    params = jax.tree.map(lambda leaf: leaf + 0.01, params)
    params["logits"]["kernel"] = params["logits"]["kernel"].at[:, 3].add(0.1)
    whole = jnp.asarray(problem.data["test_images"]).reshape(-1, 64) / 16 @ params["logits"]["kernel"] + 0.01
    accuracy = np.mean(np.argmax(whole, -1) == problem.data["test_labels"])
    np.testing.assert_allclose(problem.evaluate(params, state, problem.data)["accuracy"], accuracy, rtol=1e-5)


def colour_problem(**options):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (50, 32, 32, 3), np.uint8)
    dataset = data.from_arrays(images, np.arange(50) % 10)
    layer = nn.serial(flatten=nn.flatten, fc=nn.Dense(10))
    return classification.classification_problem("c", layer, dataset, batch_size=8, epochs=1, **options)


@pytest.mark.slow
def test_penalties_and_distortions_are_of_training_alone():
    plain = colour_problem()
    params, state = plain.init(KEY)
    arguments = params, state, plain.batches(0, 0)[0], jax.device_put(plain.data)
    before = plain.loss(*arguments, KEY)[0]
    penalised = colour_problem(penalty=lambda params: 0.001 * jnp.sum(params["fc"]["kernel"] ** 2))
    added = 0.001 * np.sum(np.asarray(params["fc"]["kernel"]) ** 2)
    np.testing.assert_allclose(penalised.loss(*arguments, KEY)[0] - before, added, rtol=1e-3)
    distorted = colour_problem(augment=classification.deepobs_distortions, prepare=classification.standardized)
    still = colour_problem(prepare=classification.standardized)
    assert distorted.loss(*arguments, KEY)[0] != still.loss(*arguments, KEY)[0]
    for one, other in ((plain, penalised), (distorted, still)):
        assert one.evaluate(params, state, one.data) == other.evaluate(params, state, other.data)


def test_standardized_is_tensorflow_s_per_image_standardization():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3)).astype(np.float64)
    pixels[1] = 7  # its deviation counts as 1 / sqrt(60)
    expected = [(x - x.mean()) / max(x.std(), 1 / np.sqrt(60)) for x in pixels]
    np.testing.assert_allclose(classification.standardized(jnp.asarray(pixels / 255, jnp.float32)), expected, atol=2e-3)


# epochs, examples per epoch, parameters: the papers'; of the MLP (784 + 1) 1000 + (1000 + 1) 1000 + 1001 · 10
NAMED = {
    "mnist_softmax": (10, 60_000, 7_850),
    "mnist_mlp": (10, 60_000, 1_796_010),
    "fashion_mnist_2c2d": (100, 60_000, 3_274_634),
    "fashion_mnist_lenet5": (10, 60_000, 61_706),
    "cifar10_3c3d": (100, 50_000, 895_210),
    "cifar10_resnet20": (164, 50_000, 269_722),
    # 6 blocks of 198,272, patches 49 · 128, 64 positions of 128, a norm, and 1,290 of the last layer
    "cifar10_vit": (100, 50_000, 1_205_642),
}


@pytest.mark.parametrize("name", NAMED)
def test_named_image_problems_are_the_papers(name, monkeypatch):
    """Zeros in the shapes of the data suffice to check the network, the lengths and one step."""
    epochs, count, parameters = NAMED[name]
    size, channels = (32, 3) if "cifar" in name else (28, 1)

    def load(source, data_dir):
        assert source == name.rpartition("_")[0]
        images, labels = np.zeros((count, size, size, channels), np.uint8), np.arange(count) % 10
        return data.from_arrays(images, labels, test_images=images[:2000], test_labels=labels[:2000])

    monkeypatch.setattr(classification.data, "load", load)
    monkeypatch.setattr(classification.data, "fit_normalization", lambda images, scale: data.Normalization(
        np.zeros(channels, np.float32), np.ones(channels, np.float32), scale))  # fmt: skip
    problem = getattr(studies, name)()
    assert (problem.name, problem.batch_size, problem.steps) == (name, 128, epochs * (count // 128))
    params, state = jax.eval_shape(problem.init, KEY)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters
    loss, after = jax.eval_shape(problem.loss, params, state, problem.batches(0, 0)[0], problem.data, KEY)
    assert (loss.shape, jax.tree.structure(after)) == ((), jax.tree.structure(state))
    found = jax.eval_shape(problem.evaluate, params, state, problem.data)
    assert {key: leaf.shape for key, leaf in found.items()} == {"value": (), "accuracy": ()}


# ---------------------------------------------------------------- your own


def line_batches(seed, epoch):
    """Return two batches of points near y = 2x."""
    random = np.random.default_rng([seed, epoch])
    for _ in range(2):
        x = random.normal(size=3).astype(np.float32)
        yield {"x": x, "y": 2 * x}


def test_a_problem_of_your_own_functions():
    def loss(params, batch):
        return jnp.mean((params * batch["x"] - batch["y"]) ** 2)

    problem = studies.make_problem(lambda key: jnp.zeros(()), loss, line_batches, name="line", epochs=4)
    assert (problem.steps, problem.steps_per_epoch, problem.batch_size) == (8, 2, 3)
    batches = list(line_batches(0, 0))
    expected = np.mean([np.mean((2 * batch["x"]) ** 2) for batch in batches])
    np.testing.assert_allclose(problem.evaluate(jnp.zeros(()), (), problem.data)["value"], expected, rtol=1e-6)
    step = jax.tree.map(lambda leaf: leaf[1], problem.batches(0, 0))
    value, _ = problem.loss(jnp.zeros(()), (), step, problem.data, KEY)
    np.testing.assert_allclose(value, np.mean((2 * batches[1]["x"]) ** 2), rtol=1e-6)
    ones = {"x": np.ones(1, np.float32), "y": np.ones(1, np.float32)}
    judged = studies.make_problem(lambda key: jnp.zeros(()), loss, line_batches, test=ones)
    assert math.isclose(judged.evaluate(jnp.zeros(()), (), judged.data)["value"], 1.0)


def test_a_problem_without_batches():
    with pytest.raises(ValueError, match=r"batches\(0, 0\): got 0 batches"):
        studies.make_problem(lambda key: 0.0, lambda params, batch: 0.0, lambda seed, epoch: [])


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([np.ones((3, 2)), np.ones((2, 2))], r"batch 1 has \(2, 2\), allowed is what batch 0 has, \(3, 2\); leave out"),
        ([{"x": np.ones(3)}, {"y": np.ones(3)}], r"batch 1 has {'y': \(3,\)}, allowed is what batch 0 has, {'x'"),
        ([(np.ones(3), 1.0), [np.ones(3), 1.0]], r"batch 1 has \[\(3,\), \(\)\], allowed"),
        ([{"x": np.ones(1), "name": np.array(["a"])}], r"got {'name': 'str32', 'x': 'float64'}, allowed are numbers"),
        ([np.array([None])], r"got object, allowed are numbers"),
    ],
)
def test_batches_that_are_no_stack(batches, message):
    with pytest.raises(ValueError, match=r"batches\(0, 0\): " + message):
        studies.make_problem(lambda key: 0.0, lambda params, batch: 0.0, lambda seed, epoch: batches)


@pytest.mark.parametrize(
    "later",
    [[np.ones(2)] * 2, [np.ones(2)] * 4, [np.ones(1)] * 3, [{"x": np.ones(2)}] * 3],
    ids=["fewer", "more", "smaller", "another tree"],
)
def test_epochs_of_other_batches(later):
    """Fewer of them ended a run as diverged, and more were left out, in silence."""
    problem = studies.make_problem(
        lambda key: 0.0, lambda params, batch: 0.0, lambda seed, epoch: later if epoch else [np.ones(2)] * 3
    )
    with pytest.raises(ValueError, match=r"batches\(0, 1\): got .* allowed is what batches\(0, 0\) has, \(3, 2\)"):
        studies.problems.steps_between(problem, 0, 0, 6)

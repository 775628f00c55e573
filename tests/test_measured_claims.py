"""The experiments that measure claims, each run once at a tiny size, and their own functions held to worked cases."""

import math

import jax
import numpy as np
import pytest

from docs import make_claims
from experiments import (
    adversarial,
    bias_variance,
    catalogue,
    cifar_demo,
    colorization,
    dropout,
    hyperparameters,
    invariance,
    learning_curves,
    linear_regression,
    logistic_regression,
    nonlinearity,
    optimizers_2d,
    tabular,
)
from experiments.batch_norm import command as batch_norm
from experiments.filters import images, maps, sensor, waves
from experiments.listings import beside, loops, peers
from experiments.regularization import command as regularization
from jaxdl import data, runs
from jaxdl.demonstrations import harness
from tests import zoo

SQUARES, DIGITS = ["--dataset", "tests.nets:squares"], ["--dataset", "digits"]
PHOTOGRAPHS = ["--dataset", "tests.zoo:photographs"]
TINY = {  # options of a run of a few seconds
    "depth_data": ["--dataset", "digits", "--sizes", "20", "60", "--depths", "0", "1", "2", "--steps", "3"],
    "cnn_against_mlp": ["--dataset", "digits", "--sizes", "60", "80", "--steps", "3"],
    "hyperparameters": ["--pool", "64", "--hidden", "2", "--steps", "64"],
    "architecture_search": [*SQUARES, "--first", "2", "--filters", "2", "4", "--examples", "50", "--steps", "2"],
    "depth": [
        *PHOTOGRAPHS,
        "--depths",
        "8",
        "14",
        "--images",
        "64",
        "--width",
        "0.1",
        "--batch",
        "4",
        "--steps",
        "8",
        "--rates",
        "0.1",
    ],
    "augmentation": ["--digits", "digits", "--clothes", "digits", "--examples", "20", "--width", "4", "--steps", "3"],
    "tabular": ["--width", "4", "--epochs", "1"],
    "ensemble": ["--dataset", "digits", "--examples", "40", "--members", "2", "--width", "4", "--steps", "5"],
    "input_normalization": ["--tables", "diabetes", "--steps", "3"],
    "initialization": ["--depth", "2", "--layers", "2", "--width", "64", "--steps", "20"],
    "batch_size": ["--sizes", "8", "16", "--hidden", "2", "--examples", "100"],
    "learning_rate": ["--hidden", "2", "--steps", "8"],
    "activations": ["--depths", "3", "--width", "4", "--steps", "20", "--rates", "0.1"],
    "depth_regions": ["--neurons", "8", "--draws", "3", "--steps", "10"],
    "adversarial": ["--dataset", "digits", "--width", "8", "--epochs", "1", "--sweep", "0", "0.3"],
    "batch_norm": ["--dataset", "digits", "--width", "8", "--steps", "60", "--batches", "2"],
    "dropout": [*DIGITS, "--width", "8", "--sizes", "50", "--middle", "50", "--epochs", "1"],
    "invariance": [*SQUARES, "--examples", "100", "--epochs", "1", "--capsule-width", "0.01"],
    "listings": [*SQUARES, "--examples", "64"],
    "learning_curves": ["--dataset", "digits", "--width", "8", "--sizes", "20", "60", "--steps", "20"],
    "signals": ["--depth", "4", "--width", "8", "--times", "5"],
    "bias_variance": ["--resamples", "5", "--examples", "15", "--degrees", "1", "3", "9"],
    "colorization": ["--dataset", "tests.zoo:photographs", "--images", "60", "--steps", "2", "--width", "2"],
    "style_transfer": ["--size", "32", "--steps", "4"],
    "complexity": [],
    "cifar_demo": ["--dataset", "tests.zoo:photographs", "--images", "64", "--test-images", "92", "--epochs", "1"],
    "heads": ["--canvases", "320", "--steps", "2", "--width", "4"],
    "filters": [*SQUARES, "--size", "16", "--letters", "4", "--kernels", "2", "--steps", "2", "--examples", "32"],
    "linear_regression": ["--steps", "100"],
    "nonlinearity": ["--points", "20", "--width", "4", "--steps", "20"],
    "regularization": [
        *DIGITS,
        "--examples",
        "40",
        "--hidden",
        "4",
        "--steps",
        "9",
        "--units",
        "2",
        "--lstm-steps",
        "2",
    ],
    "logistic_regression": ["--grid", "9"],
    "optimizers_2d": ["--starts", "3", "--steps", "200"],
}
OUT_OF_RANGE = {  # options that are refused, with the message
    "depth_data": (["--depths", "1", "2", "3"], r"depths=\(1, 2, 3\) is not allowed: it must begin with 0"),
    "cnn_against_mlp": (["--sizes", "9", "80"], r"sizes=\(9, 80\) is not allowed: it must be two or more increasing"),
    "hyperparameters": (["--steps", "65"], "steps=65 is not allowed: it must be a multiple of 64"),
    "architecture_search": (["--filters", "64", "32"], r"filters=\(64, 32\) is not allowed: it must be 2 or more"),
    "depth": (["--steps", "12"], "steps=12 is not allowed: it must be a multiple of 8"),
    "augmentation": (["--examples", "0"], "examples=0 is not allowed: it must be at least 1"),
    "tabular": (["--epochs", "0"], "epochs=0 is not allowed: it must be at least 1"),
    "ensemble": (["--members", "1"], "members=1 is not allowed: it must be at least 2"),
    "input_normalization": (["--steps", "0"], "steps=0 is not allowed: it must be at least 1"),
    "initialization": (["--depth", "1"], "depth=1 is not allowed: it must be at least 2"),
    "batch_size": (["--sizes", "8", "1"], r"sizes=\(8, 1\) is not allowed: it must be two or more increasing"),
    "learning_rate": (["--steps", "3"], "steps=3 is not allowed: it must be at least 4"),
    "activations": (["--depths", "1", "3"], r"depths=\(1, 3\) is not allowed: it must be increasing numbers from 2"),
    "depth_regions": (["--neurons", "6"], r"neurons=\(6,\) is not allowed: it must be multiples of 4 from 8 on"),
    "adversarial": (["--eps", "-0.1"], r"eps=-0\.1 is not allowed: it must be at least 0"),
    "batch_norm": (["--steps", "59"], "steps=59 is not allowed: it must be at least 60"),
    "dropout": (["--middle", "7"], r"sizes=\(.*\): must hold middle=7"),
    "invariance": (["--capsule-width", "0"], r"capsule_width=0\.0 is not allowed: it must be above 0 and at most 1"),
    "listings": (["--examples", "9"], "examples=9 is not allowed: it must be at least 32"),
    "learning_curves": (["--sizes", "9", "3"], r"sizes=\(9, 3\) is not allowed: it must be two or more increasing"),
    "signals": (["--depth", "1"], "depth=1 is not allowed: it must be at least 2"),
    "bias_variance": (["--degrees", "1", "3"], r"degrees=\(1, 3\) is not allowed: it must hold 1, 3 and 9"),
    "nonlinearity": (["--points", "2"], "points=2 is not allowed: it must be at least 4"),
    "regularization": (["--examples", "900"], "examples=900 is not allowed: it must be at most 800"),
    "colorization": (["--dataset", "digits"], "dataset='digits' has images of shape .* needed are colour images"),
    "style_transfer": (["--size", "8"], "size=8 is not allowed: it must be at least 32"),
    "complexity": (["--seeds", "0"], "seeds=0 is not allowed: it must be at least 1"),
    "cifar_demo": (["--dataset", "digits", "--images", "9999"], "images=9999 is not allowed: digits has 1294 for"),
    "heads": (["--canvases", "100"], "canvases=100 is not allowed: it must be at least 320"),
    "filters": (["--size", "428"], "size=428 is not allowed: it must be at most 427"),
    "linear_regression": (["--steps", "0"], "steps=0 is not allowed"),
    "logistic_regression": (["--C", "-1"], r"C=-1\.0 is not allowed: it must be a positive number"),
    "optimizers_2d": (["--starts", "0"], "starts=0 is not allowed: it must be at least 1"),
}


def test_examples_that_leave_none_for_development_are_refused():
    config = invariance.Config(dataset="tests.nets:squares", examples=10**6)
    with pytest.raises(ValueError, match=r"examples=1000000 is not allowed: it must be at most 135 of tests"):
        invariance.load(config)


def test_every_experiment_has_a_tiny_size_and_a_mistake():
    assert {*TINY} == {*OUT_OF_RANGE} == {*catalogue.demonstrations()}


@pytest.mark.parametrize("name", TINY)
def test_it_is_its_idea_and_little_else(name):
    files = [*catalogue.HERE.glob(f"{name}.py"), *(catalogue.HERE / name).glob("*.py")]
    assert files
    assert max(len(file.read_text().splitlines()) for file in files) <= 200


@pytest.mark.slow
@pytest.mark.trains
@pytest.mark.parametrize("name", TINY)
def test_it_runs_and_draws(name, tmp_path, capsys):
    module, folder = catalogue.load(name), tmp_path / "run"
    assert module.main([*TINY[name], "--seeds", "2", "--out", str(folder)]) == 0
    rows = runs.read_table(folder / harness.RESULTS, harness.ClaimRow)
    assert {row.seeds for row in rows} == {2}
    assert all(row.lecture[0] in "ABCDEFGHIJKP" for row in rows)
    captions = runs.read_table(folder / harness.FIGURES, harness.Caption)
    assert captions
    assert all((folder / "figures" / one.file).stat().st_size <= 200_000 for one in captions)
    said = " ".join((folder / "report.md").read_text().split())
    assert "## Claims" in said


@pytest.mark.parametrize("name", TINY)
def test_full_has_sizes_beyond_the_default_or_is_refused(name):
    demonstration = catalogue.load(name).DEMONSTRATION
    if not demonstration.full:
        with pytest.raises(ValueError, match=f"full=True is not allowed: {name} has no larger size"):
            harness.checked(demonstration, demonstration.config(full=True))
        return
    config = harness.checked(demonstration, demonstration.config(full=True))
    for option, value in demonstration.full.items():
        assert getattr(config, option) == value != getattr(demonstration.config(), option)
    assert "--full" in harness.command_of(config)


def test_the_readme_has_the_committed_claims():
    assert make_claims.page(make_claims.README.read_text(encoding="utf-8")) == make_claims.README.read_text(
        encoding="utf-8"
    ), "run: python -m docs.make_claims"


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_an_option_out_of_range_is_named_and_leaves_nothing(name, tmp_path):
    options, message = OUT_OF_RANGE[name]
    with pytest.raises(ValueError, match=message):
        catalogue.load(name).main([*options, "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


ALSO_OUT_OF_RANGE = (
    ("activations", ["--steps", "30"], "steps=30 is not allowed: it must be a multiple of 20"),
    ("initialization", ["--steps", "30"], "steps=30 is not allowed: it must be a multiple of 20"),
    ("style_transfer", ["--width", "0.5"], r"width=0\.5 is not allowed: without weights"),
    ("augmentation", ["--digits", "tests.test_measured_claims:odd"], r"digits=.* has images of \(33, 32\); needed are"),
)


def odd():
    return np.zeros((120, 33, 32, 1), np.uint8), np.arange(120) % 2


def photographs_as_floats():
    images, labels = zoo.photographs()
    return images / np.float32(255), labels


@pytest.mark.parametrize(("name", "options", "message"), ALSO_OUT_OF_RANGE)
def test_what_would_be_rounded_or_ignored_is_refused(name, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        catalogue.load(name).main([*options, "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_images_of_floats_are_those_of_bytes():
    names = ("tests.zoo:photographs", "tests.test_measured_claims:photographs_as_floats")
    bytes_, floats = (colorization.load(colorization.Config(dataset=name, images=60))[1] for name in names)
    np.testing.assert_allclose(floats, bytes_, atol=1e-3)
    sizes = {"images": 64, "test_images": 92}
    both = [cifar_demo.load(cifar_demo.Config(dataset=name, **sizes))[1][:2] for name in names]
    for ours, theirs in zip(both[1], both[0], strict=True):
        np.testing.assert_allclose(ours.images, theirs.images, atol=1e-3)


def test_halving_may_be_as_good_as_its_trials_in_full():
    case = lambda name, value: {f"{name}, {part}": value for part in ("dev", "test")}
    names = ("halving", "grid of 16", *(f"random of {n}" for n in (4, 16, 64)))
    numbers = {key: v for name in names for key, v in case(name, 5.0).items()}
    numbers |= {"in the best twentieth": 0.6, "share": 0.05}
    claimed = hyperparameters.judge(hyperparameters.Config(), Same(numbers))
    assert [one.verdict for one in claimed if one.text.startswith("halving is as good")] == ["holds"]


class Same:
    """Outcomes of three seeds that all have the same numbers."""

    def __init__(self, numbers):
        self.found = numbers

    def numbers(self, case, name):
        del case
        return np.full(3, self.found[name])

    def quantities(self, case):
        del case
        return self.found


@pytest.mark.trains
def test_the_mean_of_diabetes_errs_by_what_the_test_part_says():
    config = tabular.Config(width=4, epochs=1)
    tables = tabular.load(config)[1]
    parts = data.split(tables[tabular.DIABETES], seed=3, dev_fraction=0.25)
    by_hand = np.sqrt(np.mean([(float(y) - float(np.mean(parts.train.labels))) ** 2 for y in parts.test.labels]))
    assert tabular.run(config, tables, tabular.DIABETES, 3)["mean"] == pytest.approx(by_hand, rel=1e-5)


def test_optimizers_2d_counts_what_never_arrives_as_infinite():
    config = optimizers_2d.Config(steps=30)
    found = optimizers_2d.run(config, None, "κ = 1000", 0)
    assert set(found.values()) == {math.inf}


def test_plain_descent_at_a_tiny_rate_stays_in_the_well_where_it_starts():
    shares = optimizers_2d._escape("plain")(np.float32([0.01, 0.05]), np.float32([[1.0, 0.0], [-1.2, 0.3]]))
    np.testing.assert_array_equal(shares[1], 0.5)  # the second start lies in the lowest well already


def test_the_largest_rate_of_linear_regression_is_two_over_the_curvature():
    x = np.float32([[1.0], [-1.0]])  # the Hessian is the identity
    assert linear_regression.largest_rate(x, np.float32([3.0, 1.0]), 200) == pytest.approx(2, rel=0.02)


def test_the_squared_error_of_one_point_curves_down_where_it_should():
    """In one dimension, (σ(b) − 1)² has the curvature 2σ′² + 2(σ − 1)σ″; at b = −3 that is below 0."""
    x, y = np.float32([0.0]), np.float32([1.0])
    found = logistic_regression._curvatures("squared error")(np.float32([[0.0, -3.0]]), x, y)
    s = 1 / (1 + np.exp(3.0))
    slope = s * (1 - s)
    np.testing.assert_allclose(found, [2 * slope**2 + 2 * (s - 1) * slope * (1 - 2 * s)], rtol=1e-4)


def test_gaps_of_learning_curves_by_hand():
    curve = np.array([[[0.2, 30.0, 40.0], [5.2, 7.2, 20.2]]])  # one seed, two sizes; people err by .2
    np.testing.assert_allclose(learning_curves.gaps(curve, 0)[:, 0], [0, 29.8, 0], atol=1e-9)
    np.testing.assert_allclose(learning_curves.gaps(curve, 1, moved=True)[:, 0], [5, 2, 13], atol=1e-9)
    found = [learning_curves.diagnosis(one).problem for one in (*curve[0].tolist(), [0.4, 0.6, 0.6])]
    assert found == ["high variance", "high bias", "none"]
    assert learning_curves.diagnosis(curve[0, 1].tolist(), moved=True).problem == "data mismatch"


def test_more_mistakes_of_adversarial_leave_nothing(tmp_path):
    """An unreadable image, a class that does not exist, more examples in a batch than there are."""
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images" / "b").mkdir()
    (tmp_path / "images" / "a" / "x.png").write_bytes(b"no image")
    for options, message in (
        (["--dataset", str(tmp_path / "images")], r"x\.png"),
        (["--dataset", "digits", "--target", "10"], r"target=10 is not allowed: digits has 10 classes"),
        (["--dataset", "digits", "--batch-size", "9999"], "batch_size is 9999"),
        (["--sweep", "0.1", "nan"], r"sweep=\(0\.1, nan\), eps=0\.25: allowed are finite numbers"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            adversarial.main([*options, "--out", str(tmp_path / "run")])
        assert not (tmp_path / "run").exists()


def test_batch_norms_measures_by_hand():
    bands = np.array([[[0.0], [1.0], [4.0]], [[1.0], [3.0], [5.0]]])  # the median moves by 2 in bands of 4
    assert batch_norm.drift(bands) == pytest.approx(0.5)


def test_the_net_of_batch_norm_normalises_where_its_case_says():
    random = np.random.default_rng(0)
    layer = lambda n: {"kernel": random.normal(size=(n, 3)), "bias": random.normal(size=3)}
    gain = {"scale": np.full(3, 2.0), "offset": np.full(3, -1.0)}
    params = {"hidden": [layer(4) | gain, layer(3) | gain], "out": layer(3)}
    params, x = jax.tree.map(np.float32, params), random.normal(size=(7, 4)).astype(np.float32)
    sigmoid, normal = lambda z: 1 / (1 + np.exp(-z)), lambda z: 2 * (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) - 1
    for case in batch_norm.CASES:
        a = x
        for one in params["hidden"]:
            z = a @ one["kernel"] + one["bias"]
            z = normal(z) if case == batch_norm.BEFORE else z
            a = normal(sigmoid(z)) if case == batch_norm.AFTER else sigmoid(z)
        logits, seen, used = batch_norm.network(params, x, case)
        np.testing.assert_allclose(seen, z, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(logits, a @ params["out"]["kernel"] + params["out"]["bias"], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(batch_norm.network(params, x, case, used)[0], logits, rtol=1e-5)


def test_the_scaled_net_is_the_mean_of_the_thinned_ones_where_it_is_linear():
    """Positive weights and inputs keep every ReLU linear, so the mean over masks is the net itself."""
    random = np.random.default_rng(0)
    layer = lambda n, m: {"kernel": np.float32(random.random((n, m))), "bias": np.float32(random.random(m))}
    params, x = [layer(5, 6), layer(6, 3)], np.float32(random.random((2, 5)))
    logits, hidden = dropout.network(params, x)
    np.testing.assert_allclose(hidden, x @ params[0]["kernel"] + params[0]["bias"], rtol=1e-5)
    draw = jax.jit(jax.vmap(lambda key: dropout.network(params, x, 0.5, key)[0]))
    drawn = draw(jax.random.split(jax.random.key(0), 40_000))
    assert drawn.std(0).min() > 0.1
    np.testing.assert_allclose(drawn.mean(0), logits, rtol=0.02)


def test_a_valid_convolution_commutes_with_a_shift():
    random = np.random.default_rng(0)
    kernel, images = (random.normal(size=shape).astype(np.float32) for shape in ((3, 3, 1, 2), (2, 12, 12, 1)))
    assert invariance.equivariance(kernel, images) < 1e-6
    assert {case for case in invariance.CASES if "permuted" not in case} == {*invariance.NETS}


def test_the_listing_in_pytorch_starts_at_the_loss_of_equal_probabilities():
    """Its view takes images whose channels moved; −log 1/10 is 2.303, and 2 steps at a rate of .01 change it little."""
    pytest.importorskip("torch", reason="the listing is PyTorch's")
    random = np.random.default_rng(0)
    images, labels = random.random((16, 28, 28, 1), np.float32), np.arange(16) % 10
    printed, loss, classes = peers.pytorch_train(iter([(images, labels)] * 2), (images, labels), 0, 1)
    assert printed == pytest.approx([math.log(10)] * 2, abs=0.1)
    assert loss < printed[1] < printed[0]
    assert classes.shape == (16,)


def test_printed_loops_by_hand():
    """On x²/2 from x = 1, the gradient is x; one step of Adam moves by the rate."""
    steps = lambda loop, count: [float(x) for _, x in zip(range(count), loop(1.0, lambda x: x, 0.5), strict=False)]
    assert steps(loops.sgd, 3) == [0.5, 0.25, 0.125]
    assert steps(loops.momentum, 2) == [0.5, pytest.approx(0.5 - 0.5 * (0.9 + 0.5))]
    assert steps(loops.adagrad, 1) == pytest.approx([0.5])
    assert steps(loops.rmsprop, 1) == pytest.approx([1 - 0.5 / math.sqrt(0.1)])
    assert steps(loops.almost_adam, 1) == pytest.approx([1 - 0.5 * 0.1 / math.sqrt(0.001)], rel=1e-4)
    assert steps(loops.adam, 1) == pytest.approx([0.5])
    assert steps(loops.polyak, 1) == pytest.approx([0.9975])
    assert loops.line(np.array([0.0, 1.0]), np.array([1.0, 3.0]), 0.5) == pytest.approx((1, 2), abs=1e-9)
    assert loops.max_pool(np.arange(16).reshape(4, 4)).tolist() == [[5, 7], [13, 15]]
    assert loops.squared_loss(np.array([90, 20, 95]), np.array([30, 80, 85])) == pytest.approx(7300 / 3)
    assert {*beside.TWINS} == {"SGD", "momentum", "AdaGrad", "RMSProp", "Adam (almost)", "Adam", beside.AVERAGE}


def test_a_window_lags_by_half_its_length_and_averages_noise():
    ramp = np.arange(500, dtype=np.float32)[None]
    np.testing.assert_allclose(sensor.smoothed(ramp, 5)[0, 10:], ramp[0, 10:] - 2, rtol=1e-5)
    flat = np.random.default_rng(0).normal(size=(1, 40_000)).astype(np.float32)
    assert sensor.error(sensor.smoothed(flat, 25), np.zeros_like(flat)) == pytest.approx(0.2, rel=0.03)


def test_the_dense_net_of_waves_has_as_many_weights_as_the_other_and_shares_between_classes_are_those_of_variances():
    count = lambda net, n: sum(math.prod(one) + one[-1] for one in waves.shapes_of(net, n).values())
    assert count(waves.kernels_net, 4) == 5 * 4 + 4 + 5 * 16 + 4 + 4 * 3 + 3
    assert 0 <= count(waves.dense_net, 64) - count(waves.kernels_net, 64) < 300
    labels, noise = np.arange(400) % 4, np.random.default_rng(0).normal(size=(400, 3))
    assert maps.between(labels[:, None].astype(float), labels) == pytest.approx(100)
    assert maps.between(noise, labels) < 3


def test_polynomials_of_degree_zero_are_means_and_the_learning_curve_knows_the_noise():
    random = np.random.default_rng(0)
    x, y = bias_variance.draw_set(random, 50, 0.3)
    np.testing.assert_allclose(bias_variance.fit(x, y, 0)(x), y.mean())
    assert bias_variance.error(bias_variance.fit(x, y, 49), (x, y)) < 0.3**2


def test_polar_coordinates_are_radius_and_angle():
    seen = nonlinearity.seen(np.float32([[3.0, 4.0], [0.0, -2.0]]), True)
    np.testing.assert_allclose(seen, [[5, math.atan2(4, 3)], [2, -math.pi / 2]], rtol=1e-6)


@pytest.mark.slow
def test_a_penalty_of_zero_changes_nothing_and_the_proximal_step_makes_zeros():
    config = regularization.Config(examples=40, hidden=4, steps=30)
    x, y = np.float32(np.random.default_rng(0).uniform(size=(40, 64))), np.arange(40) % 10
    key = jax.random.key(0)
    cases = (*regularization.PENALTIES, *regularization.NOISES)
    first = {case: regularization._trained(config, case)(key, x, y) for case in cases}
    for case in cases[1:]:
        for a, b in zip(jax.tree.leaves(first["L2"]), jax.tree.leaves(first[case]), strict=True):
            np.testing.assert_allclose(a[0], b[0], rtol=1e-3, atol=1e-5)
    zeros = {case: np.mean(np.asarray(first[case]["fc1"]["kernel"][-1]) == 0) for case in regularization.PENALTIES}
    assert zeros["L1 by proximal step"] > 0.5
    assert zeros["L2"] == zeros["L1 by gradient"] == 0


def test_what_pools_leave_of_noise_on_an_even_area_is_known():
    """The mean of four normal numbers has σ/2; their maximum has the moments 1.029375 σ and .491715 σ²."""
    found = images.pools(np.full((400, 400, 1), 0.5, np.float32), 0)
    expected = {"none": 0.5, "average": 0.25, "stride": 0.5, "max": 0.5 * math.sqrt(1.029375**2 + 0.491715)}
    assert found.pop("L2") > 0.5  # its answer grows with the energy of the noise
    assert found == pytest.approx(expected, rel=0.02)


def test_strokes_fit_an_x_and_find_it_anywhere():
    x, o = (images.padded(name) for name in "XO")
    np.testing.assert_allclose(images.strokes(x), 1, rtol=1e-6)
    assert images.strokes(o)[2] < 1  # no crossing
    np.testing.assert_allclose(images.strokes(np.roll(x, (2, -1), (0, 1))), 1, rtol=1e-6)

"""Metrics against scikit-learn and numpy loops; sums that add over batches and devices; padding and NaN."""

import functools
import inspect
import typing

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import sklearn.calibration
import sklearn.metrics
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxdl import metrics

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
N, CLASSES = 200, 5
RANDOM = np.random.default_rng(11)
LABELS = jnp.asarray(RANDOM.integers(0, CLASSES, N))
LOGITS = jnp.asarray(2 * RANDOM.normal(size=(N, CLASSES)) + 2 * np.eye(CLASSES)[np.asarray(LABELS)], jnp.float32)
PREDICTED = np.asarray(LOGITS).argmax(-1)


def test_accuracy_and_top_k_equal_sklearn():
    assert float(metrics.ratio(metrics.accuracy(LOGITS, LABELS))) == pytest.approx(
        sklearn.metrics.accuracy_score(LABELS, PREDICTED)
    )
    for k in (1, 2, 4):
        expected = sklearn.metrics.top_k_accuracy_score(LABELS, LOGITS, k=k, labels=range(CLASSES))
        assert float(metrics.ratio(metrics.top_k_accuracy(LOGITS, LABELS, k=k))) == pytest.approx(expected)


def test_confusion_matrix_and_scores_equal_sklearn():
    matrix = metrics.confusion_matrix(LOGITS, LABELS)
    np.testing.assert_array_equal(matrix, sklearn.metrics.confusion_matrix(LABELS, PREDICTED))
    expected = sklearn.metrics.precision_recall_fscore_support(LABELS, PREDICTED)
    np.testing.assert_allclose(metrics.scores(matrix), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int8])
def test_a_confusion_matrix_of_many_classes_takes_labels_in_bytes(dtype):
    """A byte holds neither the number of a cell, row · classes + column, nor the number of classes."""
    labels = jnp.array([0, 19, 100, 119], dtype)
    logits = jnp.eye(300)[jnp.array([0, 3, 100, 118])]
    matrix = metrics.confusion_matrix(logits, labels)
    assert [tuple(cell) for cell in np.argwhere(np.asarray(matrix))] == [(0, 0), (19, 3), (100, 100), (119, 118)]
    np.testing.assert_array_equal(metrics.rank_of_label(logits, labels), [0, 19, 0, 119])


def test_scores_of_a_class_that_never_occurs_are_zero():
    got = metrics.scores(jnp.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]))
    np.testing.assert_allclose(got.precision, [1, 2 / 3, 0], rtol=1e-6)
    np.testing.assert_allclose(got.recall, [0.75, 1, 0], rtol=1e-6)
    np.testing.assert_allclose(got.f1, [6 / 7, 0.8, 0], rtol=1e-6)


def test_calibration_error_equals_a_loop():
    p = np.asarray(jax.nn.softmax(LOGITS)).max(-1)
    right = np.asarray(LABELS) == PREDICTED
    expected = 0.0
    for b in range(10):
        inside = (p > b / 10) & (p <= (b + 1) / 10)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - p[inside].mean())
    bins = metrics.calibration_bins(LOGITS, LABELS, bins=10)
    assert float(metrics.calibration_error(bins)) == pytest.approx(expected, rel=1e-5)
    assert float(bins.count.sum()) == N


def test_top_k_classes_lists_the_best_first():
    classes, probabilities = metrics.top_k_classes(jnp.log(jnp.array([[0.1, 0.6, 0.3]])), k=3)
    assert classes.tolist() == [[1, 2, 0]]
    np.testing.assert_allclose(probabilities, [[0.6, 0.3, 0.1]], rtol=1e-6)


def all_sums(logits, labels, weights):
    return {
        "accuracy": metrics.accuracy(logits, labels, weights=weights),
        "top": metrics.top_k_accuracy(logits, labels, k=2, weights=weights),
        "confusion": metrics.confusion_matrix(logits, labels, weights=weights),
        "calibration": metrics.calibration_bins(logits, labels, weights=weights),
    }


added = quick_jit(all_sums)  # operation by operation it compiles some fifty programs for each shape


def assert_equal(a, b):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), a, b)


def test_batches_add_up_and_padding_does_not_count():
    whole = added(LOGITS, LABELS, jnp.ones(N))
    assert_equal(whole, added(LOGITS, LABELS, None))
    first = added(LOGITS[:120], LABELS[:120], jnp.ones(120))
    padded_logits = jnp.concatenate([LOGITS[120:], jnp.full((40, CLASSES), jnp.nan)])
    padded_labels = jnp.concatenate([LABELS[120:], jnp.full(40, -1)])
    last = added(padded_logits, padded_labels, jnp.repeat(jnp.array([1.0, 0.0]), jnp.array([80, 40])))
    assert_equal(whole, jax.tree.map(jnp.add, first, last))


def test_sums_add_over_devices_under_psum():
    def on_device(logits, labels):
        return jax.lax.psum(all_sums(logits, labels, jnp.ones(labels.shape)), "d")

    split = LOGITS.reshape(4, 50, CLASSES), LABELS.reshape(4, 50)
    total = jax.pmap(on_device, axis_name="d", devices=jax.devices()[:4])(*split)
    assert_equal(jax.tree.map(lambda x: x[0], total), added(LOGITS, LABELS, None))
    placed = NamedSharding(Mesh(np.array(jax.devices()[:4]), ("d",)), PartitionSpec("d"))
    sharded = jax.jit(all_sums)(jax.device_put(LOGITS, placed), jax.device_put(LABELS, placed), None)
    assert_equal(sharded, added(LOGITS, LABELS, None))


def test_weights_weigh():
    logits, labels = jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([0, 1])
    got = metrics.accuracy(logits, labels, weights=jnp.array([3.0, 1.0]))
    assert float(metrics.ratio(got)) == 0.75
    matrix = metrics.confusion_matrix(logits, labels, weights=jnp.array([3.0, 1.0]))
    assert matrix.tolist() == [[3, 0], [1, 0]]


def test_mean_and_ratio_of_nothing():
    assert float(metrics.ratio(metrics.mean(jnp.array([1.0, 4.0]), weights=jnp.array([2, 1])))) == 2
    assert float(metrics.ratio(metrics.mean(jnp.array([1.0, jnp.nan]), weights=jnp.array([1, 0])))) == 1
    assert np.isnan(metrics.ratio(metrics.mean(jnp.zeros(0))))


def test_ties_go_to_the_first_class():
    assert metrics.rank_of_label(jnp.zeros((3, 3)), jnp.arange(3)).tolist() == [0, 1, 2]
    assert metrics.accuracy(jnp.zeros((3, 3)), jnp.arange(3)).total == 1


@pytest.mark.parametrize(
    ("logits", "label"), [([1.0, jnp.nan], 0), ([jnp.nan, 1.0], 1), ([1.0, 0.0], 2), ([1.0, 0.0], -1)]
)
def test_nan_and_impossible_labels_do_not_pass_for_answers(logits, label):
    logits, labels = jnp.array([logits, [1.0, 0.0]]), jnp.array([label, 0])
    assert np.isnan(metrics.accuracy(logits, labels).total)
    assert np.isnan(metrics.top_k_accuracy(logits, labels, k=2).total)
    assert np.isnan(metrics.confusion_matrix(logits, labels)).all()
    assert np.isnan(metrics.calibration_error(metrics.calibration_bins(logits, labels)))
    assert np.isnan(metrics.rank_of_label(logits, labels)).tolist() == [True, False]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.accuracy(LOGITS, LABELS[:5]), r"^labels.*\(5,\)"),
        (lambda: metrics.accuracy(LOGITS, LABELS, weights=jnp.ones(3)), r"^weights.*\(3,\)"),
        (lambda: metrics.mean(jnp.ones(4), weights=jnp.ones(3)), r"^weights.*\(3,\)"),
        (lambda: metrics.top_k_accuracy(LOGITS, LABELS, k=6), r"^k: got 6.*5"),
        (lambda: metrics.top_k_classes(LOGITS, k=0), r"^k: got 0"),
        (lambda: metrics.top_k_accuracy(LOGITS, LABELS, k=1.5), r"^k: got 1.5, allowed are ints"),
        (lambda: metrics.calibration_bins(LOGITS, LABELS, bins=2.5), r"^bins: got 2.5"),
        (lambda: metrics.calibration_bins(LOGITS, LABELS, bins=0), r"^bins: got 0"),
    ],
)
def test_mistakes_are_named(monkeypatch, call, message):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        call()


# ---------------------------------------------------------------- one logit, several labels

MANY = RANDOM.normal(size=(N, 3)).astype(np.float32)
SEVERAL = (MANY + RANDOM.normal(size=(N, 3)) > 0.4).astype(np.int32)
WEIGHTS = RANDOM.integers(0, 4, N).astype(np.float32)


def test_binary_and_multi_label_accuracy_equal_sklearn():
    called = MANY > 0.2
    options = {"threshold": 0.2, "weights": WEIGHTS}
    one = metrics.ratio(metrics.binary_accuracy(MANY[:, 0], SEVERAL[:, 0], **options))
    expected = sklearn.metrics.accuracy_score(SEVERAL[:, 0], called[:, 0], sample_weight=WEIGHTS)
    assert float(one) == pytest.approx(expected, rel=1e-6)
    each = metrics.ratio(metrics.binary_accuracy(MANY, SEVERAL, **options))
    loss = sklearn.metrics.hamming_loss(SEVERAL, called, sample_weight=WEIGHTS)
    assert float(each) == pytest.approx(1 - loss, rel=1e-6)
    exact = metrics.ratio(metrics.subset_accuracy(MANY, SEVERAL.astype(bool), **options))
    expected = sklearn.metrics.accuracy_score(SEVERAL, called, sample_weight=WEIGHTS)
    assert float(exact) == pytest.approx(expected, rel=1e-6)


def test_precision_recall_and_f1_of_several_labels_equal_sklearn():
    matrices = metrics.binary_confusion_matrix(MANY, SEVERAL, per_label=True, weights=WEIGHTS)
    called = MANY > 0
    expected = sklearn.metrics.multilabel_confusion_matrix(SEVERAL, called, sample_weight=WEIGHTS)
    np.testing.assert_allclose(matrices, expected)
    per_label, micro = metrics.scores(matrices), metrics.scores(matrices.sum(0))
    for average, got in (
        (None, [field[:, 1] for field in per_label[:3]]),
        ("macro", [field[:, 1].mean() for field in per_label[:3]]),
        ("micro", [field[1] for field in micro[:3]]),
    ):
        theirs = sklearn.metrics.precision_recall_fscore_support(
            SEVERAL, called, average=average, sample_weight=WEIGHTS, zero_division=0
        )
        np.testing.assert_allclose(np.stack(got), np.stack(theirs[:3]), rtol=1e-6)
    together = metrics.binary_confusion_matrix(MANY, SEVERAL, weights=WEIGHTS)
    np.testing.assert_allclose(together, matrices.sum(0))


# ---------------------------------------------------------------- curves

TIED = np.round(MANY[:, 0], 1)  # many equal scores


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("scores", [MANY[:, 0], TIED], ids=["distinct", "tied"])
def test_curves_and_their_areas_equal_sklearn(scores, weights):
    labels = SEVERAL[:, 0]
    auc = metrics.roc_auc(scores, labels, weights)
    assert float(auc) == pytest.approx(sklearn.metrics.roc_auc_score(labels, scores, sample_weight=weights), rel=1e-5)
    expected = sklearn.metrics.average_precision_score(labels, scores, sample_weight=weights)
    assert float(metrics.average_precision(scores, labels, weights)) == pytest.approx(expected, rel=1e-5)
    kept = slice(None) if weights is None else weights > 0
    roc = metrics.roc_curve(scores, labels, weights)
    false, true, _ = sklearn.metrics.roc_curve(
        labels[kept], scores[kept], sample_weight=None if weights is None else weights[kept], drop_intermediate=False
    )
    ours = np.unique(np.round(np.stack(roc[:2], 1), 5), axis=0)
    np.testing.assert_allclose(ours, np.unique(np.round(np.stack([false, true], 1), 5), axis=0), atol=2e-5)
    curve = metrics.precision_recall_curve(scores, labels, weights)
    precision, recall, thresholds = sklearn.metrics.precision_recall_curve(
        labels[kept], scores[kept], sample_weight=None if weights is None else weights[kept]
    )
    for p, r, t in zip(precision[:-1], recall[:-1], thresholds, strict=True):
        at = np.flatnonzero(np.asarray(curve.thresholds) == t)
        np.testing.assert_allclose(curve.precision[at + 1], p, rtol=1e-5)
        np.testing.assert_allclose(curve.recall[at + 1], r, rtol=1e-5)


def test_areas_of_integer_scores_and_of_what_is_missing():
    large = jnp.array([2**24, 2**24 + 1, 2**24 + 2, 7])  # the first two are one number in float32
    labels = jnp.array([0, 1, 0, 0])
    expected = sklearn.metrics.roc_auc_score(labels, np.asarray(large))
    assert float(metrics.roc_auc(large, labels)) == pytest.approx(expected)
    padded = metrics.roc_auc(large, labels, jnp.array([1, 1, 1, 0]))
    assert float(padded) == pytest.approx(sklearn.metrics.roc_auc_score(labels[:3], np.asarray(large)[:3]))
    for scores, given in ((jnp.zeros(0), jnp.zeros(0, int)), (jnp.zeros(2), jnp.zeros(2, int))):
        assert np.isnan(metrics.roc_auc(scores, given))
        assert np.isnan(metrics.average_precision(scores, given))


def test_curves_over_several_labels_are_a_vmap():
    per_label = jax.jit(jax.vmap(metrics.roc_auc, in_axes=-1))(MANY, SEVERAL)
    np.testing.assert_allclose(per_label, sklearn.metrics.roc_auc_score(SEVERAL, MANY, average=None), rtol=1e-5)


@pytest.mark.slow
def test_histograms_of_scores_add_up_to_the_curve_of_rounded_scores():
    p, y = np.asarray(jax.nn.sigmoid(MANY[:, 0])), SEVERAL[:, 0]
    parts = [metrics.score_histogram(p[i::3], y[i::3], bins=50, weights=WEIGHTS[i::3]) for i in range(3)]
    binned = metrics.histogram_examples(sum(parts))
    rounded = np.floor(p * 50)
    expected = sklearn.metrics.roc_auc_score(y, rounded, sample_weight=WEIGHTS)
    assert float(metrics.roc_auc(*binned)) == pytest.approx(expected, rel=1e-5)
    expected = sklearn.metrics.average_precision_score(y, rounded, sample_weight=WEIGHTS)
    assert float(metrics.average_precision(*binned)) == pytest.approx(expected, rel=1e-5)
    exact = sklearn.metrics.roc_auc_score(y, p, sample_weight=WEIGHTS)
    assert float(metrics.roc_auc(*binned)) == pytest.approx(exact, abs=0.01)


def test_area_under_a_curve_is_numpy_s():
    x, y = np.sort(MANY[:9, 0]), MANY[:9, 1]
    assert float(metrics.area_under_curve(x, y)) == pytest.approx(np.trapezoid(y, x), rel=1e-5)


# ---------------------------------------------------------------- real targets

REAL = (RANDOM.normal(size=(N, 2)) * [1, 5] + [3, -2]).astype(np.float32)
GUESSED = (REAL + 0.5 * RANDOM.normal(size=(N, 2))).astype(np.float32)


def test_regression_equals_sklearn():
    got = metrics.regression_scores(metrics.regression_sums(GUESSED, REAL, weights=WEIGHTS))
    options = {"sample_weight": WEIGHTS, "multioutput": "raw_values"}
    for value, theirs in zip(
        got,
        (sklearn.metrics.mean_absolute_error, sklearn.metrics.mean_squared_error, sklearn.metrics.r2_score),
        strict=True,
    ):
        np.testing.assert_allclose(value, theirs(REAL, GUESSED, **options), rtol=1e-4)
    one = metrics.regression_scores(metrics.regression_sums(GUESSED[:, 0], REAL[:, 0]))
    assert float(one.r_squared) == pytest.approx(sklearn.metrics.r2_score(REAL[:, 0], GUESSED[:, 0]), rel=1e-4)
    assert np.isnan(metrics.regression_scores(metrics.regression_sums(jnp.arange(3.0), jnp.ones(3))).r_squared)


def test_a_center_keeps_the_digits_of_targets_far_from_0():
    y, p = REAL[:, 0] + np.float32(1e5), GUESSED[:, 0] + np.float32(1e5)
    expected = sklearn.metrics.r2_score(y.astype(np.float64), p.astype(np.float64))
    halves = [metrics.regression_sums(p[i::2], y[i::2], center=1e5) for i in (0, 1)]
    assert float(metrics.regression_scores(sum(halves)).r_squared) == pytest.approx(expected, rel=1e-3)
    far = metrics.regression_scores(metrics.regression_sums(p, y)).r_squared
    assert abs(float(far) - expected) > 0.01


# ---------------------------------------------------------------- calibration


def test_reliability_and_binary_calibration_equal_sklearn():
    p, y = np.asarray(jax.nn.sigmoid(MANY[:, 0])), SEVERAL[:, 0]
    bins = metrics.binary_calibration_bins(MANY[:, 0], y, bins=5)
    true, predicted = sklearn.calibration.calibration_curve(y, p, n_bins=5)
    diagram = metrics.reliability(bins)
    seen = np.asarray(bins.count) > 0
    np.testing.assert_allclose(np.asarray(diagram.accuracy)[seen], true, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(diagram.confidence)[seen], predicted, rtol=1e-5)
    assert float(diagram.share.sum()) == pytest.approx(1)
    expected = np.abs(true - predicted) @ np.asarray(diagram.share)[seen]
    assert float(metrics.calibration_error(bins)) == pytest.approx(expected, rel=1e-5)
    empty = metrics.reliability(metrics.binary_calibration_bins(jnp.array([9.0]), jnp.array([1]), bins=4))
    assert np.isnan(empty.accuracy).tolist() == [True, True, True, False]


# ---------------------------------------------------------------- sums that add


def sums_of(logits, labels, weights):
    """Return every metric that is a sum, of the same examples."""
    one, binary = logits[..., 0], labels % 2
    several = jnp.stack([binary, 1 - binary], -1)
    return {
        **all_sums(logits, labels, weights),
        "mean": metrics.mean(one, weights=weights),
        "binary": metrics.binary_accuracy(one, binary, weights=weights),
        "subset": metrics.subset_accuracy(logits[..., :2], several, weights=weights),
        "matrix": metrics.binary_confusion_matrix(logits[..., :2], several, per_label=True, weights=weights),
        "binary calibration": metrics.binary_calibration_bins(one, binary, weights=weights),
        "histogram": metrics.score_histogram(jax.nn.sigmoid(one), binary, bins=20, weights=weights),
        "regression": metrics.regression_sums(one, labels.astype(one.dtype), weights=weights),
    }


summed = quick_jit(sums_of)


def test_the_metrics_that_are_sums_are_exactly_those_that_are_added_here():
    made = {type(value).__name__ for value in summed(LOGITS, LABELS, None).values()} - {"ArrayImpl"}
    kinds = {name for name in metrics.__all__ if "__add__" in vars(getattr(metrics, name))}
    assert made == kinds == {"CalibrationBins", "Ratio", "RegressionSums", "ScoreHistogram"}


def test_plus_adds_batches_and_padding_does_not_count():
    whole = summed(LOGITS, LABELS, jnp.ones(N))
    weights = jnp.repeat(jnp.array([1.0, 0.0]), jnp.array([80, 40]))
    labels = jnp.concatenate([LABELS[120:], jnp.full(40, -2)])
    last = summed(jnp.concatenate([LOGITS[120:], jnp.full((40, CLASSES), jnp.nan)]), labels, weights)
    first, second = (summed(LOGITS[a : a + 60], LABELS[a : a + 60], None) for a in (0, 60))
    for name, total in whole.items():
        assert_equal(first[name] + second[name] + last[name], total)
        assert_equal(sum([first[name], second[name], last[name]]), total)
        assert type(first[name] + last[name]) is type(total)
    compiled = jax.jit(lambda a, b: {name: a[name] + b[name] for name in a})
    assert_equal(compiled(compiled(first, second), last), whole)


@pytest.mark.parametrize("placed", ["pmap", "shard_map"])
def test_all_sums_add_over_devices(placed):
    whole = summed(LOGITS, LABELS, None)
    on_device = lambda logits, labels: jax.lax.psum(sums_of(logits, labels, None), "d")
    if placed == "pmap":
        split = LOGITS.reshape(4, 50, CLASSES), LABELS.reshape(4, 50)
        total = jax.tree.map(lambda x: x[0], jax.pmap(on_device, axis_name="d", devices=jax.devices()[:4])(*split))
    else:
        mesh, spec = Mesh(np.array(jax.devices()[:4]), ("d",)), PartitionSpec("d")
        total = jax.jit(jax.shard_map(on_device, mesh=mesh, in_specs=spec, out_specs=PartitionSpec()))(LOGITS, LABELS)
    assert_equal(total, whole)


SUMS = {
    kind
    for module in (metrics.sums, metrics.calibration, metrics.classification, metrics.curves, metrics.regression)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, tuple) and kind.__add__ is not tuple.__add__
}


@pytest.mark.parametrize("kind", sorted(SUMS, key=str))
def test_a_type_checker_knows_what_a_sum_is(kind):  # it took the sum of two for a tuple
    assert typing.get_type_hints(inspect.unwrap(kind.__add__))["return"] is kind


def test_sums_add_to_their_own_kind_alone():
    a, bins = metrics.accuracy(LOGITS, LABELS), metrics.calibration_bins(LOGITS, LABELS)
    for other in (bins, 1, (1.0, 2.0), None):
        with pytest.raises(TypeError, match="Ratio adds to its own kind alone, got"):
            a + other
    with pytest.raises(TypeError, match="CalibrationBins adds to its own kind alone, got float"):
        1.5 + bins


@pytest.mark.parametrize(("logit", "label"), [(np.nan, 1), (0.3, 2), (0.3, -1)])
def test_nan_and_impossible_labels_reach_every_binary_figure(logit, label):
    z, y = jnp.array([logit, 1.0, -1.0]), jnp.array([label, 1, 0])
    assert np.isnan(metrics.binary_accuracy(z, y).total)
    assert np.isnan(metrics.subset_accuracy(z, y).total)
    assert np.isnan(metrics.binary_confusion_matrix(z, y)).any()
    assert np.isnan(metrics.roc_auc(z, y))
    assert np.isnan(metrics.average_precision(z, y))
    assert np.isnan(metrics.calibration_error(metrics.binary_calibration_bins(z, y)))
    assert np.isnan(metrics.score_histogram(z, y).positive).all()
    kept = jnp.array([0.0, 1.0, 1.0])
    assert float(metrics.roc_auc(z, y, kept)) == float(metrics.ratio(metrics.binary_accuracy(z, y, weights=kept))) == 1
    assert np.isfinite(metrics.score_histogram(z, y, weights=kept).positive).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.binary_accuracy(MANY, LABELS), r"^labels: got shape \(200,\), must be the shape of logits"),
        (lambda: metrics.binary_accuracy(MANY, SEVERAL, weights=jnp.ones(3)), r"^weights: got shape \(3,\)"),
        (lambda: metrics.subset_accuracy(jnp.float32(1), jnp.int32(1)), r"^logits: got shape \(\)"),
        (lambda: metrics.binary_confusion_matrix(jnp.float32(1), jnp.int32(1), per_label=True), "^logits"),
        (lambda: metrics.roc_auc(MANY, SEVERAL), r"^logits: got shape \(200, 3\), must be \(n,\)"),
        (lambda: metrics.area_under_curve(jnp.ones(3), jnp.ones(2)), r"^y: got shape \(2,\)"),
        (lambda: metrics.score_histogram(MANY, SEVERAL, bins=0), "^bins: got 0"),
        (lambda: metrics.regression_sums(REAL, GUESSED[:3]), r"^targets: got shape \(3, 2\)"),
        (lambda: metrics.regression_sums(REAL, GUESSED, weights=MANY), r"^weights: got shape \(200, 3\)"),
    ],
)
def test_mistakes_with_the_other_metrics_are_named(monkeypatch, call, message):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        call()


def test_members_are_averaged_as_probabilities_and_vote():
    """Two of three members prefer class 0 narrowly and one prefers class 1 by far, so vote and average disagree."""
    chances = np.float32([[0.5, 0.4, 0.1], [0.5, 0.4, 0.1], [0.05, 0.9, 0.05]])
    logits = np.log(chances) + np.float32([[3.0], [0.0], [-7.0]])  # which softmax takes away
    np.testing.assert_allclose(np.exp(metrics.average_members(logits)), chances.mean(0), rtol=1e-5)
    np.testing.assert_allclose(metrics.majority_vote(logits), [2 / 3, 1 / 3, 0], rtol=1e-6)
    labels = jnp.int32(0)
    both = [
        metrics.ratio(metrics.accuracy(f(logits), labels)) for f in (metrics.average_members, metrics.majority_vote)
    ]
    assert list(map(float, both)) == [0, 1]
    one = jnp.array([[1.0, 1.0, 0.0]])  # the first of equal classes wins
    assert metrics.majority_vote(one).tolist() == [1, 0, 0]
    with_nan = jnp.array([[[1.0, 0.0], [jnp.nan, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    for f in (metrics.average_members, metrics.majority_vote):
        assert np.isnan(f(with_nan)).tolist() == [[True, True], [False, False]]
        with pytest.raises(ValueError, match=r"logits: got shape \(0, 3\), must be \(\.\.\., members, classes\)"):
            f(jnp.zeros((0, 3)))

"""Metrics against scikit-learn and numpy loops; sums that add over batches and devices; padding and NaN."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import sklearn.metrics
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxdl import metrics

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
    """Neither a cell's number, row · classes + column, nor the number of classes fits into a byte."""
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


def assert_equal(a, b):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), a, b)


def test_batches_add_up_and_padding_does_not_count():
    whole = all_sums(LOGITS, LABELS, jnp.ones(N))
    assert_equal(whole, all_sums(LOGITS, LABELS, None))
    first = all_sums(LOGITS[:120], LABELS[:120], jnp.ones(120))
    padded_logits = jnp.concatenate([LOGITS[120:], jnp.full((40, CLASSES), jnp.nan)])
    padded_labels = jnp.concatenate([LABELS[120:], jnp.full(40, -1)])
    last = all_sums(padded_logits, padded_labels, jnp.repeat(jnp.array([1.0, 0.0]), jnp.array([80, 40])))
    assert_equal(whole, jax.tree.map(jnp.add, first, last))


def test_sums_add_over_devices_under_psum():
    def on_device(logits, labels):
        return jax.lax.psum(all_sums(logits, labels, jnp.ones(labels.shape)), "d")

    split = LOGITS.reshape(4, 50, CLASSES), LABELS.reshape(4, 50)
    total = jax.pmap(on_device, axis_name="d", devices=jax.devices()[:4])(*split)
    assert_equal(jax.tree.map(lambda x: x[0], total), all_sums(LOGITS, LABELS, None))
    placed = NamedSharding(Mesh(np.array(jax.devices()[:4]), ("d",)), PartitionSpec("d"))
    sharded = jax.jit(all_sums)(jax.device_put(LOGITS, placed), jax.device_put(LABELS, placed), None)
    assert_equal(sharded, all_sums(LOGITS, LABELS, None))


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

"""Losses against the lectures' worked numbers, optax, scikit-learn and closed forms; corners and mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import sklearn.metrics

from jaxdl import activations, backprop, losses

LOGITS = jnp.asarray(3 * np.random.default_rng(3).normal(size=(6, 4)), jnp.float32)
LABELS = jnp.array([0, 3, 1, 2, 2, 0])
ONE_HOT = np.eye(4, dtype=np.float32)[np.asarray(LABELS)]
SOFT = scipy.special.softmax(np.random.default_rng(0).normal(size=(6, 4)), -1).astype(np.float32)


def test_c1_worked_numbers():
    predictions, targets = jnp.array([4.8, 0.9, 1.1, 5.1]), jnp.array([5.1, 1.6, 2.3, 3.7])
    assert float(losses.squared_error(predictions, targets).mean()) == pytest.approx(0.995, rel=1e-6)
    assert float(losses.half_squared_error(predictions, targets).mean()) == pytest.approx(0.4975, rel=1e-6)
    assert float(losses.absolute_error(predictions, targets).mean()) == pytest.approx(0.9, rel=1e-6)
    grades = losses.squared_error(jnp.array([30.0, 80.0, 85.0]), jnp.array([90, 20, 95]))
    assert float(grades.mean()) == pytest.approx(2433.333, abs=1e-3)


def test_c2_worked_number_and_its_printed_base_10_form():
    p, y = jnp.array([0.9, 0.5, 0.4, 0.2]), jnp.array([1, 0, 0, 1])
    natural = float(losses.binary_cross_entropy(p, y).mean())
    assert natural == pytest.approx(0.729693, abs=1e-6)
    assert natural / np.log(10) == pytest.approx(0.316902, abs=1e-6)


def test_half_squared_error_has_the_difference_as_gradient():
    gradient = jax.grad(lambda p: losses.half_squared_error(p, jnp.float32(3)))(jnp.float32(5))
    assert float(gradient) == 2


def test_absolute_error_has_the_sign_as_gradient_and_zero_at_equality():
    slopes = jax.vmap(jax.grad(losses.absolute_error))(jnp.array([-1.0, 2.0, 5.0]), jnp.array([2.0, 2.0, 2.0]))
    assert slopes.tolist() == [-1, 0, 1]


def test_squared_log_error_is_scale_free_and_undefined_at_zero():
    p, t = np.array([1.0, 10.0, 3.0], np.float32), np.array([2.0, 20.0, 3.0], np.float32)
    np.testing.assert_allclose(losses.squared_log_error(p, t), [np.log(2) ** 2, np.log(2) ** 2, 0], rtol=1e-5)
    outside = losses.squared_log_error(jnp.array([0.0, -1.0, 1.0, 1.0]), jnp.array([1.0, 1.0, 0.0, 1.0]))
    assert np.isnan(outside).tolist() == [True, True, True, False]


def test_binary_cross_entropy_equals_sklearn_and_optax():
    z = np.linspace(-12, 12, 49).astype(np.float32)
    for y in (np.zeros_like(z), np.ones_like(z), np.linspace(0, 1, 49).astype(np.float32)):
        expected = optax.sigmoid_binary_cross_entropy(z, y)
        np.testing.assert_allclose(losses.sigmoid_binary_cross_entropy(z, y), expected, rtol=1e-6, atol=1e-7)
    p, y = np.array([0.1, 0.7, 0.99]), np.array([0, 1, 0])
    ours = losses.binary_cross_entropy(p.astype(np.float32), y).mean()
    assert float(ours) == pytest.approx(sklearn.metrics.log_loss(y, p), rel=1e-5)


def test_binary_cross_entropy_of_a_logit_is_softmax_cross_entropy_of_two():
    z = jnp.linspace(-30, 30, 13)
    pairs = jnp.stack([jnp.zeros_like(z), z], -1)
    for label in (0, 1):
        y = jnp.full(z.shape, label)
        both = losses.sigmoid_binary_cross_entropy(z, y), losses.softmax_cross_entropy(pairs, y)
        np.testing.assert_allclose(*both, rtol=1e-6, atol=1e-7)


def test_binary_cross_entropy_is_exact_inside_and_finite_at_the_ends():
    ends = jnp.array([0.0, 1.0, 0.0, 1.0])
    y = jnp.array([0, 1, 1, 0])
    values, slopes = jax.vmap(jax.value_and_grad(losses.binary_cross_entropy))(ends, y)
    np.testing.assert_allclose(values[:2], 0, atol=1e-6)
    np.testing.assert_allclose(values[2:], 1 - np.log(1e-7), rtol=1e-5)
    np.testing.assert_allclose(slopes[2:], [-1e7, 1e7], rtol=0.2)  # 1 − 1e-7 has 24 bits in float32
    inside = np.array([2e-7, 1e-3, 0.5], np.float32)
    expected = -np.log(inside.astype(np.float64))
    np.testing.assert_allclose(losses.binary_cross_entropy(inside, jnp.ones(3)), expected, rtol=1e-6)


@pytest.mark.parametrize("labels", [LABELS, ONE_HOT, SOFT], ids=["integer", "one-hot", "soft"])
def test_softmax_cross_entropy_equals_optax(labels):
    dense = ONE_HOT if labels.ndim == 1 else labels
    expected = optax.softmax_cross_entropy(LOGITS, dense)
    np.testing.assert_allclose(losses.softmax_cross_entropy(LOGITS, labels), expected, rtol=1e-5)
    log_p = activations.log_softmax(LOGITS)
    np.testing.assert_allclose(losses.nll(log_p, labels), expected, rtol=1e-5)
    gradient = jax.grad(lambda z: losses.softmax_cross_entropy(z, labels).sum())(LOGITS)
    np.testing.assert_allclose(gradient, scipy.special.softmax(LOGITS, -1) - dense, atol=1e-6)


def test_label_smoothing_equals_optax():
    expected = optax.softmax_cross_entropy(LOGITS, optax.smooth_labels(ONE_HOT, 0.2))
    for labels in (LABELS, ONE_HOT):
        ours = losses.softmax_cross_entropy(LOGITS, labels, label_smoothing=0.2)
        np.testing.assert_allclose(ours, expected, rtol=1e-5)
    traced = jax.jit(lambda s: losses.softmax_cross_entropy(LOGITS, LABELS, label_smoothing=s))(0.2)
    np.testing.assert_allclose(traced, expected, rtol=1e-5)


def test_softmax_cross_entropy_of_extreme_and_excluded_logits():
    z = jnp.array([[1e4, -1e4, -jnp.inf], [-1e4, 1e4, 0.0]])
    values = losses.softmax_cross_entropy(z, jnp.array([0, 0]))
    assert values.tolist() == [0, 2e4]
    gradient = jax.grad(lambda z: losses.softmax_cross_entropy(z, jnp.array([0, 0])).sum())(z)
    assert gradient.tolist() == [[0, 0, 0], [-1, 1, 0]]
    assert float(losses.nll(jnp.array([-jnp.inf, 0.0]), jnp.array(1))) == 0
    assert np.isposinf(losses.nll(jnp.array([-jnp.inf, 0.0]), jnp.array(0)))


def test_gradient_in_soft_labels_is_the_negative_log_probability():
    y = jnp.array([0.0, 1.0, 0.0, 0.0])
    gradient = jax.grad(lambda y: losses.softmax_cross_entropy(LOGITS[0], y))(y)
    np.testing.assert_allclose(gradient, -scipy.special.log_softmax(LOGITS[0]), rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int8, jnp.int32])
def test_class_numbers_may_be_bytes_where_the_number_of_classes_is_none(dtype):
    logits, labels = jnp.zeros((2, 300)), jnp.array([100, 2], dtype)
    by_hand = backprop.softmax_cross_entropy_forward(logits, labels)[0]
    for loss in (losses.softmax_cross_entropy(logits, labels), losses.nll(logits - np.log(300), labels), by_hand):
        np.testing.assert_allclose(loss, np.full(2, np.log(300)), rtol=1e-6)


@pytest.mark.parametrize("loss", [losses.softmax_cross_entropy, losses.nll, losses.margin])
def test_impossible_class_numbers_give_nan_and_do_not_touch_other_examples(loss):
    bad = LABELS.at[1].set(4).at[2].set(-1)
    values, gradient = loss(LOGITS, bad), jax.grad(lambda z: loss(z, bad).sum())(LOGITS)
    assert np.isnan(values).tolist() == [False, True, True, False, False, False]
    assert np.isnan(gradient).all(-1).tolist() == [False, True, True, False, False, False]
    np.testing.assert_array_equal(values[3:], loss(LOGITS, LABELS)[3:])


@pytest.mark.parametrize(
    ("loss", "bad"),
    [
        (losses.hinge, 0),
        (losses.perceptron, 0),
        (losses.binary_cross_entropy, 2),
        (losses.sigmoid_binary_cross_entropy, -1),
    ],
)
def test_impossible_binary_labels_give_nan(loss, bad):
    values = loss(jnp.array([0.3, 0.3]), jnp.array([bad, 1]))
    assert np.isnan(values).tolist() == [True, True]  # the other one only looks as if it followed the convention
    assert np.isnan(jax.grad(lambda p: loss(p, jnp.float32(bad)))(0.3))


def test_hinge_and_perceptron_equal_optax_and_move_off_zero():
    f, y = jnp.array([-2.0, -0.5, 0.25, 1.0, 3.0, 0.5]), jnp.array([1, -1, 1, 1, 1, -1])
    np.testing.assert_allclose(losses.hinge(f, y), optax.hinge_loss(f, y))
    np.testing.assert_allclose(losses.perceptron(f, y), optax.losses.perceptron_loss(f, y))
    slopes = jax.vmap(jax.grad(losses.perceptron))(jnp.zeros(2), jnp.array([1, -1]))
    assert slopes.tolist() == [-1, 1]
    assert float(jax.grad(losses.hinge)(1.0, 1)) == 0


@pytest.mark.parametrize("name", losses.__all__)
def test_nan_reaches_the_mean_of_a_large_batch(name):
    """XLA on CPU fuses a loss into its sum, in a kernel whose maximum of NaN and 0 is 0 (jaxlib 0.10.2)."""
    predictions = np.random.default_rng(0).uniform(size=(1024, 10)).astype(np.float32)
    predictions[5, 3] = np.nan
    classes = name in ("softmax_cross_entropy", "nll", "margin")
    targets = np.full(1024, 3) if classes else np.ones((1024, 10), np.float32)
    assert np.isnan(jax.jit(lambda p: getattr(losses, name)(p, targets).mean())(predictions))


def test_margin_equals_the_formula_written_as_a_loop():
    v = np.array([[0.95, 0.05, 0.3], [0.2, 0.5, 0.05]], np.float32)
    expected = [0.5 * (0.3 - 0.1) ** 2, (0.9 - 0.5) ** 2 + 0.5 * (0.2 - 0.1) ** 2]
    np.testing.assert_allclose(losses.margin(v, jnp.array([0, 1])), expected, rtol=1e-5)
    two = losses.margin(v[0], jnp.array([1, 0, 1]))  # several classes present
    assert float(two) == pytest.approx((0.9 - 0.3) ** 2, rel=1e-5)


def test_targets_may_be_of_another_dtype_and_the_floating_dtype_stays():
    p = jnp.array([0.25, 0.5], jnp.bfloat16)
    assert losses.squared_error(p, jnp.array([0, 1])).dtype == jnp.bfloat16
    assert losses.softmax_cross_entropy(p, jnp.array(1)).dtype == jnp.bfloat16
    assert losses.binary_cross_entropy(p, p.astype(jnp.float32)).dtype == jnp.float32
    assert losses.squared_error(jnp.float32(2), jnp.array(True)).tolist() == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.squared_error(jnp.ones((3, 1)), jnp.ones(3)), r"^targets.*\(3,\).*\(3, 1\)"),
        (lambda: losses.hinge(jnp.ones(3), jnp.ones(2)), r"^labels.*\(2,\).*\(3,\)"),
        (lambda: losses.sigmoid_binary_cross_entropy(jnp.ones(3), jnp.ones((3, 1))), r"^labels.*logits"),
        (lambda: losses.softmax_cross_entropy(LOGITS, LABELS[:3]), r"^labels.*\(3,\)"),
        (lambda: losses.softmax_cross_entropy(LOGITS, ONE_HOT[:, :3]), r"^labels.*\(6, 3\)"),
        (lambda: losses.softmax_cross_entropy(LOGITS, jnp.ones(6)), r"^labels.*float32"),
        (lambda: losses.softmax_cross_entropy(LOGITS, LABELS, label_smoothing=1.5), r"^label_smoothing"),
        (lambda: losses.softmax_cross_entropy(LOGITS, LABELS, label_smoothing=np.float32(1.5)), r"^label_smoothing"),
        (lambda: losses.softmax_cross_entropy(LOGITS[:, :0], LABELS), r"^logits: got shape \(6, 0\)"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

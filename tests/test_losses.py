"""Losses against the lectures' worked numbers, optax, scikit-learn and closed forms; corners and mistakes."""

import itertools

import jax
import jax.numpy as jnp
import jaxtyping
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
    assert np.isnan(values).tolist() == [True, True]  # one bad label spoils the whole call
    assert np.isnan(jax.grad(lambda p: loss(p, jnp.float32(bad)))(0.3))


def test_hinge_and_perceptron_equal_optax_and_move_off_zero():
    f, y = jnp.array([-2.0, -0.5, 0.25, 1.0, 3.0, 0.5]), jnp.array([1, -1, 1, 1, 1, -1])
    np.testing.assert_allclose(losses.hinge(f, y), optax.hinge_loss(f, y))
    np.testing.assert_allclose(losses.perceptron(f, y), optax.losses.perceptron_loss(f, y))
    slopes = jax.vmap(jax.grad(losses.perceptron))(jnp.zeros(2), jnp.array([1, -1]))
    assert slopes.tolist() == [-1, 1]
    assert float(jax.grad(losses.hinge)(1.0, 1)) == 0


OF_CLASSES = {"softmax_cross_entropy", "softmax_focal", "nll", "kl_divergence", "margin"}
OF_SEQUENCES = {"ctc"}  # nothing is fused into a scan


@pytest.mark.parametrize("name", sorted(set(losses.__all__) - OF_SEQUENCES))
def test_nan_reaches_the_mean_of_a_large_batch(name):
    """XLA on CPU fuses a loss into its sum, and the fused maximum of NaN and 0 is 0 (jaxlib 0.10.2)."""
    predictions = np.random.default_rng(0).uniform(size=(1024, 10)).astype(np.float32)
    predictions[5, 3] = np.nan
    targets = np.full(1024, 3) if name in OF_CLASSES else np.ones((1024, 10), np.float32)
    more = {"contrastive": (np.ones(1024, np.float32),), "triplet": (2 * targets,)}.get(name, ())
    assert np.isnan(jax.jit(lambda p: getattr(losses, name)(p, targets, *more).mean())(predictions))


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


# ---------------------------------------------------------------- robust errors


def test_huber_equals_optax_and_its_pieces():
    p, y = 4 * LOGITS, LOGITS[::-1]
    for delta in (0.3, 1.0, 5.0):
        np.testing.assert_allclose(
            losses.huber(p, y, delta=delta), optax.huber_loss(p, y, delta=delta), rtol=1e-5, atol=1e-6
        )
    assert float(losses.huber(2.5, 0.0)) == 2
    slopes = jax.vmap(jax.grad(losses.huber))(jnp.array([-3.0, -1.0, -0.5, 0.0, 1.0, 1e30]), jnp.zeros(6))
    assert slopes.tolist() == [-1, -1, -0.5, 0, 1, 1]
    assert float(jax.grad(lambda d: losses.huber(3.0, 0.0, delta=d))(2.0)) == 1  # |e| − δ


def test_log_cosh_is_exact_from_tiny_to_huge_errors():
    e = np.array([0, 1e-12, 1e-6, 1e-3, 0.5, 0.999, 1, 1.001, 3, 20, 1e4, 1e30], np.float32)
    wide = e.astype(np.float64)
    expected = np.where(wide < 0.01, wide**2 / 2 - wide**4 / 12, wide + np.log1p(np.exp(-2 * wide)) - np.log(2))
    for sign in (1, -1):
        np.testing.assert_allclose(losses.log_cosh(sign * e, 0 * e), expected, rtol=2e-6)
        slope = jax.vmap(jax.grad(losses.log_cosh))(jnp.asarray(sign * e), jnp.asarray(0 * e))
        np.testing.assert_allclose(slope, sign * np.tanh(wide), rtol=1e-6)
    z = LOGITS.ravel()
    np.testing.assert_allclose(losses.log_cosh(z, 0 * z), optax.log_cosh(z, 0 * z), rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------- focal losses, divergences, weights


def test_focal_losses_equal_optax_and_a_loop():
    z, y = LOGITS, (SOFT > 0.25).astype(np.float32)
    for gamma, alpha in ((2.0, None), (2.0, 0.25), (0.5, 0.7), (0.0, None)):
        ours = losses.sigmoid_focal(z, y, gamma=gamma, alpha=alpha)
        np.testing.assert_allclose(ours, optax.sigmoid_focal_loss(z, y, alpha=alpha, gamma=gamma), rtol=2e-5, atol=1e-7)
    p = scipy.special.softmax(np.asarray(z, np.float64), -1)
    weights = np.array([1.0, 2.0, 0.5, 3.0])
    expected = [-weights[k] * (1 - p[i, k]) ** 1.5 * np.log(p[i, k]) for i, k in enumerate(np.asarray(LABELS))]
    weighed = {"gamma": 1.5, "class_weights": weights.astype(np.float32)}
    np.testing.assert_allclose(losses.softmax_focal(z, LABELS, **weighed), expected, rtol=1e-5, atol=1e-8)
    soft = -(SOFT * (1 - p) ** 2 * np.log(p)).sum(-1)
    np.testing.assert_allclose(losses.softmax_focal(z, SOFT), soft, rtol=1e-5)


def test_focal_losses_without_focus_are_cross_entropies():
    for labels in (LABELS, SOFT):
        both = losses.softmax_focal(LOGITS, labels, gamma=0.0), losses.softmax_cross_entropy(LOGITS, labels)
        np.testing.assert_allclose(*both, rtol=1e-6)
    both = losses.sigmoid_focal(LOGITS, SOFT, gamma=0.0), losses.sigmoid_binary_cross_entropy(LOGITS, SOFT)
    np.testing.assert_allclose(*both, rtol=1e-6)
    halves = losses.sigmoid_focal(LOGITS, jnp.ones_like(LOGITS)), losses.sigmoid_focal(LOGITS, jnp.zeros_like(LOGITS))
    mixed = losses.sigmoid_focal(LOGITS, jnp.full_like(LOGITS, 0.25))
    np.testing.assert_allclose(mixed, 0.25 * halves[0] + 0.75 * halves[1], rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_losses_are_finite_where_a_probability_is_0_or_1(gamma):
    z = jnp.array([[1e4, -1e4, 0.0], [0.0, 0.0, 200.0]])
    value, slope = jax.value_and_grad(lambda z: losses.softmax_focal(z, jnp.array([1, 2]), gamma=gamma).sum())(z)
    assert float(value) == pytest.approx(2e4)
    assert np.isfinite(slope).all()
    slopes = jax.vmap(jax.grad(lambda z, y: losses.sigmoid_focal(z, y, gamma=gamma)))(z.ravel(), jnp.ones(6))
    assert np.isfinite(slopes).all()


def test_kl_divergence_equals_scipy_optax_and_nll():
    log_p = activations.log_softmax(LOGITS)
    expected = scipy.special.rel_entr(SOFT, np.exp(np.asarray(log_p, np.float64))).sum(-1)
    np.testing.assert_allclose(losses.kl_divergence(log_p, SOFT), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(losses.kl_divergence(log_p, SOFT), optax.kl_divergence(log_p, SOFT), rtol=1e-5)
    np.testing.assert_allclose(losses.kl_divergence(log_p, LABELS), losses.nll(log_p, LABELS), rtol=1e-6)
    own = np.exp(np.asarray(log_p))
    np.testing.assert_allclose(losses.kl_divergence(log_p, own), 0, atol=1e-6)
    gradient = jax.grad(lambda y: losses.kl_divergence(log_p, y).sum())(jnp.asarray(ONE_HOT))
    assert np.isfinite(gradient).all()
    never = losses.kl_divergence(jnp.array([0.0, -jnp.inf]), jnp.array([[1.0, 0.0], [0.5, 0.5]]).reshape(2, 2)[0])
    assert float(never) == 0
    assert np.isposinf(losses.kl_divergence(jnp.array([0.0, -jnp.inf]), jnp.array([0.5, 0.5])))
    assert np.isnan(losses.kl_divergence(log_p[0], jnp.array([-0.1, 0.5, 0.3, 0.3])))
    assert np.isnan(losses.kl_divergence(log_p[0], jnp.array([jnp.nan, 0.5, 0.3, 0.3])))


@pytest.mark.parametrize("labels", [LABELS, ONE_HOT, SOFT], ids=["integer", "one-hot", "soft"])
@pytest.mark.parametrize("loss", [losses.kl_divergence, losses.nll, losses.softmax_cross_entropy])
def test_debug_nans_passes_what_has_no_nan(loss, labels):
    with jax.debug_nans(True):
        assert np.isfinite(jax.grad(lambda z: loss(activations.log_softmax(z), labels).sum())(LOGITS)).all()


W = np.array([0.5, 1.0, 2.0, 3.0], np.float32)


@pytest.mark.parametrize("labels", [LABELS, ONE_HOT, SOFT], ids=["integer", "one-hot", "soft"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_weights_weigh_each_class_s_term_as_in_pytorch(labels, smoothing):
    """torch.nn.functional.cross_entropy(weight=w, label_smoothing=ε): −Σ w_k ((1 − ε) y_k + ε/K) ln p_k."""
    dense = ONE_HOT if labels.ndim == 1 else labels
    y = (1 - smoothing) * dense.astype(np.float64) + smoothing / 4
    log_p = scipy.special.log_softmax(np.asarray(LOGITS, np.float64), -1)
    options = {"label_smoothing": smoothing, "class_weights": W}
    np.testing.assert_allclose(
        losses.softmax_cross_entropy(LOGITS, labels, **options), -(W * y * log_p).sum(-1), 1e-5, 3e-7
    )
    if not smoothing:
        ours = losses.nll(activations.log_softmax(LOGITS), labels, class_weights=W)
        np.testing.assert_allclose(ours, -(W * y * log_p).sum(-1), 1e-5, 3e-7)


def test_pos_weight_weighs_the_positive_labels_alone():
    for loss, x in (
        (losses.sigmoid_binary_cross_entropy, LOGITS),
        (losses.binary_cross_entropy, jax.nn.sigmoid(LOGITS)),
    ):
        ones, zeros = loss(x, jnp.ones_like(x)), loss(x, jnp.zeros_like(x))
        np.testing.assert_allclose(loss(x, SOFT, pos_weight=W), W * SOFT * ones + (1 - SOFT) * zeros, rtol=1e-4)
        np.testing.assert_allclose(loss(x, SOFT, pos_weight=2.0), 2 * SOFT * ones + (1 - SOFT) * zeros, rtol=1e-4)
    signs = np.where(SOFT > 0.25, 1, -1)
    for loss in (losses.hinge, losses.perceptron):
        expected = np.where(signs > 0, W, 1) * loss(LOGITS, signs)
        np.testing.assert_allclose(loss(LOGITS, signs, pos_weight=W), expected, rtol=1e-6)
    lengths = jax.nn.sigmoid(LOGITS)
    alone = [losses.margin(lengths, LABELS, class_weights=np.eye(4, dtype=np.float32)[k]) for k in range(4)]
    np.testing.assert_allclose(losses.margin(lengths, LABELS, class_weights=W), W @ np.stack(alone), rtol=1e-5)


# ---------------------------------------------------------------- vectors


@pytest.mark.slow
def test_cosine_distance_equals_optax_and_does_not_cancel():
    u, v = LOGITS, LOGITS[::-1] + 0.3
    np.testing.assert_allclose(losses.cosine_distance(u, v), optax.cosine_distance(u, v), rtol=1e-5, atol=1e-6)
    tiny = losses.cosine_distance(jnp.array([1.0, 0.0]), jnp.array([1.0, 1e-4]))
    assert float(tiny) == pytest.approx(0.5e-8, rel=1e-4)  # 1 − cos rounds to 0
    zero = jnp.zeros(4)
    value, slope = jax.value_and_grad(losses.cosine_distance)(zero, u[0])
    assert float(value) == float(losses.cosine_distance(zero, zero)) == 1
    assert not slope.any()
    assert float(losses.cosine_distance(1e30 * u[0], 1e-30 * v[0])) == pytest.approx(
        float(losses.cosine_distance(u[0], v[0])), rel=1e-5
    )


def test_contrastive_and_triplet_equal_their_formulas():
    a, b, c = (np.random.default_rng(k).normal(size=(6, 4)).astype(np.float32) for k in (1, 2, 3))
    near, far = np.linalg.norm(a - b, axis=-1), np.linalg.norm(a - c, axis=-1)
    y = np.array([1, 0, 1, 0, 0.25, 1], np.float32)
    expected = 0.5 * (y * near**2 + (1 - y) * np.maximum(0, 3 - near) ** 2)
    np.testing.assert_allclose(losses.contrastive(a, b, y, margin=3.0), expected, rtol=1e-5)
    np.testing.assert_allclose(losses.triplet(a, b, c), np.maximum(0, near - far + 1), rtol=1e-5)
    ours = losses.triplet(a, b, c, squared=True, margin=0.2)
    np.testing.assert_allclose(ours, np.maximum(0, near**2 - far**2 + 0.2), rtol=1e-4, atol=1e-5)
    theirs = optax.losses.triplet_margin_loss(a, b, c, margin=1.0)
    np.testing.assert_allclose(losses.triplet(a, b, c), theirs, rtol=1e-4, atol=1e-5)
    same = jax.grad(lambda x: losses.contrastive(x, a, jnp.zeros(6)).sum())(jnp.asarray(a))
    assert not np.any(same)
    assert np.isnan(losses.contrastive(a, b, 2 * y - 1)).all()


def test_info_nce_equals_optax_s_cross_entropy_of_cosines():
    q, k = LOGITS, LOGITS[::-1] + 0.3
    unit = [
        np.asarray(x, np.float64) / np.linalg.norm(np.asarray(x, np.float64), axis=-1, keepdims=True) for x in (q, k)
    ]
    cosines = (unit[0] @ unit[1].T / 0.1).astype(np.float32)
    expected = optax.softmax_cross_entropy_with_integer_labels(cosines, jnp.arange(6))
    np.testing.assert_allclose(losses.info_nce(q, k), expected, rtol=1e-4)
    np.testing.assert_allclose(losses.info_nce(jnp.ones((5, 2)), jnp.ones((5, 2))), np.log(5), rtol=1e-6)


# ---------------------------------------------------------------- sequences


def paths(z, labels, blank=0):
    """Return −ln of the summed probabilities of all paths that collapse to the labels."""
    log_p, total = scipy.special.log_softmax(np.asarray(z, np.float64), -1), 0.0
    for path in itertools.product(range(z.shape[-1]), repeat=len(z)):
        merged = [k for k, before in zip(path, (None, *path), strict=False) if k != before]
        if [k for k in merged if k != blank] == list(labels):
            total += np.exp(sum(log_p[t, k] for t, k in enumerate(path)))
    return -np.log(total) if total else np.inf


@pytest.mark.slow
def test_ctc_is_the_sum_over_all_paths():
    z = np.random.default_rng(4).normal(size=(4, 5, 3)).astype(np.float32)
    labels = np.array([[1, 2], [2, 2], [1, -7], [9, 9]])
    lengths, frames = np.array([2, 2, 1, 0]), np.array([5, 4, 3, 5])
    z[1, 4] = z[2, 3:] = np.nan  # padding
    options = {"logit_lengths": jnp.asarray(frames), "label_lengths": jnp.asarray(lengths)}
    expected = [paths(z[i, : frames[i]], labels[i, : lengths[i]]) for i in range(4)]
    values = lambda z: losses.ctc(z, labels, **options)
    found, gradient = jax.jit(lambda z: (values(z), jax.grad(lambda z: values(z).sum())(z)))(z)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.isfinite(gradient).all()
    assert not np.any(gradient[1, 4])
    assert float(losses.ctc(z[0], labels[0], blank=0)) == pytest.approx(expected[0], rel=1e-5)
    last = losses.ctc(np.roll(z[0], -1, -1), labels[0] - 1, blank=2)
    assert float(last) == pytest.approx(expected[0], rel=1e-5)
    assert float(losses.ctc(jnp.zeros((2, 3)), jnp.array([1]))) == pytest.approx(np.log(3), rel=1e-6)
    excluded = jnp.zeros((3, 3)).at[:, 2].set(-jnp.inf)
    assert float(losses.ctc(excluded, jnp.array([1]))) == pytest.approx(paths(np.zeros((3, 2)), [1]), rel=1e-5)


@pytest.mark.slow
def test_ctc_of_what_cannot_be():
    @jax.jit
    def values_and_slopes(z, labels):
        slopes = jax.grad(lambda z: losses.ctc(z, labels).sum())(z)
        return losses.ctc(z, labels), slopes

    z = jnp.zeros((2, 3, 4))
    value, gradient = jax.value_and_grad(lambda z: losses.ctc(z, jnp.array([[1, 1], [1, 2]]))[0])(z[:, :2])
    assert np.isposinf(value)  # 1, blank, 1 needs three frames
    assert not gradient.any()
    for bad in (0, 4, -1):
        values, slopes = values_and_slopes(z, jnp.array([[1, bad], [1, 2]]))
        assert np.isnan(values).tolist() == [True, False]
        assert np.isnan(slopes).all((1, 2)).tolist() == [True, False]


@pytest.mark.parametrize("lengths", [{"logit_lengths": n} for n in (-1, 4)] + [{"label_lengths": n} for n in (-1, 3)])
def test_ctc_with_lengths_outside_the_data_is_nan(lengths):
    z, labels = jnp.zeros((2, 3, 4)), jnp.array([[1, 2], [1, 2]])
    inside = {"logit_lengths": 3, "label_lengths": 2}
    options = {name: jnp.array([lengths.get(name, inside[name]), inside[name]]) for name in lengths}
    values, slopes = losses.ctc(z, labels, **options), jax.grad(lambda z: losses.ctc(z, labels, **options).sum())(z)
    assert np.isnan(values).tolist() == [True, False]
    assert np.isnan(slopes).all((1, 2)).tolist() == [True, False]
    masked = losses.ctc(z, labels, **options, where=jnp.array([False, True]))
    np.testing.assert_allclose(masked, [0, values[1]])


FOCAL = [
    (losses.softmax_focal, [30.0, -30.0], 0),
    (losses.softmax_focal, [0.0, -jnp.inf], 0),
    (losses.softmax_focal, [3e38, -3e38], 0),
    (losses.softmax_focal, [3e38, 1.0], 1),
    (losses.sigmoid_focal, jnp.inf, 1),
    (losses.sigmoid_focal, -jnp.inf, 0),
    (losses.sigmoid_focal, 3e38, 1),
    (losses.sigmoid_focal, 3e38, 0),
    (losses.sigmoid_focal, -3e38, 1),
    (losses.softmax_focal, [0.0, -jnp.inf], 1),
    (losses.softmax_focal, [-3e38, 3e38], 0),
    (losses.sigmoid_focal, jnp.inf, 0),
    (losses.sigmoid_focal, -jnp.inf, 1),
]


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize(("loss", "z", "label"), FOCAL)
def test_focal_losses_of_extreme_logits_have_the_limit_s_gradient(loss, z, label, gamma):
    """Right and certain: 0 and slope 0. Wrong and certain: the logit's size, and slopes of cross entropy."""
    z, label = jnp.asarray(z), jnp.asarray(label)
    value, slope = jax.value_and_grad(lambda z: loss(z, label, gamma=gamma))(z)
    plain = losses.softmax_cross_entropy if loss is losses.softmax_focal else losses.sigmoid_binary_cross_entropy
    np.testing.assert_allclose(value, plain(z, label), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(slope, jax.grad(lambda z: plain(z, label))(z), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.huber(1.0, 0.0, delta=0.0), "^delta: got 0.0, must be above 0"),
        (lambda: losses.sigmoid_focal(LOGITS, SOFT, gamma=-1.0), "^gamma: got -1.0, must be at least 0"),
        (lambda: losses.softmax_focal(LOGITS, LABELS, gamma=-1), "^gamma: got -1"),
        (
            lambda: losses.softmax_cross_entropy(LOGITS, LABELS, class_weights=W[:3]),
            r"^class_weights: got shape \(3,\)",
        ),
        (lambda: losses.nll(LOGITS, LABELS, class_weights=np.float32(2)), r"^class_weights: got shape \(\)"),
        (lambda: losses.hinge(LOGITS, LOGITS, pos_weight=W[:2]), r"^pos_weight: got shape \(2,\)"),
        (lambda: losses.info_nce(LOGITS, LOGITS, temperature=0.0), "^temperature: got 0.0"),
        (lambda: losses.info_nce(LOGITS[0], LOGITS[0]), r"^queries: got shape \(4,\)"),
        (lambda: losses.cosine_distance(jnp.float32(1), jnp.float32(1)), r"^predictions: got shape \(\)"),
        (
            lambda: losses.contrastive(LOGITS, LOGITS, SOFT),
            r"^labels: got shape \(6, 4\), must be one per pair, \(6,\)",
        ),
        (lambda: losses.triplet(LOGITS, LOGITS, LOGITS[:2]), r"^negatives: got shape \(2, 4\)"),
        (lambda: losses.ctc(LOGITS, LABELS, blank=4), "^blank: got 4, allowed are ints from 0 to 3"),
        (lambda: losses.ctc(LOGITS, jnp.ones((2, 3), int)), r"^labels: got shape \(2, 3\)"),
        (lambda: losses.ctc(LOGITS, LABELS, logit_lengths=jnp.ones(6, int)), r"^logit_lengths: got shape \(6,\)"),
    ],
)
def test_mistakes_with_the_other_losses_are_named(monkeypatch, call, message):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        call()

"""Classical models against scikit-learn, numpy and scipy on real data sets; separable data; derivatives.

Features are standardised, (x − mean) / deviation, unless a test says otherwise: gradient descent on raw features would
take millions of steps, and a penalty would weigh features of different scale alike.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import sklearn.linear_model
from scipy import optimize
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from sklearn.preprocessing import scale

from jaxdl import classical

# most of the time goes into compiling
OPTIONS = {"xla_backend_optimization_level": 0}
if jax.__version_info__ < (0, 11):
    OPTIONS["xla_cpu_use_fusion_emitters"] = False  # later versions of XLA have no such option
quick_jit = functools.partial(jax.jit, compiler_options=OPTIONS)
DTYPES = [np.float64, np.float32]
BREAST_CANCER = load_breast_cancer(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)


@pytest.fixture(autouse=True)
def _x64():
    """Keep float64 arrays as they are; float32 ones stay float32."""
    with jax.enable_x64(True):
        yield


def jitted(function, **options):
    jit = jax.jit if options.get("method") == "gradient_descent" else quick_jit  # its many steps repay it
    return jit(functools.partial(function, **options))


def distance(fit, coefficients, intercept):
    """Return the largest difference from scikit-learn's parameters, relative to their largest."""
    expected = np.concatenate([np.ravel(coefficients), np.ravel(intercept)])
    ours = np.concatenate([np.ravel(fit.coefficients), np.ravel(fit.intercept)])
    return np.max(np.abs(ours - expected)) / np.max(np.abs(expected))


@functools.cache
def sklearn_logistic(name):
    x, y = {"cancer": BREAST_CANCER, "digits": load_digits(return_X_y=True)}[name]
    model = sklearn.linear_model.LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-12)
    return model.fit(scale(x), y)


@pytest.mark.parametrize(
    ("method", "standardised", "dtype", "tolerance"),
    [
        ("closed_form", False, np.float64, 1e-12),
        ("closed_form", False, np.float32, 1e-5),
        ("gradient_descent", True, np.float64, 1e-7),
        ("gradient_descent", True, np.float32, 1e-3),
    ],
)
def test_linear_regression_equals_sklearn_on_diabetes(method, standardised, dtype, tolerance):
    x, y = (scale(DIABETES[0]) if standardised else DIABETES[0]), DIABETES[1]
    expected = sklearn.linear_model.LinearRegression().fit(x, y)
    fit = jitted(classical.linear_regression, method=method)(x.astype(dtype), y.astype(dtype))
    assert fit.coefficients.dtype == dtype
    assert distance(fit, expected.coef_, expected.intercept_) < tolerance
    assert float(fit.cost) == pytest.approx(np.mean((expected.predict(x) - y) ** 2) / 2, rel=1e-5)
    assert bool(fit.converged)
    assert (int(fit.iterations) > 100) == (method == "gradient_descent")


def test_linear_gradient_descent_makes_the_lectures_steps():
    """A numpy loop makes five steps θ ← θ − α/m Σ (h − y) x."""
    x, y = scale(DIABETES[0]), DIABETES[1]
    theta, ones = np.zeros(11), np.concatenate([x, np.ones((len(x), 1))], 1)
    for _ in range(5):
        theta = theta - 0.1 / len(x) * sum((ones[i] @ theta - y[i]) * ones[i] for i in range(len(x)))
    fit = jitted(classical.linear_regression, method="gradient_descent")(x, y, learning_rate=0.1, max_iterations=5)
    np.testing.assert_allclose(np.append(fit.coefficients, fit.intercept), theta, rtol=1e-10)
    assert (int(fit.iterations), bool(fit.converged)) == (5, False)


def test_linear_gradient_descent_diverges_above_two_over_the_curvature():
    x, y = scale(DIABETES[0]), DIABETES[1]
    curvature = np.linalg.eigvalsh(x.T @ x / len(x)).max()
    run = jitted(classical.linear_regression, method="gradient_descent", max_iterations=2000)
    assert float(run(x, y, learning_rate=1.98 / curvature).cost) < 1500
    diverged = run(x, y, learning_rate=2.02 / curvature)
    assert not bool(diverged.converged)
    assert float(diverged.cost) > 1e6


def test_dependent_columns_get_the_solution_of_least_norm():
    x, y = DIABETES
    twice = np.concatenate([x, x[:, :1], np.ones((len(x), 1))], 1)
    fit = jitted(classical.linear_regression)(twice, y)
    expected = sklearn.linear_model.LinearRegression().fit(x, y).coef_
    np.testing.assert_allclose(fit.coefficients[1:10], expected[1:], rtol=1e-8)
    np.testing.assert_allclose(
        fit.coefficients[np.array([0, 10, 11])], [expected[0] / 2, expected[0] / 2, 0], atol=1e-8
    )


@pytest.mark.parametrize(
    ("method", "dtype", "tolerance"),
    [
        ("newton", np.float64, 1e-9),
        ("newton", np.float32, 1e-5),
        ("gradient_descent", np.float64, 1e-6),
        ("gradient_descent", np.float32, 3e-3),
    ],
)
def test_logistic_regression_equals_sklearn_on_breast_cancer(method, dtype, tolerance):
    x, y = scale(BREAST_CANCER[0]), BREAST_CANCER[1]
    expected = sklearn_logistic("cancer")
    fit = jitted(classical.logistic_regression, method=method)(x.astype(dtype), y)
    assert fit.coefficients.dtype == dtype
    assert distance(fit, expected.coef_, expected.intercept_) < tolerance
    assert (bool(fit.converged), bool(fit.separable)) == (True, False)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-3)])
def test_softmax_regression_equals_sklearn_on_digits(dtype, tolerance):
    x, y = load_digits(return_X_y=True)
    expected = sklearn_logistic("digits")
    fit = jitted(classical.softmax_regression, num_classes=10)(scale(x).astype(dtype), y)
    assert fit.coefficients.dtype == dtype
    assert distance(fit, expected.coef_.T, expected.intercept_ - expected.intercept_.mean()) < tolerance
    assert (bool(fit.converged), bool(fit.separable)) == (True, False)
    np.testing.assert_allclose(np.sum(fit.coefficients, axis=1), 0, atol=1e-5)


def test_softmax_gradient_descent_reaches_newtons_optimum():
    x, y = load_digits(return_X_y=True)
    x, y = scale(x[:200]), y[:200]
    expected = sklearn.linear_model.LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-12).fit(x, y)
    fit = jitted(classical.softmax_regression, num_classes=10, method="gradient_descent", tolerance=1e-9)(x, y)
    assert distance(fit, expected.coef_.T, expected.intercept_ - expected.intercept_.mean()) < 1e-5
    assert bool(fit.converged)


def test_unpenalised_overlapping_classes_have_an_optimum():
    """The classes overlap on two features of the breast cancer data; the last two of raw iris overlap."""
    x, y = scale(BREAST_CANCER[0][:, :2]), BREAST_CANCER[1]
    expected = sklearn.linear_model.LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12).fit(x, y)
    fit = jitted(classical.logistic_regression, C=jnp.inf)(x, y)
    assert distance(fit, expected.coef_, expected.intercept_) < 1e-9
    assert (bool(fit.converged), bool(fit.separable)) == (True, False)
    x, y = load_iris(return_X_y=True)
    x, y = x[y > 0], y[y > 0] - 1
    pair = jitted(classical.softmax_regression, num_classes=2, C=jnp.inf)(x, y)
    single = sklearn.linear_model.LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12).fit(x, y)
    difference = pair._replace(
        coefficients=pair.coefficients[:, 1] - pair.coefficients[:, 0], intercept=pair.intercept[1] - pair.intercept[0]
    )
    assert distance(difference, single.coef_, single.intercept_) < 1e-7
    assert (bool(pair.converged), bool(pair.separable)) == (True, False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("standardised", [False, True])
def test_unpenalised_breast_cancer_is_separable(dtype, standardised):
    x, y = (scale(BREAST_CANCER[0]) if standardised else BREAST_CANCER[0]), BREAST_CANCER[1]
    fit = jitted(classical.logistic_regression, C=jnp.inf)(x.astype(dtype), y)
    assert (bool(fit.converged), bool(fit.separable)) == (False, True)
    side = x @ np.asarray(fit.coefficients, np.float64) + float(fit.intercept)
    assert np.all((side > 0) == (y == 1))


@pytest.mark.parametrize("method", ["newton", "gradient_descent"])
def test_unpenalised_digits_are_separable(method):
    x, y = load_digits(return_X_y=True)
    x, y = scale(x[:200]), y[:200]
    fit = jitted(classical.softmax_regression, num_classes=10, C=jnp.inf, method=method)(x, y)
    assert (bool(fit.converged), bool(fit.separable)) == (False, True)
    logits = x @ np.asarray(fit.coefficients) + np.asarray(fit.intercept)
    np.testing.assert_array_equal(logits.argmax(1), y)


# x, labels, and whether a threshold separates them, examples on it allowed; found by hand
ONE_FEATURE = [
    ([-2, -1, 1, 2], [0, 0, 1, 1], True),
    ([-2, 0, 0, 2], [0, 0, 1, 1], True),  # quasi: both classes at 0
    ([-2, 0.001, -0.001, 2], [0, 0, 1, 1], False),  # overlap by a thousandth
    ([-2, 1, -1, 2], [0, 0, 1, 1], False),
    ([3, 3, 3, 3], [0, 0, 1, 1], False),  # a constant feature tells nothing apart
    ([1, 2, 3, 4], [1, 1, 1, 1], True),  # with one class, the intercept alone separates
]


@pytest.mark.parametrize("dtype", DTYPES)
def test_separable_quasi_separable_and_overlapping_data_by_hand(dtype):
    binary = jitted(classical.logistic_regression, C=jnp.inf)
    several = jitted(classical.softmax_regression, C=jnp.inf, num_classes=2)
    penalised = jitted(classical.logistic_regression, C=1e3)
    for x, labels, separable in ONE_FEATURE:
        x, labels = np.asarray(x, dtype)[:, None], np.asarray(labels)
        for fit in (binary(x, labels), several(x, labels)):
            assert (bool(fit.separable), bool(fit.converged)) == (separable, not separable), (x, labels, fit)
        assert not bool(penalised(x, labels).separable)


def test_separability_agrees_with_linear_programming():
    """On random integer points with many ties, linear programming decides if a direction has margins ≥ 0, one > 0."""
    rng = np.random.default_rng(0)
    x = rng.integers(-1, 2, size=(60, 7, 2)).astype(float)
    y = rng.integers(0, 2, size=(60, 7))
    found = quick_jit(jax.vmap(functools.partial(classical.logistic_regression, C=jnp.inf)))(x, y)
    exists = []
    for points, labels in zip(x, y, strict=True):
        margins = (2 * labels - 1)[:, None] * np.concatenate([points, np.ones((7, 1))], 1)
        best = optimize.linprog(-margins.sum(0), A_ub=-margins, b_ub=np.zeros(7), bounds=[(-1, 1)] * 3)
        exists.append(-best.fun > 1e-6)
    assert 5 < sum(exists) < 55
    np.testing.assert_array_equal(found.separable, exists)
    np.testing.assert_array_equal(found.converged, np.logical_not(exists))


def test_impossible_labels_give_nan():
    x = np.linspace(-1, 1, 4)[:, None]
    labels = np.array([[0, 1, 2, 1], [0, 1, -2, 1]])
    fits = (
        classical.logistic_regression,
        functools.partial(classical.softmax_regression, num_classes=2),
        functools.partial(classical.perceptron, max_passes=3),
    )
    for fit in quick_jit(lambda labels: [jax.vmap(functools.partial(f, x))(labels) for f in fits])(labels):
        assert np.isnan(fit.coefficients).all()
        assert not np.any(fit.converged)


def test_two_thousand_fits_to_impossible_labels_at_once_have_not_converged():
    """XLA on CPU reduces so many gradients by another kernel, whose maximum of NaN is −inf (jaxlib 0.10.2)."""
    x, labels = np.linspace(-1, 1, 4)[:, None], np.tile([0, 1, 2, 1], (2100, 1))
    fit = quick_jit(jax.vmap(lambda one: classical.logistic_regression(x, one)))(labels)
    assert np.isnan(fit.coefficients).all()
    assert not np.any(fit.converged)


@pytest.mark.parametrize("model", ["linear", "logistic", "softmax"])
def test_the_optimum_is_differentiable_in_both_modes(model):
    """∂(optimum)/∂(data, C) by the implicit function theorem equals finite differences of refits."""
    rng = np.random.default_rng(1)
    x, labels = rng.normal(size=(30, 2)), rng.integers(0, 3, size=30)
    y = rng.normal(size=30)

    def coefficients(x, C):
        if model == "linear":
            return classical.linear_regression(x, C * y).coefficients
        if model == "logistic":
            return classical.logistic_regression(x, labels > 0, C=C).coefficients
        return classical.softmax_regression(x, labels, num_classes=3, C=C).coefficients.ravel()

    def total(x, C):
        return jnp.sum(jnp.sin(coefficients(x, C)))

    direction, h = rng.normal(size=x.shape), 1e-5
    compiled = quick_jit(total)
    expected = (compiled(x + h * direction, 2.0 + h) - compiled(x - h * direction, 2.0 - h)) / (2 * h)
    _, forward = quick_jit(lambda: jax.jvp(total, (x, 2.0), (direction, 1.0)))()
    grads = quick_jit(jax.grad(total, argnums=(0, 1)))(x, 2.0)
    assert float(forward) == pytest.approx(float(expected), rel=1e-6)
    assert float(jnp.vdot(grads[0], direction) + grads[1]) == pytest.approx(float(expected), rel=1e-6)
    gradient = jax.grad(total, argnums=1)
    second = quick_jit(lambda: jax.jvp(lambda C: gradient(x, C), (2.0,), (1.0,))[1])()
    slope = quick_jit(gradient)
    assert float(second) == pytest.approx(float((slope(x, 2.0 + h) - slope(x, 2.0 - h)) / (2 * h)), rel=1e-5)


def test_a_path_over_penalties_is_one_vmap():
    x, y = scale(BREAST_CANCER[0]), BREAST_CANCER[1]
    penalties = np.array([0.01, 1.0])
    path = quick_jit(jax.vmap(lambda C: classical.logistic_regression(x, y, C=C)))(penalties)
    for i, C in enumerate(penalties):
        expected = sklearn.linear_model.LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12).fit(x, y)
        one = jax.tree.map(lambda leaf, i=i: leaf[i], path)
        assert distance(one, expected.coef_, expected.intercept_) < 1e-9


def numpy_perceptron(x, y, max_passes):
    w, b, mistakes, passes, before = np.zeros(x.shape[1]), 0.0, 0, 0, -1
    while passes < max_passes and mistakes > before:
        before, passes = mistakes, passes + 1
        for features, label in zip(x, y, strict=True):
            if label * (w @ features + b) <= 0:
                w, b, mistakes = w + label * features, b + label, mistakes + 1
    return w, b, mistakes, passes


def test_perceptron_converges_on_separable_digits():
    """The digits 0 and 1 have pixels from 0 to 16, so all sums are exact."""
    x, labels = load_digits(n_class=2, return_X_y=True)
    y = 2 * labels - 1
    w, b, mistakes, passes = numpy_perceptron(x, y, 100)
    fit = jitted(classical.perceptron)(x.astype(np.float32), y)
    np.testing.assert_array_equal(fit.coefficients, w)
    assert (float(fit.intercept), int(fit.mistakes), int(fit.passes)) == (b, mistakes, passes)
    assert mistakes > 2
    assert bool(fit.converged)
    assert float(fit.margin) == pytest.approx(np.min(y * (x @ w + b)) / np.linalg.norm(w), rel=1e-5)
    assert float(fit.margin) > 0
    # Novikoff's bound for the hyperplane that was found
    norm = np.sqrt(w @ w + b * b)
    radius = np.sqrt((x**2).sum(1).max() + 1)
    assert mistakes <= (radius * norm / np.min(y * (x @ w + b))) ** 2
    expected = sklearn.linear_model.Perceptron(shuffle=False, tol=None, max_iter=passes).fit(x, y)
    np.testing.assert_array_equal(fit.coefficients, expected.coef_[0])


def test_perceptron_never_ends_on_overlapping_classes():
    x, labels = load_iris(return_X_y=True)
    x, y = x[labels > 0], 2 * labels[labels > 0] - 3
    w, _, mistakes, passes = numpy_perceptron(x, y, 20)
    fit = jitted(classical.perceptron, max_passes=20)(x, y)
    np.testing.assert_allclose(fit.coefficients, w, rtol=1e-9)
    assert (int(fit.mistakes), int(fit.passes), passes) == (mistakes, 20, 20)
    assert not bool(fit.converged)
    assert float(fit.margin) < 0


def test_deep_linear_net_is_one_linear_map_exactly():
    """Small integers keep every float exact; numpy's matrix product is the oracle."""
    rng = np.random.default_rng(2)
    sizes = [5, 7, 3, 6, 2]
    kernels = [rng.integers(-3, 4, size=pair) for pair in itertools.pairwise(sizes)]
    biases = [rng.integers(-3, 4, size=size) for size in sizes[1:]]
    params = [
        {"kernel": k.astype(np.float32), "bias": b.astype(np.float32)} for k, b in zip(kernels, biases, strict=True)
    ]
    del params[1]["bias"]
    one = classical.collapse_linear(params)
    np.testing.assert_array_equal(one["kernel"], np.linalg.multi_dot(kernels))
    after = np.linalg.multi_dot(kernels[1:])
    np.testing.assert_array_equal(one["bias"], biases[0] @ after + biases[2] @ kernels[3] + biases[3])
    x = rng.integers(-3, 4, size=(4, 2, 5)).astype(np.float32)
    np.testing.assert_array_equal(
        classical.deep_linear(params, x), x @ np.asarray(one["kernel"]) + np.asarray(one["bias"])
    )


X, Y = np.zeros((3, 2)), np.zeros(3)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: classical.linear_regression(Y, Y), r"x: got shape \(3,\), allowed are \(m, d\)"),
        (lambda: classical.linear_regression(X[:0], Y[:0]), r"x: got shape \(0, 2\), .* at least one"),
        (lambda: classical.linear_regression(X, X), r"y: got shape \(3, 2\), allowed is \(3,\)"),
        (lambda: classical.linear_regression(X, Y, method="newton"), "method: got 'newton', allowed are 'closed_form'"),
        (lambda: classical.linear_regression(X, Y, learning_rate=0.1), "learning_rate: got 0.1, allowed with"),
        (lambda: classical.logistic_regression(X, Y[:2]), r"labels: got shape \(2,\), allowed is \(3,\)"),
        (lambda: classical.logistic_regression(X, Y, C=-1), "C: got -1, allowed are numbers above 0"),
        (lambda: classical.logistic_regression(X, Y, tolerance=0.0), "tolerance: got 0.0"),
        (lambda: classical.logistic_regression(X, Y, max_iterations=0), "max_iterations: got 0"),
        (lambda: classical.softmax_regression(X, Y, num_classes=1), "num_classes: got 1, allowed are at least 2"),
        (lambda: classical.softmax_regression(X, Y > 0, num_classes=2), "labels: got dtype bool, class numbers"),
        (lambda: classical.softmax_regression(X, Y.astype(int), num_classes=2, method="lbfgs"), "method: got 'lbfgs'"),
        (lambda: classical.perceptron(X, X), r"labels: got shape \(3, 2\)"),
        (lambda: classical.perceptron(X, Y, max_passes=0), "max_passes: got 0"),
        (lambda: classical.deep_linear([], Y), r"params: got \[\]"),
        (lambda: classical.collapse_linear(()), r"params: got \(\)"),
    ],
)
def test_mistakes_are_named(call, text, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=text):
        call()

"""Curvature products against dense Hessians, and second-order steps against closed forms on quadratics."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdl.optimizers as ours

MATRIX = np.diag([1.0, 4.0, 9.0]) + 0.3
OFFSET = np.array([1.0, -2.0, 0.5])
START = {"a": jnp.array([3.0, -1.0]), "b": jnp.array(2.0)}
X = np.random.RandomState(0).normal(size=(20, 3))
Y = (X @ np.array([1.0, -2.0, 0.5]) > 0).astype(np.float32)


def flat(params):
    return jnp.concatenate([params["a"], params["b"][None]])


def quadratic(params):
    w = flat(params) - jnp.asarray(OFFSET, jnp.float32)
    return 0.5 * w @ jnp.asarray(MATRIX, jnp.float32) @ w


def quartic(params):
    return jnp.sum(flat(params) ** 4) + flat(params)[0] * flat(params)[2] ** 2


def model(params):
    return jnp.asarray(X, jnp.float32) @ flat(params)


def logistic(outputs):
    return jnp.mean(jnp.logaddexp(0.0, outputs) - jnp.asarray(Y) * outputs)


def dense_hessian(f):
    return jax.hessian(lambda w: f({"a": w[:2], "b": w[2]}))(flat(START))


@pytest.mark.slow
def test_products_equal_the_dense_matrices():
    vector = {"a": jnp.array([0.5, 2.0]), "b": jnp.array(-1.0)}
    found = flat(ours.hessian_product(quartic, START, vector))
    np.testing.assert_allclose(found, dense_hessian(quartic) @ flat(vector), rtol=1e-5)
    # for a linear model the Gauss-Newton matrix is the Hessian of the whole loss
    found = flat(ours.gauss_newton_product(model, logistic, START, vector))
    expected = dense_hessian(lambda p: logistic(model(p))) @ flat(vector)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_hutchinson_is_exact_for_diagonals_and_unbiased_otherwise():
    key = jax.random.key(0)
    exact = ours.hutchinson_diagonal(key, lambda p: jnp.sum(flat(p) ** 4), START)
    np.testing.assert_allclose(flat(exact), 12 * flat(START) ** 2, rtol=1e-5)
    mean = ours.hutchinson_diagonal(key, quadratic, START, samples=2000)
    np.testing.assert_allclose(flat(mean), np.diag(MATRIX), atol=0.06)
    with pytest.raises(ValueError, match="samples is 0"):
        ours.hutchinson_diagonal(key, quadratic, START, 0)


@pytest.mark.parametrize("tx", [ours.newton(), ours.newton_cg()])
def test_one_newton_step_solves_a_quadratic(tx):
    chained = optax.apply_if_finite(optax.chain(optax.identity(), tx), 3)
    grads = jax.grad(quadratic)(START)
    updates, _ = chained.update(grads, chained.init(START), START, value_fn=quadratic)
    np.testing.assert_allclose(flat(optax.apply_updates(START, updates)), OFFSET, atol=1e-4)


def test_damped_gauss_newton_solves_its_linear_system():
    grads = jax.grad(lambda p: logistic(model(p)))(START)
    tx = ours.gauss_newton(0.5, 0.1)
    updates = jax.jit(lambda g, p: tx.update(g, tx.init(p), p, model_fn=model, loss_fn=logistic)[0])(grads, START)
    matrix = dense_hessian(lambda p: logistic(model(p))) + 0.1 * np.eye(3)
    np.testing.assert_allclose(flat(updates), -0.5 * np.linalg.solve(matrix, flat(grads)), rtol=1e-3, atol=1e-5)


def test_at_a_saddle_newton_stays_and_newton_cg_descends():
    def saddle(p):
        return 0.5 * (flat(p)[0] ** 2 - flat(p)[1] ** 2 + flat(p)[2] ** 2)

    near = {"a": jnp.array([0.01, 1.0]), "b": jnp.array(0.01)}
    grads = jax.grad(saddle)(near)
    reached = {}
    for name in ("newton", "newton_cg"):
        tx = getattr(ours, name)()
        updates, _ = tx.update(grads, tx.init(near), near, value_fn=saddle)
        reached[name] = optax.apply_updates(near, updates)
    np.testing.assert_allclose(flat(reached["newton"]), 0.0, atol=1e-6)
    assert saddle(reached["newton_cg"]) < saddle(near)


def test_newton_cg_finds_the_logistic_optimum_that_irls_finds():
    def loss(p):
        return logistic(model(p)) + 0.05 * jnp.sum(flat(p) ** 2)

    tx, params = ours.newton_cg(), START
    step = jax.jit(lambda p: optax.apply_updates(p, tx.update(jax.grad(loss)(p), tx.init(p), p, value_fn=loss)[0]))
    for _ in range(12):
        params = step(params)
    w = np.zeros(3)
    for _ in range(50):
        mean = 1 / (1 + np.exp(-X @ w))
        hessian = (X.T * (mean * (1 - mean))) @ X / 20 + 0.1 * np.eye(3)
        w = w - np.linalg.solve(hessian, X.T @ (mean - Y) / 20 + 0.1 * w)
    np.testing.assert_allclose(flat(params), w, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ours.newton(-0.1), "learning_rate is -0.1"),
        (lambda: ours.newton(damping=-1.0), "damping is -1.0"),
        (lambda: inspect.unwrap(ours.newton)(optax.constant_schedule(1.0)), "learning_rate is a schedule"),
        (lambda: inspect.unwrap(ours.newton_cg)(optax.constant_schedule(1.0)), "learning_rate is a schedule"),
        (lambda: inspect.unwrap(ours.gauss_newton)(1.0, optax.constant_schedule(1.0)), "damping is a schedule"),
        (lambda: inspect.unwrap(ours.natural_gradient)(optax.constant_schedule(1.0)), "learning_rate is a schedule"),
        (lambda: ours.newton_cg(max_steps=0), "max_steps is 0"),
        (lambda: ours.newton().update(START, None, START), "value_fn is None"),
        (lambda: ours.newton_cg().update(START, None), "params is None"),
        (lambda: ours.gauss_newton().update(START, None, START, model_fn=model), "loss_fn is None"),
    ],
)
def test_a_mistake_is_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def three_classes(params):
    return jnp.asarray(X, jnp.float32) @ jnp.stack([flat(params), flat(params) ** 2, jnp.sin(flat(params))], 1)


def expected_score_products(outcomes):
    """Return E[s sᵀ], summed over all examples and outcomes; an outcome is (chance (n,), score (n, 3))."""
    return sum(np.einsum("n,ni,nj->ij", chance, score, score) for chance, score in outcomes) / len(X)


def test_the_fisher_matrix_is_the_expected_product_of_scores():
    """Enumerate the model's outcomes; numpy has the scores d log p / dz = onehot - p, y - sigma and y - mean."""
    vector = {"a": jnp.array([0.5, 2.0]), "b": jnp.array(-1.0)}
    v, w = np.asarray(flat(vector), np.float64), np.asarray(flat(START), np.float64)

    z = X @ np.stack([w, w**2, np.sin(w)], 1)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    slopes = np.stack([np.ones(3), 2 * w, np.cos(w)], 1)  # d(output c) / dw = x * slopes[:, c]
    scores = [X * ((np.eye(3)[y] - p) @ slopes.T) for y in range(3)]
    expected = expected_score_products([(p[:, y], scores[y]) for y in range(3)])
    found = flat(ours.fisher_product(three_classes, START, vector))
    np.testing.assert_allclose(found, expected @ v, rtol=1e-4)

    chance = 1 / (1 + np.exp(-X @ w))
    expected = expected_score_products([(chance, X * (1 - chance)[:, None]), (1 - chance, X * (0 - chance)[:, None])])
    found = flat(ours.fisher_product(model, START, vector, "bernoulli"))
    np.testing.assert_allclose(found, expected @ v, rtol=1e-4)

    # y = mean ± 1 has a Gaussian's first two moments, and the squared score depends on no other
    expected = expected_score_products([(np.full(20, 0.5), X), (np.full(20, 0.5), -X)])
    found = flat(ours.fisher_product(model, START, vector, "gaussian"))
    np.testing.assert_allclose(found, expected @ v, rtol=1e-4)


def test_a_natural_gradient_step_solves_with_the_damped_fisher_matrix():
    grads = jax.grad(lambda p: logistic(model(p)))(START)
    tx = optax.chain(ours.natural_gradient(0.5, damping=0.1, distribution="bernoulli", tolerance=0.0))
    updates, _ = jax.jit(lambda g: tx.update(g, tx.init(START), START, model_fn=model))(grads)
    chance = 1 / (1 + np.exp(-X @ np.asarray(flat(START), np.float64)))
    fisher = (X * (chance * (1 - chance))[:, None]).T @ X / len(X)
    expected = -0.5 * np.linalg.solve(fisher + 0.1 * np.eye(3), np.asarray(flat(grads), np.float64))
    np.testing.assert_allclose(flat(updates), expected, rtol=1e-4)


def test_a_natural_gradient_step_does_not_depend_on_the_parametrisation():
    """With w = Au the step in u, mapped by A, is the step in w; a gradient step is not."""
    mixing = np.array([[2.0, 0.3, 0.0], [0.0, 0.5, 1.0], [0.7, 0.0, 4.0]], np.float32)
    u = jnp.linalg.solve(mixing, flat(START))

    def step(tx, params, outputs):
        grads = jax.grad(lambda p: logistic(outputs(p)))(params)
        extra = {} if tx is plain else {"model_fn": outputs}
        return tx.update(grads, tx.init(params), params, **extra)[0]

    natural, plain = ours.natural_gradient(damping=0.0, distribution="bernoulli", tolerance=1e-7), ours.sgd(1.0)
    there, here = (
        [step(tx, *pair) for pair in ((u, lambda u: X @ (mixing @ u)), (flat(START), lambda w: X @ w))]
        for tx in (natural, plain)
    )
    np.testing.assert_allclose(mixing @ there[0], there[1], rtol=2e-3)
    assert np.abs(mixing @ here[0] - here[1]).max() > 0.1 * np.abs(here[1]).max()


def test_natural_gradient_names_what_is_wrong():
    with pytest.raises(ValueError, match="distribution is 'poisson': it must be one of categorical, bernoulli"):
        ours.natural_gradient(distribution="poisson")
    with pytest.raises(ValueError, match="distribution is 'poisson'"):
        ours.fisher_product(model, START, START, "poisson")
    tx = ours.natural_gradient()
    with pytest.raises(ValueError, match="model_fn is None: natural_gradient needs"):
        tx.update(START, tx.init(START), START)

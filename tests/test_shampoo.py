"""Shampoo and SOAP against PyPI's pytorch-optimizer (tests/golden/make_matrix.py), by hand, and their derivatives."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdl.optimizers as ours
from jaxdl.optimizers import kronecker
from tests.test_conventions import GOLDEN

RECORD = json.loads((GOLDEN / "matrix.json").read_text())["runs"]
SHAPES = {"matrix": (4, 3), "tensor": (2, 3, 2), "vector": (3,)}
SAVED = np.array([1, 2, 12, 30])
CASES = {
    "shampoo": lambda: ours.shampoo(1.0, 1e-4),
    "soap": lambda: ours.soap(1.0, weight_decay=0.0),
    "soap_often": lambda: ours.soap(1.0, weight_decay=0.0, update_interval=3, max_dim=3),
}


def gradients(dtype):
    random = np.random.RandomState(7)
    return {name: jnp.asarray(random.normal(size=(SAVED[-1], *shape)), dtype) for name, shape in SHAPES.items()}


def sums(tx, grads):
    """Return the parameters after every step from 0."""

    @jax.jit
    def run(grads):
        def step(carry, grad):
            params, state = carry
            updates, state = tx.update(grad, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), params

        start = jax.tree.map(lambda g: jnp.zeros_like(g[0]), grads)
        return jax.lax.scan(step, (start, tx.init(start)), grads)[1]

    return run(grads)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_the_preconditioned_updates_are_pytorch_optimizer_s(name, dtype):
    with jax.enable_x64(dtype == "float64"):
        found = sums(CASES[name](), gradients(dtype))
        for kind in SHAPES:
            params = np.asarray(found[kind])[SAVED - 1].reshape(len(SAVED), -1)
            bound = 1e-10 if dtype == "float64" else 1e-4
            np.testing.assert_allclose(params, RECORD[name][kind], rtol=0, atol=bound, err_msg=kind)
            assert np.abs(params[-1]).max() > 1


def test_shampoo_by_hand():
    """Diagonal: L = R = diag(ε + 16, ε + 1), so that the step is g/√(ε + g²)."""
    g = jnp.diag(jnp.array([4.0, -1.0]))
    tx = ours.shampoo(0.1, 0.5)
    updates, state = tx.update(g, tx.init(g), g)
    np.testing.assert_allclose(updates, np.diag([-0.4 / 16.5**0.5, 0.1 / 1.5**0.5]), atol=1e-6)
    updates, _ = tx.update(2 * g, state, g)
    np.testing.assert_allclose(updates, np.diag([-0.8 / 80.5**0.5, 0.2 / 5.5**0.5]), atol=1e-6)


def test_both_turn_with_the_space_and_leave_long_axes_alone():
    """A rotation of the rows turns the updates, unless the rows have no matrix."""
    turn = np.linalg.qr(np.random.RandomState(3).normal(size=(4, 4)))[0]
    grads = gradients("float32")["matrix"][:6]
    for make, tolerance in (
        (lambda n: ours.shampoo(0.1, 1e-2, max_dim=n), 1e-5),
        (lambda n: ours.soap(0.1, max_dim=n), 1e-3),
    ):
        plain = sums(make(10), grads)
        np.testing.assert_allclose(sums(make(10), turn @ grads), turn @ plain, atol=tolerance)
        alone = sums(make(3), turn @ grads) - turn @ sums(make(3), grads)
        assert make(3).init(grads[0])[0].statistics.shape == (9,)
        if "SoapState" in str(make(3).init(grads[0])):  # without a basis Adam's squares depend on the axes
            assert np.abs(alone).max() > 10 * tolerance


def test_the_roots_are_computed_at_the_interval():
    grads = gradients("float32")["matrix"][:4]
    often, seldom = (sums(ours.shampoo(0.1, 1e-2, update_interval=n), grads) for n in (1, 3))
    np.testing.assert_allclose(seldom[0], often[0], rtol=1e-5)
    assert np.abs(seldom[2] - often[2]).max() > 1e-3


def test_the_derivative_of_a_root_is_that_of_finite_differences_and_finite_at_equal_eigenvalues():
    with jax.enable_x64(True):
        x = np.random.RandomState(0).normal(size=(4, 4))
        matrix, direction = jnp.asarray(x @ x.T), jnp.asarray(x + x.T)
        root = lambda t: kronecker.inverse_root(matrix + t * direction, 4, 1e-9)
        _, slope = jax.jvp(root, (0.0,), (1.0,))
        np.testing.assert_allclose(slope, (root(1e-6) - root(-1e-6)) / 2e-6, rtol=1e-5, atol=1e-7)
        _, slope = jax.jvp(
            lambda t: kronecker.inverse_root(2 * jnp.eye(3) + t * jnp.diag(jnp.arange(3.0)), 2, 1e-9), (0.0,), (1.0,)
        )
        np.testing.assert_allclose(slope, np.diag([0.0, 1.0, 2.0]) * -0.5 * 2**-1.5, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ours.shampoo(0.1, 0.0), "eps is 0.0"),
        (lambda: ours.shampoo(0.1, decay=1.0), "decay is 1.0"),
        (lambda: ours.shampoo(0.1, convention="paper"), "eps is None"),
        (lambda: ours.soap(0.1, b1=1.0), "b1 is 1.0"),
        (lambda: ours.soap(0.1, max_dim=0), "max_dim is 0"),
    ],
)
def test_mistakes_are_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()

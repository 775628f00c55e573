"""L-BFGS on problems with a minimum in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdl.optimizers as ours


def minimise(f, params, steps, tx):
    def step(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(f)(params)
        updates, state = tx.update(grads, state, params, value=value, value_fn=f)
        return (optax.apply_updates(params, updates), state), value

    return jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), None, length=steps))(params)


def rosenbrock(p):
    return (1 - p["x"]) ** 2 + 100 * (p["y"] - p["x"] ** 2) ** 2


def test_rosenbrock_reaches_its_minimum_and_never_climbs():
    start = {"x": jnp.float32(-1.2), "y": jnp.float32(1.0)}
    tx = optax.apply_if_finite(optax.chain(ours.lbfgs()), 3)
    (params, _), values = minimise(rosenbrock, start, 60, tx)
    np.testing.assert_allclose([params["x"], params["y"]], [1.0, 1.0], atol=1e-3)
    assert (np.diff(values) <= 0).all()


def test_a_badly_scaled_quadratic_is_solved_in_few_steps():
    scales = jnp.logspace(0, 3, 12)
    target = jnp.arange(12.0)
    (params, _), _ = minimise(lambda w: 0.5 * jnp.sum(scales * (w - target) ** 2), jnp.zeros(12), 60, ours.lbfgs(12))
    np.testing.assert_allclose(params, target, atol=1e-2)


def test_at_the_minimum_it_stays():
    (params, _), _ = minimise(lambda w: jnp.sum(w**2), jnp.zeros(3), 3, ours.lbfgs())
    np.testing.assert_array_equal(params, 0.0)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ours.lbfgs(0), "memory_size is 0"),
        (lambda: ours.lbfgs(max_halvings=-1), "max_halvings is -1"),
        (lambda: ours.lbfgs(armijo=1.0), "armijo is 1.0"),
        (lambda: ours.lbfgs().update(jnp.ones(2), None, jnp.ones(2)), "value is None"),
        (lambda: ours.lbfgs().update(jnp.ones(2), None), "params is None"),
    ],
)
def test_a_mistake_is_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()

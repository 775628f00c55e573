# %% [markdown]
# # Optimizers compared
#
# A valley with curvature 1 along it and 25 across. Plain descent is stable below the rate 2/25; momentum swings along
# the valley; Adam does not see the curvature, only signs at first.

# %%
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import optimizers

curvature = jnp.array([1.0, 25.0])
value = lambda w: 0.5 * jnp.sum(curvature * w**2)


def path(optimizer, steps=60):
    def step(carry, _):
        w, state = carry
        updates, state = optimizer.update(jax.grad(value)(w), state, w)
        w = optax.apply_updates(w, updates)
        return (w, state), value(w)

    start = jnp.array([-10.0, 1.0])
    return jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), None, length=steps)[1])()


# %% [markdown]
# Each gets the same rates to choose from. A comparison at one rate for all would only compare the rates.

# %%
rates = 10.0 ** np.linspace(-3, 0, 7)
best = {}
for make in (optimizers.sgd, optimizers.momentum, optimizers.nesterov, optimizers.adam):
    final = {rate: float(path(make(float(rate)))[-1]) for rate in rates}
    best[make.__name__] = min(final, key=lambda rate: final[rate] if np.isfinite(final[rate]) else np.inf)
    print(f"{make.__name__:<10} best rate {best[make.__name__]:.3g}, final value {final[best[make.__name__]]:.2e}")

# %% [markdown]
# Plain descent shrinks each coordinate by |1 − αλ| per step, so its value after t steps is known:

# %%
rate = 0.0316
np.testing.assert_allclose(
    path(optimizers.sgd(rate))[-1], value(jnp.array([-10.0, 1.0]) * (1 - rate * curvature) ** 60), rtol=1e-3
)

# %% [markdown]
# On real problems the answer depends on the seed. `python -m experiments.compare_optimizers` pairs runs from the same
# parameters on the same batches and reports intervals over seeds: see [Compare
# optimizers](../guides/compare_optimizers.md).

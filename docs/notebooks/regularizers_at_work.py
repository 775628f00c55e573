# %% [markdown]
# # Regularisers at work
#
# A linear model with ten features of which three matter, and fifteen noisy examples. L2 shrinks all weights; L1 sets
# those that do not matter to zero, if its step is proximal.

# %%
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import losses, optimizers, regularizers

random = np.random.default_rng(0)
truth = np.zeros(10)
truth[:3] = [2.0, -3.0, 1.0]
x = random.normal(size=(15, 10))
y = x @ truth + 0.5 * random.normal(size=15)
x, y = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)


# %%
def fit(optimizer, penalty=lambda w: 0.0, steps=2000):
    objective = lambda w: losses.squared_error(x @ w, y).mean() + penalty(w)

    def step(carry, _):
        w, state = carry
        updates, state = optimizer.update(jax.grad(objective)(w), state, w)
        return (optax.apply_updates(w, updates), state), None

    w = jnp.zeros(10)
    return jax.jit(lambda: jax.lax.scan(step, (w, optimizer.init(w)), None, length=steps)[0][0])()


rate = 0.05
# mask=True: by default a penalty takes a vector for a bias, and spares it
found = {
    "none": fit(optimizers.sgd(rate)),
    "L2": fit(optimizers.sgd(rate), lambda w: regularizers.l2(w, 0.2, mask=True)),
    "L1, gradient": fit(optimizers.sgd(rate), lambda w: regularizers.l1(w, 0.4, mask=True)),
    "L1, proximal": fit(optimizers.chain(optimizers.sgd(rate), optimizers.proximal_l1(rate * 0.4))),
}
for name, w in found.items():
    error = float(np.linalg.norm(w - truth))
    print(f"{name:<13} zeros {int((w == 0).sum())}, distance to the truth {error:.2f}, norm {np.linalg.norm(w):.2f}")

# %% [markdown]
# The gradient of L1 never stops exactly at zero: it steps over it and back. The proximal step ends there.

# %%
assert not (found["L1, gradient"] == 0).any()
assert (found["L1, proximal"] == 0).sum() >= 3
assert jnp.linalg.norm(found["L2"]) < jnp.linalg.norm(found["none"])

# %% [markdown]
# L2 has a closed form, (XᵀX/n + λ/2·I)⁻¹ Xᵀy/n for the penalty λ/2·‖w‖²:

# %%
closed = np.linalg.solve(np.asarray(x.T @ x) / len(y) + 0.1 * np.eye(10), np.asarray(x.T @ y) / len(y))
np.testing.assert_allclose(found["L2"], closed, atol=1e-3)

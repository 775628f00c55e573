# %% [markdown]
# # Why two Adams differ
#
# Adam has one name and several algorithms. optax and PyTorch add ε to the root of the unbiased average of g², Keras to
# that of the raw one; the papers and lectures differ again. Where gradients are large nobody notices.

# %%
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import compare, optimizers


def moved(optimizer, gradient, steps=3):
    w, state = jnp.zeros(1), optimizer.init(jnp.zeros(1))
    for _ in range(steps):
        updates, state = optimizer.update(jnp.array([gradient]), state, w)
        w = optax.apply_updates(w, updates)
    return float(w[0])


ours, keras = optimizers.adam(0.01), optimizers.adam(0.01, convention="keras")
for gradient in (1.0, 1e-3, 1e-6):
    print(f"gradient {gradient:g}: {moved(ours, gradient):.6f} against {moved(keras, gradient):.6f}")

# %% [markdown]
# The first step of Adam has the size of the rate, whatever the gradient: m̂/√v̂ = g/|g|. ε decides from where on that
# ends. In closed form, the first step is α·g/(|g| + ε) for optax, and for Keras α·g/(|g| + ε/√(1 − b2)).

# %%
g, eps = 1e-6, 1e-7
np.testing.assert_allclose(moved(keras, g, steps=1), -0.01 * g / (g + eps / (1 - 0.999) ** 0.5), rtol=1e-3)
np.testing.assert_allclose(moved(ours, g, steps=1), -0.01 * g / (g + 1e-8), rtol=1e-5)

# %% [markdown]
# `compare.equivalence` finds the causes by itself, and numbers that make them equal, if any do. Here there are none,
# since `eps_hat` is a choice.

# %%
params = {"w": jnp.ones(3)}
gradients = [{"w": jnp.array([1e-3, 1e-3, -5e-4])}] * 3
record = compare.equivalence(
    (optimizers.adam, {"learning_rate": 0.01, "convention": "keras"}),
    (optax.adam, {"learning_rate": 0.01}),
    params,
    gradients,
)
print(record.verdict, "|", record.cause, "|", record.mapping)
assert record.verdict == "different"

# %% [markdown]
# jaxdl's default is optax's Adam, bit for bit on this stream:

# %%
record = compare.equivalence(
    (optimizers.adam, {"learning_rate": 0.01}), (optax.adam, {"learning_rate": 0.01}), params, gradients
)
print(record)

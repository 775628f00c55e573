# %% [markdown]
# # Gradients by hand, and how to check them
#
# Each operation of `jaxdl.backprop` is a pair: `NAME_forward(inputs) -> (output, residuals)` and
# `NAME_backward(residuals, cotangent) -> cotangents of the inputs`. We chain them for a network of one hidden layer,
# then check the result against finite differences and against JAX.

# %%
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import backprop, gradcheck

random = np.random.default_rng(0)
x = jnp.asarray(random.normal(size=(5, 3)), jnp.float32)
params = {
    "hidden": jnp.asarray(random.normal(size=(3, 4)), jnp.float32),
    "out": jnp.asarray(random.normal(size=(4, 2)), jnp.float32),
}


# %%
def forward(params):
    z, first = backprop.dense_forward(x, params["hidden"])
    a, second = backprop.tanh_forward(z)
    y, third = backprop.dense_forward(a, params["out"])
    return y, (first, second, third)


def backward(params, cotangent):
    _, (first, second, third) = forward(params)
    delta, out, _ = backprop.dense_backward(third, cotangent)
    delta = backprop.tanh_backward(second, delta)
    _, hidden, _ = backprop.dense_backward(first, delta)
    return {"hidden": hidden, "out": out}


# %% [markdown]
# `check_grad` compares the gradient with differences of the function, entry by entry.

# %%
report = gradcheck.check_grad(lambda params: forward(params)[0], params, backward=backward)
print(report)
assert report.ok

# %% [markdown]
# JAX differentiates the same function:

# %%
y, pull = jax.vjp(lambda params: forward(params)[0], params)
ones = jnp.ones_like(y)
for name in params:
    np.testing.assert_allclose(backward(params, ones)[name], pull(ones)[0][name], rtol=1e-5)


# %% [markdown]
# A bug: the derivative of tanh is forgotten. The report names the leaf, the entry, and both numbers.


# %%
def forgetful(params, cotangent):
    _, (first, _, third) = forward(params)
    delta, out, _ = backprop.dense_backward(third, cotangent)
    _, hidden, _ = backprop.dense_backward(first, delta)
    return {"hidden": hidden, "out": out}


report = gradcheck.check_grad(lambda params: forward(params)[0], params, backward=forgetful)
print(report)
assert not report.ok

# %% [markdown]
# A kink is no bug: at 0, where ReLU has no derivative, any slope between the two sides is accepted, and counted as a
# kink.

# %%
report = gradcheck.check_grad(jax.nn.relu, jnp.array([-1.0, 0.0, 1.0]))
print(report)
assert report.ok

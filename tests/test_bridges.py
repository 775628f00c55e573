"""Optimizers of other frameworks as GradientTransformations. What needs PyTorch or Keras is skipped without them."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import same as command
from jaxdl import compare, optimizers
from jaxdl.compare import bridges

START = {"kernel": jnp.array([[0.5, -2.0], [3.0, 0.25]]), "bias": jnp.zeros(2)}
GRADIENTS = [
    jax.tree.map(lambda p, i=i: jnp.asarray(np.random.default_rng(i).normal(size=p.shape), jnp.float32), START)
    for i in range(4)
]


def run(optimizer, gradients=GRADIENTS, params=START):
    update = jax.jit(lambda g, s, p: optimizer.update(g, s, p))
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


# ---------------------------------------------------------------- the callback, on an optimizer of numpy


def host():
    """Heavy-ball momentum that overwrites the arrays it is given, as other frameworks do."""

    def step(count, params, grads, values):
        traces = np.frombuffer(values, np.float64)
        grads = np.concatenate([g.ravel() for g in grads])
        traces = grads if count == 0 else 0.9 * traces + grads
        start = 0
        for p in params:
            p -= 0.1 * traces[start : start + p.size].reshape(p.shape).astype(np.float32)
            start += p.size
        return params, traces.astype(np.float64).tobytes()

    return bridges.Host(lambda params: 8 * sum(p.size for p in params), step)


def test_the_state_travels_as_bytes_in_full_precision_and_arguments_are_not_written_to():
    bridge = bridges._callback(host())
    start = jnp.asarray(np.arange(4, dtype=np.float32).reshape(2, 2))  # two members of a batch, each with a state
    gradients = np.random.default_rng(0).normal(size=(3, 2, 2)).astype(np.float32)

    def both(gradients, params):
        def one(params, gradients):
            state = bridge.init(params)
            for gradient in gradients:
                updates, state = bridge.update(gradient, state, params)
                params += updates
            return params, state

        return jax.vmap(one, in_axes=(0, 1))(params, gradients)

    found, state = jax.jit(both)(gradients, start)
    traces = np.zeros((2, 2))
    expected = np.asarray(start)
    for gradient in gradients:
        traces = 0.9 * traces + gradient
        expected = expected - (0.1 * traces).astype(np.float32)
    assert compare.max_ulps(found, expected) <= 1
    np.testing.assert_array_equal(np.asarray(state.values).view(np.float64), traces)
    np.testing.assert_array_equal(start.ravel(), np.arange(4))


def test_parameters_are_needed():
    bridge = bridges._callback(host())
    with pytest.raises(ValueError, match="params=None: an optimizer of another framework needs the parameters"):
        bridge.update(START, bridge.init(START))


@pytest.mark.parametrize("name", ["torch", "keras"])
def test_a_missing_framework_is_named_with_the_command_that_installs_it(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    make = getattr(compare, f"{name}_optimizer")
    with pytest.raises(ImportError, match=rf"{name}_optimizer needs {name}: .*`pip install 'jaxdl\[bridges\]'`"):
        make(optax.sgd, learning_rate=0.1)


def test_other_factories_are_left_alone():
    assert bridges.bridged(optax.adam) is optax.adam
    assert bridges.bridged(dict) is dict


# ---------------------------------------------------------------- PyTorch


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="bridges to PyTorch need it")


def torch_run(torch, factory, **keywords):
    """Run PyTorch's own loop on the same gradients."""
    leaves, treedef = jax.tree.flatten(START)
    params = [torch.nn.Parameter(torch.from_numpy(np.array(leaf))) for leaf in leaves]
    made = factory(params, **keywords)
    for gradient in GRADIENTS:
        for p, g in zip(params, jax.tree.leaves(gradient), strict=True):
            p.grad = torch.from_numpy(np.array(g))
        made.step()
    return treedef.unflatten([p.detach().numpy() for p in params])


@pytest.mark.parametrize(
    ("name", "keywords"),
    [
        ("SGD", {"momentum": 0.9, "nesterov": True}),
        ("Adam", {"weight_decay": 0.1, "amsgrad": True}),
        ("Rprop", {}),
        ("ASGD", {}),
        ("Adafactor", {}),
    ],
)
def test_a_bridge_takes_the_steps_of_pytorch_itself(torch, name, keywords):
    factory = getattr(torch.optim, name)
    expected = torch_run(torch, factory, lr=0.05, **keywords)
    assert compare.max_ulps(run(compare.torch_optimizer(factory, lr=0.05, **keywords)), expected) <= 1


def test_pytorch_against_jaxdl_and_optax(torch, capsys):
    stream = [{"w": g["bias"]} for g in GRADIENTS]
    sides = (torch.optim.Adam, {"lr": 0.01}), optimizers.adam(0.01, convention="torch")
    assert compare.equivalence(*sides, {"w": jnp.zeros(2)}, stream).verdict == "equivalent"
    other = (torch.optim.Adam, {"lr": 0.02}), optax.adam(0.01)
    assert compare.equivalence(*other, {"w": jnp.zeros(2)}, stream).verdict == "different"
    with pytest.raises(ValueError, match=r"a: Adam does not take the keywords \['learning_rate'\]"):
        compare.equivalence((torch.optim.Adam, {"learning_rate": 0.1}), sides[1], {"w": jnp.zeros(2)}, stream)
    factory, keywords = command.side("first", "torch.optim:Adam(eps=1e-6)", 0.3)
    assert keywords == {"lr": 0.3, "eps": 1e-6}
    assert isinstance(factory(**keywords), optax.GradientTransformation)


def test_numbers_in_groups_are_carried_in_double_precision_and_half_precision_is_kept(torch):
    class Growing(torch.optim.SGD):
        """SGD whose rate grows by a factor that float32 does not hold."""

        def step(self):
            super().step()
            for group in self.param_groups:
                group["lr"] *= 1 + 1e-9

    bridge = compare.torch_optimizer(Growing, lr=0.1)
    state, update = bridge.init(START), jax.jit(bridge.update)
    for gradient in GRADIENTS:
        _, state = update(gradient, state, START)
    assert np.float64(_grown()).tobytes() in bytes(state.values)
    half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), START)
    moved = run(compare.torch_optimizer(torch.optim.Adam, lr=0.5), GRADIENTS[:1], half)
    np.testing.assert_allclose(moved["bias"].astype(jnp.float32), -0.5 * np.sign(GRADIENTS[0]["bias"]), rtol=2**-7)
    assert moved["kernel"].dtype == jnp.bfloat16


def _grown():
    rate = 0.1
    for _ in GRADIENTS:
        rate *= 1 + 1e-9
    return rate


def test_optimizers_that_a_bridge_cannot_carry_are_refused(torch):
    class Elsewhere(torch.optim.SGD):
        """SGD that counts its steps where no state_dict looks."""

        steps = 0

        def step(self):
            self.steps += 1
            self.param_groups[0]["lr"] = 0.1 / self.steps
            super().step()

    make = compare.torch_optimizer
    with pytest.raises(ValueError, match="torch_optimizer: Elsewhere draws random numbers, or keeps some outside"):
        make(Elsewhere, lr=0.1).init(START)
    for name, message in {"LBFGS": "LBFGS.* does not step on gradients alone", "SparseAdam": "SparseAdam"}.items():
        with pytest.raises(ValueError, match=message):
            make(getattr(torch.optim, name), lr=0.1).init(START)
    with pytest.raises(ValueError, match=r"torch_optimizer: Adam does not take the keywords \{'epz': 1\}"):
        make(torch.optim.Adam, epz=1)
    with pytest.raises(ValueError, match="returned list, not an optimizer"):
        make(lambda params: params).init(START)


# ---------------------------------------------------------------- Keras


@pytest.fixture
def keras(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    return pytest.importorskip("keras", reason="bridges to Keras need it")


def test_keras_on_its_two_ways_takes_the_steps_of_jaxdl_in_its_convention(keras):
    expected = run(optimizers.adam(0.05, convention="keras"))
    bridge = compare.keras_optimizer(keras.optimizers.Adam, learning_rate=0.05)
    assert compare.max_ulps(run(bridge), expected) <= 4
    # the way of other backends, called without a program, in which Keras's JAX could not run
    on_host = bridges._keras_host(keras, lambda: keras.optimizers.Adam(learning_rate=0.05))
    params, treedef = jax.tree.flatten(jax.tree.map(np.asarray, START))
    values = b""
    for count, gradient in enumerate(GRADIENTS):
        params, values = on_host.step(count, params, [*map(np.asarray, jax.tree.leaves(gradient))], values)
    assert on_host.size(params) == len(values)
    assert compare.max_ulps(treedef.unflatten(params), expected) <= 4


def test_what_keras_refuses_is_named(keras):
    with pytest.raises(ValueError, match="keras_optimizer: <lambda> returned dict, not an optimizer"):
        compare.keras_optimizer(lambda: {})
    factory = bridges.bridged(keras.optimizers.Adam)
    assert isinstance(factory(learning_rate=0.1), optax.GradientTransformation)

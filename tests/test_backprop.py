"""Every pair of `jaxdl.backprop` against `jax.vjp` of its namesake and finite differences; no autodiff inside."""

import ast
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from benchmarks.backprop_examples import EXAMPLES, KEY, TIES
from jaxdl import activations, backprop, kernels, layers
from jaxdl.gradcheck import assert_grad

SOURCES = [path for package in (backprop, kernels) for path in sorted(Path(package.__file__).parent.glob("*.py"))]
DIFFERENTIATION = {
    *(
        "grad",
        "value_and_grad",
        "vjp",
        "jvp",
        "linearize",
        "linear_transpose",
        "jacfwd",
        "jacrev",
        "jacobian",
        "hessian",
    ),
    *("custom_vjp", "custom_jvp", "custom_gradient", "custom_derivatives", "custom_transpose", "checkpoint"),
    *("stop_gradient", "ad", "interpreters", "extend"),
}
# compiling takes most of the time, and only the tests of jit need optimised programs
OPTIONS = {"xla_backend_optimization_level": 0}
if jax.__version_info__ < (0, 11):
    OPTIONS["xla_cpu_use_fusion_emitters"] = False  # later versions of XLA have no such option
quick_jit = functools.partial(jax.jit, compiler_options=OPTIONS)
ROWS = [(name, i) for name, rows in EXAMPLES.items() for i in range(len(rows))]
everywhere = pytest.mark.parametrize(("name", "i"), ROWS)


def pair(name):
    return getattr(backprop, f"{name}_forward"), getattr(backprop, f"{name}_backward")


def bound(name, example):
    forward, backward = pair(name)
    return functools.partial(forward, **example.options), functools.partial(backward, **example.backward_options)


def is_float(x):
    return x is not None and jnp.issubdtype(jnp.asarray(x).dtype, jnp.floating)


def floats(example):
    """Return the positions of the arguments that have a gradient."""
    return [k for k, x in enumerate(example.args) if is_float(x)]


def with_floats(example, values):
    args = list(example.args)
    for k, value in zip(floats(example), values, strict=True):
        args[k] = value
    return args


def cotangents(backward, residuals, cotangent, example):
    """Return the cotangents of the float arguments; all other arguments must have None."""
    found = backward(residuals, cotangent)
    found = found if isinstance(found, tuple) else (found,)
    assert [k for k, one in enumerate(found) if one is not None] == floats(example)
    assert len(found) == len(example.args)
    return [found[k] for k in floats(example)]


def random_like(tree, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda y: jnp.asarray(rng.normal(size=y.shape), y.dtype), tree)


def both(name, example, dtype):
    """Return two functions to output and cotangents: the hand-written one, and its namesake under `jax.vjp`."""
    forward, backward = bound(name, example)
    values = [jnp.asarray(example.args[k], dtype) for k in floats(example)]

    def by_hand(values, delta):
        y, residuals = forward(*with_floats(example, values))
        return y, cotangents(backward, residuals, delta, example)

    def by_jax(values, delta):
        y, pull = jax.vjp(lambda *values: example.oracle(*with_floats(example, values), **example.options), *values)
        return y, list(pull(delta))

    delta = random_like(jax.eval_shape(lambda values: forward(*with_floats(example, values))[0], values))
    return lambda: (by_hand(values, delta), by_jax(values, delta))


def assert_trees_close(found, expected, tolerance):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        finite = b[np.isfinite(b)]
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(abs(finite).max(initial=0), 1e-3))


# ---------------------------------------------------------------- public names


# no lecture differentiates the others by hand, which are compositions
LECTURED = set(activations.__all__) - {"glu", "hard_swish", "mish", "prelu", "selu", "silu"}


def test_every_forward_has_its_backward_and_its_examples():
    pairs = {name.rpartition("_")[0] for name in backprop.__all__ if name.endswith(("_forward", "_backward"))}
    assert all(callable(f) for name in pairs for f in pair(name))
    assert set(EXAMPLES) == pairs >= set(TIES)
    asked = (
        "dense softmax_cross_entropy squared_error binary_cross_entropy conv1d conv2d max_pool2d avg_pool2d l2_pool2d"
    )
    assert pairs >= {*LECTURED, *asked.split(), "batch_norm_train", "local_response_norm", "dropout"}


def names_in(tree):
    """Yield every name, attribute and imported name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom | ast.Import):
            yield from (part for alias in node.names for part in alias.name.split("."))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.stem}.{path.stem}")
def test_no_automatic_differentiation_inside(path):
    used = set(names_in(ast.parse(path.read_text()))) & DIFFERENTIATION
    assert used == ({"custom_vjp"} if path.stem == "installing" else set())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.stem}.{path.stem}")
def test_imports_jax_only(path):
    allowed = {"__future__", "jax", "jaxtyping", "math", "numbers", "functools", "typing", "collections", "dataclasses"}
    for node in ast.walk(ast.parse(path.read_text())):
        modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            modules += [f"jaxdl.{a.name}" for a in node.names] if node.module == "jaxdl" else [node.module]
        own = ("jaxdl.backprop", "jaxdl.kernels", "jaxdl.numerics", "jaxdl.primitives", "jaxdl.sizes")
        assert all(m.split(".")[0] in allowed or m.startswith(own) for m in modules), modules
        assert all(m != "jax.nn" for m in modules)


# ---------------------------------------------------------------- the gradients


@everywhere
def test_equals_the_namesakes_gradient(name, i):
    with jax.enable_x64(True):
        assert_trees_close(*quick_jit(both(name, EXAMPLES[name][i], jnp.float64))(), 1e-13)


@pytest.mark.parametrize("name", TIES)
def test_ties_kinks_and_impossible_values_go_the_namesakes_way(name):
    for example in TIES[name]:
        assert_trees_close(*quick_jit(both(name, example, jnp.float32))(), 1e-6)


@everywhere
def test_equals_finite_differences(name, i):
    example = EXAMPLES[name][i]
    forward, backward = bound(name, example)
    with jax.enable_x64(True):
        values = tuple(jnp.asarray(example.args[k], jnp.float64) for k in floats(example))

        def f(values):
            return forward(*with_floats(example, values))[0]

        def pulled(values, cotangent):
            residuals = forward(*with_floats(example, values))[1]
            return tuple(cotangents(backward, residuals, cotangent, example))

        assert_grad(f, values, backward=pulled)


@pytest.mark.parametrize("name", EXAMPLES)
def test_float32_and_bfloat16_are_kept(name):
    narrow, half = (both(name, EXAMPLES[name][0], dtype) for dtype in (jnp.float32, jnp.bfloat16))
    narrow, half = quick_jit(lambda: (narrow(), half()))()
    assert_trees_close(*narrow, 2e-6)
    assert_trees_close(*half, 3e-2)  # cancellation leaves a bfloat16 sum few digits


def test_vmap_over_arguments_and_residuals():
    x, kernels = random_like(jnp.ones((2, 5, 4, 2))), random_like(jnp.ones((3, 2, 2, 2, 2)), 1)
    y, residuals = jax.vmap(functools.partial(backprop.conv2d_forward, stride=2), (None, 0))(x, kernels)
    found = jax.vmap(backprop.conv2d_backward)(residuals, y)
    for k, kernel in enumerate(kernels):
        expected = backprop.conv2d_backward(backprop.conv2d_forward(x, kernel, stride=2)[1], y[k])
        assert_trees_close([found[0][k], found[1][k]], list(expected[:2]), 1e-6)


def test_an_empty_batch_has_empty_and_zero_gradients():
    x, kernel, bias = jnp.ones((0, 5, 5, 2)), jnp.ones((3, 3, 2, 4)), jnp.ones(4)
    for method in kernels.METHODS:
        y, residuals = backprop.conv2d_forward(x, kernel, bias)
        dx, dw, db = backprop.conv2d_backward(residuals, y, method=method)
        assert (dx.shape, dw.shape, db.shape) == (x.shape, kernel.shape, bias.shape)
        assert not dw.any()
        assert not db.any()
    for name in ("max_pool2d", "avg_pool2d", "l2_pool2d"):
        forward, backward = pair(name)
        y, residuals = forward(x)
        assert backward(residuals, y).shape == x.shape


def test_gradients_are_finite_at_extremes():
    z = jnp.array([-3e38, -1e30, -1e4, -50.0, 0.0, 50.0, 1e4, 1e30, 3e38])

    def slopes(name, **options):
        forward, backward = pair(name)
        return backward(forward(z, **options)[1], jnp.ones_like(z))

    names = sorted(LECTURED - {"noisy_relu"})
    found = quick_jit(lambda: [*map(slopes, names), slopes("gelu", approximate=True)])()
    for name, slope in zip([*names, "gelu"], found, strict=True):
        assert jnp.isfinite(slope).all(), name
    y, residuals = backprop.l2_pool2d_forward(jnp.zeros((2, 2, 1)))
    np.testing.assert_array_equal(backprop.l2_pool2d_backward(residuals, jnp.ones_like(y)), 0)
    for label in (0, 1):
        y, residuals = backprop.binary_cross_entropy_forward(jnp.array([0.0, 1.0]), jnp.full(2, label))
        assert jnp.isfinite(backprop.binary_cross_entropy_backward(residuals, jnp.ones(2))[0]).all()


def test_a_logits_gradient_keeps_its_digits_where_sigmoid_is_saturated():
    """sigmoid(z) − 1 is −e⁻ᶻ to first order; computed as 1 − 1 it would be 0."""
    y, residuals = backprop.sigmoid_binary_cross_entropy_forward(jnp.array([30.0]), jnp.array([1.0]))
    slope, _ = backprop.sigmoid_binary_cross_entropy_backward(residuals, jnp.ones_like(y))
    np.testing.assert_allclose(slope, [-np.exp(-30)], rtol=1e-6)


@pytest.mark.parametrize("name", ["batch_norm_train", "batch_statistics"])
def test_statistics_of_all_devices_have_the_gradient_of_the_whole_batch(name):
    """Two devices with three examples each equal one device with six, by hand and by JAX."""
    forward, backward = pair(name)
    x = random_like(jnp.ones((6, 2, 3)))
    extra = () if name == "batch_statistics" else (random_like(jnp.ones(3), 1), random_like(jnp.ones(3), 2))
    parts = x.reshape(2, 3, 2, 3)
    whole, residuals = forward(x, *extra)
    delta = random_like(whole, 4)
    if name == "batch_statistics":  # every device has a copy of the statistics, and each copy has a cotangent
        deltas = jax.tree.map(lambda d: jnp.stack([0.2 * d, 0.8 * d]), delta)
    else:
        deltas = delta.reshape(parts.shape)

    def on_device(part, delta):
        y, residuals = forward(part, *extra, axis_name="devices")
        return y, backward(residuals, delta)

    def by_jax(part, delta):
        def namesake(part):
            mean, var = layers.batch_statistics(part, axis_name="devices")
            return (mean, var) if name == "batch_statistics" else layers.batch_norm(part, mean, var, *extra)

        return jax.vjp(namesake, part)[1](delta)[0]

    mapped = functools.partial(jax.vmap, axis_name="devices")
    y, found = mapped(on_device)(parts, deltas)
    expected = backward(residuals, delta)
    dx, sums = (found, ()) if name == "batch_statistics" else (found[0], found[1:])
    assert_trees_close(dx.reshape(x.shape), expected if name == "batch_statistics" else expected[0], 1e-5)
    assert_trees_close(dx, mapped(by_jax)(parts, deltas), 1e-5)
    assert_trees_close([one.sum(0) for one in sums], list(expected[1:]) if sums else [], 1e-5)
    assert_trees_close(
        jax.tree.map(lambda one: one[0], y) if name == "batch_statistics" else y.reshape(x.shape), whole, 1e-5
    )
    sharded = jax.pmap(on_device, axis_name="devices")(parts, deltas)
    assert_trees_close(jax.tree.leaves(sharded), jax.tree.leaves((y, found)), 1e-5)


# ---------------------------------------------------------------- installed


def test_installed_functions_differentiate_by_the_pair():
    calls = []

    def backward(residuals, cotangent):
        calls.append(cotangent.shape)
        return backprop.conv2d_backward(residuals, cotangent, method="patches")

    conv = backprop.install(backprop.conv2d_forward, backward)
    x, kernel, bias = (random_like(jnp.ones(shape), 3) for shape in ((2, 5, 4, 2), (2, 3, 2, 3), (3,)))
    options = {"stride": 2, "padding": "VALID"}

    def loss(f, x, kernel, bias):
        return (f(x, kernel, bias, **options) ** 2).sum()

    found = jax.jit(jax.grad(functools.partial(loss, conv), (0, 1, 2)))(x, kernel, bias)
    assert calls == [(2, 2, 1, 3)]
    expected = jax.grad(functools.partial(loss, layers.conv2d), (0, 1, 2))(x, kernel, bias)
    assert_trees_close(found, expected, 1e-5)
    np.testing.assert_allclose(conv(x, kernel, **options), layers.conv2d(x, kernel, **options), rtol=1e-6)
    without = jax.grad(lambda kernel: conv(x, kernel, **options).sum())(kernel)
    np.testing.assert_allclose(
        without, jax.grad(lambda kernel: layers.conv2d(x, kernel, **options).sum())(kernel), rtol=1e-5
    )
    per_example = jax.vmap(jax.grad(functools.partial(loss, conv), 1), (0, None, None))(x, kernel, bias)
    np.testing.assert_allclose(per_example.sum(0), found[1], rtol=1e-4, atol=1e-5)


def test_installed_takes_keys_and_labels():
    dropout = backprop.install(*pair("dropout"))
    x = jnp.arange(1.0, 9.0)
    found = jax.grad(lambda x: dropout(KEY, x, rate=0.5).sum())(x)
    np.testing.assert_array_equal(found, jax.grad(lambda x: layers.dropout(KEY, x, 0.5).sum())(x))
    loss = backprop.install(*pair("softmax_cross_entropy"))
    z, labels = random_like(jnp.ones((2, 3))), jnp.array([2, 0])
    expected = jax.nn.softmax(z) - jax.nn.one_hot(labels, 3)
    np.testing.assert_allclose(jax.grad(lambda z: loss(z, labels).sum())(z), expected, rtol=1e-5, atol=1e-6)


def test_installed_refuses_forward_mode():
    tanh = backprop.install(*pair("tanh"))
    x = jnp.ones(3)
    with pytest.raises(TypeError, match="can't apply forward-mode autodiff"):
        jax.jvp(tanh, (x,), (x,))
    with pytest.raises(TypeError, match="can't apply forward-mode autodiff"):
        jax.jacfwd(tanh)(x)
    with pytest.raises((TypeError, ValueError)):
        jax.linearize(tanh, x)[1](x)
    twice = jax.grad(lambda x: jax.grad(lambda x: tanh(x).sum())(x).sum())(x)
    np.testing.assert_allclose(twice, -2 * np.tanh(1) * (1 - np.tanh(1) ** 2) * np.ones(3), rtol=1e-5)


# ---------------------------------------------------------------- mistakes

IMAGE, KERNEL = jnp.ones((5, 5, 4)), jnp.ones((3, 3, 4, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: backprop.dense_forward(jnp.ones(3), jnp.ones((4, 2))), r"kernel: got shape \(4, 2\)"),
        (lambda: backprop.dense_forward(jnp.ones(4), jnp.ones((4, 2)), jnp.ones(3)), r"bias: got shape \(3,\)"),
        (lambda: backprop.conv2d_forward(IMAGE[0], KERNEL), r"x: got shape \(5, 4\)"),
        (lambda: backprop.conv2d_forward(IMAGE, KERNEL[0]), r"kernel: got shape \(3, 4, 2\)"),
        (lambda: backprop.conv2d_forward(IMAGE, KERNEL[:, :, :3]), "kernel: got 3 input channels, allowed are 4"),
        (lambda: backprop.conv2d_forward(IMAGE, KERNEL, groups=3), "groups: got 3"),
        (lambda: backprop.conv2d_forward(IMAGE, KERNEL, stride=0), "stride: got 0"),
        (lambda: backprop.conv2d_forward(IMAGE, KERNEL, stride=(1, 2, 3)), r"stride: got \(1, 2, 3\)"),
        (lambda: backprop.conv2d_forward(IMAGE, KERNEL, padding="half"), "padding: got 'half'"),
        (lambda: backprop.conv2d_forward(IMAGE, KERNEL, dilation=3, padding="VALID"), r"window: got 3 \(dilation 3"),
        (
            lambda: backprop.conv2d_backward(*backprop.conv2d_forward(IMAGE, KERNEL)[::-1], method="fft"),
            "method: got 'fft', allowed are 'xla', 'sliced', 'patches', 'folded'",
        ),
        (lambda: backprop.max_pool2d_forward(IMAGE[0]), r"x: got shape \(5, 4\)"),
        (lambda: backprop.max_pool2d_forward(IMAGE, padding=2), "padding: got 2, allowed is less than the window 2"),
        (lambda: backprop.max_pool2d_forward(IMAGE, window=6), "window: got 6"),
        (lambda: backprop.squared_error_forward(jnp.ones(3), jnp.ones((3, 1))), r"targets: got shape \(3, 1\)"),
        (lambda: backprop.softmax_cross_entropy_forward(jnp.ones((2, 3)), jnp.ones(2)), "labels: got shape"),
        (lambda: backprop.batch_norm_forward(IMAGE, jnp.ones(3), jnp.ones(4)), r"mean: got shape \(3,\)"),
        (lambda: backprop.batch_norm_train_forward(IMAGE, axis=3), "axis: got 3"),
        (lambda: backprop.batch_statistics_forward(jnp.ones(())), "x: got a scalar"),
        (lambda: backprop.local_response_norm_forward(IMAGE, size=0), "size: got 0"),
        (lambda: backprop.dropout_forward(KEY, IMAGE, rate=1), "rate: got 1"),
        (lambda: backprop.dropout_forward(KEY, IMAGE, rate=0.5, mode="x"), "mode: got 'x'"),
        (lambda: backprop.noisy_relu_forward(KEY, IMAGE, sigmoid_is="x"), "sigmoid_is: got 'x'"),
    ],
)
def test_mistakes_are_named(monkeypatch, call, message):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        call()

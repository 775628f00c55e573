"""The gradient checker finds planted bugs, names their place, and raises no false alarm."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxdl import activations, gradcheck, layers, losses

RANDOM = np.random.default_rng(2)
N, D = 5, 4


def normal(*shape):
    return RANDOM.normal(size=shape)


class Pair(NamedTuple):
    """A function, a point, its hand-written gradient, and versions of it with bugs."""

    f: object
    tree: dict
    right: object
    wrong: dict


def sigmoid(z):
    return 1 / (1 + jnp.exp(-z))


# ---------------------------------------------------------------- dense


def dense_backward(t, ct, sign=1.0, transpose=True, bias=jnp.sum, m=1):
    w = t["w"].T if transpose else t["w"]
    return {"x": ct @ w, "w": sign * t["x"].T @ ct / m, "b": bias(ct, axis=0)}


DENSE = Pair(
    lambda t: t["x"] @ t["w"] + t["b"][None, :],
    {"x": normal(N, D), "w": normal(D, D), "b": normal(D)},
    dense_backward,
    {
        "wrong sign": functools.partial(dense_backward, sign=-1.0),
        "missing transpose": functools.partial(dense_backward, transpose=False),
        "forgotten bias": functools.partial(dense_backward, bias=lambda ct, axis: jnp.zeros(D)),
        "mean for sum over the batch": functools.partial(dense_backward, bias=jnp.mean),
        "divided by m twice": functools.partial(dense_backward, m=N),
    },
)

# ---------------------------------------------------------------- element by element


def elementwise(f, right, **wrong):
    def backward(slope):
        return lambda t, ct: {"z": ct * slope(t["z"])}

    return Pair(
        lambda t: f(t["z"]), {"z": 2 * normal(3, 6)}, backward(right), {k: backward(v) for k, v in wrong.items()}
    )


SIGMOID = elementwise(
    sigmoid,
    lambda z: sigmoid(z) * (1 - sigmoid(z)),
    plus_for_minus=lambda z: sigmoid(z) * (1 + sigmoid(z)),
    slope_taken_at_the_output=lambda z: sigmoid(sigmoid(z)) * (1 - sigmoid(sigmoid(z))),
)
TANH = elementwise(jnp.tanh, lambda z: 1 - jnp.tanh(z) ** 2, missing_square=lambda z: 1 - jnp.tanh(z))
RELU = elementwise(lambda z: jnp.maximum(z, 0), lambda z: z > 0, other_side=lambda z: z < 0)
LEAKY = elementwise(
    lambda z: jnp.where(z > 0, z, 0.1 * z), lambda z: jnp.where(z > 0, 1, 0.1), forgotten_slope=lambda z: z > 0
)
SOFTPLUS = elementwise(activations.softplus, sigmoid, mirrored=lambda z: sigmoid(-z))

# ---------------------------------------------------------------- losses

Y = scipy.special.softmax(normal(N, D), -1)
TARGETS = normal(N, D)


def of_logits(f, right, **wrong):
    def backward(g):
        return lambda t, ct: {"z": ct[:, None] * g(t["z"])}

    return Pair(lambda t: f(t["z"]), {"z": normal(N, D)}, backward(right), {k: backward(v) for k, v in wrong.items()})


CROSS_ENTROPY = of_logits(
    lambda z: -(Y * jax.nn.log_softmax(z)).sum(-1),
    lambda z: jax.nn.softmax(z) - Y,
    label_factor_forgotten=lambda z: D * jax.nn.softmax(z) - 1,  # the lecture's printed form
    labels_minus_outputs=lambda z: Y - jax.nn.softmax(z),
)
SQUARED = of_logits(
    lambda z: ((z - TARGETS) ** 2).sum(-1),
    lambda z: 2 * (z - TARGETS),
    delta_of_the_half_error=lambda z: z - TARGETS,
)
BINARY = of_logits(
    lambda z: -(Y * jnp.log(sigmoid(z)) + (1 - Y) * jnp.log(1 - sigmoid(z))).sum(-1),
    lambda z: sigmoid(z) - Y,
    probability_slope_twice=lambda z: (sigmoid(z) - Y) * sigmoid(z) * (1 - sigmoid(z)),
)

# ---------------------------------------------------------------- convolution and pooling in one dimension

LENGTH, WINDOW = 9, 3
STARTS = np.arange(0, LENGTH - WINDOW + 1, 2)
TAPS = STARTS[:, None] + np.arange(WINDOW)[None, :]  # the input index of every tap of every output


def conv_backward(t, ct, shift=0, flip=False, lost_tap=False):
    x, w = t["x"], t["w"][::-1] if flip else t["w"]
    products = ct[:, None] * w[None, :]
    if lost_tap:
        products = products.at[-1, -1].set(0)
    dx = jnp.zeros(LENGTH).at[np.minimum(TAPS + shift, LENGTH - 1)].add(products)
    return {"x": dx, "w": (ct[:, None] * x[TAPS]).sum(0)}


CONV = Pair(
    lambda t: t["x"][TAPS] @ t["w"],
    {"x": normal(LENGTH), "w": normal(WINDOW)},
    conv_backward,
    {
        "stride off by one": functools.partial(conv_backward, shift=1),
        "flipped kernel": functools.partial(conv_backward, flip=True),
        "sum ends one too early": functools.partial(conv_backward, lost_tap=True),
    },
)


def pooled(f, slopes, **wrong):
    """Build a pooling over the rows of (6, 4); slopes(x) is dy_i/dx_ij."""

    def backward(slopes):
        return lambda t, ct: {"x": ct[:, None] * slopes(t["x"])}

    return Pair(lambda t: f(t["x"]), {"x": normal(6, 4)}, backward(slopes), {k: backward(v) for k, v in wrong.items()})


def at(index):
    return lambda x: jax.nn.one_hot(index(x, -1), 4, dtype=x.dtype)


MAX_POOL = pooled(lambda x: x.max(-1), at(jnp.argmax), to_the_minimum=at(jnp.argmin))
AVERAGE_POOL = pooled(lambda x: x.mean(-1), lambda x: jnp.full(x.shape, 0.25), not_divided=jnp.ones_like)
L2_POOL = pooled(
    lambda x: jnp.sqrt((x**2).sum(-1)),
    lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True),
    root_forgotten=lambda x: x,
)

# ---------------------------------------------------------------- normalisation and noise


def batch_norm(t):
    x = t["x"]
    return t["scale"][None, :] * (x - x.mean(0, keepdims=True)) / jnp.sqrt(x.var(0, keepdims=True) + 1e-3)


def batch_norm_backward(t, ct, mean_term=1.0, variance_term=1.0, m=N, root=1.0):
    x = t["x"]
    deviation = jnp.sqrt(x.var(0, keepdims=True) + 1e-3)
    normed = (x - x.mean(0, keepdims=True)) / deviation
    g = ct * t["scale"][None, :]
    inner = mean_term * g.sum(0, keepdims=True) + variance_term * normed * (g * normed).sum(0, keepdims=True)
    return {"x": (g - inner / m) / deviation**root, "scale": (ct * normed).sum(0)}


BATCH_NORM = Pair(
    batch_norm,
    {"x": normal(N, D), "scale": normal(D)},
    batch_norm_backward,
    {
        "mean held constant": functools.partial(batch_norm_backward, mean_term=0.0),
        "variance held constant": functools.partial(batch_norm_backward, variance_term=0.0),
        "sign of the variance term": functools.partial(batch_norm_backward, variance_term=-1.0),
        "m minus one": functools.partial(batch_norm_backward, m=N - 1),
        "variance for deviation": functools.partial(batch_norm_backward, root=2.0),
    },
)
MASK = RANDOM.uniform(size=(3, 6)) > 0.4
DROPOUT = elementwise(
    lambda z: z * MASK / 0.6,
    lambda z: MASK / 0.6,
    mask_forgotten=lambda z: jnp.full(z.shape, 1 / 0.6),
    scale_forgotten=lambda z: MASK,
)


def response_norm_backward(t, ct, cross=1.0):
    x = t["x"]
    d = 1 + (x**2).sum(-1, keepdims=True)
    return {"x": ct * d**-0.75 - cross * 1.5 * x * (ct * x).sum(-1, keepdims=True) * d**-1.75}


RESPONSE_NORM = Pair(
    lambda t: t["x"] * (1 + (t["x"] ** 2).sum(-1, keepdims=True)) ** -0.75,
    {"x": normal(3, 5)},
    response_norm_backward,
    {"denominator held constant": functools.partial(response_norm_backward, cross=0.0)},
)

PAIRS = {name: pair for name, pair in globals().items() if isinstance(pair, Pair)}
BUGS = [(name, bug) for name, pair in PAIRS.items() for bug in pair.wrong]


def in_float64(tree):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree)


def test_there_are_at_least_twenty_bugs():
    assert len(BUGS) >= 20


@pytest.mark.parametrize(("name", "bug"), BUGS)
def test_planted_bugs_are_found(name, bug):
    pair = PAIRS[name]
    with jax.enable_x64(True):
        report = gradcheck.check_grad(pair.f, in_float64(pair.tree), backward=pair.wrong[bug])
    assert not report.ok, f"{bug}\n{report}"


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@pytest.mark.parametrize("name", PAIRS)
def test_no_false_alarm_on_the_right_gradients(name, dtype):
    pair = PAIRS[name]
    with jax.enable_x64(True):
        tree = jax.tree.map(lambda x: jnp.asarray(x, dtype), pair.tree)
        gradcheck.assert_grad(pair.f, tree, backward=pair.right)


SHAPED = np.linspace(-3, 3, 12).reshape(3, 4)
RIGHT = {
    **{name: getattr(activations, name) for name in activations.__all__ if name not in ("noisy_relu", "prelu")},
    "conv": lambda x: layers.conv2d(x.reshape(1, 4, 3, 1), jnp.ones((2, 2, 1, 2), x.dtype), stride=2),
    "max_pool": lambda x: layers.max_pool2d(x.reshape(1, 4, 3, 1), stride=1),
    "l2_pool": lambda x: layers.l2_pool2d(x.reshape(1, 4, 3, 1), stride=1),
    "hinge": lambda x: losses.hinge(x, jnp.ones(x.shape, x.dtype)),
    "absolute": lambda x: losses.absolute_error(x, jnp.zeros_like(x)),
    "cross entropy": lambda x: losses.softmax_cross_entropy(x, jnp.array([0, 3, 1])),
}


@pytest.mark.parametrize("where", ["away from kinks", "on kinks and ties"])
@pytest.mark.parametrize("name", RIGHT)
def test_no_false_alarm_on_the_library(name, where):
    point = SHAPED if where == "away from kinks" else jnp.round(SHAPED / 3) * 1.0
    with jax.enable_x64(True):
        gradcheck.assert_grad(RIGHT[name], jnp.asarray(point, jnp.float64))


def test_kinks_are_counted_and_a_wrong_gradient_at_one_is_found():
    with jax.enable_x64(True):
        z = jnp.array([0.0, 1.0, -1.0, 0.0])
        report = gradcheck.check_grad(lambda z: jnp.maximum(z, 0), z, backward=lambda z, ct: ct * (z > 0))
        assert (report.ok, report.leaves[0].kinks) == (True, 2)
        outside = gradcheck.check_grad(
            lambda z: jnp.maximum(z, 0), z, backward=lambda z, ct: ct * jnp.where(z == 0, 1.5, z > 0)
        )
        assert not outside.ok
        assert outside.leaves[0].index in ((0,), (3,))


def test_a_tie_may_choose_its_winner_but_not_the_sign():
    with jax.enable_x64(True):
        x = jnp.array([[1.0, 1.0, 0.0], [2.0, 3.0, 3.0]])
        f = functools.partial(jnp.max, axis=-1)
        first = gradcheck.check_grad(f, x, backward=lambda x, ct: ct[:, None] * at_first_maximum(x))
        shifted = gradcheck.check_grad(f, x, backward=lambda x, ct: -ct[:, None] * at_first_maximum(x))
    assert first.ok
    assert first.leaves[0].kinks == 4
    assert not shifted.ok


def at_first_maximum(x):
    return jax.nn.one_hot(jnp.argmax(x, -1), x.shape[-1], dtype=x.dtype)


@pytest.mark.parametrize("index", [(0, 0), (17, 3), (49, 39)])
def test_one_wrong_entry_of_a_large_leaf_is_located(index):
    with jax.enable_x64(True):
        tree = {"w": jnp.asarray(normal(50, 40)), "b": jnp.asarray(normal(40))}

        def f(t):
            return jnp.tanh(t["w"]).sum(0) * t["b"]

        def backward(t, ct):
            right = jax.vjp(f, t)[1](ct)[0]
            return right | {"w": right["w"].at[index].add(0.5)}

        report = gradcheck.check_grad(f, tree, backward=backward, max_entries=8)
    good, bad = report.leaves
    assert (good.path, good.problem) == ("['b']", "")
    assert (bad.path, bad.index, bad.problem) == ("['w']", index, "wrong")
    assert bad.analytic - bad.numeric == pytest.approx(0.5)


def test_a_large_relu_net_with_inputs_on_kinks_passes():
    with jax.enable_x64(True):
        tree = {"x": jnp.maximum(jnp.asarray(normal(10, 20)), 0), "w": jnp.asarray(normal(20, 10))}
        report = gradcheck.check_grad(
            lambda t: activations.relu(activations.relu(t["x"]) @ t["w"]), tree, max_entries=16
        )
    assert report.ok, report
    assert report.leaves[1].kinks > 0


def test_a_wrong_custom_vjp_is_found_without_naming_it():
    @jax.custom_vjp
    def square(x):
        return x**2

    square.defvjp(lambda x: (x**2, x), lambda x, ct: (x * ct,))
    with pytest.raises(AssertionError, match="wrong"):
        gradcheck.assert_grad(square, jnp.array([1.0, -2.0]))


def test_unusable_gradients_are_said():
    x = jnp.array([[1.0, 2.0]])
    shape = gradcheck.check_grad(jnp.sum, x, backward=lambda x, ct: ct * jnp.ones(2))
    nan = gradcheck.check_grad(jnp.sum, x, backward=lambda x, ct: ct * jnp.full((1, 2), jnp.nan))
    assert shape.leaves[0].problem == "gradient has shape (2,)"
    assert nan.leaves[0].problem == "gradient is not finite"


def test_report_is_a_table_and_integer_leaves_are_passed_on():
    tree = {"w": jnp.array([1.0, 2.0]), "n": jnp.array(3)}
    report = gradcheck.check_grad(lambda t: (t["w"] ** t["n"]).sum(), tree)
    assert report.ok, report
    lines = str(report).splitlines()
    assert len(lines) == 2
    assert lines[0].split()[:3] == ["leaf", "shape", "error"]
    assert lines[1].endswith("ok")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gradcheck.check_grad(jnp.sum, jnp.array([1, 2])), r"^tree.*int32"),
        (lambda: gradcheck.check_grad(jnp.argmax, jnp.array([1.0, 2.0])), r"^f: got outputs.*int32"),
        (lambda: gradcheck.check_grad(jnp.log, jnp.array([-1.0])), r"^f: .*not finite"),
        (
            lambda: gradcheck.check_grad(jnp.sum, jnp.ones(2), backward=lambda x, ct: (ct,)),
            r"^backward: got a tree without the array itself and",
        ),
        (
            lambda: gradcheck.check_grad(
                lambda t: t["w"] + t["b"], {"w": 1.0, "b": 2.0}, backward=lambda x, ct: {"w": ct}
            ),
            r"^backward: got a tree without b, must be a tree like tree$",
        ),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

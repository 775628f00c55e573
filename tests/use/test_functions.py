"""Functions as people use them: strict dtypes, complex numbers, huge numbers, ignored labels, steps of every dtype.

The members are those of the tables in `tests.test_laws`, which a test there holds to the public namespace.
"""

import functools

import equinox
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from scipy import stats

from benchmarks import backprop_examples
from jaxdl import gradcheck, initializers, layers, losses, metrics, regularizers
from jaxdl.models.capsnet import Capsules, capsule_loss
from tests import test_laws as laws

quick_jit = laws.quick_jit
HALVES = (jnp.bfloat16, jnp.float16)


@pytest.fixture
def untyped():
    """Turn annotation checks off, so that wrong dtypes reach the functions as they do outside of tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def floats_of(example):
    return [k for k, a in enumerate(example.args) if a is not None and all(map(laws.is_float, jax.tree.leaves(a)))]


def pair(name):
    example = backprop_examples.EXAMPLES[name][0]
    forward = functools.partial(laws.FUNCTIONS[f"backprop.{name}_forward"], **example.options)
    backward = functools.partial(laws.FUNCTIONS[f"backprop.{name}_backward"], **example.backward_options)
    return example, forward, backward


# ---------------------------------------------------------------- strict promotion


def value_and_gradient(name, dtype):
    example = laws.examples(name)[0]
    f, args, floats = laws.bound(name, example), laws.arguments(name, example, dtype), floats_of(example)

    def total(values):
        full = list(args)
        for k, value in zip(floats, values, strict=True):
            full[k] = value
        return sum(y.astype(jnp.float32).sum() for y in jax.tree.leaves(f(*full)) if laws.is_float(y)) + 0.0

    return jax.make_jaxpr(lambda: (f(*args), jax.grad(total)([args[k] for k in floats])))().out_avals


@pytest.mark.parametrize("name", laws.EXAMPLES)
def test_runs_under_strict_promotion_with_the_dtypes_of_standard(name):
    for dtype in (*HALVES, jnp.float32):
        with jax.numpy_dtype_promotion("strict"):
            strict = value_and_gradient(name, dtype)
        assert [(a.shape, a.dtype) for a in strict] == [(a.shape, a.dtype) for a in value_and_gradient(name, dtype)]


def test_pairs_initialisers_and_fits_run_under_strict_promotion():
    with jax.numpy_dtype_promotion("strict"):
        for dtype in (*HALVES, jnp.float32):
            for name in backprop_examples.EXAMPLES:
                example, forward, backward = pair(name)
                args = [a if a is None else laws.cast(a, dtype) for a in example.args]

                def both(args=args, forward=forward, backward=backward):
                    y, residuals = forward(*args)
                    return backward(residuals, jax.tree.map(jnp.cos, y))

                jax.eval_shape(both)
            for init in laws.INITIALIZERS.values():
                assert jax.eval_shape(lambda init=init, d=dtype: init(laws.KEY, (3, 2, 4, 6), d)).dtype == dtype
            for name, example in laws.FITS.items():
                fit = functools.partial(laws.FUNCTIONS[name], **example.options)
                jax.eval_shape(fit, *laws.cast(example.args, dtype))


def test_softmax_over_no_class_is_empty():
    for name in ("softmax", "log_softmax"):
        empty = jnp.zeros((3, 0))
        assert laws.FUNCTIONS[f"activations.{name}"](empty).shape == (3, 0)
        assert laws.FUNCTIONS[f"backprop.{name}_forward"](empty)[0].shape == (3, 0)


# ---------------------------------------------------------------- complex numbers

LINEAR = {  # f(a + ib) = f(a) + i f(b), in each argument by itself
    "activations.linear": (0,),
    "layers.conv1d": (0, 1),
    "layers.conv2d": (0, 1),
    "layers.conv_transpose1d": (0, 1),
    "layers.conv_transpose2d": (0, 1),
    "layers.convolve1d": (0, 1),
    "layers.convolve2d": (0, 1),
    "layers.dense": (0, 1),
}
OF_ABSOLUTE_VALUES = {
    f"regularizers.{name}" for name in ("elastic_net", "l1", "l2", "max_norm", "soft_threshold", "weight_decay")
}
NOT_LINEAR = {*OF_ABSOLUTE_VALUES, "activations.tanh", "classical.collapse_linear", "classical.deep_linear"}  # below


def with_imaginary_part(tree):
    return jax.tree.map(lambda x: jnp.asarray(x) + 1j * jnp.asarray(np.roll(x, 1)), tree)


@pytest.mark.parametrize("name", [name for name in laws.EXAMPLES if name not in NOT_LINEAR])
def test_complex_numbers_are_refused_or_right(name, untyped):
    example = laws.examples(name)[0]
    f, args = laws.bound(name, example), laws.arguments(name, example, jnp.float32)
    if name not in LINEAR:
        for k in floats_of(example):
            with pytest.raises(ValueError, match="complex"):
                f(*laws.with_data(args, k, with_imaginary_part(args[k])))
    for k in LINEAR.get(name, ()):
        rest = args
        if name == "layers.dense" or (name.startswith("layers.conv") and not name.startswith("layers.convolve")):
            rest = (*args[:2], jnp.zeros_like(args[2]))
        both = with_imaginary_part(rest[k])
        got = f(*laws.with_data(rest, k, both))
        real, imaginary = (f(*laws.with_data(rest, k, jax.tree.map(part, both))) for part in (jnp.real, jnp.imag))
        for y, a, b in zip(*map(jax.tree.leaves, (got, real, imaginary)), strict=True):
            changed = jnp.iscomplexobj(y)
            np.testing.assert_allclose(y, np.asarray(a) + 1j * np.asarray(b) if changed else a, atol=2e-5)


def test_pairs_and_fits_refuse_complex_numbers(untyped):
    for name in backprop_examples.EXAMPLES:
        example, forward, _ = pair(name)
        args = [a if a is None else laws.cast(a, jnp.float32) for a in example.args]
        for k in floats_of(example):
            with pytest.raises(ValueError, match="complex"):
                forward(*laws.with_data(tuple(args), k, with_imaginary_part(args[k])))
    for name, example in laws.FITS.items():
        with pytest.raises(ValueError, match="x: got complex64"):
            laws.FUNCTIONS[name](with_imaginary_part(example.args[0]), example.args[1], **example.options)


def test_initialisers_of_complex_numbers_have_their_variance_or_are_refused():
    shape = (60, 80)
    of_variance = {"normal": 0.09, "lecun_normal": 1 / 60, "he_normal": 2 / 60, "glorot_normal": 2 / 140}
    for name, init in laws.INITIALIZERS.items():
        name = name.rpartition(".")[2]
        if name in ("zeros", "ones", "constant"):
            assert init(laws.KEY, shape, jnp.complex64).dtype == jnp.complex64
        elif name == "orthogonal":
            q = np.asarray(init(laws.KEY, shape, jnp.complex64))
            np.testing.assert_allclose(q @ q.conj().T, np.eye(60), atol=1e-5)
        elif name in of_variance:
            drawn = np.asarray(init(laws.KEY, shape, jnp.complex64))
            assert np.mean(np.abs(drawn) ** 2) == pytest.approx(of_variance[name], rel=0.1)
            assert np.var(drawn.real) == pytest.approx(of_variance[name] / 2, rel=0.1)
        else:
            with pytest.raises(ValueError, match="dtype: got complex64, allowed are floats"):
                init(laws.KEY, shape, jnp.complex64)


def test_tanh_and_products_of_complex_numbers_are_numpy_s(untyped):
    z = np.array([0.3 + 0.4j, -1 + 2j], np.complex64)
    np.testing.assert_allclose(laws.FUNCTIONS["activations.tanh"](z), np.tanh(z), rtol=1e-6)
    nets = tuple(with_imaginary_part(layer) for layer in jax.tree.map(lambda x: x[0], laws.NETS))
    collapsed = laws.FUNCTIONS["classical.collapse_linear"](nets)
    np.testing.assert_allclose(
        jax.tree.leaves(collapsed)[-1], np.asarray(nets[0]["kernel"]) @ np.asarray(nets[1]["kernel"]), rtol=1e-4
    )
    x = with_imaginary_part(laws.Z[0])
    expected = (np.asarray(x) @ nets[0]["kernel"] + nets[0]["bias"]) @ nets[1]["kernel"]
    np.testing.assert_allclose(laws.FUNCTIONS["classical.deep_linear"](nets, x), expected, rtol=1e-4)


def test_penalties_of_complex_weights_are_those_of_their_absolute_values():
    w = np.array([[3 + 4j, -5j], [0, 2]], np.complex64)
    size = np.abs(w)
    np.testing.assert_allclose(regularizers.l1(w, 2.0), 2 * size.sum(), rtol=1e-6)
    np.testing.assert_allclose(regularizers.l2(w, 2.0), (size**2).sum(), rtol=1e-6)
    np.testing.assert_allclose(regularizers.weight_decay(w, 2.0), 2 * (size**2).sum(), rtol=1e-6)
    np.testing.assert_allclose(
        regularizers.elastic_net(w, 2.0, l1_ratio=0.25), 2 * (0.25 * size + 0.375 * size**2).sum(), rtol=1e-6
    )
    shrunk = w * np.maximum(size - 1, 0) / np.where(size == 0, 1, size)
    np.testing.assert_allclose(regularizers.soft_threshold(w, 1.0), shrunk, rtol=1e-6)
    gradient = jax.grad(lambda w: regularizers.l1(w, 1.0))(jnp.asarray(w))
    np.testing.assert_allclose(gradient, np.conj(w) / np.where(size == 0, 1, size), rtol=1e-6)


# ---------------------------------------------------------------- huge and tiny numbers

SQUARES = "squares in float32 overflow from 1.8e19; scaling them would cost every call one more pass over the input"
NOT_AT_HUGE = {
    "augmentation.contrast": "of pictures in [0, 1]; sums of channels overflow",
    "augmentation.saturation": "of pictures in [0, 1]",
    "classical.collapse_linear": "a product of two huge matrices overflows",
    "layers.capsule_length": "squares of 1e-38 are 0, so its gradient is the 0 of a vector without direction",
    "layers.dynamic_routing": "as layers.squash",
    "layers.embed": "rows are copied, and nothing is computed",
    "layers.group_norm": SQUARES,
    "layers.instance_norm": SQUARES,
    "layers.l2_pool2d": SQUARES,
    "layers.layer_norm": SQUARES,
    "layers.local_contrast_norm": SQUARES,
    "layers.local_response_norm": SQUARES,
    "layers.rms_norm": SQUARES,
    "layers.sinusoidal_positions": "a float32 place of that size is millions of turns away from its neighbour",
    "layers.squash": "squares of 1e-38 are 0, so its second derivative is the 0 of a vector without direction",
    "losses.squared_log_error": "of positive numbers",
    "metrics.calibration_error": "of counts",
    "metrics.ratio": "of counts",
    "metrics.regression_scores": "of counts",
    "metrics.reliability": "of counts",
    "metrics.scores": "of counts",
    "regularizers.max_norm": "its second derivative along w is a difference of equal terms, 0 but for rounding",
}
TINY = float(np.finfo(np.float32).tiny)


@pytest.mark.parametrize("name", sorted(set(laws.EXAMPLES) - laws.KEYED - set(NOT_AT_HUGE)))
def test_values_and_derivatives_at_tiny_and_huge_numbers_are_those_of_float64(name):
    """Both dtypes compute at the same numbers; where float32 overflows, its largest value is expected."""
    example = laws.examples(name)[0]
    k = laws.data_argument(example)

    def everything(dtype):
        f, args = laws.bound(name, example), laws.arguments(name, example, dtype)

        def outputs(data):
            return [y for y in jax.tree.leaves(f(*laws.with_data(args, k, data))) if laws.is_float(y)]

        def total(data):
            return sum((y.sum() for y in outputs(data)), jnp.zeros((), dtype))

        def derivatives(data):
            along = jax.tree.map(jnp.ones_like, data)
            gradient, second = jax.jvp(jax.grad(total), (data,), (along,))
            return outputs(data), gradient, second

        def of(pattern):
            return jax.tree.map(lambda x: jnp.asarray(np.resize(np.float32(pattern), x.shape), dtype), args[k])

        return quick_jit(lambda: [derivatives(of(pattern)) for pattern in ([0.0], [TINY, -TINY], [1e20], [-1e20])])()

    got = everything(jnp.float32)
    with jax.enable_x64(True):
        expected = everything(jnp.float64)
    largest = float(np.finfo(np.float32).max)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        b = np.clip(np.asarray(b, np.float64), -largest, largest)
        a = np.clip(np.asarray(a, np.float64), -largest, largest)
        scale = max(np.abs(b).max(initial=0), 1e5 * TINY)  # XLA on CPU treats subnormals as 0
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=3e-5 * scale)


LIMITS = {  # of the activation, its slope and its second derivative at −∞ and +∞
    "elu": ((-1, 0, 0), (np.inf, 1, 0)),
    "gelu": ((0, 0, 0), (np.inf, 1, 0)),
    "hard_swish": ((0, 0, 0), (np.inf, 1, 0)),
    "leaky_relu": ((-np.inf, 0.01, 0), (np.inf, 1, 0)),
    "linear": ((-np.inf, 1, 0), (np.inf, 1, 0)),
    "mish": ((0, 0, 0), (np.inf, 1, 0)),
    "relu": ((0, 0, 0), (np.inf, 1, 0)),
    "relu6": ((0, 0, 0), (6, 0, 0)),
    "selu": ((-1.7581, 0, 0), (np.inf, 1.0507, 0)),
    "sigmoid": ((0, 0, 0), (1, 0, 0)),
    "silu": ((0, 0, 0), (np.inf, 1, 0)),
    "softplus": ((0, 0, 0), (np.inf, 1, 0)),
    "swish": ((0, 0, 0), (np.inf, 1, 0)),
    "tanh": ((-1, 0, 0), (1, 0, 0)),
    "threshold": ((0, 0, 0), (1, 0, 0)),
}
NO_LIMIT = {
    "glu": "a product",
    "noisy_relu": "random",
    "prelu": "as leaky_relu, of the slope's sign",
    "softmax": "∞ − ∞",
    "log_softmax": "∞ − ∞",
}


@pytest.mark.parametrize("name", [*LIMITS, "gelu, approximate"])
def test_activations_reach_their_limits_at_infinity(name):
    assert {*LIMITS, *NO_LIMIT} == {n.rpartition(".")[2] for n in laws.FUNCTIONS if n.startswith("activations.")}
    name, _, approximate = name.partition(", ")
    options = {"approximate": True} if approximate else {}
    f = functools.partial(laws.FUNCTIONS[f"activations.{name}"], **options)
    for dtype in (jnp.float32, *HALVES):
        for x, expected in zip((-jnp.inf, jnp.inf), LIMITS[name], strict=True):
            x = jnp.asarray(x, dtype)
            assert [float(g(x)) for g in (f, jax.grad(f), jax.grad(jax.grad(f)))] == pytest.approx(expected, rel=1e-2)
    huge = [float(jax.grad(f)(jnp.float32(x))) for x in (-3e38, -1e20, 1e20, 3e38)]
    assert huge == pytest.approx([LIMITS[name][0][1]] * 2 + [LIMITS[name][1][1]] * 2)


def test_losses_at_infinity():
    for label, signs in ((0.0, (-np.inf, np.inf)), (1.0, (np.inf, -np.inf))):
        right, wrong = (jnp.float32(z) for z in signs)
        loss = losses.sigmoid_binary_cross_entropy
        assert [float(loss(right, label)), float(jax.grad(loss)(right, label))] == [0, 0]
        assert float(loss(wrong, label)) == np.inf
        assert float(jax.grad(loss)(wrong, label)) == (1 if label == 0 else -1)
        # the label keeps its derivative
        assert float(jax.grad(loss, 1)(jnp.float32(2), jnp.float32(label))) == pytest.approx(-2)
        value, _ = laws.FUNCTIONS["backprop.sigmoid_binary_cross_entropy_forward"](right, label)
        assert float(value) == 0
    assert losses.softmax_cross_entropy(jnp.array([-jnp.inf, 0.0, 0.0]), jnp.int32(1)) == pytest.approx(np.log(2))
    assert np.isfinite(jax.grad(lambda v: losses.margin(v, jnp.array([1, 0])))(jnp.array([3e38, 0.0]))).all()
    for loss in (losses.hinge, losses.perceptron):
        assert [float(loss(jnp.float32(f), 1)) for f in (np.inf, -np.inf)] == [0, np.inf]


@pytest.mark.slow
def test_a_traced_rate_of_one_drops_everything_and_has_finite_derivatives():
    dropping = ("dropout", "spatial_dropout", "stochastic_depth", "dropconnect", "shakeout", "zoneout")
    assert {n for n in laws.KEYED if n.startswith("layers.")} == {
        *(f"layers.{name}" for name in dropping),
        "layers.gaussian_dropout",  # its noise grows without bound
        "layers.whiteout",  # has no rate
    }
    for name in dropping:
        example = laws.examples(f"layers.{name}")[0]
        f = functools.partial(laws.FUNCTIONS[f"layers.{name}"], laws.KEY)
        options = {key: value for key, value in example.options.items() if key != "rate"}

        def total(x, rate, f=f, options=options, others=example.args[1:]):
            return f(x, *others, rate=rate, **options).sum()

        x = jnp.asarray(example.args[0])
        at_one = jax.jit(jax.grad(total, (0, 1)))(x, jnp.float32(1))
        second = jax.jit(jax.grad(lambda x, r, t=total: jax.grad(t)(x, r).sum(), 1))(x, jnp.float32(1))
        assert all(np.isfinite(leaf).all() for leaf in (*at_one, second)), name
        if name != "shakeout":  # its weights become −c sgn(w)
            assert (np.asarray(at_one[0]) == 0).all(), name


# ---------------------------------------------------------------- labels

OF_LABELS = {  # predictions, labels, and labels of another convention
    "binary_cross_entropy": (jnp.full(4, 0.3), [0, 1, 1, 0], [-1]),
    "hinge": (jnp.full(4, 0.3), [-1, 1, 1, -1], [0]),
    "kl_divergence": (laws.Z[[0, 1, 2, 0]], [0, 1, 2, 3], None),
    "margin": (laws.Z[[0, 1, 2, 0]], [0, 1, 2, 3], None),
    "nll": (laws.Z[[0, 1, 2, 0]], [0, 1, 2, 3], None),
    "perceptron": (jnp.full(4, 0.3), [-1, 1, 1, -1], [0]),
    "sigmoid_binary_cross_entropy": (jnp.full(4, 0.3), [0, 1, 1, 0], [-1]),
    "sigmoid_focal": (jnp.full(4, 0.3), [0, 1, 1, 0], [-1]),
    "softmax_cross_entropy": (laws.Z[[0, 1, 2, 0]], [0, 1, 2, 3], None),
    "softmax_focal": (laws.Z[[0, 1, 2, 0]], [0, 1, 2, 3], None),
}
VECTORS = laws.Z[[0, 1, 2, 0]]
OF_TARGETS = {  # arguments whose rows a mask can leave out
    "absolute_error": (jnp.full(4, 0.3), jnp.arange(4.0)),
    "contrastive": (VECTORS, VECTORS[::-1], jnp.ones(4)),
    "cosine_distance": (VECTORS, VECTORS[::-1]),
    "ctc": (jnp.stack([VECTORS] * 3), jnp.ones((3, 2), int)),
    "half_squared_error": (jnp.full(4, 0.3), jnp.arange(4.0)),
    "huber": (jnp.full(4, 0.3), jnp.arange(4.0)),
    "info_nce": (VECTORS, VECTORS[::-1]),
    "log_cosh": (jnp.full(4, 0.3), jnp.arange(4.0)),
    "squared_error": (jnp.full(4, 0.3), jnp.arange(4.0)),
    "squared_log_error": (jnp.full(4, 0.3), 1 + jnp.arange(4.0)),
    "triplet": (VECTORS, VECTORS[::-1], 2 * VECTORS),
}


def test_the_losses_of_labels_are_those_named():
    assert {*OF_LABELS, *OF_TARGETS} == set(losses.__all__)


@pytest.mark.parametrize("name", OF_TARGETS)
def test_a_mask_leaves_rows_out_whatever_they_hold(name, untyped):
    loss, args = getattr(losses, name), OF_TARGETS[name]
    n = len(args[0])
    where = jnp.arange(n) != 1
    spoilt = [x.at[1].set(jnp.nan if laws.is_float(x) else -100) for x in map(jnp.asarray, args)]
    kept = [jnp.asarray(x)[where] for x in args]
    for run in (lambda f: f, jax.jit):
        value, gradient = run(jax.value_and_grad(lambda x: (loss(x, *spoilt[1:], where=where) ** 2).sum()))(spoilt[0])
        expected, of_kept = jax.value_and_grad(lambda x: (loss(x, *kept[1:]) ** 2).sum())(kept[0])
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        np.testing.assert_allclose(gradient[where], of_kept, rtol=1e-4, atol=1e-6)
        assert not np.any(gradient[1])
    for wrong in (where[:, None], where.astype(jnp.float32), True):
        with pytest.raises(ValueError, match="where: got shape"):
            loss(*args, where=wrong)


@pytest.mark.parametrize("ignored", [-1, -100])
@pytest.mark.parametrize("name", OF_LABELS)
def test_masked_rows_are_zero_with_zero_gradient_whatever_they_hold(name, ignored):
    loss = getattr(losses, name)
    predictions, labels, _ = OF_LABELS[name]
    where = jnp.array([True, False, True, False])
    spoilt = jnp.asarray(labels).at[1].set(ignored).at[3].set(ignored)
    x = jnp.asarray(predictions).at[1].set(jnp.nan).at[3].set(jnp.inf)
    for run in (lambda f: f, jax.jit):
        value = run(loss)(x, spoilt, where=where)
        np.testing.assert_array_equal(value[1::2], 0)
        np.testing.assert_allclose(value[::2], loss(jnp.asarray(predictions), jnp.asarray(labels))[::2], rtol=1e-6)
        gradient = run(jax.grad(lambda x: loss(x, spoilt, where=where).sum()))(x)
        np.testing.assert_array_equal(gradient[1::2], 0)
        assert np.isfinite(gradient).all()
    if ignored not in labels:
        assert np.isnan(loss(jnp.asarray(predictions), spoilt)).any()
    one_hot = spoilt if predictions.ndim == 1 else jnp.eye(4)[jnp.asarray(labels)].at[1].set(jnp.nan)
    np.testing.assert_array_equal(loss(x, one_hot, where=where)[1::2], 0)


@pytest.mark.slow
def test_the_loss_of_capsules_takes_a_mask_too():
    where, labels = jnp.array([True, False]), jnp.array([1, -100])
    vectors = jnp.asarray(laws.normal(2, 3, 2))

    def loss(vectors):
        decode = jax.tree_util.Partial(lambda z: z)
        outputs = Capsules(layers.capsule_length(vectors), vectors, jnp.zeros((2, 1, 2, 3)), decode)
        return capsule_loss(outputs, labels, where=where)

    expected = losses.margin(layers.capsule_length(vectors[0]), 1) + 5e-4 * (vectors[0, 1] ** 2).sum()
    np.testing.assert_allclose(loss(vectors), [expected, 0], rtol=1e-6)
    gradient = jax.grad(lambda vectors: loss(vectors).sum())(vectors)
    assert (np.asarray(gradient[1]) == 0).all()
    assert np.isfinite(gradient[0]).all()


def test_a_mask_of_another_shape_or_dtype_is_refused(untyped):
    for name, (predictions, labels, _) in OF_LABELS.items():
        for where in (jnp.array([True, False]), jnp.ones((4, 1), bool), jnp.ones(4), True):
            with pytest.raises(ValueError, match="where: got shape"):
                getattr(losses, name)(jnp.asarray(predictions), jnp.asarray(labels), where=where)


@pytest.mark.parametrize("name", [name for name, row in OF_LABELS.items() if row[2]])
def test_labels_of_another_convention_spoil_the_whole_call(name):
    predictions, _, foreign = OF_LABELS[name]
    loss, labels = getattr(losses, name), jnp.array([1, 1, 1, foreign[0]])
    for run in (loss, jax.jit(loss)):
        assert np.isnan(run(predictions, labels)).all()
    if (forward := laws.FUNCTIONS.get(f"backprop.{name}_forward")) is not None:
        assert np.isnan(forward(predictions, labels)[0]).all()


def test_0_1_labels_of_margin_spoil_the_call_where_one_lies_outside():
    v = jnp.full((2, 2), 0.5)
    assert np.isnan(losses.margin(v, jnp.array([[1, 0], [1, -1]]))).all()
    assert np.isnan(losses.margin(v, jnp.array([1, 7]))).tolist() == [False, True]


# ---------------------------------------------------------------- ranks, masks of weights, tails, gradients


def test_the_most_probable_classes_are_ranked_by_their_logits():
    for logits in ([0.0, 200.0, 100.0], [-1e30, 1e30, 0.0], [0, 2**24 + 1, 2**24]):
        classes, probabilities = metrics.top_k_classes(jnp.asarray(logits, jnp.float32), k=3)
        assert classes.tolist() == [1, 2, 0]
        assert probabilities[0] >= probabilities[1] >= probabilities[2]
    assert metrics.top_k_classes(jnp.array([-0.0, 0.0]), k=2)[0].tolist() == [0, 1]  # a tie
    assert np.isnan(metrics.top_k_classes(jnp.array([jnp.nan, 0.0]), k=2)[1]).all()


LINEAR_MODEL = {"w": jnp.ones(3), "b": jnp.ones(())}


@pytest.mark.parametrize("name", sorted(OF_ABSOLUTE_VALUES))
def test_a_penalty_of_nothing_is_refused_and_paths_select(name):
    penalty = laws.FUNCTIONS[name]
    for mask in (None, {"w": False, "b": False}, lambda params: jax.tree.map(lambda _: False, params)):
        with pytest.raises(ValueError, match="mask: selects no leaf of params"):
            jax.eval_shape(lambda mask=mask: penalty(LINEAR_MODEL, 2.0, mask=mask))
    if name != "regularizers.max_norm":  # a vector has no columns
        with pytest.raises(ValueError, match="mask=True counts one array"):
            penalty(jnp.ones(3), 2.0)
        vector, row = penalty(jnp.arange(3.0), 2.0, mask=True), penalty(jnp.arange(3.0)[None], 2.0)
        assert np.array_equal(np.ravel(vector), np.ravel(row))
    assert jax.tree.leaves(penalty({}, 2.0)) in ([], [0])
    by_path = regularizers.path_mask("^w$")
    assert by_path(LINEAR_MODEL) == {"w": True, "b": False}
    assert by_path({"a": [{"w": 1}], "w": 2}) == {"a": [{"w": False}], "w": True}
    assert regularizers.path_mask(lambda path: path == "a/0/w")({"a": [{"w": 1}]}) == {"a": [{"w": True}]}
    mask, model = {"w": True, "b": False}, LINEAR_MODEL
    if name == "regularizers.max_norm":  # a unit's weights are a column, which a vector has not
        model = {**LINEAR_MODEL, "w": jnp.ones((3, 1))}
    assert jax.tree.all(jax.tree.map(np.array_equal, *(penalty(model, 2.0, mask=one) for one in (by_path, mask))))
    assert regularizers.l2(LINEAR_MODEL, 2.0, mask=by_path) == 3


def test_a_tree_of_bools_that_can_be_called_is_a_tree():
    class Linear(equinox.Module):
        w: jax.Array | bool
        b: jax.Array | bool

        def __call__(self, x):
            return x

    assert regularizers.l2(Linear(jnp.ones(3), jnp.ones(())), 2.0, mask=Linear(True, False)) == 3


@pytest.mark.parametrize("bounds", [(6, 7), (-7, -6), (2.5, 4), (10, np.inf), (-np.inf, -9), (30, 31), (-1, 8)])
def test_truncated_normals_have_scipy_s_distribution(bounds):
    lower, upper = bounds
    init = initializers.truncated_normal(2.0, lower=lower, upper=upper)
    drawn = np.asarray(init(jax.random.key(0), (100, 200)), np.float64).ravel() / 2
    expected = stats.truncnorm(lower, upper)
    assert drawn.mean() == pytest.approx(expected.mean(), abs=5 * expected.std() / len(drawn) ** 0.5)
    assert stats.kstest(drawn, expected.cdf).statistic < 0.015
    assert lower <= drawn.min() <= drawn.max() <= upper


def test_a_gradient_that_rounding_hides_is_never_ok():
    point = jnp.array([1.0, 2.0, 3.0])
    zeros = lambda tree, cotangent: jax.tree.map(jnp.zeros_like, tree)
    for scale, offset in ((1, 1e6), (1, 1e9), (1e-6, 1), (1e3, 1e9)):
        f = lambda x, scale=scale, offset=offset: offset + scale * (x**2).sum()
        for backward in (zeros, None):
            report = gradcheck.check_grad(f, point, backward=backward)
            assert not report.ok
            assert report.leaves[0].problem == "cannot tell: rounding hides it"
        with pytest.raises(AssertionError, match="cannot be told from rounding"):
            gradcheck.assert_grad(f, point)
        with jax.enable_x64(True):
            wide = jnp.asarray(point, jnp.float64)
            assert gradcheck.check_grad(f, wide).ok
            assert gradcheck.check_grad(f, wide, backward=zeros).leaves[0].problem == "wrong"
    assert gradcheck.check_grad(lambda x: (x > 1.5).astype(x.dtype).sum(), point).ok  # no slope and none hidden


# ---------------------------------------------------------------- keys


def test_every_random_function_says_what_a_key_is(untyped):
    for name in sorted(laws.KEYED):
        if name.startswith("augmentation."):  # the tests of `data` have these
            continue
        example = laws.examples(name)[0]
        with pytest.raises(ValueError, match="key: got 0, allowed are PRNG keys"):
            laws.FUNCTIONS[name](0, *example.args, **example.options)
    for name, init in laws.INITIALIZERS.items():
        if name.rpartition(".")[2] not in ("zeros", "ones", "constant"):
            with pytest.raises(ValueError, match="key: got 0, allowed are PRNG keys"):
                init(0, (2, 4))

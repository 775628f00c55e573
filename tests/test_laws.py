"""Laws that every public function obeys, whoever adds it and when.

A function of the modules below needs a row in EXAMPLES or INITIALIZERS, or a name in a set of those with laws of their
own: PAIRS (forward and backward, with a row in `benchmarks.backprop_examples`), FITS (a search for an optimum), PLAIN
(takes or gives Python values or functions). Without one, a test fails the day it is added. The laws:

* jit, eager, vmap over any stack of arguments and a loop agree to 16 ulps at leaf scale (bfloat16: 2);
* a batch is a loop over its examples, unless the function mixes examples (MIXES), draws noise (KEYED), or takes one
  example (or one batch) at a time and is mapped by the user (SINGLE);
* float32 and bfloat16 are kept, unless the result is a statistic in float32 (WIDE);
* every mode of differentiation runs, and they agree with one another and with finite differences in float64;
* an empty batch gives an empty result; `key` comes first; options are keyword-only;
* 0 and ±1e4 give finite values and gradients in float32 and bfloat16, unless the function is UNDEFINED there;
  inf and NaN in one example change no other.
"""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from benchmarks import backprop_examples
from jaxdl import activations, backprop, classical, initializers, layers, losses, metrics, regularizers
from jaxdl.data import augmentation
from tests import examples_layers
from tests.examples import BOTH, CLASS, Example, N, Z, normal, one_of, positive

KEY = jax.random.key(20)
# compiling takes most of the time, and only the tests of jit need optimised programs
OPTIONS = {"xla_backend_optimization_level": 0}
if jax.__version_info__ < (0, 11):
    OPTIONS["xla_cpu_use_fusion_emitters"] = False  # later versions of XLA have no such option
quick_jit = functools.partial(jax.jit, compiler_options=OPTIONS)


SIGNED = np.array([[0, 1, 1, 0, 1, 0]] * N)
PICTURES = positive(N, 6, 5, 3)  # away from 0 and 1
DEEP = ({"kernel": normal(4, 3), "bias": normal(3)}, {"kernel": normal(3, 2)})
NETS = ({"kernel": normal(N, 4, 3), "bias": normal(N, 3)}, {"kernel": normal(N, 3, 2)})
TREE = {"kernel": normal(N, 2, 3), "bias": normal(3)}

OTHER_ACTIVATIONS = ("noisy_relu", "prelu")  # these take more than x
ELEMENTWISE = {
    f"activations.{name}": Example((3 * Z,)) for name in activations.__all__ if name not in OTHER_ACTIVATIONS
}
POSITIVE = {"pos_weight": np.array([0.5, 1, 2, 3], np.float32)}
WEIGHED = {"class_weights": np.array([0.5, 1, 2, 3], np.float32)}

EXAMPLES: dict[str, Example | list[Example]] = {
    **ELEMENTWISE,
    "augmentation.alternating_flip": Example((PICTURES,), options={"epoch": 1}),
    "augmentation.brightness": Example((PICTURES,)),
    "augmentation.contrast": Example((PICTURES,)),
    "augmentation.crop": Example((PICTURES,), options={"padding": 2, "mode": "reflect"}),
    "augmentation.cutmix": Example((positive(N, 4, 6, 5, 3), positive(N, 4, 2)), BOTH),
    "augmentation.cutout": Example((PICTURES,), options={"size": 3}),
    "augmentation.drop_pixels": Example((PICTURES,), options={"rate": 0.3}),
    "augmentation.flip": Example((PICTURES,)),
    "augmentation.hue": Example((PICTURES,)),
    "augmentation.mixup": Example((positive(N, 4, 6, 5, 3), positive(N, 4, 2)), BOTH, {"alpha": 1.0}),
    "augmentation.noise": Example((PICTURES,)),
    "augmentation.random_resized_crop": Example((PICTURES,)),
    "augmentation.rotate": Example((PICTURES,)),
    "augmentation.saturation": Example((PICTURES,)),
    "augmentation.scale": Example((PICTURES,)),
    "augmentation.translate": Example((PICTURES,)),
    "augmentation.vertical_flip": Example((PICTURES,)),
    "classical.collapse_linear": Example((NETS,)),
    "classical.deep_linear": Example((DEEP, Z), (1,)),
    "activations.noisy_relu": [Example((Z,)), Example((Z,), options={"sigmoid_is": "deviation"})],
    "activations.prelu": Example((3 * Z, positive(4))),
    **examples_layers.EXAMPLES,
    "losses.squared_error": Example((Z, normal(N, 4)), BOTH),
    "losses.half_squared_error": Example((Z, normal(N, 4)), BOTH),
    "losses.absolute_error": Example((Z, normal(N, 4)), BOTH),
    "losses.squared_log_error": Example((positive(N, 4), positive(N, 4)), BOTH),
    "losses.huber": Example((3 * Z, normal(N, 4)), BOTH, {"delta": 0.7}),
    "losses.log_cosh": Example((3 * Z, normal(N, 4)), BOTH),
    "losses.binary_cross_entropy": Example((positive(N, 4), one_of([0, 1], N, 4)), BOTH, POSITIVE),
    "losses.sigmoid_binary_cross_entropy": [
        Example((Z, positive(N, 4)), BOTH),
        Example((Z, positive(N, 4)), BOTH, POSITIVE),
    ],
    "losses.sigmoid_focal": Example((Z, positive(N, 4)), BOTH, {"gamma": 1.5, "alpha": 0.3}),
    "losses.softmax_cross_entropy": [
        Example((Z, CLASS), BOTH, WEIGHED),
        Example((Z, positive(N, 4)), BOTH, {"label_smoothing": 0.1}),
    ],
    "losses.softmax_focal": Example((Z, positive(N, 4)), BOTH, {"gamma": 1.5, **WEIGHED}),
    "losses.nll": [Example((Z, CLASS), BOTH, WEIGHED), Example((Z, positive(N, 4)), BOTH)],
    "losses.kl_divergence": Example((Z, positive(N, 4)), BOTH),
    "losses.margin": Example((positive(N, 4), CLASS), BOTH, WEIGHED),
    "losses.hinge": Example((Z, one_of([-1, 1], N, 4)), BOTH, POSITIVE),
    "losses.perceptron": Example((Z, one_of([-1, 1], N, 4)), BOTH),
    "losses.contrastive": Example((0.3 * Z, normal(N, 4), positive(N)), (0, 1, 2), {"margin": 3.0}),
    "losses.cosine_distance": Example((Z, normal(N, 4)), BOTH),
    "losses.ctc": Example((normal(N, 5, 4), one_of([1, 2, 3], N, 2)), BOTH, {"blank": 0}),
    "losses.info_nce": Example((normal(N, 3, 4), normal(N, 3, 4)), BOTH, {"temperature": 0.5}),
    "losses.triplet": Example((Z, normal(N, 4), 2 * normal(N, 4)), (0, 1, 2), {"margin": 3.0}),
    "metrics.accuracy": Example((Z, CLASS), BOTH),
    "metrics.top_k_accuracy": Example((Z, CLASS), BOTH, {"k": 2}),
    "metrics.top_k_classes": Example((Z,)),
    "metrics.rank_of_label": Example((Z, CLASS), BOTH),
    "metrics.average_members": Example((normal(N, 3, 4),)),
    "metrics.majority_vote": Example((normal(N, 3, 4),)),
    "metrics.confusion_matrix": Example((Z, CLASS), BOTH),
    "metrics.scores": Example((np.stack([positive(4, 4)] * N),)),
    "metrics.calibration_bins": Example((Z, CLASS), BOTH, {"bins": 3}),
    "metrics.calibration_error": Example((metrics.CalibrationBins(*positive(3, N, 5)),)),
    "metrics.mean": Example((Z,)),
    "metrics.ratio": Example((metrics.Ratio(positive(N), positive(N)),)),
    "metrics.area_under_curve": Example((normal(N, 5), normal(N, 5)), BOTH),
    "metrics.average_precision": Example((normal(N, 6), SIGNED), BOTH),
    "metrics.binary_accuracy": Example((normal(N, 6), SIGNED), BOTH),
    "metrics.binary_calibration_bins": Example((normal(N, 6), SIGNED), BOTH, {"bins": 3}),
    "metrics.binary_confusion_matrix": Example((normal(N, 6), SIGNED), BOTH, {"per_label": True}),
    "metrics.histogram_examples": Example((metrics.ScoreHistogram(*positive(2, N, 5)),)),
    "metrics.precision_recall_curve": Example((normal(N, 6), SIGNED), BOTH),
    "metrics.regression_scores": Example((metrics.RegressionSums(*positive(4, N, 2), 3 + positive(N, 2)),)),
    "metrics.regression_sums": Example((normal(N, 2), normal(N, 2)), BOTH),
    "metrics.reliability": Example((metrics.CalibrationBins(*positive(3, N, 5)),)),
    "metrics.roc_auc": Example((normal(N, 6), SIGNED), BOTH),
    "metrics.roc_curve": Example((normal(N, 6), SIGNED), BOTH),
    "metrics.score_histogram": Example((positive(N, 6), SIGNED), BOTH, {"bins": 4}),
    "metrics.subset_accuracy": Example((normal(N, 6), SIGNED), BOTH),
    "regularizers.l1": Example((TREE, np.float32(0.3)), options={"count": 7}),
    "regularizers.l2": Example((TREE, np.float32(0.3)), options={"count": 7}),
    "regularizers.weight_decay": Example((TREE, np.float32(0.3))),
    "regularizers.elastic_net": Example((TREE, np.float32(0.3)), options={"l1_ratio": 0.2}),
    "regularizers.max_norm": Example(({"kernel": normal(N, 2, 3)}, np.float32(0.3))),
    "regularizers.soft_threshold": Example(({"kernel": normal(N, 2, 3)}, np.float32(0.3))),
}

INITIALIZERS = {
    "initializers.zeros": initializers.zeros(),
    "initializers.ones": initializers.ones(),
    "initializers.constant": initializers.constant(0.3),
    "initializers.normal": initializers.normal(0.3),
    "initializers.uniform": initializers.uniform(0.3),
    "initializers.truncated_normal": initializers.truncated_normal(0.3),
    "initializers.variance_scaling": initializers.variance_scaling(1.5, "fan_avg", "truncated_normal"),
    "initializers.lecun_normal": initializers.lecun_normal(),
    "initializers.lecun_uniform": initializers.lecun_uniform(),
    "initializers.he_normal": initializers.he_normal(),
    "initializers.he_uniform": initializers.he_uniform(groups=2),
    "initializers.glorot_normal": initializers.glorot_normal(),
    "initializers.glorot_uniform": initializers.glorot_uniform(gain=4),
    "initializers.orthogonal": initializers.orthogonal(),
}

PLAIN = {
    "augmentation.compose",
    "augmentation.per_example",
    "augmentation.rand_augment",  # compiles fourteen operations in every law; test_data_augmentation has its own
    "backprop.install",
    "initializers.fans",
    "initializers.gain",
    "regularizers.path_mask",
    "regularizers.weights_mask",
}
PAIRS = {f"backprop.{name}_{way}" for name in backprop_examples.EXAMPLES for way in ("forward", "backward")}
POINTS, SIGNS = normal(12, 2), one_of([0, 1], 12)
POINTS[:, 0] += SIGNS  # apart, but not separable
FITS = {
    "classical.linear_regression": Example((POINTS, normal(12))),
    "classical.logistic_regression": Example((POINTS, SIGNS)),
    "classical.perceptron": Example((POINTS + 9 * SIGNS[:, None], 2 * SIGNS - 1)),
    "classical.softmax_regression": Example((POINTS, one_of([0, 1, 2], 12)), options={"num_classes": 3}),
}
AUGMENTATIONS = {name for name in EXAMPLES if name.startswith("augmentation.")}
OF_ALL_SCORES = {"metrics.average_precision", "metrics.histogram_examples", "metrics.precision_recall_curve"}
OF_ALL_SCORES |= {"metrics.regression_sums", "metrics.roc_auc", "metrics.roc_curve"}
SINGLE = {*AUGMENTATIONS, "classical.collapse_linear", "losses.info_nce", *OF_ALL_SCORES}
KEYED_ELSEWHERE = {"augmentation.rand_augment", "backprop.dropout_forward", "backprop.noisy_relu_forward"}
KEYED = {
    *AUGMENTATIONS,
    "activations.noisy_relu",
    "layers.dropconnect",
    "layers.dropout",
    "layers.gaussian_dropout",
    "layers.shakeout",
    "layers.spatial_dropout",
    "layers.stochastic_depth",
    "layers.whiteout",
    "layers.zoneout",
}
MIXES = {
    "layers.batch_statistics",
    "metrics.accuracy",
    "metrics.binary_accuracy",
    "metrics.binary_calibration_bins",
    "metrics.binary_confusion_matrix",
    "metrics.calibration_bins",
    "metrics.calibration_error",
    "metrics.confusion_matrix",
    "metrics.mean",
    "metrics.score_histogram",
    "metrics.subset_accuracy",
    "metrics.top_k_accuracy",
    "regularizers.elastic_net",
    "regularizers.l1",
    "regularizers.l2",
    "regularizers.max_norm",
    "regularizers.weight_decay",
}
WIDE = {
    "layers.batch_statistics",
    *OF_ALL_SCORES,
    "metrics.accuracy",
    "metrics.area_under_curve",
    "metrics.average_members",
    "metrics.binary_accuracy",
    "metrics.binary_calibration_bins",
    "metrics.binary_confusion_matrix",
    "metrics.calibration_bins",
    "metrics.confusion_matrix",
    "metrics.majority_vote",
    "metrics.mean",
    "metrics.score_histogram",
    "metrics.subset_accuracy",
    "metrics.rank_of_label",
    "metrics.scores",
    "metrics.top_k_accuracy",
    "metrics.top_k_classes",
}
UNDEFINED = {
    "losses.squared_log_error": "the logarithm of what is not positive is NaN",
    "metrics.calibration_error": "of a count of 0 it is NaN",
    "metrics.ratio": "of a count of 0 it is NaN",
    "metrics.regression_scores": "of a count of 0 it is NaN",
    "metrics.reliability": "of a count of 0 it is NaN",
}
MODULES = (activations, augmentation, backprop, classical, initializers, layers, losses, metrics, regularizers)


def public_functions():
    found = {}
    for module in MODULES:
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(inspect.unwrap(value)):
                found[f"{module.__name__.rpartition('.')[2]}.{name}"] = value
    return found


FUNCTIONS = public_functions()


def examples(name):
    row = EXAMPLES[name]
    return row if isinstance(row, list) else [row]


over_all = pytest.mark.parametrize(("name", "i"), [(name, i) for name in EXAMPLES for i in range(len(examples(name)))])


def bound(name, example):
    """Return the function with the example's options, and a key if it takes one, bound."""
    f = functools.partial(FUNCTIONS[name], **example.options)
    return functools.partial(f, KEY) if name in KEYED else f


def arguments(name, example, dtype):
    """Return the arguments of a call: the batch, or one example of it."""
    return cast(take(example.args, example.batched, 0) if name in SINGLE else example.args, dtype)


def is_float(x):
    return jnp.issubdtype(jnp.result_type(x), jnp.floating)


def cast(tree, dtype):
    return jax.tree.map(lambda x: jnp.asarray(x, dtype) if is_float(x) else jnp.asarray(x), tree)


def ulps(a, b):
    """Return |a − b| in units of the spacing at the largest finite entry; inf if shape, dtype or infinities differ."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return np.inf
    if not is_float(a):
        return 0.0 if (np.asarray(a) == np.asarray(b)).all() else np.inf
    eps = float(jnp.finfo(a.dtype).eps)
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    finite = np.isfinite(a)
    if not (finite == np.isfinite(b)).all() or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return np.inf
    if not finite.any() or np.array_equal(a, b, equal_nan=True):
        return 0.0
    largest = max(np.abs(a[finite]).max(), np.abs(b[finite]).max())
    return np.abs(a - b)[finite].max() / (2.0 ** np.floor(np.log2(largest)) * eps)


def distance(a, b):
    if jax.tree.structure(a) != jax.tree.structure(b):
        return np.inf
    return max(map(ulps, jax.tree.leaves(a), jax.tree.leaves(b)), default=0.0)


def stack(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def take(args, which, i):
    return tuple(jax.tree.map(lambda x: x[i], a) if k in which else a for k, a in enumerate(args))


def mapped_and_looped(name, i):
    """Return the batch as written, mapped and looped over, and pairs (mapped, looped) for a stack of each argument."""
    example = examples(name)[i]
    f, args, batch = bound(name, example), arguments(name, example, jnp.float32), cast(example.args, jnp.float32)
    count = range(len(args))

    def over(stacked, which, n):
        axes = tuple(0 if k in which else None for k in count)
        return jax.vmap(f, axes)(*stacked), stack([f(*take(stacked, which, j)) for j in range(n)])

    @quick_jit
    def everything(args, batch):
        others = jax.tree.map(lambda x: jnp.roll(x, 1, 0) if x.ndim else x + 1, args)
        pairs = [over(take_stack(args, others, {k}), {k}, 2) for k in count]
        return f(*args), *over(batch, example.batched, N), pairs

    return everything(args, batch)


def take_stack(args, others, which):
    return tuple(stack([a, b]) if k in which else a for k, (a, b) in enumerate(zip(args, others, strict=True)))


# ---------------------------------------------------------------- the tables are complete and true


def test_every_public_function_has_its_laws():
    assert set(FUNCTIONS) == {*EXAMPLES, *INITIALIZERS, *PAIRS, *FITS, *PLAIN}
    assert set(EXAMPLES) >= KEYED | MIXES | WIDE | SINGLE | set(UNDEFINED)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_key_comes_first_and_options_are_keyword_only(name):
    parameters = list(inspect.signature(FUNCTIONS[name]).parameters.values())
    names = [p.name for p in parameters]
    assert (names[:1] == ["key"]) == (name in KEYED | KEYED_ELSEWHERE)
    for p in parameters:
        if p.name == "key" and name not in KEYED | KEYED_ELSEWHERE:  # noise is optional here
            assert (p.kind, p.default) == (p.KEYWORD_ONLY, None)
        assert p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) or name == "augmentation.compose"
        if p.kind == p.POSITIONAL_OR_KEYWORD:  # the default of an optional array is None
            assert p.default in (p.empty, None)


# ---------------------------------------------------------------- the laws


@over_all
def test_vmap_is_a_loop_and_so_is_a_batch(name, i):
    written, mapped, looped, pairs = mapped_and_looped(name, i)
    assert distance(mapped, looped) <= 16
    if name not in SINGLE:
        assert (distance(written, looped) <= 16) == (name not in KEYED | MIXES)
    for k, (mapped, looped) in enumerate(pairs):
        assert distance(mapped, looped) <= 16, f"argument {k}"


@over_all
def test_jit_is_eager_and_the_dtype_is_kept(name, i):
    example = examples(name)[i]
    f = bound(name, example)
    for dtype, allowed in ((jnp.float32, 16), (jnp.bfloat16, 2)):
        args = arguments(name, example, dtype)
        eager, jitted = f(*args), jax.jit(f)(*args)
        assert distance(eager, jitted) <= allowed
        kept = jnp.float32 if name in WIDE else dtype
        assert {x.dtype for x in jax.tree.leaves(eager) if is_float(x)} <= {jnp.dtype(kept)}


@over_all
def test_every_mode_of_differentiation_agrees_with_finite_differences(name, i):
    with jax.enable_x64(True):
        results = quick_jit(functools.partial(derivatives, name, examples(name)[i]))()
    first, second, values = (jax.tree.map(np.asarray, results[k]) for k in ("first", "second", "values"))
    for kind, (got, expected, tolerance) in {**first, **second}.items():
        scale = np.abs(expected).max() + 1
        np.testing.assert_allclose(got, expected, atol=tolerance * scale, rtol=0, err_msg=kind)
    for kind, (got, expected) in values.items():
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12, err_msg=kind)


def derivatives(name, example):
    """Differentiate a weighted sum of the outputs in float64 in every mode; pair each result with its oracle."""
    f, args = bound(name, example), arguments(name, example, jnp.float64)
    floats = tuple(k for k, a in enumerate(args) if all(map(is_float, jax.tree.leaves(a))))
    x, unravel = ravel_pytree([args[k] for k in floats])

    def outputs(x):
        full = list(args)
        for k, value in zip(floats, unravel(x), strict=True):
            full[k] = value
        kept = [y.astype(jnp.float64).ravel() for y in jax.tree.leaves(f(*full)) if is_float(y)]
        return jnp.concatenate([*kept, jnp.zeros(1)])

    keys = jax.random.split(jax.random.key(9), 2)
    weights = jax.random.normal(keys[0], jax.eval_shape(outputs, x).shape, jnp.float64)
    v = jax.random.normal(keys[1], x.shape, jnp.float64)

    def g(x):
        return weights @ outputs(x)

    h = 1e-6
    gradient, along = jax.grad(g), jax.jvp(outputs, (x,), (v,))[1]
    hessian_v = jax.jvp(gradient, (x,), (v,))[1]
    points = jnp.stack([x, x + h * v, x - h * v])
    scanned, (values, gradients) = jax.lax.scan(lambda c, x: (c + g(x), (outputs(x), gradient(x))), 0.0, points)
    return {
        "first": {
            "jvp": (along, (values[1] - values[2]) / (2 * h), 1e-7),
            "linearize": (jax.linearize(outputs, x)[1](v), along, 1e-12),
            "grad": (gradient(x) @ v, weights @ along, 1e-12),
        },
        "second": {
            "jvp of grad": (hessian_v, (gradients[1] - gradients[2]) / (2 * h), 1e-6),
            "grad of grad": (jax.grad(lambda x: gradient(x) @ v)(x), hessian_v, 1e-12),
            "grad of jvp": (jax.grad(lambda x: weights @ jax.jvp(outputs, (x,), (v,))[1])(x), hessian_v, 1e-12),
            "hessian": (jax.hessian(g)(x) @ v, hessian_v, 1e-12),
        },
        "values": {
            "remat": (jax.grad(jax.checkpoint(g))(x), gradients[0]),
            "scan": (scanned, (values @ weights).sum()),
        },
    }


@over_all
def test_an_empty_batch_gives_an_empty_result(name, i):
    example = examples(name)[i]
    f, full = bound(name, example), cast(example.args, jnp.float32)
    if name in SINGLE:
        f = jax.vmap(f, tuple(0 if k in example.batched else None for k in range(len(full))))
    result = quick_jit(f)(*take(full, example.batched, slice(0)))
    if name not in MIXES:
        expected = jax.tree.map(lambda y: (0, *y.shape[1:]), jax.eval_shape(f, *full))
        assert jax.tree.map(jnp.shape, result) == expected


def data_argument(example):
    """Return the first argument that carries the batch and holds floats alone, or None."""
    return next((k for k in example.batched if all(map(is_float, jax.tree.leaves(example.args[k])))), None)


def with_data(args, k, value):
    return (*args[:k], value, *args[k + 1 :])


def over_data(without=frozenset()):
    """All examples whose data are floats."""
    of = [
        (name, i) for name in EXAMPLES for i, example in enumerate(examples(name)) if data_argument(example) is not None
    ]
    return pytest.mark.parametrize(("name", "i"), [(name, i) for name, i in of if name not in without])


@over_data()
def test_zeros_and_large_numbers_give_finite_values_and_gradients(name, i):
    example = examples(name)[i]
    f, k = bound(name, example), data_argument(example)

    def finite(dtype, pattern):
        args = arguments(name, example, dtype)
        data = jax.tree.map(lambda x: jnp.asarray(np.resize(pattern, x.shape), x.dtype), args[k])

        def outputs(data):
            return [y for y in jax.tree.leaves(f(*with_data(args, k, data))) if is_float(y)]

        gradient = jax.grad(lambda data: sum(y.astype(jnp.float32).sum() for y in outputs(data)) + 0.0)(data)
        return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves((outputs(data), gradient))]).all()

    patterns = ([0.0], [1e4], [-1e4], [0, 1e4, -1e4, 1, -1])
    found = quick_jit(lambda: [[finite(dtype, one) for one in patterns] for dtype in (jnp.float32, jnp.bfloat16)])()
    assert np.array(found).all() == (name not in UNDEFINED), found


@over_data(without=MIXES | SINGLE)
def test_what_is_not_finite_stays_in_its_example(name, i):
    example = examples(name)[i]
    f, args, k = bound(name, example), cast(example.args, jnp.float32), data_argument(example)

    def others(value):
        spoilt = jax.tree.map(lambda x: x.at[(0,) * x.ndim].set(value) if x.ndim else x, args[k])
        return jax.tree.map(lambda y: y[1:], f(*with_data(args, k, spoilt)))

    expected, *found = quick_jit(lambda: [others(value) for value in (1.0, jnp.inf, -jnp.inf, jnp.nan)])()
    for one in found:
        assert distance(one, expected) <= 16


# ---------------------------------------------------------------- pairs and fits: laws of their own


@pytest.mark.parametrize("name", backprop_examples.EXAMPLES)
def test_laws_of_pairs(name):
    """Forward and backward run together here; test_backprop has dtypes, derivatives and oracles."""
    example = backprop_examples.EXAMPLES[name][0]
    forward = functools.partial(FUNCTIONS[f"backprop.{name}_forward"], **example.options)
    backward = functools.partial(FUNCTIONS[f"backprop.{name}_backward"], **example.backward_options)
    floats = [k for k, a in enumerate(example.args) if a is not None and is_float(a)]

    def f(*values):
        args = list(example.args)
        for k, value in zip(floats, values, strict=True):
            args[k] = value
        y, residuals = forward(*args)
        return y, backward(residuals, jax.tree.map(jnp.cos, y))

    values = cast(tuple(example.args[k] for k in floats), jnp.float32)
    stacked = stack([values, jax.tree.map(lambda x: jnp.roll(x, 1, -1) * 0.9, values)])
    run = quick_jit(lambda: (f(*values), jax.vmap(f)(*stacked), stack([f(*(x[i] for x in stacked)) for i in (0, 1)])))
    jitted, mapped, looped = run()
    assert distance(f(*values), jitted) <= 16
    assert distance(mapped, looped) <= 16
    none = jax.eval_shape(jax.vmap(f), *(x[:0] for x in stacked))
    assert jax.tree.map(jnp.shape, none) == jax.tree.map(lambda x: (0, *x.shape), jitted)


@pytest.mark.parametrize("name", FITS)
def test_laws_of_fits(name):
    """The optimum obeys the laws, its path need not; test_classical has the derivatives."""
    x, y = FITS[name].args
    f = functools.partial(FUNCTIONS[name], **FITS[name].options)
    with jax.enable_x64(True):
        y = cast(y, jnp.float64)
        xs = jnp.stack([x, x + 0.1 * np.roll(x, 1, 0)], dtype=jnp.float64)
        mapped = quick_jit(jax.vmap(f, (0, None)))(xs, y)
        looped = stack([f(one, y) for one in xs])
        for a, b in zip(jax.tree.leaves(mapped), jax.tree.leaves(looped), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)
    for dtype in (jnp.float32, jnp.bfloat16):
        fit = jax.eval_shape(f, jnp.asarray(x, dtype), cast(y, dtype))
        assert {a.dtype for a in jax.tree.leaves(fit) if is_float(a)} == {jnp.dtype(jnp.float32)}


# ---------------------------------------------------------------- initialisers: laws of their own


@pytest.mark.parametrize("name", INITIALIZERS)
def test_laws_of_initialisers(name):
    init, shape = INITIALIZERS[name], (3, 2, 4, 6)
    assert list(inspect.signature(init).parameters) == ["key", "shape", "dtype"]
    assert init(KEY, (2, 4)).dtype == jnp.float32
    keys = jax.random.split(KEY, 2)
    for dtype, allowed in ((jnp.float32, 16), (jnp.bfloat16, 2)):
        make = functools.partial(init, shape=shape, dtype=dtype)
        mapped, loop = quick_jit(jax.vmap(make))(keys), stack([*map(make, keys)])
        assert (loop.dtype, loop.shape) == (dtype, (2, *shape))
        assert ulps(loop, mapped) <= allowed
    constant = name.rpartition(".")[2] in ("zeros", "ones", "constant")
    assert constant == bool((loop[0] == loop[1]).all())

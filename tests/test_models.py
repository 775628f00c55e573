"""Every small network: its published size, its shapes, and learning on real images."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxdl import analysis, layers, losses, models, nn

KEY = jax.random.key(0)
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def conv(window, c_in, c_out, bias=True):
    return window * window * c_in * c_out + bias * c_out


def dense(d_in, d_out):
    return (d_in + 1) * d_out


def small_count(size, widths, hidden):
    count, c_in = 0, 1
    for width in widths:
        count += conv(3, c_in, width, bias=False) + 2 * width
        size, c_in = size // 2, width
    return count + dense(size * size * c_in, hidden) + dense(hidden, 10)


# model, size of its images, parameters: published (Lecture row I) or by hand
NETS = {
    "lecture_keras": (models.lecture_keras, 28, 1_668_490),
    "lecture_torch": (models.lecture_torch, 28, 431_080),
    "lenet5": (models.lenet5, 28, 61_706),
    "small_cnn": (models.small_cnn, 28, small_count(28, (32, 64, 128), 256)),
    "tiny_cnn": (models.tiny_cnn, 8, small_count(8, (32, 64), 128)),
    "net_2c2d": (models.net_2c2d, 28, 3_274_634),
    "net_3c3d": (models.net_3c3d, 28, 895_210 - 25 * 2 * 64),  # published for three channels, here is one
    "mlp": (models.mlp, 28, dense(784, 256) + dense(256, 128) + dense(128, 10)),
    "softmax_regression": (models.softmax_regression, 28, 7850),
}
STATEFUL = {"small_cnn", "tiny_cnn"}


@functools.cache
def batch(size, n=64):
    """Return real handwritten digits, 8x8, or enlarged three times with a border of two."""
    images, labels = load_digits(return_X_y=True)
    images = (images[:n].reshape(n, 8, 8) / 16).astype(np.float32)
    if size == 28:
        images = np.pad(np.kron(images, np.ones((1, 3, 3), np.float32)), ((0, 0), (2, 2), (2, 2)))
    return images[..., None], labels[:n].astype(np.int32)


def initial(layer, in_shape):
    return quick_jit(lambda: layer.init(KEY, in_shape))()


# ---------------------------------------------------------------- sizes


def test_the_models_of_the_table_exist():
    assert set(NETS) <= set(models.__all__)  # test_zoo has the rest


@pytest.mark.parametrize("name", NETS)
def test_parameter_counts_are_exact(name):
    make, size, expected = NETS[name]
    assert analysis.count_parameters(make(), (size, size, 1)) == expected


def test_counts_that_the_docstrings_print():
    for name, (_, _, count) in NETS.items():
        documented = getattr(models, name)
        documented = getattr(documented, "func", documented).__doc__
        if name in ("lecture_keras", "lecture_torch", "lenet5", "small_cnn"):
            assert f"{count:,} parameters" in documented
    assert NETS["small_cnn"][2] == 390_634
    assert NETS["tiny_cnn"][2] == 53_098


def test_counts_with_other_classes_widths_and_channels():
    assert analysis.count_parameters(models.lenet5(3), (28, 28, 1)) == 61_706 - 7 * 85
    assert analysis.count_parameters(models.lenet5(), (28, 28, 3)) == 61_706 + 2 * 25 * 6
    assert analysis.count_parameters(models.net_3c3d(), (32, 32, 3)) == 895_210
    assert analysis.count_parameters(models.lecture_keras(5), (28, 28, 1)) == 1_668_490 - 5 * 1025
    wide = models.small_cnn(7, widths=(3, 5), hidden=11)
    expected = 9 * 3 + 6 + 9 * 3 * 5 + 10 + dense(2 * 3 * 5, 11) + dense(11, 7)
    assert analysis.count_parameters(wide, (8, 12, 1)) == expected
    assert analysis.count_parameters(models.mlp(4, widths=[6]), (5,)) == dense(5, 6) + dense(6, 4)


SHAPES = {
    "lecture_keras": {
        "conv1": (26, 26, 32), "pool1": (13, 13, 32), "conv2": (11, 11, 64), "pool2": (5, 5, 64), "flatten": (1600,),
        "fc1": (1024,), "fc2": (10,),
    },
    "lecture_torch": {
        "conv1": (24, 24, 20), "pool1": (12, 12, 20), "conv2": (8, 8, 50), "pool2": (4, 4, 50), "flatten": (800,),
        "fc1": (500,), "fc2": (10,),
    },
    "lenet5": {
        "conv1": (28, 28, 6), "pool1": (14, 14, 6), "conv2": (10, 10, 16), "pool2": (5, 5, 16), "flatten": (400,),
        "fc1": (120,), "fc2": (84,), "fc3": (10,),
    },
    "small_cnn": {
        "stage1/conv": (28, 28, 32), "stage1/pool": (14, 14, 32), "stage2/relu": (7, 7, 64),
        "stage3/norm": (3, 3, 128), "flatten": (1152,), "fc1": (256,), "dropout": (256,), "fc2": (10,),
    },
    "tiny_cnn": {"stage1/relu": (4, 4, 32), "stage2/relu": (2, 2, 64), "flatten": (256,), "fc1": (128,), "fc2": (10,)},
    "net_2c2d": {
        "conv1": (28, 28, 32), "pool1": (14, 14, 32), "conv2": (14, 14, 64), "pool2": (7, 7, 64), "flatten": (3136,),
        "fc1": (1024,), "fc2": (10,),
    },
    "net_3c3d": {
        "conv1": (24, 24, 64), "pool1": (12, 12, 64), "conv2": (10, 10, 96), "pool2": (5, 5, 96),
        "conv3": (5, 5, 128), "pool3": (3, 3, 128), "flatten": (1152,), "fc1": (512,), "fc2": (256,), "fc3": (10,),
    },
    "mlp": {"flatten": (784,), "fc1": (256,), "fc2": (128,), "logits": (10,)},
    "softmax_regression": {"flatten": (784,), "logits": (10,)},
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_shapes_layer_by_layer(name):
    make, size, _ = NETS[name]
    layer = make()
    rows = {row.layer: row.output for row in analysis.layer_rows(layer, (size, size, 1))}
    assert {path: rows[path] for path in SHAPES[name]} == SHAPES[name]
    tapped = nn.tap(layer, list(SHAPES[name]))
    images = jax.ShapeDtypeStruct((5, size, size, 1), jnp.float32)
    (_, seen), _ = jax.eval_shape(lambda x: tapped.apply(*tapped.init(KEY, x.shape[1:]), x), images)
    assert {path: one.shape for path, one in seen.items()} == {path: (5, *s) for path, s in SHAPES[name].items()}


# ---------------------------------------------------------------- learning


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_two_steps_of_gradient_descent_reduce_the_loss_on_real_digits(name):
    make, size, _ = NETS[name]
    layer, (images, labels) = make(), batch(size)

    @quick_jit
    def descend(params, state):
        def loss(params, state):
            y, state = layer.apply(params, state, images, train=True, key=KEY)
            return losses.softmax_cross_entropy(y, labels).mean(), (state, y)

        history = []
        for _ in range(3):
            (value, (state, y)), grads = jax.value_and_grad(loss, has_aux=True)(params, state)
            history.append((value, grads, y))
            params = jax.tree.map(lambda p, g: p - 0.05 * g, params, grads)
        return history, state

    params, state = initial(layer, images.shape[1:])
    history, new_state = descend(params, state)
    values = [float(value) for value, _, _ in history]
    assert values[2] < values[1] < values[0]
    assert values[0] < 4  # the loss starts near log 10, so no activation explodes
    for _, grads, y in history:
        assert y.shape == (64, 10)
        assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(grads))
    # every part learns, even from softmax regression's symmetric start
    assert all(float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(history[0][1]))
    assert jax.tree.structure(new_state) == jax.tree.structure(state)
    if name == "softmax_regression":
        assert values[0] == pytest.approx(math.log(10), rel=1e-6)


def test_training_and_evaluation_differ_only_where_they_should():
    for name, (make, size, _) in NETS.items():
        kinds = {row.op for row in analysis.layer_rows(make(), (size, size, 1))}
        assert (name in STATEFUL) == bool(kinds & {"dropout", "batch_norm"}), name
    for make in (models.lecture_keras, models.lecture_torch):
        assert "dropout" not in make().children
        assert list(make(dropout=0.5).children)[-2:] == ["dropout", "fc2"]
        assert nn.at(make(dropout=0.5), "dropout").op.kind == "dropout"


def test_a_net_with_batch_norm_evaluates_as_it_trains_once_it_has_the_batch_s_statistics():
    layer, (images, _) = models.tiny_cnn(dropout=0.0), batch(8)
    tapped = nn.tap(layer, ["stage1/pool", "stage2/pool", "stage2/norm"])
    params, state = initial(layer, (8, 8, 1))
    (trained, taps), _ = quick_jit(functools.partial(tapped.apply, train=True, key=KEY))(params, state, images)
    (evaluated, others), _ = quick_jit(tapped.apply)(params, state, images)
    np.testing.assert_allclose(others["stage1/pool"], taps["stage1/pool"], rtol=1e-6, atol=1e-6)
    assert float(jnp.abs(others["stage2/norm"] - taps["stage2/norm"]).max()) > 0.1
    statistics = {
        stage: {"norm": dict(zip(("mean", "var"), layers.batch_statistics(taps[f"{stage}/pool"]), strict=True))}
        for stage in state
    }
    evaluated, _ = quick_jit(layer.apply)(params, statistics, images)
    np.testing.assert_allclose(evaluated, trained, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_dropout_is_where_the_docstring_says():
    layer, (images, _) = models.lecture_torch(dropout=0.5), batch(28, 8)
    tapped = nn.tap(layer, ["relu3", "dropout"])
    params, state = initial(layer, (28, 28, 1))
    run = quick_jit(functools.partial(tapped.apply, train=True))
    (_, taps), _ = run(params, state, images, key=KEY)
    kept = np.asarray(taps["dropout"]) != 0
    np.testing.assert_allclose(taps["dropout"], np.where(kept, 2 * np.asarray(taps["relu3"]), 0), rtol=1e-6)
    alive = np.asarray(taps["relu3"]) != 0
    assert abs(kept[alive].mean() - 0.5) < 0.05
    with pytest.raises(ValueError, match="in dropout: key: got None"):
        layer.apply(params, state, images, train=True)


def test_starts_follow_their_frameworks():
    params, _ = initial(models.lecture_torch(), (28, 28, 1))
    bounds = {"conv1": 25, "conv2": 25 * 20, "fc1": 800, "fc2": 500}  # PyTorch: uniform in ±1/√fan_in
    for name, fan_in in bounds.items():
        largest = float(jnp.abs(params[name]["kernel"]).max())
        assert 0.97 / math.sqrt(fan_in) < largest <= 1 / math.sqrt(fan_in)
    params, _ = initial(models.lecture_keras(), (28, 28, 1))
    fans = {"conv1": (9, 9 * 32), "conv2": (9 * 32, 9 * 64), "fc1": (1600, 1024), "fc2": (1024, 10)}
    for name, both in fans.items():  # Glorot: uniform in ±√(6/(fan_in + fan_out))
        largest = float(jnp.abs(params[name]["kernel"]).max())
        assert 0.97 < largest / math.sqrt(6 / sum(both)) <= 1.000001
    assert not any(layer["bias"].any() for layer in params.values())


# ---------------------------------------------------------------- options and mistakes


def test_lenet_as_in_the_paper():
    layer = models.lenet5(activation=jnp.tanh, pool=nn.AvgPool)
    kinds = [row.op for row in analysis.layer_rows(layer, (28, 28, 1))]
    assert kinds.count("tanh") == 4
    assert kinds.count("avg_pool") == 2
    assert analysis.count_parameters(layer, (28, 28, 1)) == 61_706


def test_an_mlp_applies_g_after_each_hidden_layer():
    layer = models.mlp(3, widths=(5, 4), activation=jnp.tanh)
    params, state = layer.init(KEY, (2, 3, 1))
    x = np.random.default_rng(0).normal(size=(4, 2, 3, 1)).astype(np.float32)
    a = x.reshape(4, 6)
    for name in ("fc1", "fc2", "logits"):
        z = a @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"])[None]
        a = np.tanh(z)
    np.testing.assert_allclose(layer.apply(params, state, x)[0], z, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "in_shape", "where"),
    [
        (models.lecture_keras, (8, 8, 1), "in pool2: window: got 2"),
        (models.lecture_torch, (12, 12, 1), "in conv2: window: got 5|in pool2: window: got 2"),
        (models.lenet5, (7, 7, 1), "in conv2: window: got 5"),
        (models.small_cnn, (4, 4, 1), "in stage3: in pool: window: got 2"),
        (models.tiny_cnn, (1, 8, 1), "in stage1: in pool: window: got 2"),
        (models.lenet5, (28, 28), r"in conv1: in_shape: got \(28, 28\), but Conv takes images"),
        (models.lenet5, (3, 28, 28, 1), "in conv1: in_shape: got .*but Conv takes images"),
    ],
)
def test_images_that_do_not_fit_are_named(make, in_shape, where):
    with pytest.raises(ValueError, match=where):
        jax.eval_shape(lambda: make().init(KEY, in_shape))
    with pytest.raises(ValueError, match=where):
        analysis.count_parameters(make(), in_shape)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: models.mlp(0), "features: got 0"),
        (lambda: models.small_cnn(widths=(4, 0)), "features: got 0"),
        (lambda: models.tiny_cnn(hidden=-3), "features: got -3"),
        (lambda: models.lecture_keras(dropout=1.0), "rate: got 1.0"),
        (lambda: models.small_cnn(dropout=-0.1), "rate: got -0.1"),
    ],
)
def test_mistakes_are_named(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()


@pytest.mark.slow
def test_a_transformer_for_images_takes_no_other_size():
    """Fewer patches would get the places of another grid."""
    layer = models.tiny_vit()
    params, state = layer.init(KEY, (8, 8, 1))
    assert layer.apply(params, state, jnp.zeros((1, 8, 8, 1)))[0].shape == (1, 10)
    for size in (6, 10):
        with pytest.raises(ValueError, match=r"places: in_shape: got \d+ steps, but .* was made for (at most )?17"):
            layer.apply(params, state, jnp.zeros((1, size, size, 1)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.tiny_vit(depth=0), "depth: got 0"),
        (lambda: models.tiny_vit(hidden=0), "features: got 0"),
        (lambda: models.char_transformer(depth=0), "depth: got 0"),
        (lambda: models.tiny_vit(pool="max"), "pool: got 'max', allowed are 'token', 'mean'"),
    ],
)
def test_transformers_without_blocks_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()

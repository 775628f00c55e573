"""The papers' networks in detail: initial values, constants, parts, heads, features and memory."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import activations, analysis, data, losses, models, nn, training
from jaxdl.models.capsnet import capsule_loss
from jaxdl.models.lenet_1998 import CONNECTIONS, drawings, scaled_tanh
from tests.zoo import (
    BASIC_PROJECTIONS,
    CIFAR,
    IMAGENET,
    KEY,
    MNIST,
    digits,
    initial,
    kinds,
    quick_jit,
    tiny,
    total_loss,
)

# ---------------------------------------------------------------- initial values


def spread(kernel):
    return float(jnp.std(kernel)), float(jnp.abs(kernel).max())


@pytest.mark.slow
def test_kernels_start_as_in_the_papers():
    """Thousands of draws give a normal's deviation to a few per cent, and a uniform's bound."""
    resnet, _ = initial(models.resnet18(10, depths=(1, 1)), CIFAR)
    first = resnet["conv2"]["block1"]["residual"]["body"]["conv1"]["kernel"]
    projection = resnet["conv3"]["block1"]["residual"]["shortcut"]["conv"]["kernel"]
    assert spread(first)[0] == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.03)  # He, fan out
    assert spread(projection)[0] == pytest.approx(math.sqrt(2 / 128), rel=0.05)
    cifar, _ = initial(models.resnet20(100, depth=8), CIFAR)
    assert (
        0.98 < spread(cifar["fc"]["kernel"])[1] / (1 / math.sqrt(64)) <= 1.00001
    )  # PyTorch's own, of the reference code
    vgg, _ = initial(models.vgg11(10, width=1 / 8), CIFAR)
    assert 0.98 < spread(vgg["conv3_1"]["kernel"])[1] / math.sqrt(6 / (9 * (16 + 32))) <= 1.00001  # Glorot
    alexnet, _ = initial(models.alexnet_2012(10, width=1 / 8), (67, 67, 3))
    assert spread(alexnet["fc7"]["kernel"])[0] == pytest.approx(0.01, rel=0.02)
    starts = {name: set(np.asarray(one["bias"]).tolist()) for name, one in alexnet.items()}
    alive = {"conv2", "conv4", "conv5", "fc6", "fc7"}
    assert starts == {name: {1.0 if name in alive else 0.0} for name in starts}
    mobile, _ = initial(models.mobilenet(10, width=1 / 8), CIFAR)
    deviation, largest = spread(mobile["pointwise11"]["conv"]["kernel"])
    assert deviation == pytest.approx(0.09 * 0.8796, rel=0.04)
    assert largest <= 0.18
    dense, _ = initial(models.densenet121(10, depths=(3,), growth=16), CIFAR)
    kernel = dense["block1"]["layer3"]["new"]["conv2"]["kernel"]
    assert spread(kernel)[0] == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.05)  # He, fan in
    lenet, _ = initial(models.lenet5_1998(), MNIST)
    assert 0.98 < spread(lenet["c5"]["kernel"])[1] / (2.4 / 400) <= 1.00001
    bounds = [2.4 / (25 * len(inputs)) for inputs in CONNECTIONS for _ in inputs]
    largest = np.abs(np.asarray(lenet["c3"]["kernel"])).max((0, 1)) / bounds
    assert largest.min() > 0.8
    assert largest.max() <= 1.00001
    capsules, _ = initial(models.capsnet(width=1 / 16), MNIST)
    assert spread(capsules["encoder"]["digit"]["kernel"])[0] == pytest.approx(0.1 * 0.8796, rel=0.03)


# network, deviation of a kernel's values from its fans, kurtosis of their distribution: 9/5 of the uniform one; of the
# normal cut at two deviations, as in the reference code of Inception-v4, (3 s - 16 f) / s^2 with f = .053991 / .954500,
# the density at the cut, and s = 1 - 4 f, the variance. The last layer is Glorot's there, too
CUT = 1 - 4 * 0.053991 / 0.954500
CUT_KURTOSIS = (3 * CUT - 16 * 0.053991 / 0.954500) / CUT**2
GLOROT = lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out))
HE_IN = lambda fan_in, fan_out: math.sqrt(2 / fan_in)
STARTS = {
    "googlenet": (
        partial(models.googlenet, 40, modules=("3a", "4a", "4d"), auxiliary=True),
        (81, 81, 3),
        GLOROT,
        9 / 5,
    ),
    "inception_v4": (partial(models.inception_v4, 40, depths=(1, 1, 1), width=1 / 4), (75, 75, 3), HE_IN, CUT_KURTOSIS),
    "inception_resnet_v2": (
        partial(models.inception_resnet_v2, 40, depths=(1, 1, 1), width=1 / 4),
        (75, 75, 3),
        HE_IN,
        CUT_KURTOSIS,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STARTS)
def test_all_kernels_of_inception_start_by_the_rule(name):
    """n values of kurtosis k give the variance to within sqrt((k - 1) / n), for each kernel and for all together."""
    make, in_shape, deviation, kurtosis = STARTS[name]
    params, _ = initial(make(), in_shape)
    drawn = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if jax.tree_util.keystr(path).endswith("['kernel']"):
            values = np.asarray(leaf, np.float64)
            *window, fan_in, fan_out = values.shape
            rule = GLOROT if jax.tree_util.keystr(path) == "['fc']['kernel']" else deviation
            drawn.append(values.ravel() / rule(math.prod(window) * fan_in, math.prod(window) * fan_out))
            assert abs(drawn[-1].var() - 1) < 5 * math.sqrt((kurtosis - 1) / values.size), path
        elif "bias" in str(path[-1]):
            assert not leaf.any()
    together = np.concatenate(drawn)
    assert together.size > 300_000
    assert abs(together.mean()) < 4 / math.sqrt(together.size)
    assert abs(together.var() - 1) < 4 * math.sqrt((kurtosis - 1) / together.size)
    assert (together**4).mean() / together.var() ** 2 == pytest.approx(kurtosis, rel=0.02)


# ---------------------------------------------------------------- constants that no count of parameters shows

# eps of every batch norm, and the share of the old running statistics where the framework is the reference: torchvision
# 0.29 (whose momentum .1 is the new's share), Keras 3.15; eps .001 in torchvision's GoogLeNet and in the reference code
# of Inception-v4 and MobileNet
NORMS = {
    "vgg11": (partial(models.vgg11, batch_norm=True), 1e-5, 0.9),
    "resnet50": (partial(models.resnet50, depths=(1, 1)), 1e-5, 0.9),
    "resnet50 of Keras": (partial(models.resnet50, depths=(1, 1), variant="keras"), 1.001e-5, 0.99),
    "densenet121": (partial(models.densenet121, depths=(2, 1)), 1e-5, 0.9),
    "densenet121 of Keras": (partial(models.densenet121, depths=(2, 1), variant="keras"), 1.001e-5, 0.99),
    "googlenet": (partial(models.googlenet, variant="torch", modules=("3a",), auxiliary=True), 1e-3, 0.9),
    "mobilenet": (models.mobilenet, 1e-3, None),
    "inception_v4": (partial(models.inception_v4, depths=(1, 1, 1)), 1e-3, None),
    "inception_resnet_v2": (partial(models.inception_resnet_v2, depths=(1, 1, 1)), 1e-3, None),
}


@pytest.mark.parametrize("name", NORMS)
def test_every_batch_norm_has_the_source_s_constants(name):
    make, eps, kept = NORMS[name]
    layer = make()
    paths = kinds(layer, "batch_norm")
    assert len(paths) >= 8
    for path in paths:
        norm = nn.at(layer, path)
        params, state = norm.init(KEY, (1,))
        y, _ = norm.apply(params, jax.tree.map(jnp.zeros_like, state), jnp.ones((1, 1)))
        assert float(y[0, 0]) == pytest.approx(1 / math.sqrt(eps), rel=1e-4), path
        _, moved = norm.apply(params, state, jnp.array([[3.0], [5.0]]), train=True)  # from mean 0 towards 4
        assert kept is None or float(moved["mean"][0]) == pytest.approx(4 * (1 - kept), rel=1e-5), path


def test_rates_of_dropout():
    """AlexNet and VGG drop half of the hidden units, GoogLeNet .4 and .7 in the heads, MobileNet .001, others .2."""
    rates = {
        models.alexnet: {"drop6": 0.5, "drop7": 0.5},
        models.alexnet_2012: {"drop6": 0.5, "drop7": 0.5},
        models.vgg16: {"drop6": 0.5, "drop7": 0.5},
        partial(models.googlenet, auxiliary=True): {"aux1/dropout": 0.7, "aux2/dropout": 0.7, "dropout": 0.4},
        models.inception_v4: {"dropout": 0.2},
        models.inception_resnet_v2: {"dropout": 0.2},
        models.mobilenet: {"dropout": 0.001},
    }
    for make, expected in rates.items():
        layer = make()
        assert set(kinds(layer, "dropout")) == set(expected)
        for path, rate in expected.items():
            y, _ = nn.at(layer, path).apply({}, {}, jnp.ones(100_000), train=True, key=KEY)
            assert float((y == 0).mean()) == pytest.approx(rate, abs=5 * math.sqrt(rate / 100_000)), (make, path)


def test_local_response_norms():
    """The middle of five channels of 100 is divided by (k + alpha 50,000)^.75: 7 in AlexNet, 2 in GoogLeNet."""
    x = jnp.full((1, 1, 1, 5), 100.0)
    for layer, base in ((models.alexnet_2012(), 2 + 1e-4 * 50_000), (models.googlenet(), 1 + 1e-4 / 5 * 50_000)):
        for name in ("norm1", "norm2"):
            y, _ = nn.at(layer, name).apply({}, {}, x)
            assert float(y[0, 0, 0, 2]) == pytest.approx(100 / base**0.75, rel=1e-5)


def test_residuals_of_inception_are_scaled_down():
    """.17, .1 and .2 in the reference code; its last block is neither scaled nor rectified."""
    layer = models.inception_resnet_v2()
    blocks = {"a": (10, 0.17), "b": (20, 0.1), "c": (9, 0.2)}
    for name, (number, factor) in blocks.items():
        assert len(nn.at(layer, name).children) == number
        for block in nn.at(layer, name).children:
            y, _ = nn.at(layer, f"{name}/{block}/residual/body/scale").apply({}, {}, jnp.ones(3))
            np.testing.assert_allclose(y, factor, rtol=1e-6)
            assert list(nn.at(layer, f"{name}/{block}").children) == ["residual", "relu"]
    assert list(nn.at(layer, "last/body").children) == ["branches", "up"]


def test_three_iterations_of_routing():
    def program(layer):
        shapes = jax.eval_shape(lambda: layer.init(KEY, MNIST))
        return str(jax.make_jaxpr(layer.apply)(*shapes, jax.ShapeDtypeStruct((1, *MNIST), jnp.float32)))

    ours, *others = (program(models.capsnet(width=1 / 16, **o)) for o in ({}, {"iterations": 3}, {"iterations": 2}))
    assert [ours == other for other in others] == [True, False]


# ---------------------------------------------------------------- parts that one paper has


def test_shortcut_a_subsamples_and_appends_zeros():
    layer = models.resnet20(depth=8)
    shortcut = nn.at(layer, "conv3/block1/residual/shortcut")
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 16)).astype(np.float32)
    y, _ = shortcut.apply({}, {}, x)
    assert y.shape == (2, 3, 2, 32)
    np.testing.assert_array_equal(y[..., :16], x[:, ::2, ::2])
    assert not y[..., 16:].any()
    assert nn.at(layer, "conv3/block1").out_shape((5, 4, 16)) == (3, 2, 32)


def test_options_of_a_residual_block():
    def names(layer, path):
        return list(nn.at(layer, path).children)

    a, b, c = (models.resnet34(shortcut=option) for option in "ABC")
    counts = [analysis.count_parameters(one, IMAGENET) for one in (a, b, c)]
    identities = (3 * (64**2 + 128), 3 * (128**2 + 256), 5 * (256**2 + 512), 2 * (512**2 + 1024))
    assert counts == [21_797_672 - BASIC_PROJECTIONS, 21_797_672, 21_797_672 + sum(identities)]
    body = "conv3/block1/residual/body"
    assert names(b, body) == ["conv1", "norm1", "relu1", "conv2", "norm2"]
    assert names(b, "conv3/block1") == ["residual", "relu"]
    for variant, strides in (("paper", (2, 1)), ("torch", (1, 2)), ("keras", (2, 1))):
        convs = [nn.at(models.resnet50(variant=variant), f"{body}/conv{i}") for i in (1, 2)]
        assert tuple(conv.op.stride[0] for conv in convs) == strides
    pre = models.resnet50(preactivation=True)
    assert names(pre, "conv2/block1/residual/body") == ["conv1", "norm2", "relu2", "conv2", "norm3", "relu3", "conv3"]
    assert names(pre, "conv2/block2/residual/body")[:3] == ["norm1", "relu1", "conv1"]
    assert names(pre, "conv3/block1") == ["norm1", "relu1", "residual"]  # shared with the projection
    assert list(pre.children)[-4:] == ["norm", "relu", "pool", "fc"]
    assert kinds(models.plain34(), "parallel") == []


@pytest.mark.slow
def test_the_identity_runs_through_a_net_with_preactivation():
    layer = models.resnet20(depth=14, preactivation=True)
    params, state = initial(layer, CIFAR)
    last = {"conv2": {"kernel": jnp.zeros((3, 3, 16, 16))}}
    block = params["conv2"]["block2"]["residual"]["body"]
    params["conv2"]["block2"]["residual"]["body"] = block | last
    tapped = nn.tap(layer, ["conv2/block1", "conv2/block2"])
    (_, seen), _ = quick_jit(tapped.apply)(params, state, digits(CIFAR)[0])
    np.testing.assert_array_equal(seen["conv2/block1"], seen["conv2/block2"])
    assert float(seen["conv2/block1"].min()) < 0  # no ReLU after the sum


def test_a_dense_layer_appends_to_its_input():
    layer, in_shape = tiny("densenet121")
    params, state = initial(layer, in_shape)
    wanted = ["pool0", "block1/layer1/new", "block1/layer2/new", "block1"]
    (_, seen), _ = quick_jit(nn.tap(layer, wanted).apply)(params, state, digits(in_shape)[0])
    parts = [seen[path] for path in wanted[:3]]
    np.testing.assert_array_equal(seen["block1"], np.concatenate(parts, -1))


def test_alexnet_s_order_of_norm_and_pool():
    kept = ["norm1", "pool1"]
    assert [n for n in models.alexnet_2012().children if n in kept] == kept
    assert [n for n in models.alexnet_2012(order="pool_norm").children if n in kept] == kept[::-1]
    assert models.alexnet_2012(order="pool_norm").out_shape((227, 227, 3)) == (1000,)


@pytest.mark.slow
def test_lenet_of_1998_by_hand():
    layer = models.lenet5_1998()
    params, state = initial(layer, MNIST)
    x = digits(MNIST)[0][:2]
    wanted = ["act1", "s2", "act2", "c3", "act6"]
    (logits, seen), _ = nn.tap(layer, wanted).apply(params, state, x)
    a = np.asarray(seen["act1"], np.float64)
    summed = a[:, ::2, ::2] + a[:, 1::2, ::2] + a[:, ::2, 1::2] + a[:, 1::2, 1::2]
    np.testing.assert_allclose(seen["s2"], summed * np.asarray(params["s2"]["scale"])[None, None, None], atol=1e-6)
    a = np.asarray(seen["act2"], np.float64)
    kernel, position, expected = np.asarray(params["c3"]["kernel"]), 0, []
    for inputs in CONNECTIONS:  # output (3, 4) of each map
        weights = kernel[:, :, position : position + len(inputs)]
        expected.append(np.sum(a[:, 3:8, 4:9][..., list(inputs)] * weights[None], axis=(1, 2, 3)))
        position += len(inputs)
    assert position == 60
    np.testing.assert_allclose(np.asarray(seen["c3"])[:, 3, 4], np.stack(expected, -1), atol=1e-5)
    f6, codes = np.asarray(seen["act6"], np.float64), drawings()
    np.testing.assert_allclose(logits, -((f6[:, None] - codes[None]) ** 2).sum(-1), rtol=1e-5)
    assert codes.shape == (10, 84)
    assert set(np.unique(codes)) == {-1, 1}
    distances = ((codes[:, None] - codes[None]) ** 2).sum(-1)
    assert distances[~np.eye(10, dtype=bool)].min() >= 4 * 5  # no two drawings differ in fewer than five dots
    np.testing.assert_allclose(scaled_tanh(jnp.array([-1.0, 0.0, 1.0])), [-1, 0, 1], atol=1e-5)


# ---------------------------------------------------------------- auxiliary heads


def small_with_heads(weights=(0.3, 0.3)):
    return nn.serial(
        conv=nn.Conv(4, 3),
        aux1=nn.auxiliary(nn.serial(flat=nn.flatten, fc=nn.Dense(10)), weight=weights[0]),
        inner=nn.serial(relu=activations.relu, aux2=nn.auxiliary(nn.serial(flat=nn.flatten, fc=nn.Dense(10)))),
        flat=nn.flatten,
        fc=nn.Dense(10),
    )


@pytest.mark.slow
def test_auxiliary_heads_count_in_training_and_vanish_in_evaluation():
    layer, (images, labels) = small_with_heads((0.5, 0.3)), digits((8, 8, 1))
    params, state = initial(layer, (8, 8, 1))
    y, _ = layer.apply(params, state, images, train=True)
    plain, _ = layer.apply(params, state, images)
    assert isinstance(y, nn.WithAuxiliary)
    assert y.weights == (0.5, 0.3)
    np.testing.assert_array_equal(y.output, plain)
    hidden, _ = nn.Conv(4, 3).apply(params["conv"], {}, images)
    first = np.asarray(hidden).reshape(8, 256) @ np.asarray(params["aux1"]["fc"]["kernel"])
    second = np.maximum(hidden, 0).reshape(8, 256) @ np.asarray(params["inner"]["aux2"]["fc"]["kernel"])
    np.testing.assert_allclose(y.heads[0], first, atol=1e-5)
    np.testing.assert_allclose(y.heads[1], second, atol=1e-5)
    weight = np.linspace(0.5, 2, 8).astype(np.float32)
    batch = data.Batch(images, labels, weight, np.arange(8, dtype=np.int32))
    train_state = training.start(params, state, optax.sgd(1.0))
    new, sums = quick_jit(training.train_step(layer, optax.sgd(1.0)))(train_state, batch, KEY)
    each = [losses.softmax_cross_entropy(z, labels) for z in (y.output, *y.heads)]
    expected = weight @ np.asarray(each[0] + 0.5 * each[1] + 0.3 * each[2])
    assert float(sums["loss"]) == pytest.approx(float(expected), rel=1e-5)
    assert float(sums["correct"]) == pytest.approx(float(weight @ (np.argmax(plain, -1) == labels)))
    assert float(jnp.abs(new.params["aux1"]["fc"]["kernel"] - params["aux1"]["fc"]["kernel"]).max()) > 0
    metrics, outputs = training.eval_step(layer)((params, state), batch)
    np.testing.assert_array_equal(outputs, plain)
    assert float(metrics["loss"]) == pytest.approx(float(weight @ np.asarray(each[0])), rel=1e-5)


def test_heads_cost_nothing_in_a_compiled_evaluation():
    def flops(layer):
        shapes = jax.eval_shape(lambda: layer.init(KEY, (8, 8, 1)))
        images = jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32)
        return (
            jax.jit(lambda p, s, x: layer.apply(p, s, x)[0]).lower(*shapes, images).compile().cost_analysis()["flops"]
        )

    layer = small_with_heads()
    headless = nn.replace(nn.replace(layer, "aux1", nn.identity), "inner/aux2", nn.identity)
    assert flops(layer) == flops(headless)


def test_features_of_a_head_by_name():
    layer, images = small_with_heads(), digits((8, 8, 1))[0]
    params, state = initial(layer, (8, 8, 1))
    y, _ = layer.apply(params, state, images, train=True)
    (_, seen), _ = nn.tap(layer, ["aux1/fc"]).apply(params, state, images)
    np.testing.assert_array_equal(seen["aux1/fc"], y.heads[0])
    assert nn.tap(layer, ["aux1/fc"]).out_shape((8, 8, 1)) == ((10,), {"aux1/fc": (10,)})


def test_a_head_in_a_branch_is_an_error():
    layer = nn.residual(nn.serial(aux=nn.auxiliary(nn.Conv(2, 1))))
    params, state = layer.init(KEY, (4, 4, 1))
    with pytest.raises(ValueError, match="in body: got an auxiliary head in a branch"):
        layer.apply(params, state, jnp.ones((1, 4, 4, 1)), train=True)


def test_googlenet_s_heads_stand_on_4a_and_4d():
    names = list(models.googlenet(auxiliary=True).children)
    assert names[names.index("aux1") - 1] == "inception4a"
    assert names[names.index("aux2") - 1] == "inception4d"
    layer, in_shape = tiny("googlenet heads")
    shapes = nn.tap(models.googlenet(auxiliary=True), ["aux1/pool", "aux1/fc1"]).out_shape(IMAGENET)[1]
    assert shapes == {"aux1/pool": (4, 4, 512), "aux1/fc1": (1024,)}
    weights = []

    def heads(x):
        y, _ = layer.apply(*layer.init(KEY, in_shape), x, train=True, key=KEY)
        weights.extend(y.weights)
        return y.heads

    assert [head.shape for head in jax.eval_shape(heads, digits(in_shape)[0])] == [(8, 10), (8, 10)]
    assert weights == [0.3, 0.3]
    assert layer.out_shape(in_shape) == (10,)


# ---------------------------------------------------------------- CapsNet


@pytest.mark.slow
def test_capsule_loss_by_hand():
    layer, in_shape = tiny("capsnet")
    images, labels = digits(in_shape)
    params, state = initial(layer, in_shape)
    run = quick_jit(partial(layer.apply, train=True))
    capsules, _ = run(params, state, images)
    lengths = np.linalg.norm(capsules.vectors, axis=-1)
    np.testing.assert_allclose(capsules.lengths, lengths, rtol=1e-5)
    present = np.eye(10)[labels]
    hinge = present * np.maximum(0, 0.9 - lengths) ** 2 + 0.5 * (1 - present) * np.maximum(0, lengths - 0.1) ** 2
    hidden = (np.asarray(capsules.vectors) * present[..., None]).reshape(8, 160)
    for name, g in (("fc1", lambda z: np.maximum(z, 0)), ("fc2", lambda z: np.maximum(z, 0))):
        hidden = g(hidden @ np.asarray(params["decoder"][name]["kernel"]))
    decoded = 1 / (1 + np.exp(-hidden @ np.asarray(params["decoder"]["fc3"]["kernel"])))
    error = ((images.reshape(8, 784) - decoded) ** 2).sum(-1)
    np.testing.assert_allclose(capsule_loss(capsules, labels), hinge.sum(-1) + 0.0005 * error, rtol=1e-4)
    evaluated, _ = quick_jit(layer.apply)(params, state, images)
    np.testing.assert_allclose(evaluated, lengths, rtol=1e-5)
    np.testing.assert_allclose(capsule_loss(evaluated, labels), hinge.sum(-1), rtol=1e-4)


@pytest.mark.slow
def test_a_capsnet_trains_by_the_step_and_its_reconstruction_is_a_feature():
    layer, in_shape = tiny("capsnet")
    images, labels = digits(in_shape)
    params, state = initial(layer, in_shape)
    batch = data.Batch(images, labels, np.ones(8, np.float32), np.arange(8, dtype=np.int32))
    step = quick_jit(training.train_step(layer, optax.sgd(0.1), loss=capsule_loss))
    new, sums = step(training.start(params, state, optax.sgd(0.1)), batch, KEY)
    capsules, _ = layer.apply(params, state, images, train=True)
    assert float(sums["loss"]) == pytest.approx(float(capsule_loss(capsules, labels).sum()), rel=1e-4)
    assert float(sums["correct"]) == float((capsules.lengths.argmax(-1) == labels).sum())
    assert float(jnp.abs(new.params["decoder"]["fc3"]["kernel"] - params["decoder"]["fc3"]["kernel"]).max()) > 0
    (lengths, seen), _ = nn.tap(layer, ["decoder", "encoder/digit"]).apply(params, state, images)
    longest = np.eye(10)[np.argmax(lengths, -1)][..., None] * np.asarray(seen["encoder/digit"])
    np.testing.assert_allclose(seen["decoder"], capsules.decode(longest.reshape(8, 160)), atol=1e-6)


# ---------------------------------------------------------------- features, memory, half precision


@pytest.mark.parametrize("name", ["resnet50", "googlenet", "densenet_bc", "mobilenet", "vgg11"])
def test_features_by_name_are_those_of_the_parts_in_turn(name):
    layer, in_shape = tiny(name)
    params, state = initial(layer, in_shape)
    x = digits(in_shape)[0]
    names = list(layer.children)

    @quick_jit
    def both(params, state, x):
        (y, seen), _ = nn.tap(layer, names).apply(params, state, x)
        expected = {}
        for name in names:
            x, _ = nn.at(layer, name).apply(params.get(name, {}), state.get(name, {}), x)
            expected[name] = x
        return y, seen, expected

    y, seen, expected = both(params, state, x)
    np.testing.assert_array_equal(y, seen[names[-1]])
    for one in names:
        np.testing.assert_allclose(seen[one], expected[one], rtol=1e-5, atol=1e-5)


def gradient(layer, params, state, images, labels):
    def loss(params):
        y, new_state = layer.apply(params, state, images, train=True, key=KEY)
        return total_loss(y, labels), new_state

    return jax.value_and_grad(loss, has_aux=True)(params)


@pytest.mark.slow
def test_rematerialisation_changes_memory_alone():
    layer, in_shape = models.resnet20(depth=14, width=1 / 2), CIFAR
    layer = nn.replace(layer, "pool", nn.serial(drop=nn.Dropout(0.1), pool=nn.global_avg_pool))
    again = nn.remat(layer, r"conv\d/block\d")
    assert nn.paths(again) == nn.paths(layer)
    images, labels = digits(in_shape)
    params, state = initial(layer, in_shape)
    (value, new_state), grads = quick_jit(partial(gradient, layer))(params, state, images, labels)
    (other, other_state), other_grads = quick_jit(partial(gradient, again))(params, state, images, labels)
    assert float(value) == pytest.approx(float(other), rel=1e-6)
    for a, b in ((grads, other_grads), (new_state, other_state)):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), a, b)

    def kept(layer):  # bytes between forward and backward
        forward = partial(layer.apply, train=True, key=KEY)
        residuals = jax.eval_shape(lambda p: jax.vjp(lambda q: forward(q, state, images)[0], p)[1], params)
        return sum(math.prod(one.shape) * one.dtype.itemsize for one in jax.tree.leaves(residuals))

    assert kept(again) < 0.4 * kept(layer)

    def planned(layer):  # bytes of temporary memory, where XLA keeps the barriers
        options = {"xla_disable_hlo_passes": "cse_barrier_expander", "xla_backend_optimization_level": 0}
        step = jax.jit(partial(gradient, layer), compiler_options=options)
        return step.lower(params, state, images, labels).compile().memory_analysis().temp_size_in_bytes

    assert planned(again) < 0.6 * planned(layer)
    (_, seen), _ = quick_jit(nn.tap(again, ["conv3/block1"]).apply)(params, state, images)
    (_, plain), _ = quick_jit(nn.tap(layer, ["conv3/block1"]).apply)(params, state, images)
    np.testing.assert_allclose(seen["conv3/block1"], plain["conv3/block1"], rtol=1e-5, atol=1e-5)


def test_rematerialisation_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="within: got 'blocks', which matches no path; there are conv1, norm1"):
        nn.remat(models.resnet20(depth=8), "blocks")


@pytest.mark.slow
def test_half_precision_computes_in_half_and_keeps_the_rest():
    layer, in_shape = tiny("resnet20")
    half = nn.compute_in(jnp.bfloat16, layer)
    images, labels = digits(in_shape)
    params, state = initial(half, in_shape)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, state))} == {jnp.dtype("float32")}
    (value, new_state), grads = quick_jit(partial(gradient, half))(params, state, images, labels)
    (full_value, full_state), full_grads = quick_jit(partial(gradient, layer))(params, state, images, labels)
    assert {leaf.dtype for leaf in jax.tree.leaves((value, new_state, grads))} == {jnp.dtype("float32")}
    assert 0 < abs(float(value) - float(full_value)) < 0.05
    flat, full = (jax.flatten_util.ravel_pytree(one)[0] for one in (grads, full_grads))
    assert float(flat @ full / (jnp.linalg.norm(flat) * jnp.linalg.norm(full))) > 0.98
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0.05, atol=0.05), new_state, full_state)
    (logits, seen), _ = nn.tap(half, ["conv1", "norm1", "conv3/block1", "fc"]).apply(params, state, images)
    assert {name: one.dtype for name, one in seen.items()} == dict.fromkeys(seen, jnp.dtype("bfloat16"))
    assert logits.dtype == jnp.float32
    with pytest.raises(ValueError, match="dtype: got"):
        nn.compute_in(jnp.int32, layer)

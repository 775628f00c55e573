"""The networks of the papers: sizes and shapes of the full ones without allocating them, learning on tiny ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxdl import analysis, losses, models, nn

KEY = jax.random.key(0)
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

IMAGENET, CIFAR, MNIST = (224, 224, 3), (32, 32, 3), (28, 28, 1)
BASIC_PROJECTIONS = 64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)  # of resnet18 and resnet34

# full network -> its images and its parameters, as published (Lecture row I)
PUBLISHED = {
    "resnet18": (IMAGENET, 11_689_512),
    "resnet34": (IMAGENET, 21_797_672),
    "resnet50": (IMAGENET, 25_557_032),
    "resnet101": (IMAGENET, 44_549_160),
    "resnet152": (IMAGENET, 60_192_808),
    "plain18": (IMAGENET, 11_689_512 - BASIC_PROJECTIONS),
    "plain34": (IMAGENET, 21_797_672 - BASIC_PROJECTIONS),
    "resnet20": (CIFAR, 269_722),
    "resnet32": (CIFAR, 464_154),
    "resnet44": (CIFAR, 658_586),
    "resnet56": (CIFAR, 853_018),
    "resnet110": (CIFAR, 1_727_962),
    "plain20": (CIFAR, 269_722),  # zeros and identities have no parameters
    "plain32": (CIFAR, 464_154),
    "plain44": (CIFAR, 658_586),
    "plain56": (CIFAR, 853_018),
    "plain110": (CIFAR, 1_727_962),
    "vgg11": (IMAGENET, 132_863_336),
    "vgg13": (IMAGENET, 133_047_848),
    "vgg16": (IMAGENET, 138_357_544),
    "vgg19": (IMAGENET, 143_667_240),
}
ELSEWHERE = {"lecture_keras", "lecture_torch", "lenet5", "mlp", "small_cnn", "softmax_regression", "tiny_cnn"}
ELSEWHERE |= {"net_2c2d", "net_3c3d"}

# other forms: torchvision 0.27's and Keras 3.15's own counts of trained values
VARIANTS = {
    "vgg16 with batch norm": (models.vgg16(batch_norm=True), IMAGENET, 138_365_992),
    "vgg11 with batch norm": (models.vgg11(batch_norm=True), IMAGENET, 132_868_840),
    "resnet50 of Keras": (models.resnet50(variant="keras"), IMAGENET, 25_583_592),
    "resnet50 of the paper": (models.resnet50(variant="paper"), IMAGENET, 25_557_032),
}


@functools.cache
def digits(shape, n=8):
    """Real handwritten digits, repeated to the size and number of channels, at variance about 1."""
    images, labels = load_digits(return_X_y=True)
    images = (images[:n].reshape(n, 8, 8) / 8 - 1).astype(np.float32)
    height, width, channels = shape
    big = np.kron(images, np.ones((1, -(-height // 8), -(-width // 8)), np.float32))[:, :height, :width, None]
    return np.repeat(big, channels, axis=-1), labels[:n].astype(np.int32)


def initial(layer, in_shape):
    return quick_jit(lambda: layer.init(KEY, in_shape))()


def kinds(layer, *wanted):
    return [path for path in nn.paths(layer) if nn.at(layer, path).op.kind in wanted]


# ---------------------------------------------------------------- the full networks


def test_every_network_is_in_a_table():
    assert set(PUBLISHED) | ELSEWHERE == set(models.__all__)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameter_counts(name):
    in_shape, count = PUBLISHED[name]
    assert analysis.count_parameters(getattr(models, name)(), in_shape) == count


@pytest.mark.parametrize("name", VARIANTS)
def test_parameter_counts_of_other_forms(name):
    layer, in_shape, count = VARIANTS[name]
    assert analysis.count_parameters(layer, in_shape) == count


# ---------------------------------------------------------------- tiny ones learn

TINY = {
    "resnet18": (models.resnet18(10, depths=(1, 1, 1), width=1 / 8), CIFAR),
    "resnet50": (models.resnet50(10, depths=(1, 1, 1), width=1 / 16), CIFAR),
    "resnet50 keras": (models.resnet50(10, depths=(1, 1), width=1 / 16, variant="keras"), CIFAR),
    "resnet50 preactivation": (models.resnet50(10, depths=(1, 2), width=1 / 8, preactivation=True), CIFAR),
    "plain18": (models.plain18(10, depths=(1, 1), width=1 / 8), CIFAR),
    "resnet20": (models.resnet20(depth=8, width=1 / 2), CIFAR),
    "resnet20 preactivation": (models.resnet20(depth=8, width=1 / 2, preactivation=True), CIFAR),
    "resnet20 shortcut C": (models.resnet20(depth=8, width=1 / 2, shortcut="C"), CIFAR),
    "plain20": (models.plain20(depth=8, width=1 / 2), CIFAR),
    "vgg11": (models.vgg11(10, width=1 / 16), CIFAR),
    "vgg13 batch norm": (models.vgg13(10, width=1 / 16, batch_norm=True), CIFAR),
}


@pytest.mark.parametrize("name", TINY)
def test_two_steps_reduce_the_loss_of_a_tiny_form(name):
    layer, in_shape = TINY[name]
    images, labels = digits(in_shape)

    @quick_jit
    def step(params, state):
        def loss(params):
            y, new_state = layer.apply(params, state, images, train=True, key=KEY)
            return losses.softmax_cross_entropy(y, labels).mean(), new_state

        (value, new_state), grads = jax.value_and_grad(loss, has_aux=True)(params)
        length = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(grads)))
        return value, grads, jax.tree.map(lambda p, g: p - 0.01 / length * g, params, grads), new_state

    params, state = initial(layer, in_shape)
    values = []
    for _ in range(3):
        value, grads, params, new_state = step(params, state)
        values.append(float(value))
        assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(grads))
        assert jax.tree.structure(new_state) == jax.tree.structure(state)
        state = new_state
    assert values[2] < values[1] < values[0] < 10
    flat = jax.tree_util.tree_leaves_with_path(grads)
    assert [jax.tree_util.keystr(path) for path, g in flat if not jnp.abs(g).max() > 0] == []


@pytest.mark.parametrize("name", TINY)
def test_training_and_evaluation_differ_in_dropout_and_batch_norm_alone(name):
    layer, in_shape = TINY[name]
    for path in kinds(layer, "dropout", "batch_norm"):
        layer = nn.replace(layer, path, nn.identity)
    params, state = jax.eval_shape(lambda: layer.init(KEY, in_shape))
    images = jax.ShapeDtypeStruct((2, *in_shape), jnp.float32)
    train, evaluate = (
        str(jax.make_jaxpr(functools.partial(layer.apply, train=train, key=KEY))(params, state, images))
        for train in (True, False)
    )
    assert train == evaluate


@pytest.mark.parametrize("name", TINY)
def test_out_shape_is_what_apply_gives(name):
    layer, in_shape = TINY[name]
    images = jax.ShapeDtypeStruct((3, *in_shape), jnp.float32)
    y = jax.eval_shape(lambda x: layer.apply(*layer.init(KEY, in_shape), x)[0], images)
    assert layer.out_shape(in_shape) == (10,)
    assert y.shape == (3, 10)

"""The papers' networks: sizes and shapes of the full ones, unallocated, and learning by tiny ones."""

from functools import partial
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from docs import make_zoo
from jaxdl import analysis, models, nn
from jaxdl.models.googlenet import inception, naive_inception
from tests.zoo import (
    BASIC_PROJECTIONS,
    CIFAR,
    IMAGENET,
    KEY,
    MNIST,
    TINY,
    digits,
    initial,
    kinds,
    quick_jit,
    tiny,
    total_loss,
)

# full network -> its images and its parameters, as published [Lecture row I]
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
    "alexnet": (IMAGENET, 61_100_840),
    "alexnet_2012": ((227, 227, 3), 60_965_224),
    "googlenet": (IMAGENET, 6_998_552),
    "densenet121": (IMAGENET, 7_978_856),
    "densenet161": (IMAGENET, 28_681_000),
    "densenet169": (IMAGENET, 14_149_480),
    "densenet201": (IMAGENET, 20_013_928),
    "densenet40": (CIFAR, 1_019_722),
    "densenet_bc100": (CIFAR, 769_162),
    "mobilenet": (IMAGENET, 4_231_976),
    "inception_v4": ((299, 299, 3), 42_679_816),
    "inception_resnet_v2": ((299, 299, 3), 55_813_192),
    "capsnet": (MNIST, 6_804_224 + 1_411_344),
    "lenet5_1998": (MNIST, 60_000),
    "cifar_demo": (CIFAR, 22_466),
    "darknet53": ((256, 256, 3), 41_609_928),
    "yolov3": ((416, 416, 3), 61_949_149),
    "vit_ti16": (IMAGENET, 5_717_416),  # timm's, of DeiT's widths
    "vit_s16": (IMAGENET, 22_050_664),
    "vit_b16": (IMAGENET, 86_567_656),  # torchvision's
    "vit_b32": (IMAGENET, 88_224_232),
    "vit_l16": (IMAGENET, 304_326_632),
    "vit_l32": (IMAGENET, 306_535_400),
    "vit_h14": (IMAGENET, 632_045_800),
    "gpt2": ((1024,), 124_439_808),  # the authors' file; the logits are products with the symbols' vectors
}
ELSEWHERE = {"lecture_keras", "lecture_torch", "lenet5", "mlp", "small_cnn", "softmax_regression", "tiny_cnn"}
ELSEWHERE |= {"net_2c2d", "net_3c3d", "char_transformer", "tiny_vit"}

# other forms of them: trained values as torchvision 0.27 and Keras 3.15 count them
VARIANTS = {
    "vgg16 with batch norm": ("vgg16", {"batch_norm": True}, 138_365_992),
    "vgg11 with batch norm": ("vgg11", {"batch_norm": True}, 132_868_840),
    "resnet50 of Keras": ("resnet50", {"variant": "keras"}, 25_583_592),
    "resnet50 of the paper": ("resnet50", {"variant": "paper"}, 25_557_032),
    "resnet101 of the paper": ("resnet101", {"variant": "paper"}, 44_549_160),
    "resnet152 of the paper": ("resnet152", {"variant": "paper"}, 60_192_808),
    "googlenet with heads": ("googlenet", {"auxiliary": True}, 13_378_280),
    "googlenet of torchvision": ("googlenet", {"variant": "torch"}, 6_624_904),
    "the same with heads": ("googlenet", {"variant": "torch", "auxiliary": True}, 13_004_888),
    "googlenet with batch norm": ("googlenet", {"variant": "batch_norm"}, 7_005_832),
    "that with heads": ("googlenet", {"variant": "batch_norm", "auxiliary": True}, 13_385_816),
    "vit_b16 of means": ("vit_b16", {"pool": "mean"}, 86_567_656 - 2 * 768),  # neither a class token nor its position
}

# outputs of the stages, from the papers' tables and figures
SHAPES = {
    "alexnet": {"conv1": (55, 55, 64), "pool1": (27, 27, 64), "pool2": (13, 13, 192), "pool5": (6, 6, 256)},
    "alexnet_2012": {
        "conv1": (55, 55, 96), "conv2": (27, 27, 256), "conv3": (13, 13, 384), "conv4": (13, 13, 384),
        "conv5": (13, 13, 256), "pool5": (6, 6, 256), "fc6": (4096,), "fc7": (4096,),
    },
    "vgg16": {
        "conv1_2": (224, 224, 64), "conv2_2": (112, 112, 128), "conv3_3": (56, 56, 256), "conv4_3": (28, 28, 512),
        "conv5_3": (14, 14, 512), "pool5": (7, 7, 512), "fc6": (4096,), "fc8": (1000,),
    },
    "googlenet": {
        "conv1": (112, 112, 64), "pool1": (56, 56, 64), "conv2": (56, 56, 192), "pool2": (28, 28, 192),
        "inception3a": (28, 28, 256), "inception3b": (28, 28, 480), "pool3": (14, 14, 480),
        "inception4a": (14, 14, 512), "inception4b": (14, 14, 512), "inception4c": (14, 14, 512),
        "inception4d": (14, 14, 528), "inception4e": (14, 14, 832), "pool4": (7, 7, 832),
        "inception5a": (7, 7, 832), "inception5b": (7, 7, 1024), "pool5": (1024,),
    },
    "resnet34": {
        "conv1": (112, 112, 64), "pool1": (56, 56, 64), "conv2": (56, 56, 64), "conv3": (28, 28, 128),
        "conv4": (14, 14, 256), "conv5": (7, 7, 512),
    },
    "resnet152": {"conv2": (56, 56, 256), "conv3": (28, 28, 512), "conv4": (14, 14, 1024), "conv5": (7, 7, 2048)},
    "resnet20": {"conv1": (32, 32, 16), "conv2": (32, 32, 16), "conv3": (16, 16, 32), "conv4": (8, 8, 64)},
    "densenet121": {
        "conv0": (112, 112, 64), "pool0": (56, 56, 64), "block1": (56, 56, 256), "transition1": (28, 28, 128),
        "block2": (28, 28, 512), "transition2": (14, 14, 256), "block3": (14, 14, 1024),
        "transition3": (7, 7, 512), "block4": (7, 7, 1024),
    },
    "densenet40": {"conv0": (32, 32, 16), "block1": (32, 32, 160), "block2": (16, 16, 304), "block3": (8, 8, 448)},
    "mobilenet": {
        "conv1": (112, 112, 32), "pointwise1": (112, 112, 64), "depthwise2": (56, 56, 64),
        "pointwise3": (56, 56, 128), "pointwise5": (28, 28, 256), "pointwise11": (14, 14, 512),
        "depthwise12": (7, 7, 512), "pointwise13": (7, 7, 1024),
    },
    "inception_v4": {
        "stem/conv3": (147, 147, 64), "stem/mixed3": (73, 73, 160), "stem/mixed4": (71, 71, 192), "stem": (35, 35, 384),
        "a": (35, 35, 384), "reduction_a": (17, 17, 1024), "b": (17, 17, 1024), "reduction_b": (8, 8, 1536),
        "c": (8, 8, 1536),
    },
    "inception_resnet_v2": {
        "stem": (35, 35, 320), "a": (35, 35, 320), "reduction_a": (17, 17, 1088), "b": (17, 17, 1088),
        "reduction_b": (8, 8, 2080), "c": (8, 8, 2080), "conv7": (8, 8, 1536),
    },
    "capsnet": {
        "encoder/conv1": (20, 20, 256), "encoder/conv2": (6, 6, 256), "encoder/primary": (1152, 8),
        "encoder/digit": (10, 16), "decoder/fc2": (1024,), "decoder": (784,),
    },
    "lenet5_1998": {
        "c1": (28, 28, 6), "s2": (14, 14, 6), "c3": (10, 10, 16), "s4": (5, 5, 16), "c5": (1, 1, 120), "f6": (84,),
    },
    "vit_b16": {"patches": (14, 14, 768), "token": (197, 768), "block12": (197, 768), "pool": (768,)},
    "gpt2": {"embed": (1024, 768), "block12": (1024, 768), "unembed": (1024, 50_257)},
    "darknet53": {
        "conv1": (256, 256, 32), "conv2": (128, 128, 64), "conv3": (64, 64, 128), "conv4": (32, 32, 256),
        "conv5": (16, 16, 512), "conv6": (8, 8, 1024), "pool": (1024,),
    },
    "cifar_demo": {"conv1": (32, 32, 16), "pool1": (16, 16, 16), "pool2": (8, 8, 20), "pool3": (4, 4, 20)},
}  # fmt: skip


# ---------------------------------------------------------------- the full networks


def test_every_network_is_in_a_table():
    assert set(PUBLISHED) | ELSEWHERE == set(models.__all__)


# receptive field of the last map before the classifier, in pixels: A. Araujo, W. Norris, J. Sim, Computing Receptive
# Fields of Convolutional Neural Networks, 2019, https://distill.pub/2019/computing-receptive-fields
FIELDS = {
    "alexnet": 195,
    "alexnet_2012": 195,
    "vgg16": 212,
    "mobilenet": 315,
    "resnet50 of the paper": 483,
    "resnet101 of the paper": 1027,
    "resnet152 of the paper": 1507,
    "inception_v4": 2071,
    "inception_resnet_v2": 3039,
    # by hand: 1 + the sum of (window - 1) times the strides before it, along the widest path
    # where the 3x3 convolution has the stride, the first of three stages see 2 * (4 + 8 + 16) = 56 pixels less than 483
    "resnet50": 7 + 4 + 3 * 8 + (8 + 3 * 16) + (16 + 5 * 32) + (32 + 2 * 64),
    "resnet20": 3 + 6 * 2 + (2 + 5 * 4) + (4 + 5 * 8),
    "plain20": 3 + 6 * 2 + (2 + 5 * 4) + (4 + 5 * 8),
    "googlenet": 7 + 4 + 8 + 8 + 2 * 32 + 16 + 5 * 64 + 32 + 2 * 128,
    "densenet121": 11 + 6 * 8 + 4 + 12 * 16 + 8 + 24 * 32 + 16 + 16 * 64,
    "capsnet": 9 + 8,
    "lenet5_1998": 5 + 1 + 4 * 2 + 2 + 4 * 4,
    "cifar_demo": 5 + 1 + 4 * 2 + 2 + 4 * 4 + 4,
    "vit_b16 of means": 224,  # attention sees the whole image
}
FULL = {name: (name, {}, count) for name, (_, count) in PUBLISHED.items()} | VARIANTS
SHOWN = {(net.name, tuple(net.options.items())): net for net in make_zoo.NETS}  # on the page of networks


def test_the_tables_are_of_full_networks():
    assert set(FIELDS) | set(SHAPES) <= set(FULL)


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_a_full_network_is_as_published(name):
    """One abstract run gives the parameters, the shapes, the receptive field, and the row of docs/zoo.md."""
    (made, options, count), field = FULL[name], FIELDS.get(name)
    in_shape = PUBLISHED[made][0]
    table = analysis.summary(getattr(models, made)(**options), in_shape)
    assert table.parameters == count
    assert {path: table.shapes[path] for path in SHAPES.get(name, ())} == SHAPES.get(name, {})
    ends = ("global_avg_pool", "flatten", "primary_capsules", "_mean")
    if field:
        end = next(i for i, row in enumerate(table.rows) if row.kind in ends)
        fields = [row.receptive_field for row in table.rows[:end]]  # parallel branches may each be wide on one axis
        assert tuple(max(axis) for axis in zip(*fields, strict=True)) == (field, field)
    if net := SHOWN.get((made, tuple(options.items()))):
        assert net.in_shape == in_shape
        assert make_zoo.line(net, table) in make_zoo.PAGE.read_text(encoding="utf-8"), "run: python -m docs.make_zoo"


@pytest.mark.parametrize("net", [net for net in make_zoo.NETS if net.name in ELSEWHERE], ids=lambda net: net.name)
def test_a_small_network_has_its_row_on_the_page(net):
    table = make_zoo.summary(net)
    assert make_zoo.line(net, table) in make_zoo.PAGE.read_text(encoding="utf-8"), "run: python -m docs.make_zoo"


def test_parameters_of_the_layers_of_1998():
    rows = {row.layer: row.parameters for row in analysis.layer_rows(models.lenet5_1998(), MNIST)}
    expected = {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48_120, "f6": 10_164}
    assert {name: count for name, count in rows.items() if count} == expected


def test_reductions_make_an_inception_module_cheaper():
    """Without reductions, 28x28x256 takes 854 million multiply-adds and gives 672 channels, as lectures say."""
    naive, reduced = naive_inception(128, 192, 96), inception(128, 64, 192, 64, 96, 64)
    assert naive.out_shape((28, 28, 256)) == (28, 28, 672)
    assert reduced.out_shape((28, 28, 256)) == (28, 28, 480)
    biases = {"naive": 128 + 192 + 96, "reduced": 128 + 64 + 192 + 64 + 96 + 64}
    work = {
        name: 28 * 28 * (analysis.count_parameters(layer, (28, 28, 256)) - biases[name])
        for name, layer in (("naive", naive), ("reduced", reduced))
    }
    assert {name: round(n / 1e6) for name, n in work.items()} == {"naive": 854, "reduced": 271}
    assert work["reduced"] == 28 * 28 * (256 * (128 + 64 + 64 + 64) + 9 * 64 * 192 + 25 * 64 * 96)
    assert models.googlenet(naive=True).out_shape(IMAGENET) == (1000,)


# ---------------------------------------------------------------- tiny ones learn


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_two_steps_reduce_the_loss_of_a_tiny_form(name):
    layer, in_shape = tiny(name)
    images, labels = digits(in_shape)

    @quick_jit
    def step(params, state):
        def loss(params):
            y, new_state = layer.apply(params, state, images, train=True, key=KEY)
            return total_loss(y, labels), new_state

        (value, new_state), grads = jax.value_and_grad(loss, has_aux=True)(params)
        norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(grads)))
        length = jnp.minimum(0.003, 0.02 / norm)  # the loss is to fall by .02, or as far as .003 takes it
        return value, grads, jax.tree.map(lambda p, g: p - length / norm * g, params, grads), new_state

    params, state = initial(layer, in_shape)
    values = []
    for _ in range(3):
        value, grads, params, new_state = step(params, state)
        values.append(float(value))
        assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(grads))
        assert jax.tree.structure(new_state) == jax.tree.structure(state)
        state = new_state
    assert values[2] < values[1] < values[0]
    flat = jax.tree_util.tree_leaves_with_path(grads)
    assert [jax.tree_util.keystr(path) for path, g in flat if not jnp.abs(g).max() > 0] == []


@pytest.mark.parametrize("name", TINY)
def test_training_and_evaluation_differ_in_dropout_and_batch_norm_alone(name):
    layer, in_shape = tiny(name)
    for path in kinds(layer, "dropout", "stochastic_depth", "batch_norm"):
        layer = nn.replace(layer, path, nn.identity)
    params, state = jax.eval_shape(lambda: layer.init(KEY, in_shape))
    images = jax.ShapeDtypeStruct((2, *in_shape), jnp.float32)

    def output(train, *args):
        y, new_state = layer.apply(*args, train=train, key=KEY)
        return (y[0] if isinstance(y, tuple) else y), new_state

    programs = [jax.make_jaxpr(partial(output, train))(params, state, images) for train in (True, False)]
    assert str(programs[0]) == str(programs[1])


@pytest.mark.parametrize("name", TINY)
def test_out_shape_is_what_apply_gives(name):
    layer, in_shape = tiny(name)
    images = jax.ShapeDtypeStruct((3, *in_shape), jnp.float32)
    y = jax.eval_shape(lambda x: layer.apply(*layer.init(KEY, in_shape), x)[0], images)
    assert layer.out_shape(in_shape) == (10,)
    assert y.shape == (3, 10)


# ---------------------------------------------------------------- mistakes

SMALLEST = {
    "alexnet": 63,
    "alexnet_2012": 67,
    "vgg16": 32,
    "googlenet": 31,
    "densenet121": 29,
    "inception_v4": 75,
    "inception_resnet_v2": 75,
    "lecture_keras": 10,
    "lecture_torch": 16,
    "lenet5": 12,
    "lenet5_1998": 28,
    "small_cnn": 8,
    "cifar_demo": 8,
}


@pytest.mark.parametrize("name", SMALLEST)
def test_images_that_are_too_small_are_told_the_smallest_size(name):
    shallow = {"depths": (1, 1, 1)} if "inception" in name else {}
    layer, size = getattr(models, name)(**shallow), SMALLEST[name]
    channels = 1 if "lenet" in name else 3
    message = rf"in_shape: got \({size - 1}, {size + 5}, {channels}\), the smallest image .* is {size}x{size}: in "
    with pytest.raises(ValueError, match=message):
        layer.out_shape((size - 1, size + 5, channels))
    with pytest.raises(ValueError, match=f"the smallest image .* is {size}x{size}"):
        jax.eval_shape(lambda: layer.init(KEY, (size + 5, size - 1, channels)))
    assert layer.out_shape((size, size, channels)) == layer.out_shape((size + 8, size + 9, channels))


def test_a_net_that_has_its_parameters_says_the_smallest_size_too():
    layer, in_shape = tiny("densenet_cifar")
    params, state = jax.eval_shape(lambda: layer.init(KEY, in_shape))
    with pytest.raises(ValueError, match="the smallest image that this DenseNet takes is 4x4"):
        jax.eval_shape(layer.apply, params, state, jnp.ones((1, 3, 8, 3)))


MISTAKES = MappingProxyType({
    "wrong channels": (
        lambda: tiny("vgg11")[0].apply(*tiny("vgg11")[0].init(KEY, CIFAR), np.ones((1, 32, 32, 1), np.float32)),
        "in conv1_1: kernel: got 3 input channels, allowed are 1",
    ),
    "unknown layer": (lambda: nn.tap(models.vgg16(), ["conv4_9"]), "'conv4_9', which does not exist.*nearest: conv4_"),
    "unknown variant": (lambda: models.resnet50(variant="tf"), "variant: got 'tf', allowed are 'torch', 'paper'"),
    "unknown module": (lambda: models.googlenet(modules=("3c",)), "modules: got '3c', allowed are '3a', '3b'"),
    "unknown shortcut": (lambda: models.resnet20(shortcut="D"), "shortcut: got 'D', allowed are 'A', 'B', 'C', None"),
    "depth": (lambda: models.resnet20(depth=21), "depth: got 21, allowed are 8, 14, 20"),
    "dense depth": (lambda: models.densenet40(depth=41), r"depth: got 41, allowed are 3n \+ 4"),
    "bc depth": (lambda: models.densenet_bc100(depth=43), r"depth: got 43, allowed are 6n \+ 4"),
    "width": (lambda: models.mobilenet(width=0.0), "width: got 0.0, allowed are numbers above 0"),
    "order": (lambda: models.alexnet_2012(order="norm"), "order: got 'norm', allowed are 'norm_pool', 'pool_norm'"),
    "classes": (lambda: models.lenet5_1998(11), "num_classes: got 11, allowed are 1 to 10"),
    "table": (lambda: models.lenet5_1998().init(KEY, (28, 28)), "but Conv takes images"),
    "capsnet's images": (lambda: models.capsnet().out_shape((32, 32, 1)), r"made for image_shape=\(28, 28, 1\)"),
    "capsnet's size": (
        lambda: models.capsnet(image_shape=(16, 16, 1)).out_shape((16, 16, 1)),
        "the smallest image that CapsNet takes is 17x17",
    ),
    "no head of that name": (lambda: nn.at(models.googlenet(), "aux1"), "'aux1', which does not exist"),
})  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name):
    mistake, message = MISTAKES[name]
    with pytest.raises(ValueError, match=message):
        mistake()

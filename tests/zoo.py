"""Helpers of the networks' tests: tiny forms, and real digits in any size."""

from functools import cache, partial

import jax
import numpy as np
from sklearn.datasets import load_digits, load_sample_images

from jaxdl import losses, models, nn
from jaxdl.models.capsnet import Capsules, capsule_loss

KEY = jax.random.key(0)
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

IMAGENET, CIFAR, MNIST = (224, 224, 3), (32, 32, 3), (28, 28, 1)
BASIC_PROJECTIONS = 64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)  # of resnet18 and resnet34


@cache
def digits(shape, n=8):
    """Return real handwritten digits of the given size and channels, with variance about 1."""
    images, labels = load_digits(return_X_y=True)
    images = (images[:n].reshape(n, 8, 8) / 8 - 1).astype(np.float32)
    height, width, channels = shape
    big = np.kron(images, np.ones((1, -(-height // 8), -(-width // 8)), np.float32))[:, :height, :width, None]
    return np.repeat(big, channels, axis=-1), labels[:n].astype(np.int32)


def photographs():
    """Return pieces of 32×32 pixels of scikit-learn's photographs, and which half of which one each is of."""
    pieces = [one[:416, :640].reshape(13, 32, 20, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)
              for one in load_sample_images().images]  # fmt: skip
    images = np.concatenate(pieces)
    return images, 4 * np.arange(len(images)) // len(images)


def initial(layer, in_shape):
    return quick_jit(lambda: layer.init(KEY, in_shape))()


def kinds(layer, *wanted):
    return [path for path in nn.paths(layer) if nn.at(layer, path).op.kind in wanted]


TINY = {
    "resnet18": (partial(models.resnet18, 10, depths=(1, 1, 1), width=1 / 8), CIFAR),
    "resnet50": (partial(models.resnet50, 10, depths=(1, 1, 1), width=1 / 16), CIFAR),
    "resnet50 keras": (partial(models.resnet50, 10, depths=(1, 1), width=1 / 16, variant="keras"), CIFAR),
    "resnet50 preactivation": (partial(models.resnet50, 10, depths=(1, 2), width=1 / 8, preactivation=True), CIFAR),
    "plain18": (partial(models.plain18, 10, depths=(1, 1), width=1 / 8), CIFAR),
    "resnet20": (partial(models.resnet20, depth=8, width=1 / 2), CIFAR),
    "resnet20 preactivation": (partial(models.resnet20, depth=8, width=1 / 2, preactivation=True), CIFAR),
    "resnet20 shortcut C": (partial(models.resnet20, depth=8, width=1 / 2, shortcut="C"), CIFAR),
    "plain20": (partial(models.plain20, depth=8, width=1 / 2), CIFAR),
    "vgg11": (partial(models.vgg11, 10, width=1 / 16), CIFAR),
    "vgg13 batch norm": (partial(models.vgg13, 10, width=1 / 16, batch_norm=True), CIFAR),
    "alexnet": (partial(models.alexnet, 10, width=1 / 16), (63, 63, 3)),
    "alexnet_2012": (partial(models.alexnet_2012, 10, width=1 / 16), (67, 67, 3)),
    "alexnet_2012 pool first": (partial(models.alexnet_2012, 10, width=1 / 16, order="pool_norm"), (67, 67, 3)),
    "googlenet": (partial(models.googlenet, 10, modules=("3a", "5b"), width=1 / 4), (33, 33, 3)),
    "googlenet heads": (
        partial(models.googlenet, 10, modules=("4a", "4d"), width=1 / 16, variant="torch", auxiliary=True),
        (81, 81, 3),
    ),
    "googlenet naive": (partial(models.googlenet, 10, modules=("3a", "4a"), width=1 / 16, naive=True), (33, 33, 3)),
    "densenet121": (partial(models.densenet121, 10, depths=(2, 1), growth=4), CIFAR),
    "densenet_cifar": (partial(models.densenet40, depth=10, growth=4, dropout=0.2), CIFAR),
    "densenet_bc": (partial(models.densenet_bc100, depth=16, growth=4), CIFAR),
    "mobilenet": (partial(models.mobilenet, 10, width=1 / 4), (64, 64, 3)),
    "inception_v4": (partial(models.inception_v4, 10, depths=(1, 1, 1), width=1 / 16), (75, 75, 3)),
    "inception_resnet_v2": (partial(models.inception_resnet_v2, 10, depths=(1, 1, 1), width=1 / 16), (75, 75, 3)),
    "capsnet": (partial(models.capsnet, width=1 / 16), MNIST),
    "lenet5_1998": (models.lenet5_1998, MNIST),
    "cifar_demo": (models.cifar_demo, CIFAR),
    "darknet53": (partial(models.darknet53, 10, depths=(1, 1), width=1 / 8), CIFAR),
    "vit": (models.tiny_vit, (8, 8, 1)),
    "vit mean": (partial(models.tiny_vit, pool="mean", dropout=0.1, depth_rate=0.2), (8, 8, 1)),
}


@cache
def tiny(name):
    """Return a tiny network and the shape of its images; making all of them takes ten seconds."""
    make, in_shape = TINY[name]
    return make(), in_shape


def total_loss(y, labels):
    """Return the mean training loss of a network's output; auxiliary heads weigh .3."""
    if isinstance(y, Capsules):
        return capsule_loss(y, labels).mean()
    heads = y.heads if isinstance(y, nn.WithAuxiliary) else ()
    main = losses.softmax_cross_entropy(y.output if heads else y, labels).mean()
    return main + 0.3 * sum(losses.softmax_cross_entropy(head, labels).mean() for head in heads)

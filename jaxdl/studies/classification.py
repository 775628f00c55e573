"""Problems on real images: softmax regression and MLPs on digits and MNIST, and published convolutional nets.

A run is judged by its mean cross-entropy on the test set, without the penalty that training adds, and reports the
accuracy as well. Images stay on the device in the dtype of their source; a batch holds indices of examples. Targets
are the test losses that tuned Adam reaches about two thirds of the way through a full run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxdl import data, losses, models, nn, regularizers
from jaxdl.data import augmentation, batching
from jaxdl.studies.problems import Problem, Tuning, indices

Folder = str | Path | None
SLICE = 1000  # test images evaluated at a time
DEEPOBS = "DeepOBS, https://arxiv.org/abs/1903.05499"


def classification_problem(
    name: str,
    layer: nn.Layer,
    dataset: data.Dataset,
    *,
    batch_size: int,
    epochs: int,
    prepare: Callable[[Array], Array] | None = None,
    augment: augmentation.Augmentation | None = None,
    penalty: Callable[[Any], Any] | None = None,
    target: float | int | None = None,
    source: str = "",
) -> Problem:
    """Build the problem of training a network on labelled images with softmax cross-entropy.

    Settings are tuned without the test set: ``tuning`` withholds training examples, as many as the test set has but at
    most a third of them, the same for all seeds, and judges on these. An epoch keeps its number of steps.

    Args:
        name: the name used in results.
        layer: network from images to logits.
        dataset: if it has no test set, a fifth of it is held out, the same for all seeds.
        batch_size: examples per step.
        epochs: epochs of a full run, each followed by an evaluation.
        prepare: function from images in [0, 1] to the network's inputs; the identity by default.
        augment: ``(key, image in [0, 1]) -> image``, applied in training only.
        penalty: ``params -> scalar``, added to the training loss.
        target: a test loss that a good run reaches.
        source: reference for the problem.

    Examples:
        >>> from jaxdl import data, models
        >>> digits = data.load("digits")
        >>> net = models.softmax_regression()
        >>> problem = studies.classification_problem("linear", net, digits, batch_size=64, epochs=2)
        >>> problem.steps, problem.steps_per_epoch  # of 1797 images 359 are held out; 1438 // 64
        (44, 22)
    """
    train, test = parts(dataset)
    prepare = prepare or (lambda images: images)
    steps = len(train.labels) // batch_size
    return Problem(
        name=name,
        init=lambda key: layer.init(key, train.images.shape[1:]),
        loss=_training_loss(layer, prepare, augment, penalty, dataset.scale),
        evaluate=_evaluation(layer, prepare, dataset.scale),
        batches=indices(len(train.labels), batch_size),
        steps=epochs * steps,
        steps_per_epoch=steps,
        batch_size=batch_size,
        evaluate_every=steps,
        data={"images": train.images, "labels": train.labels}
        | {"test_images": test.images, "test_labels": test.labels},
        target=target,
        source=source,
        tuning=lambda: _tuning(train, len(test.labels), batch_size),
    )


def _tuning(train: data.Examples, test_size: int, batch_size: int) -> Tuning:
    """Withhold a validation part, and fill up an epoch with examples of its next order."""
    count = len(train.labels)
    withheld, kept = np.split(np.random.default_rng(0).permutation(count), [min(test_size, count // 3)])
    steps = count // batch_size
    # as many as the test set has, so that one program evaluates both
    judged = np.resize(withheld, test_size)

    def batches(seed: int, epoch: int) -> np.ndarray:
        orders = [batching.order(len(kept), seed=seed, epoch=2 * epoch + i) for i in range(2)]
        order = np.concatenate(orders)[: steps * batch_size]
        return kept[order].reshape(steps, batch_size).astype(np.int32)

    arrays = {"images": train.images, "labels": train.labels}
    return Tuning(batches, arrays | {"test_images": train.images[judged], "test_labels": train.labels[judged]})


def _training_loss(layer, prepare, augment, penalty, scale):
    def loss(params, state, batch, data_, key):
        augment_key, layer_key = jax.random.split(key)
        images, labels = data.to_unit(data_["images"][batch], scale), data_["labels"][batch]
        if augment is not None:
            images = augmentation.per_example(augment)(augment_key, images, batch)
        logits, state = layer.apply(params, state, prepare(images), train=True, key=layer_key)
        mean = losses.softmax_cross_entropy(logits, labels).mean()
        return (mean if penalty is None else mean + penalty(params)), state

    return loss


def _evaluation(layer, prepare, scale):
    def sums(params, state, images, labels):
        logits, _ = layer.apply(params, state, prepare(data.to_unit(images, scale)))
        correct = jnp.argmax(logits, -1) == labels
        return jnp.stack([losses.softmax_cross_entropy(logits, labels).sum(), correct.sum().astype(jnp.float32)])

    def evaluate(params, state, data_):
        images, labels = data_["test_images"], data_["test_labels"]
        value, accuracy = _over_slices(functools.partial(sums, params, state), images, labels) / len(labels)
        return {"value": value, "accuracy": accuracy}

    return evaluate


def parts(dataset: data.Dataset) -> tuple[data.Examples, data.Examples]:
    """Return the training and test examples: the data set's own, or four fifths and one fifth of each class."""
    if dataset.test_images is not None and dataset.test_labels is not None:
        return data.Examples(dataset.images, dataset.labels), data.Examples(dataset.test_images, dataset.test_labels)
    splits = data.split(dataset, seed=0, dev_fraction=0.5, test_fraction=0.2)
    both = zip(splits.train, splits.dev, strict=True)
    return data.Examples(*(np.concatenate(pair) for pair in both)), splits.test


def digits_softmax() -> Problem:
    """Softmax regression on scikit-learn's digits, batch 64. It is convex and needs no download.

    Examples:
        >>> problem = studies.digits_softmax()
        >>> problem.name, problem.batch_size
        ('digits_softmax', 64)
    """
    layer = models.softmax_regression()
    return classification_problem("digits_softmax", layer, data.load("digits"), batch_size=64, epochs=30, target=0.15)


def digits_mlp() -> Problem:
    """An MLP with 64 hidden ReLU units on scikit-learn's digits, batch 64."""
    layer = models.mlp(widths=(64,))
    return classification_problem("digits_mlp", layer, data.load("digits"), batch_size=64, epochs=30, target=0.12)


def mnist_softmax(data_dir: Folder = None) -> Problem:
    """Softmax regression on MNIST, batch 128, as in section 6.1 of D. Kingma, J. Ba, Adam, 2015."""
    options = {"batch_size": 128, "epochs": 10, "target": 0.28, "source": "https://arxiv.org/abs/1412.6980"}
    dataset = data.load("mnist", data_dir=data_dir)
    return classification_problem("mnist_softmax", models.softmax_regression(), dataset, **options)


def mnist_mlp(data_dir: Folder = None) -> Problem:
    """An MLP with two layers of 1,000 ReLU units on MNIST, batch 128: section 6.2 of Adam's paper, no dropout."""
    options = {"batch_size": 128, "epochs": 10, "target": 0.07, "source": "https://arxiv.org/abs/1412.6980"}
    layer = models.mlp(widths=(1000, 1000))
    return classification_problem("mnist_mlp", layer, data.load("mnist", data_dir=data_dir), **options)


def fashion_mnist_2c2d(data_dir: Folder = None) -> Problem:
    """DeepOBS's 2c2d on Fashion-MNIST in [0, 1], batch 128, 100 epochs."""
    options = {"batch_size": 128, "epochs": 100, "target": 0.25, "source": DEEPOBS}
    dataset = data.load("fashion_mnist", data_dir=data_dir)
    return classification_problem("fashion_mnist_2c2d", models.net_2c2d(), dataset, **options)


def fashion_mnist_lenet5(data_dir: Folder = None) -> Problem:
    """LeNet-5 with ReLU on Fashion-MNIST in [0, 1], batch 128, 10 epochs: a small CNN, for studies on a CPU."""
    options = {"batch_size": 128, "epochs": 10, "target": 0.45, "source": "https://arxiv.org/abs/1708.07747"}
    dataset = data.load("fashion_mnist", data_dir=data_dir)
    return classification_problem("fashion_mnist_lenet5", models.lenet5(), dataset, **options)


def cifar10_3c3d(data_dir: Folder = None) -> Problem:
    """DeepOBS's 3c3d on CIFAR-10, batch 128, 100 epochs, with its penalty, distortions and standardization."""
    return classification_problem(
        "cifar10_3c3d",
        models.net_3c3d(),
        data.load("cifar10", data_dir=data_dir),
        batch_size=128,
        epochs=100,
        prepare=standardized,
        augment=deepobs_distortions,
        penalty=functools.partial(regularizers.l2, strength=0.002),
        target=0.6,
        source=DEEPOBS,
    )


def cifar10_resnet20(data_dir: Folder = None) -> Problem:
    """ResNet-20 on CIFAR-10, batch 128, 164 epochs (64,000 steps), with the paper's penalty, crops and flips.

    The learning rate is constant, whereas the paper divides it by 10 after 32,000 and 48,000 steps.
    """
    dataset = data.load("cifar10", data_dir=data_dir)
    statistics = data.fit_normalization(dataset.images, dataset.scale)
    return classification_problem(
        "cifar10_resnet20",
        models.resnet20(),
        dataset,
        batch_size=128,
        epochs=164,
        prepare=lambda images: data.standardize(images, statistics),
        augment=augmentation.compose(augmentation.crop, augmentation.flip),
        penalty=functools.partial(regularizers.l2, strength=1e-4),
        target=0.5,
        source="https://arxiv.org/abs/1512.03385",
    )


def cifar10_vit(data_dir: Folder = None) -> Problem:
    """A ViT with six blocks of 128 features on patches of 4x4 of CIFAR-10, batch 128, 100 epochs, crops and flips."""
    dataset = data.load("cifar10", data_dir=data_dir)
    statistics = data.fit_normalization(dataset.images, dataset.scale)
    return classification_problem(
        "cifar10_vit",
        models.vit_ti16(10, patch=4, depth=6, features=128, heads=4, pool="mean"),
        dataset,
        batch_size=128,
        epochs=100,
        prepare=lambda images: data.standardize(images, statistics),
        augment=augmentation.compose(augmentation.crop, augmentation.flip),
        source="https://arxiv.org/abs/2010.11929",
    )


def standardized(images: Array) -> Array:
    """Standardize each image, with a standard deviation of at least 1/√(number of values)."""
    axes = (-3, -2, -1)
    # TensorFlow's rule has 1/√n for pixels up to 255, and these are in [0, 1]
    least = 1 / (255 * np.sqrt(np.prod(images.shape[-3:])))
    deviation = jnp.maximum(images.std(axes, keepdims=True), jnp.float32(least))
    return (images - images.mean(axes, keepdims=True)) / deviation


# DeepOBS changes the brightness of pixels up to 255 by at most 63/255, which is next to nothing
deepobs_distortions = augmentation.compose(
    functools.partial(augmentation.crop, padding=2),
    augmentation.flip,
    functools.partial(augmentation.brightness, max_change=63 / 255 / 255),
    functools.partial(augmentation.saturation, max_change=0.5),
    functools.partial(augmentation.contrast, max_change=0.8),
)


def _over_slices(sums: Callable[[Array, Array], Array], images: Any, labels: Any) -> Array:
    """Sum over all examples slice by slice, so that their activations are never all in memory at once."""
    full = len(labels) // SLICE * SLICE
    total = sums(images[full:], labels[full:]) if full < len(labels) else jnp.zeros(2)
    if full:
        stacked = [x[:full].reshape(-1, SLICE, *x.shape[1:]) for x in (images, labels)]
        total = total + jax.lax.map(lambda part: sums(*part), stacked).sum(0)
    return total

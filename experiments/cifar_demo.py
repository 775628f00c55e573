"""The lectures' CIFAR-10 demonstration: a net of 22,466 parameters, its three best guesses, and how often it is right.

    python -m experiments.cifar_demo                # all images, ten passes: some ten minutes
    python -m experiments.cifar_demo --full         # thirty passes: half an hour

The lectures show test images with the three likeliest classes beside them, and an accuracy of .7065. No fraction of 200
images rounds to it; the fewest images that do are 92, of which 65 are right. So few leave an interval of .61 to .79
(Wilson's, 95 %), and a net whose accuracy lies inside is consistent with the demonstration, no more. Here the net
learns CIFAR-10 from JPEG files.

(Lecture rows I, C7.)
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data, demonstrations, losses, metrics, models, optimizers, runs, schedules
from jaxdl.demonstrations import claims

SHOWN = 12
PRINTED, OF = 65, 92  # right in the lectures


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "cifar_demo"

    seeds: int = 3
    """Number of seeds, each of which draws the training images, parameters and batches."""
    dataset: str = "cifar10"
    """cifar10, a folder or archive of images of 32×32, or package.module:function."""
    images: int = 45_000
    """Training images."""
    test_images: int = 2000
    """Test images, the same for all seeds."""
    epochs: int = 10
    """Passes over the training images."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, images=64, test_images=OF, epochs=1)


def load(config: Config) -> tuple[data.Dataset, Any]:
    """Load the images from 0 to 255, the training part without those for development, and the test part."""
    dataset = runs.dataset(config.dataset, data_dir=config.data_dir)
    splits = data.split(dataset, seed=0, dev_fraction=0.1)
    for name, part in (("images", splits.train), ("test_images", splits.test)):
        if len(part.labels) < (least := getattr(config, name)):
            raise ValueError(f"{name}={least} is not allowed: {dataset.name} has {len(part.labels)} for that part")
    # archives hold images class by class, so that the first ones are of one class
    chosen = np.random.default_rng(0).permutation(len(splits.test.labels))[: config.test_images]
    of_bytes = lambda x: x if dataset.scale == 255 else x * np.float32(255 / dataset.scale)
    test = data.Examples(of_bytes(splits.test.images[chosen]), splits.test.labels[chosen])
    return dataset, (splits.train._replace(images=of_bytes(splits.train.images)), test, dataset.classes)


@functools.cache
def _compiled(classes: int, shape: tuple[int, ...], steps: int) -> tuple[Any, Any, Any]:
    """Return initialisation, a pass over the images, (carry, images, labels, rows) -> carry, and the logits."""
    layer, optimizer = models.cifar_demo(classes), optimizers.adam(schedules.cosine(3e-3, steps))
    seen = lambda images: images.astype(jnp.float32) / 128 - 1

    def mean_loss(params, images, labels):
        return losses.softmax_cross_entropy(layer.apply(params, {}, seen(images))[0], labels).mean()

    def epoch(carry, images, labels, rows):
        def step(carry, rows):
            params, state = carry
            updates, state = optimizer.update(jax.grad(mean_loss)(params, images[rows], labels[rows]), state, params)
            return (optimizers.apply_updates(params, updates), state), None

        return jax.lax.scan(step, carry, rows)[0]

    def init(key):
        params, _ = layer.init(key, shape)
        return params, optimizer.init(params)

    quick = {"xla_backend_optimization_level": 0}  # at other levels the initial values take 25 s to compile
    return jax.jit(init, compiler_options=quick), jax.jit(epoch), jax.jit(lambda p, x: layer.apply(p, {}, seen(x))[0])


def run(config: Config, loaded: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Train the net with the seed, and count on the test images."""
    del case
    train, test, classes = loaded
    chosen = np.sort(np.random.default_rng(seed).choice(len(train.labels), config.images, replace=False))
    images, labels = jnp.asarray(train.images[chosen]), jnp.asarray(train.labels[chosen])
    steps = config.epochs * (config.images // 64)
    init, epoch, logits_of = _compiled(len(classes), images.shape[1:], steps)
    carry = init(jax.random.key(seed))
    for number in range(config.epochs):
        rows = data.batch_rows(config.images, 64, seed=seed, epoch=number)
        carry = epoch(carry, images, labels, np.stack([batch.row for batch in rows]))
    logits = np.concatenate([logits_of(carry[0], part) for part in np.array_split(test.images, max(1, OF // 20))])
    best, certainty = (np.asarray(one) for one in metrics.top_k_classes(logits, k=min(3, len(classes))))
    right = best[:, 0] == test.labels
    return {
        "accuracy": 100 * float(right.mean()),
        "top 3": 100 * float((best == test.labels[:, None]).any(1).mean()),
        "right of 92": int(right[:OF].sum()),
        "confusion": np.histogram2d(test.labels, best[:, 0], bins=len(classes), range=[[0, len(classes)]] * 2)[0],
        "names": np.frombuffer("\n".join(classes).encode(), np.uint8),
        "best": best[:SHOWN],
        "certainty": certainty[:SHOWN],
        "shown": test.images[:SHOWN] / np.float32(255),
        "labels": test.labels[:SHOWN],
    }


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' demonstration to the accuracy."""
    from scipy.stats import binomtest

    low, high = (100 * end for end in binomtest(PRINTED, OF).proportion_ci(method="wilson"))
    of = lambda name: outcomes.numbers("net", name)
    learnt = f"after {config.epochs} passes over {config.images} images"
    return [
        claims.within(f"the accuracy is consistent with the 65 of 92 that the lectures show, {learnt}", "I",
                      ("accuracy", of("accuracy")), low=low, high=high, unit="%"),
        claims.within("the right class is among the three likeliest for most images", "C7", ("top 3", of("top 3")),
                      low=50, unit="%"),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw test images with their three likeliest classes, and the confusion of classes."""
    from jaxdl import plots

    data_set = "CIFAR-10 (JPEG)" if config.dataset == "cifar10" else config.dataset
    seen = {name: outcomes.arrays("net", name)[0] for name in ("best", "certainty", "shown", "labels", "names")}
    best, certainty, images, labels, written = seen.values()
    classes = written.tobytes().decode().split("\n")
    captions = []
    for top, sure, label in zip(best, certainty, labels, strict=True):
        lines = [f"{'*' if k == label else ' '} {classes[k]} {p:.0%}" for k, p in zip(top, sure, strict=True)]
        captions.append("\n".join(lines))
    right = int((best[:, 0] == labels).sum())
    sheet = plots.image_grid(images, captions, title=f"{right} of {len(labels)} right", note="* the true class")
    counts = outcomes.arrays("net", "confusion").sum(0).astype(int)
    return [
        demonstrations.Drawing("guesses", sheet, f"Test images of {data_set} with the three likeliest "
                               "classes, of one seed."),
        demonstrations.Drawing("confusion", plots.confusion_matrix(counts, classes), "Which classes are taken for "
                               "which, over all seeds and test images."),
    ]  # fmt: skip


DEMONSTRATION = demonstrations.Demonstration(
    Config, load, lambda config: ("net",), run, judge, draw, check,
    full={"test_images": 10_000, "epochs": 30},
)  # fmt: skip
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)

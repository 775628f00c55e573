"""Transfer learning: five ways to reuse a trained network, by the amount of data and the similarity of the new task.

    python -m experiments.transfer                      # MNIST 0-4, moved to 5-9 (similar) and to Fashion-MNIST
    python -m experiments.transfer --source digits --different experiments.transfer.patches:photo_patches \\
        --examples 5 20                                 # bundled data, seconds

A network learns half of the classes of one data set. A new task with few to many examples per class then reuses it in
five ways: a linear classifier on its top, one on an earlier layer, fine-tuning of a few or of many layers at a tenth of
the learning rate, and training from scratch. The new tasks are the held-out classes (similar) and as many classes of
another data set (different). The lecture recommends a way for each of the four cells, little or much data and similar
or different, and the report compares them. Resume an interrupted run with --resume DIR, and make the report again with
`python -m experiments.report DIR`.

Expected with the defaults (means of 2 seeds, a little over 3 minutes on one core): the source network reaches 99.4 %.
The lecture's way and the best way reach, in percent: similar, 5 per class, 80.3 and 86.6 (fine-tune many); different,
5 per class, 71.8, which is the best; similar, 500 per class, 95.0 and 97.6 (from scratch); different, 500 per class,
81.7 and 86.5 (linear on an earlier layer). With so small a source the recommendation holds in one of the four cells.

(Lecture row G11.)
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from experiments.transfer.records import RESULTS, TASKS, TransferResult
from jaxdl import data, models, nn, optimizers, runs, training
from jaxdl.applications import transfer
from jaxdl.runs import commandline
from jaxdl.runs import folder as folders
from jaxdl.runs.decoding import decode


class Way(NamedTuple):
    """A way to reuse the trained network; paths are those of `models.small_cnn`."""

    after: str  # layer that the new head follows
    factors: dict[str, float]  # path → factor on the learning rate
    held: tuple[str, ...] = ()  # parts that stay in evaluation mode
    trained: bool = True  # False: from scratch


STAGES = ("stage1", "stage2", "stage3")
WAYS = {
    "linear on top": Way("relu", {"head/.*": 1.0, ".*": 0.0}, STAGES),
    "linear on an earlier layer": Way("stage2", {"head/.*": 1.0, ".*": 0.0}, STAGES[:2]),
    "fine-tune few": Way("relu", {"head/.*": 1.0, "fc1/.*": 0.1, ".*": 0.0}, STAGES),
    "fine-tune many": Way("relu", {"head/.*": 1.0, ".*": 0.1}),
    "from scratch": Way("relu", {".*": 1.0}, trained=False),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """All options of a run."""

    EXPERIMENT: ClassVar[str] = "transfer"

    source: str = "mnist"
    """digits, mnist, fashion_mnist, cifar10, a folder or archive of images, or package.module:function. The network
    learns the first half of its classes; the second half is the similar task."""
    different: str = "fashion_mnist"
    """Another data set than the source, with images of the same shape. Its first classes, as many, are the different
    task. experiments.transfer.patches:photo_patches has the shape of digits and is bundled, too."""
    examples: tuple[int, ...] = (5, 20, 100, 500)
    """Training examples per class of the new tasks, from the lecture's little data to its much data."""
    width: int = 16
    """Channels of the network's first stage; the second and third stages have two and four times as many."""
    source_epochs: int = 1
    """Passes over the source's training examples."""
    steps: int = 150
    """Steps on each new task."""
    batch_size: int = 32
    """Examples per step."""
    learning_rate: float = 3e-3
    """Learning rate of Adam on the source and on new parts; fine-tuned parts get a tenth of it."""
    seeds: int = 2
    """Number of repetitions, each with other examples and another initial head."""
    data_dir: Path | None = None
    """Folder of the data sets' files; by default the variable JAXDL_DATA_DIR, else a per-user cache."""
    out: Path | None = None
    """Folder of this run; by default runs/transfer/TIME."""
    resume: Path | None = None
    """Resume the run in this folder; finished networks are not trained again."""
    trust_run: bool = False
    """With --resume: import and call functions that the run's config names as package.module:function. They can be any
    code, so use this only for folders that you trust, such as your own."""


class SourceMeta(NamedTuple):
    """The metadata of the source network's checkpoint."""

    accuracy: float  # on its test part


class Task(NamedTuple):
    """Some classes of a data set, renumbered from 0."""

    train: data.Examples
    test: data.Examples  # images in [0, 1]


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, run, and return the exit code."""
    config = commandline.parse(Config, argv, description=__doc__, prog="python -m experiments.transfer")
    commandline.use_compilation_cache()
    with commandline.naming_config(config):
        check(config)
    names = dict.fromkeys((config.source, config.different))
    sets = {name: runs.dataset(name, data_dir=config.data_dir) for name in names}
    if config.resume is None:
        check_different(config, sets)
    tasks = make_tasks(config, sets)
    if config.resume is not None:
        folder = runs.open_folder(config.resume)
    else:
        folder = runs.create_dated(Path("runs") / "transfer") if config.out is None else runs.create(config.out)
    dataset = both(*sets.values())
    with runs.lock(folder, new=config.resume is None), runs.catch_stop() as request:
        if config.resume is None:
            commandline.save_config(folder, config)
        source = folders.data_source(dataset)
        runs.write_manifest(folder, seed=0, devices=jax.devices()[:1], source=source, argv=argv)
        table = runs.Table(folder / RESULTS, TransferResult)
        for row in results(config, tasks, folder, [row[:4] for row in table.rows]):
            table.append([row])
            table.sync()
            print(
                f"{row.task}, {row.way}, {row.examples_per_class} examples per class, seed {row.seed}: "
                f"{row.test_accuracy:.2%}"
            )
            if request.signal:
                print(f"{request.signal.name}: resume with {commandline.resuming(folder, config)}")
                return request.exit_code
    from experiments.transfer import report  # matplotlib takes a second to import, which would delay --help

    print(f"report: {report.write(folder)}")
    return 0


def check(config: Config) -> None:
    """Raise ValueError for an option out of range; the message names it, its value and the allowed ones."""
    for name in ("width", "source_epochs", "steps", "batch_size", "seeds"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name}={getattr(config, name)} is not allowed: it must be at least 1")
    if not config.examples or min(config.examples) < 1:
        raise ValueError(f"examples={config.examples} is not allowed: give at least one number, each at least 1")
    if not (math.isfinite(config.learning_rate) and config.learning_rate > 0):
        raise ValueError(f"learning_rate={config.learning_rate} is not allowed: it must be a positive number")


def check_different(config: Config, sets: dict[str, data.Dataset]) -> None:
    """Raise ValueError if the different task has the classes that the source network learned."""
    if sets[config.source].checksums == sets[config.different].checksums:
        raise ValueError(
            f"different={config.different!r} is not allowed: it must be another data set than "
            f"source={config.source!r}, whose first classes the network has learned"
        )


def both(first: data.Dataset, *others: data.Dataset) -> data.Dataset:
    """Return one data set for the manifest, with the names, notes and checksums of all."""
    for other in others:
        names, notes = f"{first.name}, {other.name}", "; ".join(filter(None, (first.note, other.note)))
        checksums = {f"{one.name}/{file}": value for one in (first, other) for file, value in one.checksums.items()}
        first = first._replace(name=names, note=notes, checksums=checksums)
    return first


def make_tasks(config: Config, sets: dict[str, data.Dataset]) -> dict[str, Task]:
    """Return the three tasks, source, similar and different, with the same number of classes."""
    source, different = sets[config.source], sets[config.different]
    half = len(source.classes) // 2
    if half < 2 or len(different.classes) < half or source.images.shape[1:] != different.images.shape[1:]:
        raise ValueError(
            f"different={config.different!r} has {len(different.classes)} classes of images "
            f"{different.images.shape[1:]}; allowed are at least {max(half, 2)} of {source.images.shape[1:]}"
        )
    tasks = {
        "source": make_task(source, range(half)),
        "similar": make_task(source, range(half, 2 * half)),
        "different": make_task(different, range(half)),
    }
    fewest = min(int(np.bincount(task.train.labels).min()) for task in tasks.values())
    if max(config.examples) > fewest:
        raise ValueError(f"examples={config.examples} is not allowed: the smallest class has {fewest}")
    return tasks


def make_task(dataset: data.Dataset, classes: range) -> Task:
    """Return the training and test examples of some classes."""
    splits = data.split(dataset, seed=0, dev_fraction=0.1)

    def chosen(examples: data.Examples) -> data.Examples:
        rows = np.isin(examples.labels, classes)
        images = examples.images[rows].astype(np.float32) / dataset.scale
        return data.Examples(images, (examples.labels[rows] - classes.start).astype(np.int32))

    return Task(chosen(splits.train), chosen(splits.test))


def results(
    config: Config, tasks: dict[str, Task], folder: Path, done: Sequence[tuple[str, str, int, int]]
) -> Iterator[TransferResult]:
    """Train the source network, then yield one row per task, way, number of examples and seed.

    Args:
        config: the options.
        tasks: the result of `make_tasks`.
        folder: the run folder, which keeps the trained source network.
        done: the first four fields of finished rows, which are skipped.
    """
    source, classes = tasks["source"], int(tasks["source"].train.labels.max()) + 1
    in_shape = source.train.images.shape[1:]
    layer = models.small_cnn(classes, widths=[config.width * 2**i for i in range(3)], hidden=8 * config.width)
    normalization = data.fit_normalization(source.train.images, 1.0)
    accuracy, params, state = train_source(config, layer, source, normalization, folder / "source")
    cells = [("source", "from scratch", len(source.train.labels) // classes, 0)]
    cells += itertools.product(TASKS, WAYS, config.examples, range(config.seeds))
    left = [cell for cell in cells if cell not in done]
    left.sort(key=lambda cell: (cell[0] != "source", list(WAYS).index(cell[1])))  # so that each way compiles once
    trainers: dict[str, Any] = {}
    for task, name, count, seed in left:
        if task != "source":
            way = WAYS[name]
            moved = transfer.with_head(layer, way.after, nn.serial(flatten=nn.flatten, fc=nn.Dense(classes)))
            if name not in trainers:
                optimizer = transfer.by_path(optimizers.adam, config.learning_rate, way.factors)
                held = transfer.hold(moved, *way.held)
                trainers = {name: make_trainer(config.batch_size, held, optimizer, normalization)}
            key = jax.random.key(1 + seed)
            begun = transfer.start(key, moved, in_shape, params, state) if way.trained else moved.init(key, in_shape)
            few = tasks[task]._replace(train=first_of_each(tasks[task].train, count, seed))
            accuracy, _ = trainers[name](*begun, few, config.steps, seed)
        yield TransferResult(task, name, count, seed, accuracy)


def train_source(
    config: Config, layer: nn.Layer, source: Task, normalization: data.Normalization, folder: Path
) -> tuple[float, Any, Any]:
    """Return the source network's test accuracy, params and state, from its checkpoint if there is one."""
    params, state = layer.init(jax.random.key(0), source.train.images.shape[1:])
    kept = training.checkpoints.restore_newest(folder, {"params": params, "state": state})
    if kept is not None:
        accuracy = decode(kept.meta, SourceMeta, folder, "").accuracy
        return accuracy, kept.tree["params"], kept.tree["state"]
    train = make_trainer(config.batch_size, layer, optimizers.adam(config.learning_rate), normalization)
    steps = config.source_epochs * len(source.train.labels) // config.batch_size
    accuracy, (params, state) = train(params, state, source, steps, 0)
    training.checkpoints.save(folder, steps, {"params": params, "state": state}, {"accuracy": accuracy}, keep=1)
    return accuracy, params, state


def make_trainer(batch_size: int, layer: nn.Layer, optimizer: Any, normalization: data.Normalization):
    """Return ``(params, state, task, steps, seed) -> (test accuracy, (params, state))``, compiled once."""
    preprocess: Any = functools.partial(data.normalize, stats=normalization)
    step = jax.jit(training.train_step(layer, optimizer, preprocess=preprocess))
    judge = jax.jit(training.eval_step(layer, preprocess=preprocess))

    def train(params: Any, state: Any, task: Task, steps: int, seed: int):
        before, key = training.start(params, state, optimizer), jax.random.key(seed)
        batches = lambda epoch: drawn(task.train, batch_size, steps, seed)
        after = training.fit(step, before, batches, key=key, epochs=range(1))
        found, _ = training.evaluate(judge, training.eval_variables(after), data.eval_batches(task.test, 1024))
        return found["accuracy"], training.eval_variables(after)

    return train


def drawn(examples: data.Examples, size: int, steps: int, seed: int) -> Iterator[data.Batch]:
    """Yield batches of one size, drawn with replacement, however few examples there are."""
    random = np.random.default_rng(seed)
    for _ in range(steps):
        rows = random.integers(len(examples.labels), size=size)
        yield data.Batch(examples.images[rows], examples.labels[rows], np.ones(size, np.float32), np.arange(size))


def first_of_each(examples: data.Examples, count: int, seed: int) -> data.Examples:
    """Return ``count`` examples of each class, drawn by the seed; a larger count adds to a smaller one's."""
    order = np.random.default_rng(seed).permutation(len(examples.labels))
    labels = examples.labels[order]
    rows = np.concatenate([order[labels == c][:count] for c in range(labels.max() + 1)])
    return data.Examples(examples.images[rows], examples.labels[rows])

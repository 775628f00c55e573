"""Train a network on images, with one optimizer or several side by side.

    python -m experiments.train_cnn                     # scikit-learn's digits, jaxdl's Adam beside optax's
    python -m experiments.train_cnn --dataset mnist --model lenet5 --optimizer jaxdl.adam --epochs 8 --schedule cosine

Several optimizers start from the same parameters and see the same batches in the same order; they are advanced in
turn, an epoch at a time. Where the first two are twins (jaxdl.NAME, optax.NAME) a third run measures the noise floor:
the second optimizer again, after moving one leaf of its initial parameters by one ulp.

On digits: both at 99 % test accuracy within half a minute on 2 CPU cores.
"""

import dataclasses
import functools
import inspect
import math
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax

from jaxdl import compare, data, losses, nn, regularizers, runs, schedules, training
from jaxdl.data import augmentation
from jaxdl.runs import commandline


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that a run is made of. Options left out are chosen per data set and optimizer and written down."""

    dataset: str = "digits"
    """digits, mnist, fashion_mnist, cifar10, a folder or tar archive with a folder of images per class, or
    package.module:function returning a data.Dataset or (images, labels)."""
    model: str = ""
    """A name in jaxdl.models, or package.module:function taking the number of classes and returning an nn.Layer;
    empty: what suits the data set."""
    optimizer: tuple[str, ...] = ("jaxdl.adam", "optax.adam")
    """jaxdl.NAME, optax.NAME or package.module:function; several run paired."""
    learning_rate: tuple[float, ...] = ()
    """One, or one per optimizer; the peak of the schedule."""
    schedule: Literal["constant", "cosine", "one_cycle", "step", "inverse_sqrt"] = "one_cycle"
    """How the learning rate goes on after warm-up: cosine to 0; step divides by 10 at 1/2 and 3/4 of the run;
    inverse_sqrt as 1 / sqrt(1 + t / T) with T the steps of warm-up, or of an epoch without; one_cycle rises during
    warm-up from 1/25 of the peak and falls along a cosine."""
    warmup: int = 0
    """Steps of linear warm-up from 0 (one_cycle: 0 means three tenths of the run)."""
    epochs: int = 0
    """Passes over the training part; 0: what suits the data set."""
    batch_size: int = 0
    """Examples per step, over all devices; 0: what suits the data set."""
    weight_decay: float = 0.0
    """On kernels, not biases: decoupled where the optimizer has a weight_decay (adamw), else 1/2 * decay * sum w^2
    in the loss."""
    label_smoothing: float = 0.0
    """Share of the label's probability that is spread over all classes."""
    augment: tuple[Literal["flip", "shift", "rotate", "cutout", "noise", "none"], ...] = ()
    """Random changes of the training images, on the device: none, flip (left-right), shift (up to a tenth of the side),
    rotate (up to 10 degrees), cutout (a square of a quarter of the side), noise (standard deviation 0.05)."""
    average: float | None = None
    """Judge the Polyak average of the weights, of this decay per step, such as 0.999."""
    early_stop: int | None = None
    """Stop after this many epochs without a lower development loss, and judge the best weights."""
    dev_fraction: float = 0.1
    """Share of the training examples that is held out for development."""
    test_fraction: float | None = None
    """Share of all examples for the test, where the data set has no test set of its own (0.2 by default)."""
    seed: int = 0
    """Of the split, the initial parameters, the data order and all random layers."""
    noise_floor: bool | None = None
    """Also run the second optimizer from parameters moved by one ulp; by default where the first two are twins."""
    devices: int = 1
    """How many; on CPU the environment variable JAX_NUM_CPU_DEVICES makes virtual ones."""
    strategy: Literal["pmap", "jit", "shard_map"] | None = None
    """How several devices are used; pmap by default."""
    log_every: int = 50
    """Steps per train row of metrics.csv."""
    checkpoint_every: int = 0
    """Steps between checkpoints within an epoch; 0 writes them at the ends of epochs alone."""
    data_dir: Path | None = None
    """Folder of the data sets' files; by default the variable JAXDL_DATA_DIR, else a per-user cache."""
    out: Path | None = None
    """Folder of this run; by default runs/train_cnn/TIME."""
    resume: Path | None = None
    """Go on with the run in this folder."""


class Defaults(NamedTuple):
    """What suits a data set where the command line says nothing."""

    model: str = "small_cnn"
    epochs: int = 20
    batch_size: int = 64
    augment: tuple[str, ...] = ("none",)


DEFAULTS = {
    "digits": Defaults("tiny_cnn", 60, 32, ("shift",)),
    "mnist": Defaults("lecture_torch", 1),
    "fashion_mnist": Defaults("small_cnn", 10, 128, ("flip",)),
    "cifar10": Defaults("lecture_keras", 10, 128, ("flip",)),
}
# peaks that suit small CNNs; the one of "other" for whatever is not here
LEARNING_RATES = {
    "sgd": 0.1, "momentum": 0.03, "nesterov": 0.03, "adagrad": 0.03, "adadelta": 1.0, "lion": 3e-4, "lars": 1.0,
    "muon": 0.02, "adamax": 5e-3, "other": 3e-3,
}  # fmt: skip


def resolve(config: Config) -> Config:
    """Fill in what was left out and check what was given.

    Raises:
        ValueError: naming the option, its value and what is allowed.
    """
    given = DEFAULTS.get(config.dataset.replace("-", "_"), Defaults())
    config = dataclasses.replace(
        config,
        model=config.model or given.model,
        epochs=config.epochs or given.epochs,
        batch_size=config.batch_size or given.batch_size,
        augment=config.augment or given.augment,
    )
    _check(len(config.optimizer) >= 1, "optimizer", config.optimizer, "at least one name")
    rates = config.learning_rate or tuple(
        LEARNING_RATES.get(name.partition(".")[2], LEARNING_RATES["other"]) for name in config.optimizer
    )
    rates = rates * len(config.optimizer) if len(rates) == 1 else rates
    _check(
        len(rates) == len(config.optimizer),
        "learning_rate",
        rates,
        f"one, or one for each of {config.optimizer}",
    )
    for rate in rates:
        _check(math.isfinite(rate) and rate > 0, "learning_rate", rate, "a positive number")
    _check(config.early_stop is None or config.early_stop >= 1, "early_stop", config.early_stop, "at least 1")
    for name in ("epochs", "batch_size", "devices", "log_every"):
        _check(getattr(config, name) >= 1, name, getattr(config, name), "at least 1")
    for name in ("warmup", "checkpoint_every", "seed", "weight_decay"):
        value = getattr(config, name)
        _check(math.isfinite(value) and value >= 0, name, value, "at least 0")
    _check(0 <= config.label_smoothing < 1, "label_smoothing", config.label_smoothing, "in [0, 1)")
    _check(config.average is None or 0 < config.average < 1, "average", config.average, "in (0, 1)")
    _check(
        config.batch_size % config.devices == 0,
        "batch_size",
        config.batch_size,
        f"a multiple of {config.devices} devices",
    )
    for name in config.optimizer:
        runs.optimizer(name)
    first_two = {(name.partition(".")[2], rate) for name, rate in zip(config.optimizer[:2], rates, strict=False)}
    twins = len(config.optimizer) >= 2 and len(first_two) == 1
    if config.noise_floor and len(config.optimizer) < 2:
        raise ValueError("noise_floor=True needs two optimizers: it is the floor of their difference")
    return dataclasses.replace(
        config,
        learning_rate=rates,
        noise_floor=twins if config.noise_floor is None else config.noise_floor,
        strategy=config.strategy or ("pmap" if config.devices > 1 else "jit"),
    )


def main() -> int:
    """Parse the command line and run; returns the exit code."""
    config = commandline.parse(Config, description=__doc__, prog="python -m experiments.train_cnn")
    commandline.use_compilation_cache()
    if config.resume is not None:
        return run(config, runs.open_folder(config.resume), resume=True)
    config = resolve(config)
    folder = runs.create(config.out or Path("runs") / "train_cnn" / time.strftime("%Y-%m-%d_%H-%M-%S"))
    try:
        return run(config, folder)
    finally:
        if not any(folder.iterdir()):  # a mistake found before anything was written
            folder.rmdir()


def run(config: Config, folder: Path, *, resume: bool = False) -> int:
    """Train, evaluate and report into ``folder``; returns the exit code."""
    dataset = runs.dataset(config.dataset, data_dir=config.data_dir)
    splits = data.split(dataset, seed=config.seed, dev_fraction=config.dev_fraction, test_fraction=config.test_fraction)
    preprocessing = data.fit_normalization(splits.train.images, dataset.scale)
    layer = runs.model(config.model, len(dataset.classes))
    check_sizes(config, len(splits.train.labels))
    if resume:
        runs.check_same_data(folder, dataset.checksums)
    else:
        commandline.save_config(folder, config)
        runs.write_manifest(folder, seed=config.seed, devices=jax.devices()[: config.devices], dataset=dataset)
        runs.write_preprocessing(folder, preprocessing, splits.train.images.shape[1:], dataset.classes)
    evaluate = make_evaluate(config, layer, preprocessing)
    steps = config.epochs * (len(splits.train.labels) // config.batch_size)
    metrics = runs.MetricsFile(folder / "metrics.csv")
    with runs.Progress(steps) as progress, runs.catch_stop() as request:
        members = build_members(
            config,
            folder,
            layer,
            splits,
            preprocessing,
            evaluate,
            metrics=metrics,
            request=request,
            on_row=progress.row,
        )
        if resume:
            progress.line(f"going on with {folder}")
            for member in members:
                member.resume(report=progress.line)
            metrics.keep_until({member.name: member.step for member in members})
        for epoch in range(config.epochs):
            for member in members:
                member.train_epoch(epoch)
        if request.signal:
            progress.line(
                f"{request.signal.name}: saved at step {[m.step for m in members]}; --resume {folder} goes on"
            )
            return request.exit_code
    outcomes = [runs.finish_member(folder, member, splits.test, evaluate) for member in members]
    metrics.close()
    summary = runs.write_outcome(folder, outcomes, dataset=dataset, splits=splits, model=config.model, layer=layer)
    from jaxdl.runs import report  # matplotlib takes a second to import, which --help need not wait for

    progress.table(summary)
    progress.line(f"report: {report.write(folder)}")
    return 0


def check_sizes(config: Config, examples: int) -> None:
    """Raise ValueError for a batch larger than the training part or a warm-up longer than the run."""
    steps = config.epochs * (examples // config.batch_size)
    _check(
        config.batch_size <= examples,
        "batch_size",
        config.batch_size,
        f"at most the {examples} training examples",
    )
    _check(config.warmup < steps, "warmup", config.warmup, f"less than the {steps} steps of the run")


def make_evaluate(config: Config, layer: nn.Layer, preprocessing: data.Normalization) -> runs.Evaluate:
    """``(params, state, examples) -> ({"loss", "accuracy"}, logits)``, compiled once for all optimizers."""
    step = training.data_parallel_eval(
        training.eval_step(layer, preprocess=lambda x: data.normalize(x, preprocessing)),
        devices=config.devices,
    )

    def evaluate(params: Any, state: Any, examples: data.Examples):
        size = min(1024, len(examples.labels))
        size = -(-size // config.devices) * config.devices
        return training.evaluate(step, (params, state), data.eval_batches(examples, size))

    return evaluate


def build_members(
    config: Config,
    folder: Path,
    layer: nn.Layer,
    splits: data.Splits,
    preprocessing: data.Normalization,
    evaluate: runs.Evaluate,
    **member_options: Any,
) -> list[runs.Member]:
    """One member per optimizer, and one for the noise floor, all from the same parameters and batches."""
    steps = config.epochs * (len(splits.train.labels) // config.batch_size)
    init_key, step_key = jax.random.split(jax.random.key(config.seed))
    params, state = layer.init(init_key, splits.train.images.shape[1:])
    starts = [
        (label, name, rate, params)
        for label, name, rate in zip(runs.labels(config.optimizer), config.optimizer, config.learning_rate, strict=True)
    ]
    if config.noise_floor:
        label, name, rate, _ = starts[1]
        starts.append((f"{label}{runs.ONE_ULP}", name, rate, compare.move_one_ulp(params)))
    members, compiled = [], {}
    for label, name, rate, first_params in starts:
        schedule = make_schedule(config, rate, steps, steps // config.epochs)
        optimizer, penalty = make_optimizer(config, name, schedule)
        if (name, rate) not in compiled:
            compiled[name, rate] = compile_step(config, layer, optimizer, penalty, preprocessing)
        members.append(
            runs.Member(
                label,
                folder / "checkpoints" / runs.optimizer_folder(label),
                parallel=compiled[name, rate],
                state=training.start(first_params, state, optimizer, average=config.average is not None),
                key=step_key,
                batches=lambda epoch, start: data.batches(
                    splits.train, config.batch_size, seed=config.seed, epoch=epoch, start=start
                ),
                measure=lambda params, state: evaluate(params, state, splits.dev)[0],
                learning_rate=lambda step, schedule=schedule: float(np.asarray(schedule(step))),
                peak_learning_rate=rate,
                patience=config.early_stop,
                log_every=config.log_every,
                checkpoint_every=config.checkpoint_every,
                **member_options,
            )
        )
    return members


def compile_step(config: Config, layer: nn.Layer, optimizer, penalty, preprocessing: data.Normalization):
    """The training step on the devices of the config."""
    augment = make_augment(config.augment, preprocessing.scale)
    normalize = data.normalize if augment is None else data.standardize  # augmented images are in [0, 1] already
    step = training.train_step(
        layer,
        optimizer,
        loss=lambda logits, labels: losses.softmax_cross_entropy(
            logits, labels, label_smoothing=config.label_smoothing
        ),
        preprocess=lambda x: normalize(x, preprocessing),
        augment=augment,
        penalty=penalty,
        average_decay=config.average,
    )
    return training.data_parallel(step, strategy=config.strategy, devices=config.devices)


def make_augment(names: tuple[str, ...], scale: float) -> augmentation.Augmentation | None:
    """``(key, raw image) -> image in [0, 1]`` that applies the named changes in order; None for none."""
    if names == ("none",):
        return None

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        side = min(image.shape[:2])
        known = {
            "flip": augmentation.flip,
            "shift": functools.partial(augmentation.translate, max_shift=max(1, side // 10)),
            "rotate": functools.partial(augmentation.rotate, max_degrees=10.0),
            "cutout": functools.partial(augmentation.cutout, size=max(1, side // 4)),
            "noise": functools.partial(augmentation.noise, stddev=0.05),
        }
        return augmentation.compose(*(known[name] for name in names))(key, data.to_unit(image, scale))

    return augment


def make_schedule(config: Config, rate: float, steps: int, epoch_steps: int) -> optax.Schedule:
    """``step -> learning rate`` over a run of ``steps``."""
    rest = steps - config.warmup
    if config.schedule == "one_cycle":
        return schedules.one_cycle(steps, rate, pct_start=config.warmup / steps or 0.3)
    after = {
        "constant": lambda: schedules.constant(rate),
        "cosine": lambda: schedules.cosine(rate, rest),
        "step": lambda: schedules.step(rate, {rest // 2: 0.1, 3 * rest // 4: 0.1}),
        "inverse_sqrt": lambda: schedules.inverse_sqrt(rate, config.warmup or epoch_steps),
    }[config.schedule]()
    return schedules.warmup(after, config.warmup)


def make_optimizer(config: Config, name: str, schedule: optax.Schedule):
    """The optimizer, and the penalty that stands for weight decay where the optimizer has none of its own."""
    factory = runs.optimizer(name)
    learning_rate = schedule(0) if config.schedule == "constant" and not config.warmup else schedule
    if not config.weight_decay:
        return factory(learning_rate), None
    options = inspect.signature(factory).parameters
    if "weight_decay" not in options:
        return factory(learning_rate), lambda params: regularizers.l2(params, config.weight_decay)
    mask = {"mask": regularizers.weights_mask} if "mask" in options else {}
    return factory(learning_rate, weight_decay=config.weight_decay, **mask), None


def _check(right: bool, name: str, value: Any, allowed: str) -> None:
    if not right:
        raise ValueError(f"{name}={value!r} is not allowed: it must be {allowed}")


if __name__ == "__main__":
    commandline.run_main(main)

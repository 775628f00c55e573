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
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import numpy as np

from experiments.train_cnn import choices
from experiments.train_cnn.member import Member
from experiments.train_cnn.outcome import ONE_ULP, Evaluate, finish_member, write_outcome
from jaxdl import compare, data, nn, runs, training
from jaxdl.runs import commandline


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that a run is made of. Options left out are chosen per data set and optimizer and written down."""

    EXPERIMENT: ClassVar[str] = "train_cnn"

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
    weight_decay: float | None = None
    """By default the optimizer's own, which most have not. Where the optimizer has a weight_decay (adamw: decoupled)
    it is that one, on kernels alone if the optimizer can leave out biases; else 1/2 * decay * (sum of squares of all
    kernels) is added to the loss."""
    loss: str = "softmax_cross_entropy"
    """A name in jaxdl.losses, or package.module:function, that takes (outputs, labels) and gives one number per
    example, in training and in evaluation; the report's probabilities are the softmax of the outputs. CapsNet's is
    jaxdl.models.capsnet:capsule_loss."""
    label_smoothing: float = 0.0
    """Share of the label's probability that is spread over all classes in training, for softmax_cross_entropy."""
    normalization: Literal["channel", "none"] = "channel"
    """channel: minus the mean, over the standard deviation of the training part's channels; none: in [0, 1]."""
    augment: tuple[Literal["flip", "shift", "rotate", "cutout", "noise", "none"], ...] = ()
    """Random changes of the training images, on the device: none, flip (left-right), shift (up to a tenth of the side),
    rotate (up to 10 degrees), cutout (a square of a quarter of the side), noise (standard deviation 0.05)."""
    average: float | None = None
    """Judge the Polyak average of the weights, of this decay per step, such as 0.999, on dev and test."""
    early_stop: int | None = None
    """Stop after this many epochs without a lower development loss; the test is of the best epoch's weights."""
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
    steps_per_call: int = 0
    """Steps that the device does in one call, at most; more than 1 needs the data set on the device, where it is if it
    fits. 0: 10, except on CPU where a step takes long (over 0.1 GFLOP forward), which has 1."""
    data_dir: Path | None = None
    """Folder of the data sets' files; by default the variable JAXDL_DATA_DIR, else a per-user cache."""
    out: Path | None = None
    """Folder of this run; by default runs/train_cnn/TIME."""
    resume: Path | None = None
    """Go on with the run in this folder."""
    trust_run: bool = False
    """With --resume: import and call the package.module:function that the run's config names. Give it for folders that
    you trust alone, your own for instance: such a function can be any code."""


class Defaults(NamedTuple):
    """What suits a data set where the command line says nothing."""

    model: str = "small_cnn"
    epochs: int = 20
    batch_size: int = 64
    augment: tuple[str, ...] = ("none",)


DEFAULTS = {  # by the name without "-", "_" and " ", as `data.load` reads it
    "digits": Defaults("tiny_cnn", 60, 32, ("shift",)),
    "mnist": Defaults("lecture_torch", 1),
    "fashionmnist": Defaults("small_cnn", 10, 128, ("flip",)),
    "cifar10": Defaults("lecture_keras", 10, 128, ("flip",)),
}
SMOOTHED = "softmax_cross_entropy"  # the loss that takes label_smoothing
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
    given = DEFAULTS.get(re.sub("[-_ ]", "", config.dataset.lower()), Defaults())
    config = dataclasses.replace(
        config,
        model=config.model or given.model,
        epochs=config.epochs or given.epochs,
        batch_size=config.batch_size or given.batch_size,
        augment=config.augment or given.augment,
        learning_rate=config.learning_rate or tuple(map(default_rate, config.optimizer)),
        strategy=config.strategy or ("pmap" if config.devices > 1 else "jit"),
    )
    if len(config.learning_rate) == 1:
        config = dataclasses.replace(config, learning_rate=config.learning_rate * len(config.optimizer))
    check(config)
    noise_floor = are_twins(config) if config.noise_floor is None else config.noise_floor
    return dataclasses.replace(config, noise_floor=noise_floor)


def default_rate(optimizer: str) -> float:
    """A learning rate that suits an optimizer."""
    return LEARNING_RATES.get(optimizer.partition(".")[2], LEARNING_RATES["other"])


def are_twins(config: Config) -> bool:
    """Whether the first two optimizers are one algorithm in two libraries, so that a noise floor says something."""
    if len(config.optimizer) < 2 or any(":" in name for name in config.optimizer[:2]):
        return False
    first, second = (name.partition(".")[2] for name in config.optimizer[:2])
    return first == second and config.learning_rate[0] == config.learning_rate[1]


def check(config: Config) -> None:
    """Raise ValueError for an option that no data set would allow, naming it, its value and what is allowed."""
    names = config.optimizer
    _check(len(names) >= 1, "optimizer", names, "at least one name")
    for name in names:
        runs.optimizer(name)
    rates = config.learning_rate
    _check(len(rates) == len(names), "learning_rate", rates, f"one, or one for each of the optimizers {names}")
    for rate in rates:
        _check(math.isfinite(rate) and rate > 0, "learning_rate", rate, "a positive number")
    for name in ("epochs", "batch_size", "devices", "log_every", "early_stop"):
        value = getattr(config, name)
        _check(value is None or value >= 1, name, value, "at least 1")
    for name in ("warmup", "checkpoint_every", "seed", "weight_decay", "steps_per_call"):
        value = getattr(config, name)
        _check(value is None or (math.isfinite(value) and value >= 0), name, value, "at least 0")
    runs.loss(config.loss)
    smoothing = config.label_smoothing
    _check(0 <= smoothing < 1, "label_smoothing", smoothing, "in [0, 1)")
    smoothed = smoothing == 0 or config.loss == SMOOTHED
    _check(smoothed, "label_smoothing", smoothing, f"0 with loss={config.loss!r}: only {SMOOTHED} has it")
    _check(config.average is None or 0 < config.average < 1, "average", config.average, "in (0, 1)")
    _check(
        config.augment == ("none",) or "none" not in config.augment, "augment", config.augment, "none alone, or others"
    )
    there = len(jax.devices())
    _check(
        config.devices <= there,
        "devices",
        config.devices,
        f"at most {there}, which is how many there are; on CPU, JAX_NUM_CPU_DEVICES={config.devices} makes that many",
    )
    size, devices = config.batch_size, config.devices
    _check(size % devices == 0, "batch_size", size, f"a multiple of the {devices} devices")
    _check(not config.noise_floor or len(names) >= 2, "noise_floor", True, "left out with fewer than two optimizers")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and run; returns the exit code."""
    config = commandline.parse(Config, argv, description=__doc__, prog="python -m experiments.train_cnn")
    commandline.use_compilation_cache()
    config = resolve(config)
    if config.resume is not None:
        return run(config, runs.open_folder(config.resume), argv, resume=True)
    folder = runs.create_dated(Path("runs") / "train_cnn") if config.out is None else runs.create(config.out)
    try:
        return run(config, folder, argv)
    finally:
        if folder.is_dir() and not any(folder.iterdir()):  # a mistake found before anything was written
            folder.rmdir()


def run(config: Config, folder: Path, argv: Sequence[str] | None = None, *, resume: bool = False) -> int:
    """Train, evaluate and report into ``folder``; returns the exit code."""
    dataset = runs.dataset(config.dataset, data_dir=config.data_dir)
    splits = data.split(dataset, seed=config.seed, dev_fraction=config.dev_fraction, test_fraction=config.test_fraction)
    preprocessing = fit_preprocessing(config, splits.train.images, dataset.scale)
    layer = runs.model(config.model, len(dataset.classes))
    check_fit(config, layer, splits, len(dataset.classes))
    evaluate = make_evaluate(config, layer, preprocessing)
    resident = training.fits_in_memory(splits.train, jax.devices()[: config.devices])
    steps_per_call = choose_steps_per_call(config, layer, splits, resident)
    starts = make_starts(config, layer, splits, preprocessing, resident)
    # nothing is written before this line, so that a mistake leaves nothing; config.json first, and what is missing
    # after it is made up for, so that a process killed at any moment leaves nothing or a run that can be resumed
    if not resume:
        commandline.save_config(folder, config)
    with runs.lock(folder), runs.MetricsFile(folder / "metrics.csv") as metrics:
        runs.describe(
            folder,
            seed=config.seed,
            devices=jax.devices()[: config.devices],
            dataset=dataset,
            in_shape=splits.train.images.shape[1:],
            preprocessing=preprocessing,
            argv=argv,
        )
        with runs.Progress(config.epochs * steps_per_epoch(config, splits)) as progress, runs.catch_stop() as request:
            common = {"metrics": metrics, "request": request, "on_row": progress.row, "steps_per_call": steps_per_call}
            members = [make_member(config, start, folder, splits, evaluate, resident, **common) for start in starts]
            progress.line(f"data set {'on the device' if resident else 'on the host'}, {steps_per_call} steps per call")
            if resume:
                progress.line(f"going on with {folder}")
                for member in members:
                    member.resume(report=progress.line)
                metrics.keep_until({member.name: member.step for member in members})
            for epoch in range(config.epochs):
                for member in members:
                    member.train_epoch(epoch)
            if request.signal:
                steps = [member.step for member in members]
                again = commandline.resuming(folder, config)
                progress.line(f"{request.signal.name}: saved at step {steps}; {again} goes on")
                return request.exit_code
        metrics.arrange([member.name for member in members])
        outcomes = [finish_member(folder, member, splits.test, evaluate) for member in members]
    summary = write_outcome(folder, outcomes, dataset=dataset, splits=splits, model=config.model, layer=layer)
    from experiments.train_cnn import report  # matplotlib takes a second to import, which --help need not wait for

    progress.table(summary)
    progress.line(f"report: {report.write(folder)}")
    return 0


def fit_preprocessing(config: Config, images: np.ndarray, scale: float) -> data.Normalization:
    """What images go through before the network: statistics of the training part, or the scale alone."""
    if config.normalization == "none":
        return data.no_normalization(images.shape[-1], scale)
    return data.fit_normalization(images, scale)


def steps_per_epoch(config: Config, splits: data.Splits) -> int:
    """Full batches of the training part."""
    return len(splits.train.labels) // config.batch_size


def check_fit(config: Config, layer: nn.Layer, splits: data.Splits, classes: int) -> None:
    """Raise ValueError where the options, the model and the data do not go together."""
    training.check_labels(runs.loss(config.loss), splits.train.labels)
    examples, size = len(splits.train.labels), config.batch_size
    _check(size <= examples, "batch_size", size, f"at most the {examples} training examples")
    steps = config.epochs * steps_per_epoch(config, splits)
    _check(config.warmup < steps, "warmup", config.warmup, f"less than the {steps} steps of the run")
    in_shape = splits.train.images.shape[1:]
    try:
        out_shape = layer.out_shape(in_shape)
    except (TypeError, ValueError) as error:
        raise ValueError(f"model={config.model!r} does not take images of shape {in_shape}: {error}") from error
    _check(out_shape == (classes,), "model", config.model, f"one that gives {classes} logits; it gives {out_shape}")
    runs.check_loss(config.loss, config.model, layer, in_shape)


ON_CPU_TOGETHER = 1e8  # floating-point operations of a forward pass; above, LeNet's gain of a tenth is gone


def choose_steps_per_call(config: Config, layer: nn.Layer, splits: data.Splits, resident: bool) -> int:
    """What the config asks for, or else what is faster where it runs.

    Raises:
        ValueError: for several steps per call on a data set that does not fit on the devices.
    """
    _check(resident or config.steps_per_call <= 1, "steps_per_call", config.steps_per_call, "1: the data do not fit")
    if config.steps_per_call or not resident:
        return max(config.steps_per_call, 1)
    if jax.default_backend() != "cpu":
        return 10
    in_shape = splits.train.images.shape[1:]
    params, state = jax.eval_shape(lambda key: layer.init(key, in_shape), keys(config)[0])
    x = jax.ShapeDtypeStruct((config.batch_size, *in_shape), np.float32)
    cost = jax.jit(lambda params, state, x: layer.apply(params, state, x)[0]).lower(params, state, x).cost_analysis()
    return 10 if cost is not None and cost["flops"] <= ON_CPU_TOGETHER else 1


def make_evaluate(config: Config, layer: nn.Layer, preprocessing: data.Normalization) -> Evaluate:
    """``(params, state, examples) -> ({"loss", "accuracy"}, logits)``, compiled once for all optimizers."""
    step = training.data_parallel_eval(
        training.eval_step(layer, loss=runs.loss(config.loss), preprocess=lambda x: data.normalize(x, preprocessing)),
        devices=config.devices,
    )

    def evaluate(params: Any, state: Any, examples: data.Examples):
        size = min(1024, len(examples.labels))
        size = -(-size // config.devices) * config.devices
        return training.evaluate(step, (params, state), data.eval_batches(examples, size))

    return evaluate


class Start(NamedTuple):
    """What one member of the run starts from."""

    label: str
    learning_rate: float  # the peak
    rate_at: Callable[[int], Any]  # step -> learning rate
    step: training.Parallel
    state: training.TrainState


def make_starts(
    config: Config, layer: nn.Layer, splits: data.Splits, preprocessing: data.Normalization, resident: bool
) -> list[Start]:
    """One start per optimizer, and one for the noise floor, all from the same parameters."""
    epoch_steps = steps_per_epoch(config, splits)
    params, state = layer.init(keys(config)[0], splits.train.images.shape[1:])
    labels = runs.labels(config.optimizer)
    wanted = list(zip(labels, config.optimizer, config.learning_rate, [params] * len(labels), strict=True))
    if config.noise_floor:
        label, name, rate, _ = wanted[1]
        wanted.append((f"{label}{ONE_ULP}", name, rate, compare.move_one_ulp(params)))
    starts, compiled = [], {}
    examples = training.replicate(splits.train, config.devices) if resident else None
    for label, name, rate, first_params in wanted:
        schedule = choices.schedule(
            config.schedule, rate, steps=config.epochs * epoch_steps, warmup=config.warmup, epoch_steps=epoch_steps
        )
        optimizer, penalty = choices.optimizer(
            name, schedule, config.weight_decay, params, functions=config.strategy == "jit"
        )
        if (name, rate) not in compiled:
            compiled[name, rate] = compile_step(config, layer, optimizer, penalty, preprocessing, examples)
        train_state = training.start(first_params, state, optimizer, average=config.average is not None)
        rate_at = schedule if callable(schedule) else lambda step, rate=rate: rate
        starts.append(Start(label, rate, rate_at, compiled[name, rate], train_state))
    return starts


def keys(config: Config) -> jax.Array:
    """The key of the initial parameters and that of all steps."""
    return jax.random.split(jax.random.key(config.seed))


def make_member(
    config: Config,
    start: Start,
    folder: Path,
    splits: data.Splits,
    evaluate: Evaluate,
    resident: bool,
    **options: Any,
) -> Member:
    """The training of one optimizer; all see the same batches in the same order."""

    def batches(epoch: int, first: int):
        size, seed = config.batch_size, config.seed
        if resident:
            return data.batch_rows(len(splits.train.labels), size, seed=seed, epoch=epoch, start=first)
        return data.batches(splits.train, size, seed=seed, epoch=epoch, start=first)

    return Member(
        start.label,
        folder / "checkpoints" / runs.optimizer_folder(start.label),
        parallel=start.step,
        state=start.state,
        key=keys(config)[1],
        batches=batches,
        measure=lambda params, state: evaluate(params, state, splits.dev)[0],
        learning_rate=lambda step: float(np.asarray(start.rate_at(step))),
        peak_learning_rate=start.learning_rate,
        patience=config.early_stop,
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
        **options,
    )


def compile_step(
    config: Config,
    layer: nn.Layer,
    optimizer,
    penalty,
    preprocessing: data.Normalization,
    examples: data.Examples | None,
):
    """The training step on the devices of the config, on rows of the examples if they are given."""
    augment = choices.augment(config.augment, preprocessing.scale)
    smoothing = {"label_smoothing": config.label_smoothing} if config.label_smoothing else {}
    normalize = data.normalize if augment is None else data.standardize  # augmented images are in [0, 1] already
    step = training.train_step(
        layer,
        optimizer,
        loss=functools.partial(runs.loss(config.loss), **smoothing),
        preprocess=lambda x: normalize(x, preprocessing),
        augment=augment,
        penalty=penalty,
        average_decay=config.average,
    )
    return training.data_parallel(step, strategy=config.strategy, devices=config.devices, examples=examples)


def _check(right: bool, name: str, value: Any, allowed: str) -> None:
    if not right:
        raise ValueError(f"{name}={value!r} is not allowed: it must be {allowed}")

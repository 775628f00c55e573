"""The options of `experiments.train_cnn`, their defaults per data set and optimizer, and their limits."""

import dataclasses
import inspect
import math
import re
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import jax

from experiments.train_cnn import groups, hooks
from jaxdl import runs
from jaxdl.runs import commandline, names, tasks

Schedule = Literal[
    "constant", "cosine", "linear", "polynomial", "exponential", "cosine_restarts", "one_cycle", "step",
    "inverse_sqrt", "inverse_time", "reduce_on_plateau",
]  # fmt: skip
ENDLESS = ("constant", "inverse_sqrt", "inverse_time", "reduce_on_plateau")  # do not depend on the end
Augment = Literal[
    "flip", "vertical_flip", "shift", "crop", "resized_crop", "rotate", "scale", "color", "hue", "rand_augment",
    "cutout", "drop_pixels", "noise", "none",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Config:
    """All options of a run. Those left out get defaults that suit the data set and the optimizer, and are recorded."""

    EXPERIMENT: ClassVar[str] = "train_cnn"
    FOLLOWS: ClassVar[dict[str, str]] = {"learning_rate": "optimizer", "noise_floor": "optimizer"}
    MOVABLE: ClassVar[tuple[str, ...]] = ("devices", "strategy", "workers")
    PASSING: ClassVar[tuple[str, ...]] = ("coordinator", "processes", "process", "heartbeat", "debug_nans")
    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {
        "data": ("targets", "augment", "mixup", "cutmix", "normalization", "dev_fraction", "test_fraction",
                 "skip_unreadable", "image_size", "stream", "workers", "data_dir"),
        "optimization": ("warmup", "weight_decay", "clip_norm", "freeze", "rate_factors", "loss", "label_smoothing",
                         "class_weights", "average", "early_stop", "noise_floor", "on_nan"),
        "computation": ("accumulate", "on_oom", "compute_dtype", "devices", "strategy", "steps_per_call", "log",
                        "log_every", "log_layers", "profile", "checkpoint_every", "debug_nans"),
        "machines": ("coordinator", "processes", "process", "heartbeat"),
    }  # fmt: skip
    ADDED: ClassVar[tuple[str, ...]] = (  # options that older run folders lack
        "skip_unreadable", "clip_norm", "accumulate", "compute_dtype", "mixup", "cutmix", "class_weights", "seeds",
        "log", "start_from", "log_layers", "profile", "image_size", "stream", "workers",
        "targets", "freeze", "rate_factors", "on_nan", "on_oom",
    )  # fmt: skip

    dataset: str = "digits"
    """digits, mnist, fashion_mnist, cifar10; a folder or tar archive with a folder of images per class; or
    package.module:function that returns a data.Dataset or (images, labels)."""
    model: str = ""
    """A name in jaxdl.models, or package.module:function that takes the number of classes and returns an nn.Layer.
    By default one that suits the data set."""
    optimizer: tuple[str, ...] = ("jaxdl.adam", "optax.adam")
    """NAME or jaxdl.NAME, optax.NAME, optax.contrib.NAME or package.module:function, optionally with keywords:
    "jaxdl.adam(eps=1e-3)". Several run side by side."""
    learning_rate: tuple[float, ...] = ()
    """Peak of the schedule: one for all optimizers, or one for each. By default one that suits the optimizer."""
    schedule: Schedule = "one_cycle"
    """Learning rate after warm-up. cosine, linear and polynomial (of degree 2) decay to 0; exponential decays to a
    hundredth; cosine_restarts decays to 0 three times, each twice as long as the one before; step divides by 10 at 1/2
    and 3/4 of the run; inverse_sqrt is 1 / sqrt(1 + t / T) and inverse_time 1 / (1 + t / T), where T is the steps of
    warm-up, or of an epoch if there is none; reduce_on_plateau divides by 10 after 5 epochs in which the mean training
    loss was never lower; one_cycle rises during warm-up from 1/25 of the peak and then falls along a cosine."""
    warmup: int = 0
    """Steps of linear warm-up from 0. For one_cycle, 0 means three tenths of the run."""
    epochs: int = 0
    """Passes over the training part. 0: as many as suit the data set."""
    batch_size: int = 0
    """Examples per step over all devices. 0: as many as suit the data set; for one of your own 64, or the power of two
    that leaves 8 steps an epoch, if that is smaller."""
    weight_decay: float | None = None
    """Weight decay; by default the optimizer's own, if it has one. An optimizer with an argument weight_decay, such as
    adamw, gets it there, masked to kernels if it takes a mask. For any other, and those of jaxdl whose argument is for
    PyTorch's convention alone, such as adam, 1/2 * decay * (sum of squares of all kernels) is added to the loss that is
    minimised; losses in tables and figures are without it."""
    clip_norm: float | None = None
    """Scale a gradient down to this norm, of all parameters together, if it is longer."""
    freeze: tuple[str, ...] = ()
    """Keep parameters as they are whose whole path, such as conv1/kernel, matches one of these regular expressions.
    Batch norm's running statistics still move."""
    rate_factors: tuple[str, ...] = ()
    """PATTERN=FACTOR: multiply the learning rate of the parameters whose whole path matches the regular expression, as
    in "conv.*=0.1"; the first one that matches counts. Each factor has an optimizer of its own."""
    accumulate: int = 1
    """Microbatches per step, one after another: the gradient of the whole batch with the memory of a part of it. Batch
    norm sees a microbatch at a time."""
    on_oom: Literal["stop", "accumulate"] = "stop"
    """stop: a run whose step does not fit into memory ends, and says what to lower. accumulate: before the run begins,
    --accumulate is doubled until the first step of each optimizer fits, so that the batch stays; the log says so, and
    the run folder keeps the number. For one process."""
    compute_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type in which the network computes in training; for float16 the loss is scaled by as much as finite gradients
    allow. Parameters, gradients, norms and the loss stay float32, and so do evaluation and runs.load."""
    loss: str = "softmax_cross_entropy"
    """A name in jaxdl.losses, or package.module:function that maps (outputs, labels) to one number per example, in
    training and in evaluation. The report's probabilities are the softmax of the outputs. For CapsNet use
    jaxdl.models.capsnet:capsule_loss."""
    label_smoothing: float = 0.0
    """Probability that is spread over all classes in training; for losses with an argument label_smoothing."""
    class_weights: tuple[str, ...] = ()
    """Weights of the classes in the training loss: a number per class, or balanced (inverse to the number of training
    examples, 1 on average over them); for losses with an argument class_weights."""
    mixup: float | None = None
    """Train on mixtures of two examples, in shares drawn from Beta(a, a) with this a, such as 0.2; for
    softmax_cross_entropy only."""
    cutmix: float | None = None
    """Train on examples with a rectangle of another one, whose area is drawn from Beta(a, a) with this a, such as 1;
    for softmax_cross_entropy only. With mixup too, each batch draws one of the two."""
    targets: str = ""
    """A CSV table of targets for the images of a folder, instead of classes: the column image holds paths inside the
    folder of --dataset, and each other column is a target. Targets are 0 and 1 for --loss sigmoid_binary_cross_entropy
    (several labels per image), or numbers for --loss squared_error, absolute_error, huber and others."""
    normalization: Literal["channel", "none"] = "channel"
    """channel: subtract the mean and divide by the standard deviation of each channel of the training part. none: keep
    pixels in [0, 1]."""
    augment: tuple[Augment, ...] = ()
    """Random augmentations of the training images, applied on the device in the order given: flip (left-right),
    vertical_flip, shift (up to a tenth of the side), crop (of the image with a margin of an eighth of the side),
    resized_crop (8 to 100 % of the area), rotate (up to 10 degrees), scale (up to a tenth), color (brightness, contrast
    and saturation, up to a fifth), hue (for colour images), rand_augment (two operations of moderate magnitude), cutout
    (a square of a quarter of the side), drop_pixels (a tenth of them), noise (standard deviation 0.05); or none. By
    default those that suit the data set."""
    average: float | None = None
    """Decay per step, such as 0.999, of a Polyak average of the weights, which is then evaluated in their place."""
    early_stop: int | None = None
    """Patience of early stopping, in epochs without a lower development loss. The test uses the weights of the best
    epoch."""
    dev_fraction: float = 0.1
    """Share of the training examples held out for development. 0: none, so that early stopping is not possible."""
    test_fraction: float | None = None
    """Share of all examples used as test set, if the data set has none of its own; 0.2 by default."""
    seed: int = 0
    """Seed of the split, the initial parameters, the data order and all random layers."""
    seeds: int = 1
    """Repeat the run with as many seeds, from --seed on, each in a folder of its own; the report has means, intervals
    and the paired differences of the optimizers."""
    noise_floor: bool | None = None
    """Also run the second optimizer from parameters moved by one ulp. By default only if the first two are twins."""
    devices: int = 1
    """Number of devices; with --coordinator, 1 stands for all devices of all processes. On CPU the environment variable
    JAX_NUM_CPU_DEVICES makes virtual ones. A run may be resumed on another number, or with another strategy: the
    batches stay the same, and numbers agree up to the rounding of sums, except that with pmap and shard_map each device
    draws its own dropout masks, so that a network with dropout trains otherwise on another number of devices. With jit
    the masks are those of one device."""
    strategy: Literal["pmap", "jit", "shard_map"] | None = None
    """Way to use several devices; by default pmap, or shard_map with several processes."""
    log: tuple[str, ...] = ()
    """Also log to tensorboard (event files in the run folder), or to package.module:function, which is called with each
    row of metrics.csv, a dict, and the run folder."""
    log_every: int = 50
    """Steps per train row of metrics.csv."""
    log_layers: bool = False
    """With each train row, also write the norm of each layer's gradient and the ratio of its update to its weights, as
    of that step, into layers.csv."""
    profile: int = 0
    """Trace as many steps of the first optimizer with JAX's profiler, into the run folder's profile/: ui.perfetto.dev
    opens its trace.json.gz."""
    on_nan: Literal["stop", "skip"] = "stop"
    """stop: a loss or parameter that is not finite ends the optimizer, with the first such value by step and layer.
    skip: a step that would make one leaves parameters and state as they were, and is counted; as many in a row as an
    epoch has end the optimizer."""
    debug_nans: bool = False
    """Stop with a traceback at the operation that makes the first NaN. Much slower, as JAX looks at every result."""
    coordinator: str | None = None
    """HOST:PORT of process 0, for a run by several processes on one machine or many, each started with this same
    command but for --process; or auto: from the variables of Slurm, Open MPI, Kubernetes or a Cloud TPU. Process 0
    alone writes, and to resume all must see the run folder."""
    processes: int | None = None
    """Number of processes, with --coordinator HOST:PORT."""
    process: int | None = None
    """Number of this process, from 0."""
    heartbeat: int = 100
    """Seconds. A process that is silent for half as long is lost, and the others end, naming it."""
    checkpoint_every: int | str = 0
    """Steps between checkpoints, of which the end of each epoch gets one, too; or epochs, as in 2epochs; or a time, as
    in 90s, 10m or 1h30m. 0: at the ends of as many epochs as take at most a tenth of the time."""
    steps_per_call: int = 0
    """Most steps per call of the compiled program. More than 1 needs a data set that fits on the device. 0: 10, or 1 on
    CPU if a forward pass takes over 0.1 GFLOP."""
    skip_unreadable: bool = False
    """Leave out image files of a folder or archive that cannot be read, and say how many."""
    image_size: int | None = None
    """Resize the images of a folder or archive: the largest central square of each to this height and width. By default
    images of several sizes get the size that the network was made for; a network of your own needs it."""
    stream: Literal["auto", "always", "never"] = "auto"
    """Whether to read the images of a folder or archive from disk during training. auto: if they take over 1 GiB."""
    workers: int = 0
    """Processes that read and decode a stream. 0: threads, which suit all but tiny images. No number depends on it."""
    data_dir: Path | None = None
    """Folder of the data sets' files; by default the variable JAXDL_DATA_DIR, else a per-user cache."""
    out: Path | None = None
    """Folder of this run; by default runs/train_cnn/TIME."""
    resume: Path | None = None
    """Resume the run in this folder. With more --epochs one without --seeds is extended, if its schedule does not
    depend on them."""
    start_from: str = ""
    """Start from the weights of the finished run in this folder, its first optimizer's, or of a file of interop.save,
    as of runs.load(folder, optimizer=...). A last layer of another shape, as for other classes, starts anew."""
    config: Path | None = None
    """Take the options that are not given from this config.json, or from the run in this folder."""
    dry_run: bool = False
    """Only print the options, the network, the memory of a step and the expected time."""
    find_lr: bool = False
    """Only train some steps with a growing learning rate, and suggest the peak for each optimizer."""
    trust_run: bool = False
    """With --resume, --config and --start-from: import and call functions that the config of that run names as
    package.module:function, and this command does not. They can be any code, so use this only for folders that you
    trust, such as your own."""

    def check_extension(self, epochs: int) -> None:
        """Raise ValueError unless the run may be extended to more epochs, so that all its steps stay as they are."""
        if epochs < self.epochs:
            raise ValueError(f"epochs={epochs} is not allowed: it must be at least the run's {self.epochs}")
        if self.schedule not in ENDLESS:
            raise ValueError(
                f"epochs={epochs} is not allowed: it must be the run's {self.epochs}, because "
                f"schedule={self.schedule!r} depends on it, and the learning rates of the steps that are done would "
                f"change; schedules that go on are {', '.join(ENDLESS)}"
            )
        if self.seeds > 1:
            raise ValueError(f"epochs={epochs} is not allowed: it must be the run's {self.epochs} with --seeds")


class Defaults(NamedTuple):
    """Defaults of options for one data set."""

    model: str = "small_cnn"
    epochs: int = 20
    batch_size: int = 0  # `setup.default_batch_size` decides once the data are there
    augment: tuple[str, ...] = ("none",)


DEFAULTS = {  # keys are names without "-", "_" and " ", as `data.load` reads it
    "digits": Defaults("tiny_cnn", 60, 32, ("shift",)),
    "mnist": Defaults("lecture_torch", 1),
    "fashionmnist": Defaults("small_cnn", 10, 128, ("flip",)),
    "cifar10": Defaults("lecture_keras", 10, 128, ("flip",)),
}
MIXED = "softmax_cross_entropy"  # the only loss for mixtures
# peaks that suit small CNNs; "other" is for all optimizers that are not listed
LEARNING_RATES = {
    "sgd": 0.1, "momentum": 0.03, "nesterov": 0.03, "adagrad": 0.03, "adadelta": 1.0, "lion": 3e-4, "lars": 1.0,
    "muon": 0.02, "adamax": 5e-3, "other": 3e-3,
}  # fmt: skip


def resolve(config: Config) -> Config:
    """Fill in defaults and check all options.

    Raises:
        ValueError: for an option out of range; the message names it, its value and the allowed ones.
    """
    given = DEFAULTS.get(re.sub("[-_ ]", "", config.dataset.lower()), Defaults())
    config = dataclasses.replace(
        config,
        model=config.model or given.model,
        epochs=config.epochs or given.epochs,
        batch_size=config.batch_size or given.batch_size,
        augment=config.augment or given.augment,
        learning_rate=config.learning_rate or tuple(map(default_rate, config.optimizer)),
        devices=len(jax.devices()) if config.coordinator is not None and config.devices == 1 else config.devices,
    )
    several = "pmap" if config.coordinator is None else "shard_map"
    config = dataclasses.replace(config, strategy=config.strategy or (several if config.devices > 1 else "jit"))
    if len(config.learning_rate) == 1:
        config = dataclasses.replace(config, learning_rate=config.learning_rate * len(config.optimizer))
    check(config)
    noise_floor = are_twins(config) if config.noise_floor is None else config.noise_floor
    return dataclasses.replace(config, noise_floor=noise_floor)


def default_rate(optimizer: str) -> float:
    """Return a learning rate that suits the optimizer."""
    named = names.parse_optimizer(optimizer)
    return LEARNING_RATES["other"] if ":" in named.name else LEARNING_RATES.get(named.short, LEARNING_RATES["other"])


def are_twins(config: Config) -> bool:
    """Return whether the first two optimizers are the same algorithm, so that a noise floor is of interest."""
    pair = config.optimizer[:2]
    return len(pair) == 2 and len({*config.learning_rate[:2]}) == 1 and names.are_twins(*pair)


def check(config: Config) -> None:
    """Raise ValueError for an option that is out of range for every data set."""
    given = config.optimizer
    require(len(given) >= 1, "optimizer", given, "at least one name")
    for name in given:
        runs.optimizer(name)
    rates = config.learning_rate
    require(len(rates) == len(given), "learning_rate", rates, f"one, or one for each of the optimizers {given}")
    for rate in rates:
        require(math.isfinite(rate) and rate > 0, "learning_rate", rate, "a positive number")
    for name in ("epochs", "devices", "log_every", "early_stop", "accumulate", "seeds", "image_size"):
        value = getattr(config, name)
        require(value is None or value >= 1, name, value, "at least 1")
    require(config.batch_size >= 0, "batch_size", config.batch_size, "at least 1")
    for name in ("warmup", "seed", "weight_decay", "steps_per_call", "profile", "workers"):
        value = getattr(config, name)
        require(value is None or 0 <= value < math.inf, name, value, "at least 0")
    most = commandline.LARGEST_SEED
    require(config.seed <= most, "seed", config.seed, f"at most {most:,}")
    require(config.average is None or 0 < config.average < 1, "average", config.average, "in (0, 1)")
    hooks.parse_every(config.checkpoint_every)
    early = config.early_stop is None or config.dev_fraction != 0
    require(early, "early_stop", config.early_stop, "left out with dev_fraction=0: it needs a development part")
    require(not config.noise_floor or len(given) >= 2, "noise_floor", True, "left out with fewer than two optimizers")
    _check_loss(config)
    _check_gradient(config)
    _check_examples(config)
    _check_command(config)
    _check_devices(config)


def _check_loss(config: Config) -> None:
    """Check the loss and the smoothing of its labels."""
    runs.loss(config.loss)
    if config.targets:
        known = ", ".join(function.__name__ for function in (*tasks.OF_LABELS, *tasks.OF_NUMBERS))
        takes = tasks.takes_targets(config.loss)
        require(takes, "loss", config.loss, f"one for --targets: {known}, or package.module:function")
        require(config.stream != "always", "stream", config.stream, "left out with --targets: its images are in memory")
    smoothing = config.label_smoothing
    require(0 <= smoothing < 1, "label_smoothing", smoothing, "in [0, 1)")
    smoothed = smoothing == 0 or "label_smoothing" in inspect.signature(runs.loss(config.loss)).parameters
    require(smoothed, "label_smoothing", smoothing, f"0 with loss={config.loss!r}, which has no such argument")


def _check_command(config: Config) -> None:
    """Check the options that decide about how many runs there are, and of which kind."""
    last = config.seed + config.seeds - 1
    require(last <= commandline.LARGEST_SEED, "seeds", config.seeds, f"such that the last one, {last}, has 32 bits")
    for name in ("dry_run", "find_lr"):
        lone = not getattr(config, name) or config.resume is None
        require(lone, name, True, "left out with --resume, which goes on with a run")
    require(not (config.dry_run and config.find_lr), "dry_run", True, "left out with --find-lr")
    for name in config.log:
        names.function("log", name, hooks.LOGS)
        if name == "tensorboard":  # before the data are read
            hooks.event_writer()


def _check_devices(config: Config) -> None:
    """Check the number of devices, and the division of a batch among them."""
    there = len(jax.devices())
    require(
        config.devices <= there,
        "devices",
        config.devices,
        f"at most {there}, which is how many there are; on CPU, JAX_NUM_CPU_DEVICES={config.devices} makes that many",
    )
    if config.coordinator is not None and (count := jax.process_count()) > 1:
        require(config.strategy != "pmap", "strategy", "pmap", "jit or shard_map with several processes")
        require(config.devices % count == 0, "devices", config.devices, f"a multiple of the {count} processes")
        require(not config.find_lr, "find_lr", True, "left out with several processes")
        require(config.on_oom == "stop", "on_oom", config.on_oom, "stop with several processes, with an --accumulate")
    parts = config.devices * config.accumulate
    microbatches = f" × {config.accumulate} microbatches" if config.accumulate > 1 else ""
    multiple = f"a multiple of the {config.devices} devices{microbatches}"
    require(config.batch_size % parts == 0, "batch_size", config.batch_size, multiple)


def _check_gradient(config: Config) -> None:
    """Check the options that change the gradient."""
    norm = config.clip_norm
    require(norm is None or (math.isfinite(norm) and norm > 0), "clip_norm", norm, "a positive number")
    groups.parse(config.freeze, config.rate_factors)
    given = config.class_weights
    if given and given != ("balanced",):
        for one in given:
            try:
                right = math.isfinite(float(one)) and float(one) >= 0
            except ValueError:
                right = False
            require(right, "class_weights", given, "numbers of at least 0, one per class, or balanced")
        require(any(float(one) > 0 for one in given), "class_weights", given, "above 0 for one class at least")
    weighted = not given or "class_weights" in inspect.signature(runs.loss(config.loss)).parameters
    require(weighted, "class_weights", given, f"left out with loss={config.loss!r}, which has no such argument")


def _check_examples(config: Config) -> None:
    """Check augmentations, mixup and cutmix."""
    alone = config.augment == ("none",) or "none" not in config.augment
    require(alone, "augment", config.augment, "none alone, or others")
    for name in ("mixup", "cutmix"):
        alpha = getattr(config, name)
        require(alpha is None or (math.isfinite(alpha) and alpha > 0), name, alpha, "a positive number")
        soft = alpha is None or config.loss == MIXED
        require(soft, name, alpha, f"left out with loss={config.loss!r}: only {MIXED} takes soft labels")


def require(right: bool, name: str, value: Any, allowed: str) -> None:
    """Raise ValueError unless ``right``; the message names the option, its value and the allowed ones."""
    if not right:
        raise ValueError(f"{name}={value!r} is not allowed: it must be {allowed}")

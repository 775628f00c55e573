"""Turn the options into a run's data, network, evaluation, and each optimizer's step and initial state."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

from experiments.train_cnn import choices, groups, streams
from experiments.train_cnn.config import Config, require
from experiments.train_cnn.steps import on_mixtures, skipping
from jaxdl import analysis, compare, data, interop, nn, runs, training
from jaxdl.data import augmentation, streaming
from jaxdl.runs import commandline, records, tasks
from jaxdl.runs import folder as folders

ONE_ULP = "+1ulp"  # suffix of the label of the run that measures the noise floor
ON_CPU_TOGETHER = (
    1e8  # FLOPs of a forward pass; above, several steps per call gain nothing (benchmarks.speed, row pipeline)
)
Evaluate = Callable[[Any, Any, data.Examples], tuple[dict[str, float], np.ndarray]]


class Setup(NamedTuple):
    """The part of a run that all its optimizers share."""

    config: Config
    dataset: data.Dataset
    splits: data.Splits
    preprocessing: data.Normalization
    layer: nn.Layer
    evaluate: Evaluate  # (params, state, examples) -> ({"loss", "accuracy"}, logits)
    resident: data.Examples | None  # the training part on the devices, where it fits
    steps_per_call: int
    loader: streaming.Loader | None = None  # of the training part, if it is streamed
    targets: tuple[str, ...] = ()  # names of the targets, if there are no classes

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the network's outputs: those of the classes or of the targets."""
        return self.targets or self.dataset.classes

    def close(self) -> None:
        """Stop the workers of a stream."""
        if self.loader is not None:
            self.loader.close()

    @property
    def place(self) -> str:
        """Return a phrase on where the data set is."""
        if self.loader is not None:
            return streams.place(self.config, self.in_shape)
        return "on the host" if self.resident is None else "on the device"

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Return the shape of one image."""
        return self.splits.train.images.shape[1:]

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of full batches in the training part."""
        return len(self.splits.train.labels) // self.config.batch_size

    @property
    def steps(self) -> int:
        """Return the number of steps of the whole run."""
        return self.config.epochs * self.steps_per_epoch

    def batches(self, epoch: int, first: int) -> Iterable[Any]:
        """Return the batches of an epoch from number ``first`` on, or their rows if the data are on the device.

        A process of several gets its own part of each.
        """
        size, seed, train = self.config.batch_size, self.config.seed, self.splits.train
        if self.loader is not None:
            return self.loader.batches(epoch, first)
        if jax.process_count() == 1 and self.resident is None:
            return data.batches(train, size, seed=seed, epoch=epoch, start=first)
        rows = data.batch_rows(len(train.labels), size, seed=seed, epoch=epoch, start=first)
        if jax.process_count() == 1:
            return rows
        own = map(training.own_part, rows)
        return own if self.resident is not None else (data.take(train, part) for part in own)


class Start(NamedTuple):
    """One optimizer: its compiled step and its initial state."""

    label: str
    learning_rate: float  # the peak
    rate_at: Callable[[int], Any]  # step -> learning rate
    step: training.Parallel
    state: training.TrainState


def prepare(config: Config) -> Setup:
    """Load the data, and make the network and its evaluation.

    Raises:
        ValueError: if the options, the model and the data do not fit together.
    """
    opened = streams.open_data(config)
    dataset, splits = opened.dataset, opened.splits
    size = config.batch_size or default_batch_size(config, len(splits.train.labels))
    config = dataclasses.replace(config, batch_size=size)
    preprocessing = fit_preprocessing(config, opened)
    layer = runs.model(config.model, len(opened.targets or dataset.classes))
    evaluate = make_evaluate(config, layer, preprocessing)
    shared = Setup(config, dataset, splits, preprocessing, layer, evaluate, None, 1, targets=opened.targets)
    check_fit(shared)
    loader = streams.training_loader(config, opened)
    own = [device for device in jax.devices()[: config.devices] if device.process_index == jax.process_index()]
    fits = loader is None and training.fits_in_memory(splits.train, own)
    steps_per_call = choose_steps_per_call(config, layer, splits, fits)
    resident = training.replicate(splits.train, config.devices) if fits else None
    return shared._replace(resident=resident, steps_per_call=steps_per_call, loader=loader)


def default_batch_size(config: Config, examples: int) -> int:
    """Return 64, or the power of two that leaves 8 steps an epoch, as a multiple of devices and microbatches."""
    parts = config.devices * config.accumulate
    size = min(64, 1 << max(examples // 8, 1).bit_length() - 1)
    return max(size // parts, 1) * parts


def fit_preprocessing(config: Config, opened: streams.Opened) -> data.Normalization:
    """Return the normalization of the images: by statistics of the training part, or by the scale only."""
    images, scale = opened.splits.train.images, opened.dataset.scale
    if config.normalization == "none":
        return data.no_normalization(images.shape[-1], scale)
    if opened.stream is not None:
        return streaming.fit_normalization(opened.stream, images)
    return data.fit_normalization(images, scale)


def check_fit(shared: Setup) -> None:
    """Raise ValueError if the options, the model and the data do not fit together."""
    config, layer, train = shared.config, shared.layer, shared.splits.train
    training.check_labels(runs.loss(config.loss), train.labels)
    examples, size = len(train.labels), config.batch_size
    require(size <= examples, "batch_size", size, f"at most the {examples} training examples (--batch-size)")
    require(
        shared.steps <= commandline.LARGEST, "epochs", config.epochs, f"at most {commandline.LARGEST:,} steps in all"
    )
    require(config.warmup < shared.steps, "warmup", config.warmup, f"less than the {shared.steps} steps of the run")
    in_shape, number = shared.in_shape, len(shared.outputs)
    try:
        out_shape = layer.out_shape(in_shape)
    except (TypeError, ValueError) as error:
        raise ValueError(f"model={config.model!r} does not take images of shape {in_shape}: {error}") from error
    require(out_shape == (number,), "model", config.model, f"one that gives {number} logits; it gives {out_shape}")
    tasks.check_loss(config.loss, config.model, layer, in_shape, targets=len(shared.targets))
    training_loss(shared)
    require("hue" not in config.augment or in_shape[-1] == 3, "augment", config.augment, "without hue for grey images")


def choose_steps_per_call(config: Config, layer: nn.Layer, splits: data.Splits, resident: bool) -> int:
    """Return the number of steps per call that the config asks for, or the faster one on this backend.

    Raises:
        ValueError: for several steps per call if the data set does not fit on the devices.
    """
    require(resident or config.steps_per_call <= 1, "steps_per_call", config.steps_per_call, "1: the data do not fit")
    if config.steps_per_call or not resident:
        in_epoch = len(splits.train.labels) // config.batch_size
        return max(min(config.steps_per_call, in_epoch), 1)  # unused columns of row numbers take memory
    if jax.default_backend() != "cpu":
        return 10
    # XLA does not count the operations of foreign calls, such as oneDNN's convolutions
    rows = analysis.summary(layer, splits.train.images.shape[1:]).rows
    flops = 2 * config.batch_size * sum(row.multiply_adds for row in rows)
    return 10 if flops <= ON_CPU_TOGETHER else 1


def make_evaluate(config: Config, layer: nn.Layer, preprocessing: data.Normalization) -> Evaluate:
    """Return ``(params, state, examples) -> ({"loss", "accuracy"}, logits)``, compiled once for all optimizers.

    Each of several processes computes its part of a batch, and gets the logits of all.
    """
    whole = training.data_parallel_eval(
        training.eval_step(layer, loss=runs.loss(config.loss), preprocess=lambda x: data.normalize(x, preprocessing)),
        devices=config.devices,
    )
    of_part = lambda variables, batch: whole(variables, training.own_part(batch))
    step = whole if jax.process_count() == 1 else of_part

    def evaluate(params: Any, state: Any, examples: data.Examples):
        size = min(1024, len(examples.labels))
        size = -(-size // config.devices) * config.devices
        return training.evaluate(step, (params, state), streams.eval_batches(examples, size, config.devices))

    return evaluate


def keys(config: Config) -> jax.Array:
    """Return the key of the initial parameters and the key of all steps."""
    return jax.random.split(jax.random.key(config.seed))


def first_variables(shared: Setup) -> tuple[Any, Any]:
    """Return the params and the state from which all optimizers start."""
    config, fresh = shared.config, shared.layer.init(keys(shared.config)[0], shared.in_shape)
    if not config.start_from:
        return fresh
    return variables_from(config.start_from, fresh, shared.layer, model=config.model, trust_run=config.trust_run)


def make_starts(shared: Setup) -> list[Start]:
    """Return a start per optimizer, and one for the noise floor, all from the same parameters."""
    config = shared.config
    params, state = first_variables(shared)
    labels = runs.labels(config.optimizer)
    wanted = list(zip(labels, config.optimizer, config.learning_rate, [params] * len(labels), strict=True))
    if config.noise_floor:
        label, name, rate, _ = wanted[1]
        wanted.append((f"{label}{ONE_ULP}", name, rate, compare.move_one_ulp(params)))
    starts, compiled = [], {}
    for label, name, rate, first_params in wanted:
        schedule = choices.schedule(
            config.schedule, rate, steps=shared.steps, warmup=config.warmup, epoch_steps=shared.steps_per_epoch
        )
        optimizer, penalty = make_optimizer(shared, name, schedule, params)
        if (name, rate) not in compiled:
            compiled[name, rate] = compile_step(shared, optimizer, penalty)
        train_state = training.start(first_params, state, optimizer, average=config.average is not None)
        rate_at = schedule if callable(schedule) else lambda step, rate=rate: rate
        starts.append(Start(label, rate, rate_at, compiled[name, rate], train_state))
    return starts


def make_optimizer(
    shared: Setup, name: str, schedule: Any, params: Any
) -> tuple[optax.GradientTransformation, choices.Penalty | None]:
    """Return an optimizer with the config's weight decay and clipping; see `choices.optimizer`."""
    config = shared.config
    made, penalty = choices.optimizer(
        name,
        schedule,
        config.weight_decay,
        params,
        functions=config.strategy == "jit",
        clip_norm=config.clip_norm,
        plateau_steps=shared.steps_per_epoch if config.schedule == "reduce_on_plateau" else None,
        groups=groups.parse(config.freeze, config.rate_factors),
    )
    made = analysis.watched(made) if config.log_layers else made
    return (training.loss_scaled(made) if config.compute_dtype == "float16" else made), penalty


def compile_step(shared: Setup, optimizer: Any, penalty: choices.Penalty | None) -> training.Parallel:
    """Return the training step on the config's devices; it takes rows if the examples are on the devices."""
    config, preprocessing = shared.config, shared.preprocessing
    names = streams.augment_on_device(config, shared.loader)
    augment, classes = choices.augment(names, preprocessing.scale), len(shared.outputs)
    normalize = data.normalize if augment is None else data.standardize  # augmented images are in [0, 1] already
    images: dict[str, Any] = {"preprocess": lambda x: normalize(x, preprocessing), "augment": augment}
    mixes = [
        functools.partial(mix, alpha=alpha)
        for mix, alpha in ((augmentation.mixup, config.mixup), (augmentation.cutmix, config.cutmix))
        if alpha is not None
    ]
    layer = shared.layer
    if config.compute_dtype != "float32":
        layer = nn.compute_in(jnp.dtype(config.compute_dtype), layer)
    step = training.train_step(
        layer,
        optimizer,
        loss=training_loss(shared),
        penalty=penalty,
        average_decay=config.average,
        accumulate=config.accumulate,
        **({} if mixes else images),
    )
    if mixes:
        step = on_mixtures(step, mixes, classes, **images)
    step = skipping(step) if config.on_nan == "skip" else step
    return training.data_parallel(step, strategy=config.strategy, devices=config.devices, examples=shared.resident)


def training_loss(shared: Setup) -> Callable[..., jax.Array]:
    """Return the loss of the training step, which may have smoothed labels and weights of the classes."""
    config = shared.config
    weights = choices.class_weights(config.class_weights, shared.splits.train.labels, len(shared.outputs))
    options: dict[str, Any] = {"label_smoothing": config.label_smoothing} if config.label_smoothing else {}
    options |= {} if weights is None else {"class_weights": weights}
    return functools.partial(runs.loss(config.loss), **options)


def describe(folder: Path, shared: Setup, argv: Sequence[str] | None) -> None:
    """Write the files that describe the run, or check them if it is resumed; see `runs.describe`."""
    runs.describe(
        folder,
        seed=shared.config.seed,
        devices=jax.devices()[: shared.config.devices],
        dataset=shared.dataset._replace(classes=shared.outputs),
        in_shape=shared.in_shape,
        preprocessing=shared.preprocessing,
        argv=argv,
    )


Named = dict[str, Any]  # path, such as params/fc/kernel -> array


def variables_from(
    given: str, fresh: tuple[Any, Any], layer: nn.Layer, *, model: str, trust_run: bool
) -> tuple[Any, Any]:
    """Return params and state with given arrays in place of the fresh ones of the same path and shape.

    Only the last layer with parameters, the head, may be absent from the given ones or have another shape there, as
    with another number of classes; then it stays fresh.

    Args:
        given: folder of a finished run, or a file that `interop.save` wrote.
        fresh: params and state as from ``layer.init``.
        layer: the network.
        model: the name that `layer` was made by; a folder that names the same one needs no consent.
        trust_run: see `runs.load`.

    Raises:
        ValueError: naming the arrays that do not fit.
    """
    own, found = _named(*fresh), _read(given, model, trust_run)
    fits = {name for name, leaf in own.items() if name in found and jnp.shape(found[name]) == jnp.shape(leaf)}
    head = _head(layer, fresh[0])
    wrong = sorted(name for name in own.keys() - fits if not name.split("/", 1)[1].startswith(f"{head}/"))
    if wrong or not fits:
        differ = [f"{name} {_about(own[name])}, there {_about(found.get(name))}" for name in (wrong or sorted(own))[:5]]
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(f"start_from={given!r} does not fit the network: {'; '.join(differ)}{more}")
    taken = {name: jnp.asarray(found[name], leaf.dtype) if name in fits else leaf for name, leaf in own.items()}
    tree = traverse_util.unflatten_dict(taken, sep="/")
    return tuple(_like(old, tree.get(name, {})) for name, old in zip(("params", "state"), fresh, strict=True))  # pyright: ignore


def _read(given: str, model: str, trust_run: bool) -> Named:
    if Path(given).is_dir():
        stored = records.read_json(folders.open_folder(given) / folders.CONFIG)
        run = runs.load(given, trust_run=trust_run or stored.get("model") == model)
        return _named(run.params, run.state)
    return dict(interop.read(given))


def _named(params: Any, state: Any) -> Named:
    return traverse_util.flatten_dict({"params": params, "state": state}, sep="/")


def _like(old: Any, new: Mapping[str, Any]) -> Any:
    """Return the new leaves in the structure of the old tree, empty parts included."""
    return jax.tree.unflatten(jax.tree.structure(old), jax.tree.leaves({**new} if new else old))


def _head(layer: nn.Layer, params: Any) -> str:
    """Return the path of the last layer with parameters."""
    names = {name.rpartition("/")[0] for name in traverse_util.flatten_dict(params, sep="/")}
    return [path for path in nn.paths(layer) if path in names][-1]


def _about(leaf: Any) -> str:
    return "nothing" if leaf is None else str(tuple(jnp.shape(leaf)))

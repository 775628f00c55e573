"""Loading a finished run: its network, its weights and its preprocessing."""

import math
import os
import pathlib
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import data, nn, training
from jaxdl.runs import calling, names, records
from jaxdl.runs import folder as folders
from jaxdl.texts import cut, quoted

Path = pathlib.Path
PREPROCESSING, FINAL, DIVERGED = "preprocessing.json", "final", "diverged.json"


class Preprocessing(NamedTuple):
    """preprocessing.json: shape, classes and normalization of the inputs."""

    in_shape: tuple[int, int, int]  # (height, width, channels)
    classes: tuple[str, ...]
    normalization: "Statistics"


class Statistics(NamedTuple):
    """A `data.Normalization` as plain numbers."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float


class Divergence(NamedTuple):
    """diverged.json in an optimizer's folder of checkpoints: the end of its training."""

    step: int  # see `signals.Diverged`
    epoch: int  # the current one, from 0
    rows: int  # of metrics.csv until then
    clock: dict[str, float]  # see `clock.Clock`
    why: str


class Trained(NamedTuple):
    """The part of config.json that `load` needs."""

    model: str
    optimizer: tuple[str, ...]
    seed: int = 0
    seeds: int = 1


class Run(NamedTuple):
    """A trained network and the preprocessing of its inputs."""

    layer: nn.Layer
    params: Any
    state: Any
    preprocessing: data.Normalization
    in_shape: tuple[int, ...]  # (height, width, channels)
    classes: tuple[str, ...]
    config: dict[str, Any]
    optimizer: str  # that trained these weights
    unfinished: str = ""  # if the run goes on: which weights these are


def save_final(folder: Path, optimizer: str, step: int, params: Any, state: Any, **meta: Any) -> None:
    """Write the weights that a run is judged by, for `load`."""
    variables = {"params": params, "state": state}
    training.checkpoints.save(folder / FINAL / optimizer_folder(optimizer), step, variables, meta, keep=1)


def write_preprocessing(
    folder: Path, normalization: data.Normalization, in_shape: Sequence[int], classes: Sequence[str]
) -> None:
    """Write preprocessing.json."""
    height, width, channels = in_shape
    statistics = Statistics(**normalization.to_dict())
    about = Preprocessing((height, width, channels), tuple(classes), statistics)
    records.write_json(folder / PREPROCESSING, about)


def describe(
    folder: Path,
    *,
    seed: int,
    devices: Sequence[Any],
    dataset: data.Dataset,
    in_shape: Sequence[int],
    preprocessing: data.Normalization,
    argv: Sequence[str] | None = None,
) -> None:
    """Write manifest.json and preprocessing.json of a new run; for a resumed one, check that its data are unchanged.

    Args:
        folder: the run folder.
        seed: see `folder.write_manifest`, also for ``devices``, ``dataset`` and ``argv``.
        in_shape: shape of one image.
        preprocessing: normalization of the images.

    Raises:
        ValueError: see `folder.check_same_data`.

    Examples:
        A run's data must not change under it:

        >>> import tempfile
        >>> from jaxdl import data
        >>> own = data.from_arrays(np.zeros((4, 8, 8)), np.array([0, 1, 0, 1]))
        >>> other = data.from_arrays(np.ones((4, 8, 8)), np.array([0, 1, 0, 1]))
        >>> about = {"seed": 0, "devices": jax.devices()[:1], "in_shape": (8, 8, 1)}
        >>> about["preprocessing"] = data.no_normalization(1, 1.0)
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     folder = runs.create(f"{parent}/run")
        ...     runs.describe(folder, dataset=own, **about)
        ...     sorted(path.name for path in folder.iterdir())
        ...     try:
        ...         runs.describe(folder, dataset=other, **about)
        ...     except ValueError as error:
        ...         print(str(error).partition(":")[0])
        ['manifest.json', 'preprocessing.json']
        images
    """
    source = folders.data_source(dataset)
    if (folder / PREPROCESSING).exists():  # written after the manifest: if that is missing now, it was deleted
        folders.check_same_data(folder, source.sha256)
    else:
        folders.write_manifest(folder, seed=seed, devices=devices, source=source, argv=argv)
    write_preprocessing(folder, preprocessing, in_shape, dataset.classes)


def load(folder: str | os.PathLike, *, optimizer: str | None = None, trust_run: bool = False) -> Run:
    """Load the network of a run; from the newest checkpoint if the run has not finished.

    ``run.layer.apply(run.params, run.state, data.normalize(images, run.preprocessing))[0]`` gives the logits of raw
    images ``(n, *run.in_shape)``.

    Args:
        folder: the run folder.
        optimizer: the optimizer whose weights to load; the first one by default.
        trust_run: whether to import and call a network that is a ``package.module:function`` from outside of jaxdl.
            It can be any code, so pass True only for folders that you trust.

    Raises:
        ValueError: for a folder that is not a run, a run without a checkpoint, an optimizer that is unknown or
            diverged, a network from outside of jaxdl without ``trust_run``, or damaged files
            (`training.checkpoints.CorruptCheckpointError`).

    Examples:
        A folder with the least that a run leaves behind:

        >>> import tempfile
        >>> from jaxdl import data
        >>> net = runs.model("softmax_regression", 2)
        >>> params, state = net.init(jax.random.key(0), (8, 8, 1))
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     folder = runs.create(f"{parent}/run")
        ...     runs.write_json(folder / "config.json", {"model": "softmax_regression", "optimizer": ["adam"]})
        ...     runs.write_preprocessing(folder, data.no_normalization(1, 255.0), (8, 8, 1), ["cat", "dog"])
        ...     runs.save_final(folder, "jaxdl.adam", 1, params, state)
        ...     run = runs.load(folder)
        >>> images = data.normalize(np.zeros((3, 8, 8, 1), np.uint8), run.preprocessing)
        >>> run.classes, run.layer.apply(run.params, run.state, images)[0].shape
        (('cat', 'dog'), (3, 2))
    """
    folder = folders.open_folder(folder)
    path = folder / folders.CONFIG
    config = records.read_record(path, Trained)
    if config.seeds > 1:
        raise ValueError(f"{folder}: holds a run for each of {config.seeds} seeds, such as {folder}/seed-{config.seed}")
    about = read_preprocessing(folder / PREPROCESSING)
    calling.check_stored(path, {"model": config.model}, trust_run=trust_run)
    if not config.optimizer:
        raise ValueError(f"{path}: optimizer must hold at least one name")
    trained = _from_config(path, names.labels, config.optimizer)
    name = trained[0] if optimizer is None else optimizer
    if name not in trained:
        raise ValueError(f"optimizer={name!r} is not in this run; it has {', '.join(trained)}")
    final = folder / FINAL / optimizer_folder(name)
    found = training.checkpoints.steps(final)
    if (ended := divergence(folder, name)) is not None:
        raise ValueError(f"optimizer={name!r} diverged, so it has no weights: {ended.why}")
    layer = _from_config(path, names.model, config.model, len(about.classes))
    like = _from_config(path, _variables, layer, about.in_shape)
    if found:
        variables, which = training.checkpoints.restore(final / f"{found[-1]:08d}", like).tree, ""
    else:
        variables, which = unfinished(folder, name, like)
    return Run(
        layer,
        variables["params"],
        variables["state"],
        data.Normalization.from_dict(about.normalization._asdict()),
        about.in_shape,
        about.classes,
        records.read_json(path),
        name,
        which,
    )


def unfinished(folder: Path, optimizer: str, like: Any) -> tuple[Any, str]:
    """Return the weights to judge in the newest checkpoint of a run, and which they are.

    These are the best ones on the development part with early stopping, else the average if there is one, else those
    that the optimizer evaluates.

    Args:
        folder: the run folder.
        optimizer: the optimizer's label.
        like: ``{"params", "state"}`` of shapes.

    Raises:
        ValueError: if there is no checkpoint yet, or it is of another network.
    """
    kept = training.checkpoints.read_newest(folder / "checkpoints" / optimizer_folder(optimizer))
    if kept is None:
        raise ValueError(f"{folder}: this run has no checkpoint yet; resume it with --resume {quoted(folder)}")
    places = {
        "best on dev": {"params": "['best']['params']", "state": "['best']['state']"},
        "average": {"params": "['state'].average['params']", "state": "['state'].average['state']"},
        "last": {"params": "['judged']['params']", "state": "['judged']['state']"},
        "last weights": {"params": "['state'].params", "state": "['state'].layer_state"},
    }
    for which, place in places.items():
        paths = [
            (f"{place[part]}{jax.tree_util.keystr(path)}", leaf)
            for part in ("params", "state")
            for path, leaf in jax.tree_util.tree_leaves_with_path(like[part])
        ]
        if all(name in kept.tree and kept.tree[name].shape == leaf.shape for name, leaf in paths if leaf.size):
            leaves = [kept.tree[name] if leaf.size else jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in paths]
            said = f"{which.removesuffix(' weights')}, of the checkpoint after step {kept.meta['step']:,}"
            return jax.tree.unflatten(jax.tree.structure(like), leaves), said
    raise ValueError(
        f"{folder}: its checkpoint of step {kept.meta['step']} holds another network than its config names"
    )


def _variables(layer: nn.Layer, in_shape: tuple[int, ...]) -> Any:
    """Return the shapes and types of a network's variables."""
    return jax.eval_shape(
        lambda key: dict(zip(("params", "state"), layer.init(key, in_shape), strict=True)), jax.random.key(0)
    )


def _from_config(path: Path, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of what a config says, and name the config in its errors."""
    try:
        return function(*arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {cut(str(error))}") from error


def read_preprocessing(path: Path) -> Preprocessing:
    """Read and check how a run prepares its images.

    Raises:
        ValueError: naming the file, if a field is missing or cannot be.
    """
    about = records.read_record(path, Preprocessing)
    if min(about.in_shape) < 1:
        raise ValueError(f"{path}: in_shape must be positive sizes, got {about.in_shape}")
    mean, std, scale = about.normalization
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"{path}: normalization.scale must be a positive number, got {scale}")
    for name, values, right in (("mean", mean, all), ("std", std, lambda ok: all(ok) and min(std) >= 0)):
        if len(values) != about.in_shape[-1] or not right(map(math.isfinite, values)):
            wanted = "numbers" if name == "mean" else "numbers of at least 0"
            raise ValueError(f"{path}: normalization.{name} must be {about.in_shape[-1]} {wanted}, got {values}")
    return about


def divergence(folder: Path, optimizer: str) -> Divergence | None:
    """Return how an optimizer's training ended early; None if it has not diverged."""
    path = folder / "checkpoints" / optimizer_folder(optimizer) / DIVERGED
    return records.read_record(path, Divergence) if path.exists() else None


def optimizer_folder(name: str) -> str:
    """Return a folder name for an optimizer, whose label may contain ':'. Different labels get different folders.

    Examples:
        >>> runs.optimizer_folder("mine:adam")
        'mine%3Aadam'
    """
    return urllib.parse.quote(name, safe="+")

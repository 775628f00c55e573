"""What a run leaves behind, back in memory."""

import os
import pathlib
import textwrap
import urllib.parse
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from jaxdl import data, nn, training
from jaxdl.runs import folder as folders
from jaxdl.runs import names, trust

Path = pathlib.Path
PREPROCESSING, FINAL = "preprocessing.json", "final"


class Run(NamedTuple):
    """A trained network and what its inputs have to go through."""

    layer: nn.Layer
    params: Any
    state: Any
    preprocessing: data.Normalization
    in_shape: tuple[int, ...]  # (height, width, channels)
    classes: tuple[str, ...]
    config: dict[str, Any]
    optimizer: str  # whose weights these are


def save_final(folder: Path, optimizer: str, step: int, params: Any, state: Any, **meta: Any) -> None:
    """Write the weights that a run is judged by, where `load` finds them."""
    variables = {"params": params, "state": state}
    training.checkpoints.save(folder / FINAL / optimizer_folder(optimizer), step, variables, meta, keep=1)


def write_preprocessing(
    folder: Path, normalization: data.Normalization, in_shape: Sequence[int], classes: Sequence[str]
) -> None:
    """Write what inputs have to go through before the network."""
    about = {"in_shape": list(in_shape), "classes": list(classes), "normalization": normalization.to_dict()}
    folders.write_json(folder / PREPROCESSING, about)


def describe(
    folder: Path,
    *,
    seed: int,
    devices: list[Any],
    dataset: data.Dataset,
    in_shape: Sequence[int],
    preprocessing: data.Normalization,
    argv: Sequence[str] | None = None,
) -> None:
    """Write what a run is made of beside its config, or, where it has begun before, see that the data are the same.

    Args:
        folder: the run's.
        seed: see `folder.write_manifest`, also for ``devices``, ``dataset`` and ``argv``.
        in_shape: of one image.
        preprocessing: what images go through before the network.

    Raises:
        ValueError: see `folder.check_same_data`.
    """
    if (folder / PREPROCESSING).exists() or (folder / folders.MANIFEST).exists():
        folders.check_same_data(folder, dataset.checksums)
    else:
        folders.write_manifest(folder, seed=seed, devices=devices, dataset=dataset, argv=argv)
    write_preprocessing(folder, preprocessing, in_shape, dataset.classes)


def load(folder: str | os.PathLike, *, optimizer: str | None = None, trust_run: bool = False) -> Run:
    """Load the network of a finished run.

    ``run.layer.apply(run.params, run.state, data.normalize(images, run.preprocessing))[0]`` gives the logits of raw
    images ``(n, *run.in_shape)``.

    Args:
        folder: the run's.
        optimizer: whose weights, of a run with several; the first by default.
        trust_run: whether to import and call the network if it is a ``package.module:function`` from outside of jaxdl,
            which can be any code: True for folders that you trust alone.

    Raises:
        ValueError: for a folder that is no run, a run that has not ended, an unknown optimizer, a network from outside
            of jaxdl without ``trust_run``, or files that are not what was written
            (`training.checkpoints.CorruptCheckpointError`).
    """
    folder = folders.open_folder(folder)
    config, about = _config(folder / folders.CONFIG), _about(folder / PREPROCESSING)
    trust.check_stored(folder / folders.CONFIG, {"model": config["model"]}, trust_run=trust_run)
    trained = names.labels(config["optimizer"])
    name = trained[0] if optimizer is None else optimizer
    if name not in trained:
        raise ValueError(f"optimizer={name!r} is not in this run; it has {', '.join(trained)}")
    final = folder / FINAL / optimizer_folder(name)
    found = training.checkpoints.steps(final)
    if not found:
        raise ValueError(f"{folder}: this run has not ended; go on with --resume {folder}")
    layer = names.model(config["model"], len(about["classes"]))
    in_shape = tuple(about["in_shape"])
    like = jax.eval_shape(
        lambda key: dict(zip(("params", "state"), layer.init(key, in_shape), strict=True)), jax.random.key(0)
    )
    variables = training.checkpoints.restore(final / f"{found[-1]:08d}", like).tree
    return Run(
        layer,
        variables["params"],
        variables["state"],
        data.Normalization.from_dict(about["normalization"]),
        in_shape,
        tuple(about["classes"]),
        config,
        name,
    )


def _config(path: Path) -> dict[str, Any]:
    config = folders.read_json(path)
    _check(path, config, isinstance(config, dict), "an object of names and values")
    _check(path, config, isinstance(config.get("model"), str), "the name of a model")
    named = config.get("optimizer")
    _check(path, config, isinstance(named, list) and named and all(isinstance(n, str) for n in named), "optimizers")
    return config


def _about(path: Path) -> dict[str, Any]:
    about = folders.read_json(path)
    _check(path, about, isinstance(about, dict), "an object of names and values")
    shape, classes, statistics = (about.get(name) for name in ("in_shape", "classes", "normalization"))
    sizes = isinstance(shape, list) and len(shape) == 3 and all(type(n) is int and n > 0 for n in shape)
    _check(path, about, sizes, "in_shape: height, width and channels")
    _check(path, about, isinstance(classes, list) and all(isinstance(c, str) for c in classes), "classes by name")
    given = isinstance(statistics, dict) and {*statistics} == {"mean", "std", "scale"}
    _check(path, about, given, "normalization: mean, std and scale")
    return about


def _check(path: Path, value: Any, right: Any, wanted: str) -> None:
    if not right:
        raise ValueError(f"{path}: lacks {wanted}; it holds {textwrap.shorten(repr(value), 200)}")


def optimizer_folder(name: str) -> str:
    """A folder name for an optimizer, whose own may hold ':'; another one for every name."""
    return urllib.parse.quote(name, safe="+")

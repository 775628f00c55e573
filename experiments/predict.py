"""Classify image files, or all in folders, with the network of a run.

    python -m experiments.predict RUN IMAGE_OR_FOLDER...
    python -m experiments.predict RUN pictures --csv found.csv

This prints the three most probable classes of each image, or of a run with --targets all labels with their
probabilities, or numbers; any number of images needs the memory of a few. A run of a
network of your own, package.module:function, needs --trust-run, because that function is called. Images are turned
upright by their EXIF orientation, reduced to 8 bits per channel, converted to grey for a network of one channel, and
lose their transparency. As in training, the largest central part with the ratio of the network's input is resized to
it. Pixels are otherwise used as they are; MNIST, for one, is white on black.
"""

import contextlib
import csv
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import jax
import numpy as np
import tyro

from jaxdl import data, disk, runs
from jaxdl.data.reading import pixels
from jaxdl.data.reading.archives import readable
from jaxdl.data.streaming import cropping
from jaxdl.runs import commandline
from jaxdl.texts import printable

TEXT: Final[dict[str, Any]] = {"encoding": "utf-8", "errors": "backslashreplace"}  # names may be no Unicode
BATCH: Final = 64  # images in memory at a time


COLUMNS: Final[dict[str, tuple[str, str]]] = {  # names of the two parts of `Prediction.best` in tables
    "classes": ("class", "probability"),
    "labels": ("class", "probability"),
    "numbers": ("target", "number"),
}


class Prediction(NamedTuple):
    """The most probable classes of an image, with their probabilities; or all targets with theirs, or with numbers."""

    image: str
    best: list[tuple[str, float]]


@dataclasses.dataclass(frozen=True)
class Config:
    """The images and the weights."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run; of an unfinished one, the newest checkpoint counts."""
    images: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Image files, and folders of them at any depth."""
    optimizer: str | None = None
    """The optimizer whose weights to use, in a run with several; the first by default."""
    top: int | None = None
    """Number of classes to print; by default 3, or all if there are fewer."""
    csv: Path | None = None
    """Also write a table: a row per image with the classes and their probabilities, or the targets with numbers."""
    json: Path | None = None
    """Also write a list of {"image": NAME, "classes": [{"class": NAME, "probability": P}, ...]}, or of {"image": NAME,
    "targets": [{"target": NAME, "number": X}, ...]}."""
    skip_unreadable: bool = False
    """Leave out image files that cannot be read, and name each."""
    trust_run: bool = False
    """Import and call a network that the run's config names as package.module:function. It can be any code, so use this
    only for folders that you trust, such as your own."""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, predict, print, and return the exit code."""
    config = commandline.parse(Config, argv, description=__doc__, prog="python -m experiments.predict")
    if not config.images:
        raise ValueError("images: give at least one image file or folder")
    run = runs.load(config.run, optimizer=config.optimizer, trust_run=config.trust_run)
    if run.unfinished:
        print(f"{readable(str(config.run))} is unfinished; weights: {run.unfinished}")
    few = len(run.classes) if run.config.get("targets") else 3
    top = min(few, len(run.classes)) if config.top is None else config.top
    if not 1 <= top <= len(run.classes):
        raise ValueError(f"top={top} is not in 1 to {len(run.classes)}, the number of classes")
    images = image_files(config.images)
    _check_outputs(config, images)
    task = runs.task(run.config)
    shown = ".4g" if task == "numbers" else ".1%"
    with contextlib.ExitStack() as outputs:
        writers = [
            outputs.enter_context(writing(path, top, task))
            for writing, path in ((writing_csv, config.csv), (writing_json, config.json))
            if path is not None
        ]
        for found in predictions(run, images, top, skip=config.skip_unreadable):
            said = ", ".join(f"{name} {format(number, shown)}" for name, number in found.best)
            print(printable(f"{found.image}: {said}"))
            for write in writers:
                write(found)
    return 0


def image_files(paths: Sequence[Path]) -> list[Path]:
    """Return the paths with folders replaced by the image files in them, in sorted order and without hidden ones.

    Raises:
        ValueError: naming a folder without image files.
    """
    found = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(_inside(path))
        if not inside:
            raise ValueError(f"{path}: holds no image files ({' '.join(pixels.SUFFIXES)})")
        found += inside
    return found


def _inside(top: Path) -> Iterator[Path]:
    """Yield the visible image files below a folder; links to folders are followed, as in training, but not in circles.

    Raises:
        OSError: if a folder cannot be listed.
    """

    def fail(error: OSError) -> None:
        raise error

    above = {str(top): {top.resolve()}}  # a folder -> what it and those around it are
    for folder, below, names in os.walk(top, followlinks=True, onerror=fail):
        around = above.pop(folder)
        real = {name: Path(folder, name).resolve() for name in below if not name.startswith(".")}
        below[:] = [name for name, place in real.items() if place not in around]
        above |= {os.path.join(folder, name): around | {real[name]} for name in below}
        files = (Path(folder, name) for name in names if not name.startswith("."))
        yield from (file for file in files if file.suffix.lower() in pixels.SUFFIXES)


def _check_outputs(config: Config, images: Sequence[Path]) -> None:
    """Raise ValueError if a table would replace another one, an image or a file of the run."""
    kept = {path.resolve(): f"the image {path}" for path in images}
    for name, path in (("csv", config.csv), ("json", config.json)):
        if path is None:
            continue
        place = path.resolve()
        if place in kept:
            raise ValueError(f"{name}={path} would replace {kept[place]}; give another file")
        if place.parent == config.run.resolve() and place.exists():
            raise ValueError(f"{name}={path} would replace a file of the run; give another file")
        kept[place] = f"the table of --{name}"


def predictions(run: runs.Run, paths: Sequence[Path], top: int, *, skip: bool = False) -> Iterator[Prediction]:
    """Yield the ``top`` classes of each image, the most probable first, or its first targets, from equal batches.

    Raises:
        ValueError: see `read_image`; with ``skip``, images that cannot be decoded are left out and named on stderr.
            Also if the outputs for an image are not finite.
    """
    size, task = min(BATCH, len(paths)), runs.task(run.config)

    @jax.jit
    def outputs_of(images: Any) -> jax.Array:
        logits, _ = run.layer.apply(run.params, run.state, data.normalize(images, run.preprocessing))
        return runs.ACTIVATIONS[task](logits)

    for first in range(0, len(paths), size):
        chunk, images = [], np.zeros((size, *run.in_shape), np.float32)
        for path in paths[first : first + size]:
            try:
                images[len(chunk)] = read_image(path, run.in_shape, float(run.preprocessing.scale))
            except pixels.UnreadableImage as error:
                if not skip:
                    raise ValueError(f"{error}; --skip-unreadable leaves such files out") from error
                print(printable(f"warning: skipped {error}"), file=sys.stderr)
            else:
                chunk.append(path)
        for path, outputs in zip(chunk, np.asarray(outputs_of(images)), strict=False):
            if not np.isfinite(outputs).all():
                raise ValueError(f"{path}: the network's outputs are not finite; see the weights of the run")
            best = (np.argsort(-outputs, kind="stable") if task == "classes" else np.arange(len(outputs)))[:top]
            yield Prediction(readable(str(path)), [(run.classes[i], float(outputs[i])) for i in best])


@contextlib.contextmanager
def writing_csv(path: Path, top: int, task: str) -> Iterator[Callable[[Prediction], None]]:
    """Give a function that adds a row; the file appears once all rows are there."""
    header = ["image", *(f"{name}_{i}" for i in range(1, top + 1) for name in COLUMNS[task])]
    with disk.replacing(path) as temporary, temporary.open("w", newline="", **TEXT) as file:
        rows = csv.writer(file)
        rows.writerow(header)
        yield lambda found: rows.writerow([found.image, *(cell for pair in found.best for cell in pair)])


@contextlib.contextmanager
def writing_json(path: Path, top: int, task: str) -> Iterator[Callable[[Prediction], None]]:
    """Give a function that adds an object to the list; the file appears once all are there."""
    del top
    several = "targets" if task == "numbers" else "classes"
    with disk.replacing(path) as temporary, temporary.open("w", **TEXT) as file:
        before = "["

        def add(found: Prediction) -> None:
            nonlocal before
            best = [dict(zip(COLUMNS[task], pair, strict=True)) for pair in found.best]
            file.write(f"{before}\n{json.dumps({'image': found.image, several: best}, ensure_ascii=False)}")
            before = ","

        yield add
        file.write("\n]\n")


def read_image(path: Path, in_shape: tuple[int, ...], scale: float) -> np.ndarray:
    """Read an image file as raw pixels of ``in_shape``, where ``scale`` is full brightness.

    Raises:
        ValueError: if the file is missing, not a regular file or not an image of `pixels.FORMATS`, or if the network
            has a number of channels other than 1 or 3.
    """
    height, width, channels = in_shape
    modes = {1: "L", 3: "RGB"}
    if channels not in modes:
        raise ValueError(f"the network takes {channels} channels; image files give 1 or 3")
    image = pixels.decode(disk.read_regular(path), f"{path}:", modes[channels])
    if image.shape[:2] != (height, width):
        cut = "" if image.shape[0] * width == image.shape[1] * height else ", the largest central part"
        resized = f"resized from {image.shape[1]}x{image.shape[0]} to {width}x{height}{cut}"
        print(printable(f"{readable(str(path))}: {resized}"))
        image = cropping.central(image, (height, width))
    return np.asarray(image, np.float32).reshape(in_shape) * (scale / 255)


if __name__ == "__main__":
    commandline.run_main(main)

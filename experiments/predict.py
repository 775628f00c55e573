"""Classify image files with the network of a run.

    python -m experiments.predict RUN IMAGE...

This prints the three most probable classes of each image. A run of a network of your own, package.module:function,
needs --trust-run, because that function is called. Images are turned upright by their EXIF orientation, reduced to 8
bits per channel, resized to the network's input, converted to grey for a network of one channel, and lose their
transparency. Pixels are otherwise used as they are; MNIST, for one, is white on black.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from jaxdl import activations, data, disk, runs
from jaxdl.data.reading import pixels
from jaxdl.data.reading.archives import readable
from jaxdl.runs import commandline
from jaxdl.runs.texts import printable


@dataclasses.dataclass(frozen=True)
class Config:
    """The images and the weights."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run; of an unfinished one, the newest checkpoint counts."""
    images: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Image files."""
    optimizer: str | None = None
    """The optimizer whose weights to use, in a run with several; the first by default."""
    top: int | None = None
    """Number of classes to print; by default 3, or all if there are fewer."""
    trust_run: bool = False
    """Import and call a network that the run's config names as package.module:function. It can be any code, so use this
    only for folders that you trust, such as your own."""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, predict, print, and return the exit code."""
    config = commandline.parse(Config, argv, description=__doc__, prog="python -m experiments.predict")
    if not config.images:
        raise ValueError("images: give at least one image file")
    run = runs.load(config.run, optimizer=config.optimizer, trust_run=config.trust_run)
    if run.unfinished:
        print(f"{readable(str(config.run))} is unfinished; weights: {run.unfinished}")
    top = min(3, len(run.classes)) if config.top is None else config.top
    if not 1 <= top <= len(run.classes):
        raise ValueError(f"top={top} is not in 1 to {len(run.classes)}, the number of classes")
    images = np.stack([read_image(path, run.in_shape, float(run.preprocessing.scale)) for path in config.images])
    logits, _ = run.layer.apply(run.params, run.state, data.normalize(images, run.preprocessing))
    shown = [readable(str(path)) for path in config.images]
    for path, probabilities in zip(shown, np.asarray(activations.softmax(logits)), strict=True):
        best = np.argsort(-probabilities, kind="stable")[:top]
        said = ", ".join(f"{run.classes[i]} {probabilities[i]:.1%}" for i in best)
        print(printable(f"{path}: {said}"))
    return 0


def read_image(path: Path, in_shape: tuple[int, ...], scale: float) -> np.ndarray:
    """Read an image file as raw pixels of ``in_shape``, where ``scale`` is full brightness.

    Raises:
        ValueError: if the file is missing, not a regular file or not an image of `pixels.FORMATS`, or if the network
            has a number of channels other than 1 or 3.
    """
    from PIL import Image

    height, width, channels = in_shape
    modes = {1: "L", 3: "RGB"}
    if channels not in modes:
        raise ValueError(f"the network takes {channels} channels; image files give 1 or 3")
    image = Image.fromarray(pixels.decode(disk.read_regular(path), f"{path}:", modes[channels]))
    if image.size != (width, height):
        print(printable(f"{readable(str(path))}: resized from {image.width}x{image.height} to {width}x{height}"))
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32).reshape(in_shape) * (scale / 255)


if __name__ == "__main__":
    commandline.run_main(main)

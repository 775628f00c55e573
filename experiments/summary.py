"""Print the table of a network: the output and the cost of each layer.

    python -m experiments.summary lenet5                            # for the images that the network was made for
    python -m experiments.summary resnet50 --in-shape 160 160 3 --classes 20

The table has output shapes, activations, parameters, multiply-adds and receptive fields per image; nothing is
allocated. ``--figure vgg.png`` also draws the network as blocks. See `jaxdl.analysis.summary` for the definitions.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import tyro

from experiments.train_cnn.streams import MADE_FOR
from jaxdl import analysis, runs
from jaxdl.data.dataset import channels_last_hint
from jaxdl.runs import commandline

OF_DIGITS: Final = {  # networks for grey images -> the shape of one
    **dict.fromkeys(("lecture_keras", "lecture_torch", "lenet5", "lenet5_1998"), (28, 28, 1)),
    **dict.fromkeys(("capsnet", "net_2c2d", "small_cnn"), (28, 28, 1)),
    "tiny_vit": (8, 8, 1),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """The network and its input."""

    model: Annotated[str, tyro.conf.Positional]
    """A name in jaxdl.models, or package.module:function that takes the number of classes and returns an nn.Layer."""
    in_shape: tuple[int, ...] = ()
    """Shape of one input: height, width, channels, in this order. By default that of the images that the network was
    made for, and 224 224 3 for your own."""
    classes: int = 0
    """Number of classes. 0: as many as those images have, 10, 80 or 1000."""
    compact: bool = False
    """Leave out layers without parameters and stored activations, such as ReLU."""
    markdown: bool = False
    """Print the table as Markdown."""
    figure: Path | None = None
    """Also draw the network as blocks into this PNG file."""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, print the table, and return the exit code."""
    config = commandline.parse(Config, argv, description=__doc__, prog="python -m experiments.summary")
    in_shape, classes = made_for(config.model)
    in_shape, classes = config.in_shape or in_shape, config.classes or classes
    if hint := channels_last_hint(in_shape):
        raise ValueError(f"in_shape={in_shape}: {hint}")
    table = analysis.summary(runs.model(config.model, classes), in_shape)
    shown = table.compact() if config.compact else table
    print(shown.markdown() if config.markdown else shown)
    if config.figure is not None:
        from jaxdl import plots

        plots.save(plots.network(table, title=config.model), config.figure)
    return 0


def made_for(model: str) -> tuple[tuple[int, ...], int]:
    """Return the shape of the images and the number of classes that a network by this name was made for."""
    name = model.removeprefix("jaxdl.models:").partition("(")[0]
    if name in OF_DIGITS:
        return OF_DIGITS[name], 10
    side = MADE_FOR.get(name, 224)
    return (side, side, 3), 10 if side <= 32 else 80 if name == "yolov3" else 1000


if __name__ == "__main__":
    commandline.run_main(main)

"""Print the table of a network: the output and the cost of each layer.

    python -m experiments.summary resnet50 --in-shape 224 224 3 --classes 1000

The table has output shapes, activations, parameters, multiply-adds and receptive fields per image; nothing is
allocated. ``--figure vgg.png`` also draws the network as blocks. See `jaxdl.analysis.summary` for the definitions.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from jaxdl import analysis, runs
from jaxdl.data.dataset import channels_last_hint
from jaxdl.runs import commandline


@dataclasses.dataclass(frozen=True)
class Config:
    """The network and its input."""

    model: Annotated[str, tyro.conf.Positional]
    """A name in jaxdl.models, or package.module:function that takes the number of classes and returns an nn.Layer."""
    in_shape: tuple[int, ...] = (224, 224, 3)
    """Shape of one input: height, width, channels, in this order."""
    classes: int = 1000
    """Number of classes."""
    compact: bool = False
    """Leave out layers without parameters and stored activations, such as ReLU."""
    markdown: bool = False
    """Print the table as Markdown."""
    figure: Path | None = None
    """Also draw the network as blocks into this PNG file."""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, print the table, and return the exit code."""
    config = commandline.parse(Config, argv, description=__doc__, prog="python -m experiments.summary")
    if hint := channels_last_hint(config.in_shape):
        raise ValueError(f"in_shape={config.in_shape}: {hint}")
    table = analysis.summary(runs.model(config.model, config.classes), config.in_shape)
    shown = table.compact() if config.compact else table
    print(shown.markdown() if config.markdown else shown)
    if config.figure is not None:
        from jaxdl import plots

        plots.save(plots.network(table, title=config.model), config.figure)
    return 0


if __name__ == "__main__":
    commandline.run_main(main)

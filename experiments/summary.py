"""The table of a network: what each layer gives and costs.

    python -m experiments.summary resnet50 --in-shape 224 224 3 --classes 1000

Prints output shapes, activations, parameters, multiply-adds and receptive fields per image, without allocating
anything; ``--figure vgg.png`` draws the network as blocks, too. See `jaxdl.analysis.summary` for what is counted.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from jaxdl import analysis, runs
from jaxdl.runs import commandline


@dataclasses.dataclass(frozen=True)
class Config:
    """Which network, on what."""

    model: Annotated[str, tyro.conf.Positional]
    """A name in jaxdl.models, or package.module:function taking the number of classes and returning an nn.Layer."""
    in_shape: tuple[int, ...] = (224, 224, 3)
    """Shape of one input: height, width, channels."""
    classes: int = 1000
    """Number of classes."""
    compact: bool = False
    """Leave out what neither keeps nor trains anything, such as ReLU."""
    markdown: bool = False
    """Print Markdown."""
    figure: Path | None = None
    """Also draw the network as blocks into this PNG file."""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and print the table; returns the exit code."""
    config = commandline.parse(Config, argv, description=__doc__, prog="python -m experiments.summary")
    table = analysis.summary(runs.model(config.model, config.classes), config.in_shape)
    shown = table.compact() if config.compact else table
    print(shown.markdown() if config.markdown else shown)
    if config.figure is not None:
        from jaxdl import plots

        plots.save(plots.network(table, title=config.model), config.figure)
    return 0


if __name__ == "__main__":
    commandline.run_main(main)

"""`--log`: other places for the rows of metrics.csv, besides the file and the terminal."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from jaxdl.extras import needed
from jaxdl.runs import names
from jaxdl.runs.loading import optimizer_folder

Log = Callable[[Mapping[str, Any], Path], Any]  # (row of metrics.csv, run folder), called for each row


def tensorboard(row: Mapping[str, Any], folder: Path) -> None:
    """Write loss, accuracy and learning rate as TensorBoard events, one run of it per optimizer.

    Raises:
        ImportError: if tensorboardX is not installed.
    """
    writer = _writer(folder / "tensorboard" / optimizer_folder(row["optimizer"]))
    for name in ("loss", "accuracy", "learning_rate"):
        if math.isfinite(row[name]):
            writer.add_scalar(f"{row['split']}/{name}", row[name], row["step"])
    writer.flush()


@functools.cache
def _writer(folder: Path) -> Any:
    with needed("log='tensorboard'", "tensorboard"):
        from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]
    return SummaryWriter(str(folder))


KNOWN: Final[dict[str, Log]] = {"tensorboard": tensorboard}


def to_all(logs: Sequence[str], folder: Path) -> Callable[[NamedTuple], None]:
    """Return a function that hands a row to every log.

    A resumed run writes, and logs, the rows after its last checkpoint once more.
    """
    functions = [names.function("log", text, KNOWN) for text in logs]

    def log(row: NamedTuple) -> None:
        for function in functions:
            function(row._asdict(), folder)

    return log

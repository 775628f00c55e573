"""The first files and the first line of a run."""

from collections.abc import Sequence
from pathlib import Path

from experiments.train_cnn import records, setup
from experiments.train_cnn.config import Config
from jaxdl import runs
from jaxdl.runs import commandline


def write_first(
    config: Config, folder: Path, shared: setup.Setup, argv: Sequence[str] | None, *, resume: bool
) -> tuple[runs.Table[records.Measurement], str]:
    """Write config.json and what describes the run, and return metrics.csv and a phrase on a move to other devices."""
    moved = keep_config(config, folder, resume=resume)
    setup.describe(folder, shared, argv)
    return runs.Table(folder / records.METRICS, records.Measurement), moved


def keep_config(config: Config, folder: Path, *, resume: bool) -> str:
    """Write config.json if the run is new, extended or moved to other devices, and return a phrase on the latter."""
    before = commandline.load_config(Config, folder) if resume else None
    extended = before is not None and before.epochs < config.epochs
    moved = before is not None and (before.devices, before.strategy) != (config.devices, config.strategy)
    moved = moved and (extended or not (folder / records.SUMMARY).exists())
    if before is None or extended or moved:
        commandline.save_config(folder, config)
        (folder / records.SUMMARY).unlink(missing_ok=True)  # a run that is extended has not finished
    if before is None or not moved:
        return ""
    there, here = (f"{one.devices} by {one.strategy}" for one in (before, config))
    return f" on other devices ({there} before, {here} now): the same numbers up to the rounding of sums"


def first_line(shared: setup.Setup, processes: int) -> str:
    """Return the first line of the log: where the data are, and on which devices it trains."""
    config = shared.config
    said = f"data set {shared.place}, {shared.steps_per_call} steps per call"
    if config.devices > 1:
        by = f" of {processes} processes" if processes > 1 else ""
        said += f", {config.devices} devices{by} by {config.strategy}"
    if config.devices > 1 and config.strategy != "jit":
        said += "; each device draws its own dropout masks, other ones than with another number of devices"
    return said

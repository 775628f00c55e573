"""The parts of the measurement, the most valuable first, and the run of one inside its own process."""

import importlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from benchmarks.on_gpu import record

# so that compile times are measured
UNCACHED = {"JAX_ENABLE_COMPILATION_CACHE": "false"}


class Part(NamedTuple):
    """A process of the measurement. Its module's ``measure(record, dry_run)`` adds the rows."""

    name: str
    module: str
    what: str
    least: float  # seconds below which it is not started
    limit: float  # seconds after which it is stopped
    environment: Mapping[str, str] = MappingProxyType({})


PARTS = {
    part.name: part
    for part in (
        Part("devices", "devices", "Devices, versions, memory, matrix products", 10, 60),
        Part(
            "laws", "laws", "Numeric laws and the layer, optimizer and training tests", 30, 120,
            {"JAX_DEFAULT_MATMUL_PRECISION": "highest"},
        ),
        Part("steps", "steps", "Training steps of the six nets", 30, 140, UNCACHED),
        Part("resnet50", "resnet50", "Training steps of ResNet-50 at 224×224", 30, 70, UNCACHED),
        Part("sweep", "sweep", "A sweep of 256 members in one program", 15, 40),
        Part("speedrun", "speedrun", "CIFAR-10 speedrun", 40, 110),
        Part("calls", "calls", "Steps per call, data on the device and on the host", 15, 50),
        Part("fashion", "fashion", "A whole train_cnn on Fashion-MNIST", 25, 100),
    )
}  # fmt: skip


def run_here(name: str, out: Path, *, seconds: float, dry_run: bool) -> None:
    """Run a part in this process, continuing from the rows of an earlier try.

    Raises:
        ValueError: where there is no accelerator, except in a dry run.
    """
    part, path, began = PARTS[name], out / f"{name}.json", time.monotonic()
    before = record.read(path)
    rows = before.rows if before is not None and before.dry_run == dry_run else []
    now = record.Record(path, name, began + seconds, dry_run, rows=rows, about=about(name, dry_run))
    now.write()
    module = importlib.import_module(f"benchmarks.on_gpu.{part.module}")
    module.measure(now, dry_run)
    now.status, now.seconds = record.DONE, time.monotonic() - began
    now.write()


def about(name: str, dry_run: bool) -> dict[str, object]:
    """Return the conditions of a measurement: versions, devices, machine, command, precision.

    Raises:
        ValueError: where there is no accelerator, except in a dry run.
    """
    import jax

    from jaxdl.runs.folder import provenance

    devices = jax.devices()
    if devices[0].platform == "cpu" and not dry_run:
        raise ValueError("JAX finds no accelerator here, only cpu; --dry-run tries everything with tiny sizes on CPU")
    found = provenance(seed=0, devices=devices)
    return {
        "command": f"python -m benchmarks.on_gpu --out DIR --parts {name}{' --dry-run' if dry_run else ''}",
        **{key: getattr(found, key) for key in ("started", "versions", "devices", "machine")},
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "precision": os.environ.get("JAX_DEFAULT_MATMUL_PRECISION", "the device's default"),
    }

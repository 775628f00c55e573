"""The CIFAR-10 speedrun in both forms, five runs each, with compilation timed separately."""

import os
import statistics
from typing import Any

import numpy as np

from benchmarks.on_gpu.record import Record
from experiments.cifar10_speedrun import command, recipe
from jaxdl import data

RUNS = 5
FORMS = tuple(recipe.FORMS)
TINY = {
    "epochs": 2.0,
    "batch_size": 32,
    "examples": 64,
    "test_examples": 20,
    "width": 0.125,
    "dtype": "float32",
    "runs": 2,
}


def measure(record: Record, dry_run: bool) -> None:
    """Add a row per missing form."""
    dataset = generated() if dry_run and not os.environ.get("JAXDL_DATA_DIR") else data.load("cifar10", download=False)
    for form in FORMS[:1] if dry_run else FORMS:
        if record.has(form=form):
            continue
        options: dict[str, Any] = {"optimizer": form, **(TINY if dry_run else {"runs": RUNS})}
        found = command.measure(recipe.resolve(recipe.Config(**options)), dataset)
        accuracies, seconds = zip(*found.runs, strict=True)
        record.add(
            form=form,
            dataset=dataset.name,
            note=dataset.note,
            steps=found.steps,
            first_seconds=found.first_seconds,
            accuracies=accuracies,
            seconds=seconds,
            accuracy=statistics.mean(accuracies),
            accuracy_std=statistics.stdev(accuracies),
            mean_seconds=statistics.mean(seconds),
            seconds_std=statistics.stdev(seconds),
        )


def generated() -> data.Dataset:
    """Return noise in the format of CIFAR-10, for a dry run without the data."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (300, 32, 32, 3), np.uint8), rng.integers(0, 10, 300).astype(np.int32)
    classes = tuple("0123456789")
    return data.Dataset("generated", images[:200], labels[:200], images[200:], labels[200:], classes, 255.0, {})

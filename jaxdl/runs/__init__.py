"""A run of an experiment on disk: its folder, its files, its names, and what comes back from it."""

from jaxdl.runs.folder import (
    check_same_data,
    create,
    create_dated,
    lock,
    open_folder,
    read_json,
    write_json,
    write_manifest,
)
from jaxdl.runs.loading import Run, describe, load, optimizer_folder, save_final, write_preprocessing
from jaxdl.runs.metrics import MetricsFile, read_metrics
from jaxdl.runs.names import check_loss, dataset, labels, loss, model, optimizer, optimizer_names, problem
from jaxdl.runs.progress import Progress, StudyProgress
from jaxdl.runs.signals import Diverged, StopRequest, catch_stop

__all__ = [
    "Diverged",
    "MetricsFile",
    "Progress",
    "Run",
    "StopRequest",
    "StudyProgress",
    "catch_stop",
    "check_loss",
    "check_same_data",
    "create",
    "create_dated",
    "dataset",
    "describe",
    "labels",
    "load",
    "lock",
    "loss",
    "model",
    "open_folder",
    "optimizer",
    "optimizer_folder",
    "optimizer_names",
    "problem",
    "read_json",
    "read_metrics",
    "save_final",
    "write_json",
    "write_manifest",
    "write_preprocessing",
]

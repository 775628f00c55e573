"""The harness that experiments share: run folders, records, names, the command line, progress, pages and loading."""

from jaxdl.runs.folder import (
    check_same_data,
    create,
    create_dated,
    lock,
    open_folder,
    write_manifest,
)
from jaxdl.runs.loading import Run, describe, load, optimizer_folder, save_final, write_preprocessing
from jaxdl.runs.names import dataset, labels, loss, model, optimizer, optimizer_names, problem
from jaxdl.runs.progress import RunProgress, StudyProgress
from jaxdl.runs.records import Table, UnwrittenTable, read_json, read_record, read_table, write_json
from jaxdl.runs.signals import Diverged, StopRequest, catch_stop
from jaxdl.runs.tasks import ACTIVATIONS, check_loss, task, try_update

__all__ = [
    "ACTIVATIONS",
    "Diverged",
    "Run",
    "RunProgress",
    "StopRequest",
    "StudyProgress",
    "Table",
    "UnwrittenTable",
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
    "read_record",
    "read_table",
    "save_final",
    "task",
    "try_update",
    "write_json",
    "write_manifest",
    "write_preprocessing",
]

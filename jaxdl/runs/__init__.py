"""A run of an experiment on disk: its folder, its metrics, its members, and what comes back from it."""

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
from jaxdl.runs.member import Diverged, Member
from jaxdl.runs.metrics import MetricsFile, read_metrics
from jaxdl.runs.names import check_loss, dataset, labels, loss, model, optimizer, optimizer_names
from jaxdl.runs.outcome import ONE_ULP, Evaluate, Outcome, finish_member, write_outcome
from jaxdl.runs.progress import Progress
from jaxdl.runs.signals import StopRequest, catch_stop
from jaxdl.runs.study_progress import StudyProgress

__all__ = [
    "ONE_ULP",
    "Diverged",
    "Evaluate",
    "Member",
    "MetricsFile",
    "Outcome",
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
    "finish_member",
    "labels",
    "load",
    "lock",
    "loss",
    "model",
    "open_folder",
    "optimizer",
    "optimizer_folder",
    "optimizer_names",
    "read_json",
    "read_metrics",
    "save_final",
    "write_json",
    "write_manifest",
    "write_outcome",
    "write_preprocessing",
]

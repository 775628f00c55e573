"""The records in the files of a run folder, and a reader of the whole folder for its report.

- ``config.json``: the options, by name
- ``manifest.json``: how the run was made, a `Manifest`
- ``summary.json``: a `RunSummary`
- ``metrics.csv``: a `Measurement` per row
- ``layers.csv``, with ``--log-layers``: a `LayerMeasurement` per row
- ``predictions.npz``: labels (n,), classes (k,) and for the i-th row of the summary probabilities_i (n, k),
  mistake_index_i (m,), mistake_images_i (m, H, W, C) in [0, 1] and, where the first layer is a convolution,
  filters_i (kh, kw, c_in, c_out); nothing for a row that diverged. With ``--targets``: targets (n, t), names (t,), and
  for the i-th row outputs_i (n, t), probabilities of labels or numbers, and filters_i
"""

import collections
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from jaxdl import disk
from jaxdl.analysis import LayerRow
from jaxdl.runs import records
from jaxdl.runs.folder import CONFIG, MANIFEST, Manifest
from jaxdl.runs.tasks import Task
from jaxdl.texts import shortened

METRICS: Final = "metrics.csv"
LAYERS: Final = "layers.csv"
SUMMARY: Final = "summary.json"
PREDICTIONS: Final = "predictions.npz"
MATRIX: Final = 1000  # most classes of a confusion matrix; beyond, only those that occur are counted


class Measurement(NamedTuple):
    """One row of metrics.csv."""

    optimizer: str
    step: int  # updates done
    epoch: int  # from 0
    split: Literal["train", "dev", "test"]  # a train row is the mean over the steps since the last one
    loss: float  # without a penalty that --weight-decay adds
    accuracy: float  # NaN for a loss without classes
    learning_rate: float
    seconds: float  # of training so far, without compilation, evaluation and saving


class LayerMeasurement(NamedTuple):
    """One row of layers.csv."""

    optimizer: str
    step: int  # updates done
    layer: str
    gradient_norm: float  # of the last step, before clipping
    update_ratio: float  # norm of the last update over that of the weights before it


class ClockState(NamedTuple):
    """A state of `runs.progress.Clock`."""

    seconds: float
    steps: int
    compile_seconds: float
    evaluation_seconds: float = 0.0  # versions before did not measure these two
    checkpoint_seconds: float = 0.0


class Place(NamedTuple):
    """The metadata of a checkpoint: the place in the run that it was written at."""

    step: int
    epoch: int
    batch: int  # finished in that epoch
    clock: ClockState
    window: dict[str, float]  # sums for the next train row
    last_finite: tuple[int, float] | None  # step and loss
    stopping: tuple[int, float, int, int] | None  # the fields of `training.EarlyStopping`
    rows: int | None = None  # in metrics.csv; versions before did not count them
    skipped: int = 0  # steps that were not finite, with --on-nan skip


class OptimizerResult(NamedTuple):
    """The result of one optimizer."""

    optimizer: str
    test_accuracy: float
    test_loss: float
    steps: int
    epochs: float
    steps_per_second: float  # NaN if the only call was the first one, which compiles
    learning_rate: float  # the peak
    seconds: float = np.nan
    compile_seconds: float = np.nan
    weights: str = ""  # the ones that were tested: the last, or the best on dev; or their average
    diverged_at: int | None = None  # the step at which training diverged; then nothing was tested
    diverged: str = ""  # how it diverged
    evaluation_seconds: float = np.nan  # of the development part, with compilation
    checkpoint_seconds: float = np.nan  # but for the last one
    images_per_second: float = np.nan
    skipped: int = 0  # steps that were not finite, with --on-nan skip, or whose gradient was not, in float16


class PairDifference(NamedTuple):
    """The distance between the final parameters of twins, the first two optimizers, and the noise floor."""

    a: str
    b: str
    max_relative_difference: float
    max_ulps: float
    noise_floor_relative: float | None = None
    noise_floor_ulps: float | None = None


class PartSizes(NamedTuple):
    """Number of examples in each part."""

    train: int
    dev: int
    test: int


class RunSummary(NamedTuple):
    """summary.json."""

    dataset: str
    model: str
    parameters: int
    examples: PartSizes
    rows: list[OptimizerResult]
    parameter_table: list[LayerRow]
    pair: PairDifference | None = None
    note: str = ""  # of the data set
    task: Task = "classes"  # others with --targets


class RunContents(NamedTuple):
    """The contents of a finished run folder."""

    config: dict[str, Any]
    manifest: Manifest
    summary: RunSummary
    metrics: dict[str, np.ndarray]  # one entry per field of `Measurement`, all of one length
    predictions: dict[str, np.ndarray]

    @property
    def names(self) -> list[str]:
        """Return the optimizers' labels in the order of the summary."""
        return [row.optimizer for row in self.summary.rows]

    @property
    def tested(self) -> list[tuple[int, str]]:
        """Return number and label of the optimizers that did not diverge."""
        return [(i, row.optimizer) for i, row in enumerate(self.summary.rows) if row.diverged_at is None]


def keep_first(table: records.Table[Measurement], counts: Mapping[str, int]) -> None:
    """Drop the rows that an interrupted run wrote after its last checkpoints, and all test rows.

    Args:
        table: metrics.csv.
        counts: number of rows of each optimizer at its checkpoint. The step does not tell: a checkpoint at the last
            step of an epoch may be from before or after that step's rows.
    """
    seen = collections.Counter()

    def wanted(row: Measurement) -> bool:
        seen[row.optimizer] += 1
        return row.split != "test" and seen[row.optimizer] <= counts.get(row.optimizer, 0)

    table.keep(wanted)


def rows_until(table: records.Table[Measurement], optimizer: str, step: int) -> int:
    """Return an optimizer's rows up to a step: those of a checkpoint by a version that did not count them."""
    return sum(row.optimizer == optimizer and row.split != "test" and row.step <= step for row in table.rows)


def keep_until(table: records.Table[LayerMeasurement], steps: Mapping[str, int]) -> None:
    """Drop the rows of layers.csv after each optimizer's checkpoint."""
    table.keep(lambda row: row.step <= steps.get(row.optimizer, 0))


def arrange(table: records.Table[Measurement], optimizers: Sequence[str]) -> None:
    """Sort the rows into the order of an uninterrupted run.

    They are out of order if a corrupt checkpoint threw one optimizer further back than another.
    """
    place = {name: i for i, name in enumerate(optimizers)}

    def key(row: Measurement) -> tuple[bool, int, int]:
        test = row.split == "test"
        return test, 0 if test else row.epoch, place[row.optimizer]

    table.sort(key)


def read(folder: Path) -> RunContents:
    """Read and check the five files.

    Raises:
        ValueError: if one is missing or damaged; the message names it.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; give the folder of a run")
    config, manifest = records.read_json(folder / CONFIG), records.read_record(folder / MANIFEST, Manifest)
    summary = read_summary(folder)
    tested = [i for i, row in enumerate(summary.rows) if row.diverged_at is None]
    metrics = _metrics(folder / METRICS, [summary.rows[i].optimizer for i in tested])
    read_arrays = read_predictions if summary.task == "classes" else read_outputs
    return RunContents(config, manifest, summary, metrics, read_arrays(folder / PREDICTIONS, tested))


def read_summary(folder: Path) -> RunSummary:
    """Read summary.json.

    Raises:
        ValueError: if a field is missing or wrong; the message names it.
    """
    summary = records.read_record(folder / SUMMARY, RunSummary)
    names = [row.optimizer for row in summary.rows]
    if not names or len(set(names)) < len(names):
        path = folder / SUMMARY
        raise ValueError(f"{path}: rows must name at least one optimizer and each only once, got {shortened(names)}")
    if min(summary.examples) < 0:
        raise ValueError(f"{folder / SUMMARY}: examples must be numbers of at least 0, got {summary.examples}")
    for row in summary.rows:
        if not (math.isnan(row.test_accuracy) or 0 <= row.test_accuracy <= 1):
            raise ValueError(f"{folder / SUMMARY}: test_accuracy must lie from 0 to 1, got {row.test_accuracy}")
    return summary


def _metrics(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    rows = records.read_table(path, Measurement)
    there = {row.optimizer for row in rows}
    if absent := [name for name in names if name not in there]:
        raise ValueError(
            f"{path}: no rows of {shortened(absent[0])}, which summary.json names; there are {shortened(sorted(there))}"
        )
    return {name: np.array([getattr(row, name) for row in rows]) for name in Measurement._fields}


def read_predictions(path: Path, tested: Sequence[int]) -> dict[str, np.ndarray]:
    """Read and check the predictions of the optimizers in some rows of the summary.

    Raises:
        ValueError: naming the file, if it is damaged or its arrays do not fit each other.
    """
    arrays = disk.read_arrays(path)
    n, k = np.size(arrays.get("labels", ())), np.size(arrays.get("classes", ()))
    _shape(path, arrays, "labels", (n,), "iu")
    _shape(path, arrays, "classes", (k,), "U")
    if not n or arrays["labels"].min() < 0 or arrays["labels"].max() >= k:
        raise ValueError(f"{path}: labels must hold at least one label, each from 0 to {k - 1} ({k} classes)")
    for i in tested:
        _shape(path, arrays, f"probabilities_{i}", (n, k), "f")
        _check_mistakes(path, arrays, i)
        if f"filters_{i}" in arrays:
            _shape(path, arrays, f"filters_{i}", (None, None, None, None), "f")
            if not arrays[f"filters_{i}"].size:
                raise ValueError(f"{path}: filters_{i} has no elements, its shape is {arrays[f'filters_{i}'].shape}")
    return arrays


def read_outputs(path: Path, tested: Sequence[int]) -> dict[str, np.ndarray]:
    """Read and check the outputs for targets of the optimizers in some rows of the summary.

    Raises:
        ValueError: naming the file, if it is damaged or its arrays do not fit each other.
    """
    arrays = disk.read_arrays(path)
    n, t = len(np.atleast_1d(arrays.get("targets", ()))), np.size(arrays.get("names", ()))
    _shape(path, arrays, "targets", (n, t), "f")
    _shape(path, arrays, "names", (t,), "U")
    if not n or not t:
        raise ValueError(f"{path}: targets must hold at least one number")
    for i in tested:
        _shape(path, arrays, f"outputs_{i}", (n, t), "f")
        if f"filters_{i}" in arrays:
            _shape(path, arrays, f"filters_{i}", (None, None, None, None), "f")
            if not arrays[f"filters_{i}"].size:
                raise ValueError(f"{path}: filters_{i} has no elements, its shape is {arrays[f'filters_{i}'].shape}")
    return arrays


def _check_mistakes(path: Path, arrays: dict[str, np.ndarray], i: int) -> None:
    n, m = len(arrays["labels"]), np.size(arrays.get(f"mistake_index_{i}", ()))
    if m == 0 and f"mistake_index_{i}" in arrays:  # the dtype of an empty list is arbitrary
        arrays[f"mistake_index_{i}"] = np.zeros(0, np.int64)
        return
    _shape(path, arrays, f"mistake_index_{i}", (m,), "iu")
    _shape(path, arrays, f"mistake_images_{i}", (m, None, None, None), "f")
    if not arrays[f"mistake_images_{i}"].size:
        raise ValueError(f"{path}: mistake_images_{i} has no pixels")
    index = arrays[f"mistake_index_{i}"]
    if index.min() < 0 or index.max() >= n:
        raise ValueError(f"{path}: mistake_index_{i} must lie from 0 to {n - 1}, got {index.min()}..{index.max()}")


def _shape(path: Path, arrays: dict[str, np.ndarray], name: str, shape: Sequence[int | None], kinds: str) -> None:
    """Raise ValueError unless the array exists with the shape (None: any size) and one of numpy's kinds."""
    if name not in arrays:
        raise ValueError(f"{path}: the array {name} is missing; there are {', '.join(sorted(arrays))}")
    array, kind = arrays[name], {"iu": "integers", "U": "text", "f": "floating-point numbers"}[kinds]
    fits = len(array.shape) == len(shape) and all(map(lambda h, w: w in (None, h), array.shape, shape))
    if not fits or array.dtype.kind not in kinds:
        wanted = tuple("any" if w is None else w for w in shape)
        raise ValueError(f"{path}: {name} must be {kind} of shape {wanted}, got {array.dtype} {array.shape}")


def confusion_counts(labels: np.ndarray, predicted: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of examples of each class (rows) that were called each class (columns), and the classes.

    These are all k, or beyond `MATRIX` those that occur: a file of a few examples may name any number of classes.
    """
    there = np.arange(k) if k <= MATRIX else np.union1d(labels, predicted).astype(np.int64)
    true, called, n = np.searchsorted(there, labels), np.searchsorted(there, predicted), len(there)
    return np.bincount(true * n + called, minlength=n * n).reshape(n, n), there

"""The section of a report on the targets of `--targets`: labels, or numbers."""

import math
from pathlib import Path

import numpy as np

from experiments.train_cnn.records import RunContents
from jaxdl import metrics
from jaxdl.runs import pages


def write(run: RunContents, folder: Path) -> list[str]:
    """Return the figures per target on the test part: those of labels, or those of numbers."""
    del folder
    found, labels = run.predictions, run.summary.task == "labels"
    rows = [
        [name, *cells]
        for i, name in run.tested
        for cells in (_of_labels if labels else _of_numbers)(found[f"outputs_{i}"], found["targets"], found["names"])
    ]
    if not rows:
        return []
    if labels:
        said = "An output counts as positive above a probability of a half. The area under the ROC curve is the chance "
        said += "that a positive example has the higher output of a pair; it is undefined where all are alike."
        header = ["positive", "accuracy (%)", "precision (%)", "recall (%)", "F1 (%)", "area under ROC"]
    else:
        said = "R² is the share of the target's variance on the test part that the outputs explain."
        header = ["mean", "standard deviation", "mean absolute error", "root mean square error", "R²"]
    return ["## Targets", said, pages.table(["optimizer", "target", *header], rows, left=2)]


def _of_labels(outputs: np.ndarray, targets: np.ndarray, names: np.ndarray) -> list[list[str]]:
    rows = []
    for name, p, y in zip(names, outputs.T, targets.T, strict=True):
        guess, truth = p > 0.5, y > 0.5
        hits, guessed, positive = int((guess & truth).sum()), int(guess.sum()), int(truth.sum())
        of = lambda part, whole: pages.shown(100 * part / whole if whole else math.nan, ".2f")
        area = float(metrics.roc_auc(p, truth))
        cells = [of((guess == truth).sum(), len(y)), of(hits, guessed), of(hits, positive)]
        rows.append([str(name), f"{positive:,}", *cells, of(2 * hits, guessed + positive), pages.shown(area, ".4f")])
    return rows


def _of_numbers(outputs: np.ndarray, targets: np.ndarray, names: np.ndarray) -> list[list[str]]:
    y = targets.astype(np.float64)
    error, spread = outputs - y, y.std(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r_squared = np.where(spread > 0, 1 - np.square(error).mean(0) / np.square(spread), np.nan)
    figures = (y.mean(0), spread, np.abs(error).mean(0), np.sqrt(np.square(error).mean(0)), r_squared)
    return [
        [str(name), *(pages.shown(float(one[i]), ".4g") for one in figures)] for i, name in enumerate(names.tolist())
    ]

"""The report of a run: ``report.md`` with its figures, and ``report.html``, the same in one file.

`write` is a pure function of the files that `experiments.train_cnn.records` describes, so calling it again gives the
same bytes. The page is self-contained, runs no script and escapes names from the data, so it can be mailed as it is.
This module imports matplotlib, which takes over a second: import it where a report is written, not at the top of a
command.
"""

import itertools
import math
import os
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from experiments.train_cnn import records, seeds, target_scores
from experiments.train_cnn.records import OptimizerResult, RunContents
from jaxdl import metrics, plots
from jaxdl.runs import folder as folders
from jaxdl.runs import pages
from jaxdl.runs.progress import decimals
from jaxdl.runs.records import read_json, read_record, read_table
from jaxdl.studies.proportions import mcnemar
from jaxdl.texts import quoted

# of curves: column and factor
LABELS: dict[str, tuple[str, int]] = {"loss (nats)": ("loss", 1), "accuracy (%)": ("accuracy", 100)}
LOSS_ALONE: dict[str, tuple[str, int]] = {"loss": ("loss", 1)}
MISTAKES = 24  # four rows of six, as many as a reader looks through
CLASSES = 20  # of the table of precision and recall
TOP = 5
NOTES = {
    "classes": [
        "The interval is Wilson's: it covers the chance in which examples were tested, not the choice of seed."
    ],
    "labels": ["The accuracy is the mean over all labels of an image, most of which may be 0."],
    "numbers": [],
}
BINS = 10  # of the reliability diagram


def write(folder: str | Path) -> Path:
    """Write ``figures/*.png``, ``report.md`` and ``report.html`` into a run folder.

    Args:
        folder: a run folder of `experiments.train_cnn`.

    Returns:
        The path of report.html.

    Raises:
        ValueError: a file is missing or malformed; the message names the file and what is wrong.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; give the folder of a run")
    config = folder / folders.CONFIG
    if config.exists() and read_record(config, seeds.SeveralSeeds).seeds > 1:
        return seeds.write(folder)
    if not os.path.lexists(folder / records.SUMMARY):
        return pages.write(folder, _unfinished(folder))
    run = records.read(folder)
    of_task = (_classes, _calibration, _mistakes, _confusion)
    of_task = of_task if run.summary.task == "classes" else (target_scores.write,)
    sections = (_results, _pair, _better, _curves, _time, *of_task, _filters, _layers, _parameters)
    parts = [part for section in sections for part in section(run, folder)]
    return pages.write(folder, [*parts, *pages.made(run.manifest, run.config)])


def _unfinished(folder: Path) -> list[str]:
    """Return the page of a run that has not finished: its last rows and its curves."""
    rows = read_table(folder / records.METRICS, records.Measurement, unfinished=True)
    names = list(dict.fromkeys(row.optimizer for row in rows))
    labels = _labels([row.accuracy for row in rows])
    if not rows:
        raise ValueError(f"{folder}: has not finished and has no rows yet; resume it with --resume {quoted(folder)}")
    header = ["optimizer", "part", "epoch", "step", "loss (nats)", "accuracy (%)", "learning rate", "seconds"]
    cells, drawn = [], {}
    for name in names:
        of_split = {split: [r for r in rows if (r.optimizer, r.split) == (name, split)] for split in ("train", "dev")}
        of_split = {split: found for split, found in of_split.items() if found}
        cells += [
            [name, split, str(r.epoch + 1), f"{r.step:,}", decimals(r.loss), pages.shown(100 * r.accuracy, ".2f"),
             pages.shown(r.learning_rate, ".4g"), pages.shown(r.seconds, ".4g")]
            for split, found in of_split.items() for r in found[-1:]
        ]  # fmt: skip
        drawn[name] = {
            label: {
                split: (np.array([r.step for r in found]), np.array([scale * getattr(r, column) for r in found]))
                for split, found in of_split.items()
            }
            for label, (column, scale) in labels.items()
        }
    config, manifest = read_json(folder / folders.CONFIG), read_record(folder / folders.MANIFEST, folders.Manifest)
    figure = plots.learning_curves(drawn, xlabel="step", together=True)
    alt = f"Learning curves of {' and '.join(names)} so far: {' and '.join(labels)} against steps"
    return [
        f"# {pages.plain(str(config.get('model')))} on {pages.plain(str(config.get('dataset')))}, unfinished",
        f"This run goes on with {pages.plain(f'--resume {quoted(folder)}')}. The last row of each part:",
        pages.table(header, cells, left=2),
        "## Learning curves",
        pages.figure(folder, "learning_curves", figure, alt, chart=True),
        *pages.made(manifest, config),
    ]


def _results(run: RunContents, folder: Path) -> list[str]:
    del folder
    summary, examples = run.summary, run.summary.examples
    sizes = f"{examples.train:,} training, {examples.dev:,} development and {examples.test:,} test examples"
    loss = "test loss" if summary.task == "numbers" else "test loss (nats)"
    header = ["optimizer", "test accuracy (%)", "95 % interval (%)", loss, "steps", "epochs",
              "learning rate", "weights"]  # fmt: skip
    rows = [
        [r.optimizer, pages.shown(100 * r.test_accuracy, ".2f"),
         interval(r.test_accuracy, examples.test if summary.task == "classes" else 0),
         decimals(r.test_loss) if math.isfinite(r.test_loss) else "–", f"{r.steps:,}", pages.shown(r.epochs, ".4g"),
         pages.shown(r.learning_rate),
         r.weights or ("–" if r.diverged_at is None else f"diverged at step {r.diverged_at:,}")]
        for r in summary.rows
    ]  # fmt: skip
    title = f"{summary.model} on {summary.dataset}: {' and '.join(run.names)}"
    ended = [f"{pages.plain(r.optimizer)} diverged: {pages.plain(r.diverged)}." for r in summary.rows if r.diverged]
    ended += [
        f"{pages.plain(r.optimizer)} skipped {r.skipped:,} of its {r.steps:,} steps, which were not finite."
        for r in summary.rows
        if r.skipped
    ]
    return [
        f"# {pages.plain(title)}",
        f"{summary.parameters:,} parameters; {sizes}.",
        pages.table(header, rows),
        *ended,
        *NOTES[summary.task],
    ]


def interval(accuracy: float, n: int) -> str:
    """Format Wilson's 95 % score interval in percent."""
    if not n or not math.isfinite(accuracy):
        return "–"
    ends = stats.binomtest(round(accuracy * n), n).proportion_ci(0.95, method="wilson")
    return f"{100 * ends.low:.2f} to {100 * ends.high:.2f}"


def _pair(run: RunContents, folder: Path) -> list[str]:
    del folder
    pair = run.summary.pair
    if pair is None:
        return []
    floor = pair.noise_floor_ulps
    rows = [
        ["largest relative difference", *map(pages.rounded, (pair.max_relative_difference, pair.noise_floor_relative))],
        ["largest difference (ulps at leaf scale)", *map(pages.rounded, (pair.max_ulps, floor))],
    ]
    a, b = pages.plain(pair.a), pages.plain(pair.b)
    verdict = "No noise floor was measured."
    if floor is not None:
        above = not pair.max_ulps <= floor  # NaN counts as above
        verdict = f"The difference is {'**above**' if above else '**not above**'} that noise floor."
    return [
        f"## Is it the same algorithm? {a} against {b}",
        "Both start from the same parameters and see the same batches. The noise floor is the difference of "
        f"one of them from itself, started with one leaf moved by one ulp. {verdict}",
        pages.table(["measure", "difference", "noise floor"], rows),
    ]


def _better(run: RunContents, folder: Path) -> list[str]:
    """Compare all pairs except twins."""
    del folder
    twins, p = run.summary.pair, run.predictions
    if run.summary.task != "classes":
        return []
    hits = {name: p[f"probabilities_{i}"].argmax(1) == p["labels"] for i, name in run.tested}
    rows = []
    for a, b in itertools.combinations(hits, 2):
        if twins is not None and (a, b) == (twins.a, twins.b):
            continue
        found = mcnemar(hits[a], hits[b])
        estimate, low, high = (100 * end for end in found.difference)
        apart = "not told apart" if low <= 0 <= high else f"{a if low > 0 else b} is better"
        rows.append([a, b, f"{found.only_first:,}", f"{found.only_second:,}", f"{estimate:+.2f}",
                     f"{low:+.2f} to {high:+.2f}", f"{found.p_value:.2g}", apart])  # fmt: skip
    if not rows:
        return []
    header = ["first", "second", "only first right", "only second right", "first less second (%)",
              "95 % interval (%)", "p", "verdict"]  # fmt: skip
    return [
        "## Which is better?",
        "Test accuracies compared on the same examples: p is that of McNemar's exact test, and the interval of the "
        "difference is Newcombe's. Both cover the chance in which examples were tested, not the choice of seed. Of "
        "equal pairs, one in twenty is told apart by chance.",
        pages.table(header, rows, left=2),
    ]


def _curves(run: RunContents, folder: Path) -> list[str]:
    drawn = {
        row.optimizer: {
            label: {
                split: (_epochs(run, row)[rows], scale * run.metrics[column][rows])
                for split in ("train", "dev")
                if (rows := _rows(run, row.optimizer, split)).any()
            }
            for label, (column, scale) in _labels(run.metrics["accuracy"]).items()
        }
        for row in run.summary.rows
    }
    rates = {
        row.optimizer: (_epochs(run, row)[rows], run.metrics["learning_rate"][rows])
        for row in run.summary.rows
        if (rows := _rows(run, row.optimizer, "train")).any()
    }
    names = " and ".join(run.names)
    parts = ["## Learning curves"]
    if any(splits for curves in drawn.values() for splits in curves.values()):
        shown = " and ".join(_labels(run.metrics["accuracy"]))
        alt = f"Learning curves of {names}: {shown} on training and development part against epochs"
        figure = plots.learning_curves(drawn, together=True)
        parts.append(pages.figure(folder, "learning_curves", figure, alt, chart=True))
    if rates:
        figure = plots.curves(rates, xlabel="epoch", ylabel="learning rate (no unit)")
        alt = f"Learning rate of {names} against epochs"
        parts.append(pages.figure(folder, "learning_rate", figure, alt, chart=True))
    return parts


def _labels(accuracies: ArrayLike) -> dict[str, tuple[str, int]]:
    """Return what curves show: the loss alone where nothing else was measured."""
    return LABELS if np.isfinite(accuracies).any() else LOSS_ALONE


def _time(run: RunContents, folder: Path) -> list[str]:
    """Return the seconds of each phase with their shares, and the speed of the steps."""
    del folder
    rows = []
    for r in run.summary.rows:
        phases = (r.compile_seconds, r.seconds, r.evaluation_seconds, r.checkpoint_seconds)
        total = sum(seconds for seconds in phases if math.isfinite(seconds))
        shares = [f"{s:.4g} ({100 * s / total:.0f} %)" if math.isfinite(s) and total else "–" for s in phases]
        rows.append(
            [r.optimizer, *shares, *(pages.shown(n, ",.1f") for n in (r.steps_per_second, r.images_per_second))]
        )
    header = ["optimizer", "compilation (s)", "steps (s)", "evaluation (s)", "checkpoints (s)", "steps per second",
              "images per second"]  # fmt: skip
    said = "Evaluation, of the development part, includes its own compilation, and steps include waiting for data. "
    rest = "Reading the data set, the last checkpoint, the test and this report are not counted."
    return ["## Time", f"{said}{rest}", pages.table(header, rows)]


def _rows(run: RunContents, name: str, split: str) -> np.ndarray:
    return (run.metrics["optimizer"] == name) & (run.metrics["split"] == split)


def _epochs(run: RunContents, row: OptimizerResult) -> np.ndarray:
    """Return fractional epochs, computed from the steps, since the epoch column holds the current epoch's number."""
    return run.metrics["step"] * (row.epochs / max(1, row.steps))


def _classes(run: RunContents, folder: Path) -> list[str]:
    """Return precision, recall and F1 of each class; of many classes, those with the lowest F1."""
    del folder
    p, every = run.predictions, run.predictions["classes"]
    rows = []
    for i, name in run.tested:
        counts, there = records.confusion_counts(p["labels"], p[f"probabilities_{i}"].argmax(1), len(every))
        classes = [str(one) for one in every[there]]
        found = metrics.scores(counts)
        precision, recall, f1, support = (np.asarray(values) for values in found)
        shown = range(len(classes)) if len(classes) <= CLASSES else np.argsort(f1, kind="stable")[:CLASSES]
        rows += [
            [name, classes[j], f"{support[j]:,.0f}", *(f"{100 * v[j]:.2f}" for v in (precision, recall, f1))]
            for j in shown
        ]
    if not rows:
        return []
    few = f" The table has the {CLASSES} of {len(every):,} with the lowest F1." if len(every) > CLASSES else ""
    few = f"{few[:-1]} among those that occur." if len(every) > records.MATRIX else few
    header = ["optimizer", "class", "test examples", "precision (%)", "recall (%)", "F1 (%)"]
    said = "Precision is the share of the examples called a class that belong to it, and recall the share of its "
    return ["## Classes", f"{said}examples that were called it; F1 is their harmonic mean.{few}",
            pages.table(header, rows, left=2)]  # fmt: skip


def _calibration(run: RunContents, folder: Path) -> list[str]:
    """Return the reliability diagram, the calibration error and, of more than five classes, the top-5 accuracy."""
    p, rows, drawn = run.predictions, [], {}
    many = len(p["classes"]) > TOP
    for i, name in run.tested:
        probabilities, labels = p[f"probabilities_{i}"], p["labels"]
        logits = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))  # their softmax is the probabilities
        sums = metrics.calibration_bins(logits, labels, bins=BINS)
        found = metrics.reliability(sums)
        there = np.asarray(sums.count) > 0
        drawn[name] = tuple(100 * np.asarray(values)[there] for values in (found.confidence, found.accuracy))
        top = (
            [f"{100 * float(metrics.ratio(metrics.top_k_accuracy(probabilities, labels, k=TOP))):.2f}"] if many else []
        )
        error = 100 * float(metrics.calibration_error(sums))
        rows.append([name, *top, f"{100 * float(probabilities.max(1).mean()):.2f}", f"{error:.2f}"])
    if not rows:
        return []
    header = ["optimizer", *([f"top-{TOP} accuracy (%)"] if many else []), "mean confidence (%)",
              "calibration error (%)"]  # fmt: skip
    line = np.array([0.0, 100.0])
    figure = plots.curves(drawn | {"calibrated": (line, line)}, xlabel="confidence (%)", ylabel="accuracy (%)")
    alt = f"Accuracy of {' and '.join(drawn)} against their confidence, beside the diagonal of a calibrated network"
    return [
        "## Confidence",
        f"Test examples are sorted by the probability of the predicted class into {BINS} equal bins; of a calibrated "
        "network, the accuracy in each is the mean probability. The calibration error is the mean distance, weighted "
        "by examples.",
        pages.table(header, rows),
        pages.figure(folder, "reliability", figure, alt, chart=True),
    ]


def _mistakes(run: RunContents, folder: Path) -> list[str]:
    parts = ["## Most confident mistakes"] if run.tested else []
    p, classes = run.predictions, [str(c) for c in run.predictions["classes"]]
    for i, name in run.tested:
        probabilities, labels, index = p[f"probabilities_{i}"], p["labels"], p[f"mistake_index_{i}"]
        predicted = probabilities.argmax(1)
        wrong = int((predicted != labels).sum())
        confidence = probabilities.max(1)
        order = np.argsort(-confidence[index], kind="stable")[:MISTAKES]
        said = f"{wrong:,} of {len(labels):,} test examples are wrong" if wrong else "No test example is wrong"
        parts.append(f"{pages.plain(name)}: {said}.")
        if not len(order):
            continue
        shown = index[order]
        captions = [
            f"{plots.shorten(classes[predicted[j]], 12)}: {100 * confidence[j]:.1f} %\ntrue: {classes[labels[j]]}"
            for j in shown
        ]
        note = "first line: predicted class with its probability"
        figure = plots.image_grid(p[f"mistake_images_{i}"][order], captions, title=name, note=note)
        first = captions[0].replace("\n", ", ")
        alt = f"The {len(shown)} most confident mistakes of {name}, the first predicted as {first}"
        parts.append(pages.figure(folder, f"mistakes_{i}", figure, alt))
    return parts


def _confusion(run: RunContents, folder: Path) -> list[str]:
    p, every = run.predictions, run.predictions["classes"]
    figures, tables = [], []
    for i, name in run.tested:
        counts, there = records.confusion_counts(p["labels"], p[f"probabilities_{i}"].argmax(1), len(every))
        classes = [str(one) for one in every[there]]
        if len(every) <= records.MATRIX:
            figure = plots.confusion_matrix(counts, classes, title=name)
            alt = f"Confusion matrix of {name} on the test part: true class against predicted class"
            figures.append(pages.figure(folder, f"confusion_matrix_{i}", figure, alt, chart=True))
        wrong = counts - np.diag(np.diag(counts))
        worst = [np.unravel_index(j, counts.shape) for j in np.argsort(-wrong.ravel(), kind="stable")[:5]]
        tables += [
            [name, classes[t], classes[q], f"{wrong[t, q]:,}", f"{100 * wrong[t, q] / counts[t].sum():.1f}"]
            for t, q in worst
            if wrong[t, q]
        ]
    header = ["optimizer", "true class", "predicted class", "examples", "share of the true class (%)"]
    names = ["The most frequent confusions:", pages.table(header, tables, left=3)] if tables else []
    return ["## Confusion matrix", *(["\n".join(figures)] if figures else []), *names] if figures or names else []


def _filters(run: RunContents, folder: Path) -> list[str]:
    parts = []
    for i, name in run.tested:
        if (kernels := run.predictions.get(f"filters_{i}")) is not None:
            alt = f"The filters of the first convolution, trained by {name}"
            parts.append(pages.figure(folder, f"filters_{i}", plots.filters(kernels, title=name), alt))
    return ["## First-layer filters", "\n".join(parts)] if parts else []


def _layers(run: RunContents, folder: Path) -> list[str]:
    """Return the last rows of layers.csv, if there are any."""
    path = folder / records.LAYERS
    rows = read_table(path, records.LayerMeasurement) if path.exists() else []
    last = {name: max((row.step for row in rows if row.optimizer == name), default=0) for name in run.names}
    cells = [
        [row.optimizer, row.layer, f"{row.step:,}", f"{row.gradient_norm:.3g}", f"{row.update_ratio:.3g}"]
        for row in rows
        if row.step == last.get(row.optimizer)
    ]
    header = ["optimizer", "layer", "step", "norm of the gradient", "update over weights"]
    said = "Of the last step; layers.csv has those of every train row."
    return ["## Layers", said, pages.table(header, cells, left=2)] if cells else []


def _parameters(run: RunContents, folder: Path) -> list[str]:
    del folder
    rows = [
        [layer.layer, layer.op, " × ".join(map(str, layer.output)), f"{layer.parameters:,}"]
        for layer in run.summary.parameter_table
    ]
    rows.append(["total", "", "", f"{run.summary.parameters:,}"])
    return ["## Parameters", pages.table(["layer", "operation", "output", "parameters"], rows, left=3)]

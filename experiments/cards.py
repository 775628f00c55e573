"""The model card that `experiments.export` writes beside a network's files: README.md.

Names come from the run folder, which may be somebody else's; they are escaped as in reports.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

from experiments.train_cnn import records as train_records
from experiments.train_cnn import report
from jaxdl import metrics, runs
from jaxdl.analysis import count_parameters
from jaxdl.runs import folder as folders
from jaxdl.runs import pages
from jaxdl.runs.records import read_record

FILE: Final = "README.md"
FILES: Final = {"stablehlo": "model.stablehlo", "safetensors": "model.safetensors", "linen": "linen.msgpack"}
HOLDS: Final = {
    "stablehlo": "network, weights and preprocessing for CPU and CUDA (jax.export)",
    "safetensors": "weights",
    "linen": "variables of a flax module",
}


OUTPUTS: Final = {
    "classes": "There is an output per class, before the softmax.",
    "labels": "There is an output per label, before the sigmoid.",
    "numbers": "There is an output per number.",
}


def card(folder: Path, run: runs.Run, out: Path, formats: Iterable[str]) -> str:
    """Return the text of the card.

    Args:
        folder: the run folder.
        run: its network.
        out: the folder with the files.
        formats: which there are, keys of `FILES`.
    """
    formats = list(formats)
    manifest = (
        read_record(folder / folders.MANIFEST, folders.Manifest) if (folder / folders.MANIFEST).exists() else None
    )
    about = manifest.data if manifest is not None else None
    name = pages.plain(str(run.config["model"]))
    on = f" on {pages.plain(about.name)}" if about is not None else ""
    parts = [
        f"# {name}{on}",
        f"{count_parameters(run.layer, run.in_shape):,} parameters, trained by {pages.plain(run.optimizer)}"
        + (f"; unfinished, weights: {pages.plain(run.unfinished)}." if run.unfinished else "."),
        "## Files",
        _files(out, formats),
        *_inputs(run),
        "## How to load",
        *(part for one in formats for part in _loading(one, run)),
        *_data(about),
        *_scores(folder, run),
        *(pages.made(manifest, run.config) if manifest is not None else ()),
    ]
    return "\n\n".join(parts) + "\n"


def _files(out: Path, formats: list[str]) -> str:
    rows = []
    for one in formats:
        content = (out / FILES[one]).read_bytes()
        rows.append([FILES[one], HOLDS[one], f"{len(content):,}", hashlib.sha256(content).hexdigest()])
    return pages.table(["file", "holds", "bytes", "SHA-256"], rows, left=2)


def _inputs(run: runs.Run) -> list[str]:
    """Describe inputs and outputs."""
    height, width, channels = run.in_shape
    statistics = run.preprocessing.to_dict()
    kind = {1: "grey", 3: "RGB"}.get(channels, f"{channels}-channel")
    scale = pages.shown(statistics["scale"], "g")
    return [
        "## Inputs and outputs",
        f"Images are float32 of shape (n, {height}, {width}, {channels}), {kind}, channels last, with pixels from 0 to "
        f"{scale}. The network takes (pixel / {scale} − mean) / standard deviation of each channel; model.stablehlo "
        f"computes that itself. {OUTPUTS[runs.task(run.config)]}",
        pages.table(
            ["channel", "mean", "standard deviation"],
            [
                [str(i), pages.shown(mean, ".6g"), pages.shown(std, ".6g")]
                for i, (mean, std) in enumerate(zip(statistics["mean"], statistics["std"], strict=True))
            ],
        ),
        pages.table(["output", "name"], [[str(i), one] for i, one in enumerate(run.classes)], left=2),
    ]


def _loading(one: str, run: runs.Run) -> list[str]:
    """Return a heading's text and the code that loads a file."""
    net = f"runs.model({str(run.config['model'])!r}, {len(run.classes)})"
    file, shape = FILES[one], tuple(run.in_shape)
    return {
        "stablehlo": [
            "StableHLO, with JAX alone (docs.jax.dev/en/latest/export says which versions read it):",
            pages.code(
                "from jax import export\n\n"
                f'with open("{file}", "rb") as file:\n'
                "    network = export.deserialize(bytearray(file.read()))\n"
                "outputs = network.call(images)",
                "python",
            ),
        ],
        "safetensors": [
            "Weights, with jaxdl:",
            pages.code(
                "import jax\n\nfrom jaxdl import interop, runs\n\n"
                f"layer = {net}\n"
                f'params, state = interop.load("{file}", layer, {shape})\n'
                "outputs, _ = jax.jit(layer.apply)(params, state, normalized_images)",
                "python",
            ),
        ],
        "linen": [
            "A flax module, with jaxdl and flax:",
            pages.code(
                "import jax\nfrom flax import serialization\n\nfrom jaxdl import interop, runs\n\n"
                f"module = interop.to_linen({net})\n"
                f'with open("{file}", "rb") as file:\n'
                "    variables = serialization.msgpack_restore(file.read())\n"
                "outputs = jax.jit(module.apply)(variables, normalized_images)",
                "python",
            ),
        ],
    }[one]


def _data(about: folders.DataSource | None) -> list[str]:
    if about is None:
        return []
    rows = [[name, digest] for name, digest in about.sha256.items()]
    note = f": {pages.plain(about.note)}" if about.note else ""
    return [
        "## Data",
        f"{pages.plain(about.name)}{note}. The network was trained on a part of it; nothing is known about other "
        "kinds of images.",
        *([pages.table(["file or array", "SHA-256"], rows, left=2)] if rows else []),
    ]


def _scores(folder: Path, run: runs.Run) -> list[str]:
    """Return the scores on the test part, where a run of `experiments.train_cnn` has finished."""
    if run.unfinished or not (folder / train_records.SUMMARY).exists():
        return ["## Scores", "None yet: the run has not finished, and nothing was tested."]
    summary = train_records.read_summary(folder)
    number = next((i for i, row in enumerate(summary.rows) if row.optimizer == run.optimizer), None)
    if number is None:
        raise ValueError(f"{folder / train_records.SUMMARY}: has no row of {run.optimizer!r}")
    row = summary.rows[number]
    if summary.task != "classes":
        return [
            "## Scores",
            f"Test loss {row.test_loss:.4g}; report.html in the run folder has the figures per target.",
        ]
    found = train_records.read_predictions(folder / train_records.PREDICTIONS, [number])
    labels, predicted = found["labels"], found[f"probabilities_{number}"].argmax(1)
    percent = pages.shown(100 * row.test_accuracy, ".2f")
    said = (
        f"Test accuracy {percent} % (95 % interval {report.interval(row.test_accuracy, len(labels))} %, Wilson) on "
        f"{len(labels):,} images, test loss {row.test_loss:.4f}, after {row.steps:,} steps "
        f"({row.epochs:.4g} epochs); weights: "
    )
    return [
        "## Scores",
        f"{said}{pages.plain(row.weights or 'last')}.",
        _per_class(labels, predicted, run.classes),
    ]


def _per_class(labels: np.ndarray, predicted: np.ndarray, classes: tuple[str, ...]) -> str:
    counts, there = train_records.confusion_counts(labels, predicted, len(classes))
    precision, recall, f1, support = (np.asarray(values) for values in metrics.scores(counts))
    rows: list[list[Any]] = [
        [name, f"{support[i]:,.0f}", *(f"{100 * values[i]:.2f}" for values in (precision, recall, f1))]
        for i, name in enumerate(classes[number] for number in there)
    ]
    return pages.table(["class", "test examples", "precision (%)", "recall (%)", "F1 (%)"], rows)

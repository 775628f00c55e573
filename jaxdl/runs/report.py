"""The report of a run: ``report.md`` with its figures, and ``report.html``, the same in one file.

`write` is a pure function of the files that `jaxdl.runs.contents` describes: it can be called again at any
time and gives the same bytes. The page loads nothing, runs no script and shows names from the data as plain
text, so it can be mailed as it is. This module imports matplotlib, which takes over a second: import it where
a report is written and not at the top of a command.
"""

import base64
import html
import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markdown_it import MarkdownIt
from matplotlib.figure import Figure

from jaxdl import plots
from jaxdl.runs import contents
from jaxdl.runs.contents import Contents

MISTAKES = 24  # four rows of six: what a reader looks through


def write(folder: str | Path) -> Path:
    """Writes ``figures/*.png``, ``report.md`` and ``report.html`` into a run folder.

    Args:
        folder: a run folder, as `experiments.train_cnn` leaves it.

    Returns:
        The path of report.html.

    Raises:
        ValueError: a file is missing or malformed; the message names the file and what is wrong.
    """
    folder = Path(folder)
    run = contents.read(folder)
    (folder / "figures").mkdir(exist_ok=True)
    sections = (_results, _pair, _curves, _mistakes, _confusion, _filters, _parameters, _made)
    text = "\n\n".join(part for section in sections for part in section(run, folder)) + "\n"
    (folder / "report.md").write_text(text, encoding="utf-8")
    page = folder / "report.html"
    page.write_text(_html(text, folder), encoding="utf-8")
    return page


def _results(run: Contents, folder: Path) -> list[str]:
    del folder
    summary, examples = run.summary, run.summary["examples"]
    sizes = "{train:,} training, {dev:,} development and {test:,} test examples".format(**examples)
    extra = [k for k, v in summary["rows"][0].items() if k not in contents.ROW and isinstance(v, str | int | float)]
    header = ["optimizer", "test accuracy (%)", "95 % interval (%)", "test loss (nats)", "steps", "epochs",
              "steps per second", "learning rate", *map(_words, extra)]  # fmt: skip
    rows = [
        [r["optimizer"], f"{100 * r['test_accuracy']:.2f}", _interval(r["test_accuracy"], examples["test"]),
         f"{r['test_loss']:.4f}", f"{r['steps']:,}", _value(r["epochs"]), f"{r['steps_per_second']:.1f}",
         _value(r["learning_rate"]), *(_rounded(r.get(k)) for k in extra)]
        for r in summary["rows"]
    ]  # fmt: skip
    return [
        f"# {_plain(summary['model'])} on {_plain(summary['dataset'])}: {_plain(' and '.join(run.names))}",
        f"{summary['parameters']:,} parameters; {sizes}.",
        _table(header, rows),
        "The interval is Wilson's: it covers the chance in which examples were tested, not the choice of seed.",
    ]


def _interval(accuracy: float, n: int) -> str:
    """Wilson's 95 % score interval (E. B. Wilson, Probable inference, 1927), in percent."""
    if not n or not math.isfinite(accuracy):
        return "–"
    z = 1.959964
    middle = (accuracy + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(accuracy * (1 - accuracy) / n + z * z / (4 * n * n))
    return f"{100 * (middle - half):.2f} to {100 * (middle + half):.2f}"


def _pair(run: Contents, folder: Path) -> list[str]:
    pair = run.summary.get("pair")
    if pair is None:
        return []
    floors = (pair.get("noise_floor_relative"), pair.get("noise_floor_ulps"))
    rows = [
        ["largest relative difference", _rounded(pair["max_relative_difference"]), _rounded(floors[0])],
        ["largest difference (ulps at leaf scale)", _rounded(pair["max_ulps"]), _rounded(floors[1])],
    ]
    known = (*contents.PAIR, "noise_floor_relative", "noise_floor_ulps")
    rows += [[_words(k), _rounded(v), ""] for k, v in pair.items() if k not in known]
    a, b = _plain(pair["a"]), _plain(pair["b"])
    verdict = "No noise floor was measured."
    if floors[1] is not None:
        above = not pair["max_ulps"] <= floors[1]  # NaN counts as above
        verdict = f"The difference is {'**above**' if above else '**not above**'} that noise floor."
    return [
        f"## Is it the same algorithm? {a} against {b}",
        "Both start from the same parameters and see the same batches. The noise floor is the difference of "
        f"one of them from itself, started with one leaf moved by one ulp. {verdict}",
        _table(["measure", "difference", "noise floor"], rows),
    ]


def _curves(run: Contents, folder: Path) -> list[str]:
    labels = {"loss (nats)": ("loss", 1), "accuracy (%)": ("accuracy", 100)}
    drawn = {
        row["optimizer"]: {
            label: {
                split: (_epochs(run, row)[rows], scale * run.metrics[column][rows])
                for split in ("train", "dev")
                if (rows := _rows(run, row["optimizer"], split)).any()
            }
            for label, (column, scale) in labels.items()
        }
        for row in run.summary["rows"]
    }
    rates = {
        row["optimizer"]: (_epochs(run, row)[rows], run.metrics["learning_rate"][rows])
        for row in run.summary["rows"]
        if (rows := _rows(run, row["optimizer"], "train")).any()
    }
    names = " and ".join(run.names)
    parts = ["## Learning curves"]
    if any(splits for curves in drawn.values() for splits in curves.values()):
        alt = f"Learning curves of {names}: loss and accuracy on training and development part against epochs"
        parts.append(_figure(folder, "learning_curves", plots.learning_curves(drawn), alt))
    if rates:
        figure = plots.curves(rates, xlabel="epoch", ylabel="learning rate (no unit)")
        parts.append(_figure(folder, "learning_rate", figure, f"Learning rate of {names} against epochs"))
    return parts


def _rows(run: Contents, name: str, split: str) -> np.ndarray:
    return (run.metrics["optimizer"] == name) & (run.metrics["split"] == split)


def _epochs(run: Contents, row: dict[str, Any]) -> np.ndarray:
    """Epochs with fractions, from the steps: the epoch column may be the number of the epoch under way."""
    return run.metrics["step"] * (row["epochs"] / max(1, row["steps"]))


def _mistakes(run: Contents, folder: Path) -> list[str]:
    parts = ["## Most confident mistakes"]
    p, classes = run.predictions, [str(c) for c in run.predictions["classes"]]
    for i, name in enumerate(run.names):
        probabilities, labels, index = p[f"probabilities_{i}"], p["labels"], p[f"mistake_index_{i}"]
        predicted = probabilities.argmax(1)
        wrong = int((predicted != labels).sum())
        confidence = probabilities.max(1)
        order = np.argsort(-confidence[index], kind="stable")[:MISTAKES]
        said = f"{wrong:,} of {len(labels):,} test examples are wrong" if wrong else "No test example is wrong"
        parts.append(f"{_plain(name)}: {said}.")
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
        parts.append(_figure(folder, f"mistakes_{i}", figure, alt))
    return parts


def _confusion(run: Contents, folder: Path) -> list[str]:
    p, classes = run.predictions, [str(c) for c in run.predictions["classes"]]
    figures, tables = [], []
    for i, name in enumerate(run.names):
        counts = _counts(p["labels"], p[f"probabilities_{i}"].argmax(1), len(classes))
        figure = plots.confusion_matrix(counts, classes, title=name)
        alt = f"Confusion matrix of {name} on the test part: true class against predicted class"
        figures.append(_figure(folder, f"confusion_matrix_{i}", figure, alt))
        wrong = counts - np.diag(np.diag(counts))
        worst = [np.unravel_index(j, counts.shape) for j in np.argsort(-wrong.ravel(), kind="stable")[:5]]
        tables += [
            [name, classes[t], classes[q], f"{wrong[t, q]:,}", f"{100 * wrong[t, q] / counts[t].sum():.1f}"]
            for t, q in worst
            if wrong[t, q]
        ]
    header = ["optimizer", "true class", "predicted class", "examples", "share of the true class (%)"]
    names = ["The most frequent confusions:", _table(header, tables, left=3)] if tables else []
    return ["## Confusion matrix", "\n".join(figures), *names]


def _counts(labels: np.ndarray, predicted: np.ndarray, k: int) -> np.ndarray:
    return np.bincount(labels.astype(np.int64) * k + predicted, minlength=k * k).reshape(k, k)


def _filters(run: Contents, folder: Path) -> list[str]:
    parts = []
    for i, name in enumerate(run.names):
        if (kernels := run.predictions.get(f"filters_{i}")) is not None:
            alt = f"The filters of the first convolution, trained by {name}"
            parts.append(_figure(folder, f"filters_{i}", plots.filters(kernels, title=name), alt))
    return ["## First-layer filters", "\n".join(parts)] if parts else []


def _parameters(run: Contents, folder: Path) -> list[str]:
    del folder
    rows = [
        [layer["layer"], layer["op"], " × ".join(map(str, layer["output"])), f"{layer['parameters']:,}"]
        for layer in run.summary["parameter_table"]
    ]
    rows.append(["total", "", "", f"{run.summary['parameters']:,}"])
    return ["## Parameters", _table(["layer", "operation", "output", "parameters"], rows, left=3)]


def _made(run: Contents, folder: Path) -> list[str]:
    """How the run was made: the command first, then the rest of the manifest, then the options."""
    del folder
    command = run.manifest["command"]
    command = command if isinstance(command, str) else shlex.join(map(str, command))
    fence = "`" * (1 + max(2, *map(len, re.findall("`+", command)), 0))
    made = [[_words(k), _value(v)] for k, v in run.manifest.items() if k != "command"]
    options = [[_words(k), _value(v)] for k, v in run.config.items()]
    return [
        "## How this was made",
        f"{fence}sh\n{command}\n{fence}",
        *([_table(["recorded", "value"], made, left=2)] if made else []),
        "### Options",
        *([_table(["option", "value"], options, left=2)] if options else ["None."]),
    ]


def _figure(folder: Path, name: str, figure: Figure, alt: str) -> str:
    """Saves the figure and returns the markdown that shows it."""
    plots.save(figure, folder / "figures" / f"{name}.png")
    return f"![{_plain(alt)}](figures/{name}.png)"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """A markdown table of plain texts, `left` columns aligned left and the numbers after them right."""
    rule = ["---" if i < left else "---:" for i in range(len(header))]
    lines = [[_plain(cell) for cell in header], rule, *([_plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """Markdown that shows the text as it is, on one line: a name brings no markup, link, image or HTML."""
    return re.sub(r"([\\`*_\[\]<>|&~$#])", r"\\\1", " ".join(text.split()))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _rounded(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else _value(value)


def _value(value: Any) -> str:
    """A value of the JSON files as a reader wants it; numbers with all of their digits."""
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_value(v)}" for k, v in value.items()) or "–"
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "–"
    if value is None or isinstance(value, bool):
        return {None: "–", True: "yes", False: "no"}[value]
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)


def _html(text: str, folder: Path) -> str:
    """Renders the markdown into one file: images inline, no script, a policy against loading anything."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(text)
    for token in tokens:
        for child in token.children or []:
            if child.type == "image":
                data = base64.b64encode((folder / str(child.attrs["src"])).read_bytes()).decode()
                child.attrs["src"] = f"data:image/png;base64,{data}"
    body = markdown.renderer.render(tokens, markdown.options, {})
    body = body.replace("<table>", '<div class="wide" tabindex="0"><table>').replace("</table>", "</table></div>")
    title = html.escape(tokens[1].children[0].content if tokens[1].children else "")
    head, middle, end = PAGE.split("@")
    return head + title + middle + body + end


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>@</title>
<style>
:root { color-scheme: light dark; }
:root { --line: light-dark(#d5d9de, #3a4048); --soft: light-dark(#f4f6f8, #1d2126); }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin-top: 2.4rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
h3 { font-size: 1.05rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { background: var(--soft); }
td:not(:last-child) { white-space: nowrap; }
pre { background: var(--soft); padding: .7rem .9rem; overflow-x: auto; border-radius: 6px; }
code { font: .9rem/1.5 ui-monospace, monospace; }
img { max-width: 100%; height: auto; border-radius: 6px; }
p:has(img) { display: flex; flex-wrap: wrap; gap: 1rem; justify-content: center; }
p:has(img + img) img { flex: 1 1 22rem; min-width: 0; max-width: 30rem; align-self: start; }
</style>
</head>
<body>
@</body>
</html>
"""

"""The accuracy table of docs/measured.md: complete runs of `experiments.train_cnn` on real data, with several seeds.

    python -m benchmarks.accuracy [ROW ...]

This writes benchmarks/accuracy.md and keeps the lines of rows that are not in runs/accuracy. Finished runs stay there
and are not repeated; an interrupted one is resumed. Once all nets of `CIFAR_NETS` are finished, their curves are drawn
into docs/resnet_cifar.png.
"""

import argparse
import json
import pathlib
import shlex
import statistics
import subprocess
import sys
from typing import Any, NamedTuple

import numpy as np

from experiments.train_cnn.records import Measurement
from jaxdl import runs

RUNS = pathlib.Path("runs") / "accuracy"
TABLE = pathlib.Path(__file__).with_suffix(".md")
FIGURE = TABLE.parents[1] / "docs" / "resnet_cifar.png"
HEADER = "| run | parameters | test accuracy | target | seconds per epoch | command |\n|---|---|---|---|---|---|\n"


ADAM = "--optimizer jaxdl.adam"


class Row(NamedTuple):
    """A line of the table."""

    what: str
    options: str  # of experiments.train_cnn
    seeds: int
    target: str  # for comparison


# ResNet's published recipe, except for its length: its 64,000 steps of batch 128 are 182 epochs
CIFAR_NETS = {"plain20": "plain-20", "resnet20": "ResNet-20", "plain32": "plain-32", "resnet32": "ResNet-32"}
CIFAR_EPOCHS = 3
CIFAR_RECIPE = (
    f"--epochs {CIFAR_EPOCHS} --batch-size 128 --augment flip shift --schedule step --weight-decay 1e-4 "
    "--checkpoint-every 50 --log-every 20 --optimizer jaxdl.momentum --learning-rate 0.1"
)
CIFAR_PAPER = {"resnet20": "91.25 % (paper, 182 epochs)", "resnet32": "92.49 % (paper, 182 epochs)"}
ROWS = {
    "lecture_torch_mnist": Row(
        "lecture net 20-50-500-10, MNIST, 1 epoch",
        f"--dataset mnist --model lecture_torch --epochs 1 {ADAM}",
        1,
        "≥ 98.5 %",
    ),
    "lenet5_mnist": Row("LeNet-5, MNIST", f"--dataset mnist --model lenet5 --epochs 6 {ADAM}", 3, "≥ 99.0 %"),
    "small_cnn_fashion": Row(
        "small CNN, Fashion-MNIST",
        "--dataset fashion_mnist --model small_cnn --epochs 10 --batch-size 128 --augment flip --label-smoothing 0.1 "
        f"{ADAM}",
        3,
        "≥ 92.5 %",
    ),
    "lecture_keras_cifar": Row(
        "lecture net 32-64-1024-10, CIFAR-10 (JPEG)",
        f"--dataset cifar10 --model lecture_keras --epochs 10 --batch-size 128 --augment flip shift {ADAM}",
        1,
        "–",
    ),
    "capsnet_mnist": Row(
        "CapsNet, MNIST, 6 epochs",
        "--dataset mnist --model capsnet --loss jaxdl.models.capsnet:capsule_loss --normalization none --epochs 6 "
        "--batch-size 64 --augment shift --checkpoint-every 100 --log-every 20 "
        f"{ADAM} --learning-rate 1e-3",
        1,
        "≥ 99.3 %",
    ),
} | {
    f"{model}_cifar": Row(
        f"{name}, CIFAR-10 (JPEG), {CIFAR_EPOCHS} epochs", f"--dataset cifar10 --model {model} {CIFAR_RECIPE}", 1,
        CIFAR_PAPER.get(model, "–"),
    )
    for model, name in CIFAR_NETS.items()
}  # fmt: skip


def main() -> None:
    """Run the missing seeds and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=list(ROWS), metavar="ROW", help=f"of {', '.join(ROWS)}")
    chosen = parser.parse_args().rows
    if unknown := sorted(set(chosen) - set(ROWS)):
        parser.error(f"unknown rows {unknown}; there are {sorted(ROWS)}")
    for name in chosen:
        for seed in range(ROWS[name].seeds):
            train(ROWS[name], RUNS / name / f"seed-{seed}", seed)
    finished = {name: results for name in ROWS if (results := read(name))}
    TABLE.write_text(table(finished, TABLE.read_text() if TABLE.exists() else ""))
    print(TABLE.read_text())
    if {f"{model}_cifar" for model in CIFAR_NETS} <= set(finished):
        draw(FIGURE)


def train(row: Row, folder: pathlib.Path, seed: int) -> None:
    """Train a seed unless it is finished."""
    if (folder / "summary.json").exists():
        return
    command = [sys.executable, "-m", "experiments.train_cnn"]
    if (folder / "config.json").exists():
        command += ["--resume", str(folder)]
    else:
        command += [*shlex.split(row.options), "--seed", str(seed), "--out", str(folder)]
    print(shlex.join(["python", *command[1:]]), flush=True)
    subprocess.run(command, check=True)


def read(name: str) -> list[dict[str, Any]]:
    """Return the summaries of a row's seeds; empty unless all are finished."""
    files = [RUNS / name / f"seed-{seed}" / "summary.json" for seed in range(ROWS[name].seeds)]
    return [json.loads(file.read_text()) for file in files] if all(file.exists() for file in files) else []


def table(finished: dict[str, list[dict[str, Any]]], before: str) -> str:
    """Return the table: new lines for finished rows, the previous lines for the others."""
    old = {cells[1]: f"{line}\n" for line in before.splitlines() if len(cells := line.split(" | ")[0].split("| ")) == 2}
    lines = {row.what: old[row.what] for row in ROWS.values() if row.what in old}
    lines |= {ROWS[name].what: line(ROWS[name], summaries) for name, summaries in finished.items()}
    return HEADER + "".join(lines[row.what] for row in ROWS.values() if row.what in lines)


def line(row: Row, summaries: list[dict[str, Any]]) -> str:
    """Return a line of the table from the summaries of its seeds."""
    results = [summary["rows"][0] for summary in summaries]
    accuracies = [100 * result["test_accuracy"] for result in results]
    shown = f"{statistics.mean(accuracies):.2f} %"
    if len(accuracies) > 1:
        each = ", ".join(f"{accuracy:.2f}" for accuracy in accuracies)
        shown += f" ± {statistics.stdev(accuracies):.2f} ({each})"
    seconds = statistics.mean(result["seconds"] / result["epochs"] for result in results)
    command = f"`python -m experiments.train_cnn {row.options} --seed N`"
    return f"| {row.what} | {summaries[0]['parameters']:,} | {shown} | {row.target} | {seconds:.0f} | {command} |\n"


def draw(path: pathlib.Path) -> None:
    """Draw the training and development errors of the CIFAR nets, plain next to residual, from their metrics.csv."""
    from jaxdl import plots

    plots.save(plots.learning_curves({name: errors(model) for model, name in CIFAR_NETS.items()}), path)


def errors(model: str) -> dict[str, dict[str, Any]]:
    """Return ``{"error (%)": {split: (epochs, errors)}}`` of a net."""
    rows = runs.read_table(RUNS / f"{model}_cifar" / "seed-0" / "metrics.csv", Measurement)
    steps = max(row.step for row in rows) / CIFAR_EPOCHS
    places = {split: np.array([r.step / steps for r in rows if r.split == split]) for split in ("train", "dev")}
    wrong = {split: np.array([100 - 100 * r.accuracy for r in rows if r.split == split]) for split in places}
    return {"error (%)": {split: (places[split], wrong[split]) for split in places}}


if __name__ == "__main__":
    main()

"""The accuracy table of the README: whole runs of `experiments.train_cnn` on real data, several seeds each.

    python -m benchmarks.accuracy [ROW ...]

Writes benchmarks/accuracy.md. Finished runs are kept in runs/accuracy and not repeated; an interrupted one goes on.
"""

import argparse
import json
import pathlib
import shlex
import statistics
import subprocess
import sys
from typing import Any, NamedTuple

RUNS = pathlib.Path("runs") / "accuracy"
TABLE = pathlib.Path(__file__).with_suffix(".md")


class Row(NamedTuple):
    """One line of the table."""

    what: str
    options: str  # of experiments.train_cnn
    seeds: int
    target: str


ROWS = {
    "lecture_torch_mnist": Row(
        "lecture net 20-50-500-10, MNIST, 1 epoch", "--dataset mnist --model lecture_torch --epochs 1", 1, "98.5 %"
    ),
    "lenet5_mnist": Row("LeNet-5, MNIST", "--dataset mnist --model lenet5 --epochs 6", 3, "99.0 %"),
    "small_cnn_fashion": Row(
        "small CNN, Fashion-MNIST",
        "--dataset fashion_mnist --model small_cnn --epochs 10 --batch-size 128 --augment flip --label-smoothing 0.1",
        3,
        "92.5 %",
    ),
    "lecture_keras_cifar": Row(
        "lecture net 32-64-1024-10, CIFAR-10 (JPEG)",
        "--dataset cifar10 --model lecture_keras --epochs 10 --batch-size 128 --augment flip shift",
        1,
        "70.65 %",
    ),
}


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=list(ROWS), metavar="ROW", help=f"of {', '.join(ROWS)}")
    chosen = parser.parse_args().rows
    if unknown := sorted(set(chosen) - set(ROWS)):
        parser.error(f"unknown rows {unknown}; there are {sorted(ROWS)}")
    for name in chosen:
        for seed in range(ROWS[name].seeds):
            train(ROWS[name], RUNS / name / f"seed-{seed}", seed)
    finished = {name: results for name in ROWS if (results := read(name))}
    TABLE.write_text(table(finished))
    print(table(finished))


def train(row: Row, folder: pathlib.Path, seed: int) -> None:
    """Train one seed, unless it is done."""
    if (folder / "summary.json").exists():
        return
    command = [sys.executable, "-m", "experiments.train_cnn"]
    if (folder / "config.json").exists():
        command += ["--resume", str(folder)]
    else:
        command += [*shlex.split(row.options), "--optimizer", "jaxdl.adam", "--seed", str(seed), "--out", str(folder)]
    print(shlex.join(["python", *command[1:]]), flush=True)
    subprocess.run(command, check=True)


def read(name: str) -> list[dict[str, Any]]:
    """The summaries of a row's finished seeds; empty unless all are there."""
    files = [RUNS / name / f"seed-{seed}" / "summary.json" for seed in range(ROWS[name].seeds)]
    return [json.loads(file.read_text()) for file in files] if all(file.exists() for file in files) else []


def table(finished: dict[str, list[dict[str, Any]]]) -> str:
    """The finished rows as Markdown."""
    lines = [
        "| run | parameters | test accuracy | target | seconds per epoch | command |",
        "|---|---|---|---|---|---|",
    ]
    for name, summaries in finished.items():
        row, results = ROWS[name], [summary["rows"][0] for summary in summaries]
        accuracies = [100 * result["test_accuracy"] for result in results]
        shown = f"{statistics.mean(accuracies):.2f} %"
        if len(accuracies) > 1:
            each = ", ".join(f"{accuracy:.2f}" for accuracy in accuracies)
            shown += f" ± {statistics.stdev(accuracies):.2f} ({each})"
        seconds = statistics.mean(result["seconds"] / result["epochs"] for result in results)
        command = f"`python -m experiments.train_cnn {row.options} --optimizer jaxdl.adam --seed N`"
        lines.append(
            f"| {row.what} | {summaries[0]['parameters']:,} | {shown} | ≥ {row.target} | {seconds:.0f} | {command} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

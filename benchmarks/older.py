"""What a run of `experiments.train_cnn` takes beside the same run of an older commit.

    git worktree add /tmp/older COMMIT
    JAXDL_DATA_DIR=DIR python -m benchmarks.older /tmp/older

Each run is a process of its own with empty caches, so it decodes and compiles everything. The two checkouts take turns,
in the order older, now, now, older, ..., and medians of all turns are printed: the peak of the process's memory, its
CPU seconds (of the user and of the system, with half the range) and the seconds of the steps in metrics.csv. Other
programs lengthen seconds more than CPU seconds, but a full machine inflates these, too: compare the two rows of a run.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from jaxdl import data

FILES = 5000
HEADER = "| run | peak memory (MB) | CPU seconds | seconds of steps | steps |\n|---|---:|---:|---:|---:|"


class Cost(NamedTuple):
    """What one run took."""

    megabytes: float
    cpu_seconds: float
    seconds: float  # of the steps, as metrics.csv has them
    steps: int


def write_files(folder: Path) -> None:
    """Write every tenth image of CIFAR-10's training part as a JPEG file of quality 95, one folder per class."""
    from PIL import Image

    found = data.load("cifar10")
    for i in range(0, len(found.labels), len(found.labels) // FILES):  # the classes may come one after another
        path = folder / found.classes[found.labels[i]] / f"{i:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(found.images[i]).save(path, quality=95, subsampling=0)


def run(checkout: Path, options: list[str]) -> Cost:
    """Run the command in a checkout and return its cost."""
    with tempfile.TemporaryDirectory() as text:
        out = Path(text, "run")
        command = [sys.executable, "-m", "experiments.train_cnn", *options, "--out", str(out)]
        environment = {**os.environ, "XDG_CACHE_HOME": str(Path(text, "cache")), "PYTHONPATH": str(checkout)}
        process = subprocess.Popen(command, cwd=checkout, env=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"failed in {checkout}: {' '.join(command)}")
        with (out / "metrics.csv").open(newline="") as file:
            last = [row for row in csv.DictReader(file) if row["split"] == "train"][-1]
    return Cost(usage.ru_maxrss / 1e3, usage.ru_utime + usage.ru_stime, float(last["seconds"]), int(last["step"]))


def row(title: str, costs: list[Cost]) -> str:
    """Return a row of the table."""
    memory, cpu, seconds, steps = (statistics.median(column) for column in zip(*costs, strict=True))
    spread = max(cost.cpu_seconds for cost in costs) - min(cost.cpu_seconds for cost in costs)
    return f"| {title} | {memory:,.0f} | {cpu:.1f} ± {spread / 2:.1f} | {seconds:.2f} | {steps:,.0f} |"


def main() -> None:
    """Alternate the runs of both checkouts, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("older", type=Path, help="a checkout of the older commit")
    parser.add_argument("--turns", type=int, default=3, help="runs of each")
    parser.add_argument("--only", nargs="+", choices=("digits", "mnist", "folder"), help="some of the runs")
    options = parser.parse_args()
    here = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as text:
        once = ["--epochs", "1", "--optimizer", "jaxdl.adam"]
        cases = {
            "digits": ("digits, the defaults", []),
            "mnist": ("MNIST, LeNet-5, one epoch", ["--dataset", "mnist", "--model", "lenet5", *once]),
            "folder": (
                f"{FILES:,} JPEG files, small_cnn, one epoch",
                ["--dataset", text, "--model", "small_cnn", *once],
            ),
        }
        if "folder" in (options.only or cases):
            write_files(Path(text))
        print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} at the start\n\n{HEADER}", flush=True)
        for name in options.only or cases:
            title, command = cases[name]
            costs: dict[str, list[Cost]] = {"older": [], "now": []}
            for turn in range(options.turns):
                for which in ("older", "now") if turn % 2 == 0 else ("now", "older"):
                    costs[which].append(run(options.older if which == "older" else here, command))
            for which, found in costs.items():
                print(row(f"{title}: {which}", found), flush=True)


if __name__ == "__main__":
    main()

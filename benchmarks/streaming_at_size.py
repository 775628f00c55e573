"""A data set packed, as 60,000 or 70,000 files of images and as tar shards: do they train alike, and at what cost?

    JAXDL_DATA_DIR=DIR python -m benchmarks.streaming_at_size
    JAXDL_DATA_DIR=DIR python -m benchmarks.streaming_at_size cifar10

Fashion-MNIST becomes PNG files, CIFAR-10 becomes JPEG files of quality 95. Each row is a process of its own, one epoch
with batches of 128, one step per call. Memory is the peak of the process and of its workers, each by itself. "Same
rows" says whether metrics.csv equals that of the files in memory, to the last digit, but for the seconds. The packed
set has its examples in another order, so its rows differ. The rows share a cache, so the pass over all files is made by
the first row that needs it.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from jaxdl import data

NETWORKS = {"fashion_mnist": ("lenet5", ".png"), "cifar10": ("lecture_keras", ".jpg")}  # and the kind of file
OPTIONS = """--epochs 1 --batch-size 128 --optimizer jaxdl.adam --augment none --steps-per-call 1
    --log-every 20""".split()  # noqa: SIM905
SHARDS = 8
HEADER = "| data | test accuracy (%) | steps (s) | images/s | whole command (s) | peak memory (MB) | same rows |"


class Row(NamedTuple):
    """The findings of one run."""

    accuracy: float
    seconds: float
    images_per_second: float
    whole: float
    megabytes: float
    rows: list[dict[str, str]]  # of metrics.csv without seconds


def write_files(name: str, folder: Path, suffix: str) -> None:
    """Write a file per image, in train/CLASS and test/CLASS."""
    from PIL import Image

    found = data.load(name)
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if suffix == ".jpg" else {}
    parts = (("train", found.images, found.labels), ("test", found.test_images, found.test_labels))
    for part, images, labels in parts:
        assert images is not None
        assert labels is not None
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = folder / part / found.classes[label].replace("/", " or ") / f"{i:05d}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.squeeze()).save(path, **options)


def write_shards(folder: Path, shards: Path) -> None:
    """Pack the files into tar archives, dealt out in turn."""
    shards.mkdir()
    paths = sorted(path for path in folder.rglob("*.*") if path.is_file())
    for number in range(SHARDS):
        with tarfile.open(shards / f"part-{number}.tar", "w") as archive:
            for path in paths[number::SHARDS]:
                archive.add(path, str(path.relative_to(folder)))


def train(out: Path, *options: str) -> Row:
    """Run the command with these options and return its findings."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "experiments.train_cnn", *OPTIONS, *options, "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"failed: {' '.join(command)}")
    whole = time.perf_counter() - began
    (found,) = json.loads((out / "summary.json").read_text())["rows"]
    with (out / "metrics.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
    speed = found["images_per_second"]
    return Row(found["test_accuracy"], found["seconds"], speed, whole, usage.ru_maxrss / 1e3, rows)


def main() -> None:
    """Write the files, run all rows, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?", default="fashion_mnist", choices=NETWORKS)
    name = parser.parse_args().dataset
    network, suffix = NETWORKS[name]
    kind = f"{suffix[1:].upper().replace('JPG', 'JPEG')} files"
    with tempfile.TemporaryDirectory() as text:
        root = Path(text)
        os.environ["XDG_CACHE_HOME"] = str(root / "cache")
        files, shards = root / "files", root / "shards"
        write_files(name, files, suffix)
        write_shards(files, shards)
        kinds = {
            "packed, in memory": ["--dataset", name],
            f"{kind}, in memory": ["--dataset", str(files), "--stream", "never"],
            f"{kind}, streamed by threads": ["--dataset", str(files), "--stream", "always"],
            f"{kind}, streamed by 2 processes": ["--dataset", str(files), "--stream", "always", "--workers", "2"],
            f"{SHARDS} tar shards, streamed by threads": ["--dataset", str(shards), "--stream", "always"],
        }
        print(f"{HEADER}\n|---|---:|---:|---:|---:|---:|---|", flush=True)
        wanted = None
        for number, (title, options) in enumerate(kinds.items()):
            row = train(root / f"run-{number}", "--model", network, *options)
            wanted = row.rows if title == f"{kind}, in memory" else wanted
            same = "–" if wanted is None or wanted is row.rows else "yes" if row.rows == wanted else "no"
            print(
                f"| {title} | {100 * row.accuracy:.2f} | {row.seconds:.1f} | {row.images_per_second:,.0f} | "
                f"{row.whole:.0f} | {row.megabytes:,.0f} | {same} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

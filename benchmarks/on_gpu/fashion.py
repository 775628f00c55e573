"""A complete run of `experiments.train_cnn`: the README's row of the small CNN on Fashion-MNIST."""

import json
import os
import shlex
import tempfile
import time
from pathlib import Path

from benchmarks.accuracy import ROWS
from benchmarks.on_gpu.record import Record
from experiments.train_cnn import command as train_cnn
from jaxdl import data

SMALL = "--model softmax_regression --epochs 1 --optimizer jaxdl.adam"


def measure(record: Record, dry_run: bool) -> None:
    """Put one row: accuracy, seconds, steps per second, and the seconds from the first import to the report."""
    options = f"{ROWS['small_cnn_fashion'].options} --seed 0"
    there = not dry_run or os.environ.get("JAXDL_DATA_DIR")
    if there:
        data.load("fashion_mnist", download=False)  # raises at once, where the experiment would try to download
    if dry_run:
        options = f"--dataset {'fashion_mnist --batch-size 4096' if there else 'digits'} {SMALL}"
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        if status := train_cnn.main([*shlex.split(options), "--out", str(out)]):
            raise ValueError(f"train_cnn ended with {status}")
        found = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    seconds = time.perf_counter() - begin
    record.put(options=options, dataset=found["dataset"], whole_seconds=seconds, **found["rows"][0])

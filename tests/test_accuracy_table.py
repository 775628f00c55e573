"""`benchmarks.accuracy`: the committed table matches its rows, unmeasured lines stay, and the figure is drawn."""

import csv

import numpy as np
from PIL import Image

from benchmarks import accuracy
from experiments.train_cnn.records import Measurement


def test_the_committed_lines_are_of_the_rows_as_they_stand():
    lines = accuracy.TABLE.read_text(encoding="utf-8").removeprefix(accuracy.HEADER).splitlines()
    known = {row.what: row for row in accuracy.ROWS.values()}
    assert len(lines) >= 4
    for line in lines:
        what, _, _, target, _, command = (cell.strip() for cell in line.strip("|").split(" | "))
        row = known[what.removeprefix("| ")]
        assert target == row.target
        assert command.rstrip(" |") == f"`python -m experiments.train_cnn {row.options} --seed N`"


def test_a_finished_row_replaces_its_line_and_others_stay():
    before = accuracy.TABLE.read_text(encoding="utf-8")
    assert accuracy.table({}, before) == before
    result = {"parameters": 61_706, "rows": [{"test_accuracy": 0.5, "seconds": 10.0, "epochs": 4}]}
    better = {"parameters": 61_706, "rows": [{"test_accuracy": 0.7, "seconds": 20.0, "epochs": 4}]}
    after = accuracy.table({"lenet5_mnist": [result, better]}, before).splitlines()
    changed = [line for line in after if line not in before.splitlines()]
    assert len(changed) == 1
    assert changed[0].startswith(
        "| LeNet-5, MNIST | 61,706 | 60.00 % ± 14.14 (50.00, 70.00) | ≥ 99.0 % | 4 | `python -m "
    )
    assert len(after) == len(before.splitlines())


def test_the_figure_is_drawn_from_the_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy, "RUNS", tmp_path)
    for model in accuracy.CIFAR_NETS:
        folder = tmp_path / f"{model}_cifar" / "seed-0"
        folder.mkdir(parents=True)
        with (folder / "metrics.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(Measurement._fields)
            for step in range(10, 50, 10):
                writer.writerow(["jaxdl.momentum", step, 0, "train", 2.0, 0.25, 0.1, 1.0])
            writer.writerow(["jaxdl.momentum", 40, 0, "dev", 2.0, 0.5, 0.1, 1.0])
    curves, end = accuracy.errors("plain20")["error (%)"], accuracy.CIFAR_EPOCHS
    np.testing.assert_allclose(curves["train"], [[end / 4, end / 2, 3 * end / 4, end], [75.0] * 4])
    np.testing.assert_allclose(curves["dev"], [[end], [50.0]])
    accuracy.draw(tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        assert image.width > 400

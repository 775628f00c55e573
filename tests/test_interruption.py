"""Killed, stopped and damaged runs in real processes: resumed, they equal the uninterrupted run."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.process]

ROOT = Path(__file__).parents[1]
NET = """
from jaxdl import activations, nn

def net(classes):
    return nn.serial(
        conv=nn.Conv(4, 3), norm=nn.BatchNorm(), relu=activations.relu, pool=nn.MaxPool(2),
        flatten=nn.flatten, drop=nn.Dropout(0.2), fc=nn.Dense(classes),
    )
"""
# batch norm, dropout, augmentation, two optimizers, early stopping, Polyak average, weight decay, and checkpoints that
# fall neither on the end of an epoch nor on a row; Adam's rate is so high that its best epoch is not its last
OPTIONS = """
    --model net:net --optimizer jaxdl.adam optax.sgd --learning-rate 0.3 0.1 --batch-size 128 --epochs 4
    --early-stop 1 --average 0.5 --augment shift noise --schedule cosine --warmup 3 --checkpoint-every 4
    --log-every 3 --weight-decay 1e-4
""".split()  # noqa: SIM905 (one option a line would fill the screen)
LAST = 40  # the last step: 1,294 training examples make 10 batches in each of 4 epochs


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interruption")
    (folder / "net.py").write_text(NET)
    return folder


def command(work, *args):
    shared = {
        "PYTHONPATH": f"{work}{os.pathsep}{ROOT}",
        "PYTHONWARNINGS": "error",
        "JAX_COMPILATION_CACHE_DIR": str(work / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    # children inherit an ignored Ctrl-C, as pytest has it in the background of a shell
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "experiments.train_cnn", *map(str, args)],
            cwd=work,
            env={**os.environ, **shared},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def finish(process, code=0):
    """Wait for the process, check its exit code and its empty stderr, and return its output."""
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (code, ""), out + err
    return out


def stop_when(process, condition, number):
    """Send a signal as soon as the run folder meets a condition."""
    until = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "the moment never came"
        time.sleep(0.001)
    process.send_signal(number)


def reached(folder, optimizer, step):
    return lambda: any(int(p.name) >= step for p in (folder / "checkpoints" / optimizer).glob("[0-9]*"))


def writing(folder, optimizer, after):
    def condition():
        there = (folder / "checkpoints" / optimizer).glob(".writing-*")
        return any(int(re.sub(r"\D", "", p.name) or 0) > after for p in there)

    return condition


def table(folder):
    """Return all columns of metrics.csv except the seconds, as text."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [line[:-1] for line in csv.reader(file)]


def weights(folder):
    """Return the bytes of the judged weights and of the last checkpoint: parameters, moments, average and best."""
    found = {}
    for path in [*folder.glob(f"final/*/{LAST:08d}"), *folder.glob(f"checkpoints/*/{LAST:08d}")]:
        with ocp.StandardCheckpointer() as checkpointer:
            tree = checkpointer.restore((path / "arrays").absolute())
        for name, leaf in jax.tree_util.tree_leaves_with_path(tree):
            found[f"{path.relative_to(folder)} {jax.tree_util.keystr(name)}"] = np.asarray(leaf).tobytes()
    assert sum("kernel" in name and "mu" in name for name in found) >= 2, "Adam's moments are compared too"
    return found


def assert_same(folder, reference):
    assert table(folder) == table(reference)
    assert weights(folder) == weights(reference)
    with np.load(folder / "predictions.npz") as ours, np.load(reference / "predictions.npz") as theirs:
        assert {k: v.tobytes() for k, v in ours.items()} == {k: v.tobytes() for k, v in theirs.items()}
    assert leftovers(folder) == []


def leftovers(folder):
    found = [path for path in folder.rglob("*") if path.name.startswith(".") or path.name.endswith(("~", ".part"))]
    return [path for path in found if path != folder / ".lock"]


@pytest.fixture(scope="module")
def reference(work):
    """Return the folder of the uninterrupted run."""
    out = finish(command(work, *OPTIONS, "--out", work / "reference"))
    assert "report:" in out
    assert leftovers(work / "reference") == []
    rows = table(work / "reference")
    assert len(rows) == 1 + 2 * (4 * 5 + 1), "per epoch 4 train rows and one of dev, and one of test"
    return work / "reference"


def test_killed_four_times_then_resumed_is_the_uninterrupted_run_bit_for_bit(work, reference):
    folder, pause = work / "killed", np.random.default_rng().uniform(0, 0.2)
    moments = [
        lambda: (folder / "config.json").exists(),  # before training begins
        writing(folder, "jaxdl.adam", 0),  # while the first checkpoint within an epoch is written
        reached(folder, "jaxdl.adam", 8),  # within the first epoch
        writing(folder, "optax.sgd", 24),  # while the other optimizer is ahead
    ]
    for i, moment in enumerate(moments):
        start = ["--resume", folder, "--trust-run"] if i else [*OPTIONS, "--out", folder]
        process = command(work, *start)
        stop_when(process, moment, 0)
        time.sleep(pause if i == 2 else 0)
        process.kill()
        out, err = process.communicate()
        assert process.returncode == -signal.SIGKILL, out + err
        assert not (folder / "summary.json").exists(), "it had ended already"
    out = finish(command(work, "--resume", folder, "--trust-run"))
    assert f"resuming {folder}" in out
    assert_same(folder, reference)


def test_ctrl_c_and_sigterm_save_exit_with_the_usual_code_and_can_be_resumed(work, reference):
    folder = work / "stopped"
    process = command(work, *OPTIONS, "--out", folder)
    stop_when(process, reached(folder, "jaxdl.adam", 4), signal.SIGINT)
    out = finish(process, 128 + signal.SIGINT)
    assert "SIGINT: saved at step" in out
    assert f"resume with --resume {folder} --trust-run" in out
    saved = [int(step) for step in re.findall(r"saved at step \[(\d+), (\d+)\]", out)[0]]
    assert 4 <= saved[0] < 40, "it should have stopped at once"
    assert (folder / "checkpoints" / "jaxdl.adam" / f"{saved[0]:08d}").exists()
    process = command(work, "--resume", folder, "--trust-run")
    stop_when(process, reached(folder, "optax.sgd", 16), signal.SIGTERM)
    assert "SIGTERM: saved at step" in finish(process, 128 + signal.SIGTERM)
    finish(command(work, "--resume", folder, "--trust-run"))
    assert_same(folder, reference)


# time of day that runs backwards from the moment of the import on
BACKWARDS = """
import time

now, begin = time.time, time.time()
time.time = lambda: 2 * begin - now()
"""


def test_a_run_that_is_stopped_and_goes_on_while_the_clock_goes_back_is_the_uninterrupted_one(work, reference):
    (work / "back.py").write_text(f"{BACKWARDS}\n{NET}")
    folder, options = work / "paused", ["back:net" if one == "net:net" else one for one in OPTIONS]
    process = command(work, *options, "--out", folder)
    stop_when(process, reached(folder, "jaxdl.adam", 4), signal.SIGSTOP)
    until = time.monotonic() + 20
    while "T (stopped)" not in Path(f"/proc/{process.pid}/status").read_text():
        assert time.monotonic() < until, "it never stopped"
    before = table(folder)
    time.sleep(1)
    assert table(folder) == before
    process.send_signal(signal.SIGCONT)
    finish(process)
    assert_same(folder, reference)


def test_flipped_bits_are_passed_over_said_so_and_trained_again(work, reference):
    folder = work / "flipped"
    shutil.copytree(reference, folder)
    for name in ("summary.json", "predictions.npz", "report.html"):
        (folder / name).unlink()
    shutil.rmtree(folder / "final")
    steps = sorted(p.name for p in (folder / "checkpoints" / "jaxdl.adam").glob("[0-9]*"))
    for step in steps[-2:]:  # Adam falls back within the last epoch and SGD does not, so rows come in another order
        flip_bit(folder / "checkpoints" / "jaxdl.adam" / step)
    process = command(work, "--resume", folder, "--trust-run")
    out = finish(process)
    for step in steps[-2:]:
        assert f"checkpoint of step {int(step)} is corrupt and is passed over" in out
    assert_same(folder, reference)


def flip_bit(checkpoint):
    """Flip one bit in the middle of the largest file, which holds the arrays."""
    file = max((p for p in checkpoint.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)

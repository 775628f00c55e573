"""train_cnn by several processes: the numbers of one process, agreed stops, and no one waits for a lost process."""

import re
import signal
import socket
import subprocess
import time
from dataclasses import make_dataclass

import jax
import numpy as np
import pytest

from experiments.train_cnn.command import main
from experiments.train_cnn.config import Config, resolve
from jaxdl.runs import commandline
from jaxdl.runs import records as files
from jaxdl.runs.processes import GONE
from tests.experiments.test_trainer import measured

DIGITS = ["--optimizer", "jaxdl.adam", "--batch-size", "64", "--log-every", "5"]
STUCK = """
import sys, time
from jaxdl import data
from jaxdl.runs import commandline
real, epochs = data.batch_rows, int(sys.argv.pop(1))
def rows(*args, epoch, **options):
    for number, one in enumerate(real(*args, epoch=epoch, **options)):
        if epoch == epochs and number == 7:
            print("stuck", file=sys.stderr, flush=True)
            time.sleep(1000)
        yield one
data.batch_rows = rows
from experiments.train_cnn.command import main
commandline.run_main(main)
"""


@pytest.fixture
def start(tmp_path, process):
    """Return a function that starts two processes of two virtual devices each, and their logs."""
    running = []

    def starting(*args, stuck=None, heartbeat=10):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        place = ["--coordinator", f"127.0.0.1:{port}", "--processes", 2, "--heartbeat", heartbeat]
        logs = [tmp_path / f"{port}-{index}.txt" for index in (0, 1)]
        for index, log in enumerate(logs):
            program = ["-c", STUCK, stuck] if stuck is not None and index == 1 else ["-m", "experiments.train_cnn"]
            how = process(*program, *place, "--process", index, *args, JAX_NUM_CPU_DEVICES="2", XLA_FLAGS="")
            how["args"] = [one for one in how["args"] if one not in ("-W", "error")]  # JAX warns of proxies
            how["env"]["JAX_PLATFORMS"] = "cpu"
            with log.open("w") as out:
                running.append(subprocess.Popen(**how, stdout=out, stderr=subprocess.STDOUT))
        return running[-2:], logs

    yield starting
    for one in running:
        one.kill()
        one.wait()


def until(found, processes, logs, seconds=240):
    limit = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < limit, logs[0].read_text(errors="replace")
        assert [one.poll() for one in processes] == [None, None], logs[0].read_text(errors="replace")
        time.sleep(0.1)


def rows_of(folder):
    return len(measured(folder)) if (folder / "metrics.csv").exists() else 0


def same_curve(found, expected):
    """Compare losses within the promised 1e-5, and counts and steps exactly."""
    assert len(found) == len(expected) > 3
    for ours, theirs in zip(found, expected, strict=True):
        assert ours._replace(loss=0, seconds=0) == theirs._replace(loss=0, seconds=0)
        np.testing.assert_allclose(ours.loss, theirs.loss, rtol=1e-5)


@pytest.mark.process
@pytest.mark.slow
def test_two_processes_of_two_devices_train_as_one_of_four(start, tmp_path):
    args = [*DIGITS, "--epochs", 2, "--early-stop", 5, "--average", 0.9]
    processes, logs = start(*args, "--out", tmp_path / "two")
    one = [*args, "--devices", 4, "--strategy", "shard_map", "--out", tmp_path / "one"]
    assert main(list(map(str, one))) == 0
    for log, process in zip(logs, processes, strict=True):
        assert process.wait(timeout=240) == 0, log.read_text()
    same_curve(measured(tmp_path / "two"), measured(tmp_path / "one"))
    found, expected = (np.load(tmp_path / name / "predictions.npz") for name in ("two", "one"))
    np.testing.assert_allclose(found["probabilities_0"], expected["probabilities_0"], atol=1e-5)
    said = logs[0].read_text()
    assert "4 devices of 2 processes by shard_map; each device draws its own dropout masks" in said
    assert "report:" in said
    assert "loss" not in logs[1].read_text(), "process 0 alone logs"
    assert (tmp_path / "two" / "report.html").exists()


@pytest.mark.process
@pytest.mark.slow
def test_two_processes_look_ahead_and_run_several_seeds(start, tmp_path):
    args = [*DIGITS, "--model", "softmax_regression", "--augment", "none", "--epochs", 2, "--seed", 3]
    processes, logs = start(*args, "--dry-run", heartbeat=100)
    for log, process in zip(logs, processes, strict=True):
        assert process.wait(timeout=240) == 0, log.read_text()
    assert re.search(r"jaxdl\.adam: [0-9.]+ MiB for a step .* steps/s, about", logs[0].read_text())
    assert "steps/s" not in logs[1].read_text(), "process 0 alone prints"
    assert not [*tmp_path.glob("*/config.json")], "nothing is written"

    args += ["--seeds", 2]
    processes, logs = start(*args, "--out", tmp_path / "two", heartbeat=100)
    one = [*args, "--devices", 4, "--strategy", "shard_map", "--out", tmp_path / "one"]
    assert main(list(map(str, one))) == 0
    for log, process in zip(logs, processes, strict=True):
        assert process.wait(timeout=240) == 0, log.read_text()
    for seed in ("seed-3", "seed-4"):
        same_curve(measured(tmp_path / "two" / seed), measured(tmp_path / "one" / seed))
    assert logs[0].read_text().count("report:") == 3
    assert (tmp_path / "two" / "report.html").exists()


@pytest.mark.process
@pytest.mark.slow
def test_a_signal_to_one_stops_both_and_a_killed_one_is_named_and_the_run_goes_on_with_one(start, tmp_path):
    folder, args = tmp_path / "run", [*DIGITS, "--model", "softmax_regression", "--augment", "none", "--epochs", 40]
    args += ["--checkpoint-every", 10]
    processes, logs = start(*args, "--out", folder)
    until(lambda: rows_of(folder) > 8, processes, logs)
    processes[1].send_signal(signal.SIGTERM)
    assert [one.wait(timeout=60) for one in processes] == [128 + signal.SIGTERM] * 2, logs[0].read_text()
    assert re.search(r"SIGTERM: saved at step \[\d+\]; resume with --resume", logs[0].read_text())
    before = rows_of(folder)
    processes, logs = start("--resume", folder)
    until(lambda: rows_of(folder) > before + 8, processes, logs)
    processes[1].kill()
    assert processes[0].wait(timeout=60) == GONE, logs[0].read_text(errors="replace")
    assert "error: process 1 of 2 is gone: it was killed, stopped or cut off" in logs[0].read_text()
    assert rows_of(folder) < 40 * 24, "it was killed before its end"
    assert main(["--resume", str(folder), "--devices", "2", "--strategy", "pmap"]) == 0
    one = [*args, "--devices", 4, "--strategy", "shard_map", "--out", tmp_path / "one"]
    assert main(list(map(str, one))) == 0
    same_curve(measured(folder), measured(tmp_path / "one"))
    assert files.read_json(folder / "config.json")["devices"] == 2


@pytest.mark.process
@pytest.mark.slow
def test_a_process_that_hangs_is_named_and_ends_the_others(start, tmp_path):
    args = [*DIGITS, "--model", "softmax_regression", "--augment", "none", "--epochs", 500, "--steps-per-call", 1]
    processes, logs = start(*args, "--out", tmp_path / "run", stuck=2)
    until(lambda: "stuck" in logs[1].read_text(), processes, logs)
    assert [one.wait(timeout=60) for one in processes] == [GONE] * 2, logs[0].read_text(errors="replace")
    for log in logs:
        assert "error: process 1 of 2 hangs: it has not gone on for" in log.read_text()
    assert rows_of(tmp_path / "run") > 2, "what was written is whole"


def test_a_process_that_jax_connects_already_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    with pytest.raises(
        ValueError, match=r"would write into the run folder; give --coordinator HOST:PORT --processes N"
    ):
        main(["--out", str(tmp_path / "run")])
    with pytest.raises(ValueError, match=r"would write into the run folder; this experiment runs in one process"):
        commandline.parse(make_dataclass("Options", [("epochs", int, 3)]), [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--strategy pmap", "strategy='pmap' is not allowed: it must be jit or shard_map with several processes"),
        ("--devices 3", "devices=3 is not allowed: it must be a multiple of the 2 processes"),
        ("--find-lr", "find_lr=True is not allowed: it must be left out with several processes"),
        (
            "--on-oom accumulate",
            "on_oom='accumulate' is not allowed: it must be stop with several processes, with an --accumulate",
        ),
    ],
)
def test_options_that_several_processes_do_not_take(options, message, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    config = commandline.parse(Config, [*options.split(), "--coordinator", "h:1", "--processes", "2", "--process", "0"])
    with pytest.raises(ValueError, match=re.escape(message)):
        resolve(config)


def test_the_help_says_that_dropout_masks_differ(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = " ".join(re.sub("[│]", " ", capsys.readouterr().out).split())
    assert "with pmap and shard_map each device draws its own dropout masks" in said
    assert "HOST:PORT of process 0, for a run by several processes on one machine or many" in said

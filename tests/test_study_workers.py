"""Studies that several processes of one machine share: the rows of one process, and no more lost than a worker had."""

import os
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest

from experiments.compare_optimizers import command, records, workers
from experiments.compare_optimizers.command import Config, resolve
from jaxdl import plots, runs
from jaxdl.runs import commandline
from jaxdl.runs.processes import GONE
from jaxdl.runs.records import read_table
from tests.test_study_growing import same_study

MINE = """
import os, pathlib, signal, time
import jax
import numpy as np
import optax

def late(learning_rate):
    armed, slow = (pathlib.Path(os.environ["HERE"]) / name for name in ("armed", "slow"))

    def check(count):
        if count == 2 and slow.exists():
            (slow.parent / f"began-{os.getpid()}").touch()
            time.sleep(0.5)
        if count == 3 and armed.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return np.float32(1)

    def update(grads, state, params=None):
        factor = jax.pure_callback(check, jax.ShapeDtypeStruct((), np.float32), state, vmap_method="sequential")
        return jax.tree.map(lambda g: -learning_rate * factor * g, grads), state + 1

    return optax.GradientTransformation(lambda params: np.int32(0), update)
"""
STUDY = ["--problems", "elongated_bowl", "rosenbrock", "--optimizer", "mine_late:late", "optax.adam", "--seeds", "2"]
STUDY += ["--rates", "0.001", "0.01", "--points", "2", "--tuning-seeds", "1", "--budget", "8steps"]
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Return a folder on the import path of this process and its children that holds a user's module."""
    folder = tmp_path_factory.mktemp("workers")
    (folder / "mine_late.py").write_text(MINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setattr(plots, "png", lambda figure, **options: b"png")  # the tables are what counts
        for name, value in {
            "HERE": str(folder), "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "xla"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        yield folder
    sys.modules.pop("mine_late", None)


@pytest.fixture(scope="module")
def whole(here):
    """Return the folder of the study that one process makes."""
    assert command.main([*STUDY, "--out", str(here / "whole")]) == 0
    return here / "whole"


@pytest.mark.process
@pytest.mark.trains
@pytest.mark.slow
def test_workers_make_the_rows_of_one_process_and_a_killed_one_costs_its_own_runs(whole, here, tmp_path, capsys):
    folder, armed = tmp_path / "run", here / "armed"
    armed.touch()
    assert command.main([*STUDY, "--workers", "2", "--out", str(folder)]) == GONE
    armed.unlink()
    said = capsys.readouterr().out
    assert said.count(" of 2 was killed by SIGKILL; its unfinished runs are lacking") == 2, said
    assert f"all finished runs are in {folder}; resume with --resume {folder} --trust-run --workers 2" in said
    done, rows = records.read(folder).runs, {run.key: run for run in records.read(whole).runs}
    assert all(run.final == rows[run.key].final for run in done)
    assert len(done) < len(rows)
    assert not (folder / "workers").exists()
    assert command.main(["--resume", str(folder), "--trust-run", "--workers", "2"]) == 0
    assert same_study(folder, whole)
    assert "Put together" not in (folder / "report.md").read_text()
    manifest = runs.read_json(folder / "manifest.json")
    assert manifest["devices"] == ["cpu:0 cpu"]
    assert "compare_optimizers.workers" not in manifest["command"]


def wait(here, going=lambda: True, seconds=240):
    """Wait until a worker computes."""
    until = time.monotonic() + seconds
    while not [*here.glob("began-*")]:
        assert going()
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.fixture
def slow(here):
    """Let steps of an optimizer take time."""
    (here / "slow").touch()
    yield
    for path in (here / "slow", *here.glob("began-*")):
        path.unlink()


@pytest.mark.process
@pytest.mark.trains
@pytest.mark.slow
def test_a_signal_stops_all_workers_and_their_rows_are_kept(whole, here, slow, tmp_path, capsys):
    folder = tmp_path / "run"

    def stop():
        wait(here)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    assert command.main([*STUDY, "--workers", "2", "--out", str(folder)]) == 128 + signal.SIGTERM
    thread.join()
    said = capsys.readouterr().out
    assert f"SIGTERM: all finished runs are in {folder}; resume with --resume {folder} --trust-run --workers 2" in said
    assert "lacking" not in said, "the workers ended because they were asked to"
    assert not (folder / "workers").exists()
    (here / "slow").rename(here / "fast")
    assert command.main(["--resume", str(folder), "--trust-run"]) == 0
    (here / "fast").rename(here / "slow")
    assert same_study(folder, whole)


@pytest.mark.process
@pytest.mark.trains
@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(whole, here, slow, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "run"
    program = [sys.executable, "-m", "experiments.compare_optimizers", *STUDY, "--workers", "2", "--out", folder]
    process = subprocess.Popen(program, cwd=here, stdout=subprocess.DEVNULL)
    wait(here, lambda: process.poll() is None)
    with monkeypatch.context() as patch:
        patch.setattr(workers, "GRACE", 0)
        with pytest.raises(ValueError, match="another process is training into this folder"):
            workers.gather(folder, [])
    process.kill()
    process.wait()
    (here / "slow").rename(here / "fast")
    parts, until = [folder / "workers" / name for name in "01"], time.monotonic() + 120
    while any(map(is_locked, parts)):
        assert time.monotonic() < until, "a worker goes on"
        time.sleep(0.1)
    assert command.main(["--resume", str(folder), "--trust-run"]) == 0, "one process goes on as well"
    (here / "fast").rename(here / "slow")
    assert not (folder / "workers").exists()
    assert same_study(folder, whole)


def is_locked(folder):
    try:
        with runs.lock(folder):
            return False
    except ValueError:
        return True


# ---------------------------------------------------------------- workers that do what they like


def study(folder, problems=("elongated_bowl",), optimizer=("jaxdl.sgd", "optax.sgd")):
    """Make the folder of a study that has no run yet, and return its options."""
    folder.mkdir(parents=True, exist_ok=True)
    config = resolve(Config(problems=problems, optimizer=optimizer))
    commandline.save_config(folder, config)
    return config


@pytest.fixture
def acting(tmp_path, monkeypatch):
    """Return a function that lets a shell script run in place of each worker."""

    def act(script):
        program = tmp_path / "worker"
        program.write_text(f"#!/bin/sh\necho $$ >> {tmp_path}/started\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(workers.sys, "executable", str(program))
        monkeypatch.setattr(workers, "GRACE", 0.5)

    return act


@pytest.mark.process
@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("exit 0", 0, ""),
        ("exit 2", 2, "worker 0 of 2 ended with exit code 2; its unfinished runs are lacking"),
        ("kill -KILL $$", GONE, "worker 0 of 2 was killed by SIGKILL"),
        ("kill -TERM $$", GONE, "worker 0 of 2 was killed by SIGTERM"),
        ("exit 143", GONE, "worker 0 of 2 ended with exit code 143"),  # a worker catches SIGTERM
        ("printf 'caf\\351\\n'", 0, r"worker 1: caf\xe9"),
        ("printf 'no newline'", 0, "worker 1: no newline"),
        ("sleep 3 &", 0, ""),  # keeps the worker's output open
        ("head -c 200000 /dev/zero | tr '\\0' x", 0, "worker 0: xxx"),  # more than a pipe holds
    ],
)
def test_a_worker_s_end_and_its_output(script, code, said, acting, tmp_path, capsys):
    acting(script)
    assert workers.share(study(tmp_path / "run"), tmp_path / "run", [{}, {}], []) == code
    out = capsys.readouterr().out
    assert said in out
    assert (f"resume with --resume {tmp_path / 'run'} --workers 2" in out) == bool(code)
    assert not (tmp_path / "run" / "workers").exists()


@pytest.mark.process
@pytest.mark.parametrize(
    "script", ["cat > /dev/null", "kill -STOP $$", "trap '' TERM INT; while true; do sleep 0.1; done"]
)
def test_a_signal_ends_all_workers_soon(script, acting, tmp_path):
    """Those that end with their input, those that are stopped and those that go on."""
    acting(script)
    threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGTERM]).start()
    assert workers.share(study(tmp_path / "run"), tmp_path / "run", [{}, {}], []) == 128 + signal.SIGTERM
    for pid in (tmp_path / "started").read_text().split():
        assert not Path(f"/proc/{pid}").exists()


@pytest.mark.process
def test_no_more_workers_start_than_there_are_pairs(acting, tmp_path, capsys):
    acting("exit 0")
    assert workers.share(study(tmp_path / "run"), tmp_path / "run", [{}] * 50, []) == 0
    assert len((tmp_path / "started").read_text().split()) == 2
    assert "2 of 50 workers start: one for each optimizer on each problem" in capsys.readouterr().out


@pytest.mark.process
def test_standard_output_that_ends_ends_the_workers(acting, tmp_path, monkeypatch):
    def closed(self, text):
        raise BrokenPipeError("standard output")

    acting("echo a line; cat > /dev/null")
    monkeypatch.setattr(runs.StudyProgress, "line", closed)
    with pytest.raises(BrokenPipeError):
        workers.share(study(tmp_path / "run"), tmp_path / "run", [{}, {}], [])
    for pid in (tmp_path / "started").read_text().split():
        assert not Path(f"/proc/{pid}").exists()


def test_a_worker_ends_itself_some_time_after_its_input(monkeypatch):
    pipe, ended, gone = os.pipe(), [], threading.Event()
    os.close(pipe[1])
    monkeypatch.setattr(workers.os, "read", lambda descriptor, most: b"")
    monkeypatch.setattr(workers.os, "_exit", ended.append)
    monkeypatch.setattr(workers.time, "sleep", lambda seconds: ended.append((seconds, gone.is_set())))
    workers._wait_for_the_end(gone)
    os.close(pipe[0])
    assert ended == [(workers.GRACE, True), 0]


@pytest.mark.parametrize("diagnose", [False, True])
def test_what_resumes_a_study_has_the_option_that_its_folder_does_not_keep(diagnose):
    config = Config(optimizer=("jaxdl.sgd",), diagnose=diagnose)
    assert command.resuming(Path("-a b"), config) == "--resume './-a b'" + " --diagnose" * diagnose


# ---------------------------------------------------------------- folders


def part(folder, number, failures):
    """Make the folder of a worker whose optimizers have all failed."""
    own = folder / "workers" / str(number)
    study(own, ("rosenbrock", "elongated_bowl"))
    runs.write_json(own / "plan.json", records.Plan(steps={"rosenbrock": 8, "elongated_bowl": 8}))
    runs.Table(own / records.FAILURES, records.Failure).append(failures)


def test_failures_without_a_run_are_kept_in_order_and_said(tmp_path):
    rows = [
        records.Failure(problem, optimizer, "tuning", f"ValueError: {number}")
        for number, (problem, optimizer) in enumerate(
            [("rosenbrock", "jaxdl.sgd"), ("rosenbrock", "optax.sgd"), ("elongated_bowl", "optax.sgd")]
        )
    ]
    folder = tmp_path / "run"
    study(folder)
    part(folder, 0, [rows[1], rows[2]])
    part(folder, 1, [rows[0], rows[2]])
    workers.gather(folder, [])
    assert read_table(folder / records.FAILURES, records.Failure) == rows
    with pytest.raises(ValueError, match=r"no run in it; jaxdl\.sgd on rosenbrock failed: ValueError: 0"):
        records.read(folder)
    assert not (folder / "workers").exists()


@pytest.mark.parametrize(
    ("name", "call"), [("workers", "gather"), ("workers/0", "gather"), (".workers", "gather"), (".workers", "share")]
)
def test_links_of_a_stranger_s_folder_lead_nowhere(name, call, acting, tmp_path):
    acting("exit 0")
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / "workers").mkdir(parents=True)
    config = study(folder)
    if name == "workers":
        (folder / name).rmdir()
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(ValueError, match="is a link; expected a folder"):
        workers.gather(folder, []) if call == "gather" else workers.share(config, folder, [{}], [])
    assert [*elsewhere.iterdir()] == []


def test_a_worker_that_ends_soon_is_waited_for(tmp_path):
    folder = tmp_path / "run"
    part(folder, 0, [])
    with runs.lock(folder / "workers" / "0"):
        kept = threading.Thread(target=workers.gather, args=[folder, []])
        kept.start()
        time.sleep(0.3)
        assert kept.is_alive()
    kept.join()
    assert not (folder / "workers").exists()


def test_a_pair_is_claimed_once(tmp_path):
    assert [workers.claim(tmp_path, *pair) for pair in [(0, 1), (1, 0), (0, 1), (0, 11), (1, 0)]] == [
        True, True, False, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("found", "count", "visible", "places"),
    [
        ("cpu 1", 3, None, [None, None, None]),
        ("gpu 2", 2, None, ["0", "1"]),
        ("gpu 2", 2, "5,7", ["5", "7"]),
        ("gpu 2", 3, None, "workers=3 is not allowed: it must be at most 2, which is how many GPUs there are"),
        ("tpu 4", 2, None, "workers=2 is not allowed: it must be 1 on tpu"),
        ("", 2, None, "workers=2 is not allowed: JAX finds no devices"),
    ],
)
def test_each_worker_sees_one_device(found, count, visible, places, monkeypatch):
    answer = types.SimpleNamespace(returncode=not found, stdout=f"a line of a plugin\n{found}\n")
    monkeypatch.setattr(workers.subprocess, "run", lambda *args, **options: answer)
    updates = []
    monkeypatch.setattr(workers.jax.config, "update", lambda *update: updates.append(update))
    monkeypatch.delenv("JAX_CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("JAX_CUDA_VISIBLE_DEVICES", visible)
    if isinstance(places, str):
        with pytest.raises(ValueError, match=places):
            workers.places(count)
        return
    assert [one.get("JAX_CUDA_VISIBLE_DEVICES") for one in workers.places(count)] == places
    assert updates == ([("jax_platforms", "cpu")] if found.startswith("gpu") else []), "the GPUs are the workers'"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--workers 0", "workers=0 is not allowed: it must be at least 1"),
        ("--workers 2 --devices 2", "devices=2 is not allowed: it must be 1 with --workers"),
        ("--workers 2 --budget 5m", "budget='5m' is not allowed: it must be steps, as 500steps, with --workers"),
    ],
)
def test_options_that_workers_do_not_take(options, message):
    with pytest.raises(ValueError, match=message):
        resolve(commandline.parse(Config, options.split()))

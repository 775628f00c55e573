"""The parts of a run one by one: clock, signals, progress and folder."""

import errno
import json
import math
import multiprocessing
import os
import re
import signal
import time
import types

import jax.numpy as jnp
import pytest

from experiments.train_cnn.records import Measurement, OptimizerResult, PartSizes, RunSummary
from jaxdl.runs import folder, loading, pages, progress, records, signals

# --- clock


def test_the_clock_leaves_out_the_first_step_of_every_process(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])

    def steps(c, seconds):
        c.start()
        for s in seconds:
            now[0] += s
            c.count(jnp.zeros(()))
        c.stop()
        now[0] += 1000  # time for evaluation, checkpoints and the other optimizers

    first = progress.Clock()
    assert math.isnan(first.steps_per_second)
    steps(first, [30, 1, 1])
    steps(first, [1, 1])
    assert (first.compile_seconds, first.seconds, first.steps_per_second) == (30, 4, 1)
    resumed = progress.Clock()
    resumed.restore(json.loads(json.dumps(first.to_dict())))
    steps(resumed, [20, 2, 2])
    assert (resumed.compile_seconds, resumed.seconds, resumed.steps_per_second) == (50, 8, 6 / 8)


def test_the_clock_adds_up_the_phases_beside_the_steps(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    first = progress.Clock()
    for phase, seconds in (("evaluation", 2.0), ("checkpoint", 5.0), ("evaluation", 1.0)):
        with first.during(phase):
            now[0] += seconds
    resumed = progress.Clock()
    resumed.restore(json.loads(json.dumps(first.to_dict())))
    with resumed.during("checkpoint"):
        now[0] += 1
    assert (resumed.apart, resumed.seconds) == ({"evaluation": 3.0, "checkpoint": 6.0}, 0.0)
    resumed.restore({"seconds": 1.0, "steps": 2, "compile_seconds": 3.0})
    assert resumed.apart == {"evaluation": 0.0, "checkpoint": 0.0}, "a checkpoint of an older version"


def test_the_clock_can_be_read_while_it_runs(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    running = progress.Clock()
    running.start()
    now[0] = 3.0
    assert running.seconds == 3.0
    running.stop()
    running.stop()
    now[0] = 9.0
    assert running.seconds == 3.0


# --- signals


@pytest.fixture
def handlers():
    """Install known handlers of both signals, and return the list of signals that reach them."""
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    seen = []
    for number in before:
        signal.signal(number, lambda n, frame: seen.append(n))
    yield seen
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_asks_and_the_second_acts(handlers, number, code):
    with signals.catch_stop() as request:
        assert request.signal is None
        os.kill(os.getpid(), number)
        assert (request.signal, request.exit_code, handlers) == (number, code, [])
        os.kill(os.getpid(), number)
        assert handlers == [number]
    os.kill(os.getpid(), number)
    assert handlers == [number, number]


def test_a_signal_that_is_ignored_stays_ignored(handlers):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with signals.catch_stop() as request:
        os.kill(os.getpid(), signal.SIGINT)
        assert request.signal is None
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


# --- progress


def test_a_rate_that_was_not_measured_is_a_dash(capsys):
    row = OptimizerResult("m", 0.5, 1.25, 8, 1, math.nan, 0.1)
    summary = RunSummary("d", "n", 3, PartSizes(8, 1, 1), [row, row._replace(steps_per_second=7.04)], [])
    with progress.RunProgress(8) as shown:
        shown.table(summary)
    lines = [re.split(r"\s*│\s*", line) for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [cells[1:-1] for cells in lines] == [["m", "50.00%", "1.2500", rate, "8"] for rate in ("–", "7.0")]
    assert pages.shown(math.nan, ".1f") == "–"


def test_no_loss_prints_dozens_of_digits(capsys):
    shown = {
        0.03456: "0.0346",
        2.302585: "2.3026",
        99999.0: "99999.0000",
        1e30: "1e+30",
        -1e30: "-1e+30",
        123456.7: "1.235e+05",
    }
    assert {value: progress.decimals(value) for value in shown} == shown
    assert (progress.decimals(math.nan), progress.decimals(math.inf)) == ("nan", "inf")
    row = Measurement("m", 8, 0, "dev", 1e30, 0.5, 0.1, 1.0)
    with progress.RunProgress(8) as printed:
        printed.row(types.SimpleNamespace(name="m", clock=progress.Clock()), row)
    assert "dev loss 1e+30 accuracy 50.00%" in capsys.readouterr().out


# --- folder


def test_folders_of_the_same_second_differ(tmp_path):
    found = {folder.create_dated(tmp_path / "runs") for _ in range(3)}
    assert len(found) == 3
    assert all(path.is_dir() for path in found)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot be written"):
        folder.create_dated(tmp_path / "file")


def test_leftovers_of_an_early_kill_do_not_count(tmp_path):
    (tmp_path / ".config.json.writing").touch()
    assert folder.create(tmp_path) == tmp_path
    (tmp_path / "config.json").touch()
    with pytest.raises(ValueError, match="is not empty; choose a new folder, or resume with --resume"):
        folder.create(tmp_path)


def hold(path, ready, done):
    with folder.lock(path):
        ready.set()
        done.wait(60)


@pytest.mark.process
def test_two_processes_do_not_train_into_one_folder(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path, ready, done))
    other.start()
    assert ready.wait(60)
    with pytest.raises(ValueError, match="another process is training into this folder"), folder.lock(tmp_path):
        pass
    other.kill()
    other.join()
    with folder.lock(tmp_path):  # a killed process holds nothing
        pass


def test_the_process_that_holds_a_lock_is_named(tmp_path, monkeypatch):
    with folder.lock(tmp_path):
        number = rf" \(process {os.getpid()}\)" if folder.LOCKS.exists() else ""
        for said in (number, ""):
            with pytest.raises(folder.Held, match=f"training into this folder{said}$"), folder.lock(tmp_path):
                pass
            monkeypatch.setattr(folder, "LOCKS", tmp_path / "none")  # as on other systems


def begin(path, barrier, said):
    """Start a new run in the folder, all processes at once, as the commands do."""
    barrier.wait(60)
    try:
        with folder.lock(folder.create(path), new=True):
            records.write_json(path / folder.CONFIG, {"by": os.getpid()})
            time.sleep(0.2)
        said.put("ran")
    except ValueError as error:
        said.put(str(error))


@pytest.mark.slow
@pytest.mark.process
def test_of_processes_that_begin_in_one_new_folder_one_runs(tmp_path):
    context = multiprocessing.get_context("spawn")
    for attempt in range(3):
        path, barrier, said = tmp_path / str(attempt), context.Barrier(4), context.Queue()
        others = [context.Process(target=begin, args=(path, barrier, said)) for _ in range(4)]
        for other in others:
            other.start()
        answers = [said.get(timeout=60) for _ in others]
        for other in others:
            other.join()
        assert answers.count("ran") == 1
        assert all("another process" in one or "is not empty" in one for one in answers if one != "ran")


def test_a_new_run_is_refused_where_another_has_begun_since(tmp_path):
    path = folder.create(tmp_path)
    with folder.lock(path, new=True):
        records.write_json(path / folder.CONFIG, {})
    before = (path / folder.CONFIG).read_bytes()
    with pytest.raises(ValueError, match="is not empty"), folder.lock(path, new=True):
        pytest.fail("the lock of a new run was given twice")
    assert (path / folder.CONFIG).read_bytes() == before


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch):
    def refuse(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folder.fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="has no locks .No locks available"), folder.lock(tmp_path, new=True):
        pass


def test_every_optimizer_has_a_folder_of_its_own():
    found = [
        loading.optimizer_folder(name) for name in ("m:a_b", "m_a:b", "m:a/b", "m.a:b", "jaxdl.adam", "optax.adam+1ulp")
    ]
    assert len({*found}) == len(found)
    assert not any(set(name) & {"/", ":"} for name in found)
    assert "jaxdl.adam" in found

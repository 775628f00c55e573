"""Several processes compute what one computes, and none of them waits for one that is gone."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jaxdl import training
from tests import joined

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def start(tmp_path):
    """Return a function that starts processes of two virtual devices each."""
    running = []

    def starting(processes, steps):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        env = os.environ | {
            "JAX_NUM_CPU_DEVICES": "2",
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(ROOT),
        }
        for process in range(processes):
            command = [sys.executable, "-m", "tests.joined", *map(str, (port, processes, process, steps, tmp_path))]
            with (tmp_path / f"{process}.txt").open("w") as log:
                running.append(subprocess.Popen(command, env=env, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT))
        return running

    yield starting
    for one in running:
        one.kill()
        one.wait()


def text(tmp_path, process):
    return (tmp_path / f"{process}.txt").read_text()


@pytest.mark.process
@pytest.mark.slow
def test_two_processes_of_two_devices_give_the_curve_of_one_of_four(start, tmp_path):
    for process, one in enumerate(start(2, 6)):
        assert one.wait(timeout=240) == 0, text(tmp_path, process)
        assert text(tmp_path, process).startswith("joined 4")
    for strategy, of_one in ((None, "shard_map"), ("jit", "jit")):
        expected = joined.curve(of_one, 6, devices=4)
        for process in range(2):
            with np.load(tmp_path / f"{process}-{strategy}.npz") as found:
                assert {*found} == {*expected}
                for name, wanted in expected.items():
                    if name.endswith(("weight", "correct")):
                        np.testing.assert_array_equal(found[name], wanted, name)
                    else:
                        np.testing.assert_allclose(
                            found[name], wanted, rtol=0, atol=1e-5 * np.abs(wanted).max() + 1e-30
                        )


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_is_gone_ends_the_others_with_its_number(how, start, tmp_path):
    first, second = start(2, 1_000_000)
    limit = time.monotonic() + 200
    while "step 3" not in text(tmp_path, 1):
        assert first.poll() is None is second.poll(), text(tmp_path, 0)
        assert time.monotonic() < limit
        time.sleep(0.1)
    second.send_signal(how)
    assert first.wait(timeout=60) != 0
    assert re.search(r"task.*1|peer|Peer", text(tmp_path, 0)), text(tmp_path, 0)


def test_own_part_of_one_process_is_the_whole():
    batch = {"x": np.arange(6).reshape(3, 2), "y": np.arange(3)}
    jax.tree.map(np.testing.assert_array_equal, training.own_part(batch), batch)


def test_own_part_is_an_equal_share_in_order(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    np.testing.assert_array_equal(training.own_part(np.arange(6)), [2, 3])
    with pytest.raises(ValueError, match="batch: got 7 examples, must be a multiple of 3, the number of processes"):
        training.own_part(np.arange(7))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("h:1",), "processes: got None, must be given together with coordinator"),
        (("h", 2, 0), "coordinator: got 'h', must be HOST:PORT"),
        (("h:x", 2, 0), "coordinator: got 'h:x', must be HOST:PORT"),
        (("h:1", 0, 0), "processes: got 0, must be at least 1"),
        (("h:1", 2, 2), r"process: got 2, must be in \[0, 1\]"),
        (("h:99999", 2, 0), "coordinator: got 'h:99999', whose port must be at most 65535"),
    ],
)
def test_join_refuses_before_it_waits(arguments, message):
    with pytest.raises(ValueError, match=message):
        training.join(*arguments)


def test_a_second_process_0_is_refused_on_the_port_of_the_first():
    with socket.create_server(("", 0), reuse_port=True) as first:  # as gRPC opens it
        port = first.getsockname()[1]
        with pytest.raises(ValueError, match=rf"coordinator: port {port} cannot be opened here .*another process 0"):
            training.join(f"127.0.0.1:{port}", 2, 0)


def test_join_refuses_no_heartbeat():
    with pytest.raises(ValueError, match="heartbeat_seconds: got 0, must be at least 1"):
        training.join("h:1", 2, 0, heartbeat_seconds=0)

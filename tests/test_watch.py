"""The watch over the processes of a run: who is gone, who hangs, and who is only slow."""

import threading

import jax
import numpy as np
import pytest

from jaxdl.runs import processes
from jaxdl.runs.processes import RESTING, Beat, Judge, Watch


def test_a_process_that_is_silent_is_gone():
    judge = Judge(3, limit=5, now=100)
    for second in range(101, 120):
        number = min(second, 107)  # the last beat of process 1
        beats = {0: Beat(second, 1, RESTING), 1: Beat(number, 1, RESTING), 2: Beat(second, 1, RESTING)}
        said = judge.verdict(beats, second)
        assert bool(said) == (second > 112)
    assert said == "process 1 of 3 is gone: it was killed, stopped or cut off, and has been silent for 12 s"


def test_a_process_that_never_spoke_is_gone():
    judge = Judge(2, limit=5, now=0)
    for second in range(1, 6):
        assert judge.verdict({0: Beat(second, 0, 9)}, second) == ""
    assert judge.verdict({0: Beat(6, 0, 9)}, 6).startswith("process 1 of 2 is gone")


def test_time_in_which_the_judge_could_not_look_is_nobody_s_silence():
    judge = Judge(2, limit=5, now=0)
    for second in (1, 2, 30, 31, 32):  # the machine was asleep, or too busy, for 28 seconds
        assert judge.verdict({0: Beat(second, 0, 9), 1: Beat(1, 0, 9)}, second) == "", second
    assert "silent for 6 s" in judge.verdict({0: Beat(33, 0, 9), 1: Beat(1, 0, 9)}, 33)


def test_a_process_that_is_behind_and_does_not_go_on_hangs():
    judge = Judge(2, limit=5, now=0)
    for second in range(1, 30):
        here, there = Beat(second, 40 + second, 8.0), Beat(second, min(40 + second, 50), 8.0)
        said = judge.verdict({0: here, 1: there}, second)
        assert bool(said) == (second > 18)
    assert said == "process 1 of 2 hangs: it has not gone on for 19 s while others wait for it"


@pytest.mark.parametrize("marks", [(50, 50), (50, 51)])
def test_processes_that_wait_together_or_rest_do_not_hang(marks):
    """Both at one place wait for the device; the second pair's process 0 is writing a checkpoint."""
    judge = Judge(2, limit=5, now=0)
    beats = [Beat(0, mark, RESTING if marks[0] < marks[1] else 8.0) for mark in marks]
    for second in range(1, 1000):
        assert judge.verdict({i: beat._replace(number=second) for i, beat in enumerate(beats)}, second) == ""


def test_a_beat_survives_the_store():
    assert Beat.parse(str(Beat(3, 700, 12.5))) == Beat(3, 700, 12.5)


class Store:
    """JAX's key-value store in one process; ``gone`` makes it fail as if process 0 had been killed."""

    def __init__(self):
        self.values, self.gone = {}, False

    def key_value_set(self, key, value, *, allow_overwrite):
        self.check()
        assert allow_overwrite
        self.values[key] = value

    def key_value_dir_get(self, folder):
        self.check()
        return [(key, value) for key, value in self.values.items() if key.startswith(folder)]

    def check(self):
        if self.gone:
            raise jax.errors.JaxRuntimeError("UNAVAILABLE: Socket closed")


@pytest.fixture
def fast(monkeypatch):
    """Make beats and limits a hundred times as fast."""
    monkeypatch.setattr(processes, "EVERY", 0.01)
    monkeypatch.setattr(processes, "LEAST", 0.3)


def make_watch(store, index, count=2):
    said, ended = [], threading.Event()

    def end(line):
        said.append(line)
        ended.set()

    made = Watch(store, count, index, 0.1, end=end)
    made.start()
    return made, said, ended


def test_both_processes_end_with_the_name_of_the_one_that_is_gone(fast):
    store = Store()
    watches = [make_watch(store, index, count=3) for index in (0, 1)]
    for _, said, ended in watches:
        assert ended.wait(20)
        assert said[0].startswith("error: process 2 of 3 is gone: it was killed, stopped or cut off")
        assert said[0].endswith("what was saved is whole: start all processes again with --resume")


def test_without_an_answer_process_0_is_gone(fast):
    store = Store()
    store.gone = True
    _, said, ended = make_watch(store, 1)
    assert ended.wait(20)
    assert said[0].startswith("error: process 0 of 2 is gone: it has not answered for")


def test_an_error_of_one_ends_the_others_with_its_message(fast):
    store = Store()
    first, second = make_watch(store, 0), make_watch(store, 1)
    second[0].tell(ValueError("classes: got 3,\nmust be 4"), lost=False)
    assert first[2].wait(20)
    assert first[1][0].startswith("error: process 1 of 2 ended with ValueError: classes: got 3, must be 4; what")
    assert second[1] == [], "the one with the error reports it itself"


def test_a_watch_that_has_stopped_says_nothing(fast):
    made, said, ended = make_watch(Store(), 0, count=2)
    made.stop()
    assert not ended.wait(0.6)
    assert said == []


def test_a_slow_step_gives_the_next_ones_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(processes.time, "monotonic", lambda: now[0])
    made = Watch(Store(), 2, 0, heartbeat_seconds=20, end=print)
    assert made._patience() == RESTING, "before the first step there is the program to compile"
    for second in (0, 3, 4):
        now[0] = second
        made.step()
    assert made._patience() == 10 + 10 * 3
    made.rest()
    assert made._patience() == RESTING
    now[0] = 500
    made.step()
    assert made._patience() == 10 + 10 * 3, "a rest is no slow step"


# ---------------------------------------------------------------- the group


def test_a_process_alone_agrees_with_itself():
    group = processes.ProcessGroup()
    assert (group.alone, group.leads, group.count) == (True, True, 1)
    assert group.agree(3, 0) == (3, 0)
    assert group.told(lambda: "here") == "here"
    group.check_same("options", 1)
    with group.leader_first():
        group.rest()
    assert list(group.marking([1, 2])) == [1, 2]


@pytest.fixture
def pair(monkeypatch):
    """Return process 0's group of two, and a list of what process 1 gathers, which each call takes one of."""
    theirs = []
    monkeypatch.setattr(processes.compat, "gather", lambda own: np.stack([own, np.asarray(theirs.pop(0), own.dtype)]))
    return processes.ProcessGroup(Watch(Store(), 2, 0, 10, end=print)), theirs


def test_a_group_agrees_on_the_largest(pair):
    group, theirs = pair
    theirs += [[15, 0]]
    assert group.agree(0, 1) == (15, 1)


def test_process_1_with_other_options_is_named(pair):
    group, theirs = pair
    theirs += [np.zeros(8, np.uint32)]
    with pytest.raises(ValueError, match="process 1 has other options than process 0; all must start with the same"):
        group.check_same("options", {"epochs": 3})


def test_the_text_of_process_0_is_told(pair):
    group, theirs = pair
    theirs += [np.frombuffer(b" " * processes.MOST_TEXT, np.uint8)]
    assert group.told(lambda: "runs/ä b") == "runs/ä b"
    with pytest.raises(ValueError, match="text: got 5,000 bytes, must be at most 4,096"):
        group.told(lambda: "x" * 5000)


def test_places_that_say_half_are_refused_before_anything_is_connected():
    half = "coordinator='auto' is not allowed beside --processes or --process"
    with pytest.raises(ValueError, match=half), processes.grouped("auto", 2, None):
        pass
    with (
        pytest.raises(ValueError, match="coordinator: got None, must be given together"),
        processes.grouped(None, 2, 0),
    ):
        pass


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (ValueError("UNKNOWN: Gloo all-reduce failed: Read error [127.0.0.1]:5: Connection reset by peer"), True),
        (jax.errors.JaxRuntimeError("UNKNOWN: Gloo all-gather failed"), True),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), False),
        (ValueError("classes: got 3, must be 4"), False),
    ],
)
def test_an_error_of_a_collective_waits_for_the_name_of_the_process_that_is_gone(monkeypatch, error, waits):
    """A compiled call raises what fails in a collective as a ValueError, like a mistake of the user's."""
    told = []
    monkeypatch.setattr(processes.training, "join", lambda *given, **options: None)
    monkeypatch.setattr(processes.compat, "coordination", Store)
    monkeypatch.setattr(processes.jax.config, "update", lambda *given: None)
    monkeypatch.setattr(processes.atexit, "register", lambda *given: None)
    monkeypatch.setattr(processes.Watch, "tell", lambda self, error, *, lost: told.append(lost))
    with pytest.raises(type(error)), processes.grouped("h:1", 2, 0):
        raise error
    assert told == [waits]


def test_jax_leaves_the_watch_time_to_name_the_process(monkeypatch):
    """The watch speaks after half the heartbeat, its beats and the wait for the others to read it."""
    seconds = []
    monkeypatch.setattr(processes.training, "join", lambda *given, heartbeat_seconds: seconds.append(heartbeat_seconds))
    monkeypatch.setattr(processes.compat, "coordination", Store)
    monkeypatch.setattr(processes.compat, "gather", lambda own: np.stack([own]))
    monkeypatch.setattr(processes.jax.config, "update", lambda *given: None)
    with processes.grouped("h:1", 1, 0, heartbeat_seconds=10):
        pass
    assert seconds[0] > 2 * (max(processes.LEAST, 10 / 2) + 5 * processes.EVERY)

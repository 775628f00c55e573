"""Kill a training run with SIGKILL at forty moments, resume it each time, and compare every bit.

    python -m benchmarks.kills [--moments 40]

Three quarters of the moments are evenly spread over the calls that open a file of the run for writing, rename, make or
remove one, and the process dies just before the call. The others are evenly spread over the time, and may fall into
orbax's own threads. A resumed run must have the uninterrupted run's rows (without their seconds), weights, optimizer
states and predictions. One process imports everything and forks a child per run, so that all of them take minutes.
Figures are one grey pixel here, because drawing them would take longer than training. The command writes
benchmarks/kills.md, and fails where a run differs.
"""

import argparse
import csv
import dataclasses
import hashlib
import io
import json
import multiprocessing
import os
import pathlib
import platform
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
import orbax.checkpoint as ocp

from experiments.train_cnn import command
from jaxdl import data, plots

Path = pathlib.Path
OPTIONS = """--model softmax_regression --optimizer jaxdl.adam optax.sgd --learning-rate 0.01 0.1 --batch-size 256
    --epochs 2 --early-stop 5 --augment none --checkpoint-every 3 --log-every 2""".split()  # noqa: SIM905
LAST = 10  # step of the end
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63680000008200811f"
    "4e0b2e0000000049454e44ae426082"
)
CALLS = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclasses.dataclass
class Moment:
    """When a child dies: before a call, after some seconds from its first call, or not at all."""

    call: int | None = None
    seconds: float | None = None
    count: int = 0  # calls so far
    began: float | None = None  # time of the first one
    last: str = ""  # the call before which it stands

    def watch(self, folder: Path) -> None:
        """Count this process' calls that change files of the folder, and die when the moment has come."""
        lock = threading.Lock()

        def hook(event: str, arguments: tuple) -> None:
            if event == "open":
                path, _, flags = arguments
                if not flags & WRITING:
                    return
            elif event in CALLS:
                path = arguments[0]
            else:
                return
            if not isinstance(path, str | bytes | os.PathLike):
                return
            changed = Path(os.fsdecode(path))
            if changed.is_relative_to(folder):  # a note beside it is not
                with lock:
                    self._note(f"{event.removeprefix('os.')} {changed.relative_to(folder)}", folder)

        sys.addaudithook(hook)

    def _note(self, text: str, folder: Path) -> None:
        self.count += 1
        if self.began is None:
            self.began = time.monotonic()
            if self.seconds is not None:
                timer = threading.Timer(self.seconds, die, (folder, f"after {self.seconds:.2f} s"))
                timer.daemon = True
                timer.start()
        if self.count == self.call:
            die(folder, f"{self.call}: {text}")


def die(folder: Path, moment: str) -> None:
    """Note the moment beside the folder, and kill this process with SIGKILL."""
    note(folder, "moment").write_text(moment)
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # the signal needs no waiting for; other threads end with this one


def note(folder: Path, kind: str) -> Path:
    """Return the path of a note beside a run folder."""
    return folder.with_name(f"{folder.name}.{kind}")


def child(work: Callable[[], object]) -> int | None:
    """Call ``work`` in a forked process, and return its exit code: 0, 1, or less than 0 after a signal."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    return process.exitcode


def run(folder: Path, moment: Moment, *arguments: str) -> None:
    """Train, in a child, and say nothing."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    plots.png = lambda figure, **options: PIXEL
    moment.watch(folder)
    command.main(arguments)
    ended = time.monotonic() - (moment.began or 0)
    note(folder, "end").write_text(json.dumps([moment.count, ended]))
    note(folder, "bits").write_text(json.dumps(bits(folder)))


def bits(folder: Path) -> dict[str, str]:
    """Return a digest of the rows, the predictions, and each array of the last weights and checkpoints."""
    with (folder / "metrics.csv").open(newline="") as file:
        found = {"rows": digest(json.dumps([line[:-1] for line in csv.reader(file)]).encode())}
    with np.load(folder / "predictions.npz") as arrays:
        found |= {name: digest(np.ascontiguousarray(array).tobytes()) for name, array in arrays.items()}
    for path in [*folder.glob(f"final/*/{LAST:08d}"), *folder.glob(f"checkpoints/*/{LAST:08d}")]:
        with ocp.StandardCheckpointer() as checkpointer:
            tree = checkpointer.restore((path / "arrays").absolute())
        for name, leaf in jax.tree_util.tree_leaves_with_path(tree):
            place = f"{path.relative_to(folder)} {jax.tree_util.keystr(name)}"
            found[place] = digest(np.asarray(leaf).tobytes())
    return found


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def on_disk(folder: Path) -> str:
    """Describe what a killed run has left."""
    if not (folder / "config.json").exists():
        return "no config.json"
    parts = []
    for path in sorted(folder.glob("checkpoints/*")):
        steps = [str(int(one.name)) for one in sorted(path.glob("[0-9]*"))]
        parts.append(f"{path.name}: {', '.join(steps) or 'none'}")
    table = folder / "metrics.csv"
    rows = table.read_bytes().count(b"\n") - 1 if table.exists() else 0
    kept = [name for name in ("predictions.npz", "summary.json", "report.html") if (folder / name).exists()]
    hidden = {re.sub(r"^\.lock$", "", path.name) for path in folder.rglob(".*")}
    unfinished = sorted(hidden - {""})
    return "; ".join([*(parts or ["no checkpoints"]), f"{rows} rows", *kept, *unfinished])


def killed(place: Path, number: int, moment: Moment, reference: dict[str, str]) -> tuple[str, str, str]:
    """Kill a run at a moment, resume it, and return a row of the table."""
    folder = place / f"run{number}"
    ended = child(lambda: run(folder, moment, *OPTIONS, "--out", str(folder)))
    if ended == 0 and moment.seconds is not None:  # faster than the reference
        shutil.rmtree(folder)
        return killed(place, number, Moment(seconds=moment.seconds / 2), reference)
    if ended != -signal.SIGKILL:
        raise RuntimeError(f"moment {moment}: the run ended with {ended}, before it was killed")
    left = on_disk(folder)
    again = ["--resume", str(folder)] if (folder / "config.json").exists() else [*OPTIONS, "--out", str(folder)]
    if child(lambda: run(folder, Moment(), *again)):
        return note(folder, "moment").read_text(), left, "**not resumed**"
    found = json.loads(note(folder, "bits").read_text())
    differ = sorted(name for name in {*found, *reference} if found.get(name) != reference.get(name))
    shutil.rmtree(folder)
    return note(folder, "moment").read_text(), left, f"**no: {differ[0]}**" if differ else "yes"


def page(moments: int, calls: int, seconds: float, rows: Sequence[tuple[str, str, str]]) -> str:
    """Return the page."""
    text = io.StringIO()
    same = sum(row[2] == "yes" for row in rows)
    text.write(f"# Killed runs\n\n`python -m benchmarks.kills --moments {moments}` on {platform.machine()}, ")
    text.write(f"jax {jax.__version__}: a run of {calls} calls that change its folder, in {seconds:.1f} s.\n")
    text.write(
        f"{same} of {len(rows)} runs, killed with SIGKILL and resumed, end with the uninterrupted run's bits.\n\n"
    )
    text.write("| killed before the call, or after a time | on disk: checkpoints, rows, files | the same bits |\n")
    text.write("|---|---|---|\n")
    text.writelines(f"| {' | '.join(row)} |\n" for row in rows)
    return text.getvalue()


def main() -> int:
    """Measure, write the page, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=40)
    moments = parser.parse_args().moments
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        data.load("digits")  # imports scikit-learn, for all children
        jax.config.update("jax_compilation_cache_dir", str(place / "programs"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        for first in ("compiling", "reference"):
            if child(lambda first=first: run(place / first, Moment(), *OPTIONS, "--out", str(place / first))):
                raise RuntimeError("the uninterrupted run failed")
        calls, seconds = json.loads(note(place / "reference", "end").read_text())
        reference = json.loads(note(place / "reference", "bits").read_text())
        by_time = moments // 4
        chosen = [Moment(call=int(n)) for n in np.linspace(1, calls, moments - by_time)]
        chosen += [Moment(seconds=float(s)) for s in np.linspace(0, seconds, by_time + 2)[1:-1]]
        rows = []
        for number, moment in enumerate(chosen):
            rows.append(killed(place, number, moment, reference))
            print(" | ".join(rows[-1]), flush=True)
    Path(__file__).with_suffix(".md").write_text(page(moments, calls, seconds, rows))
    return 0 if all(row[2] == "yes" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

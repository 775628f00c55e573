"""`--workers N`: a study that processes of this machine share, each with a device of its own.

A worker makes the study in a folder of its own, workers/I of the study's folder, which begins with the rows that the
study has. Before it begins with an optimizer on a problem, it claims the pair with a folder that only one worker can
make. The runs of a pair do not depend on other pairs, so they are those of one process. In the end, or when the study
is resumed, `gather` merges the folders. A worker ends within `GRACE` seconds once its standard input does, as when the
process that started it is killed: the rows of all groups that it has made are on disk.

    python -m experiments.compare_optimizers.workers FOLDER/workers/0       # started by --workers, not by hand
"""

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jax

from experiments.compare_optimizers import command, growing, merge, records, study
from jaxdl import disk, runs
from jaxdl.runs import commandline, names
from jaxdl.runs.folder import CONFIG, MANIFEST, Held, Manifest
from jaxdl.runs.processes import GONE
from jaxdl.runs.records import Table, read_record, read_table, write_json, write_table
from jaxdl.texts import printable

WORKERS: Final = "workers"  # the folder of their folders
CLAIMS: Final = "claims"
TABLES: Final = (
    records.PATHS,
    records.DIAGNOSTICS,
    records.CURVES,
    records.RESULTS,
)  # no row of results.csv is ahead of its curve
LOOK: Final = "import jax; print(jax.default_backend(), jax.local_device_count())"
VISIBLE: Final = ("JAX_CUDA_VISIBLE_DEVICES", "JAX_ROCM_VISIBLE_DEVICES")
EVERY: Final = 0.1  # seconds between two looks at the workers
SIGNALLED: Final = 128  # exit codes above it are those of a worker that a signal asked to end
GRACE: Final = 5.0  # seconds that a worker may take to end; one that compiles or is stopped would take for ever


# ---------------------------------------------------------------- the process that starts them


def places(count: int) -> list[dict[str, str]]:
    """Return the environment variables that give each worker a device of its own.

    Another process looks for the devices, and this one computes on the CPU from then on: it would take memory of all.

    Raises:
        ValueError: if there are fewer GPUs, or devices of another kind.
    """
    alone = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    pipe: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True}
    found = subprocess.run([sys.executable, "-c", LOOK], env=alone, check=False, **pipe)
    if found.returncode:
        raise ValueError(f"workers={count} is not allowed: JAX finds no devices, as it says above")
    platform, there = found.stdout.split()[-2:]
    if platform == "cpu":
        return [{}] * count
    if platform != "gpu" or count > int(there):
        most = f"at most {there}, which is how many GPUs there are" if platform == "gpu" else f"1 on {platform}"
        raise ValueError(f"workers={count} is not allowed: it must be {most}")
    jax.config.update("jax_platforms", "cpu")
    given = {name: os.environ.get(name, "all") for name in VISIBLE}
    return [
        {name: str(i) if all_ == "all" else all_.split(",")[i] for name, all_ in given.items()} for i in range(count)
    ]


def share(config: command.Config, folder: Path, where: Sequence[Mapping[str, str]], argv: Sequence[str] | None) -> int:
    """Let workers make all runs that the folder lacks, and return the exit code.

    Args:
        config: the resolved options.
        folder: the study's folder, of which `gather` has been called.
        where: as from `places`.
        argv: the arguments of the command line, for the manifest.
    """
    pairs = len(config.problems) * len(config.optimizer)
    if pairs < len(where):
        print(f"{pairs} of {len(where)} workers start: one for each optimizer on each problem", flush=True)
    where = where[:pairs]
    _divide(folder, len(where))
    arguments = ["--trust-run"]  # what the options name has been checked
    arguments += [] if config.data_dir is None else ["--data-dir", str(config.data_dir)]
    arguments += ["--diagnose"] if config.diagnose else []
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    with runs.StudyProgress() as progress, runs.catch_stop() as request:
        with contextlib.ExitStack() as stack:
            running = [
                stack.enter_context(_started(i, [str(folder / WORKERS / str(i)), *arguments], variables, said))
                for i, variables in enumerate(where)
            ]
            lost = _wait(running, request, said, progress.line)
        _show(said, progress.line)
    gather(folder, argv)
    if not request.signal and not lost:
        return 0
    name = f"{request.signal.name}: " if request.signal else ""
    again = f"{command.resuming(folder, config)} --workers {len(where)}"
    print(f"{name}all finished runs are in {folder}; resume with {again}", flush=True)
    killed = any(code < 0 or code > SIGNALLED for code in lost.values())
    return request.exit_code if request.signal else GONE if killed else max(lost.values())


def _divide(folder: Path, count: int) -> None:
    """Make the folders of the workers at once, each with what the study has."""
    new = folder / f".{WORKERS}"
    _check_no_link(new)
    shutil.rmtree(new, ignore_errors=True)
    (new / CLAIMS).mkdir(parents=True)
    for i in range(count):
        (new / str(i)).mkdir()
        for name in (CONFIG, MANIFEST, records.PLAN, *TABLES):
            if (folder / name).exists():
                disk.write_whole(new / str(i) / name, disk.read_regular(folder / name))
    os.replace(new, folder / WORKERS)


@contextlib.contextmanager
def _started(
    index: int, arguments: Sequence[str], variables: Mapping[str, str], said: queue.SimpleQueue[str]
) -> Iterator[subprocess.Popen]:
    """Start a worker, and collect what it prints; a signal to the terminal's processes does not reach it."""
    program = [sys.executable, "-m", "experiments.compare_optimizers.workers", *arguments]
    pipe: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    pipe["errors"] = "backslashreplace"  # a user's code may print any bytes
    process = subprocess.Popen(program, env={**os.environ, **variables}, start_new_session=True, **pipe)
    reader = threading.Thread(target=_read, args=[process.stdout, f"worker {index}: ", said], daemon=True)
    reader.start()
    try:
        yield process
    finally:
        process.kill()  # it has ended, unless this process is interrupted once more
        process.wait()
        process.stdin.close()  # pyright: ignore[reportOptionalMemberAccess]
        reader.join(GRACE)  # a process that the worker has started may keep its output open


def _read(pipe: Any, name: str, said: queue.SimpleQueue[str]) -> None:
    with pipe:
        for text in pipe:
            said.put(f"{name}{text.rstrip()}")


def _show(said: queue.SimpleQueue[str], line: Callable[[str], None]) -> None:
    """Print what the workers have printed. Only the main thread does, so that an error of standard output is seen."""
    while not said.empty():
        line(said.get())


def _wait(
    running: Sequence[Any], request: runs.StopRequest, said: queue.SimpleQueue[str], line: Callable[[str], None]
) -> dict[int, int]:
    """Wait for all workers, end them if a signal asks for it, and return the exit code of each that failed."""
    lost, alive, asked = {}, True, None
    while alive:
        alive = any(one.poll() is None for one in running)
        _show(said, line)
        asked = time.monotonic() if request.signal and asked is None else asked
        for i, one in enumerate(running):
            if one.poll() and i not in lost and asked is None:
                lost[i] = code = one.poll()
                line(f"worker {i} of {len(running)} {_ended(code)}; its unfinished runs are lacking")
            if asked is not None and not one.stdin.closed:
                one.stdin.close()
            if asked is not None and time.monotonic() - asked > 2 * GRACE:
                one.kill()  # it is stopped, or cannot even end itself
        time.sleep(EVERY)
    return lost


def _ended(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


# ---------------------------------------------------------------- the folders


def gather(folder: Path, argv: Sequence[str] | None) -> None:
    """Put the rows of all workers into the study's folder, and remove their folders.

    Raises:
        ValueError: if a worker is still there, or a file is damaged; the message names it.
    """
    there, done = folder / WORKERS, folder / f".{WORKERS}"
    if not there.is_dir():
        return
    found = sorted(path for path in there.iterdir() if path.name.isdecimal())
    _check_no_link(there, done, *found)
    until = time.monotonic() + 2 * GRACE
    with contextlib.ExitStack() as stack:
        for part in found:
            _lock(stack, part, until)
            _mend(part)
        begun = [part for part in found if read_table(part / records.RESULTS, records.Result)]
        if begun:
            _merge(folder, found, [merge.read(part) for part in begun], argv)
        elif failures := _failures(found, set()):
            write_table(folder / records.FAILURES, records.Failure, failures)
            write_table(folder / records.RESULTS, records.Result, [])
    shutil.rmtree(done, ignore_errors=True)
    os.replace(there, done)  # at once, so that a kill leaves all of them or none
    shutil.rmtree(done)


def _check_no_link(*folders: Path) -> None:
    if links := [path for path in folders if path.is_symlink()]:
        raise ValueError(f"{links[0]}: is a link; expected a folder")


def _lock(stack: contextlib.ExitStack, part: Path, until: float) -> None:
    """Lock a worker's folder. A worker whose starter was killed still has it for a moment, so wait for that."""
    while True:
        try:
            stack.enter_context(runs.lock(part))
            return
        except Held:
            if time.monotonic() >= until:
                raise
        time.sleep(EVERY)


def _mend(part: Path) -> None:
    """Drop unfinished lines, and curves of runs that are not in results.csv."""
    written = {row.key for row in Table(part / records.RESULTS, records.Result).rows}
    Table(part / records.CURVES, records.Evaluation).keep(lambda row: row.key in written)
    for name, kind in (
        (records.PATHS, records.PathPoint),
        (records.DIAGNOSTICS, records.Diagnostic),
        (records.FAILURES, records.Failure),
    ):
        if (part / name).exists():
            Table(part / name, kind)


def _merge(folder: Path, found: Sequence[Path], parts: Sequence[merge.Part], argv: Sequence[str] | None) -> None:
    """Merge the workers' studies into the study's folder; results.csv comes last."""
    merge.check(parts)
    new = folder / WORKERS / "merged"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    merged = merge.runs_of(parts, 0.0)
    merge.write(new, parts, merged, argv)
    failures = _failures(found, {run.key[:2] for run in merged.values() if run.stage == "final"})
    if failures or (folder / records.FAILURES).exists():
        write_table(new / records.FAILURES, records.Failure, failures)
    # it is one study of one machine, which began with the first worker
    plan, made = read_record(new / records.PLAN, records.Plan), read_record(new / MANIFEST, Manifest)
    write_json(new / records.PLAN, plan._replace(merged=parts[0].plan.merged))
    devices = tuple(dict.fromkeys(one for part in parts for one in part.manifest.devices or ()))
    first = parts[0].manifest._replace(command=made.command, devices=devices)
    if (folder / MANIFEST).exists():
        first = read_record(folder / MANIFEST, Manifest)
    write_json(new / MANIFEST, first._replace(data=made.data))
    for name in (records.PLAN, MANIFEST, records.FAILURES, *TABLES):
        if (new / name).exists():
            os.replace(new / name, folder / name)


def _failures(found: Sequence[Path], ended: set[Any]) -> list[records.Failure]:
    """Return the failures of all workers, also of those without a run, in the order in which one process has them."""
    paths = [path for part in found if (path := part / records.FAILURES).exists()]
    rows = dict.fromkeys(row for path in paths for row in read_table(path, records.Failure) if row[:2] not in ended)
    if not rows:
        return []
    config = commandline.load_config(command.Config, paths[0].parent)
    problems = [*(read_record(paths[0].with_name(records.PLAN), records.Plan).steps or ())]
    labels = [names.optimizer_label(text) for text in config.optimizer]
    places = [{name: i for i, name in enumerate(known)} for known in (problems, labels)]
    return sorted(rows, key=lambda row: [place.get(row[i], len(place)) for i, place in enumerate(places)])


# ---------------------------------------------------------------- a worker


def main(argv: Sequence[str] | None = None) -> int:
    """Make the runs of all pairs that this worker claims, and return the exit code."""
    part, *more = sys.argv[1:] if argv is None else argv
    gone, claims = threading.Event(), Path(part).parent / CLAIMS
    threading.Thread(target=_wait_for_the_end, args=[gone], daemon=True).start()
    config = commandline.parse(command.Config, [f"--resume={part}", *more])
    commandline.use_compilation_cache()
    prepared = command.prepare(config)
    line = lambda text: print(printable(text, keep="\n"), flush=True)
    with runs.lock(Path(part)), runs.catch_stop() as request:
        stop = lambda: request.signal is not None or gone.is_set()
        if stop():  # the folder may be that of another command by now
            return 0
        growing.describe_folder(Path(part), prepared.config, prepared.problems, devices=jax.devices()[:1])
        takes = lambda *pair: not stop() and claim(claims, *pair)
        try:
            prepared.study(Path(part), takes=takes, line=line, stop=stop).run()
        except study.Stopped:
            return request.exit_code if request.signal else 0
    return 0


def claim(folder: Path, problem: int, optimizer: int) -> bool:
    """Return whether this process is the first to claim the pair."""
    try:
        (folder / f"{problem}-{optimizer}").mkdir()
    except FileExistsError:
        return False
    return True


def _wait_for_the_end(gone: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    gone.set()
    time.sleep(GRACE)
    os._exit(0)  # as a kill would, which costs the group of runs that has not ended


if __name__ == "__main__":
    commandline.run_main(main)

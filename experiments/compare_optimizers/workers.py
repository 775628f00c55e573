"""`--workers N`: a study that processes of this machine share, each with a device of its own.

A worker makes the study in a folder of its own, workers/I of the study's folder, which begins with the rows that the
study has. Before it begins with an optimizer on a problem, it claims the pair with a folder that only one worker can
make. The runs of a pair do not depend on other pairs, so they are those of one process. In the end, or when the study
is resumed, `gather` merges the folders. A worker ends once its standard input does, as when the process that started
it is killed.

    python -m experiments.compare_optimizers.workers FOLDER/workers/0       # started by --workers, not by hand
"""

import contextlib
import os
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
from jaxdl.runs import commandline
from jaxdl.runs.folder import CONFIG, MANIFEST, Manifest
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
    _divide(folder, len(where))
    arguments = ["--trust-run"]  # what the options name has been checked
    arguments += [] if config.data_dir is None else ["--data-dir", str(config.data_dir)]
    arguments += ["--diagnose"] if config.diagnose else []
    with runs.StudyProgress() as progress, runs.catch_stop() as request, contextlib.ExitStack() as stack:
        running = [
            stack.enter_context(_started(i, [str(folder / WORKERS / str(i)), *arguments], variables, progress.line))
            for i, variables in enumerate(where)
        ]
        lost = _wait(running, request, progress.line)
    gather(folder, argv)
    if not request.signal and not lost:
        return 0
    name = f"{request.signal.name}: " if request.signal else ""
    again = f"{commandline.resuming(folder, config)} --workers {len(where)}"
    print(f"{name}all finished runs are in {folder}; resume with {again}", flush=True)
    return request.exit_code if request.signal else GONE if min(lost.values()) < 0 else max(lost.values())


def _divide(folder: Path, count: int) -> None:
    """Make the folders of the workers at once, each with what the study has."""
    new = folder / f".{WORKERS}"
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
    index: int, arguments: Sequence[str], variables: Mapping[str, str], line: Callable[[str], None]
) -> Iterator[subprocess.Popen]:
    """Start a worker, and show what it prints; a signal to the terminal's processes does not reach it."""
    program = [sys.executable, "-m", "experiments.compare_optimizers.workers", *arguments]
    pipe: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen(program, env={**os.environ, **variables}, start_new_session=True, **pipe) as process:
        show = lambda: [line(f"worker {index}: {text.rstrip()}") for text in process.stdout or ()]
        reader = threading.Thread(target=show, daemon=True)
        reader.start()
        try:
            yield process
        finally:
            process.kill()  # it has ended, unless this process is interrupted once more
            reader.join()


def _wait(running: Sequence[Any], request: runs.StopRequest, line: Callable[[str], None]) -> dict[int, int]:
    """Wait for all workers, end them if a signal asks for it, and return the exit code of each that failed."""
    lost, alive = {}, True
    while alive:
        alive = any(one.poll() is None for one in running)
        for i, one in enumerate(running):
            if one.poll() and i not in lost and not request.signal:
                lost[i] = code = one.poll()
                how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                line(f"worker {i} of {len(running)} {how}; its unfinished runs are lacking")
            if request.signal and not one.stdin.closed:
                one.stdin.close()
        time.sleep(EVERY)
    return lost


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
    if links := [path for path in (there, *found) if path.is_symlink()]:
        raise ValueError(f"{links[0]}: is a link; expected a folder")
    with contextlib.ExitStack() as stack:
        for part in found:
            stack.enter_context(runs.lock(part))
            _mend(part)
        begun = [part for part in found if read_table(part / records.RESULTS, records.Result)]
        if begun:
            _merge(folder, found, [merge.read(part) for part in begun], argv)
    shutil.rmtree(done, ignore_errors=True)
    os.replace(there, done)  # at once, so that a kill leaves all of them or none
    shutil.rmtree(done)


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
    paths = [path for part in found if (path := part / records.FAILURES).exists()]  # also of parts without a run
    failures = dict.fromkeys(row for path in paths for row in read_table(path, records.Failure))
    ended = {run.key[:2] for run in merged.values() if run.stage == "final"}
    write_table(new / records.FAILURES, records.Failure, [row for row in failures if row[:2] not in ended])
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


# ---------------------------------------------------------------- a worker


def main(argv: Sequence[str] | None = None) -> int:
    """Make the runs of all pairs that this worker claims, and return the exit code."""
    part, *more = sys.argv[1:] if argv is None else argv
    gone, claims = threading.Event(), Path(part).parent / CLAIMS
    threading.Thread(target=_wait_for_the_end, args=[gone], daemon=True).start()
    config = commandline.parse(command.Config, ["--resume", part, *more])
    commandline.use_compilation_cache()
    prepared = command.prepare(config)
    line = lambda text: print(printable(text, keep="\n"), flush=True)
    with runs.lock(Path(part)), runs.catch_stop() as request:
        growing.describe_folder(Path(part), prepared.config, prepared.problems, devices=jax.devices()[:1])
        stop = lambda: request.signal is not None or gone.is_set()
        try:
            prepared.study(Path(part), takes=lambda *pair: claim(claims, *pair), line=line, stop=stop).run()
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


if __name__ == "__main__":
    commandline.run_main(main)

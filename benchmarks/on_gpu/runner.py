"""Runs the parts in order, each in its own process, within a time limit. It does not import JAX: the GPU stays free."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.on_gpu import record
from benchmarks.on_gpu.parts import Part

TAIL = 6000  # last characters of a part's output that its file keeps
ROOT = Path(__file__).parents[2]


def run(out: Path, parts: Sequence[Part], minutes: float, dry_run: bool) -> int:
    """Run the unfinished parts and print a line for each; returns the exit status."""
    out.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60 * minutes
    before = {part.name: record.read(out / f"{part.name}.json") for part in parts}
    # a dry run does not count as a measurement, nor the reverse
    before = {name: one if one is None or one.dry_run == dry_run else None for name, one in before.items()}
    missing = []
    for part in sorted(parts, key=lambda part: before[part.name] is not None):  # those never tried first
        earlier, left = before[part.name], deadline - time.monotonic()
        if earlier is not None and earlier.status == record.DONE:
            print(f"{part.name}: done before", flush=True)
            continue
        if left < part.least:
            print(f"{part.name}: skipped, {left:.0f} s are left and it needs {part.least:.0f}", flush=True)
            missing.append(part.name)
            continue
        found = attempt(out, part, left if dry_run else min(part.limit, left), dry_run)
        print(f"{part.name}: {found.status} after {found.seconds:.0f} s {found.error}".rstrip(), flush=True)
        if found.status != record.DONE:
            missing.append(part.name)
    print(f"not done: {', '.join(missing)}; the same command goes on" if missing else "all parts are done", flush=True)
    return 1 if missing else 0


def attempt(out: Path, part: Part, seconds: float, dry_run: bool) -> record.Record:
    """Run a part in a process group of its own, stop it after its time, and record how it ended."""
    path, began = out / f"{part.name}.json", time.monotonic()
    command = [sys.executable, "-m", "benchmarks.on_gpu", "--out", str(out), "--here", part.name]
    command += ["--seconds", f"{seconds:.1f}", *(["--dry-run"] if dry_run else [])]
    before = path.stat().st_mtime_ns if path.exists() else None
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        status = in_group(command, environment(out, part, dry_run), log, seconds)
        log.seek(0)
        printed = log.read()[-TAIL:]
    wrote = path.exists() and path.stat().st_mtime_ns != before
    found = (record.read(path) if wrote else None) or record.Record(path, part.name, dry_run=dry_run)
    found.seconds, found.log = time.monotonic() - began, printed
    if status is None:
        found.status, found.error = record.STOPPED, f"(stopped after {seconds:.0f} s; the rows until then count)"
    elif status:
        found.status, found.error = record.FAILED, reason(status, printed)
    found.write()
    return found


def in_group(command: list[str], environment: dict[str, str], log, seconds: float) -> int | None:
    """Return the exit status, or None after a timeout; all processes of the part have then ended."""
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, process_group=0
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with all processes that it started
        process.wait()


def environment(out: Path, part: Part, dry_run: bool) -> dict[str, str]:
    """Return the environment of a part: memory allocated on demand, and a cache of compiled programs.

    The cache is a folder of OUT, unless JAX_COMPILATION_CACHE_DIR names another.
    """
    cache = {"JAX_COMPILATION_CACHE_DIR": str(out.resolve() / "cache")}
    told = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3"}
    dry = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "true"} if dry_run else {}
    return {**cache, **os.environ, **told, **dry, **part.environment}


def reason(status: int, printed: str) -> str:
    """Return the last line printed, or the signal."""
    if status < 0:
        return f"(killed by {signal.Signals(-status).name})"
    lines = printed.strip().splitlines()
    return f"({lines[-1]})" if lines else f"(exit status {status})"

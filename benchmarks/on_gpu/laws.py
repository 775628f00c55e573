"""The tests that concern an accelerator, run there with pytest at matrix precision "highest"."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.on_gpu.record import Record

ROOT = Path(__file__).parents[2]
# the most valuable first, since the time may not suffice for all; without tests that need several devices, that concern
# convolutions on CPU only, or that test files, reports, command lines and pages
FILES = (
    "tests/test_laws.py",
    "tests/test_optimizers.py",
    "tests/test_training_steps.py",
    "tests/test_layers_convolution.py",
    "tests/test_layers_pooling.py",
    "tests/test_layers_normalization.py",
    "tests/test_losses.py",
    "tests/test_activations.py",
    "tests/test_training_loop.py",
    "tests/test_layers_stochastic.py",
    "tests/test_layers_recurrent.py",
    "tests/test_layers_linear.py",
    "tests/test_layers_capsule.py",
    "tests/test_second_order.py",
    "tests/test_quasi_newton.py",
    "tests/test_backprop.py",
    "tests/test_initializers.py",
    "tests/test_metrics.py",
)
SEVERAL_DEVICES = "members_sum or pmap or devices or axis"  # in the names of tests that need more than one


def measure(record: Record, dry_run: bool) -> None:
    """Run pytest and record its counts, the failures with their reasons, and the tests that did not get a turn."""
    counts = record.path.with_name(f".{record.path.name}.tests")
    workers = 0 if dry_run else min(8, os.cpu_count() or 1)
    files = ("tests/test_layers_linear.py",) if dry_run else FILES
    # strict settings are for development: another version's warning is not a wrong number
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default"]
    command += ["-n", str(workers), "--maxschedchunk", "4"]  # in order, and with little left to do when time is up
    command += ["-p", "benchmarks.on_gpu.reporter", "-k", f"not ({SEVERAL_DEVICES})", *files]
    left = record.left()
    told = {"JAXDL_TESTS_FILE": str(counts), "JAXDL_TESTS_SECONDS": f"{max(left - 20, 1):.0f}"}
    found = counted(command, {**os.environ, **told}, counts, max(left - 5, 1))
    record.put(**found, files=len(files), workers=workers)


def counted(command: list[str], environment: dict[str, str], counts: Path, seconds: float) -> dict[str, Any]:
    """Run pytest for a limited time, and return the reporter's counts.

    Raises:
        ValueError: if no test ran.
    """
    try:
        status = str(subprocess.run(command, cwd=ROOT, env=environment, check=False, timeout=seconds).returncode)
    except subprocess.TimeoutExpired:
        status = f"no end after {seconds:.0f} s"
    found = json.loads(counts.read_text(encoding="utf-8")) if counts.exists() else {"passed": 0, "failed": []}
    counts.unlink(missing_ok=True)
    if not found["passed"] and not found["failed"]:
        raise ValueError(f"no test ran; pytest: {status}")
    return {**found, "time_was_up": found["time_was_up"] or status.startswith("no end")}

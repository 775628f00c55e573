"""The tests that say something about an accelerator, run there with pytest at matrix precision "highest"."""

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.on_gpu.record import Record

ROOT = Path(__file__).parents[2]
# in order of worth: the time may not suffice for all. Left out: what needs several devices, what speaks of the CPU's
# forms of convolution alone, and what tests files, reports, command lines and pages
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
    """Run pytest and keep its counts, the tests that failed and why, and those the time did not suffice for."""
    counts = record.path.with_name(f".{record.path.name}.tests")
    workers = 0 if dry_run else min(8, os.cpu_count() or 1)
    files = ("tests/test_layers_linear.py",) if dry_run else FILES
    # strict settings are for development: a warning of another version is no wrong number
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(workers), "-p", "no:cacheprovider", "-W", "default"]
    command += ["-p", "benchmarks.on_gpu.reporter", "-k", f"not ({SEVERAL_DEVICES})", *files]
    told = {"JAXDL_TESTS_FILE": str(counts), "JAXDL_TESTS_SECONDS": f"{max(record.left() - 8, 1):.0f}"}
    # pytest's own end is waited for, but not longer than this part has
    ran = subprocess.run(command, cwd=ROOT, env={**os.environ, **told}, check=False)
    if not counts.exists():
        raise ValueError(f"pytest ended with {ran.returncode} before any test")
    found = json.loads(counts.read_text(encoding="utf-8"))
    counts.unlink()
    if not found["passed"] and not found["failed"]:
        raise ValueError(f"pytest ended with {ran.returncode}, and no test ran")
    record.put(**found, files=len(files), workers=workers)

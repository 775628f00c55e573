"""Lead the fuzzers of all targets, and write their table."""

import argparse
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from benchmarks import fuzz
from benchmarks.fuzz import targets
from jaxdl import disk

Path = pathlib.Path
MEMORY_MB = 2048
SECONDS = 20  # for one input
LONGEST = 1 << 16  # bytes of an input
LAP = 120  # seconds between two records of the progress, at most
FOREIGN = ("libfuzzer exiting", "libFuzzer: timeout", "libFuzzer: out-of-memory", "libFuzzer: deadly signal")


class Result(NamedTuple):
    """What fuzzing one target gave."""

    name: str
    elapsed: float  # seconds of fuzzing
    seconds: float  # of CPU time
    inputs: int
    kept: int
    branches: tuple[int, int]
    findings: list[str]
    contained: int  # ends of a library that runs in a process of its own in use


def run_target(name: str, corpus: Path, minutes: float) -> Result:
    """Fuzz a target until it has had its CPU time, this run's and earlier ones' together, again after each finding."""
    (corpus / "findings").mkdir(parents=True, exist_ok=True)
    kept_at = corpus / f"{name}.progress.json"
    so_far = {"elapsed": 0.0, "seconds": 0.0, "inputs": 0, "findings": [], "contained": 0}
    if kept_at.is_file():
        so_far = json.loads(kept_at.read_text())
    while (left := minutes * 60 - so_far["seconds"]) >= 1:
        options = [f"-max_total_time={min(left, LAP):.0f}", f"-timeout={SECONDS}"]
        options += [f"-rss_limit_mb={MEMORY_MB}", f"-max_len={LONGEST}", "-print_final_stats=1"]
        options += [f"-artifact_prefix={corpus / 'findings'}/{name}-"]
        began = time.monotonic()
        code, errors, seconds = _child("fuzz", name, str(corpus / name), *options)
        executed = re.findall(r"number_of_executed_units:\s*(\d+)|^#(\d+)", errors, re.MULTILINE)
        so_far["elapsed"] += time.monotonic() - began
        so_far["seconds"] += seconds
        so_far["inputs"] += max((int(a or b) for a, b in executed), default=0)
        if code and name == "hdf5" and "libFuzzer" in _why(errors):
            so_far["contained"] += 1
        elif code:
            so_far["findings"].append(_why(errors))
        disk.write_whole(kept_at, json.dumps(so_far))
        if not executed:  # it does not start: not worth trying again
            break
    out = corpus / f"{name}.json"
    code, errors, _ = _child("replay", name, str(corpus / name), str(out))
    findings = so_far["findings"] + ([_why(errors)] if code else [])
    covered, there = (0, 0) if code else json.loads(out.read_text())
    kept = sum(1 for file in (corpus / name).iterdir())
    return Result(
        name,
        so_far["elapsed"],
        so_far["seconds"],
        so_far["inputs"],
        kept,
        (covered, there),
        findings,
        so_far["contained"],
    )


def _child(*arguments: str) -> tuple[int, str, float]:
    """Run a child to its end: its exit code, its output, and the CPU seconds of its own and of what it waited for."""
    with tempfile.TemporaryFile() as errors:  # atheris prints the error of a finding on standard output
        command = [sys.executable, "-m", "benchmarks.fuzz.child", *arguments]
        child = subprocess.Popen(command, stdout=errors, stderr=errors)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        return child.returncode, errors.read().decode(errors="replace"), used.ru_utime + used.ru_stime


def _why(text: str) -> str:
    """Return the line of a fuzzer's output that tells why it ended."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Exit)\b|==\d+== ?ERROR", line)]
    return (told or lines or ["no output"])[-1 if not told else 0][:200]


def _place() -> str:
    """Return what the numbers were measured on, and when."""
    return (
        f"Python {platform.python_version()}, {os.cpu_count()} {platform.machine()} CPUs, {time.strftime('%d %B %Y')}"
    )


def page(results: list[Result], minutes: float, total: str) -> str:
    """Return the page of all results."""
    lines = [
        "# Mutated files, given to every reader",
        "",
        f"`python -m benchmarks.fuzz --minutes {minutes:g}`: {total}",
        "",
    ]
    lines += ["| reader | CPU minutes | inputs | corpus | branches reached | findings |", "|---|---|---|---|---|---|"]
    for one in results:
        covered, there = one.branches
        share = f"{covered} of {there} ({100 * covered / there:.0f} %)" if there else ""
        found = "; ".join(sorted(set(one.findings))) or "none"
        found += f" ({one.contained} ends of libhdf5, which its own process contains)" if one.contained else ""
        lines.append(f"| {one.name} | {one.seconds / 60:.1f} | {one.inputs:,} | {one.kept:,} | {share} | {found} |")
    return "\n".join([*lines, ""])


def main() -> int:
    """Fuzz, write the page, and return the exit code."""
    parser = argparse.ArgumentParser(description=fuzz.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="of CPU time for each target, earlier runs with its corpus counted"
    )
    parser.add_argument("--only", default=",".join(targets.TARGETS))
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--corpus", type=Path, default=Path("runs/fuzz"))
    args = parser.parse_args()
    chosen = args.only.split(",")
    if unknown := [name for name in chosen if name not in targets.TARGETS]:
        parser.error(f"--only: got {unknown[0]!r}, allowed are {', '.join(targets.TARGETS)}")
    if not args.minutes > 0:
        parser.error(f"--minutes: got {args.minutes}, allowed are numbers above 0")
    corpus = args.corpus.absolute()
    with ThreadPoolExecutor(args.at_once) as pool:
        results = list(pool.map(lambda name: run_target(name, corpus, args.minutes), chosen))
    inputs, elapsed, busy = (sum(getattr(one, name) for one in results) for name in ("inputs", "elapsed", "seconds"))
    total = f"{inputs:,} inputs in {elapsed / 60:.0f} minutes, of which {busy / 60:.0f} on a CPU"
    text = page(results, args.minutes, f"{total}, {_place()}.")
    print(text)
    if chosen == list(targets.TARGETS):
        Path(__file__).parent.with_suffix(".md").write_text(text)
    return 1 if any(one.findings for one in results) else 0


if __name__ == "__main__":
    sys.exit(main())
